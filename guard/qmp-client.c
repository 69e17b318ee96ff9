/* SPDX-License-Identifier: BSD-3-Clause */
/* A QMP client; see qmp-client.h. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "guard/fail.h"
#include "guard/qmp-client.h"
#include "guard/socket.h"

#define LINE_MAX_BYTES (8u << 20) /* the longest answer; query-timeline's is below 4 MiB */

struct qmp_client {
	int fd;
	json_t *events; /* that came while an answer was awaited */
	char *input;
	size_t used, room;
	size_t searched; /* no line ends before this */
	json_int_t last_id;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* 1: ready, 0: the deadline has passed, negative: failed. */
static int wait_for(const struct qmp_client *client, short events, uint64_t deadline_ms,
		    struct hf_error *err)
{
	for (;;) {
		struct pollfd poll_fd = { .fd = client->fd, .events = events };
		uint64_t now = now_ms();
		int n = poll(&poll_fd, 1, now < deadline_ms ? (int)(deadline_ms - now) : 0);

		if (n > 0)
			return 1;
		if (n == 0)
			return 0;
		if (errno != EINTR)
			return guard_fail(err, HF_E_SYSTEM, errno, "poll");
	}
}

static int make_room(struct qmp_client *client, struct hf_error *err)
{
	size_t room = client->room ? client->room * 2 : 16384;
	char *grown;

	if (client->used < client->room)
		return 0;
	if (room > LINE_MAX_BYTES)
		return guard_fail(err, HF_E_PROTOCOL, 0,
				  "the control socket sent a line longer than %u bytes",
				  LINE_MAX_BYTES);
	grown = realloc(client->input, room);
	if (!grown)
		return guard_fail(err, HF_E_NO_MEMORY, ENOMEM, "an answer");
	client->input = grown;
	client->room = room;
	return 0;
}

/* A line that is there already: 1 and the message; 0: none yet; negative: it is no JSON object. */
static int take_line(struct qmp_client *client, json_t **ret_message, struct hf_error *err)
{
	char *end = NULL;
	json_error_t bad;
	size_t length;

	if (client->used > client->searched)
		end = memchr(client->input + client->searched, '\n',
			     client->used - client->searched);
	client->searched = client->used;
	if (!end)
		return 0;
	length = (size_t)(end - client->input) + 1;
	*ret_message = json_loadb(client->input, length, 0, &bad);
	client->used -= length;
	memmove(client->input, client->input + length, client->used);
	client->searched = 0;
	if (!json_is_object(*ret_message)) {
		json_decref(*ret_message);
		return guard_fail(err, HF_E_PROTOCOL, 0, "what listens there does not speak QMP");
	}
	return 1;
}

/* 1 and the next message, 0 when the deadline has passed, or a failure. */
static int next_message(struct qmp_client *client, uint64_t deadline_ms, json_t **ret_message,
			struct hf_error *err)
{
	for (;;) {
		int result = take_line(client, ret_message, err);
		ssize_t n;

		if (result == 0)
			result = make_room(client, err);
		if (result != 0)
			return result;
		result = wait_for(client, POLLIN, deadline_ms, err);
		if (result <= 0)
			return result;
		n = recv(client->fd, client->input + client->used, client->room - client->used, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return guard_fail(err, HF_E_CONNECTION_LOST, n < 0 ? errno : 0,
					  "the guest's process closed its control socket");
		client->used += (size_t)n;
	}
}

/* The descriptor, if there is one (not -1), goes with the first bytes. */
static ssize_t send_some(const struct qmp_client *client, const char *text, size_t length, int fd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .head = { .cmsg_len = CMSG_LEN(sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { .iov_base = (char *)(uintptr_t)text, .iov_len = length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control.space);
	}
	return sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int send_all(struct qmp_client *client, const char *text, int fd, uint64_t deadline_ms,
		    struct hf_error *err)
{
	size_t left = strlen(text);

	while (left > 0) {
		ssize_t n = send_some(client, text, left, fd);
		int result = 1;

		if (n < 0 && errno == EAGAIN)
			result = wait_for(client, POLLOUT, deadline_ms, err);
		else if (n < 0 && errno != EINTR)
			return guard_fail(err, HF_E_CONNECTION_LOST, errno,
					  "the guest's process closed its control socket");
		if (result < 0)
			return result;
		if (result == 0)
			return guard_fail(err, HF_E_DEADLINE, 0,
					  "the guest's process does not read its control socket");
		if (n > 0) {
			text += n;
			left -= (size_t)n;
			fd = -1;
		}
	}
	return 0;
}

/* What an answer says. */
static json_t *open_answer(json_t *message, const char *command, struct hf_error *err)
{
	json_t *value = json_object_get(message, "return");
	const json_t *error = json_object_get(message, "error");
	const char *text = json_string_value(json_object_get(error, "desc"));

	if (value)
		json_incref(value);
	else
		(void)guard_fail(err, text ? HF_E_REFUSED : HF_E_PROTOCOL, 0, "%s",
				 text ? text : command);
	json_decref(message);
	return value;
}

static int keep_event(struct qmp_client *client, json_t *event, struct hf_error *err)
{
	if (json_array_append_new(client->events, event))
		return guard_fail(err, HF_E_NO_MEMORY, ENOMEM, "events");
	return 0;
}

/* To the last request, or to bytes that the server could not read: these have no id. */
static bool is_answer(const struct qmp_client *client, const json_t *message)
{
	const json_t *id = json_object_get(message, "id");

	return !id || json_integer_value(id) == client->last_id;
}

json_t *qmp_client_call_fd(struct qmp_client *client, const char *command, json_t *arguments,
			   int fd, uint32_t timeout_ms, struct hf_error *err)
{
	uint64_t deadline_ms = now_ms() + timeout_ms;
	json_t *request, *message;
	char *text;
	int result;

	request = json_pack("{s:s,s:I,s:o*}", "execute", command, "id", ++client->last_id,
			    "arguments", arguments);
	text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_decref(request);
	if (!text) {
		(void)guard_fail(err, HF_E_NO_MEMORY, ENOMEM, "%s", command);
		return NULL;
	}
	result = send_all(client, text, fd, deadline_ms, err);
	free(text);
	while (result == 0) {
		result = next_message(client, deadline_ms, &message, err);
		if (result == 0)
			result = guard_fail(err, HF_E_DEADLINE, 0,
					    "%s: no answer in %u ms from the guest's process",
					    command, timeout_ms);
		if (result < 0)
			break;
		if (json_object_get(message, "event"))
			result = keep_event(client, message, err);
		else if (is_answer(client, message))
			return open_answer(message, command, err);
		else
			json_decref(message); /* late, to a call that was given up */
	}
	return NULL;
}

json_t *qmp_client_call(struct qmp_client *client, const char *command, json_t *arguments,
			uint32_t timeout_ms, struct hf_error *err)
{
	return qmp_client_call_fd(client, command, arguments, -1, timeout_ms, err);
}

int qmp_client_event(struct qmp_client *client, uint32_t timeout_ms, json_t **ret_event,
		     struct hf_error *err)
{
	uint64_t deadline_ms = now_ms() + timeout_ms;
	json_t *message = NULL;
	int result;

	*ret_event = NULL;
	if (json_array_size(client->events) > 0) {
		*ret_event = json_incref(json_array_get(client->events, 0));
		(void)json_array_remove(client->events, 0);
		return 0;
	}
	for (;;) {
		result = next_message(client, deadline_ms, &message, err);
		if (result < 0)
			return result;
		if (result == 0 || json_object_get(message, "event"))
			break;
		json_decref(message); /* an answer, late, to a call that was given up */
		message = NULL;
	}
	*ret_event = message;
	return 0;
}

int qmp_client_fd(const struct qmp_client *client)
{
	return client->fd;
}

static int connect_to(struct qmp_client *client, const char *path, struct hf_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (socket_is_address(path)) {
		client->fd = socket_connect(path, err);
		return client->fd < 0 ? client->fd : 0;
	}
	if (strlen(path) >= sizeof(address.sun_path))
		return guard_fail(err, HF_E_INVALID, 0,
				  "control socket %.80s...: the path is longer than %zu "
				  "characters",
				  path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		return guard_fail(err, HF_E_SYSTEM, errno, "a socket");
	if (connect(client->fd, (const struct sockaddr *)&address, sizeof(address)))
		return guard_fail(err, HF_E_CONNECT, errno, "control socket %s", path);
	return 0;
}

static int negotiate(struct qmp_client *client, uint32_t timeout_ms, struct hf_error *err)
{
	json_t *message = NULL;
	int result = next_message(client, now_ms() + timeout_ms, &message, err);

	if (result == 0)
		return guard_fail(err, HF_E_DEADLINE, 0, "no greeting in %u ms", timeout_ms);
	if (result < 0)
		return result;
	result = json_object_get(message, "QMP") ? 0 : -1;
	json_decref(message);
	if (result < 0)
		return guard_fail(err, HF_E_PROTOCOL, 0, "what listens there does not speak QMP");
	message = qmp_client_call(client, "qmp_capabilities", NULL, timeout_ms, err);
	json_decref(message);
	return message ? 0 : err ? err->code : HF_E_BUG;
}

int qmp_client_open(const char *path, uint32_t timeout_ms, struct qmp_client **ret_client,
		    struct hf_error *err)
{
	struct qmp_client *client = calloc(1, sizeof(*client));
	int result;

	if (!client)
		return guard_fail(err, HF_E_NO_MEMORY, ENOMEM, "a client");
	client->fd = -1;
	client->events = json_array();
	result = connect_to(client, path, err);
	if (result == 0)
		result = negotiate(client, timeout_ms, err);
	if (result < 0) {
		(void)qmp_client_close(client);
		return result;
	}
	*ret_client = client;
	return 0;
}

struct qmp_client *qmp_client_close(struct qmp_client *client)
{
	if (!client)
		return NULL;
	if (client->fd >= 0)
		(void)close(client->fd); /* nothing is lost by it */
	json_decref(client->events);
	free(client->input);
	free(client);
	return NULL;
}
