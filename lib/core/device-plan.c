/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan of device-plan.h: one table for a device with all optional states. A state that a device
 * lacks is skipped, as the kernel does: what the table says there is what holds here.
 */
#include <assert.h>
#include <stddef.h>

#include <holdfast/device.h>
#include <holdfast/error.h>

#include "base/export.h"
#include "core/device-plan.h"

/* clang-format off */
#define RUN   HF_DEVICE_RUNNING
#define P2P   HF_DEVICE_RUNNING_P2P
#define PRE   HF_DEVICE_PRE_COPY
#define PREP  HF_DEVICE_PRE_COPY_P2P
#define STOP  HF_DEVICE_STOP
#define SAVE  HF_DEVICE_STOP_COPY
#define LOAD  HF_DEVICE_RESUMING
#define DONE  0x10u /* reached */
#define NEVER 0x11u /* not by asking */

/*
 * Why the entries are as they are:
 *  - PRE_COPY to STOP goes by STOP_COPY, since the kernel's own way is through RUNNING.
 *  - STOP_COPY to running goes by STOP, one arc at a time, so that a failure is seen where it is.
 *  - RESUMING is left for STOP only, and only when STOP is the goal: that arc checks the load.
 *  - What saves is not made to load, nor the other way round; STOP or a reset lies between.
 */
static const uint8_t plan[DEVICE_GOAL_COUNT][HF_DEVICE_STATE_COUNT] = {
	/* from                    ERROR  STOP  RUNNING STOP_COPY RESUMING RUNNING_P2P PRE_COPY PRE_COPY_P2P */
	[DEVICE_GOAL_PRE_COPY]    = { NEVER, DONE, PRE,    NEVER,    NEVER,   RUN,        DONE,    PRE  },
	[DEVICE_GOAL_QUIET]       = { NEVER, DONE, P2P,    DONE,     NEVER,   DONE,       PREP,    DONE },
	[DEVICE_GOAL_STOP_COPY]   = { NEVER, SAVE, P2P,    DONE,     NEVER,   SAVE,       PREP,    SAVE },
	[DEVICE_GOAL_RESUMING]    = { NEVER, LOAD, LOAD,   NEVER,    DONE,    LOAD,       NEVER,   NEVER },
	[DEVICE_GOAL_STOP]        = { NEVER, DONE, P2P,    STOP,     STOP,    STOP,       PREP,    SAVE },
	[DEVICE_GOAL_RUNNING_P2P] = { NEVER, P2P,  DONE,   STOP,     NEVER,   DONE,       DONE,    P2P  },
	[DEVICE_GOAL_RUNNING]     = { NEVER, P2P,  DONE,   STOP,     NEVER,   RUN,        RUN,     P2P  },
};
/* clang-format on */

static_assert(HF_DEVICE_ERROR == 0 && HF_DEVICE_STOP == 1 && HF_DEVICE_RUNNING == 2 &&
		      HF_DEVICE_STOP_COPY == 3 && HF_DEVICE_RESUMING == 4 &&
		      HF_DEVICE_RUNNING_P2P == 5 && HF_DEVICE_PRE_COPY == 6 &&
		      HF_DEVICE_PRE_COPY_P2P == 7,
	      "the columns are in the order of the states");

HF_EXPORT int hf_device_has_state(uint32_t mig_flags, uint32_t state)
{
	switch (state) {
	case HF_DEVICE_STOP:
	case HF_DEVICE_RUNNING:
	case HF_DEVICE_STOP_COPY:
	case HF_DEVICE_RESUMING:
		return 1;
	case HF_DEVICE_RUNNING_P2P:
		return (mig_flags & HF_MIG_P2P) != 0;
	case HF_DEVICE_PRE_COPY:
		return (mig_flags & HF_MIG_PRE_COPY) != 0;
	case HF_DEVICE_PRE_COPY_P2P:
		return (mig_flags & HF_MIG_PRE_COPY) && (mig_flags & HF_MIG_P2P);
	default: /* ERROR, and whatever a device may say */
		return 0;
	}
}

int device_plan(uint32_t mig_flags, uint32_t current, enum device_goal goal, uint32_t *ret_request)
{
	uint32_t next = current;

	assert(mig_flags == 1 || mig_flags == 3 || mig_flags == 5 || mig_flags == 7);
	assert((unsigned int)goal < DEVICE_GOAL_COUNT);

	if (current == HF_DEVICE_ERROR)
		return HF_E_DEVICE_LOST;
	if (!hf_device_has_state(mig_flags, current))
		return HF_E_DEVICE_STATE;

	/* Each step of the skipping lands on another state, so there are fewer steps than states.
	 */
	for (unsigned int i = 0; i < HF_DEVICE_STATE_COUNT; i++) {
		next = plan[goal][next];
		if (next == DONE)
			return 0;
		if (next == NEVER)
			return HF_E_DEVICE_STATE;
		if (hf_device_has_state(mig_flags, next)) {
			assert(next != current);
			*ret_request = next;
			return 1;
		}
	}
	assert(0); /* the table would lead from lacking states to lacking ones, in a circle */
	return HF_E_BUG;
}

const char *device_goal_name(enum device_goal goal)
{
	switch (goal) {
	case DEVICE_GOAL_PRE_COPY:
		return "PRE_COPY";
	case DEVICE_GOAL_QUIET:
		return "QUIET";
	case DEVICE_GOAL_STOP_COPY:
		return "STOP_COPY";
	case DEVICE_GOAL_RESUMING:
		return "RESUMING";
	case DEVICE_GOAL_STOP:
		return "STOP";
	case DEVICE_GOAL_RUNNING_P2P:
		return "RUNNING_P2P";
	case DEVICE_GOAL_RUNNING:
		return "RUNNING";
	}
	return "?";
}

HF_EXPORT const char *hf_device_state_name(uint32_t state)
{
	static const char *const names[HF_DEVICE_STATE_COUNT] = {
		"ERROR",    "STOP",	   "RUNNING",  "STOP_COPY",
		"RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P",
	};

	return state < HF_DEVICE_STATE_COUNT ? names[state] : "?";
}
