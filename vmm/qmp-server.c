/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket's connections; see qmp-server.h. A client that breaks the protocol gets an
 * error; one that does not read what it is sent is cut when QMP_OUTPUT_MAX is reached.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/qmp-server.h"

struct qmp_client {
	struct loop_source source; /* first: ready() gets it */
	struct qmp_server *server;
	bool negotiated;
	bool cut; /* to be closed as soon as nobody up the stack uses it */
	char *output;
	size_t output_used;
	struct qmp_parser parser;
};

static void client_free(struct qmp_client *client)
{
	struct qmp_server *server = client->server;

	for (size_t i = 0; i < QMP_CLIENTS_MAX; i++)
		if (server->clients[i] == client)
			server->clients[i] = NULL;
	loop_forget(server->epoll_fd, &client->source);
	(void)close(client->source.fd);
	free(client->output);
	free(client);
}

/* Write what waits, as far as the socket takes it. */
static void client_flush(struct qmp_client *client)
{
	size_t sent = 0;

	while (sent < client->output_used) {
		ssize_t n = send(client->source.fd, client->output + sent,
				 client->output_used - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			client->cut = true;
			return;
		}
		sent += (size_t)n;
	}
	client->output_used -= sent;
	memmove(client->output, client->output + sent, client->output_used);
	if (loop_watch(client->server->epoll_fd, &client->source,
		       client->output_used ? EPOLLIN | EPOLLOUT : EPOLLIN, NULL) < 0)
		client->cut = true;
}

/* Send a message, borrowed. NULL (no memory to make it) cuts the client: it must not wait for ever.
 */
static void client_send(struct qmp_client *client, const json_t *message)
{
	char *text = message ? json_dumps(message, 0) : NULL;
	size_t length = text ? strlen(text) : 0;
	char *grown = NULL;

	if (text && client->output_used + length + 2 <= QMP_OUTPUT_MAX)
		grown = realloc(client->output, client->output_used + length + 2);
	if (!grown) {
		client->cut = true;
		free(text);
		return;
	}
	client->output = grown;
	memcpy(client->output + client->output_used, text, length);
	memcpy(client->output + client->output_used + length, "\r\n", 2);
	client->output_used += length + 2;
	free(text);
	client_flush(client);
}

static void client_answer(struct qmp_client *client, const json_t *message, const char *reason)
{
	json_t *answer;

	answer = message ? qmp_answer(client->server->table, &client->negotiated, message)
			 : qmp_refusal(reason);
	client_send(client, answer);
	json_decref(answer);
}

static void client_take(struct qmp_client *client, const char *bytes, size_t count)
{
	while (count > 0 && !client->cut) {
		const char *reason;
		json_t *message;
		size_t used;

		used = qmp_parser_push(&client->parser, bytes, count, &message, &reason);
		bytes += used;
		count -= used;
		if (message || reason)
			client_answer(client, message, reason);
		json_decref(message);
	}
}

static void client_ready(struct loop_source *source, uint32_t events)
{
	struct qmp_client *client = (struct qmp_client *)source;
	char bytes[4096];
	ssize_t n;

	if (events & EPOLLOUT)
		client_flush(client);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		n = recv(source->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n > 0)
			client_take(client, bytes, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			client->cut = true;
	}
	if (client->cut)
		client_free(client);
}

static void client_new(struct qmp_server *server, int fd)
{
	struct qmp_client *client = NULL;
	json_t *greeting;
	size_t slot = 0;

	while (slot < QMP_CLIENTS_MAX && server->clients[slot])
		slot++;
	if (slot < QMP_CLIENTS_MAX)
		client = calloc(1, sizeof(*client));
	if (!client) {
		(void)close(fd); /* it sees the end before a greeting */
		return;
	}
	client->source = (struct loop_source){ fd, client_ready };
	client->server = server;
	qmp_parser_init(&client->parser);
	server->clients[slot] = client;
	greeting = qmp_greeting();
	client_send(client, greeting);
	json_decref(greeting);
	if (client->cut)
		client_free(client);
}

static void server_ready(struct loop_source *source, uint32_t events)
{
	struct qmp_server *server = (struct qmp_server *)source;
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd >= 0)
		client_new(server, fd);
}

/* Somebody listens at address: a connection is taken, or would have to wait. */
static bool is_alive(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool alive;

	if (fd < 0)
		return true; /* not known: rather refuse than take it away from somebody */
	alive = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
		errno == EAGAIN;
	(void)close(fd);
	return alive;
}

static int bind_new(int fd, const struct sockaddr_un *address)
{
	mode_t mask = umask(0177);
	int result = bind(fd, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;

	(void)umask(mask);
	return result;
}

static int bind_or_replace(int fd, const struct sockaddr_un *address, struct hf_error *err)
{
	struct stat st;
	int failed = bind_new(fd, address);

	if (failed == EADDRINUSE && is_alive(address))
		return control_error(err, HF_E_BUSY, 0,
				     "control socket %s: another process listens there",
				     address->sun_path);
	if (failed == EADDRINUSE && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode)) {
		(void)unlink(address->sun_path); /* if this fails, bind() says so */
		failed = bind_new(fd, address);
	}
	if (failed)
		return control_error(err, HF_E_SYSTEM, failed, "control socket %s",
				     address->sun_path);
	return 0;
}

int qmp_server_open(struct qmp_server *server, const char *path, const struct qmp_table *table,
		    int epoll_fd, struct hf_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int result;

	memset(server, 0, sizeof(*server));
	server->listener = (struct loop_source){ -1, server_ready };
	server->table = table;
	server->epoll_fd = epoll_fd;
	if (strlen(path) >= sizeof(address.sun_path))
		return control_error(err, HF_E_INVALID, 0,
				     "control socket %s: the path is longer than %zu characters",
				     path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);

	server->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->listener.fd < 0)
		return control_error(err, HF_E_SYSTEM, errno, "control socket %s", path);
	result = bind_or_replace(server->listener.fd, &address, err);
	if (result < 0)
		return result;
	memcpy(server->path, path, strlen(path) + 1);
	if (listen(server->listener.fd, (int)QMP_CLIENTS_MAX))
		return control_error(err, HF_E_SYSTEM, errno, "control socket %s", path);
	return loop_watch(epoll_fd, &server->listener, EPOLLIN, err);
}

void qmp_server_event(struct qmp_server *server, const char *name, json_t *data)
{
	struct timespec now;
	json_t *event;

	(void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail with this clock */
	event = qmp_event(name, data, now);
	/*
	 * A client that does not read is marked here, not freed: the event may come out of its own
	 * command. Its descriptor is shut, so that the loop frees it.
	 */
	for (size_t i = 0; i < QMP_CLIENTS_MAX; i++) {
		struct qmp_client *client = server->clients[i];

		if (!client || !client->negotiated || client->cut)
			continue;
		client_send(client, event);
		if (client->cut)
			(void)shutdown(client->source.fd, SHUT_RDWR);
	}
	json_decref(event);
}

void qmp_server_close(struct qmp_server *server)
{
	if (!server->table)
		return;
	for (size_t i = 0; i < QMP_CLIENTS_MAX; i++)
		if (server->clients[i])
			client_free(server->clients[i]);
	loop_forget(server->epoll_fd, &server->listener);
	if (server->listener.fd >= 0)
		(void)close(server->listener.fd);
	if (server->path[0])
		(void)unlink(server->path);
	memset(server, 0, sizeof(*server));
}
