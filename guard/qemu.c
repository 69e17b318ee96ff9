/* SPDX-License-Identifier: BSD-3-Clause */
/* See qemu.h. */
#include "guard/qemu.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guard/clock.h"
#include "guard/fail.h"
#include "guard/qmp-client.h"

#define CALL_MS 30000u /* QEMU answers late when its main loop moves much at once */
#define GREET_MS 10000u
#define KILL_MS 60000 /* the kernel may have much memory to free */
#define LOOK_MS 200 /* between two looks while it says nothing: an event may be another call's */

struct qemu {
	struct qmp_client *client;
	pthread_mutex_t lock; /* of the client */
	char address[HF_URI_MAX];
	char version[QEMU_NAME_MAX];
	pid_t pid;
	int pidfd; /* of it; -1: not known */
	unsigned int patience_ms; /* for an answer */
	bool killed;
};

static int code_of(const struct hf_error *err)
{
	return err->code ? err->code : HF_E_BUG;
}

/* ---- calls --------------------------------------------------------------------------------- */

static json_t *call(struct qemu *qemu, const char *command, json_t *arguments, struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *answer;

	(void)pthread_mutex_lock(&qemu->lock);
	answer = qmp_client_call(qemu->client, command, arguments, qemu->patience_ms, &own);
	(void)pthread_mutex_unlock(&qemu->lock);
	if (!answer)
		(void)guard_fail(err, code_of(&own), 0, "QEMU at %.80s: %s: %s", qemu->address,
				 command, own.text);
	return answer;
}

json_t *qemu_call(struct qemu *qemu, const char *command, json_t *arguments, struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *answer = call(qemu, command, arguments, &own);

	if (!answer && err && !err->code)
		*err = own;
	return answer;
}

int qemu_do(struct qemu *qemu, const char *command, json_t *arguments, struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *answer = call(qemu, command, arguments, &own);

	if (answer) {
		json_decref(answer);
		return 0;
	}
	if (err && !err->code)
		*err = own;
	return code_of(&own);
}

int qemu_give(struct qemu *qemu, const char *name, int fd, struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *answer;

	(void)pthread_mutex_lock(&qemu->lock);
	answer = qmp_client_call_fd(qemu->client, "getfd", json_pack("{s:s}", "fdname", name), fd,
				    qemu->patience_ms, &own);
	(void)pthread_mutex_unlock(&qemu->lock);
	if (!answer)
		return guard_fail(err, code_of(&own), 0, "QEMU at %.80s: getfd: %s", qemu->address,
				  own.text);
	json_decref(answer);
	return 0;
}

int qemu_take_back(struct qemu *qemu, const char *name, struct hf_error *err)
{
	return qemu_do(qemu, "closefd", json_pack("{s:s}", "fdname", name), err);
}

static void copy_text(char *to, size_t size, const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	(void)snprintf(to, size, "%s", text ? text : "");
}

static uint64_t number(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value > 0 ? (uint64_t)value : 0;
}

/* ---- what it is ---------------------------------------------------------------------------- */

static int ask_version(struct qemu *qemu, struct hf_error *err)
{
	json_t *answer = qemu_call(qemu, "query-version", NULL, err);
	const json_t *numbers = json_object_get(answer, "qemu");
	uint64_t major = number(numbers, "major"), minor = number(numbers, "minor");

	if (!answer)
		return code_of(err);
	(void)snprintf(qemu->version, sizeof(qemu->version), "%u.%u.%u", (unsigned int)major,
		       (unsigned int)minor, (unsigned int)number(numbers, "micro"));
	json_decref(answer);
	if (major > 7 || (major == 7 && minor >= 2))
		return 0;
	return guard_fail(err, HF_E_UNSUPPORTED, 0,
			  "QEMU at %.80s is %s: versions from 7.2 on are supported", qemu->address,
			  qemu->version);
}

static pid_t peer_of(int fd)
{
	struct ucred peer = { 0 };
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return 0;
	return peer.pid;
}

int qemu_open(const char *address, struct qemu **ret_qemu, struct hf_error *err)
{
	struct hf_error own = { 0 };
	struct qemu *qemu = calloc(1, sizeof(*qemu));
	int r;

	if (!qemu)
		return guard_fail(err, HF_E_NO_MEMORY, ENOMEM, "a QEMU");
	(void)pthread_mutex_init(&qemu->lock, NULL); /* cannot fail without attributes */
	qemu->pidfd = -1;
	qemu->patience_ms = CALL_MS;
	(void)snprintf(qemu->address, sizeof(qemu->address), "%s", address);
	r = qmp_client_open(address, GREET_MS, &qemu->client, &own);
	if (r < 0)
		r = guard_fail(err, r, 0, "QEMU at %.80s: %s", address, own.text);
	else
		r = ask_version(qemu, err);
	if (r < 0) {
		(void)qemu_close(qemu);
		return r;
	}
	qemu->pid = peer_of(qmp_client_fd(qemu->client));
	if (qemu->pid)
		qemu->pidfd = (int)syscall(SYS_pidfd_open, qemu->pid, 0);
	*ret_qemu = qemu;
	return 0;
}

struct qemu *qemu_close(struct qemu *qemu)
{
	if (!qemu)
		return NULL;
	(void)qmp_client_close(qemu->client);
	if (qemu->pidfd >= 0)
		(void)close(qemu->pidfd);
	(void)pthread_mutex_destroy(&qemu->lock);
	free(qemu);
	return NULL;
}

void qemu_wait_at_most(struct qemu *qemu, uint64_t ns)
{
	uint64_t ms = ns / GUARD_NS_PER_MS;

	qemu->patience_ms = ms < CALL_MS ? (unsigned int)ms : CALL_MS;
}

const char *qemu_version(const struct qemu *qemu)
{
	return qemu->version;
}

pid_t qemu_pid(const struct qemu *qemu)
{
	return qemu->pid;
}

/* ---- what it does -------------------------------------------------------------------------- */

int qemu_run_state(struct qemu *qemu, char ret_state[QEMU_NAME_MAX], struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *answer = qemu_call(qemu, "query-status", NULL, &own);

	if (!answer) {
		if (err && !err->code)
			*err = own;
		return code_of(&own);
	}
	copy_text(ret_state, QEMU_NAME_MAX, answer, "status");
	json_decref(answer);
	return 0;
}

int qemu_migration(struct qemu *qemu, struct qemu_migration *ret_migration, struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *answer = qemu_call(qemu, "query-migrate", NULL, &own);
	const json_t *ram = json_object_get(answer, "ram");
	uint64_t page;

	if (!answer) {
		if (err && !err->code)
			*err = own;
		return code_of(&own);
	}
	memset(ret_migration, 0, sizeof(*ret_migration));
	copy_text(ret_migration->status, QEMU_NAME_MAX, answer, "status");
	if (!ret_migration->status[0])
		(void)snprintf(ret_migration->status, QEMU_NAME_MAX, "none");
	copy_text(ret_migration->reason, sizeof(ret_migration->reason), answer, "error-desc");
	page = number(ram, "page-size");
	ret_migration->remaining = number(ram, "remaining");
	ret_migration->total = number(ram, "total");
	ret_migration->syncs = number(ram, "dirty-sync-count");
	ret_migration->dirty_rate = number(ram, "dirty-pages-rate") * page;
	ret_migration->sent = number(ram, "transferred");
	ret_migration->normal = number(ram, "normal");
	ret_migration->zero = number(ram, "duplicate");
	ret_migration->rate = (uint64_t)(json_number_value(json_object_get(ram, "mbps")) * 1e6 / 8);
	ret_migration->expected_us = number(answer, "expected-downtime") * 1000;
	ret_migration->throttle = (uint32_t)number(answer, "cpu-throttle-percentage");
	json_decref(answer);
	return 0;
}

/* Take the events that have come; their number, or an error. */
static int drain_events(struct qemu *qemu, struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *event = NULL;
	int r, count = 0;

	(void)pthread_mutex_lock(&qemu->lock);
	do {
		r = qmp_client_event(qemu->client, 0, &event, &own);
		if (r == 0 && event) {
			json_decref(event);
			count++;
		}
	} while (r == 0 && event);
	(void)pthread_mutex_unlock(&qemu->lock);
	if (r < 0)
		return guard_fail(err, r, 0, "QEMU at %.80s: %s", qemu->address, own.text);
	return count;
}

bool qemu_ended(const struct qemu_migration *migration)
{
	return strcmp(migration->status, "completed") == 0 ||
	       strcmp(migration->status, "failed") == 0 ||
	       strcmp(migration->status, "cancelled") == 0 ||
	       strcmp(migration->status, "none") == 0;
}

int qemu_wait(struct qemu *qemu, bool (*done)(const struct qemu_migration *migration),
	      uint64_t deadline_ns, struct qemu_migration *ret_migration, struct hf_error *err)
{
	struct qemu_migration migration;
	int r;

	for (;;) {
		struct pollfd fd = { .fd = qmp_client_fd(qemu->client), .events = POLLIN };

		r = drain_events(qemu, err);
		if (r >= 0)
			r = qemu_migration(qemu, &migration, err);
		if (r >= 0)
			r = qemu_run_state(qemu, migration.run_state, err);
		if (r < 0)
			return r;
		if (ret_migration)
			*ret_migration = migration;
		if (done(&migration))
			return 0;
		if (guard_now_ns() >= deadline_ns)
			return guard_fail(err, HF_E_DEADLINE, 0,
					  "QEMU at %.80s: its migration is still %s", qemu->address,
					  migration.status);
		/* What came while it was asked is in no socket any more. */
		r = drain_events(qemu, err);
		if (r < 0)
			return r;
		if (r == 0)
			(void)poll(&fd, 1, LOOK_MS);
	}
}

/* Its process is gone when this returns 0. */
static int kill_it(struct qemu *qemu, struct hf_error *err)
{
	struct pollfd fd = { .fd = qemu->pidfd, .events = POLLIN };

	if (qemu->pidfd < 0)
		return guard_fail(err, HF_E_DEADLINE, 0,
				  "QEMU at %.80s was told to quit, and has not", qemu->address);
	if (syscall(SYS_pidfd_send_signal, qemu->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return guard_fail(err, HF_E_SYSTEM, errno,
				  "QEMU at %.80s was told to quit, and has not; killing process %d",
				  qemu->address, (int)qemu->pid);
	if (poll(&fd, 1, KILL_MS) != 1)
		return guard_fail(err, HF_E_DEADLINE, 0,
				  "QEMU at %.80s was killed, and process %d has not ended",
				  qemu->address, (int)qemu->pid);
	qemu->killed = true;
	return 0;
}

bool qemu_was_killed(const struct qemu *qemu)
{
	return qemu->killed;
}

int qemu_quit(struct qemu *qemu, uint64_t deadline_ns, struct hf_error *err)
{
	struct hf_error own = { 0 };
	int r = qemu_do(qemu, "quit", NULL, &own);

	while (r == 0) {
		struct pollfd fd = { .fd = qmp_client_fd(qemu->client), .events = POLLIN };

		if (guard_now_ns() >= deadline_ns)
			return kill_it(qemu, err);
		(void)poll(&fd, 1, LOOK_MS);
		r = drain_events(qemu, &own);
		if (r > 0)
			r = 0;
	}
	if (own.code == HF_E_CONNECTION_LOST)
		return 0;
	if (own.code == HF_E_DEADLINE)
		return kill_it(qemu, err);
	if (err && !err->code)
		*err = own;
	return code_of(&own);
}

/* ---- capabilities -------------------------------------------------------------------------- */

int qemu_capability(struct qemu *qemu, const char *name, bool on, struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *arguments =
		json_pack("{s:[{s:s,s:b}]}", "capabilities", "capability", name, "state", on);
	int r = qemu_do(qemu, "migrate-set-capabilities", arguments, &own);

	if (r < 0)
		return guard_fail(err, own.code == HF_E_REFUSED ? HF_E_UNSUPPORTED : r, 0,
				  "capability %s: %s", name, own.text);
	return 0;
}

const char *qemu_capability_on(struct qemu *qemu, const char *const *names, struct hf_error *err)
{
	json_t *answer = qemu_call(qemu, "query-migrate-capabilities", NULL, err);
	const char *found = NULL;
	const json_t *item;
	size_t i;

	json_array_foreach(answer, i, item)
	{
		const char *name = json_string_value(json_object_get(item, "capability"));

		for (size_t k = 0; name && names[k] && !found; k++)
			if (strcmp(name, names[k]) == 0 &&
			    json_is_true(json_object_get(item, "state")))
				found = names[k];
	}
	json_decref(answer);
	return found;
}

/* ---- devices ------------------------------------------------------------------------------- */

static const char *const places[] = { "/machine/peripheral", "/machine/peripheral-anon", NULL };

static void property(struct qemu *qemu, const char *path, const char *name, char *ret, size_t size)
{
	json_t *answer = qemu_call(qemu, "qom-get",
				   json_pack("{s:s,s:s}", "path", path, "property", name), NULL);
	const char *text = json_string_value(answer);

	(void)snprintf(ret, size, "%s", text ? text : "");
	json_decref(answer);
}

static int add_device(struct qemu *qemu, const char *place, const json_t *item,
		      struct qemu_vfio *device)
{
	const char *name = json_string_value(json_object_get(item, "name"));
	const char *type = json_string_value(json_object_get(item, "type"));
	char path[256];
	size_t length;

	if (!name || !type || strncmp(type, "child<vfio-", 11) != 0)
		return 0;
	length = strcspn(type + 6, ">");
	(void)snprintf(path, sizeof(path), "%s/%s", place, name);
	(void)snprintf(device->name, sizeof(device->name), "%.60s", name);
	(void)snprintf(device->kind, sizeof(device->kind), "%.*s", (int)length, type + 6);
	property(qemu, path, "sysfsdev", device->host, sizeof(device->host));
	if (!device->host[0])
		property(qemu, path, "host", device->host, sizeof(device->host));
	return 1;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct qemu_vfio *)a)->name, ((const struct qemu_vfio *)b)->name);
}

int qemu_vfio_devices(struct qemu *qemu, struct qemu_vfio devices[HF_DEVICES_MAX],
		      struct hf_error *err)
{
	int count = 0;

	for (size_t p = 0; places[p]; p++) {
		struct hf_error own = { 0 };
		json_t *list =
			qemu_call(qemu, "qom-list", json_pack("{s:s}", "path", places[p]), &own);
		const json_t *item;
		size_t i;

		if (!list) {
			if (err && !err->code)
				*err = own;
			return code_of(&own);
		}
		json_array_foreach(list, i, item)
		{
			struct qemu_vfio device = { 0 };

			if (!add_device(qemu, places[p], item, &device))
				continue;
			if (count == HF_DEVICES_MAX) {
				json_decref(list);
				return guard_fail(err, HF_E_UNSUPPORTED, 0,
						  "QEMU at %.80s has more than %d VFIO devices",
						  qemu->address, HF_DEVICES_MAX);
			}
			devices[count++] = device;
		}
		json_decref(list);
	}
	qsort(devices, (size_t)count, sizeof(devices[0]), by_name);
	return count;
}
