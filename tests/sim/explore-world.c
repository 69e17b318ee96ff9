/* SPDX-License-Identifier: BSD-3-Clause */
/* What events and actions do to a world. See explore-world.h for what a world is. */
#include "explore-world.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum naive world_naive;
uint32_t world_source_taken[SOURCE_STATE_COUNT][SOURCE_EVENT_COUNT];
uint32_t world_target_taken[TARGET_STATE_COUNT][TARGET_EVENT_COUNT];

static void violate(struct telling *telling, const char *what)
{
	if (!telling->violation && world_counts(what))
		telling->violation = what;
}

bool world_ended(const struct world *world, enum who who)
{
	const struct side *side = &world->side[who];

	return side->dead || (who == SOURCE ? source_ended((enum source_state)side->state)
					    : target_ended((enum target_state)side->state));
}

/* ---- actions --------------------------------------------------------------------------------- */

void world_cut(struct world *world)
{
	if (world->side[SOURCE].link != LINK_NONE)
		world->cut = 1;
}

static void push(struct world *world, enum who from, enum message message)
{
	struct side *peer = &world->side[from == SOURCE ? TARGET : SOURCE];
	int i = 0;

	if (world->side[from].link != LINK_OPEN || world->cut || peer->link == LINK_CLOSED)
		return;
	while (peer->queue[i])
		i++;
	assert(i < QUEUE_MAX);
	peer->queue[i] = (uint8_t)message;
}

static void connect_target(struct world *world)
{
	world->side[SOURCE].link = LINK_OPEN;
	push(world, SOURCE, MSG_CONNECT);
	if (world_ended(world, TARGET))
		world_cut(world);
}

void world_close_link(struct world *world, enum who who)
{
	world_cut(world);
	world->side[who].link = LINK_CLOSED;
	memset(world->side[who].queue, 0, QUEUE_MAX);
}

/* The session has ended: it hears nothing any more. Operations under way go on. */
static void end(struct world *world, enum who who)
{
	struct side *side = &world->side[who];

	world_close_link(world, who);
	side->doing = 0;
	side->live = 0;
	if (side->phase == PHASE_ANSWERED)
		ledger_drop_first(side);
}

bool world_away(const struct world *world)
{
	return world->record.state == HF_LEDGER_AWAY && world->record.owner == 2 &&
	       world->record.epoch == world->epoch;
}

static void do_on(struct side *side, unsigned int event)
{
	side->doing = (uint8_t)(event + 1);
}

static void source_act(struct world *world, enum source_action action, struct telling *telling)
{
	struct side *side = &world->side[SOURCE];

	switch (action) {
	case SOURCE_A_NONE:
	case SOURCE_A_UNTRACK:
	case SOURCE_A_TOO_LATE:
		return;
	case SOURCE_A_LEDGER_ENTER:
		ledger_ask(world, SOURCE, OP_OF(LEDGER_OP_ENTER));
		return;
	case SOURCE_A_CONNECT:
		connect_target(world);
		return;
	case SOURCE_A_PRECOPY:
		do_on(side, SOURCE_E_CONVERGED);
		return;
	case SOURCE_A_DEVICES_QUIET:
	case SOURCE_A_DEVICES_STOP_COPY:
	case SOURCE_A_DEVICES_UNDO:
	case SOURCE_A_DEVICES_RUN:
		do_on(side, SOURCE_E_DEVICES_DONE);
		return;
	case SOURCE_A_MACHINE_STOP:
		do_on(side, SOURCE_E_MACHINE_DONE);
		return;
	case SOURCE_A_DRAIN:
		do_on(side, SOURCE_E_DRAINED);
		return;
	case SOURCE_A_SEND_END:
		world->kept = 1;
		push(world, SOURCE, MSG_END);
		return;
	case SOURCE_A_LEDGER_OFFER:
		ledger_ask(world, SOURCE, OP_OF(LEDGER_OP_OFFER));
		return;
	case SOURCE_A_SEND_GO:
		world->go_sent = world->none;
		push(world, SOURCE, MSG_GO);
		if (world_naive == NAIVE_FREE && !world->started)
			violate(telling, "I4: the source frees the guest, which is not away");
		return;
	case SOURCE_A_LEDGER_REVOKE:
		ledger_ask(world, SOURCE,
			   world_naive == NAIVE_READ ? OP_READ : OP_OF(LEDGER_OP_REVOKE));
		return;
	case SOURCE_A_LEDGER_TAKE_BACK:
		ledger_ask(world, SOURCE, OP_OF(LEDGER_OP_TAKE_BACK));
		return;
	case SOURCE_A_LEDGER_READ:
		ledger_ask(world, SOURCE, OP_READ);
		return;
	case SOURCE_A_LEDGER_EXPLAIN:
		ledger_ask(world, SOURCE, OP_EXPLAIN);
		return;
	case SOURCE_A_SEND_ABORT:
		push(world, SOURCE, MSG_ABORT);
		return;
	case SOURCE_A_CUT:
		world_cut(world);
		return;
	case SOURCE_A_MACHINE_RUN:
		side->runs = 1;
		if (world->old)
			violate(telling, "I2: the source runs the guest from an old state");
		if (world_naive != NAIVE_KEPT)
			world->kept = 0;
		world->old = world->kept;
		do_on(side, SOURCE_E_MACHINE_DONE);
		return;
	case SOURCE_A_RELEASE:
		world->kept = 0;
		if (!world->started)
			violate(telling, "I4: the source frees the guest, which is not away");
		return;
	case SOURCE_A_END:
		end(world, SOURCE);
		return;
	case SOURCE_ACTION_COUNT:
		break;
	}
	assert(0);
}

static void target_runs(struct world *world, struct telling *telling)
{
	if (!world->started)
		violate(telling, "I5: the target runs vCPUs before its start is in the ledger");
	world->side[TARGET].runs = 1;
	world->target_ran = 1;
}

static void target_act(struct world *world, enum target_action action, struct telling *telling)
{
	struct side *side = &world->side[TARGET];

	switch (action) {
	case TARGET_A_NONE:
	case TARGET_A_LISTEN: /* ended by the message CONNECT */
	case TARGET_A_TOO_LATE:
		return;
	case TARGET_A_GREET:
		do_on(side, TARGET_E_GREETED);
		return;
	case TARGET_A_PREPARE:
		do_on(side, TARGET_E_PREPARED);
		return;
	case TARGET_A_SEND_ACCEPT:
		push(world, TARGET, MSG_ACCEPT);
		return;
	case TARGET_A_DEVICES_STOP:
	case TARGET_A_DEVICES_P2P:
	case TARGET_A_DEVICES_RUN:
	case TARGET_A_DEVICES_HALT:
	case TARGET_A_DEVICES_RESET:
		do_on(side, TARGET_E_DEVICES_DONE);
		return;
	case TARGET_A_MACHINE_LOAD:
		do_on(side, TARGET_E_MACHINE_DONE);
		return;
	case TARGET_A_SEND_LOADED:
		push(world, TARGET, MSG_LOADED);
		return;
	case TARGET_A_LEDGER_CLAIM:
		ledger_ask(world, TARGET, OP_OF(LEDGER_OP_CLAIM));
		return;
	case TARGET_A_LEDGER_STARTED:
		ledger_ask(world, TARGET, OP_OF(LEDGER_OP_STARTED));
		if (world_naive == NAIVE_EARLY)
			target_runs(world, telling);
		return;
	case TARGET_A_MACHINE_RUN:
		target_runs(world, telling);
		do_on(side, TARGET_E_MACHINE_DONE);
		return;
	case TARGET_A_SEND_STARTED:
		push(world, TARGET, MSG_STARTED);
		return;
	case TARGET_A_LEDGER_RETURN:
		ledger_ask(world, TARGET, OP_OF(LEDGER_OP_RETURN));
		return;
	case TARGET_A_SEND_RETURNED:
		push(world, TARGET, MSG_RETURNED);
		return;
	case TARGET_A_SEND_ABORT:
		push(world, TARGET, MSG_ABORT);
		return;
	case TARGET_A_CUT:
		world_cut(world);
		return;
	case TARGET_A_LEDGER_EXPLAIN:
		ledger_ask(world, TARGET, OP_EXPLAIN);
		return;
	case TARGET_A_END:
		end(world, TARGET);
		return;
	case TARGET_ACTION_COUNT:
		break;
	}
	assert(0);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void leave(struct side *side, uint8_t state)
{
	if (side->state == state)
		return;
	/* What was being done for the state that is left is not waited for any more. */
	side->state = state;
	side->doing = 0;
	if (world_naive == NAIVE_STALE)
		return;
	side->live = 0;
	if (side->phase == PHASE_ANSWERED)
		ledger_drop_first(side);
}

static void source_event(struct world *world, enum source_event event, struct telling *telling)
{
	struct side *side = &world->side[SOURCE];
	struct source source = { .state = (enum source_state)side->state,
				 .stopped = side->flags & 1,
				 .exposed = side->flags & 2 };
	const struct source_row *row;
	size_t used = strlen(telling->text);
	bool unexpected;

	if (world_naive == NAIVE_RESUME && source.state == SOURCE_COMMITTING &&
	    event == SOURCE_E_LOST)
		event = SOURCE_E_RETURNED;
	/* Only a failure of the way back itself excuses an end without a running guest. */
	if ((event == SOURCE_E_FAIL || event == SOURCE_E_DEVICES_LOST) &&
	    (source.state == SOURCE_UNDOING || source.state == SOURCE_REVIVING ||
	     source.state == SOURCE_RESUMING))
		world->undo_failed = 1;
	if ((source.state == SOURCE_QUIESCING || source.state == SOURCE_PAUSING) &&
	    event == SOURCE_E_MACHINE_DONE)
		side->runs = 0;
	if (source.state == SOURCE_RESUMING && event == SOURCE_E_FAIL)
		side->runs = 0; /* the machine's promise */
	if (source.state == SOURCE_PAUSING && event == SOURCE_E_FAIL)
		world->pause_failed = 1;

	if (world_naive == NAIVE_ALONE && event == SOURCE_E_RESTART) {
		side->runs = 1;
		world->kept = 0;
	}
	if (world_naive == NAIVE_BREACH && source.state >= SOURCE_UNDOING &&
	    (event == SOURCE_E_LOADED || event == SOURCE_E_RETURNED))
		event = SOURCE_E_FAIL;

	world_source_taken[source.state][event]++;
	row = source_step(&source, event, &unexpected);
	if (unexpected)
		violate(telling, "I10: what an honest target does is taken for a breach");
	leave(side, (uint8_t)source.state);
	side->flags = (uint8_t)(source.stopped | source.exposed << 1);
	if (telling->wanted)
		(void)snprintf(telling->text + used, sizeof(telling->text) - used,
			       "; source: %s%s in %s -> %s", source_event_name(event),
			       unexpected ? " (a breach)" : "", source_state_name(row->state),
			       source_state_name(row->next));
	if (event == SOURCE_E_GIVE_UP && row->next == SOURCE_WAITING)
		world->gave_up = 1;
	for (int i = 0; i < SOURCE_ACTIONS_MAX && row->actions[i] != SOURCE_A_NONE; i++) {
		used = strlen(telling->text);
		if (telling->wanted)
			(void)snprintf(telling->text + used, sizeof(telling->text) - used, ", %s",
				       source_action_name(row->actions[i]));
		source_act(world, row->actions[i], telling);
	}
}

static void target_event(struct world *world, enum target_event event, struct telling *telling)
{
	struct side *side = &world->side[TARGET];
	struct target target = { .state = (enum target_state)side->state,
				 .proved = side->flags & 1,
				 .claimed = side->flags & 2,
				 .started = side->flags & 4 };
	const struct target_row *row;
	size_t used = strlen(telling->text);
	bool unexpected;

	world_target_taken[target.state][event]++;
	row = target_step(&target, event, &unexpected);
	if (unexpected)
		violate(telling, "I10: what an honest source does is taken for a breach");
	leave(side, (uint8_t)target.state);
	side->flags = (uint8_t)(target.proved | target.claimed << 1 | target.started << 2);
	if (telling->wanted)
		(void)snprintf(telling->text + used, sizeof(telling->text) - used,
			       "; target: %s%s in %s -> %s", target_event_name(event),
			       unexpected ? " (a breach)" : "", target_state_name(row->state),
			       target_state_name(row->next));
	if (row->state == TARGET_GIVING_BACK && event == TARGET_E_GIVE_UP)
		world->gave_up = 1;
	for (int i = 0; i < TARGET_ACTIONS_MAX && row->actions[i] != TARGET_A_NONE; i++) {
		used = strlen(telling->text);
		if (telling->wanted)
			(void)snprintf(telling->text + used, sizeof(telling->text) - used, ", %s",
				       target_action_name(row->actions[i]));
		target_act(world, row->actions[i], telling);
	}
}

bool world_event(struct world *world, enum who who, unsigned int source, unsigned int target,
		 enum kind kind, struct telling *telling)
{
	telling->kind = kind;
	if (who == SOURCE)
		source_event(world, (enum source_event)source, telling);
	else
		target_event(world, (enum target_event)target, telling);
	return true;
}
