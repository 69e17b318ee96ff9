/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of arcs.h. */
#include <errno.h>

#include "backend/device/sim/arcs.h"

/* clang-format off */
#define NONE 0 /* ERROR: no way */
#define STOP HF_DEVICE_STOP
#define RUN  HF_DEVICE_RUNNING
#define SAVE HF_DEVICE_STOP_COPY
#define LOAD HF_DEVICE_RESUMING
#define P2P  HF_DEVICE_RUNNING_P2P
#define PRE  HF_DEVICE_PRE_COPY
#define PREP HF_DEVICE_PRE_COPY_P2P

/*
 * The first step for a device with all optional states. One that lacks the state of that step goes
 * on as if it stood there: so the shorter ways of devices with fewer flags are in here as well.
 * No way leads through a state that saves, and none from STOP_COPY back to PRE_COPY.
 */
static const uint8_t first[HF_DEVICE_STATE_COUNT][HF_DEVICE_STATE_COUNT] = {
	/* to          ERROR STOP  RUN   SAVE  LOAD  P2P   PRE   PREP */
	[HF_DEVICE_ERROR] = { 0 },
	[STOP]     = { NONE, STOP, P2P,  SAVE, LOAD, P2P,  P2P,  P2P  },
	[RUN]      = { NONE, P2P,  RUN,  P2P,  P2P,  P2P,  PRE,  P2P  },
	[SAVE]     = { NONE, STOP, STOP, SAVE, STOP, STOP, NONE, NONE },
	[LOAD]     = { NONE, STOP, STOP, STOP, LOAD, STOP, STOP, STOP },
	[P2P]      = { NONE, STOP, RUN,  STOP, STOP, P2P,  RUN,  PREP },
	[PRE]      = { NONE, RUN,  RUN,  PREP, RUN,  RUN,  PRE,  PREP },
	[PREP]     = { NONE, P2P,  P2P,  SAVE, P2P,  P2P,  PRE,  PREP },
};

/* The flags that a device with the state has. */
static const uint8_t needs[HF_DEVICE_STATE_COUNT] = {
	[STOP] = HF_MIG_STOP_COPY, [RUN] = HF_MIG_STOP_COPY,
	[SAVE] = HF_MIG_STOP_COPY, [LOAD] = HF_MIG_STOP_COPY,
	[P2P]  = HF_MIG_STOP_COPY | HF_MIG_P2P,
	[PRE]  = HF_MIG_STOP_COPY | HF_MIG_PRE_COPY,
	[PREP] = HF_MIG_STOP_COPY | HF_MIG_PRE_COPY | HF_MIG_P2P,
};
/* clang-format on */

static int lacks(uint32_t mig_flags, uint32_t state)
{
	return state == HF_DEVICE_ERROR || state >= HF_DEVICE_STATE_COUNT ||
	       (mig_flags & needs[state]) != needs[state];
}

int sim_arc_next(uint32_t mig_flags, uint32_t from, uint32_t to, uint32_t *ret_next)
{
	uint32_t next = from;

	if (lacks(mig_flags, from) || lacks(mig_flags, to))
		return -EINVAL;
	do {
		next = first[next][to];
		if (next == NONE)
			return -EINVAL;
	} while (lacks(mig_flags, next));
	*ret_next = next;
	return 0;
}

int sim_state_runs(uint32_t state)
{
	return state == RUN || state == P2P || state == PRE || state == PREP;
}

int sim_state_p2p_quiet(uint32_t state)
{
	return state != RUN && state != PRE;
}

int sim_state_saves(uint32_t state)
{
	return state == PRE || state == PREP || state == SAVE;
}
