/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One world of the explorer: both shipping state machines, one record of the ledger under the
 * shipping rules, the connection between the sides, and what of all this is still under way. Small
 * enough that every world there is can be visited; docs/invariants.md has the numbered invariants.
 *
 * What is left out: time (a deadline may pass whenever it likes), the content of the guest, and
 * how devices move. Those are the simulator's and the unit tests'.
 */
#ifndef SIM_EXPLORE_WORLD_H
#define SIM_EXPLORE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/ledger.h"
#include "core/no-ledger.h"
#include "core/source.h"
#include "core/target.h"

enum who { SOURCE, TARGET };

/* Operations of the ledger as the engine makes them: those of the core, a read, and EXPLAIN, which
 * is a note of the own reason or a look for the peer's. 0 is none. */
#define OP_OF(op) ((uint8_t)((op) + 1))
#define OP_READ ((uint8_t)(LEDGER_OP_COUNT + 1))
#define OP_EXPLAIN ((uint8_t)(LEDGER_OP_COUNT + 2))
#define OP_LOOK ((uint8_t)(LEDGER_OP_COUNT + 3))

enum message {
	MSG_NONE,
	MSG_CONNECT,
	MSG_ACCEPT,
	MSG_END,
	MSG_LOADED,
	MSG_GO,
	MSG_STARTED,
	MSG_RETURNED,
	MSG_ABORT,
};

/* Where the first of a side's operations is. */
enum phase {
	PHASE_ASKED, /* to be read */
	PHASE_FRESH, /* the swap is under way, and nobody has written since the read */
	PHASE_STALE, /* somebody has: it will be refused */
	PHASE_ANSWERED, /* the event is on its way */
};

enum link { LINK_NONE, LINK_OPEN, LINK_CLOSED };

#define OPS_MAX 4
#define QUEUE_MAX 3

struct side {
	uint8_t state;
	uint8_t flags; /* the other members of struct source or struct target */
	uint8_t doing; /* 1 + the event that ends what is being done */
	uint8_t runs; /* vCPUs run, or may */
	uint8_t op[OPS_MAX]; /* in order, 0 ends them */
	uint8_t live; /* bit i: the answer of op[i] still counts */
	uint8_t phase, answer; /* of op[0] */
	uint8_t link, dead;
	uint8_t queue[QUEUE_MAX]; /* messages on their way to this side */
	uint16_t ghosts; /* ops whose swap was given up as unknown and may yet arrive */
};

struct record {
	uint8_t exists, state, epoch, owner, offered_to, reason;
	uint8_t vanished, spare; /* it was lost, once */
};

/* No padding: worlds are compared as bytes. */
struct world {
	struct side side[2];
	struct record record;
	uint8_t epoch; /* of the handover */
	uint8_t cut; /* the connection is gone; what is in the queues may or may not arrive */
	uint8_t foreign; /* the record was another side's from the beginning */
	uint8_t target_ran; /* ever */
	uint8_t undo_failed; /* on the way back a device was lost, or vCPUs could not be run */
	uint8_t gave_up; /* a side stopped asking the ledger */
	uint8_t kept; /* the source keeps the stopped guest where its next process finds it */
	uint8_t started; /* that the target started was recorded, ever */
	uint8_t none; /* there is no ledger: each side answers itself */
	uint8_t go_sent, declined; /* what the source knows then */
	uint8_t pause_failed; /* vCPUs could not be stopped when a device had been lost */
	uint8_t old; /* what is kept of the guest is older than what it did since */
};

/* Ways to get it wrong. X(name, the invariant that must be seen to break, what is wrong) */
/* clang-format off */
#define NAIVE_LIST(X) \
	X(NONE,   "",   "nothing: the shipping tables") \
	X(READ,   "I3", "after an unknown offer the source reads, and believes what it reads") \
	X(RESUME, "I1", "the source resumes when the connection is lost after GO") \
	X(EARLY,  "I1", "the target runs vCPUs before its start is in the ledger") \
	X(FREE,   "I4", "the source frees the guest when it has sent GO") \
	X(STALE,  "I3", "answers to what was asked in a state that was left are believed") \
	X(BREACH, "I6", "a message that crosses the way back is a breach, and a failure") \
	X(GONE,   "I4", "that the record was lost is taken for: it is not ours any more") \
	X(KEPT,   "I2", "what was kept of the guest is not thrown away before it runs again") \
	X(ALONE,  "I1", "a source that comes back runs what it kept without asking the ledger") \
	X(SILENT, "I1", "without a ledger, a source in doubt takes the guest back by itself")
/* clang-format on */

#define NAIVE_ENUM_(name, breaks, text) NAIVE_##name,
enum naive { NAIVE_LIST(NAIVE_ENUM_) NAIVE_COUNT };
#undef NAIVE_ENUM_

enum kind {
	STEP_GOOD, /* things go as they should */
	STEP_PATIENCE, /* it takes somebody's patience: giving up, an operator */
	STEP_BAD, /* a failure, or what may never happen */
};

/* What one step did. */
struct telling {
	enum kind kind;
	const char *violation; /* NULL, or the invariant that an action broke */
	char text[256]; /* in words */
	bool wanted; /* in: whether text is wanted */
};

/* Every step has a number in [0, WORLD_STEPS). */
#define SIDE_STEPS 18u
#define WORLD_STEPS (2u * SIDE_STEPS + 6u)

extern enum naive world_naive;
extern uint32_t world_source_taken[SOURCE_STATE_COUNT][SOURCE_EVENT_COUNT];
extern uint32_t world_target_taken[TARGET_STATE_COUNT][TARGET_EVENT_COUNT];

/* The worlds in which it begins; false when there is no such one. */
bool world_first(struct world *world, unsigned int index);

/* Take a step; false, and world as it was, when it is not enabled. */
bool world_step(struct world *world, unsigned int step, struct telling *telling);

/* The invariants of a world by itself: NULL, or the one it breaks. */
const char *world_check(const struct world *world);

/* Nothing more need happen: exactly one side runs the guest, or an exception that was promised. */
bool world_settled(const struct world *world);

/* The same without an operator's help. */
bool world_settled_alone(const struct world *world);

/* Whether a violation counts: a variant is followed to the one that is its own mistake's. */
bool world_counts(const char *what);

/* explore-world.c */
bool world_event(struct world *world, enum who who, unsigned int source, unsigned int target,
		 enum kind kind, struct telling *telling);
bool world_ended(const struct world *world, enum who who);
bool world_away(const struct world *world); /* says the record */
void world_cut(struct world *world);
void world_close_link(struct world *world, enum who who);
bool world_target_is_idle(const struct world *world); /* it has nothing of the guest, nor will */

/* explore-ledger.c: operations on the record */
void ledger_ask(struct world *world, enum who who, uint8_t op);
/* steps of the operation that is first; variant 0 is the good one */
bool ledger_go_on(struct world *world, enum who who, unsigned int variant, struct telling *telling);
bool ledger_arrive(struct world *world, enum who who, unsigned int index, struct telling *telling);
bool ledger_vanish(struct world *world, struct telling *telling);
void ledger_drop_first(struct side *side);
void ledger_die(struct side *side);
const char *ledger_word(uint8_t op);
const char *record_word(const struct record *record);

#endif
