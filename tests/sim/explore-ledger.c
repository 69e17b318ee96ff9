/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ledger in the explorer's worlds: one record, the shipping rules of core/ledger.c, and the
 * compare-and-swap. A revision needs no number here: a swap that is under way is either FRESH (it
 * was computed from the record as it stands) or STALE (it can never succeed again), and every write
 * makes all others stale. What a fresh swap would write follows from the record, so that a swap
 * which arrives late (a ghost) is one bit.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "explore-world.h"

#define NOBODY 0
#define OTHER 3

static const char *const names[] = { "", "source", "target", "other" };

static uint8_t number_of(const char *name)
{
	for (uint8_t i = 0; i < 4; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	assert(0);
	return NOBODY;
}

static uint8_t name_of(enum who who)
{
	return who == SOURCE ? 1 : 2;
}

static void unpack(const struct record *record, struct hf_ledger_record *ret_full)
{
	memset(ret_full, 0, sizeof(*ret_full));
	ret_full->revision = record->exists;
	ret_full->state = record->state;
	ret_full->epoch = record->epoch;
	strcpy(ret_full->owner, names[record->owner]);
	strcpy(ret_full->offered_to, names[record->offered_to]);
	ret_full->reason_code = -(int32_t)record->reason;
	strcpy(ret_full->reason, names[record->reason]);
}

static void pack(const struct hf_ledger_record *full, struct record *ret_record)
{
	*ret_record = (struct record){
		.exists = 1,
		.state = (uint8_t)full->state,
		.epoch = (uint8_t)full->epoch,
		.owner = number_of(full->owner),
		.offered_to = number_of(full->offered_to),
		.reason = (uint8_t)-full->reason_code,
	};
}

static enum ledger_verdict ask_rules(const struct world *world, enum who who, uint8_t op,
				     struct record *ret_next)
{
	struct ledger_request request = { .op = (enum ledger_op)(op - 1), .epoch = world->epoch };
	struct hf_ledger_record now, next;
	enum ledger_verdict verdict;

	strcpy(request.guest, "guest");
	strcpy(request.side, names[name_of(who)]);
	strcpy(request.peer, names[who == SOURCE ? 2 : 1]);
	strcpy(request.attempt, "attempt");
	if (request.op == LEDGER_OP_RETURN || request.op == LEDGER_OP_REVOKE ||
	    request.op == LEDGER_OP_NOTE) {
		request.reason_code = -(int32_t)name_of(who);
		strcpy(request.reason, request.side);
	}
	unpack(&world->record, &now);
	verdict = ledger_next(&request, &now, &next);
	if (verdict == LEDGER_WRITE)
		pack(&next, ret_next);
	ret_next->vanished = world->record.vanished;
	return verdict;
}

/* A write: whatever else is under way has an old revision now. */
static void write_record(struct world *world, const struct record *next)
{
	world->record = *next;
	if (next->state == HF_LEDGER_AWAY && next->owner == 2)
		world->started = 1;
	for (int i = 0; i < 2; i++) {
		world->side[i].ghosts = 0;
		if (world->side[i].phase == PHASE_FRESH)
			world->side[i].phase = PHASE_STALE;
	}
}

/* Without a ledger the answer is there at once, and nobody else has a say. */
static void answer_alone(struct world *world, enum who who, uint8_t op)
{
	struct side *side = &world->side[who];
	struct no_ledger known = { .go_sent = world->go_sent, .declined = world->declined };
	bool done = op == OP_EXPLAIN ||
		    (op != OP_READ && no_ledger_answer((enum ledger_op)(op - 1), &known));

	assert(side->op[0] == op); /* they are never piled up */
	if (world_naive == NAIVE_SILENT)
		done = true;
	if (op == OP_OF(LEDGER_OP_STARTED))
		world->started = 1;
	side->phase = PHASE_ANSWERED;
	if (who == SOURCE)
		side->answer = done ? SOURCE_E_LEDGER_DONE : SOURCE_E_LEDGER_UNKNOWN;
	else
		side->answer = TARGET_E_LEDGER_DONE;
}

void ledger_ask(struct world *world, enum who who, uint8_t op)
{
	struct side *side = &world->side[who];
	unsigned int i = 0;

	while (side->op[i])
		i++;
	assert(i < OPS_MAX - 1);
	side->op[i] = op;
	if (world_naive != NAIVE_STALE)
		side->live = 0;
	side->live |= (uint8_t)(1u << i);
	if (world->none)
		answer_alone(world, who, op);
}

void ledger_drop_first(struct side *side)
{
	memmove(side->op, side->op + 1, OPS_MAX - 1);
	side->op[OPS_MAX - 1] = 0;
	side->live >>= 1;
	side->phase = PHASE_ASKED;
	side->answer = 0;
}

/* The process is gone. A swap that has left it may still arrive. */
void ledger_die(struct side *side)
{
	if (side->op[0] && side->phase == PHASE_FRESH)
		side->ghosts |= (uint16_t)(1u << (side->op[0] - 1));
	memset(side->op, 0, sizeof(side->op));
	side->live = side->phase = side->answer = 0;
}

enum answer { DONE, REFUSED, UNKNOWN };

static uint8_t source_meaning(const struct world *world, uint8_t op, enum answer answer)
{
	struct hf_ledger_record now;

	if (answer == UNKNOWN)
		return SOURCE_E_LEDGER_UNKNOWN;
	if ((answer == DONE && op != OP_READ) || op == OP_OF(LEDGER_OP_NOTE))
		return SOURCE_E_LEDGER_DONE;
	if (world_naive == NAIVE_GONE && !world->record.exists)
		return SOURCE_E_LEDGER_AWAY;
	unpack(&world->record, &now);
	switch (ledger_view(&now, names[name_of(SOURCE)], world->epoch)) {
	case LEDGER_VIEW_HOME:
		return SOURCE_E_LEDGER_HOME;
	case LEDGER_VIEW_OFFERED:
	case LEDGER_VIEW_CLAIMED:
		return SOURCE_E_LEDGER_CLAIMED;
	case LEDGER_VIEW_AWAY:
		return SOURCE_E_LEDGER_AWAY;
	}
	assert(0);
	return 0;
}

static uint8_t target_meaning(uint8_t op, enum answer answer)
{
	if (answer == UNKNOWN)
		return TARGET_E_LEDGER_UNKNOWN;
	if ((answer == DONE && op != OP_READ) || op == OP_OF(LEDGER_OP_NOTE))
		return TARGET_E_LEDGER_DONE;
	return TARGET_E_LEDGER_HOME;
}

static void answered(struct world *world, enum who who, enum answer answer, struct telling *telling)
{
	struct side *side = &world->side[who];
	uint8_t op = side->op[0];

	if (!(side->live & 1)) {
		ledger_drop_first(side);
		if (telling->wanted)
			strcat(telling->text, "; nobody waits for the answer any more");
		return;
	}
	side->phase = PHASE_ANSWERED;
	side->answer =
		who == SOURCE ? source_meaning(world, op, answer) : target_meaning(op, answer);
}

static void tell(struct telling *telling, enum who who, uint8_t op, const char *what,
		 const struct world *world)
{
	if (telling->wanted)
		(void)snprintf(telling->text, sizeof(telling->text),
			       "the ledger, asked by the %s to %s: %s; the record says: %s",
			       names[name_of(who)], ledger_word(op), what,
			       record_word(&world->record));
}

static bool read_step(struct world *world, enum who who, struct telling *telling)
{
	struct side *side = &world->side[who];
	struct record next;
	uint8_t op = side->op[0];

	if (op == OP_READ) {
		tell(telling, who, op, "is read", world);
		answered(world, who, DONE, telling);
		return true;
	}
	if (op == OP_LOOK) {
		tell(telling, who, op, "is read", world);
		answered(world, who, DONE, telling);
		if (side->phase == PHASE_ANSWERED && !world->record.reason)
			side->answer = who == SOURCE ? (uint8_t)SOURCE_E_LEDGER_HOME
						     : (uint8_t)TARGET_E_LEDGER_HOME;
		return true;
	}
	switch (ask_rules(world, who, op, &next)) {
	case LEDGER_WRITE:
		side->phase = PHASE_FRESH;
		tell(telling, who, op, "the record is read, a swap is sent", world);
		return true;
	case LEDGER_ALREADY:
		tell(telling, who, op, "it is so already", world);
		answered(world, who, DONE, telling);
		return true;
	case LEDGER_REFUSE:
		tell(telling, who, op, "refused", world);
		answered(world, who, REFUSED, telling);
		return true;
	}
	return false;
}

static bool swap_step(struct world *world, enum who who, unsigned int variant,
		      struct telling *telling)
{
	struct side *side = &world->side[who];
	struct record next;
	uint8_t op = side->op[0];
	enum ledger_verdict verdict = ask_rules(world, who, op, &next);

	assert(verdict == LEDGER_WRITE);
	if (variant == 0 || variant == 1) {
		side->phase = PHASE_ASKED; /* not the victim of its own write */
		write_record(world, &next);
		tell(telling, who, op, variant ? "done, but the answer is lost" : "done", world);
		answered(world, who, variant ? UNKNOWN : DONE, telling);
		return true;
	}
	side->ghosts |= (uint16_t)(1u << (op - 1));
	tell(telling, who, op, "no answer; the swap is lost, or late", world);
	answered(world, who, UNKNOWN, telling);
	return true;
}

/* variant 0: as it should; 1 and 2: no answer. 3: EXPLAIN looks for the peer's reason. */
bool ledger_go_on(struct world *world, enum who who, unsigned int variant, struct telling *telling)
{
	struct side *side = &world->side[who];
	uint8_t op = side->op[0];

	if (!op || side->phase == PHASE_ANSWERED)
		return false;
	telling->kind = variant == 1 || variant == 2 ? STEP_BAD : STEP_GOOD;
	if (op == OP_EXPLAIN) {
		if (variant != 0 && variant != 3)
			return false;
		/* A target that gave up giving back what it claimed tries once more. */
		side->op[0] = variant == 3			   ? OP_LOOK
			      : who == TARGET && (side->flags & 2) ? OP_OF(LEDGER_OP_RETURN)
								   : OP_OF(LEDGER_OP_NOTE);
		if (telling->wanted)
			(void)snprintf(telling->text, sizeof(telling->text), "the %s %s",
				       names[name_of(who)],
				       variant == 0 ? "has a reason of its own to note"
						    : "looks for a reason in the ledger");
		return true;
	}
	if (side->phase == PHASE_FRESH)
		return variant <= 2 && swap_step(world, who, variant, telling);
	if (variant > 1)
		return false;
	if (variant == 1) {
		tell(telling, who, op, "no answer", world);
		side->phase = PHASE_ASKED;
		answered(world, who, op == OP_LOOK ? REFUSED : UNKNOWN, telling);
		if (op == OP_LOOK && side->phase == PHASE_ANSWERED)
			side->answer = who == SOURCE ? (uint8_t)SOURCE_E_LEDGER_HOME
						     : (uint8_t)TARGET_E_LEDGER_HOME;
		return true;
	}
	if (side->phase == PHASE_STALE) {
		side->phase = PHASE_ASKED;
		tell(telling, who, op, "the swap's revision is old, it will be read again", world);
		return true;
	}
	return read_step(world, who, telling);
}

/* A swap that was given up as unknown takes effect after all: the index-th of them. */
bool ledger_arrive(struct world *world, enum who who, unsigned int index, struct telling *telling)
{
	struct record next;
	enum ledger_verdict verdict;
	uint16_t ghosts = world->side[who].ghosts;
	uint8_t op = 1;

	while (ghosts && index--)
		ghosts &= (uint16_t)(ghosts - 1);
	if (!ghosts)
		return false;
	while (!(ghosts & 1u << (op - 1)))
		op++;
	verdict = ask_rules(world, who, op, &next);
	assert(verdict == LEDGER_WRITE);
	telling->kind = STEP_BAD;
	write_record(world, &next);
	tell(telling, who, op, "a late swap arrives, and is done", world);
	return true;
}

/*
 * An operator's mistake, or a disk's: the record is gone. Once the start is recorded the promises
 * rest on the ledger's being durable: who then loses the record and, at the same time, the answer
 * to STARTED has lost what the target would need to know that it may run.
 */
bool ledger_vanish(struct world *world, struct telling *telling)
{
	struct record none = { .vanished = 1 };

	if (!world->record.exists || world->record.vanished || world->foreign || world->started ||
	    world->none ||
	    (world->side[SOURCE].state <= SOURCE_ENTERING && !world->side[SOURCE].dead))
		return false; /* before, it is as if there never was one */
	telling->kind = STEP_BAD;
	write_record(world, &none);
	if (telling->wanted)
		(void)snprintf(telling->text, sizeof(telling->text), "the record is lost");
	return true;
}

const char *ledger_word(uint8_t op)
{
	if (op == OP_READ)
		return "READ";
	if (op == OP_EXPLAIN)
		return "EXPLAIN";
	if (op == OP_LOOK)
		return "READ the reason";
	return ledger_op_name((enum ledger_op)(op - 1));
}

const char *record_word(const struct record *record)
{
	static const char *const states[] = { "nothing", "HOME", "OFFERED", "CLAIMED", "AWAY" };
	static char text[128];

	(void)snprintf(text, sizeof(text), "%s, epoch %u, owner %s%s%s", states[record->state],
		       record->epoch, record->owner ? names[record->owner] : "nobody",
		       record->offered_to ? ", offered to the " : "", names[record->offered_to]);
	return text;
}
