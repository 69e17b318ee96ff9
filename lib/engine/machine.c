/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Jobs of the machine's worker: vCPUs, their state and the platform's, devices' configuration.
 * State goes through the arena, which was allocated at set-up.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "engine/actions.h"

/*
 * A machine may have connections of its own (to an emulator in another process). That one of them
 * is gone must not be taken for the peer's, after which a better reason would be waited for.
 */
static void on_machine_done(struct session *session, const struct job *job)
{
	static const char *const names[] = { "stop", "run", "check", "save", "load", "throttle" };
	struct job judged = *job;

	if (job->code == HF_E_CONNECTION_LOST)
		judged.code = judged.err.code = HF_E_MACHINE_STATE;
	trace(session, HF_TRACE_MACHINE, names[job->arg[0]], 0, (uint64_t)(int64_t)judged.code,
	      job->end_ns - job->begin_ns, 0);
	phase_job_done(session, &judged);
}

enum what { STOP, RUN, CHECK, SAVE, LOAD, THROTTLE };

static void submit(struct session *session, struct phase *phase, enum what what, job_run_fn run,
		   job_done_fn done)
{
	struct job job = { .run = run, .done = done, .arg = { what } };

	phase_submit(session, phase, &session->machine_worker, &job);
}

static int run_stop(struct session *session, struct job *job)
{
	return session->machine.ops->stop(session->machine.self, &job->err);
}

static void on_stop_done(struct session *session, const struct job *job)
{
	if (!session->stopped_ns)
		session->stopped_ns = job->begin_ns;
	on_machine_done(session, job);
}

void machine_stop(struct session *session, void (*then)(struct session *))
{
	phase_begin(session, &session->main, then);
	submit(session, &session->main, STOP, run_stop, on_stop_done);
	phase_release(session, &session->main);
}

static int run_run(struct session *session, struct job *job)
{
	return session->machine.ops->run(session->machine.self, &job->err);
}

static void on_run_done(struct session *session, const struct job *job)
{
	if (job->code == 0)
		session->resumed_ns = job->end_ns;
	on_machine_done(session, job);
}

/* A guest that was paused stays so. */
void machine_run(struct session *session, void (*then)(struct session *))
{
	phase_begin(session, &session->main, then);
	if (!session->config.paused)
		submit(session, &session->main, RUN, run_run, on_run_done);
	phase_release(session, &session->main);
}

static int run_check(struct session *session, struct job *job)
{
	return session->machine.ops->check(session->machine.self, session->shape,
					   session->shape_length, &job->err);
}

void machine_check(struct session *session, struct phase *phase)
{
	submit(session, phase, CHECK, run_check, on_machine_done);
}

/* Room for one more item; NULL if the arena is full. */
static struct arena_item *arena_next(struct arena *arena, uint32_t *ret_room)
{
	if (arena->count == STATE_SECTIONS_MAX || arena->used == STATE_ARENA_BYTES)
		return NULL;
	*ret_room = STATE_ARENA_BYTES - arena->used;
	if (*ret_room > HF_STATE_SECTION_MAX)
		*ret_room = HF_STATE_SECTION_MAX;
	arena->items[arena->count] =
		(struct arena_item){ .device = UINT32_MAX, .offset = arena->used };
	return &arena->items[arena->count];
}

static void arena_commit(struct arena *arena, uint32_t length)
{
	arena->items[arena->count].length = length;
	arena->used += (length + 7u) & ~7u;
	if (arena->used > STATE_ARENA_BYTES)
		arena->used = STATE_ARENA_BYTES;
	arena->count++;
}

static int save_configs(struct session *session, struct hf_error *err)
{
	const struct hf_machine *machine = &session->machine;

	for (uint32_t i = 0; i < session->device_count; i++) {
		uint32_t room, length = 0;
		struct arena_item *item = arena_next(&session->arena, &room);
		int code;

		if (!item)
			return error_set(err, HF_E_MACHINE_STATE, 0,
					 "devices' configurations are "
					 "more than %u bytes",
					 STATE_ARENA_BYTES);
		code = machine->ops->device_save(
			machine->self, i, session->arena.bytes + item->offset, room, &length, err);
		if (code < 0)
			return error_prepend(err, "device %u (%s)", i,
					     session->slots[i].device.name);
		assert(length <= room);
		item->device = i;
		arena_commit(&session->arena, length);
	}
	return 0;
}

static int run_save(struct session *session, struct job *job)
{
	const struct hf_machine *machine = &session->machine;
	int code = save_configs(session, &job->err);

	for (uint32_t index = 0; code == 0; index++) {
		uint32_t room;
		struct arena_item *item = arena_next(&session->arena, &room);

		if (!item)
			return error_set(&job->err, HF_E_MACHINE_STATE, 0,
					 "the machine's state is more than %u bytes or %u sections",
					 STATE_ARENA_BYTES, STATE_SECTIONS_MAX);
		code = machine->ops->state_save(machine->self, index, &item->section,
						session->arena.bytes + item->offset, room,
						&job->err);
		if (code == HF_STATE_END)
			return 0;
		if (code < 0)
			return code;
		assert(item->section.length <= room);
		arena_commit(&session->arena, item->section.length);
	}
	return code;
}

static void on_save_done(struct session *session, const struct job *job)
{
	if (job->code == 0 && phase_done(session, job))
		control_send_state(session); /* before the phase is released below */
	on_machine_done(session, job);
}

void machine_save(struct session *session, struct phase *phase)
{
	session->arena.used = 0;
	session->arena.count = 0;
	submit(session, phase, SAVE, run_save, on_save_done);
}

static int load_item(struct session *session, const struct arena_item *item, struct hf_error *err)
{
	const struct hf_machine *machine = &session->machine;
	const void *data = session->arena.bytes + item->offset;
	int code;

	if (item->device == UINT32_MAX)
		return machine->ops->state_load(machine->self, &item->section, data, err);
	code = machine->ops->device_load(machine->self, item->device, data, item->length, err);
	if (code < 0)
		return error_prepend(err, "device %u (%s)", item->device,
				     session->slots[item->device].device.name);
	return 0;
}

static int run_load(struct session *session, struct job *job)
{
	const struct hf_machine *machine = &session->machine;

	for (uint32_t i = 0; i < session->arena.count; i++) {
		int code = load_item(session, &session->arena.items[i], &job->err);

		if (code < 0)
			return code;
	}
	return machine->ops->state_check(machine->self, &job->err);
}

void machine_load(struct session *session, void (*then)(struct session *))
{
	phase_begin(session, &session->main, then);
	submit(session, &session->main, LOAD, run_load, on_machine_done);
	phase_release(session, &session->main);
}

static int run_throttle(struct session *session, struct job *job)
{
	return session->machine.ops->throttle(session->machine.self, (uint32_t)job->arg[1],
					      &job->err);
}

/* Throttling is a help: a machine that cannot is traced, and the deadline decides. */
void machine_throttle(struct session *session, uint32_t percent)
{
	struct job job = { .run = run_throttle,
			   .done = on_machine_done,
			   .arg = { THROTTLE, percent } };

	trace(session, HF_TRACE_THROTTLE, NULL, percent, 0, 0, 0);
	worker_submit(&session->machine_worker, &job);
}
