/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The grid: ways that lead into the far corners of both tables, and on each of them one disturbance
 * when a side comes to a state. The swarm would get there, too, after a long time.
 */
#include "net-grid.h"

#define WAYS 20u
#define DISTURBANCES 3u
#define STATES ((uint32_t)SOURCE_STATE_COUNT + (uint32_t)TARGET_STATE_COUNT)

static struct moment at(uint32_t side, uint32_t state, uint64_t after_ns)
{
	return (struct moment){ .set = true, .side = side, .state = state, .after_ns = after_ns };
}

/* The target does not answer to the ledger, or the ledger to a side, from a state on. */
static void cut_ledger(struct scenario *scenario, uint32_t side, struct moment from)
{
	scenario->ledger.whom = 1u << side;
	scenario->ledger.out = from;
	scenario->ledger.out_for_ns = 3 * S;
}

static void fail_devices(struct scenario *scenario, uint32_t side, struct moment from)
{
	scenario->fail_whom = 1u << side;
	scenario->fail_per_mille[SEAM_DEVICE] = 1000;
	scenario->fail = from;
	scenario->calm_ns = 4 * S;
}

/* Every operation of the target's devices takes nearly as long as it may. */
static void slow_target(struct scenario *scenario)
{
	scenario->device.slow_per_mille = 1000;
	scenario->device.slow_ns = 900 * MS;
	scenario->device.whom = 1u << TARGET;
	scenario->device.slow = at(TARGET, TARGET_LOADED, 0);
	scenario->wait_us_max = 1200000;
	scenario->by_step = true;
}

static void set_way(struct scenario *scenario, uint32_t way)
{
	switch (way) {
	case 0: /* straight on */
		return;
	case 1: /* the target gives it back */
		fail_devices(scenario, TARGET, at(TARGET, TARGET_STARTING, 0));
		return;
	case 2: /* ... and the ledger does not take it */
		fail_devices(scenario, TARGET, at(TARGET, TARGET_STARTING, 0));
		cut_ledger(scenario, TARGET, at(TARGET, TARGET_HALTING, 0));
		return;
	case 3: /* the claim is not answered; the source loses patience, and takes it back */
		cut_ledger(scenario, TARGET, at(TARGET, TARGET_CLAIMING, 0));
		scenario->wait_us_max = 1200000;
		return;
	case 4: /* the start is not answered */
		cut_ledger(scenario, TARGET, at(TARGET, TARGET_RECORDING, 0));
		scenario->wait_us_max = 1200000;
		scenario->by_step = true;
		return;
	case 5: /* the source loses patience with a target that will start it */
		slow_target(scenario);
		return;
	case 6: /* ... and the ledger does not answer the source */
		slow_target(scenario);
		cut_ledger(scenario, SOURCE, at(SOURCE, SOURCE_COMMITTING, 1100 * MS));
		return;
	case 7: /* ... or only slowly */
		slow_target(scenario);
		scenario->ledger.delay_ns_min = 100 * MS;
		scenario->ledger.delay_ns_max = 290 * MS;
		return;
	case 8: /* ... and the target fails in the end */
		slow_target(scenario);
		fail_devices(scenario, TARGET, at(TARGET, TARGET_REVIVING, 10 * MS));
		return;
	case 9: /* a device is lost on the way home, before the vCPUs were stopped */
		fail_devices(scenario, SOURCE, at(SOURCE, SOURCE_QUIETING, 0));
		scenario->fail_per_mille[SEAM_DEVICE] = scenario->seed % 2 ? 1000 : 400;
		scenario->fail_per_mille[SEAM_MACHINE] = scenario->seed % 3 ? 0 : 500;
		return;
	case 10: /* ... or after that */
		fail_devices(scenario, SOURCE, at(SOURCE, SOURCE_STOPPING, 0));
		scenario->fail_per_mille[SEAM_DEVICE] = scenario->seed % 2 ? 1000 : 400;
		return;
	case 11: /* the target is slow to load what has come */
		slow_target(scenario);
		scenario->device.slow = at(TARGET, TARGET_LOADING, 5 * MS);
		return;
	case 12: /* the offer is not answered for long */
		cut_ledger(scenario, SOURCE, at(SOURCE, SOURCE_OFFERING, 0));
		scenario->ledger.out_for_ns = 5 * S;
		scenario->calm_ns = 8 * S;
		return;
	case 13: /* the vCPUs do not stop */
		scenario->fail_whom = 1u << SOURCE;
		scenario->fail_per_mille[SEAM_MACHINE] = 1000;
		scenario->fail = at(SOURCE, SOURCE_QUIETING, 0);
		return;
	case 14: /* what was loaded is not taken */
		fail_devices(scenario, TARGET, at(TARGET, TARGET_VERIFYING, 0));
		return;
	case 15: /* a device is lost at the very end of the way home */
		fail_devices(scenario, SOURCE, at(SOURCE, SOURCE_REVIVING, 0));
		scenario->fail_per_mille[SEAM_DEVICE] = 400;
		scenario->cancel[SOURCE] = at(SOURCE, SOURCE_DRAINING, 0);
		return;
	case 16: /* the guest is the target's, and does not run */
		scenario->fail_whom = 1u << TARGET;
		scenario->fail_per_mille[SEAM_MACHINE] = 1000;
		scenario->fail = at(TARGET, TARGET_RECORDING, 0);
		return;
	case 17: /* the start is not answered for longer than a doubt lasts */
		cut_ledger(scenario, TARGET, at(TARGET, TARGET_RECORDING, 0));
		scenario->ledger.out_for_ns = 6 * S;
		scenario->calm_ns = 8 * S;
		return;
	case 18: /* no ledger, and the target is slow */
		slow_target(scenario);
		scenario->by_hand = true;
		scenario->by_step = scenario->seed % 2;
		return;
	default: /* the ledger takes very long */
		scenario->ledger.whom = 1u << SOURCE;
		scenario->ledger.slow_per_mille = 400;
		scenario->ledger.slow_ns = 1 * S;
		return;
	}
}

uint32_t grid_size(void)
{
	return WAYS * STATES * DISTURBANCES;
}

struct scenario grid_scenario(uint32_t index)
{
	uint32_t state = index % STATES, way = index / STATES / DISTURBANCES;
	uint32_t side = state < SOURCE_STATE_COUNT ? SOURCE : TARGET;
	struct scenario scenario = scenario_plain(1000 + index);
	struct moment moment =
		at(side, side == SOURCE ? state : state - SOURCE_STATE_COUNT, index % 7 * 5 * US);

	scenario.pages = 16;
	scenario.device.state_bytes = 300;
	scenario.calm_ns = 4 * S;
	scenario.resolve_ns = 50 * MS;
	scenario.resolve_take_per_mille = index % 3 ? 1000 : 0;
	set_way(&scenario, way);
	switch (index / STATES % DISTURBANCES) {
	case 0:
		if (!scenario.cancel[side].set)
			scenario.cancel[side] = moment;
		return scenario;
	case 1:
		scenario.cancel[side == SOURCE ? TARGET : SOURCE] = moment;
		return scenario;
	default:
		scenario.road[0] = (struct road_fault){ .kind = index % 2 ? ROAD_RESET : ROAD_HALF,
							.moment = moment,
							.link = UINT32_MAX };
		return scenario;
	}
}
