/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frozen net: after step n of the schedule everything stands still, but the clock does not, as
 * in a paused VM, or on a host that has no time for its guests. Nobody was silent then who could
 * have spoken, and nobody late: from the end of precopy on, each handover ends as it would have.
 *
 *   net-frozen [--seed N] [--every N] [--for SECONDS]            TAP
 *   net-frozen [--seed N] --way W --at N [--for SECONDS]         one of them, told as a time line
 *
 * Odd seeds have no ledger.
 */
#include <stdio.h>

#include "net-main.h"
#include "net-world.h"

/* The handovers that are frozen, and how each ends. */
enum way {
	WAY_AWAY,
	WAY_HOME, /* cancelled when the guest stands still */
	WAY_RETURNED, /* the target's devices do not start */
	WAY_CUT, /* the connection is lost behind the claim: only the ledger tells the source */
	WAYS,
};

static const char *const way_texts[] = {
	"the guest moves",
	"it is taken home",
	"the target gives it back",
	"the connection is lost, and the guest moves",
};

static uint64_t freeze_s = 5; /* more than the wait for the peer, an arc, or a swap may take */

static struct moment at_state(uint32_t side, uint32_t state)
{
	return (struct moment){ .set = true, .side = side, .state = state };
}

static struct scenario scenario_of(uint64_t seed, uint64_t way, uint64_t at)
{
	struct scenario scenario = scenario_plain(seed);

	scenario.pages = 24;
	scenario.device.state_bytes = 900;
	scenario.by_hand = seed % 2 == 1 && way != WAY_CUT;
	scenario.freeze_step = at;
	scenario.freeze_ns = freeze_s * S;
	scenario.sched.time_ns_max = (60 + 3 * freeze_s) * S;
	if (way == WAY_HOME)
		scenario.cancel[SOURCE] = at_state(SOURCE, SOURCE_DRAINING);
	if (way == WAY_RETURNED) {
		scenario.fail_whom = 1u << TARGET;
		scenario.fail_per_mille[SEAM_DEVICE] = 1000;
		scenario.fail = at_state(TARGET, TARGET_STARTING);
	}
	if (way == WAY_CUT)
		scenario.road[0] = (struct road_fault){ .kind = ROAD_RESET,
							.moment = at_state(TARGET, TARGET_STARTING),
							.link = UINT32_MAX };
	return scenario;
}

static bool is_as_ever(const struct net_result *result, uint64_t way)
{
	bool moves = way == WAY_AWAY || way == WAY_CUT;

	return !result->violated &&
	       result->outcome[SOURCE] == (moves ? HF_OUTCOME_AWAY : HF_OUTCOME_HOME) &&
	       result->outcome[TARGET] == (moves ? HF_OUTCOME_RUNNING : HF_OUTCOME_FAILED);
}

static int tell(uint64_t seed, uint64_t way, uint64_t at)
{
	struct scenario scenario = scenario_of(seed, way, at);
	struct net_result result = net_run(&scenario, true);

	story_print();
	printf("%s, %s\n%s\n", hf_outcome_name(result.outcome[SOURCE]),
	       hf_outcome_name(result.outcome[TARGET]),
	       result.violated ? result.violation : "no promise is broken");
	net_leave();
	return !is_as_ever(&result, way);
}

static bool freeze_all(uint64_t seed, uint64_t way, uint64_t every)
{
	struct scenario scenario = scenario_of(seed, way, 0);
	struct net_result plain = net_run(&scenario, false);
	uint64_t runs = 0, bad = !is_as_ever(&plain, way);

	for (uint64_t at = plain.quiet_step; at && at <= plain.steps; at += every) {
		struct net_result result;

		main_about_to("step", at);
		scenario = scenario_of(seed, way, at);
		result = net_run(&scenario, false);
		runs++;
		if (!is_as_ever(&result, way) && bad++ < 10)
			printf("# --seed %llu --way %llu --at %llu: %s, %s; %s\n",
			       (unsigned long long)seed, (unsigned long long)way,
			       (unsigned long long)at, hf_outcome_name(result.outcome[SOURCE]),
			       hf_outcome_name(result.outcome[TARGET]), result.violation);
	}
	printf("# %llu of %llu steps, %s\n", (unsigned long long)runs,
	       (unsigned long long)plain.steps, scenario.by_hand ? "no ledger" : "with a ledger");
	return !bad && runs;
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, every = 1, at = 0, way = 0, bad = 0;

	if (main_skips())
		return 77;
	(void)main_number(argc, argv, "--seed", &seed);
	(void)main_number(argc, argv, "--every", &every);
	(void)main_number(argc, argv, "--for", &freeze_s);
	(void)main_number(argc, argv, "--way", &way);
	if (main_number(argc, argv, "--at", &at))
		return tell(seed, way < WAYS ? way : 0, at);
	printf("1..%u\n", WAYS);
	for (way = 0; way < WAYS; way++) {
		bool good = freeze_all(seed, way, every ? every : 1);

		bad += !good;
		printf("%sok %llu - frozen anywhere behind precopy for %llu s, %s\n",
		       good ? "" : "not ", (unsigned long long)way + 1,
		       (unsigned long long)freeze_s, way_texts[way]);
	}
	net_leave();
	return bad != 0;
}
