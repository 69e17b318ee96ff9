/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The crash net: a side dies after step n of the schedule, for n over the whole handover. Its tasks
 * are dropped in the middle, its descriptors closed, its swap under way arrives or does not; the
 * ledger stays. The other goes on to its end; in half of the worlds the source comes back.
 *
 *   net-crash [--seed N] [--every N]             TAP
 *   net-crash [--seed N] --who W --at N          one of them (1 source, 2 target, 3 both)
 */
#include <stdio.h>

#include "net-main.h"
#include "net-world.h"

enum { WHO_SOURCE = 1, WHO_TARGET = 2, WHO_BOTH = 3 };

static struct scenario scenario_of(uint64_t seed, uint64_t who, uint64_t at)
{
	struct scenario scenario = scenario_plain(seed);

	scenario.pages = 24;
	scenario.device.state_bytes = 900;
	scenario.resolve_ns = 100 * MS;
	scenario.keeps = true;
	scenario.by_hand = seed % 4 == 3;
	/* The same handover, until somebody dies: what is drawn for that comes later. */
	scenario.restart_ns = at % 2 ? 20 * MS : 0;
	if (at % 4 == 3)
		scenario.restart_ns = 3 * S;
	if (who & WHO_SOURCE)
		scenario.crash_step[SOURCE] = at;
	if (who & WHO_TARGET)
		scenario.crash_step[TARGET] = who == WHO_BOTH ? at + at % 97 : at;
	return scenario;
}

static int tell(uint64_t seed, uint64_t who, uint64_t at)
{
	struct scenario scenario = scenario_of(seed, who, at);
	struct net_result result = net_run(&scenario, true);

	story_print();
	printf("%s, %s\n%s\n", hf_outcome_name(result.outcome[SOURCE]),
	       hf_outcome_name(result.outcome[TARGET]),
	       result.violated ? result.violation : "no promise is broken");
	net_leave();
	return result.violated;
}

static uint64_t crash_all(uint64_t seed, uint64_t who, uint64_t steps, uint64_t every,
			  uint64_t *ret_runs)
{
	uint64_t bad = 0;

	for (uint64_t at = 1 + seed % every; at <= steps; at += every) {
		struct scenario scenario = scenario_of(seed, who, at);
		struct net_result result;

		main_about_to("step", at);
		result = net_run(&scenario, false);
		++*ret_runs;
		if (result.violated && bad++ < 10)
			printf("# --seed %llu --who %llu --at %llu: %s\n", (unsigned long long)seed,
			       (unsigned long long)who, (unsigned long long)at, result.violation);
	}
	return bad;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "?", "the source", "the target", "both" };
	uint64_t seed = 1, every = 1, who = 0, at = 0, all_bad = 0;

	if (main_skips())
		return 77;
	(void)main_number(argc, argv, "--seed", &seed);
	(void)main_number(argc, argv, "--every", &every);
	if (main_number(argc, argv, "--who", &who) && main_number(argc, argv, "--at", &at))
		return tell(seed, who, at);
	printf("1..3\n");
	for (who = WHO_SOURCE; who <= WHO_BOTH; who++) {
		struct scenario scenario = scenario_of(seed, 0, 0);
		uint64_t steps = net_run(&scenario, false).steps, runs = 0;
		uint64_t bad = crash_all(seed, who, steps, every ? every : 1, &runs);

		printf("# %llu of %llu steps\n", (unsigned long long)runs,
		       (unsigned long long)steps);
		printf("%sok %llu - %s may die at any step\n", bad ? "not " : "",
		       (unsigned long long)who, names[who]);
		all_bad += bad;
	}
	net_leave();
	return all_bad != 0;
}
