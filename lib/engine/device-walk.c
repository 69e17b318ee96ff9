/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hf_device_walk(): the plan of a session's devices (core/device-plan.h) for one device alone.
 * Which goals lead to a state is here; which requests lead to a goal is only there.
 */
#include <holdfast/device.h>

#include "backend/device.h"
#include "base/error.h"
#include "base/export.h"
#include "core/device-plan.h"

#define GOALS_MAX 3
#define REQUESTS_MAX 4 /* to one goal */

/*
 * The goals to a state, one after another. A goal that is reached is no request, so the list serves
 * every state to begin in.
 */
static uint32_t goals_of(uint32_t from, uint32_t to, enum device_goal goals[GOALS_MAX])
{
	uint32_t count = 0;

	/* What loads is finished first, and what stands still runs before it saves running. */
	if (from == HF_DEVICE_RESUMING && to != from)
		goals[count++] = DEVICE_GOAL_STOP;
	switch (to) {
	case HF_DEVICE_STOP:
		goals[count++] = DEVICE_GOAL_STOP;
		break;
	case HF_DEVICE_STOP_COPY:
		goals[count++] = DEVICE_GOAL_STOP_COPY;
		break;
	case HF_DEVICE_RESUMING:
		if (from != to)
			goals[count++] = DEVICE_GOAL_STOP;
		goals[count++] = DEVICE_GOAL_RESUMING;
		break;
	case HF_DEVICE_RUNNING_P2P:
		if (from == HF_DEVICE_PRE_COPY)
			goals[count++] = DEVICE_GOAL_RUNNING;
		else
			goals[count++] = DEVICE_GOAL_RUNNING_P2P;
		goals[count++] = DEVICE_GOAL_QUIET;
		break;
	case HF_DEVICE_PRE_COPY:
	case HF_DEVICE_PRE_COPY_P2P:
		if (from != HF_DEVICE_PRE_COPY && from != HF_DEVICE_PRE_COPY_P2P)
			goals[count++] = DEVICE_GOAL_RUNNING;
		if (from != to)
			goals[count++] = DEVICE_GOAL_PRE_COPY;
		if (to == HF_DEVICE_PRE_COPY_P2P)
			goals[count++] = DEVICE_GOAL_QUIET;
		break;
	default:
		goals[count++] = DEVICE_GOAL_RUNNING;
		break;
	}
	return count;
}

static int reach(struct device *d, enum device_goal goal, struct hf_error *err)
{
	uint32_t request = 0;

	for (int i = 0; i <= REQUESTS_MAX; i++) {
		int r = device_plan(d->info.mig_flags, d->state, goal, &request);

		if (r == 0)
			return 0;
		if (r < 0)
			return error_set(err, r, 0, "device %s: no way from %s to %s", d->name,
					 hf_device_state_name(d->state), device_goal_name(goal));
		r = device_set_state(d, request, err);
		if (r < 0)
			return r;
	}
	return error_set(err, HF_E_BUG, 0, "device %s: the way to %s has no end", d->name,
			 device_goal_name(goal));
}

HF_EXPORT int hf_device_walk(struct hf_device *device, uint32_t state, struct hf_error *err)
{
	enum device_goal goals[GOALS_MAX + 1];
	struct hf_device_info info = { .name = "" };
	struct device d;
	uint32_t count;
	int r;

	if (!device || !device->ops || device->ops->info(device->self, &info) < 0)
		return error_set(err, HF_E_INVALID, 0, "there is no device, or it has no name");
	info.name[sizeof(info.name) - 1] = 0;
	r = device_bind(&d, *device, 0, info.name, err);
	if (r < 0)
		return r;
	if (!hf_device_has_state(d.info.mig_flags, state))
		return error_set(err, HF_E_INVALID, 0, "device %s has no state %s", d.name,
				 hf_device_state_name(state));
	if (d.state == HF_DEVICE_PRE_COPY_P2P && state == HF_DEVICE_PRE_COPY)
		return device_set_state(&d, state, err); /* no goal of a session's */
	count = goals_of(d.state, state, goals);
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = reach(&d, goals[i], err);
	if (r == 0 && d.state != state)
		return error_set(err, HF_E_DEVICE_STATE, 0, "device %s stands in %s instead of %s",
				 d.name, hf_device_state_name(d.state),
				 hf_device_state_name(state));
	return r;
}
