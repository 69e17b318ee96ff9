/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arcs of all devices at once: each device's worker walks its own device to the goal, and the phase
 * ends when the last one is there. Which arcs to ask for is core/device-plan.h's business.
 */
#include <string.h>

#include "base/error.h"
#include "engine/actions.h"

#define REQUESTS_MAX 8u /* a plan has at most 4; a device that does not move is a fault */

/*
 * Has somebody else reset it since we asked last? The host can, the bus can, the guest can: then it
 * stands in RUNNING, and what was loaded into it, or is being read out of it, is gone. Going on
 * from there would end where it should, with a device that has nothing of the guest's. One that ran
 * and runs has what the guest has made of it, and a goal that begins a stream may begin anywhere.
 */
static int check_kept(const struct device_slot *slot, enum device_goal goal, uint32_t before,
		      struct hf_error *err)
{
	uint32_t now = slot->device.state;

	if (now == before || now == HF_DEVICE_ERROR || before == HF_DEVICE_ERROR ||
	    before == HF_DEVICE_RUNNING || goal == DEVICE_GOAL_PRE_COPY ||
	    goal == DEVICE_GOAL_RESUMING)
		return 0;
	if (before == HF_DEVICE_RUNNING_P2P && goal != DEVICE_GOAL_RUNNING)
		return 0;
	return error_set(err, HF_E_DEVICE_STATE, 0,
			 "device %u (%s) was reset by somebody else: it stood in %s, and stands in "
			 "%s",
			 slot->device.index, slot->device.name, hf_device_state_name(before),
			 hf_device_state_name(now));
}

/*
 * Walk one device to a goal, on its worker; kept: it has to stand where we left it, see above.
 * result[1], [2]: from where to where; [3]: asked for.
 */
static int walk(struct device_slot *slot, enum device_goal goal, bool kept, struct job *job)
{
	uint32_t before = slot->device.state, state, request;
	int code;

	code = device_state(&slot->device, &state, &job->err);
	if (code == 0 && kept)
		code = check_kept(slot, goal, before, &job->err);
	if (code < 0)
		return code;
	job->result[1] = job->result[3] = state;
	for (uint32_t i = 0; i < REQUESTS_MAX; i++) {
		code = device_plan(slot->device.info.mig_flags, slot->device.state, goal, &request);
		if (code < 0)
			return error_set(&job->err, code, 0,
					 "device %u (%s) stands in %s; %s is out of "
					 "reach",
					 slot->device.index, slot->device.name,
					 hf_device_state_name(slot->device.state),
					 device_goal_name(goal));
		if (code == 0) {
			job->result[2] = slot->device.state;
			return 0;
		}
		job->result[3] = request;
		code = device_set_state(&slot->device, request, &job->err);
		job->result[2] = slot->device.state;
		if (code < 0)
			return code;
	}
	return error_set(&job->err, HF_E_DEVICE_STATE, 0,
			 "device %u (%s) does not get to %s; stands in %s", slot->device.index,
			 slot->device.name, device_goal_name(goal),
			 hf_device_state_name(slot->device.state));
}

static int run_ask(struct session *session, struct job *job)
{
	return walk(&session->slots[job->index], (enum device_goal)job->arg[0], true, job);
}

static void trace_arc(struct session *session, const struct job *job)
{
	const struct device_slot *slot = &session->slots[job->index];

	if (job->code < 0)
		trace(session, HF_TRACE_DEVICE_FAIL, job->err.text, job->index, job->result[3],
		      slot->device.state, (uint64_t)job->err.cause);
	else if (job->result[1] != job->result[2])
		trace(session, HF_TRACE_DEVICE_ARC, slot->device.name, job->index, job->result[1],
		      job->result[2], job->end_ns - job->begin_ns);
}

static void on_arc_done(struct session *session, const struct job *job)
{
	trace_arc(session, job);
	phase_job_done(session, job);
}

static void submit_all(struct session *session, job_run_fn run, job_done_fn done,
		       enum device_goal goal, void (*then)(struct session *))
{
	phase_begin(session, &session->main, then);
	for (uint32_t i = 0; i < session->device_count; i++) {
		struct job job = { .run = run, .done = done, .index = i, .arg = { goal } };

		phase_submit(session, &session->main, &session->slots[i].worker, &job);
	}
	phase_release(session, &session->main);
}

void devices_ask(struct session *session, enum device_goal goal, void (*then)(struct session *))
{
	submit_all(session, run_ask, on_arc_done, goal, then);
}

/*
 * Back to the goal on the source. A refusal may be transient: where it stands is read back, and the
 * way from there is tried once more. Reset is the last resort: it destroys what the guest had in
 * the device (result[0] says that it was done).
 */
static int run_undo(struct session *session, struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];
	struct hf_error first = { 0 };
	uint32_t state;
	int code;

	for (int attempt = 0; attempt < 2; attempt++) {
		error_clear(&job->err);
		code = walk(slot, (enum device_goal)job->arg[0], false, job);
		if (code == 0)
			return 0;
		if (!first.code)
			first = job->err;
		/* ERROR may only mean that it did not answer: look again before the last resort. */
		if (slot->device.state == HF_DEVICE_ERROR &&
		    (device_state(&slot->device, &state, NULL) < 0 || state == HF_DEVICE_ERROR))
			break;
	}
	error_clear(&job->err);
	code = device_reset(&slot->device, &job->err);
	if (code < 0)
		return code;
	job->result[0] = 1;
	job->result[2] = slot->device.state;
	job->err = first; /* why; the job succeeded all the same */
	return 0;
}

static void on_undo_done(struct session *session, const struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];

	trace_arc(session, job);
	if (job->code == 0 && job->result[0]) {
		slot->was_reset = true;
		trace(session, HF_TRACE_DEVICE_RESET, slot->device.name, job->index, 0, 0,
		      (uint64_t)job->err.cause);
		session->error_is_link = false;
		(void)error_prepend(
			&session->error,
			"device %u (%s) had to be reset, what the guest had in it is lost",
			job->index, slot->device.name);
	}
	phase_job_done(session, job);
}

void devices_undo(struct session *session, enum device_goal goal, void (*then)(struct session *))
{
	submit_all(session, run_undo, on_undo_done, goal, then);
}

static int run_reset(struct session *session, struct job *job)
{
	return device_reset(&session->slots[job->index].device, &job->err);
}

static void on_reset_done(struct session *session, const struct job *job)
{
	trace(session, HF_TRACE_DEVICE_RESET, session->slots[job->index].device.name, job->index, 0,
	      0, (uint64_t)job->err.cause);
	phase_job_done(session, job);
}

/* On the target a reset costs nothing: the guest was never ours. */
void devices_reset(struct session *session, void (*then)(struct session *))
{
	submit_all(session, run_reset, on_reset_done, DEVICE_GOAL_RUNNING, then);
}

static int run_halt(struct session *session, struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];

	if (walk(slot, DEVICE_GOAL_STOP, false, job) == 0)
		return 0;
	error_clear(&job->err);
	return device_reset(&slot->device, &job->err);
}

void devices_halt(struct session *session, void (*then)(struct session *))
{
	submit_all(session, run_halt, on_arc_done, DEVICE_GOAL_STOP, then);
}
