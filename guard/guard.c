/* SPDX-License-Identifier: BSD-3-Clause */
/* See guard.h. */
#include "guard/guard.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guard/clock.h"
#include "guard/fail.h"
#include "guard/link.h"
#include "guard/restart.h"
#include "guard/source.h"
#include "guard/target.h"

#define LINK_US (UINT64_C(60) * 1000000)
#define SLACK_US (UINT64_C(15) * 1000000) /* what a wait is longer than what it waits for */
#define FINISH_US (UINT64_C(5) * 1000000)
#define SHOW_NS GUARD_NS_PER_S

struct guard {
	struct guard_options options;
	struct guard_listener listener;
	struct qemu *qemu;
	union {
		struct facade_side side; /* the first member of both */
		struct guard_source source;
		struct guard_target target;
	};
	bool has_side, decided; /* whose the guest is, is known */
	int broken_fd; /* an eventfd: the target's QEMU gave its load up */
	struct link *link;
	struct hf_ledger ledger;
	struct hf_filters *filters, *ledger_filters;
	struct hf_session *session;
	struct guard_note note;
	bool alone; /* a restart without a session */
	char note_path[PATH_MAX];
	char session_path[PATH_MAX], qemu_path[PATH_MAX], keep[PATH_MAX];
	char session_uri[HF_URI_MAX], qemu_uri[HF_URI_MAX], side_id[HF_NAME_MAX];
	pthread_mutex_t lock; /* of this: */
	char dead[HF_ERROR_TEXT_MAX]; /* why the link is dead; "" if it is not */
};

static bool is_source(const struct guard *guard)
{
	return guard->options.role == HF_ROLE_SOURCE;
}

/* ---- the link ------------------------------------------------------------------------------ */

static void on_link(void *ctx, const struct link_event *event)
{
	struct guard *guard = ctx;
	struct hf_error err = { 0 };
	static const char *const names[] = {
		[LINK_UP] = "up", [LINK_LOST] = "lost", [LINK_BACK] = "back", [LINK_DEAD] = "dead"
	};

	if (event->kind == LINK_DEAD) {
		(void)pthread_mutex_lock(&guard->lock);
		(void)snprintf(guard->dead, sizeof(guard->dead), "%s", event->text);
		(void)pthread_mutex_unlock(&guard->lock);
		/* A source's session has a connection over it; a target's may still await one. */
		(void)guard_fail(&err, HF_E_DEADLINE, 0, "the link to the other guard: %s",
				 event->text);
		(void)hf_session_fail(guard->session, &err);
	}
	/* QEMU is asked why elsewhere: that takes time. */
	if (!is_source(guard) && event->kind == LINK_LOCAL_END && event->stream_kind == LINK_QEMU &&
	    event->index == 0 && !guard_target_has_loaded(&guard->target))
		(void)eventfd_write(guard->broken_fd, 1);
	if (event->kind <= LINK_DEAD && guard->listener.link)
		guard->listener.link(guard->listener.ctx, names[event->kind], event->text);
}

static size_t on_return(void *ctx, uint32_t index, uint8_t *buf, size_t size)
{
	struct guard *guard = ctx;

	return guard_target_filter(&guard->target, index, buf, size);
}

static int open_link(struct guard *guard, struct hf_error *err)
{
	struct link_config config = {
		.uri = guard->options.uri,
		.listens = !is_source(guard),
		.connections = guard->options.connections,
		.deadline_us = guard->options.link_us,
		.paths = { [LINK_SESSION] = guard->session_path, [LINK_QEMU] = guard->qemu_path },
		.event = on_link,
		.ctx = guard,
	};
	int r;

	if (!is_source(guard))
		config.filter = on_return;
	r = link_new(&config, &guard->link, err);
	if (r < 0)
		return r;
	/* The guard alone says when QEMU's connections end. */
	if (is_source(guard)) {
		link_stream_keep(guard->link, LINK_QEMU, true);
		guard->source.link = guard->link;
	} else if (guard->listener.listening) {
		guard->listener.listening(guard->listener.ctx, link_uri(guard->link));
	}
	return 0;
}

/* ---- setting up ---------------------------------------------------------------------------- */

static int path_in(const struct guard *guard, const char *name, char path[PATH_MAX],
		   char uri[HF_URI_MAX], struct hf_error *err)
{
	int n = snprintf(path, PATH_MAX, "%s/%s", guard->options.dir, name);

	if (n < 0 || n > 100) /* of a socket: sun_path has 108 */
		return guard_fail(err, HF_E_INVALID, 0,
				  "the folder %.80s has too long a name for sockets in it",
				  guard->options.dir);
	if (uri)
		(void)snprintf(uri, HF_URI_MAX, "unix:%s", path);
	return 0;
}

static int open_paths(struct guard *guard, struct hf_error *err)
{
	int r = path_in(guard, "session", guard->session_path, guard->session_uri, err);

	if (r == 0)
		r = path_in(guard, "qemu", guard->qemu_path, guard->qemu_uri, err);
	if (r == 0)
		r = path_in(guard, "keep", guard->keep, NULL, err);
	if (r == 0)
		r = path_in(guard, "note", guard->note_path, NULL, err);
	if (r == 0 && is_source(guard) && mkdir(guard->keep, 0700) < 0 && errno != EEXIST)
		r = guard_fail(err, HF_E_SYSTEM, errno, "the folder %.120s", guard->keep);
	return r;
}

/* Whoever guards this QEMU after this process finds in the folder how it is called. */
static int on_planned(void *ctx, const struct facade_plan *plan, struct hf_error *err)
{
	struct guard *guard = ctx;

	guard->note.plan = *plan;
	return guard_note_write(guard->note_path, &guard->note, err);
}

static void remark(struct guard *guard, const char *what, const char *why)
{
	if (guard->listener.remark)
		guard->listener.remark(guard->listener.ctx, what, why);
}

static int open_side(struct guard *guard, struct hf_error *err)
{
	const struct guard_options *options = &guard->options;

	guard->has_side = true;
	if (is_source(guard)) {
		const struct guard_source_options source = {
			.migrate_uri = guard->qemu_uri,
			.multifd = options->multifd,
			.downtime_us = options->downtime_us,
			.bandwidth = options->bandwidth,
			.auto_converge = options->auto_converge,
			.restart = options->restart,
		};

		return guard_source_init(&guard->source, guard->qemu, &source, err);
	} else {
		const struct guard_target_options target = {
			.incoming_uri = guard->qemu_uri,
			.pid = options->pid,
			.trust = options->trust,
			.planned = on_planned,
			.ctx = guard,
		};

		int r = guard_target_init(&guard->target, guard->qemu, &target, err);

		if (r == 0 && guard->target.unproved[0])
			remark(guard, "VFIO devices are not proved", guard->target.unproved);
		return r;
	}
}

/*
 * The longest wait for QEMU: its load may take as long as a device's, and the link may be lost in
 * it. A little less than the session waits: then it is said what was waited for.
 */
static void set_wait(struct guard *guard)
{
	const struct guard_options *options = &guard->options;
	uint64_t us = (options->device_us ? options->device_us : LINK_US) +
		      (options->link_us ? options->link_us : LINK_US);

	guard->side.wait_ns = (us - us / 24) * 1000;
	qemu_wait_at_most(guard->qemu, guard->side.wait_ns);
}

static int open_ledger(struct guard *guard, struct hf_error *err)
{
	int r = hf_ledger_open(guard->options.ledger, &guard->ledger, err);

	if (r == 0 && guard->ledger_filters)
		r = hf_filters_ledger(guard->ledger_filters, &guard->ledger, err);
	if (r == 0 && is_source(guard))
		guard->ledger = guard_source_ledger(&guard->source, guard->ledger);
	return r;
}

/* Those of the ledger are below the hold, where a real ledger's failures are. */
static int open_filters(struct guard *guard, struct hf_error *err)
{
	int r = 0;

	if (guard->options.filter_count == 0)
		return 0;
	r = hf_filters_new(&guard->filters, err);
	if (r == 0)
		r = hf_filters_new(&guard->ledger_filters, err);
	for (uint32_t i = 0; r == 0 && i < guard->options.filter_count; i++) {
		const char *spec = guard->options.filters[i];
		const char *object = strchr(spec, ':');
		bool ledger = object && strncmp(object, ":ledger.", 8) == 0;

		r = hf_filters_add(ledger ? guard->ledger_filters : guard->filters, spec, err);
	}
	return r;
}

static void on_event(void *ctx, const struct hf_event *event)
{
	struct guard *guard = ctx;

	if (guard->listener.event)
		guard->listener.event(guard->listener.ctx, event);
}

static int open_session(struct guard *guard, struct hf_error *err)
{
	const struct guard_options *options = &guard->options;
	struct hf_config config = HF_CONFIG_INIT;
	uint64_t link_us = options->link_us ? options->link_us : LINK_US;

	config.role = options->role;
	config.guest = options->guest;
	config.side = guard->side_id;
	config.uri = guard->session_uri;
	config.regions = &guard->side.region;
	config.region_count = 1;
	config.devices = guard->side.session_devices;
	config.device_count = guard->side.count;
	config.ledger = guard->ledger;
	config.filters = guard->filters;
	config.channels = 1;
	config.throttle_max_percent = 100;
	config.deadline_us = options->deadline_us;
	config.wait_us_max = link_us + SLACK_US;
	config.arc_us_max = (options->device_us ? options->device_us : LINK_US) + link_us;
	config.ledger_us_max = options->ledger_us;
	config.doubt_us_max = options->doubt_us;
	config.record = options->record;
	config.trace = on_event;
	config.trace_ctx = guard;
	if (is_source(guard)) {
		config.machine = guard_source_machine(&guard->source);
		config.memory = facade_memory();
		config.paused = !guard->source.ran;
		config.keep = guard->keep;
		config.restart = options->restart;
	} else {
		config.machine = guard_target_machine(&guard->target);
	}
	return hf_session_new(&config, &guard->session, err);
}

/* The side is QEMU: it has the guest before and after, whoever guards it. */
static int name_side(struct guard *guard, struct hf_error *err)
{
	pid_t pid = guard->options.pid ? guard->options.pid : qemu_pid(guard->qemu);

	if (pid == 0)
		return guard_fail(err, HF_E_INVALID, 0,
				  "QEMU's process is not known: its control socket must be a UNIX "
				  "socket, or its PID be given");
	return hf_side_of(pid, guard->side_id, err);
}

static int register_guest(struct guard *guard, struct hf_error *err)
{
	if (!guard->options.register_)
		return 0;
	return hf_ledger_register(&guard->ledger, guard->options.guest, guard->side_id, err);
}

static void prepare_note(struct guard *guard)
{
	struct guard_note *note = &guard->note;

	memcpy(note->side, guard->side_id, sizeof(note->side));
	(void)snprintf(note->guest, sizeof(note->guest), "%s", guard->options.guest);
	(void)snprintf(note->ledger, sizeof(note->ledger), "%s", guard->options.ledger);
}

static int open_for_handover(struct guard *guard, struct hf_error *err)
{
	int r = 0;

	prepare_note(guard);
	if (is_source(guard)) {
		guard->note.plan = (struct facade_plan){ .multifd = guard->options.multifd,
							 .runs = guard->source.ran };
		r = guard_note_write(guard->note_path, &guard->note, err);
	}
	if (r == 0)
		r = open_filters(guard, err);
	if (r == 0)
		r = open_ledger(guard, err);
	if (r == 0)
		r = register_guest(guard, err);
	if (r == 0)
		r = open_session(guard, err);
	if (r == 0 && !guard->options.restart)
		r = open_link(guard, err);
	return r;
}

/* The note says who the guard before this one was, and there is no session. */
static int open_without_session(struct guard *guard, struct hf_error *err)
{
	int r = guard_note_read(guard->note_path, &guard->note, err);

	guard->alone = true;
	if (r == 0 && strcmp(guard->note.side, guard->side_id) != 0)
		r = guard_fail(err, HF_E_MISMATCH, 0,
			       "%.120s is about another QEMU (%.63s; this is %.63s)",
			       guard->note_path, guard->note.side, guard->side_id);
	if (r == 0)
		r = hf_ledger_open(guard->note.ledger, &guard->ledger, err);
	return r;
}

/* What a source's guard before this one kept is this very guest's. */
static int open_source_again(struct guard *guard, struct hf_error *err)
{
	struct hf_kept kept = { .size = sizeof(kept) };
	int r = hf_kept_read(guard->keep, &kept, err);

	if (r < 0)
		return r;
	if (r == 0)
		return open_without_session(guard, err);
	guard->source.ran = !kept.paused;
	return open_for_handover(guard, err);
}

static int open_all(struct guard *guard, struct hf_error *err)
{
	int r;

	if (guard->options.restart && !is_source(guard))
		return open_without_session(guard, err);
	r = open_side(guard, err);
	set_wait(guard);
	if (r < 0)
		return r;
	return guard->options.restart ? open_source_again(guard, err)
				      : open_for_handover(guard, err);
}

int guard_new(const struct guard_options *options, const struct guard_listener *listener,
	      struct guard **ret_guard, struct hf_error *err)
{
	struct guard *guard = calloc(1, sizeof(*guard));
	int r;

	if (!guard)
		return guard_fail(err, HF_E_NO_MEMORY, ENOMEM, "a guard");
	guard->options = *options;
	guard->listener = *listener;
	(void)pthread_mutex_init(&guard->lock, NULL); /* cannot fail without attributes */
	guard->broken_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = guard->broken_fd < 0 ? guard_fail(err, HF_E_SYSTEM, errno, "eventfd")
				 : open_paths(guard, err);
	if (r == 0)
		r = qemu_open(options->qmp, &guard->qemu, err);
	if (r == 0)
		r = name_side(guard, err);
	if (r == 0)
		r = open_all(guard, err);
	if (r < 0) {
		(void)guard_free(guard);
		return r;
	}
	*ret_guard = guard;
	return 0;
}

struct guard *guard_free(struct guard *guard)
{
	if (!guard)
		return NULL;
	guard->link = link_free(guard->link); /* its events speak to the session */
	guard->session = hf_session_free(guard->session);
	if (guard->ledger.ops)
		hf_ledger_close(&guard->ledger);
	guard->filters = hf_filters_free(guard->filters);
	guard->ledger_filters = hf_filters_free(guard->ledger_filters);
	if (guard->has_side && is_source(guard))
		guard_source_done(&guard->source);
	if (guard->has_side && !is_source(guard))
		guard_target_done(&guard->target);
	guard->qemu = qemu_close(guard->qemu);
	/* What a restart would need stays: what is kept, and the note of a handover that is open.
	 */
	if (is_source(guard) && guard->keep[0])
		(void)rmdir(guard->keep);
	if (guard->decided && guard->note_path[0])
		(void)unlink(guard->note_path);
	if (guard->broken_fd >= 0)
		(void)close(guard->broken_fd);
	(void)pthread_mutex_destroy(&guard->lock);
	free(guard);
	return NULL;
}

/* ---- for who watches ----------------------------------------------------------------------- */

int guard_cancel(struct guard *guard)
{
	return guard->session ? hf_session_cancel(guard->session) : HF_E_TOO_LATE;
}

const char *guard_qemu_version(const struct guard *guard)
{
	return qemu_version(guard->qemu);
}

const struct hf_session_device *guard_devices(const struct guard *guard, uint32_t *ret_count)
{
	*ret_count = guard->side.count;
	return guard->side.session_devices;
}

void guard_progress(struct guard *guard, struct hf_progress *ret_progress,
		    char ret_run_state[static GUARD_STATE_MAX])
{
	struct qemu_migration copy = { .run_state = "inmigrate" };

	memset(ret_progress, 0, sizeof(*ret_progress));
	ret_progress->size = sizeof(*ret_progress);
	if (guard->session)
		(void)hf_session_progress(guard->session, ret_progress);
	if (is_source(guard))
		guard_source_shown(&guard->source, &copy);
	(void)snprintf(ret_run_state, GUARD_STATE_MAX, "%s", copy.run_state);
	/* The session's one page stands for none. */
	ret_progress->memory_bytes = copy.total;
	ret_progress->remaining_pages = copy.remaining >> HF_PAGE_SHIFT;
	ret_progress->page_bytes = copy.sent;
	ret_progress->wire_bytes = copy.sent;
	ret_progress->normal_pages = copy.normal;
	ret_progress->zero_pages = copy.zero;
	ret_progress->round = (uint32_t)copy.syncs;
	ret_progress->bytes_per_second = copy.rate;
	ret_progress->dirty_pages_per_second = copy.dirty_rate >> HF_PAGE_SHIFT;
	ret_progress->expected_downtime_us = copy.expected_us;
	ret_progress->throttle_percent = copy.throttle;
}

/* ---- running ------------------------------------------------------------------------------- */

static void show_copy(struct guard *guard, uint64_t *next_ns)
{
	uint64_t now = guard_now_ns();
	struct qemu_migration copy;

	if (now < *next_ns)
		return;
	*next_ns = now + SHOW_NS;
	if (!is_source(guard) || !guard->listener.copy)
		return;
	guard_source_shown(&guard->source, &copy);
	guard->listener.copy(guard->listener.ctx, copy.remaining, copy.total);
}

static void take_failure(struct guard *guard)
{
	struct hf_error why = { 0 };
	eventfd_t count;

	(void)eventfd_read(guard->broken_fd, &count); /* it is readable */
	guard_target_why(&guard->target, &why);
	(void)hf_session_fail(guard->session, &why);
}

static int step_all(struct guard *guard, int cancel_fd, struct hf_error *err)
{
	uint64_t next_ns = guard_now_ns() + SHOW_NS;

	for (;;) {
		struct pollfd fds[3] = { { .fd = hf_session_fd(guard->session), .events = POLLIN },
					 { .fd = cancel_fd, .events = POLLIN },
					 { .fd = guard->broken_fd, .events = POLLIN } };
		int step = hf_session_step(guard->session);
		uint64_t now = guard_now_ns(), until;

		if (step < 0)
			return guard_fail(err, step, 0, "the session cannot go on");
		if (step == HF_STEP_DONE)
			return 0;
		until = hf_session_deadline(guard->session);
		until = until < next_ns ? until : next_ns;
		if (poll(fds, 3, until > now ? (int)((until - now) / GUARD_NS_PER_MS) + 1 : 0) <
			    0 &&
		    errno != EINTR)
			return guard_fail(err, HF_E_SYSTEM, errno, "poll");
		if (fds[1].revents) {
			(void)hf_session_cancel(guard->session);
			cancel_fd = -1;
		}
		if (fds[2].revents)
			take_failure(guard);
		show_copy(guard, &next_ns);
	}
}

/* Why it ended; a link that died says more than a session that lost its connection. */
static void explain(struct guard *guard, struct hf_error *err)
{
	const struct hf_error *error = hf_session_error(guard->session);

	*err = *error;
	(void)pthread_mutex_lock(&guard->lock);
	if (guard->dead[0] && err->code == HF_E_CONNECTION_LOST)
		(void)guard_fail_prefix(err, "the link to the other guard: %.120s", guard->dead);
	(void)pthread_mutex_unlock(&guard->lock);
}

int guard_run(struct guard *guard, int cancel_fd, enum hf_outcome *ret_outcome,
	      struct hf_error *err)
{
	struct hf_error own = { 0 };
	int r;

	if (guard->alone) {
		r = is_source(guard)
			    ? guard_restart_source(&guard->source, &guard->ledger, &guard->note,
						   !guard->options.stay, ret_outcome, err)
			    : guard_restart_target(guard->qemu, &guard->ledger, &guard->note,
						   ret_outcome, err);
		guard->decided = r == 0 && *ret_outcome != HF_OUTCOME_WAITING;
		return r;
	}
	r = step_all(guard, cancel_fd, err);
	*ret_outcome = hf_session_outcome(guard->session);
	if (r < 0)
		return r;
	guard->decided = *ret_outcome != HF_OUTCOME_WAITING;
	explain(guard, err);
	switch (*ret_outcome) {
	case HF_OUTCOME_AWAY:
		r = guard_source_release(&guard->source, !guard->options.stay, &own);
		break;
	case HF_OUTCOME_FAILED:
		r = guard_target_discard(&guard->target, &own);
		break;
	case HF_OUTCOME_RUNNING:
	case HF_OUTCOME_HOME:
	case HF_OUTCOME_WAITING:
	case HF_OUTCOME_LOST:
	case HF_OUTCOME_NONE:
		break;
	}
	if (qemu_was_killed(guard->qemu))
		remark(guard, "QEMU was killed", "told to quit, it has not");
	if (guard->link)
		(void)link_finish(guard->link, LINK_SESSION, FINISH_US);
	if (r < 0 && !err->code)
		*err = own;
	return 0;
}
