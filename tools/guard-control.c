/* SPDX-License-Identifier: BSD-3-Clause */
/* See guard-control.h. */
#include "tools/guard-control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "guard/qemu.h"
#include "vmm/migrate.h"
#include "vmm/qmp-server.h"

#define LINGER_MS 5000 /* for who follows a handover to ask how it ended */

struct guard_control {
	struct guard_control_config config;
	struct qmp_server server;
	struct qmp_table table;
	struct loop_source wake; /* an eventfd: there is something to announce, or to end */
	int epoll_fd, request_fd; /* request_fd: an eventfd: there is a request, or quit */
	pthread_t thread;
	bool has_thread;
	/* The thread's own. */
	const char *announced; /* the status, in MIGRATION */
	uint64_t told; /* events of the trace that were looked at */

	pthread_mutex_t lock; /* of all below */
	struct guard *guard; /* NULL: none to ask */
	struct migration story; /* of the last handover; it has no session */
	bool has_story, standing, requested, quitting, closing;
	struct guard_request request;
	char run_state[GUARD_STATE_MAX];
	uint32_t states[HF_DEVICES_MAX]; /* of devices, as far as it was told */
};

static void lock(struct guard_control *control)
{
	(void)pthread_mutex_lock(&control->lock);
}

static void unlock(struct guard_control *control)
{
	(void)pthread_mutex_unlock(&control->lock);
}

static bool is_source(const struct guard_control *control)
{
	return control->config.role == HF_ROLE_SOURCE;
}

/* Under lock: what is asked of the guard is kept, for when it is gone. */
static void look(struct guard_control *control)
{
	if (control->guard)
		guard_progress(control->guard, &control->story.progress, control->run_state);
}

static struct migration *story(struct guard_control *control)
{
	return control->has_story ? &control->story : NULL;
}

/* Under lock: another handover; the last one's story is over. */
static void begin_story(struct guard_control *control, const char *uri)
{
	struct migration *now = &control->story;
	struct migrate_trace trace = now->trace;
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time); /* cannot fail with this clock */
	memset(now, 0, sizeof(*now));
	now->trace = trace;
	now->trace.count = 0;
	now->role = control->config.role;
	now->started_ns = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
	(void)snprintf(now->uri, sizeof(now->uri), "%s", uri);
	(void)snprintf(now->parameters.ledger, sizeof(now->parameters.ledger), "%s",
		       control->config.ledger);
	memset(control->states, 0, sizeof(control->states));
	control->has_story = true;
	control->told = 0;
}

/* ---- commands: the guest ------------------------------------------------------------------- */

/* Without a handover QEMU is asked, if nobody else talks to it; its version or "". */
static int ask_qemu(const struct guard_control *control, char state[QEMU_NAME_MAX],
		    char version[QEMU_NAME_MAX], struct hf_error *err)
{
	struct qemu *qemu = NULL;
	int r = qemu_open(control->config.qmp, &qemu, err);

	if (r == 0) {
		(void)snprintf(version, QEMU_NAME_MAX, "%s", qemu_version(qemu));
		r = qemu_run_state(qemu, state, err);
	}
	(void)qemu_close(qemu);
	return r;
}

static json_t *query_status(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct guard_control *control = ctx;
	char state[QEMU_NAME_MAX] = "unknown", version[QEMU_NAME_MAX];
	bool asks;

	(void)arguments;
	(void)error;
	lock(control);
	look(control);
	asks = control->standing;
	if (!asks && control->guard)
		(void)snprintf(state, sizeof(state), "%s", control->run_state);
	unlock(control);
	if (asks)
		(void)ask_qemu(control, state, version, NULL);
	return json_pack("{s:b,s:s}", "running", strcmp(state, "running") == 0, "status", state);
}

static json_t *devices_json(struct guard_control *control)
{
	const struct hf_session_device *devices;
	json_t *list = json_array();
	uint32_t count = 0;

	devices = guard_devices(control->guard, &count);
	for (uint32_t i = 0; i < count; i++)
		(void)json_array_append_new(
			list,
			json_pack("{s:s,s:s,s:s}", "id", devices[i].name, "kind",
				  i == 0 ? "qemu" : "vfio", "state",
				  control->states[i] ? hf_device_state_name(control->states[i])
						     : "unknown"));
	return list;
}

static json_t *query_guest(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct guard_control *control = ctx;
	char text[HF_ERROR_TEXT_MAX + 64], state[QEMU_NAME_MAX], version[QEMU_NAME_MAX] = "";
	struct hf_error err = { 0 };
	json_t *answer = json_pack("{s:s,s:s}", "name", control->config.guest, "kind", "qemu");

	(void)arguments;
	(void)error;
	lock(control);
	if (control->guard) {
		look(control);
		(void)snprintf(version, sizeof(version), "%s", guard_qemu_version(control->guard));
		(void)json_object_set_new(answer, "devices", devices_json(control));
		(void)json_object_set_new(
			answer, "memory",
			json_integer((json_int_t)control->story.progress.memory_bytes));
	}
	unlock(control);
	if (!version[0])
		(void)ask_qemu(control, state, version, &err);
	if (version[0])
		(void)snprintf(text, sizeof(text), "QEMU %s at %s, guarded", version,
			       control->config.qmp);
	else
		(void)snprintf(text, sizeof(text), "%s", err.text);
	(void)json_object_set_new(answer, "description", qmp_text(text));
	return answer;
}

static json_t *query_name(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	const struct guard_control *control = ctx;

	(void)arguments;
	(void)error;
	return json_pack("{s:s}", "name", control->config.guest);
}

/* ---- commands: the handover ---------------------------------------------------------------- */

static json_t *query_migrate(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct guard_control *control = ctx;
	json_t *answer;

	(void)arguments;
	(void)error;
	lock(control);
	look(control);
	answer = migration_query(story(control));
	unlock(control);
	return answer;
}

static json_t *query_timeline(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct guard_control *control = ctx;
	json_t *answer;

	(void)error;
	lock(control);
	answer = migration_timeline(
		story(control), (uint64_t)json_integer_value(json_object_get(arguments, "first")));
	unlock(control);
	return answer;
}

static json_t *query_ledger(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct guard_control *control = ctx;
	struct hf_error err = { 0 };
	json_t *answer;

	(void)arguments;
	answer = migration_ledger_query(control->config.ledger, control->config.guest, &err);
	return answer ? answer : qmp_fail(error, "%s", err.text);
}

static bool take_number(const json_t *arguments, const char *name, uint64_t most, uint64_t *value,
			struct qmp_error *error)
{
	const json_t *number = json_object_get(arguments, name);

	if (!number)
		return true;
	*value = (uint64_t)json_integer_value(number); /* not negative: the type was checked */
	if (*value >= 1 && *value <= most)
		return true;
	(void)qmp_fail(error, "Parameter '%s' is to be 1 to %llu", name, (unsigned long long)most);
	return false;
}

static bool take_filters(const json_t *arguments, struct guard_request *request,
			 struct qmp_error *error)
{
	const json_t *list = json_object_get(arguments, "filters");

	if (json_array_size(list) >= GUARD_FILTERS_MAX) {
		(void)qmp_fail(error, "Parameter 'filters': %u at most", GUARD_FILTERS_MAX - 1);
		return false;
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (strlen(text) >= GUARD_CONTROL_FILTER_MAX) {
			(void)qmp_fail(error, "Parameter 'filters': %.60s...: too long", text);
			return false;
		}
		memcpy(request->filters[request->filter_count++], text, strlen(text) + 1);
	}
	return true;
}

static bool take_request(const json_t *arguments, struct guard_request *request,
			 struct qmp_error *error)
{
	const char *uri = json_string_value(json_object_get(arguments, "uri"));
	uint64_t channels = 0, downtime = 0, deadline = 0;

	if (strlen(uri) >= sizeof(request->uri)) {
		(void)qmp_fail(error, "Parameter 'uri': longer than %zu characters",
			       sizeof(request->uri) - 1);
		return false;
	}
	memcpy(request->uri, uri, strlen(uri) + 1);
	if (!take_number(arguments, "channels", 16, &channels, error) ||
	    !take_number(arguments, "downtime-limit", 2000000, &downtime, error) ||
	    !take_number(arguments, "max-bandwidth", INT64_MAX, &request->bandwidth, error) ||
	    !take_number(arguments, "deadline", 31536000, &deadline, error))
		return false;
	request->connections = (uint32_t)channels;
	request->downtime_us = downtime * 1000;
	request->deadline_us = deadline * 1000000;
	return take_filters(arguments, request, error);
}

static json_t *migrate(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct guard_control *control = ctx;
	struct guard_request request = { 0 };
	const char *why = NULL;

	if (!take_request(arguments, &request, error))
		return NULL;
	lock(control);
	if (!is_source(control))
		why = "this guard is the target's: the source's is to be asked";
	else if (control->quitting)
		why = "this guard is about to end";
	else if (!control->standing)
		why = "a handover is under way; cancel it, or wait for its end";
	if (!why) {
		control->request = request;
		control->requested = true;
		control->standing = false;
		/* Who follows must not take the last one's end for this one's. */
		begin_story(control, request.uri);
		(void)eventfd_write(control->request_fd, 1);
	}
	unlock(control);
	return why ? qmp_fail(error, "%s", why) : json_object();
}

static json_t *migrate_cancel(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct guard_control *control = ctx;
	int r = 0;

	(void)arguments;
	lock(control);
	if (migration_active(story(control))) {
		control->story.cancel_asked = true;
		r = control->guard ? guard_cancel(control->guard) : 0;
	}
	unlock(control);
	return r < 0 ? qmp_fail(error, "%s", hf_error_explain(r)) : json_object();
}

static json_t *quit(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	struct guard_control *control = ctx;

	(void)migrate_cancel(ctx, arguments, error); /* too late: it ends as it ends */
	lock(control);
	control->quitting = true;
	(void)eventfd_write(control->request_fd, 1);
	unlock(control);
	return json_object();
}

static const struct qmp_argument timeline_arguments[] = { { "first", QMP_NUMBER, false },
							  { NULL } };
static const struct qmp_argument migrate_arguments[] = {
	{ "uri", QMP_STRING, true },
	{ "channels", QMP_NUMBER, false }, /* of the link */
	{ "detach", QMP_BOOL, false }, /* as always: migrate never waits */
	{ "downtime-limit", QMP_NUMBER, false }, /* ms */
	{ "max-bandwidth", QMP_NUMBER, false }, /* bytes per second */
	{ "deadline", QMP_NUMBER, false }, /* s */
	{ "filters", QMP_STRINGS, false },
	{ NULL },
};

/* clang-format off */
static const struct qmp_command commands_[] = {
	{ "migrate",        migrate_arguments,  migrate },
	{ "migrate-cancel", NULL,               migrate_cancel },
	{ "migrate_cancel", NULL,               migrate_cancel },
	{ "query-guest",    NULL,               query_guest },
	{ "query-ledger",   NULL,               query_ledger },
	{ "query-migrate",  NULL,               query_migrate },
	{ "query-name",     NULL,               query_name },
	{ "query-status",   NULL,               query_status },
	{ "query-timeline", timeline_arguments, query_timeline },
	{ "quit",           NULL,               quit },
	{ NULL,             NULL,               NULL },
};
/* clang-format on */

static const char *const events[] = { "MIGRATION", "VFIO_MIGRATION", NULL };

/* ---- the thread ---------------------------------------------------------------------------- */

static struct guard_control *of_wake(struct loop_source *source)
{
	return (struct guard_control *)(void *)((char *)source -
						offsetof(struct guard_control, wake));
}

static void on_wake(struct loop_source *source, uint32_t ready)
{
	eventfd_t count;

	(void)ready;
	(void)eventfd_read(of_wake(source)->wake.fd, &count);
}

static void announce_devices(struct guard_control *control)
{
	for (; control->told < control->story.trace.count; control->told++) {
		const struct migrate_trace_entry *entry =
			migrate_trace_at(&control->story.trace, control->told);

		if (entry && entry->event.id == HF_TRACE_DEVICE_ARC)
			qmp_server_event(&control->server, "VFIO_MIGRATION",
					 migrate_device_event(entry));
	}
}

static void announce(struct guard_control *control)
{
	const char *status;

	lock(control);
	status = migration_status(story(control));
	if (control->has_story)
		announce_devices(control);
	unlock(control);
	if (strcmp(status, control->announced) == 0)
		return;
	control->announced = status;
	qmp_server_event(&control->server, "MIGRATION", json_pack("{s:s}", "status", status));
}

static bool has_clients(const struct guard_control *control)
{
	for (size_t i = 0; i < QMP_CLIENTS_MAX; i++)
		if (control->server.clients[i])
			return true;
	return false;
}

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void *serve(void *ctx)
{
	struct guard_control *control = ctx;
	int64_t until = INT64_MAX;

	for (;;) {
		struct epoll_event event;
		bool closing;
		int n;

		announce(control);
		lock(control);
		closing = control->closing;
		unlock(control);
		if (closing && until == INT64_MAX)
			until = now_ms() + LINGER_MS;
		if (closing && (!has_clients(control) || now_ms() >= until))
			return NULL;
		n = epoll_wait(control->epoll_fd, &event, 1,
			       closing ? (int)(until - now_ms()) : -1);
		if (n < 0 && errno != EINTR)
			return NULL;
		if (n == 1) {
			struct loop_source *source = event.data.ptr;

			source->ready(source, event.events);
		}
	}
}

/* ---- what the guard tells ------------------------------------------------------------------ */

void guard_control_begin(struct guard_control *control, const char *uri, struct guard *guard)
{
	lock(control);
	if (!migration_active(story(control)))
		begin_story(control, uri);
	control->guard = guard;
	if (guard && control->story.cancel_asked)
		(void)guard_cancel(guard);
	unlock(control);
	(void)eventfd_write(control->wake.fd, 1);
}

void guard_control_listening(struct guard_control *control, const char *uri)
{
	lock(control);
	control->story.listening = true;
	(void)snprintf(control->story.uri, sizeof(control->story.uri), "%s", uri);
	unlock(control);
}

void guard_control_event(struct guard_control *control, const struct hf_event *event)
{
	lock(control);
	migration_trace(&control->story, event);
	if (event->id == HF_TRACE_DEVICE_ARC && event->arg[0] < HF_DEVICES_MAX)
		control->states[event->arg[0]] = (uint32_t)event->arg[2];
	unlock(control);
	(void)eventfd_write(control->wake.fd, 1);
}

void guard_control_end(struct guard_control *control, enum hf_outcome outcome,
		       const struct hf_error *err)
{
	lock(control);
	look(control);
	control->guard = NULL;
	control->story.outcome = outcome;
	control->story.error = *err;
	unlock(control);
	(void)eventfd_write(control->wake.fd, 1);
}

int guard_control_wait(struct guard_control *control, int signal_fd,
		       struct guard_request *ret_request)
{
	struct pollfd fds[2] = { { .fd = control->request_fd, .events = POLLIN },
				 { .fd = signal_fd, .events = POLLIN } };
	eventfd_t count;
	int result = 0;

	lock(control);
	control->standing = !control->quitting;
	unlock(control);
	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
	lock(control);
	(void)eventfd_read(control->request_fd, &count);
	if (control->requested && !control->quitting && !fds[1].revents) {
		*ret_request = control->request;
		result = 1;
	}
	control->requested = control->standing = false;
	unlock(control);
	return result;
}

/* ---- beginning and end --------------------------------------------------------------------- */

static int start(struct guard_control *control, struct hf_error *err)
{
	int r = qmp_server_open(&control->server, control->config.path, &control->table,
				control->epoll_fd, err);

	if (r == 0)
		r = loop_watch(control->epoll_fd, &control->wake, EPOLLIN, err);
	if (r < 0)
		return r;
	r = pthread_create(&control->thread, NULL, serve, control);
	if (r)
		return control_error(err, HF_E_SYSTEM, r, "a thread for %s", control->config.path);
	control->has_thread = true;
	return 0;
}

int guard_control_new(const struct guard_control_config *config, struct guard_control **ret_control,
		      struct hf_error *err)
{
	struct guard_control *control = calloc(1, sizeof(*control));
	int r;

	if (!control || migrate_trace_init(&control->story.trace) < 0) {
		free(control);
		return control_error(err, HF_E_NO_MEMORY, ENOMEM, "a control socket");
	}
	control->config = *config;
	control->table = (struct qmp_table){ commands_, events, control };
	control->announced = "none";
	control->wake.ready = on_wake;
	(void)pthread_mutex_init(&control->lock, NULL); /* cannot fail without attributes */
	control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	control->request_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	control->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (control->epoll_fd < 0 || control->request_fd < 0 || control->wake.fd < 0)
		r = control_error(err, HF_E_SYSTEM, errno, "a control socket");
	else
		r = start(control, err);
	if (r < 0) {
		(void)guard_control_free(control);
		return r;
	}
	*ret_control = control;
	return 0;
}

struct guard_control *guard_control_free(struct guard_control *control)
{
	if (!control)
		return NULL;
	if (control->has_thread) {
		lock(control);
		control->closing = true;
		unlock(control);
		(void)eventfd_write(control->wake.fd, 1);
		(void)pthread_join(control->thread, NULL);
	}
	qmp_server_close(&control->server);
	migrate_trace_done(&control->story.trace);
	if (control->wake.fd >= 0)
		(void)close(control->wake.fd);
	if (control->request_fd >= 0)
		(void)close(control->request_fd);
	if (control->epoll_fd >= 0)
		(void)close(control->epoll_fd);
	(void)pthread_mutex_destroy(&control->lock);
	free(control);
	return NULL;
}
