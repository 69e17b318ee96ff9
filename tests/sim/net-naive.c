/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the silence of the nets is worth: known mistakes, one at a time, and the swarm must find
 * each of them, and call it by its invariant.
 *
 *   net-naive [--count N]     at most so many seeds for each; TAP
 */
#include <stdio.h>
#include <string.h>

#include "net-main.h"
#include "net-world.h"

static const char *const names[] = {
#define NAME(name, breaks, text) #name,
	SABOTAGE_LIST(NAME)
#undef NAME
};
static const char *const breaks[] = {
#define BREAKS(name, breaks_, text) breaks_,
	SABOTAGE_LIST(BREAKS)
#undef BREAKS
};
static const char *const texts[] = {
#define TEXT(name, breaks, text_) text_,
	SABOTAGE_LIST(TEXT)
#undef TEXT
};

/* Where the mistake shows at all; for the others the swarm's worlds will do. */
static struct scenario scenario_for(enum sabotage sabotage, uint64_t seed)
{
	struct scenario scenario = scenario_swarm(seed);

	if (sabotage == SABOTAGE_LATE) {
		scenario = scenario_plain(seed);
		scenario.ledger.late_per_mille = 500;
	}
	if (sabotage == SABOTAGE_KEPT) {
		scenario = scenario_plain(seed);
		scenario.keeps = true;
		scenario.restart_ns = 1 * MS;
		scenario.cancel[TARGET] = (struct moment){ true, TARGET, TARGET_SETTING, 0 };
		scenario.crash[SOURCE] =
			(struct moment){ true, SOURCE, SOURCE_RESUMING, seed * 7 % 200 * US };
	}
	scenario.sabotage = sabotage;
	return scenario;
}

static bool names_it(const struct net_result *result, enum sabotage sabotage)
{
	size_t length = strlen(breaks[sabotage]);

	return result->violated && strncmp(result->violation, breaks[sabotage], length) == 0 &&
	       result->violation[length] == ':';
}

/* How many seeds it took; 0: none of them found it. others: what else was found before. */
static uint64_t find(enum sabotage sabotage, uint64_t count, char *others, size_t size)
{
	for (uint64_t seed = 1; seed <= count; seed++) {
		struct scenario scenario = scenario_for(sabotage, seed);
		struct net_result result;

		main_about_to(names[sabotage], seed);
		result = net_run(&scenario, false);
		if (names_it(&result, sabotage)) {
			(void)snprintf(others, size, "%s", result.violation);
			return seed;
		}
		if (result.violated && !others[0])
			(void)snprintf(others, size, "%s", result.violation);
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t count = 2000;
	int missed = 0;

	if (main_skips())
		return 77;
	(void)main_number(argc, argv, "--count", &count);
	printf("1..%d\n", SABOTAGE_COUNT - 1);
	for (enum sabotage sabotage = 1; sabotage < SABOTAGE_COUNT; sabotage++) {
		char found[512] = "";
		uint64_t seeds = find(sabotage, count, found, sizeof(found));

		printf("# %llu seeds: %s\n", (unsigned long long)(seeds ? seeds : count), found);
		printf("%sok %d - %s is found as %s: %s\n", seeds ? "" : "not ", (int)sabotage,
		       names[sabotage], breaks[sabotage], texts[sabotage]);
		missed += !seeds;
	}
	net_leave();
	return missed != 0;
}
