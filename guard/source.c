/* SPDX-License-Identifier: BSD-3-Clause */
/* See source.h. */
#include "guard/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard/clock.h"
#include "guard/fail.h"
#include "guard/settings.h"

#define MAIN 0u /* the stream of QEMU's main connection: it is the first that it makes */
#define HOLD "holdfast"
#define SLICE_NS (250 * GUARD_NS_PER_MS) /* the longest look; a cancel waits for it */
/* Bytes per second, for versions in which 0 is no bandwidth. */
#define NO_LIMIT (INT64_C(1) << 50)

/* ---- QEMU's migration ---------------------------------------------------------------------- */

static int set_up(struct guard_source *source, struct hf_error *err)
{
	const struct guard_source_options *options = &source->options;
	struct qemu *qemu = source->side.qemu;
	json_int_t bandwidth = options->bandwidth ? (json_int_t)options->bandwidth : NO_LIMIT;
	int r = qemu_capability(qemu, "return-path", true, err);

	if (r == 0)
		r = qemu_capability(qemu, "events", true, err);
	if (r == 0)
		r = qemu_capability(qemu, "multifd", options->multifd > 0, err);
	if (r == 0 && options->auto_converge)
		r = qemu_capability(qemu, "auto-converge", true, err);
	if (r == 0 && options->multifd > 0)
		r = qemu_do(qemu, "migrate-set-parameters",
			    json_pack("{s:i}", "multifd-channels", (int)options->multifd), err);
	if (r == 0)
		r = qemu_do(qemu, "migrate-set-parameters",
			    json_pack("{s:I,s:I}", "downtime-limit",
				      (json_int_t)(options->downtime_us / 1000), "max-bandwidth",
				      bandwidth),
			    err);
	return r;
}

static int begin(struct guard_source *source, struct hf_error *err)
{
	int r = set_up(source, err);

	if (r == 0) {
		source->begun = true; /* also if it fails: what was begun is brought back */
		r = qemu_do(source->side.qemu, "migrate",
			    json_pack("{s:s}", "uri", source->options.migrate_uri), err);
	}
	return r;
}

/* Also a guest that was paused goes through this state. */
static bool has_stopped(const struct qemu_migration *migration)
{
	return strcmp(migration->run_state, "finish-migrate") == 0;
}

static bool has_stopped_or_ended(const struct qemu_migration *migration)
{
	return has_stopped(migration) || qemu_ended(migration);
}

static int migration_failed(const struct qemu_migration *migration, struct hf_error *err)
{
	return guard_fail(err, HF_E_PEER_FAILED, 0, "QEMU's migration is %s%s%s", migration->status,
			  migration->reason[0] ? ": " : "", migration->reason);
}

/* In between QEMU knows no numbers: then the last ones stay. */
static void show(struct guard_source *source, const struct qemu_migration *migration)
{
	(void)pthread_mutex_lock(&source->lock);
	if (migration->total)
		source->shown = *migration;
	else
		memcpy(source->shown.run_state, migration->run_state, QEMU_NAME_MAX);
	(void)pthread_mutex_unlock(&source->lock);
}

void guard_source_shown(struct guard_source *source, struct qemu_migration *ret_migration)
{
	(void)pthread_mutex_lock(&source->lock);
	*ret_migration = source->shown;
	(void)pthread_mutex_unlock(&source->lock);
}

/* *ret_left: what it has still to send before it stops its guest; 0: it has. */
static int watch(struct guard_source *source, uint64_t *ret_left, struct hf_error *err)
{
	struct qemu_migration migration = { 0 };
	struct hf_error own = { 0 };
	int r = qemu_wait(source->side.qemu, has_stopped_or_ended, guard_now_ns() + SLICE_NS,
			  &migration, &own);

	if (r < 0 && r != HF_E_DEADLINE)
		return guard_fail(err, r, own.cause, "%s", own.text);
	if (r == 0 && (qemu_ended(&migration) || !has_stopped(&migration)))
		return migration_failed(&migration, err);
	show(source, &migration);
	*ret_left = r == 0 ? 0 : migration.remaining + 1;
	return 0;
}

/* The last word on QEMU's return path: 0: it has arrived; else it has not. Big endian. */
static int shut(struct guard_source *source, uint8_t value, struct hf_error *err)
{
	const uint8_t message[8] = { 0, 1, 0, 4, 0, 0, 0, value };
	int fd = link_stream_fd(source->link, LINK_QEMU, MAIN);
	ssize_t n;
	int cause;

	if (fd < 0)
		return guard_fail(err, HF_E_CONNECTION_LOST, errno,
				  "the main connection of the source's QEMU is gone");
	n = send(fd, message, sizeof(message), MSG_NOSIGNAL);
	cause = n < 0 ? errno : EIO;
	if (value != 0)
		(void)shutdown(fd, SHUT_RD); /* it may still be sending: that fails now */
	(void)close(fd);
	if (n == (ssize_t)sizeof(message))
		return 0;
	return guard_fail(err, HF_E_CONNECTION_LOST, cause,
			  "the main connection of the source's QEMU");
}

static bool runs_again(const struct qemu_migration *migration)
{
	return qemu_ended(migration) && strcmp(migration->run_state, "running") == 0;
}

/*
 * QEMU's connections take nothing more, and the main one has its last word: before QEMU is asked
 * anything, since it answers nobody while it waits in a write with its guest stopped.
 */
static int break_off(struct guard_source *source)
{
	int r = source->link ? shut(source, 1, NULL) : HF_E_CONNECTION_LOST;

	for (uint32_t i = 1; source->link && i <= source->options.multifd; i++) {
		int fd = link_stream_fd(source->link, LINK_QEMU, i);

		if (fd < 0)
			continue;
		(void)shutdown(fd, SHUT_RD);
		(void)close(fd);
	}
	return r;
}

/*
 * QEMU's migration is over, and the guest here, whatever it stands in. One whose connection went
 * with an earlier guard, and is only held, is cancelled.
 */
static int bring_back(struct guard_source *source, struct hf_error *err)
{
	struct qemu *qemu = source->side.qemu;
	struct qemu_migration migration = { 0 };
	uint64_t patience_ns = source->side.wait_ns / 4;
	int r = break_off(source);

	if (r == 0)
		r = qemu_wait(qemu, qemu_ended, guard_now_ns() + patience_ns, &migration, NULL);
	if (r < 0) {
		r = qemu_migration(qemu, &migration, err);
		if (r == 0 && !qemu_ended(&migration))
			r = qemu_do(qemu, "migrate_cancel", NULL, err);
		if (r == 0)
			r = qemu_wait(qemu, qemu_ended, guard_now_ns() + source->side.wait_ns,
				      &migration, err);
		if (r < 0)
			return r;
	}
	/* Some say that they failed before the guest runs again. */
	if (source->ran)
		(void)qemu_wait(qemu, runs_again, guard_now_ns() + SLICE_NS, NULL, NULL);
	if (source->held)
		(void)qemu_take_back(qemu, HOLD, NULL);
	source->held = source->begun = false;
	return 0;
}

static struct guard_source *source_of(const struct facade_device *device)
{
	return (struct guard_source *)device->side; /* its first member */
}

static int give(struct guard_source *source, struct hf_error *err)
{
	int fd = link_stream_fd(source->link, LINK_QEMU, MAIN), r;

	if (fd < 0)
		return guard_fail(err, HF_E_CONNECTION_LOST, errno,
				  "the main connection of the source's QEMU is gone");
	r = qemu_give(source->side.qemu, HOLD, fd, err);
	(void)close(fd);
	source->held = r == 0;
	return r;
}

/* Nothing that happens to the guard ends QEMU's wait any more; see source.h. */
static int hold(struct guard_source *source, struct hf_error *err)
{
	struct qemu_migration migration = { 0 };
	char state[QEMU_NAME_MAX] = "";
	int r = source->held ? 0 : give(source, err);

	/* It is held only if it still waits: a connection that has ended has ended. */
	if (r == 0)
		r = qemu_migration(source->side.qemu, &migration, err);
	if (r == 0)
		r = qemu_run_state(source->side.qemu, state, err);
	if (r == 0 && (qemu_ended(&migration) || strcmp(state, "finish-migrate") != 0))
		r = guard_fail(err, HF_E_MACHINE_STATE, 0,
			       "the source's QEMU does not wait any more: its migration is %s, its "
			       "run state %s",
			       migration.status, state);
	return r;
}

/* ---- devices ------------------------------------------------------------------------------- */

static int op_get_state(void *self, uint32_t *ret_state)
{
	const struct facade_device *device = self;

	*ret_state = device->state;
	return 0;
}

static int op_set_state(void *self, uint32_t state)
{
	struct facade_device *device = self;
	struct guard_source *source = source_of(device);
	struct hf_error err = { 0 };
	int r = 0;

	if (device->index == 0 && state == HF_DEVICE_PRE_COPY)
		r = begin(source, &err);
	if (device->index == 0 && source->begun &&
	    (state == HF_DEVICE_STOP || state == HF_DEVICE_RUNNING_P2P ||
	     state == HF_DEVICE_RUNNING))
		r = bring_back(source, &err);
	if (r < 0)
		return facade_failed(device, &err);
	device->state = state;
	return 0;
}

static ssize_t op_read_data(void *self, void *buf, size_t size)
{
	(void)self, (void)buf, (void)size;
	return 0; /* QEMU's own connections carry it */
}

static ssize_t op_write_data(void *self, const void *buf, size_t size)
{
	(void)self, (void)buf, (void)size;
	return -EINVAL; /* what a guard keeps has none */
}

static int op_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes)
{
	struct facade_device *device = self;
	struct hf_error err = { 0 };

	*ret_dirty_bytes = 0;
	if (watch(source_of(device), ret_initial_bytes, &err) < 0)
		return facade_failed(device, &err);
	return 0;
}

static int op_reset(void *self)
{
	struct facade_device *device = self;

	if (device->index == 0 && source_of(device)->begun)
		return -EIO; /* nothing more can be done to bring it back */
	device->state = HF_DEVICE_RUNNING;
	return 0;
}

static const struct hf_device_ops device_ops = {
	FACADE_OPS,
	.get_state = op_get_state,
	.set_state = op_set_state,
	.read_data = op_read_data,
	.write_data = op_write_data,
	.precopy_info = op_precopy_info,
	.reset = op_reset,
};

/* ---- the machine --------------------------------------------------------------------------- */

static int machine_describe(void *self, void *buf, uint32_t capacity, uint32_t *ret_length,
			    struct hf_error *err)
{
	const struct guard_source *source = self;
	const struct facade_plan plan = { .multifd = source->options.multifd, .runs = source->ran };
	struct hf_error own = { 0 };
	json_t *settings = settings_read(source->side.qemu, &own);
	int r = settings ? facade_describe(source->side.qemu, &plan, settings, buf, capacity,
					   ret_length, &own)
			 : own.code;

	json_decref(settings);
	return r < 0 ? guard_fail(err, r, own.cause, "%s", own.text) : r;
}

/* A restart's: what was kept is of this very QEMU. */
static int machine_check(void *self, const void *shape, uint32_t length, struct hf_error *err)
{
	const struct guard_source *source = self;
	struct facade_plan plan;
	json_t *settings = NULL;
	int r = facade_compare(source->side.qemu, shape, length, &plan, &settings, err);

	json_decref(settings);
	return r;
}

/* QEMU has stopped it already; that is what is checked. */
static int machine_stop(void *self, struct hf_error *err)
{
	struct guard_source *source = self;
	char state[QEMU_NAME_MAX];
	int r = qemu_run_state(source->side.qemu, state, err);

	if (r == 0 && strcmp(state, "running") == 0)
		r = guard_fail(err, HF_E_MACHINE_STATE, 0,
			       "QEMU was to have stopped its guest, and runs it");
	if (r == 0 && !source->ledger.ops) /* GO commits, and nothing is asked before it */
		r = hold(source, err);
	return r;
}

static int machine_run(void *self, struct hf_error *err)
{
	struct guard_source *source = self;
	struct qemu *qemu = source->side.qemu;
	char state[QEMU_NAME_MAX];
	int r = qemu_run_state(qemu, state, err);

	if (r == 0 && strcmp(state, "running") != 0)
		r = qemu_do(qemu, "cont", NULL, err);
	if (r == 0)
		r = qemu_run_state(qemu, state, err);
	if (r == 0 && strcmp(state, "running") != 0)
		r = guard_fail(err, HF_E_MACHINE_STATE, 0, "QEMU does not run its guest: %s",
			       state);
	return r;
}

static int machine_state_check(void *self, struct hf_error *err)
{
	(void)self, (void)err;
	return 0;
}

struct hf_machine guard_source_machine(struct guard_source *source)
{
	static const struct hf_machine_ops ops = {
		.size = sizeof(ops),
		.describe = machine_describe,
		.check = machine_check,
		.stop = machine_stop,
		.run = machine_run,
		.throttle = facade_throttle,
		.state_save = facade_state_save,
		.state_load = facade_state_load,
		.state_check = machine_state_check,
		.device_save = facade_device_save,
		.device_load = facade_device_load,
	};

	return (struct hf_machine){ .ops = &ops, .self = source };
}

/* ---- the ledger, in front of which the guest is held --------------------------------------- */

static int ledger_read(void *self, const char *guest, struct hf_ledger_record *ret_record,
		       struct hf_error *err)
{
	struct guard_source *source = self;

	return source->ledger.ops->read(source->ledger.self, guest, ret_record, err);
}

static int ledger_swap(void *self, const struct hf_ledger_record *record,
		       struct hf_ledger_record *ret_now, struct hf_error *err)
{
	struct guard_source *source = self;

	if (record->state == HF_LEDGER_OFFERED && source->link) {
		int r = hold(source, err);

		if (r < 0)
			return r;
	}
	return source->ledger.ops->swap(source->ledger.self, record, ret_now, err);
}

static void ledger_close(void *self)
{
	struct guard_source *source = self;

	if (source->ledger.ops)
		hf_ledger_close(&source->ledger);
}

static int ledger_list(void *self, void (*each)(void *ctx, const struct hf_ledger_record *record),
		       void *ctx, struct hf_error *err)
{
	struct guard_source *source = self;

	return source->ledger.ops->list(source->ledger.self, each, ctx, err);
}

struct hf_ledger guard_source_ledger(struct guard_source *source, struct hf_ledger ledger)
{
	static const struct hf_ledger_ops ops = {
		.size = sizeof(ops),
		.kind = "held",
		.read = ledger_read,
		.swap = ledger_swap,
		.close = ledger_close,
		.list = ledger_list,
	};
	struct hf_ledger held = ledger;

	if (strcmp(ledger.ops->kind, "none") == 0)
		return ledger;
	source->ledger = ledger;
	held.ops = &ops;
	held.self = source;
	return held;
}

/* ---- beginning and end --------------------------------------------------------------------- */

/* Capabilities with which a migration is not what a guard can hand over. */
static const char *const foreign[] = { "postcopy-ram",	      "x-colo",
				       "background-snapshot", "mapped-ram",
				       "rdma-pin-all",	      "pause-before-switchover",
				       "switchover-ack",      "x-ignore-shared",
				       "dirty-bitmaps",	      NULL };

static int look(struct guard_source *source, struct hf_error *err)
{
	struct qemu *qemu = source->side.qemu;
	struct hf_error own = { 0 };
	char state[QEMU_NAME_MAX];
	const char *capability;
	int r = qemu_run_state(qemu, state, err);

	if (r < 0)
		return r;
	source->ran = strcmp(state, "running") == 0;
	memcpy(source->shown.run_state, state, QEMU_NAME_MAX);
	if (source->options.restart) {
		source->begun = source->held = true; /* it is looked at when something is done */
		return 0;
	}
	if (!source->ran && strcmp(state, "paused") != 0 && strcmp(state, "prelaunch") != 0)
		return guard_fail(err, HF_E_INVALID, 0,
				  "the source's QEMU is in the state %s: it must run its guest, or "
				  "have it paused",
				  state);
	capability = qemu_capability_on(qemu, foreign, &own);
	if (own.code)
		return guard_fail(err, own.code, 0, "%s", own.text);
	r = settings_check(qemu, "source", &own);
	if (r < 0)
		return guard_fail(err, r, 0, "%s", own.text);
	if (capability)
		return guard_fail(err, HF_E_UNSUPPORTED, 0,
				  "the source's QEMU has its migration capability %s on, with "
				  "which a guard cannot hand a guest over",
				  capability);
	return 0;
}

int guard_source_init(struct guard_source *source, struct qemu *qemu,
		      const struct guard_source_options *options, struct hf_error *err)
{
	int r;

	memset(source, 0, sizeof(*source));
	(void)pthread_mutex_init(&source->lock, NULL); /* cannot fail without attributes */
	source->options = *options;
	r = facade_init(&source->side, qemu, &device_ops, err);
	if (r < 0)
		return r;
	return look(source, err);
}

void guard_source_done(struct guard_source *source)
{
	facade_done(&source->side);
	(void)pthread_mutex_destroy(&source->lock);
}

int guard_source_take_home(struct guard_source *source, struct hf_error *err)
{
	int r = bring_back(source, err);

	return r == 0 && source->ran ? machine_run(source, err) : r;
}

int guard_source_release(struct guard_source *source, bool quit, struct hf_error *err)
{
	struct qemu *qemu = source->side.qemu;
	uint64_t until = guard_now_ns() + source->side.wait_ns;
	int r = 0;

	if (source->begun && source->link) {
		r = shut(source, 0, err);
		if (r == 0)
			r = qemu_wait(qemu, qemu_ended, until, NULL, err);
		if (source->held && !quit)
			(void)qemu_take_back(qemu, HOLD, NULL);
		source->begun = source->held = false;
	}
	return quit ? qemu_quit(qemu, until, err) : r;
}
