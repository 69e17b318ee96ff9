/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How worlds begin, and what must hold in them: the numbered invariants of docs/invariants.md that
 * one world shows by itself. Those of actions are where the actions are, in explore-world.c.
 */
#include "explore-world.h"

#include <string.h>

/* A mistake shows in several ways; a variant is followed to the one that is its own. */
bool world_counts(const char *what)
{
	static const char *const expected[] = {
#define EXPECTED(name, breaks, text) breaks,
		NAIVE_LIST(EXPECTED)
#undef EXPECTED
	};

	return strncmp(what, expected[world_naive], strlen(expected[world_naive])) == 0;
}

bool world_first(struct world *world, unsigned int index)
{
	static const struct record records[] = {
		{ 0 },
		{ .exists = 1, .state = HF_LEDGER_HOME, .epoch = 1, .owner = 1 },
		{ .exists = 1, .state = HF_LEDGER_HOME, .epoch = 1, .owner = 1, .reason = 2 },
		{ .exists = 1, .state = HF_LEDGER_AWAY, .epoch = 1, .owner = 1, .offered_to = 1 },
		{ .exists = 1, .state = HF_LEDGER_HOME, .epoch = 1, .owner = 3 },
		{ .exists = 1,
		  .state = HF_LEDGER_CLAIMED,
		  .epoch = 1,
		  .owner = 1,
		  .offered_to = 3 },
	};

	const unsigned int count = sizeof(records) / sizeof(records[0]);

	if (index > count || (index == count && world_naive == NAIVE_STALE))
		return false;
	memset(world, 0, sizeof(*world));
	if (index == count) {
		world->none = 1;
		world->epoch = 1;
		world->side[SOURCE].runs = 1;
		return true;
	}
	world->record = records[index];
	world->epoch = (uint8_t)(records[index].epoch + 1);
	world->foreign = index >= 4;
	world->side[SOURCE].runs = 1;
	return true;
}

bool world_target_is_idle(const struct world *world)
{
	const struct side *target = &world->side[TARGET];

	return target->dead || target->state == TARGET_FAILED || target->state == TARGET_IDLE ||
	       (target->state == TARGET_LISTENING && !target->queue[0]);
}

static const char *check_running(const struct world *world)
{
	const struct side *source = &world->side[SOURCE], *target = &world->side[TARGET];
	const struct record *record = &world->record;

	if (source->runs && target->runs && world_counts("I1"))
		return "I1: both sides run the guest";
	if (source->runs && world->target_ran && world_counts("I2"))
		return "I2: the source runs the guest from an old state";
	if (!world_counts("I3") || !record->exists)
		return NULL;
	if (source->runs && !world->foreign &&
	    (record->owner != 1 || record->state == HF_LEDGER_OFFERED ||
	     record->state == HF_LEDGER_CLAIMED))
		return "I3: the source runs the guest, and the ledger does not say that it is home";
	if (target->runs && !world_away(world))
		return "I3: the target runs the guest, and the ledger does not say that it is away";
	return NULL;
}

const char *world_check(const struct world *world)
{
	const struct side *source = &world->side[SOURCE];
	const char *violation = check_running(world);

	if (violation || source->dead)
		return violation;
	if (source->state == SOURCE_LOST && !world->undo_failed && world_counts("I6"))
		return "I6: the guest was given up at the source although no way back failed";
	if (source->state == SOURCE_LOST && source->runs && !world->pause_failed &&
	    world_counts("I7"))
		return "I7: a device was lost, but the guest runs on without it";
	if (source->state == SOURCE_HOME && !source->runs && world_counts("I7"))
		return "I7: home, but the guest does not run";
	if (source->state == SOURCE_AWAY && source->runs && world_counts("I7"))
		return "I7: away, but the guest runs at the source";
	return NULL;
}

static bool busy_target(const struct world *world)
{
	uint8_t state = world->side[TARGET].state;

	return !world->side[TARGET].dead && (state == TARGET_RUNNING || state == TARGET_HELD);
}

bool world_settled_alone(const struct world *world)
{
	const struct side *source = &world->side[SOURCE];

	if (source->dead)
		return world_target_is_idle(world) || busy_target(world);
	if (source->state == SOURCE_HOME || source->state == SOURCE_LOST)
		return world_target_is_idle(world);
	/* Its owner may have died after it started. */
	return source->state == SOURCE_AWAY && (busy_target(world) || world->side[TARGET].dead);
}

bool world_settled(const struct world *world)
{
	const struct side *source = &world->side[SOURCE];

	if (world_settled_alone(world))
		return true;
	if (source->dead || source->state != SOURCE_WAITING || source->op[0])
		return false;
	return world->started && !world->none && (busy_target(world) || world->side[TARGET].dead);
}
