/* SPDX-License-Identifier: BSD-3-Clause */
/* See target.h. */
#include "guard/target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guard/clock.h"
#include "guard/fail.h"
#include "guard/settings.h"
#include "guard/vfio-take.h"

#define MAIN 0u
#define RP_HEAD 4u /* be16 type, be16 length */
#define RP_SHUT 1u
#define RP_SHUT_LENGTH 4u

static struct guard_target *target_of(const struct facade_device *device)
{
	return (struct guard_target *)device->side; /* its first member */
}

/* ---- the return path ----------------------------------------------------------------------- */

static void shut_seen(struct guard_target *target, uint32_t value)
{
	(void)pthread_mutex_lock(&target->lock);
	target->shut = true;
	target->shut_value = value;
	(void)pthread_cond_broadcast(&target->changed);
	(void)pthread_mutex_unlock(&target->lock);
}

/*
 * Messages pass, whole ones, until SHUT; that and whatever follows it does not. At most a head is
 * kept for the next call: the body of any other message may pass in pieces.
 */
static size_t filter(struct guard_target *target, uint8_t *buf, size_t size)
{
	size_t at = 0, end = size + target->partial_length;

	memmove(buf + target->partial_length, buf, size); /* there is room: LINK_FILTER_SPARE */
	memcpy(buf, target->partial, target->partial_length);
	target->partial_length = 0;
	while (at < end) {
		size_t pass = end - at < target->body_left ? end - at : target->body_left;

		at += pass;
		target->body_left -= (uint32_t)pass;
		if (at == end)
			break;
		if (end - at < RP_HEAD || (buf[at] == 0 && buf[at + 1] == RP_SHUT &&
					   end - at < RP_HEAD + RP_SHUT_LENGTH)) {
			target->partial_length = (uint32_t)(end - at);
			memcpy(target->partial, buf + at, end - at);
			return at;
		}
		if (buf[at] == 0 && buf[at + 1] == RP_SHUT) {
			shut_seen(target, (uint32_t)buf[at + 4] << 24 |
						  (uint32_t)buf[at + 5] << 16 |
						  (uint32_t)buf[at + 6] << 8 | buf[at + 7]);
			return at;
		}
		target->body_left = RP_HEAD + ((uint32_t)buf[at + 2] << 8 | buf[at + 3]);
	}
	return end;
}

size_t guard_target_filter(void *ctx, uint32_t index, uint8_t *buf, size_t size)
{
	struct guard_target *target = ctx;

	if (index != MAIN || target->shut)
		return index == MAIN ? 0 : size;
	return filter(target, buf, size);
}

/* ---- QEMU's load --------------------------------------------------------------------------- */

static int exit_on_error_off(struct qemu *qemu, const char *uri, struct hf_error *err)
{
	struct hf_error own = { 0 };
	/* Since 9.1; without it a load that fails ends the process, and the reason with it. */
	int r = qemu_do(qemu, "migrate-incoming",
			json_pack("{s:s,s:b}", "uri", uri, "exit-on-error", 0), &own);

	if (r == HF_E_REFUSED && strstr(own.text, "exit-on-error"))
		return qemu_do(qemu, "migrate-incoming", json_pack("{s:s}", "uri", uri), err);
	if (r < 0)
		return guard_fail(err, r, 0, "%s", own.text);
	return 0;
}

/* QEMU listens, and will not start its guest by itself, whether it was given -S or not. */
static int prepare(struct guard_target *target, struct hf_error *err)
{
	struct qemu *qemu = target->side.qemu;
	struct hf_error late = { 0 };
	int r = qemu_do(qemu, "stop", NULL, err);

	if (r == 0)
		r = qemu_capability(qemu, "return-path", true, err);
	if (r == 0)
		r = qemu_capability(qemu, "events", true, err);
	/* Disks are the source's until `cont`; from 10.0 on that is so without being asked for. */
	if (r == 0 && qemu_capability(qemu, "late-block-activate", true, &late) < 0 &&
	    late.code != HF_E_UNSUPPORTED)
		r = guard_fail(err, late.code, 0, "%s", late.text);
	if (r == 0)
		r = settings_apply(qemu, target->settings, err);
	if (r == 0)
		r = qemu_capability(qemu, "multifd", target->plan.multifd > 0, err);
	if (r == 0 && target->plan.multifd > 0)
		r = qemu_do(qemu, "migrate-set-parameters",
			    json_pack("{s:i}", "multifd-channels", (int)target->plan.multifd), err);
	return r == 0 ? exit_on_error_off(qemu, target->options.incoming_uri, err) : r;
}

static void set_load(struct guard_target *target, bool done)
{
	(void)pthread_mutex_lock(&target->lock);
	target->load = done ? LOAD_DONE : LOAD_FAILED;
	(void)pthread_cond_broadcast(&target->changed);
	(void)pthread_mutex_unlock(&target->lock);
}

static struct timespec until(uint64_t deadline_ns)
{
	return (struct timespec){ .tv_sec = (time_t)(deadline_ns / GUARD_NS_PER_S),
				  .tv_nsec = (long)(deadline_ns % GUARD_NS_PER_S) };
}

/* SHUT comes behind `completed`: by it QEMU says that its own threads ended well, too. */
static int wait_shut(struct guard_target *target, uint64_t deadline_ns, struct hf_error *err)
{
	struct timespec deadline = until(deadline_ns);
	uint32_t value;
	bool shut;
	int r = 0;

	(void)pthread_mutex_lock(&target->lock);
	while (!target->shut && r == 0)
		r = pthread_cond_timedwait(&target->changed, &target->lock, &deadline);
	shut = target->shut;
	value = target->shut_value;
	(void)pthread_mutex_unlock(&target->lock);
	if (!shut)
		return guard_fail(
			err, HF_E_DEADLINE, 0,
			"the target's QEMU has loaded, and does not say so to the source");
	if (value != 0)
		return guard_fail(err, HF_E_PEER_FAILED, 0,
				  "the target's QEMU says that its load failed (%u)", value);
	return 0;
}

bool guard_target_has_loaded(struct guard_target *target)
{
	bool good;

	(void)pthread_mutex_lock(&target->lock);
	good = target->shut && target->shut_value == 0;
	(void)pthread_mutex_unlock(&target->lock);
	return good;
}

static int is_gone(struct guard_target *target, struct hf_error *err)
{
	target->quit = true;
	return guard_fail(err, HF_E_MACHINE_STATE, 0,
			  "the target's QEMU ended while it loaded the guest (its standard error "
			  "says why)");
}

void guard_target_why(struct guard_target *target, struct hf_error *err)
{
	struct qemu_migration migration = { 0 };
	struct hf_error own = { 0 };
	int r = qemu_migration(target->side.qemu, &migration, &own);

	if (r == HF_E_CONNECTION_LOST)
		(void)is_gone(target, err);
	else if (r < 0)
		(void)guard_fail(err, HF_E_MACHINE_STATE, 0, "%s", own.text);
	else
		(void)guard_fail(err, HF_E_MACHINE_STATE, 0,
				 "the target's QEMU gave the load of the guest up: %s%s%s",
				 migration.status, migration.reason[0] ? ": " : "",
				 migration.reason);
}

static int load(struct guard_target *target, struct hf_error *err)
{
	uint64_t deadline_ns = guard_now_ns() + target->side.wait_ns;
	struct qemu_migration migration = { 0 };
	struct hf_error own = { 0 };
	int r = qemu_wait(target->side.qemu, qemu_ended, deadline_ns, &migration, &own);

	if (r == HF_E_CONNECTION_LOST)
		return is_gone(target, err);
	if (r < 0)
		return guard_fail(err, r, own.cause, "%s", own.text);
	if (strcmp(migration.status, "completed") != 0)
		return guard_fail(err, HF_E_PEER_FAILED, 0,
				  "the target's QEMU could not load the guest: %s%s%s",
				  migration.status, migration.reason[0] ? ": " : "",
				  migration.reason);
	if (strcmp(migration.run_state, "running") == 0)
		return guard_fail(err, HF_E_MACHINE_STATE, 0,
				  "the target's QEMU runs the guest, and was told not to");
	return wait_shut(target, deadline_ns, err);
}

/* Whoever waits for the load of QEMU itself. 0: it has loaded. */
static int wait_load(struct guard_target *target)
{
	struct timespec deadline = until(guard_now_ns() + target->side.wait_ns + GUARD_NS_PER_S);
	bool done;
	int r = 0;

	(void)pthread_mutex_lock(&target->lock);
	while (target->load == LOAD_OPEN && r == 0)
		r = pthread_cond_timedwait(&target->changed, &target->lock, &deadline);
	done = target->load == LOAD_DONE;
	(void)pthread_mutex_unlock(&target->lock);
	return done ? 0 : -ECANCELED;
}

/* It has loaded the guest, and does not run it. */
static int waits(struct guard_target *target, struct hf_error *err)
{
	char state[QEMU_NAME_MAX];
	int r = qemu_run_state(target->side.qemu, state, err);

	if (r == 0 && strcmp(state, "paused") != 0 && strcmp(state, "prelaunch") != 0)
		r = guard_fail(err, HF_E_MACHINE_STATE, 0,
			       "the target's QEMU has loaded the guest, and is in the state %s",
			       state);
	return r;
}

int guard_target_discard(struct guard_target *target, struct hf_error *err)
{
	int r = 0;

	if (!target->quit)
		r = qemu_quit(target->side.qemu, guard_now_ns() + target->side.wait_ns, err);
	target->quit = r == 0;
	return r;
}

/* ---- QEMU's copy as a device --------------------------------------------------------------- */

static int copy_set_state(struct facade_device *device, uint32_t state, struct hf_error *err)
{
	struct guard_target *target = target_of(device);
	int r = 0;

	if (state == HF_DEVICE_RESUMING)
		return prepare(target, err);
	if (state != HF_DEVICE_STOP)
		return waits(target, err); /* it may have died since: it is not `started` then */
	if (device->state != HF_DEVICE_RESUMING) /* it goes back to the source */
		return guard_target_discard(target, err);
	r = load(target, err);
	set_load(target, r == 0);
	return r;
}

/* ---- VFIO devices -------------------------------------------------------------------------- */

/* From where a device stands, checked, to a state that it has. 0 or a negative errno. */
static int arc(struct facade_device *device, uint32_t from, uint32_t to, struct hf_error *err)
{
	uint32_t state = HF_DEVICE_ERROR;
	int r = vfio_take_state(device->fd, &state);

	if (r == 0 && from && state != from) {
		(void)guard_fail(err, HF_E_DEVICE_STATE, 0, "it stands in %s already",
				 hf_device_state_name(state));
		return -EIO;
	}
	if (r == 0)
		r = vfio_take_set_state(device->fd, to);
	if (r == 0)
		r = vfio_take_state(device->fd, &state);
	if (r == 0 && state != to) {
		(void)guard_fail(err, HF_E_DEVICE_STATE, 0, "it stands in %s afterwards",
				 hf_device_state_name(state));
		return -EIO;
	}
	return r;
}

/*
 * It can run. QEMU starts it anew at `cont`, by RUNNING_P2P, and resets one that refuses: so it is
 * left there, and what QEMU does is the last arc only, which has just succeeded.
 */
static int leave_in_p2p(struct facade_device *device, struct hf_error *err)
{
	int r = arc(device, HF_DEVICE_RUNNING, HF_DEVICE_RUNNING_P2P, err);

	if (r < 0)
		(void)guard_fail(err, HF_E_DEVICE_STATE, 0,
				 "it has been started, and refuses to go back to RUNNING_P2P");
	return r;
}

static int vfio_set_state(struct facade_device *device, uint32_t state, struct hf_error *err)
{
	bool verify = device->state == HF_DEVICE_RESUMING && state == HF_DEVICE_STOP;
	int r;

	if (state == HF_DEVICE_RESUMING)
		return 0; /* QEMU does it, when it begins to load */
	if (verify && wait_load(target_of(device)) < 0)
		return -ECANCELED;
	if (device->fd < 0)
		return 0;
	if (state == HF_DEVICE_RUNNING_P2P && !(device->flags & HF_MIG_P2P))
		return 0; /* it has no such state */
	r = arc(device, verify ? HF_DEVICE_RESUMING : 0, state, err);
	if (r == 0 && state == HF_DEVICE_RUNNING && (device->flags & HF_MIG_P2P))
		r = leave_in_p2p(device, err);
	return r;
}

/* ---- the table ----------------------------------------------------------------------------- */

static int op_get_state(void *self, uint32_t *ret_state)
{
	const struct facade_device *device = self;

	*ret_state = device->state;
	return 0;
}

static int op_set_state(void *self, uint32_t state)
{
	struct facade_device *device = self;
	struct hf_error err = { 0 };
	int r;

	device->why[0] = 0;
	if (device->index == 0) {
		r = copy_set_state(device, state, &err);
		if (r < 0)
			return facade_failed(device, &err);
	} else {
		r = vfio_set_state(device, state, &err);
		if (r < 0) {
			if (device->fd >= 0) /* where it was left, or it is told as before */
				(void)vfio_take_state(device->fd, &device->state);
			(void)facade_failed(device, &err);
			return r;
		}
	}
	device->state = state;
	return 0;
}

static ssize_t op_read_data(void *self, void *buf, size_t size)
{
	(void)self, (void)buf, (void)size;
	return -EINVAL;
}

static ssize_t op_write_data(void *self, const void *buf, size_t size)
{
	(void)self, (void)buf, (void)size;
	return -EINVAL; /* QEMU's own connections carry it */
}

static int op_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes)
{
	(void)self, (void)ret_initial_bytes, (void)ret_dirty_bytes;
	return -EINVAL;
}

/* Nothing of the guest may be left that could run: the process goes, and its devices with it. */
static int op_reset(void *self)
{
	struct facade_device *device = self;
	struct hf_error err = { 0 };

	if (device->index == 0 && guard_target_discard(target_of(device), &err) < 0)
		return facade_failed(device, &err);
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
	const struct guard_target *target = self;

	return facade_describe(target->side.qemu, &target->plan, NULL, buf, capacity, ret_length,
			       err);
}

static int machine_check(void *self, const void *shape, uint32_t length, struct hf_error *err)
{
	struct guard_target *target = self;
	int r;

	json_decref(target->settings);
	r = facade_compare(target->side.qemu, shape, length, &target->plan, &target->settings, err);
	if (r == 0 && target->options.planned)
		r = target->options.planned(target->options.ctx, &target->plan, err);
	return r;
}

static int machine_stop(void *self, struct hf_error *err)
{
	(void)self, (void)err; /* QEMU was told before it began to load */
	return 0;
}

/* The last proof: QEMU is where `cont` is all that is missing. */
static int machine_state_check(void *self, struct hf_error *err)
{
	return waits(self, err);
}

static int machine_run(void *self, struct hf_error *err)
{
	struct guard_target *target = self;
	struct qemu *qemu = target->side.qemu;
	char state[QEMU_NAME_MAX];
	int r = qemu_do(qemu, "cont", NULL, err);

	if (r == 0)
		r = qemu_run_state(qemu, state, err);
	if (r == 0 && strcmp(state, "running") != 0)
		r = guard_fail(err, HF_E_MACHINE_STATE, 0,
			       "the target's QEMU was told to run the guest, and is in the state "
			       "%s",
			       state);
	return r;
}

struct hf_machine guard_target_machine(struct guard_target *target)
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

	return (struct hf_machine){ .ops = &ops, .self = target };
}

/* ---- beginning and end --------------------------------------------------------------------- */

/* Each device that QEMU names has a descriptor, and the other way round. */
static int take_devices(struct guard_target *target, struct hf_error *err)
{
	struct facade_side *side = &target->side;
	pid_t pid = target->options.pid ? target->options.pid : qemu_pid(side->qemu);
	uint32_t wanted = side->count - 1;
	const char *hosts[HF_DEVICES_MAX];
	int fds[HF_DEVICES_MAX], r;

	if (wanted == 0)
		return 0;
	if (pid == 0)
		return guard_fail(err, HF_E_INVALID, 0,
				  "the process of the target's QEMU is not known: its control "
				  "socket must be a UNIX socket, or its PID be given");
	for (uint32_t i = 0; i < wanted; i++)
		hosts[i] = side->devices[i + 1].vfio.host;
	r = vfio_take(pid, hosts, wanted, fds, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < wanted; i++)
		side->devices[i + 1].fd = fds[i];
	for (uint32_t i = 1; i < side->count; i++) {
		struct facade_device *device = &side->devices[i];

		r = vfio_take_flags(device->fd, &device->flags);
		if (r < 0)
			return guard_fail(err, HF_E_DEVICE_LOST, -r, "device %s",
					  device->vfio.name);
		if (!(device->flags & HF_MIG_STOP_COPY))
			return guard_fail(err, HF_E_UNSUPPORTED, 0, "device %s cannot be migrated",
					  device->vfio.name);
	}
	return 0;
}

static void leave_devices(struct guard_target *target)
{
	for (uint32_t i = 0; i < target->side.count; i++) {
		if (target->side.devices[i].fd >= 0)
			(void)close(target->side.devices[i].fd);
		target->side.devices[i].fd = -1;
	}
}

int guard_target_init(struct guard_target *target, struct qemu *qemu,
		      const struct guard_target_options *options, struct hf_error *err)
{
	struct hf_error unseen = { 0 };
	pthread_condattr_t attributes;
	char state[QEMU_NAME_MAX];
	int r;

	memset(target, 0, sizeof(*target));
	target->options = *options;
	(void)pthread_mutex_init(&target->lock, NULL); /* cannot fail without attributes */
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&target->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	r = facade_init(&target->side, qemu, &device_ops, err);
	if (r == 0)
		r = qemu_run_state(qemu, state, err);
	if (r < 0)
		return r;
	if (strcmp(state, "inmigrate") != 0)
		return guard_fail(err, HF_E_INVALID, 0,
				  "the target's QEMU is in the state %s: it must have been started "
				  "with -incoming defer",
				  state);
	r = settings_check(qemu, "target", err);
	if (r < 0)
		return r;
	r = take_devices(target, &unseen);
	if (r < 0 && !options->trust)
		return guard_fail(err, r, 0, "%s", unseen.text);
	if (r < 0) {
		leave_devices(target);
		(void)snprintf(target->unproved, sizeof(target->unproved), "%s", unseen.text);
	}
	return 0;
}

void guard_target_done(struct guard_target *target)
{
	facade_done(&target->side);
	json_decref(target->settings);
	(void)pthread_mutex_destroy(&target->lock);
	(void)pthread_cond_destroy(&target->changed);
}
