/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The main loop of a VMM process, and what happens in it without being asked for: a session takes a
 * step or ends, the guest powers off, a signal comes. See control.h.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "vmm/control-private.h"

void control_say(const struct control *control, const char *format, ...)
{
	char sentence[1024];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	control->config->say(control->config->ctx, sentence);
}

/* ---- where things stand -------------------------------------------------------------------- */

bool control_awaits_guest(const struct control *control)
{
	return control->awaits_guest && !atomic_load(&control->machine.running);
}

const char *control_run_state(const struct control *control)
{
	if (!control->guest)
		return "postmigrate";
	if (control->guest_events & GUEST_EVENT_CRASH)
		return "guest-panicked";
	if (control->guest_events & GUEST_EVENT_SHUTDOWN)
		return "shutdown";
	if (control_awaits_guest(control))
		return "inmigrate";
	if (atomic_load(&control->machine.running))
		return "running";
	if (migration_active(control->migration) && !control->migrates_paused)
		return "finish-migrate";
	return "paused";
}

const char *control_not_now(const struct control *control, char *buf, size_t size)
{
	if (!control->guest)
		(void)snprintf(buf, size, "the guest is away: it was migrated to %s",
			       control->migration->uri);
	else if (control->guest_events & GUEST_EVENT_CRASH)
		(void)snprintf(buf, size, "the guest has crashed: %s", control->guest->crash_text);
	else if (control->guest_events & GUEST_EVENT_SHUTDOWN)
		(void)snprintf(buf, size, "the guest has powered off");
	else if (control_awaits_guest(control))
		(void)snprintf(buf, size, "the guest is not here yet: it is to come by migration");
	else if (migration_active(control->migration))
		(void)snprintf(buf, size,
			       "a migration is under way; cancel it, or wait for its end");
	else
		return NULL;
	return buf;
}

/* ---- events for clients -------------------------------------------------------------------- */

static void announce(struct control *control)
{
	bool running = atomic_load(&control->machine.running);
	const char *status = migration_status(control->migration);

	if (control->migration && control->migration->listening && !control->announced_listening) {
		/* QEMU's event has no uri; who started this with port 0 wants it. */
		control->announced_listening = true;
		control_say(control, "listening at %s", control->migration->uri);
		qmp_server_event(
			&control->server, "MIGRATION",
			json_pack("{s:s,s:s}", "status", "setup", "uri", control->migration->uri));
	}
	if (strcmp(status, control->announced_status) != 0) {
		control->announced_status = status;
		qmp_server_event(&control->server, "MIGRATION",
				 json_pack("{s:s}", "status", status));
	}
	if (running != control->announced_running) {
		control->announced_running = running;
		qmp_server_event(&control->server, running ? "RESUME" : "STOP", NULL);
	}
}

static void on_trace(void *ctx, const struct migrate_trace_entry *entry)
{
	struct control *control = ctx;
	char line[MIGRATE_TRACE_TEXT_MAX * 2];

	if (entry->event.id == HF_TRACE_DEVICE_ARC)
		qmp_server_event(&control->server, "VFIO_MIGRATION", migrate_device_event(entry));
	if (entry->event.id == HF_TRACE_WAITING)
		control_say(control, "waiting for %s", entry->text);
	if (control->config->trace_fd < 0)
		return;
	migrate_trace_line(entry, line, sizeof(line));
	/* A trace that cannot be written must not disturb a migration. */
	(void)dprintf(control->config->trace_fd, "%" PRIu64 ".%09" PRIu64 " %s %s\n",
		      entry->event.time_ns / 1000000000u, entry->event.time_ns % 1000000000u,
		      hf_trace_name(entry->event.id), line);
}

/* ---- migrations ---------------------------------------------------------------------------- */

static void free_guest(struct control *control)
{
	if (!control->guest)
		return;
	loop_forget(control->epoll_fd, &control->guest_source);
	control->guest_source.fd = -1;
	atomic_store(&control->machine.running, false);
	if (control->reset.under_way) /* only a loop that has failed does not wait for it */
		(void)pthread_join(control->reset.thread, NULL);
	control->guest->ops->free(control->guest);
	control->guest = NULL;
}

/*
 * Told to leave, but the migration could not be cancelled any more, and ended with a guest here
 * that may be the only one: whoever wanted this process to end did not know that yet.
 */
static void stay(struct control *control)
{
	if (!control->quitting || control->quit_forced ||
	    control->guest_events & GUEST_EVENT_SHUTDOWN)
		return;
	control->quitting = false;
	control->exit_status = 0;
	control_say(control, "not leaving after all, since the guest is here: ask again to end it");
}

static void target_ended(struct control *control, const struct migration *migration)
{
	if (migration->outcome == HF_OUTCOME_RUNNING) {
		control->awaits_guest = false;
		control_say(control, "the guest is here: %s", control_run_state(control));
		stay(control);
		return;
	}
	if (migration->outcome == HF_OUTCOME_WAITING) {
		/* Perhaps the only one there is: this process must not end. */
		control->awaits_guest = false;
		control_say(control, "the guest is here%s, and paused: %s",
			    migration->broken ? ", perhaps" : "", migration->error.text);
		stay(control);
		return;
	}
	control_say(control, "incoming migration failed: %s", migration->error.text);
	control_quit(control, control->quitting ? control->exit_status : 1);
}

/* What cannot be read is there, too. */
static bool still_kept(const struct control *control)
{
	struct hf_kept kept = { .size = sizeof(kept) };

	return hf_kept_read(control->config->keep, &kept, NULL) != 0;
}

static void source_ended(struct control *control, const struct migration *migration)
{
	switch (migration->outcome) {
	case HF_OUTCOME_AWAY:
		free_guest(control);
		if (control->restarts) {
			control_say(control, "the kept guest is away: the target has started it");
			control_quit(control, 0);
			break;
		}
		control_say(control, "the guest is away, at %s", migration->uri);
		break;
	case HF_OUTCOME_WAITING:
		control_say(control,
			    "in doubt, so the guest waits, paused and whole, for `holdfast "
			    "resolve`: %s",
			    migration->error.text);
		stay(control);
		break;
	case HF_OUTCOME_LOST:
		if (control->restarts && still_kept(control)) {
			control_say(control,
				    "the kept guest cannot be taken up, and stays kept: %s",
				    migration->error.text);
			control_quit(control, 1);
			break;
		}
		control->restarts = false;
		control_say(control, "the guest is here and paused: %s", migration->error.text);
		break;
	case HF_OUTCOME_HOME:
		if (control->restarts) {
			control_say(control, "the kept guest is here: %s (%s)",
				    control_run_state(control), migration->error.text);
			stay(control);
			control->restarts = false;
			break;
		}
		control_say(control, "migration failed, the guest is here: %s",
			    migration->error.text);
		break;
	case HF_OUTCOME_NONE:
	case HF_OUTCOME_RUNNING:
	case HF_OUTCOME_FAILED:
		assert(!"an outcome that a source does not have");
	}
}

static void step(struct control *control)
{
	struct migration *migration = control->migration;

	if (migration_step(migration) == HF_STEP_WAIT)
		return;
	loop_forget(control->epoll_fd, &control->session_source);
	if (control->session_source.fd >= 0)
		(void)close(control->session_source.fd); /* a copy; see watch_session() */
	control->session_source.fd = -1;
	if (migration->role == HF_ROLE_TARGET)
		target_ended(control, migration);
	else
		source_ended(control, migration);
	control_devices_reset(control); /* if it has crashed meanwhile */
}

static void session_ready(struct loop_source *source, uint32_t events)
{
	(void)events;
	step(FROM_SOURCE(source, session_source));
}

/* The loop waits on a copy of the session's descriptor: the session closes its own when it ends. */
static int watch_session(struct control *control, struct hf_error *err)
{
	int fd = fcntl(migration_fd(control->migration), F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return control_error(err, HF_E_SYSTEM, errno, "waiting for the session");
	control->session_source.fd = fd;
	return loop_watch(control->epoll_fd, &control->session_source, EPOLLIN, err);
}

int control_migrate(struct control *control, uint32_t role, const char *uri,
		    const struct migrate_parameters *parameters, struct hf_error *err)
{
	struct migration_config config = {
		.role = role,
		.guest = control->guest,
		.machine = &control->machine,
		.parameters = parameters,
		.uri = uri,
		.side = control->config->side,
		.paused = !atomic_load(&control->machine.running),
		.keep = control->config->keep,
		.restart = control->restarts,
		.event = on_trace,
		.ctx = control,
	};
	struct migration *migration;
	int result;

	assert(control->guest && !migration_active(control->migration));
	result = migration_start(&config, &migration, err);
	if (result < 0)
		return result;
	control->migration = migration_free(control->migration);
	control->migration = migration;
	control->migrates_paused = config.paused;
	control->announced_status = "none";
	control->announced_listening = false;
	if (migration->warning[0])
		control_say(control, "%s", migration->warning);
	result = watch_session(control, err);
	if (result < 0) {
		/* Its descriptor cannot be waited for; its deadlines bring it to its end. */
		(void)migration_cancel(migration);
		return result;
	}
	step(control);
	return 0;
}

int control_check_doubt(const struct control *control, struct hf_error *err)
{
	if (!migration_in_doubt(control->migration))
		return 0;
	if (control->migration->broken)
		return control_error(err, HF_E_IN_DOUBT, 0, "the guest may not be run here: %s",
				     control->migration->error.text);
	return control_error(err, HF_E_IN_DOUBT, 0,
			     "the guest waits, paused and whole, for `holdfast resolve`: %s",
			     control->migration->error.text);
}

int control_resolve(struct control *control, enum hf_resolve how, struct hf_error *err)
{
	bool had_ended = !migration_active(control->migration);
	int result = migration_resolve(control->migration, how, err);

	if (result < 0)
		return result;
	control->announced_status = "none";
	if (had_ended)
		result = watch_session(control, err); /* else its deadlines bring it on */
	step(control);
	return result;
}

/* ---- the end ------------------------------------------------------------------------------- */

void control_quit(struct control *control, int exit_status)
{
	control->exit_status = exit_status;
	control->quitting = true;
	if (!migration_active(control->migration))
		return;
	if (migration_cancel(control->migration) == HF_E_TOO_LATE &&
	    (!control->awaits_guest || control_awaits_guest(control)))
		control_say(control, "the guest has been offered to the other side: waiting for "
				     "the outcome before leaving");
}

static void signals_ready(struct loop_source *source, uint32_t events)
{
	struct control *control = FROM_SOURCE(source, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (migration_in_doubt(control->migration) && control->guest) {
		control_say(control,
			    "%s: not leaving, since the guest here may be the only one: %s",
			    strsignal((int)info.ssi_signo), control->migration->error.text);
		return;
	}
	control_quit(control, 0);
}

static void guest_ready(struct loop_source *source, uint32_t events)
{
	struct control *control = FROM_SOURCE(source, guest_source);
	uint32_t happened = control->guest->ops->events(control->guest);

	(void)events;
	control->guest_events |= happened;
	if (happened & (GUEST_EVENT_CRASH | GUEST_EVENT_SHUTDOWN))
		atomic_store(&control->machine.running, false);
	if (happened & GUEST_EVENT_CRASH) {
		control_say(control, "the guest has crashed: %s", control->guest->crash_text);
		qmp_server_event(&control->server, "GUEST_PANICKED",
				 json_pack("{s:s}", "action", "pause"));
		/* What is saved of a device that broke meanwhile is not to be handed over. */
		if (control->guest->broken_by_device)
			migration_break(control->migration, control->guest->crash_text);
		control_devices_reset(control);
	}
	if (happened & GUEST_EVENT_DEVICE_WANTED)
		control_devices_wanted(control);
	if (happened & GUEST_EVENT_IRQS_FAILED)
		control_devices_irqs_failed(control);
	if (happened & GUEST_EVENT_BARS_FAILED)
		control_devices_bars_failed(control);
	if (happened & GUEST_EVENT_P2P_REFUSED)
		control_devices_p2p_refused(control);
	if (happened & GUEST_EVENT_SHUTDOWN) {
		qmp_server_event(&control->server, "SHUTDOWN",
				 json_pack("{s:b,s:s}", "guest", 1, "reason", "guest-shutdown"));
		control_quit(control, control->guest->exit_status);
	}
}

/* ---- the loop ------------------------------------------------------------------------------ */

/* Milliseconds until the session wants to be stepped; -1: no need. Rounded up. */
static int timeout_ms(const struct control *control)
{
	uint64_t deadline, now_ns, ms;
	struct timespec now;

	if (!migration_active(control->migration))
		return -1;
	deadline = migration_deadline(control->migration);
	if (deadline == UINT64_MAX)
		return -1;
	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (deadline <= now_ns)
		return 0;
	ms = (deadline - now_ns + 999999) / 1000000;
	return ms > 60000 ? 60000 : (int)ms;
}

static void loop(struct control *control)
{
	announce(control); /* nothing else may happen for long */
	while (!control->quitting || migration_active(control->migration) ||
	       control->reset.under_way) {
		struct epoll_event event;
		int n = epoll_wait(control->epoll_fd, &event, 1, timeout_ms(control));

		if (n < 0 && errno != EINTR) {
			control_say(control, "epoll_wait: %s", strerror(errno));
			control->exit_status = 1;
			return;
		}
		if (n == 1) {
			struct loop_source *source = event.data.ptr;

			source->ready(source, event.events);
		}
		/* Other events must not keep a session from its deadline. */
		if (migration_active(control->migration) && timeout_ms(control) == 0)
			step(control);
		announce(control);
	}
}

/* A guest that was booted here is ours from now on, in the ledger too: before it runs. */
static int register_guest(struct control *control, struct hf_error *err)
{
	struct hf_ledger ledger = { .ops = NULL };
	int result = hf_ledger_open(control->parameters.ledger, &ledger, err);

	if (result < 0)
		return result;
	if (strcmp(ledger.ops->kind, "none") == 0) {
		hf_ledger_close(&ledger);
		return 0; /* there is none, as was asked for */
	}
	result = hf_ledger_register(&ledger, control->config->guest_name, control->config->side,
				    err);
	hf_ledger_close(&ledger);
	return result;
}

static int begin(struct control *control, struct hf_error *err)
{
	const struct control_config *config = control->config;
	struct hf_machine machine = migrate_machine_handle(&control->machine);
	int result;

	result = loop_watch(control->epoll_fd, &control->guest_source, EPOLLIN, err);
	if (result == 0 && config->signal_fd >= 0)
		result = loop_watch(control->epoll_fd, &control->signals, EPOLLIN, err);
	if (result < 0)
		return result;
	if (config->incoming) {
		control->awaits_guest = true;
		if (strcmp(config->incoming, "defer") == 0)
			return 0;
		return control_migrate(control, HF_ROLE_TARGET, config->incoming,
				       &control->parameters, err);
	}
	if (config->restart) {
		control->restarts = true;
		return control_migrate(control, HF_ROLE_SOURCE, "kept:", &control->parameters, err);
	}
	result = register_guest(control, err);
	if (result < 0 || config->paused)
		return result;
	return machine.ops->run(machine.self, err);
}

int control_run(const struct control_config *config)
{
	struct qmp_table table = { .commands = control_commands, .events = control_events };
	struct hf_error err = { 0 };
	struct control control = {
		.config = config,
		.guest = config->guest,
		.parameters = *config->parameters,
		.announced_status = "none",
		.signals = { config->signal_fd, signals_ready },
		.guest_source = { config->guest->event_fd, guest_ready },
		.session_source = { -1, session_ready },
	};
	int result;

	table.ctx = &control;
	migrate_machine_init(&control.machine, config->guest->machine);
	control.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (control.epoll_fd < 0)
		result = control_error(&err, HF_E_SYSTEM, errno, "epoll_create1");
	else
		result = qmp_server_open(&control.server, config->socket_path, &table,
					 control.epoll_fd, &err);
	if (result == 0)
		result = begin(&control, &err);
	if (result < 0) {
		control_say(&control, "%s", err.text);
		control_quit(&control, 1);
	}
	if (control.epoll_fd >= 0)
		loop(&control);

	qmp_server_close(&control.server);
	if (control.migration && control.migration->broken)
		_exit(control.exit_status); /* its workers may still use all of this */
	/* A session that is given up in doubt still uses the guest's memory and devices. */
	control.migration = migration_free(control.migration);
	free_guest(&control);
	if (control.epoll_fd >= 0)
		(void)close(control.epoll_fd);
	return control.exit_status;
}
