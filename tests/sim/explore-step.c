/* SPDX-License-Identifier: BSD-3-Clause */
/* What can happen in a world: the steps of either side, of the connection and of the operator. */
#include "explore-world.h"

#include <stdio.h>
#include <string.h>

static const char *const sides[] = { "source", "target" };
static const char *const messages[] = { "nothing", "HELLO",   "ACCEPT",	  "END",  "LOADED",
					"GO",	   "STARTED", "RETURNED", "ABORT" };

static void say(struct telling *telling, const char *a, const char *b, const char *c)
{
	if (telling->wanted)
		(void)snprintf(telling->text, sizeof(telling->text), "%s%s%s", a, b, c);
}

static bool proceed(struct world *world, enum who who, struct telling *telling)
{
	struct side *side = &world->side[who];
	unsigned int done = side->doing;

	if (who == SOURCE ? side->state == SOURCE_IDLE : side->state == TARGET_IDLE) {
		say(telling, "the ", sides[who], " begins");
		return world_event(world, who, SOURCE_E_START, TARGET_E_START, STEP_GOOD, telling);
	}
	if (!done)
		return false;
	side->doing = 0;
	say(telling, "the ", sides[who], " has done what it was doing");
	return world_event(world, who, done - 1, done - 1, STEP_GOOD, telling);
}

static bool lose_device(struct world *world, enum who who, struct telling *telling)
{
	struct side *side = &world->side[who];

	if (who != SOURCE || side->doing != SOURCE_E_DEVICES_DONE + 1 ||
	    side->state < SOURCE_UNDOING)
		return false;
	side->doing = 0;
	say(telling, "a device at the source had to be reset", "", "");
	return world_event(world, who, SOURCE_E_DEVICES_LOST, 0, STEP_BAD, telling);
}

static bool deliver(struct world *world, enum who who, struct telling *telling)
{
	static const uint8_t at_source[] = {
		[MSG_ACCEPT] = SOURCE_E_ACCEPTED, [MSG_LOADED] = SOURCE_E_LOADED,
		[MSG_STARTED] = SOURCE_E_STARTED, [MSG_RETURNED] = SOURCE_E_RETURNED,
		[MSG_ABORT] = SOURCE_E_ABORT,
	};
	static const uint8_t at_target[] = {
		[MSG_CONNECT] = TARGET_E_CONNECTED, [MSG_ACCEPT] = 0,
		[MSG_END] = TARGET_E_ENDED,	    [MSG_GO] = TARGET_E_GO,
		[MSG_ABORT] = TARGET_E_ABORT,
	};
	struct side *side = &world->side[who];
	uint8_t message = side->queue[0];

	if (!message || (message == MSG_CONNECT && side->state != TARGET_LISTENING))
		return false;
	memmove(side->queue, side->queue + 1, QUEUE_MAX - 1);
	side->queue[QUEUE_MAX - 1] = 0;
	if (message == MSG_CONNECT)
		side->link = LINK_OPEN;
	if (who == SOURCE && (message == MSG_ABORT || message == MSG_RETURNED))
		world->declined = world->none;
	say(telling, messages[message], " comes to the ", sides[who]);
	return world_event(world, who, at_source[message], at_target[message], STEP_GOOD, telling);
}

/* The connection's end is seen; what was still in it is lost. */
static bool lose(struct world *world, enum who who, struct telling *telling)
{
	struct side *side = &world->side[who];

	if (!world->cut || side->link == LINK_CLOSED)
		return false;
	telling->kind = STEP_GOOD;
	memset(side->queue, 0, QUEUE_MAX);
	say(telling, "the ", sides[who], " sees that the connection is gone");
	if (side->link == LINK_OPEN) {
		side->link = LINK_CLOSED;
		return world_event(world, who, SOURCE_E_LOST, TARGET_E_LOST, STEP_GOOD, telling);
	}
	side->link = LINK_CLOSED; /* it had not been accepted yet */
	return true;
}

static bool retry(struct world *world, enum who who, struct telling *telling)
{
	struct side *side = &world->side[who];
	bool asks = who == SOURCE ? side->state == SOURCE_DOUBT || side->state == SOURCE_CLAIMED ||
					    side->state == SOURCE_EXPLAINING
				  : side->state == TARGET_DOUBT || side->state == TARGET_HOLDING ||
					    side->state == TARGET_GIVING_BACK ||
					    side->state == TARGET_EXPLAINING;

	if (!asks || side->live)
		return false;
	say(telling, "the ", sides[who], " asks again");
	return world_event(world, who, SOURCE_E_RETRY, TARGET_E_RETRY, STEP_GOOD, telling);
}

static bool give_up(struct world *world, enum who who, struct telling *telling)
{
	struct side *side = &world->side[who];
	bool explaining = side->state ==
			  (who == SOURCE ? (uint8_t)SOURCE_EXPLAINING : (uint8_t)TARGET_EXPLAINING);

	if (who == SOURCE ? !source_row((enum source_state)side->state, SOURCE_E_GIVE_UP)
			  : !target_row((enum target_state)side->state, TARGET_E_GIVE_UP))
		return false;
	say(telling, "the ", sides[who], " has asked for long enough");
	return world_event(world, who, SOURCE_E_GIVE_UP, TARGET_E_GIVE_UP,
			   explaining ? STEP_GOOD : STEP_PATIENCE, telling);
}

static bool answer(struct world *world, enum who who, struct telling *telling)
{
	struct side *side = &world->side[who];
	uint8_t what = side->answer;

	if (!side->op[0] || side->phase != PHASE_ANSWERED)
		return false;
	say(telling, "the ledger's answer to ", ledger_word(side->op[0]), " comes");
	ledger_drop_first(side);
	return world_event(world, who, what, what, STEP_GOOD, telling);
}

static bool crash(struct world *world, enum who who, struct telling *telling)
{
	struct side *side = &world->side[who];

	telling->kind = STEP_BAD;
	say(telling, "the ", sides[who], " is killed, and what it had of the guest is gone");
	world_close_link(world, who);
	ledger_die(side);
	side->state = side->flags = side->doing = side->runs = 0;
	side->dead = 1;
	return true;
}

static bool side_step(struct world *world, enum who who, unsigned int step, struct telling *telling)
{
	struct side *side = &world->side[who];

	if (step < 4)
		return ledger_go_on(world, who, step, telling);
	if (step < 7)
		return ledger_arrive(world, who, step - 4, telling);
	if (side->dead)
		return false;
	if (step == 7)
		return crash(world, who, telling);
	if (world_ended(world, who))
		return false;
	switch (step) {
	case 8:
		return proceed(world, who, telling);
	case 9:
		return lose_device(world, who, telling);
	case 10:
		return deliver(world, who, telling);
	case 11:
		return lose(world, who, telling);
	case 12:
		return retry(world, who, telling);
	case 13:
		return give_up(world, who, telling);
	case 14:
		return answer(world, who, telling);
	case 15:
		say(telling, "at the ", sides[who], ": a failure, or a deadline");
		return world_event(world, who, SOURCE_E_FAIL, TARGET_E_FAIL, STEP_BAD, telling);
	case 16:
		say(telling, "the operator cancels at the ", sides[who], "");
		return world_event(world, who, SOURCE_E_CANCEL, TARGET_E_CANCEL, STEP_BAD, telling);
	default:
		return false;
	}
}

/* A word that nothing guards against must be a true one. */
static bool is_guarded(const struct world *world)
{
	return world->record.exists && !world->none;
}

static bool operator_step(struct world *world, unsigned int what, struct telling *telling)
{
	struct side *source = &world->side[SOURCE];

	bool asking = source->state == SOURCE_REVOKING || source->state == SOURCE_TAKING_BACK;

	if (source->dead || !source_can_resolve((enum source_state)source->state) ||
	    (source->live && !asking)) /* else questions would pile up: there is no end of those */
		return false;
	switch (what) {
	case 0:
		say(telling, "the operator has the ledger asked again", "", "");
		return world_event(world, SOURCE, SOURCE_E_ASK, 0, STEP_PATIENCE, telling);
	case 1:
		if (!is_guarded(world) && (!world_target_is_idle(world) || world->target_ran))
			return false;
		say(telling, "the operator says that the target is dead", "", "");
		return world_event(world, SOURCE, SOURCE_E_TAKE_BACK, 0, STEP_PATIENCE, telling);
	default:
		/* hf_session_resolve() takes this word only where there is no ledger. */
		if (!world->none || !world->started)
			return false;
		say(telling, "the operator says that the target runs the guest", "", "");
		return world_event(world, SOURCE, SOURCE_E_LET_GO, 0, STEP_PATIENCE, telling);
	}
}

/* Another process of the source finds what the dead one kept of the guest. */
static bool restart(struct world *world, struct telling *telling)
{
	struct side *source = &world->side[SOURCE];

	if (!source->dead || !world->kept)
		return false;
	say(telling, "another process of the source finds the guest, kept", "", "");
	source->dead = 0;
	source->link = LINK_CLOSED;
	memset(source->queue, 0, QUEUE_MAX);
	world->go_sent = 1; /* for all it knows */
	world->declined = 0;
	return world_event(world, SOURCE, SOURCE_E_RESTART, 0, STEP_GOOD, telling);
}

bool world_step(struct world *world, unsigned int step, struct telling *telling)
{
	telling->violation = NULL;
	telling->text[0] = '\0';
	if (step < 2 * SIDE_STEPS)
		return side_step(world, step < SIDE_STEPS ? SOURCE : TARGET, step % SIDE_STEPS,
				 telling);
	if (step == 2 * SIDE_STEPS + 1)
		return ledger_vanish(world, telling);
	if (step == 2 * SIDE_STEPS + 2)
		return restart(world, telling);
	if (step > 2 * SIDE_STEPS + 2)
		return operator_step(world, step - 2 * SIDE_STEPS - 3, telling);
	if (world->cut || world->side[SOURCE].link == LINK_NONE)
		return false;
	telling->kind = STEP_BAD;
	say(telling, "the connection is cut", "", "");
	world_cut(world);
	return true;
}
