/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All nets together, a part of each: which rows of the two tables did they take? Every row must be
 * taken, or stand in the file of those that only the explorer reaches, with the reason.
 *
 *   net-all FILE [--count N]     TAP
 *   net-all FILE --world N       one of the grid's worlds, told as a time line
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net-cover.h"
#include "net-grid.h"
#include "net-main.h"
#include "net-world.h"

#define LINES_MAX 256u

static struct {
	char name[256];
	bool seen;
} listed[LINES_MAX];
static uint32_t listed_count, unlisted;

/* "source STATE EVENT: why" */
static bool read_list(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[256];

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':');

		if (line[0] == '#' || !colon || listed_count == LINES_MAX)
			continue;
		*colon = 0;
		(void)snprintf(listed[listed_count++].name, sizeof(listed[0].name), "%s", line);
	}
	(void)fclose(file);
	return true;
}

static void look_up(const char *name)
{
	for (uint32_t i = 0; i < listed_count; i++)
		if (strcmp(listed[i].name, name) == 0) {
			listed[i].seen = true;
			return;
		}
	printf("# not taken: %s\n", name);
	unlisted++;
}

static int tell(uint32_t index)
{
	struct scenario scenario = grid_scenario(index);
	struct net_result result = net_run(&scenario, true);

	story_print();
	printf("%s\n", result.violated ? result.violation : "no promise is broken");
	net_leave();
	return result.violated;
}

int main(int argc, char **argv)
{
	uint64_t count = 2000, world_number, bad = 0;
	uint32_t rows, taken, idle = 0;

	if (main_skips())
		return 77;
	if (argc < 2 || !read_list(argv[1])) {
		(void)fprintf(stderr, "net-all FILE [--count N]\n");
		return 2;
	}
	if (main_number(argc, argv, "--world", &world_number))
		return tell((uint32_t)world_number);
	(void)main_number(argc, argv, "--count", &count);
	printf("1..2\n");
	/* Seeds of their own: those of the swarm are run by the swarm. */
	for (uint64_t seed = 1u << 30; seed < (1u << 30) + count; seed++) {
		struct scenario scenario = scenario_swarm(seed);
		struct net_result result;

		main_about_to("seed", seed);
		result = net_run(&scenario, false);
		if (result.violated && bad++ < 10)
			printf("# seed %llu: %s\n", (unsigned long long)seed, result.violation);
	}
	for (uint32_t index = 0; index < grid_size(); index++) {
		struct scenario scenario = grid_scenario(index);
		struct net_result result;

		main_about_to("world", index);
		result = net_run(&scenario, false);
		if (result.violated && bad++ < 10)
			printf("# --world %u: %s\n", index, result.violation);
	}
	rows = cover_rows(&taken);
	cover_missing(look_up);
	for (uint32_t i = 0; i < listed_count; i++)
		if (!listed[i].seen && idle++ < 5)
			printf("# listed, and taken: %s\n", listed[i].name);
	printf("# %u of %u rows taken, %u listed\n", taken, rows, listed_count);
	printf("%sok 1 - no promise is broken\n", bad ? "not " : "");
	printf("%sok 2 - every row is taken, or listed with the reason\n", unlisted ? "not " : "");
	net_leave();
	return bad || unlisted;
}
