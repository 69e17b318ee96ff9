/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The swarm: many seeds, each a world of its own.
 *
 *   net-swarm [--first N] [--count N]    these seeds; TAP
 *   net-swarm --seed N                   one seed, told as a time line
 *   net-swarm --kept FOLDER              the seeds kept there, one in each file; TAP
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net-main.h"
#include "net-world.h"

static int tell(uint64_t seed)
{
	struct scenario scenario = scenario_swarm(seed);
	struct net_result result = net_run(&scenario, true);

	story_print();
	printf("%s, %s; %llu steps, %llu seams, %.3f s; %016llx\n",
	       hf_outcome_name(result.outcome[SOURCE]), hf_outcome_name(result.outcome[TARGET]),
	       (unsigned long long)result.steps, (unsigned long long)result.seams,
	       (double)result.virtual_ns / 1e9, (unsigned long long)result.hash);
	if (result.violated)
		printf("seed %llu: %s\n", (unsigned long long)seed, result.violation);
	net_leave();
	return result.violated;
}

static int is_seed(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* "seed N", and on the lines behind it what it once found. */
static bool read_seed(const char *folder, const char *name, uint64_t *ret_seed)
{
	char path[512];
	unsigned long long seed;
	FILE *file;
	int fields;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	fields = fscanf(file, "seed %llu", &seed);
	(void)fclose(file);
	if (fields == 1)
		*ret_seed = seed;
	return fields == 1;
}

static int replay_kept(const char *folder)
{
	struct dirent **names;
	int count = scandir(folder, &names, is_seed, alphasort), bad = 0;

	if (count <= 0) {
		printf("1..1\nnot ok 1 - %s holds no seeds\n", folder);
		return 1;
	}
	printf("1..%d\n", count);
	for (int i = 0; i < count; i++) {
		uint64_t seed = 0;
		bool known = read_seed(folder, names[i]->d_name, &seed);
		struct scenario scenario = scenario_swarm(seed);
		struct net_result result;

		main_about_to("seed", seed);
		result = net_run(&scenario, false);
		if (!known || result.violated)
			bad++;
		printf("%sok %d - %s: %s\n", !known || result.violated ? "not " : "", i + 1,
		       names[i]->d_name,
		       !known		 ? "no seed in it"
		       : result.violated ? result.violation
					 : "finds nothing any more");
		free(names[i]);
	}
	free(names);
	net_leave();
	return bad != 0;
}

int main(int argc, char **argv)
{
	uint64_t first = 1, count = 1000, seed, bad = 0, outcomes[8][8] = { { 0 } };
	double begin;

	if (main_skips())
		return 77;
	if (argc == 3 && strcmp(argv[1], "--kept") == 0)
		return replay_kept(argv[2]);
	if (main_number(argc, argv, "--seed", &seed))
		return tell(seed);
	(void)main_number(argc, argv, "--first", &first);
	(void)main_number(argc, argv, "--count", &count);
	begin = main_seconds();
	printf("1..1\n");
	for (seed = first; seed < first + count; seed++) {
		struct scenario scenario = scenario_swarm(seed);
		struct net_result result;

		main_about_to("seed", seed);
		result = net_run(&scenario, false);
		outcomes[result.outcome[0]][result.outcome[1]]++;
		if (result.violated && bad++ < 20)
			printf("# seed %llu: %s\n", (unsigned long long)seed, result.violation);
	}
	for (uint32_t i = 0; i < 64; i++)
		if (outcomes[i / 8][i % 8])
			printf("# %llu times the source %s, the target %s\n",
			       (unsigned long long)outcomes[i / 8][i % 8],
			       hf_outcome_name((enum hf_outcome)(i / 8)),
			       hf_outcome_name((enum hf_outcome)(i % 8)));
	printf("# %llu seeds in %.1f s, %.0f per minute\n", (unsigned long long)count,
	       main_seconds() - begin, (double)count * 60 / (main_seconds() - begin));
	printf("%sok 1 - no seed from %llu to %llu breaks a promise\n", bad ? "not " : "",
	       (unsigned long long)first, (unsigned long long)(first + count - 1));
	net_leave();
	return bad != 0;
}
