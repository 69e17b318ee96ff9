/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frozen net: after step n of the schedule everything stands still, but the clock does not, as
 * on a host that was suspended or has no time for its guests. Nobody was silent then who could have
 * spoken: from the end of precopy on, where a failure would cost, it is none, and no doubt either.
 *
 *   net-frozen [--seed N] [--every N]            TAP
 *   net-frozen [--seed N] --at N                 one of them, told as a time line
 */
#include <stdio.h>

#include "net-main.h"
#include "net-world.h"

#define FREEZE_NS (5 * S) /* more than the wait for the peer, less than all other deadlines */

static struct scenario scenario_of(uint64_t seed, uint64_t at)
{
	struct scenario scenario = scenario_plain(seed);

	scenario.pages = 24;
	scenario.device.state_bytes = 900;
	scenario.by_hand = seed % 2 == 1;
	scenario.freeze_step = at;
	scenario.freeze_ns = FREEZE_NS;
	return scenario;
}

static bool has_moved(const struct net_result *result)
{
	return !result->violated && result->outcome[SOURCE] == HF_OUTCOME_AWAY &&
	       result->outcome[TARGET] == HF_OUTCOME_RUNNING;
}

static int tell(uint64_t seed, uint64_t at)
{
	struct scenario scenario = scenario_of(seed, at);
	struct net_result result = net_run(&scenario, true);

	story_print();
	printf("%s, %s\n%s\n", hf_outcome_name(result.outcome[SOURCE]),
	       hf_outcome_name(result.outcome[TARGET]),
	       result.violated ? result.violation : "no promise is broken");
	net_leave();
	return !has_moved(&result);
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, every = 1, at = 0, runs = 0, bad = 0;
	struct scenario scenario;
	struct net_result plain;

	if (main_skips())
		return 77;
	(void)main_number(argc, argv, "--seed", &seed);
	(void)main_number(argc, argv, "--every", &every);
	if (main_number(argc, argv, "--at", &at))
		return tell(seed, at);
	printf("1..1\n");
	scenario = scenario_of(seed, 0);
	plain = net_run(&scenario, false);
	for (at = plain.quiet_step; at && at <= plain.steps; at += every) {
		struct net_result result;

		main_about_to("step", at);
		scenario = scenario_of(seed, at);
		result = net_run(&scenario, false);
		runs++;
		if (!has_moved(&result) && bad++ < 10)
			printf("# --seed %llu --at %llu: %s, %s; %s\n", (unsigned long long)seed,
			       (unsigned long long)at, hf_outcome_name(result.outcome[SOURCE]),
			       hf_outcome_name(result.outcome[TARGET]), result.violation);
	}
	printf("# %llu of %llu steps, %s\n", (unsigned long long)runs,
	       (unsigned long long)plain.steps, scenario.by_hand ? "no ledger" : "with a ledger");
	printf("%sok 1 - the guest moves, wherever the host stood still\n", bad ? "not " : "");
	net_leave();
	return bad || !runs;
}
