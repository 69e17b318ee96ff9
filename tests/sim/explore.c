/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Visits every world there is, breadth first, so that the story of a violation is a shortest one.
 * explore-world.h says what a world is; this file only searches, and looks back from the settled
 * worlds to find those from which nothing leads there.
 *
 *   explore            the shipping tables: every invariant must hold
 *   explore NAIVE      a variant with a known mistake: it must be caught
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <time.h>

#include "explore-world.h"

#define WORLDS_MAX (1u << 23)
#define EDGES_MAX (1u << 27)
#define NO_WORLD UINT32_MAX

struct visit {
	struct world world;
	uint32_t parent;
	uint8_t step;
	uint8_t reach; /* bit 0: leads to a settled world; bit 1: without anybody's patience */
	uint16_t spare;
};

struct edge {
	uint32_t from, to;
};

static struct visit *visits;
static struct edge *edges;
static uint32_t *table; /* of worlds by hash: index + 1 */
static uint32_t visit_count, edge_count, patient_count;
static uint64_t step_count;

#define TABLE_SLOTS (2u * WORLDS_MAX)

static void *claim(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory) {
		fprintf(stderr, "out of memory\n");
		exit(99);
	}
	return memory;
}

static uint64_t hash_of(const struct world *world)
{
	const uint8_t *bytes = (const uint8_t *)world;
	uint64_t hash = 0xcbf29ce484222325u;

	for (size_t i = 0; i < sizeof(*world); i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3u;
	return hash ^ hash >> 29;
}

/* The world's number, a new one if it was never seen. */
static uint32_t visit(const struct world *world, uint32_t parent, unsigned int step)
{
	uint32_t slot = (uint32_t)(hash_of(world) % TABLE_SLOTS);

	while (table[slot]) {
		if (memcmp(&visits[table[slot] - 1].world, world, sizeof(*world)) == 0)
			return table[slot] - 1;
		slot = (slot + 1) % TABLE_SLOTS;
	}
	if (visit_count == WORLDS_MAX) {
		fprintf(stderr, "more than %u worlds\n", WORLDS_MAX);
		exit(99);
	}
	visits[visit_count] =
		(struct visit){ .world = *world, .parent = parent, .step = (uint8_t)step };
	table[slot] = ++visit_count;
	return visit_count - 1;
}

static void tell_story(uint32_t last, const char *end)
{
	uint32_t *path = claim(sizeof(*path) * visit_count);
	uint32_t length = 0;

	for (uint32_t at = last; at != NO_WORLD; at = visits[at].parent)
		path[length++] = at;
	printf("# the story, from the record: %s\n",
	       record_word(&visits[path[length - 1]].world.record));
	for (uint32_t i = 1; i < length; i++) {
		struct world world = visits[path[length - i]].world;
		struct telling telling = { .wanted = true };

		(void)world_step(&world, visits[path[length - i - 1]].step, &telling);
		printf("# %3u. %s\n", i, telling.text);
	}
	printf("# %s\n", end);
	free(path);
}

/* One step of one world; the violation that it led to, or NULL. */
static const char *take(uint32_t from, unsigned int step)
{
	struct world world = visits[from].world;
	struct telling telling = { .wanted = false };
	uint32_t before = visit_count, to;

	if (!world_step(&world, step, &telling))
		return NULL;
	step_count++;
	to = visit(&world, from, step);
	if (to != from && telling.kind != STEP_BAD) {
		assert(edge_count < EDGES_MAX);
		/* Steps that take patience are told from the others by a bit of the number. */
		edges[edge_count++] = (struct edge){
			.from = from | (telling.kind == STEP_PATIENCE ? 1u << 31 : 0), .to = to
		};
		patient_count += telling.kind == STEP_PATIENCE;
	}
	if (!telling.violation && to == before)
		telling.violation = world_check(&world);
	if (telling.violation && to != before) /* the same world by another, wrong, way */
		visits[to].parent = from, visits[to].step = (uint8_t)step;
	if (telling.violation)
		tell_story(to, telling.violation);
	return telling.violation;
}

static const char *search(void)
{
	struct world world;

	for (unsigned int i = 0; world_first(&world, i); i++)
		(void)visit(&world, NO_WORLD, 0);
	for (uint32_t at = 0; at < visit_count; at++)
		for (unsigned int step = 0; step < WORLD_STEPS; step++) {
			const char *violation = take(at, step);

			if (violation)
				return violation;
		}
	return NULL;
}

/* May a world ask for patience? Only where the page on invariants says so. */
static bool patience_is_owed(const struct world *world)
{
	return world->gave_up || world->record.vanished ||
	       world->side[SOURCE].state == SOURCE_WAITING ||
	       (world->side[TARGET].dead && world->record.state == HF_LEDGER_CLAIMED) ||
	       (world->none && world->go_sent && !world->declined);
}

static void look_back(void)
{
	bool more = true;

	for (uint32_t i = 0; i < visit_count; i++)
		visits[i].reach = (uint8_t)(world_settled(&visits[i].world) |
					    world_settled_alone(&visits[i].world) << 1);
	while (more) {
		more = false;
		for (uint32_t i = edge_count; i-- > 0;) {
			uint32_t from = edges[i].from & ~(1u << 31);
			uint8_t gain = visits[edges[i].to].reach & (edges[i].from >> 31 ? 1 : 3);

			if (gain & ~visits[from].reach) {
				visits[from].reach |= gain;
				more = true;
			}
		}
	}
}

/* Every world leads to a settled one, when failures cease. */
static const char *settle(void)
{
	look_back();
	for (uint32_t i = 0; i < visit_count; i++) {
		const char *violation = NULL;

		if (!(visits[i].reach & 1))
			violation = "I8: from here no world is reached that has settled";
		else if (!(visits[i].reach & 2) && !patience_is_owed(&visits[i].world))
			violation = "I9: from here it settles only by giving up or by an operator";
		if (violation) {
			tell_story(i, violation);
			return violation;
		}
	}
	return NULL;
}

/* Rows that no world takes, each with its reason. */
struct unused {
	const char *state, *event, *why;
};

#define ENGINE "an operator's or the engine's mistake; no step of an honest world"
#define WRITER "somebody else would have to write the record"
#define EARLY "there is no connection yet"
#define TOLD "after GO the source says ABORT only when the ledger gave it the guest"

/* clang-format off */
static const struct unused source_unused[] = {
	{ "IDLE",       "ABORT",          EARLY },
	{ "IDLE",       "LOST",           EARLY },
	{ "ENTERING",   "ABORT",          EARLY },
	{ "ENTERING",   "LOST",           EARLY },
	{ "ENTERING",   "LEDGER_CLAIMED", WRITER },
	{ "OFFERING",   "LEDGER_HOME",    WRITER },
	{ "OFFERING",   "LEDGER_AWAY",    WRITER },
	{ "REVOKING",   "LEDGER_HOME",    WRITER },
	{ "CLAIMED",    "LEDGER_DONE",    "a read is answered with a view" },
	{ "TAKING_BACK", "LEDGER_HOME",   WRITER },
	{ "TAKING_BACK", "LEDGER_CLAIMED", WRITER },
	{ "EXPLAINING", "LEDGER_CLAIMED", "a note is done or unknown" },
	{ "EXPLAINING", "LEDGER_AWAY",    "a note is done or unknown" },
	{ "HOME",       "FAIL",           ENGINE },
	{ "AWAY",       "FAIL",           ENGINE },
	{ "LOST",       "FAIL",           ENGINE },
	{ "WAITING",    "FAIL",           ENGINE },
};

static const struct unused target_unused[] = {
	{ "IDLE",       "ABORT",          EARLY },
	{ "IDLE",       "LOST",           EARLY },
	{ "LISTENING",  "ABORT",          EARLY },
	{ "LISTENING",  "LOST",           EARLY },
	{ "RESUMING",   "ABORT",          TOLD },
	{ "RUNNING",    "FAIL",           ENGINE },
	{ "HELD",       "FAIL",           ENGINE },
	{ "FAILED",     "FAIL",           ENGINE },
};
/* clang-format on */

static bool listed(const struct unused *list, size_t count, const char *state, const char *event)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].state, state) == 0 && strcmp(list[i].event, event) == 0)
			return true;
	return false;
}

static int judge(const char *side, const char *state, const char *event, uint32_t taken,
		 const struct unused *list, size_t count)
{
	bool excused = listed(list, count, state, event);

	if (!taken == excused)
		return 0;
	printf("# %s: %s on %s is %s\n", side, state, event,
	       taken ? "listed as never taken, but it is" : "never taken");
	return 1;
}

static int coverage(void)
{
	int bad = 0;

	for (int s = 0; s < SOURCE_STATE_COUNT; s++)
		for (int e = 0; e < SOURCE_EVENT_COUNT; e++)
			if (source_row((enum source_state)s, (enum source_event)e))
				bad += judge("source", source_state_name((enum source_state)s),
					     source_event_name((enum source_event)e),
					     world_source_taken[s][e], source_unused,
					     sizeof(source_unused) / sizeof(source_unused[0]));
	for (int s = 0; s < TARGET_STATE_COUNT; s++)
		for (int e = 0; e < TARGET_EVENT_COUNT; e++)
			if (target_row((enum target_state)s, (enum target_event)e))
				bad += judge("target", target_state_name((enum target_state)s),
					     target_event_name((enum target_event)e),
					     world_target_taken[s][e], target_unused,
					     sizeof(target_unused) / sizeof(target_unused[0]));
	return bad;
}

static enum naive naive_of(const char *name)
{
#define NAME(name, breaks, text) #name,
	static const char *const names[] = { NAIVE_LIST(NAME) };
#undef NAME

	for (int i = 0; i < NAIVE_COUNT; i++)
		if (strcasecmp(name, names[i]) == 0)
			return (enum naive)i;
	fprintf(stderr, "no such variant: %s\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	struct timespec begin, done;
	struct rusage usage;
	const char *violation;
	int unused = 0;

	world_naive = argc > 1 ? naive_of(argv[1]) : NAIVE_NONE;
	visits = claim(sizeof(*visits) * WORLDS_MAX);
	edges = claim(sizeof(*edges) * EDGES_MAX);
	table = claim(sizeof(*table) * TABLE_SLOTS);
	(void)clock_gettime(CLOCK_MONOTONIC, &begin);
	violation = search();
	if (!violation && world_naive == NAIVE_NONE)
		violation = settle();
	(void)clock_gettime(CLOCK_MONOTONIC, &done);
	(void)getrusage(RUSAGE_SELF, &usage);
	printf("# %u worlds, %llu steps, %ld ms, %ld MiB\n", visit_count,
	       (unsigned long long)step_count,
	       (done.tv_sec - begin.tv_sec) * 1000 + (done.tv_nsec - begin.tv_nsec) / 1000000,
	       usage.ru_maxrss / 1024);
	if (!violation && world_naive == NAIVE_NONE)
		unused = coverage();
	printf("1..1\n%s 1 - %s\n",
	       world_naive == NAIVE_NONE ? (violation || unused ? "not ok" : "ok")
					 : (violation ? "ok" : "not ok"),
	       world_naive == NAIVE_NONE ? "every invariant holds in every world"
					 : "the mistake is caught");
	free(visits);
	free(edges);
	free(table);
	return world_naive == NAIVE_NONE ? violation || unused : !violation;
}
