/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The source's table. Read it from top to bottom: it is the handover of docs/architecture.md.
 *
 * Three rules carry everything:
 *  - Before the offer any failure leads home: nobody else can own the guest.
 *  - From the offer on (struct source: exposed) the source neither runs the guest nor frees it
 * until the ledger, or the target itself, has said whose it is. An unknown answer is asked again.
 *  - RELEASE stands in rows to AWAY only, and MACHINE_RUN behind rows that know the guest is ours.
 */
#include "core/source.h"

#include <assert.h>
#include <stddef.h>

#define ROW(state, event, next, ...)                                                               \
	{                                                                                          \
		SOURCE_##state, SOURCE_E_##event, SOURCE_##next,                                   \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
#define A(name) SOURCE_A_##name

/* The four ways in which something goes wrong while nothing was offered: all lead to one place. */
#define ROWS_FAIL(state, next, ...)                                                                \
	ROW(state, FAIL, next, __VA_ARGS__), ROW(state, LOST, next, __VA_ARGS__),                  \
		ROW(state, ABORT, next, __VA_ARGS__), ROW(state, CANCEL, next, __VA_ARGS__)

/* Where the source waits for others to decide, these change nothing. */
#define ROWS_STAY(state)                                                                           \
	ROW(state, FAIL, state, A(NONE)), ROW(state, LOST, state, A(NONE)),                        \
		ROW(state, ABORT, state, A(NONE)), ROW(state, CANCEL, state, A(TOO_LATE))

/* An operator may end a doubt: by asking the ledger again, or by a word of his own. */
#define ROWS_OPERATOR(state, next, ...)                                                            \
	ROW(state, ASK, next, __VA_ARGS__), ROW(state, TAKE_BACK, TAKING_BACK, A(LEDGER_TAKE_BACK))

/*
 * On the way back: what the target said before it knew, and what it hears of it, change nothing.
 * STARTED is not among them. An honest target cannot send it then, and if one does, the guest must
 * not be run here: a breach, and a failure.
 */
#define ROWS_BACK(state)                                                                           \
	ROW(state, LOADED, state, A(NONE)), ROW(state, RETURNED, state, A(NONE)),                  \
		ROW(state, LOST, state, A(NONE)), ROW(state, ABORT, state, A(NONE)),               \
		ROW(state, CANCEL, state, A(NONE))

/* clang-format off */
static const struct source_row rows[] = {
	/*  in          on              go to       and do */
	ROW(IDLE,       START,          ENTERING,   A(LEDGER_ENTER)),
	ROW(IDLE,       RESTART,        REVOKING,   A(LEDGER_REVOKE)),
	ROWS_FAIL(IDLE,                 HOME,       A(END)),

	ROW(ENTERING,   LEDGER_DONE,    HELLO,      A(CONNECT)),
	ROW(ENTERING,   LEDGER_HOME,    HOME,       A(END)),
	ROW(ENTERING,   LEDGER_CLAIMED, HOME,       A(END)),
	ROW(ENTERING,   LEDGER_AWAY,    HOME,       A(END)),
	ROW(ENTERING,   LEDGER_UNKNOWN, HOME,       A(END)),
	ROWS_FAIL(ENTERING,             HOME,       A(END)),

	ROW(HELLO,      ACCEPTED,       PRECOPY,    A(PRECOPY)),
	ROWS_FAIL(HELLO,                EXPLAINING, A(SEND_ABORT), A(CUT), A(LEDGER_EXPLAIN)),

	ROW(PRECOPY,    CONVERGED,      QUIETING,   A(DEVICES_QUIET)),
	ROWS_FAIL(PRECOPY,              UNDOING,    A(SEND_ABORT), A(CUT), A(UNTRACK), A(DEVICES_UNDO)),

	ROW(QUIETING,   DEVICES_DONE,   QUIESCING,  A(MACHINE_STOP)),
	ROWS_FAIL(QUIETING,             UNDOING,    A(SEND_ABORT), A(CUT), A(UNTRACK), A(DEVICES_UNDO)),

	ROW(QUIESCING,  MACHINE_DONE,   STOPPING,   A(DEVICES_STOP_COPY)),
	ROWS_FAIL(QUIESCING,            UNDOING,    A(SEND_ABORT), A(CUT), A(UNTRACK), A(DEVICES_UNDO)),

	ROW(STOPPING,   DEVICES_DONE,   DRAINING,   A(DRAIN)),
	ROWS_FAIL(STOPPING,             UNDOING,    A(SEND_ABORT), A(CUT), A(UNTRACK), A(DEVICES_UNDO)),

	ROW(DRAINING,   DRAINED,        PROVING,    A(SEND_END)),
	ROWS_FAIL(DRAINING,             UNDOING,    A(SEND_ABORT), A(CUT), A(UNTRACK), A(DEVICES_UNDO)),

	ROW(PROVING,    LOADED,         OFFERING,   A(LEDGER_OFFER)),
	ROWS_FAIL(PROVING,              UNDOING,    A(SEND_ABORT), A(CUT), A(UNTRACK), A(DEVICES_UNDO)),

	/* The offer is on its way: a failure can only be answered by a revoke that follows it. */
	ROW(OFFERING,   LEDGER_DONE,    COMMITTING, A(SEND_GO)),
	ROW(OFFERING,   LEDGER_HOME,    REVOKING,   A(LEDGER_REVOKE)),
	ROW(OFFERING,   LEDGER_CLAIMED, REVOKING,   A(LEDGER_REVOKE)),
	ROW(OFFERING,   LEDGER_AWAY,    REVOKING,   A(LEDGER_REVOKE)),
	ROW(OFFERING,   LEDGER_UNKNOWN, REVOKING,   A(LEDGER_REVOKE)),
	ROW(OFFERING,   CANCEL,         OFFERING,   A(TOO_LATE)),
	ROW(OFFERING,   ABORT,          REVOKING,   A(LEDGER_REVOKE)),
	ROW(OFFERING,   LOST,           REVOKING,   A(LEDGER_REVOKE)),
	ROW(OFFERING,   FAIL,           REVOKING,   A(LEDGER_REVOKE)),

	ROW(COMMITTING, STARTED,        AWAY,       A(RELEASE), A(CUT), A(END)),
	ROW(COMMITTING, RETURNED,       UNDOING,    A(CUT), A(UNTRACK), A(DEVICES_UNDO)),
	ROW(COMMITTING, CANCEL,         COMMITTING, A(TOO_LATE)),
	ROW(COMMITTING, ABORT,          REVOKING,   A(LEDGER_REVOKE)),
	ROW(COMMITTING, LOST,           REVOKING,   A(LEDGER_REVOKE)),
	ROW(COMMITTING, FAIL,           REVOKING,   A(LEDGER_REVOKE)),

	ROW(REVOKING,   LEDGER_DONE,    UNDOING,    A(SEND_ABORT), A(CUT), A(UNTRACK), A(DEVICES_UNDO)),
	ROW(REVOKING,   LEDGER_HOME,    UNDOING,    A(SEND_ABORT), A(CUT), A(UNTRACK), A(DEVICES_UNDO)),
	ROW(REVOKING,   LEDGER_CLAIMED, CLAIMED,    A(NONE)),
	ROW(REVOKING,   LEDGER_AWAY,    AWAY,       A(RELEASE), A(CUT), A(END)),
	ROW(REVOKING,   LEDGER_UNKNOWN, DOUBT,      A(NONE)),
	ROW(REVOKING,   STARTED,        AWAY,       A(RELEASE), A(CUT), A(END)),
	ROW(REVOKING,   RETURNED,       REVOKING,   A(NONE)), /* the ledger says so too */
	ROWS_OPERATOR(REVOKING,         REVOKING,   A(NONE)), /* it is being asked */
	ROW(REVOKING,   LET_GO,         AWAY,       A(RELEASE), A(CUT), A(END)),
	ROWS_STAY(REVOKING),

	ROW(DOUBT,      RETRY,          REVOKING,   A(LEDGER_REVOKE)),
	ROW(DOUBT,      GIVE_UP,        WAITING,    A(CUT), A(END)),
	ROW(DOUBT,      STARTED,        AWAY,       A(RELEASE), A(CUT), A(END)),
	ROW(DOUBT,      RETURNED,       REVOKING,   A(LEDGER_REVOKE)),
	ROWS_OPERATOR(DOUBT,            REVOKING,   A(LEDGER_REVOKE)),
	ROW(DOUBT,      LET_GO,         AWAY,       A(RELEASE), A(CUT), A(END)),
	ROWS_STAY(DOUBT),

	ROW(CLAIMED,    RETRY,          CLAIMED,    A(LEDGER_READ)),
	ROW(CLAIMED,    LEDGER_DONE,    CLAIMED,    A(NONE)),
	ROW(CLAIMED,    LEDGER_CLAIMED, CLAIMED,    A(NONE)),
	ROW(CLAIMED,    LEDGER_UNKNOWN, CLAIMED,    A(NONE)),
	ROW(CLAIMED,    LEDGER_HOME,    UNDOING,    A(CUT), A(UNTRACK), A(DEVICES_UNDO)),
	ROW(CLAIMED,    LEDGER_AWAY,    AWAY,       A(RELEASE), A(CUT), A(END)),
	ROW(CLAIMED,    STARTED,        AWAY,       A(RELEASE), A(CUT), A(END)),
	ROW(CLAIMED,    RETURNED,       UNDOING,    A(CUT), A(UNTRACK), A(DEVICES_UNDO)),
	ROW(CLAIMED,    GIVE_UP,        WAITING,    A(CUT), A(END)),
	ROWS_OPERATOR(CLAIMED,          CLAIMED,    A(LEDGER_READ)),
	ROWS_STAY(CLAIMED),

	/* The target's late started and this are swaps on one record: one of them is refused. */
	ROW(TAKING_BACK, LEDGER_DONE,   UNDOING,    A(SEND_ABORT), A(CUT), A(UNTRACK), A(DEVICES_UNDO)),
	ROW(TAKING_BACK, LEDGER_HOME,   UNDOING,    A(SEND_ABORT), A(CUT), A(UNTRACK), A(DEVICES_UNDO)),
	ROW(TAKING_BACK, LEDGER_CLAIMED, CLAIMED,   A(NONE)),
	ROW(TAKING_BACK, LEDGER_AWAY,   AWAY,       A(RELEASE), A(CUT), A(END)),
	ROW(TAKING_BACK, LEDGER_UNKNOWN, DOUBT,     A(NONE)),
	ROW(TAKING_BACK, STARTED,       AWAY,       A(RELEASE), A(CUT), A(END)),
	ROW(TAKING_BACK, RETURNED,      TAKING_BACK, A(NONE)), /* the ledger says so too */
	ROW(TAKING_BACK, ASK,           TAKING_BACK, A(NONE)),
	ROW(TAKING_BACK, TAKE_BACK,     TAKING_BACK, A(NONE)),
	ROW(TAKING_BACK, LET_GO,        TAKING_BACK, A(NONE)), /* two words that exclude each other */
	ROWS_STAY(TAKING_BACK),

	/* From here on the guest is ours for certain. All devices P2P-quiet, then all RUNNING. */
	ROW(UNDOING,    DEVICES_DONE,   REVIVING,   A(DEVICES_RUN)),
	ROW(UNDOING,    DEVICES_LOST,   PAUSING,    A(MACHINE_STOP)),
	ROW(UNDOING,    FAIL,           PAUSING,    A(MACHINE_STOP)),
	ROWS_BACK(UNDOING),

	ROW(REVIVING,   DEVICES_DONE,   RESUMING,   A(MACHINE_RUN)),
	ROW(REVIVING,   DEVICES_LOST,   PAUSING,    A(MACHINE_STOP)),
	ROW(REVIVING,   FAIL,           PAUSING,    A(MACHINE_STOP)),
	ROWS_BACK(REVIVING),

	ROW(RESUMING,   MACHINE_DONE,   EXPLAINING, A(LEDGER_EXPLAIN)),
	ROW(RESUMING,   FAIL,           LOST,       A(END)),
	ROWS_BACK(RESUMING),

	ROW(EXPLAINING, LEDGER_DONE,    HOME,       A(END)),
	ROW(EXPLAINING, LEDGER_HOME,    EXPLAINING, A(NONE)), /* no reason there yet */
	ROW(EXPLAINING, LEDGER_CLAIMED, HOME,       A(END)),
	ROW(EXPLAINING, LEDGER_AWAY,    HOME,       A(END)),
	ROW(EXPLAINING, LEDGER_UNKNOWN, HOME,       A(END)),
	ROW(EXPLAINING, RETRY,          EXPLAINING, A(LEDGER_EXPLAIN)),
	ROW(EXPLAINING, GIVE_UP,        HOME,       A(END)),
	ROW(EXPLAINING, FAIL,           HOME,       A(END)),
	ROW(EXPLAINING, ACCEPTED,       EXPLAINING, A(NONE)), /* HELLO leads straight here */
	ROWS_BACK(EXPLAINING),

	/* What the guest had in a device is gone: it must not go on as if nothing had been. */
	ROW(PAUSING,    MACHINE_DONE,   LOSING,     A(DEVICES_RUN)),
	ROW(PAUSING,    FAIL,           LOSING,     A(DEVICES_RUN)),
	ROWS_BACK(PAUSING),

	ROW(LOSING,     DEVICES_DONE,   LOST,       A(END)),
	ROW(LOSING,     DEVICES_LOST,   LOST,       A(END)),
	ROW(LOSING,     FAIL,           LOST,       A(END)),
	ROWS_BACK(LOSING),

	/* Ended, but not decided: an operator is heard. */
	ROWS_OPERATOR(WAITING,          REVOKING,   A(LEDGER_REVOKE)),
	ROW(WAITING,    LET_GO,         AWAY,       A(RELEASE), A(END)),
	ROW(WAITING,    FAIL,           WAITING,    A(NONE)),

	/* Ended: nothing changes any more. */
	ROW(HOME,       FAIL,           HOME,       A(NONE)),
	ROW(AWAY,       FAIL,           AWAY,       A(NONE)),
	ROW(LOST,       FAIL,           LOST,       A(NONE)),
};

#define NAME(name, text) #name,
static const char *const state_names[] = { SOURCE_STATE_LIST(NAME) };
static const char *const event_names[] = { SOURCE_EVENT_LIST(NAME) };
static const char *const action_names[] = { SOURCE_ACTION_LIST(NAME) };
#undef NAME
#define TEXT(name, text) text,
static const char *const state_texts[] = { SOURCE_STATE_LIST(TEXT) };
#undef TEXT
/* clang-format on */

const char *source_state_name(enum source_state state)
{
	return (unsigned int)state < SOURCE_STATE_COUNT ? state_names[state] : "?";
}

const char *source_state_text(enum source_state state)
{
	return (unsigned int)state < SOURCE_STATE_COUNT ? state_texts[state] : "?";
}

const char *source_event_name(enum source_event event)
{
	return (unsigned int)event < SOURCE_EVENT_COUNT ? event_names[event] : "?";
}

const char *source_action_name(enum source_action action)
{
	return (unsigned int)action < SOURCE_ACTION_COUNT ? action_names[action] : "?";
}

bool source_ended(enum source_state state)
{
	return state == SOURCE_HOME || state == SOURCE_AWAY || state == SOURCE_LOST ||
	       state == SOURCE_WAITING;
}

bool source_can_resolve(enum source_state state)
{
	return state == SOURCE_REVOKING || state == SOURCE_DOUBT || state == SOURCE_CLAIMED ||
	       state == SOURCE_TAKING_BACK || state == SOURCE_WAITING;
}

bool source_can_cancel(enum source_state state)
{
	return state < SOURCE_OFFERING;
}

void source_init(struct source *source)
{
	*source = (struct source){ .state = SOURCE_IDLE };
}

const struct source_row *source_row(enum source_state state, enum source_event event)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].state == state && rows[i].event == event)
			return &rows[i];
	return NULL;
}

const struct source_row *source_row_at(unsigned int index)
{
	return index < sizeof(rows) / sizeof(rows[0]) ? &rows[index] : NULL;
}

/* docs/invariants.md, "What holds at the source", as assertions. */
static void check(const struct source *source)
{
	switch (source->state) {
	case SOURCE_IDLE:
	case SOURCE_ENTERING:
	case SOURCE_HELLO:
	case SOURCE_PRECOPY:
	case SOURCE_QUIETING:
		assert(!source->stopped);
		assert(!source->exposed);
		break;
	case SOURCE_QUIESCING:
	case SOURCE_STOPPING:
	case SOURCE_DRAINING:
	case SOURCE_PROVING:
		assert(source->stopped);
		assert(!source->exposed);
		break;
	case SOURCE_OFFERING:
	case SOURCE_COMMITTING:
	case SOURCE_REVOKING:
	case SOURCE_DOUBT:
	case SOURCE_CLAIMED:
	case SOURCE_TAKING_BACK:
	case SOURCE_WAITING:
	case SOURCE_AWAY:
		assert(source->stopped);
		assert(source->exposed);
		break;
	case SOURCE_UNDOING:
	case SOURCE_REVIVING:
	case SOURCE_LOST:
		assert(!source->exposed);
		break;
	case SOURCE_PAUSING:
	case SOURCE_LOSING:
		assert(source->stopped);
		assert(!source->exposed);
		break;
	case SOURCE_RESUMING:
	case SOURCE_EXPLAINING:
	case SOURCE_HOME:
		assert(!source->stopped);
		assert(!source->exposed);
		break;
	case SOURCE_STATE_COUNT:
		assert(0);
	}
}

static void note_actions(struct source *source, const struct source_row *row)
{
	for (int i = 0; i < SOURCE_ACTIONS_MAX && row->actions[i] != SOURCE_A_NONE; i++) {
		if (row->actions[i] == SOURCE_A_MACHINE_STOP)
			source->stopped = true;
		if (row->actions[i] == SOURCE_A_MACHINE_RUN)
			source->stopped = false;
		if (row->actions[i] == SOURCE_A_LEDGER_OFFER)
			source->exposed = true;
		/* Only here does a state that may be exposed lead to one that is not. */
		if (row->actions[i] == SOURCE_A_DEVICES_UNDO)
			source->exposed = false;
		if (row->actions[i] == SOURCE_A_RELEASE)
			assert(row->next == SOURCE_AWAY);
	}
}

const struct source_row *source_step(struct source *source, enum source_event event,
				     bool *ret_unexpected)
{
	const struct source_row *row = source_row(source->state, event);

	check(source);
	*ret_unexpected = !row;
	if (!row)
		row = source_row(source->state, SOURCE_E_FAIL);
	assert(row); /* FAIL has a row in every state; tests/unit/core-tables.c */

	source->state = row->next;
	/* The process before this one may have offered it; its vCPUs went with it. */
	if (row->event == SOURCE_E_RESTART)
		source->stopped = source->exposed = true;
	note_actions(source, row);
	check(source);
	return row;
}
