/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sweep: one handover, again and again; each time the next thing that can fail does: the n-th
 * operation of a device, the machine, the ledger or the dirty pages, the n-th allocation, thread,
 * descriptor, connection, send or receive. It ends when nothing is left to fail.
 *
 *   net-sweep [--seed N] [--step N] [--from N]   TAP
 *   net-sweep [--seed N] --nth N                 one of them, told as a time line
 */
#include <stdio.h>
#include <string.h>

#include "net-main.h"
#include "net-world.h"

#define POINTS_MAX 20000u

/* The handovers that are swept. */
static struct scenario scenario_of(uint64_t seed, uint64_t nth)
{
	struct scenario scenario = scenario_plain(seed);

	scenario.fail_nth = nth;
	scenario.keeps = seed % 2 == 0;
	scenario.paused = seed % 5 == 4;
	scenario.pages = 24;
	scenario.device.state_bytes = 900;
	scenario.resolve_ns = 100 * MS;
	return scenario;
}

/* The two sides, and what they said: both know the reason. */
static bool is_told(const struct net_result *result)
{
	return result->outcome[SOURCE] != HF_OUTCOME_NONE &&
	       result->outcome[TARGET] != HF_OUTCOME_NONE;
}

static int tell(uint64_t seed, uint64_t nth)
{
	struct scenario scenario = scenario_of(seed, nth);
	struct net_result result = net_run(&scenario, true);

	story_print();
	printf("%s, %s; %s\n%s\n", hf_outcome_name(result.outcome[SOURCE]),
	       hf_outcome_name(result.outcome[TARGET]), result.failed_op,
	       result.violated ? result.violation : "no promise is broken");
	net_leave();
	return result.violated;
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, nth = 1, step = 1, points = 0, bad = 0, both = 0;
	uint32_t kinds[SEAM_COUNT + 1] = { 0 };

	if (main_skips())
		return 77;
	(void)main_number(argc, argv, "--seed", &seed);
	if (main_number(argc, argv, "--nth", &nth))
		return tell(seed, nth);
	(void)main_number(argc, argv, "--from", &nth);
	(void)main_number(argc, argv, "--step", &step);
	printf("1..2\n");
	for (; nth < POINTS_MAX; nth += step) {
		struct scenario scenario = scenario_of(seed, nth);
		struct net_result result;

		main_about_to("point", nth);
		result = net_run(&scenario, false);
		if (!result.failed_seam)
			break;
		points++;
		kinds[result.failed_seam]++;
		both += is_told(&result);
		if (result.violated && bad++ < 20)
			printf("# --seed %llu --nth %llu (%s): %s\n", (unsigned long long)seed,
			       (unsigned long long)nth, result.failed_op, result.violation);
	}
	for (uint32_t i = 0; i < SEAM_COUNT; i++)
		if (kinds[i + 1])
			printf("# %u times %s\n", kinds[i + 1], seam_name((enum seam)i));
	printf("# %llu points, both sides had begun in %llu\n", (unsigned long long)points,
	       (unsigned long long)both);
	printf("%sok 1 - whatever fails, no promise is broken\n", bad ? "not " : "");
	printf("%sok 2 - the sweep came to its end\n", points && nth < POINTS_MAX ? "" : "not ");
	net_leave();
	return bad != 0 || !points;
}
