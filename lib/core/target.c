/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target's table.
 *
 *  - Until it has claimed, the target may fail freely: the guest was never its own.
 *  - Between the claim and started it may still give the guest back, since no vCPU has run.
 *  - After started was asked for, an unknown answer is asked again for ever: it may have been
 *    recorded, and then nobody else will ever run the guest.
 */
#include "core/target.h"

#include <assert.h>
#include <stddef.h>

#define ROW(state, event, next, ...)                                                               \
	{                                                                                          \
		TARGET_##state, TARGET_E_##event, TARGET_##next,                                   \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
#define A(name) TARGET_A_##name

/* The four ways in which something goes wrong while the guest is the source's. */
#define ROWS_FAIL(state, next, ...)                                                                \
	ROW(state, FAIL, next, __VA_ARGS__), ROW(state, LOST, next, __VA_ARGS__),                  \
		ROW(state, ABORT, next, __VA_ARGS__), ROW(state, CANCEL, next, __VA_ARGS__)

/* Once the claim is on its way, the source's voice and the operator's change nothing. */
#define ROWS_DEAF(state)                                                                           \
	ROW(state, LOST, state, A(NONE)), ROW(state, ABORT, state, A(NONE)),                       \
		ROW(state, CANCEL, state, A(TOO_LATE))

/* The guest was never ours, or has gone back: what the source said before that changes nothing. */
#define ROWS_BACK(state)                                                                           \
	ROW(state, ENDED, state, A(NONE)), ROW(state, GO, state, A(NONE)),                         \
		ROW(state, LOST, state, A(NONE)), ROW(state, ABORT, state, A(NONE)),               \
		ROW(state, CANCEL, state, A(NONE))

/* clang-format off */
static const struct target_row rows[] = {
	/*  in          on              go to       and do */
	ROW(IDLE,       START,          LISTENING,  A(LISTEN)),
	ROWS_FAIL(IDLE,                 FAILED,     A(END)),

	ROW(LISTENING,  CONNECTED,      GREETING,   A(GREET)),
	ROWS_FAIL(LISTENING,            FAILED,     A(END)),

	ROW(GREETING,   GREETED,        PREPARING,  A(PREPARE)),
	ROWS_FAIL(GREETING,             DISCARDING, A(SEND_ABORT), A(CUT), A(DEVICES_RESET)),

	ROW(PREPARING,  PREPARED,       LOADING,    A(SEND_ACCEPT)),
	ROWS_FAIL(PREPARING,            DISCARDING, A(SEND_ABORT), A(CUT), A(DEVICES_RESET)),

	ROW(LOADING,    ENDED,          VERIFYING,  A(DEVICES_STOP)),
	ROWS_FAIL(LOADING,              DISCARDING, A(SEND_ABORT), A(CUT), A(DEVICES_RESET)),

	ROW(VERIFYING,  DEVICES_DONE,   SETTING,    A(MACHINE_LOAD)),
	ROWS_FAIL(VERIFYING,            DISCARDING, A(SEND_ABORT), A(CUT), A(DEVICES_RESET)),

	ROW(SETTING,    MACHINE_DONE,   LOADED,     A(SEND_LOADED)),
	ROWS_FAIL(SETTING,              DISCARDING, A(SEND_ABORT), A(CUT), A(DEVICES_RESET)),

	ROW(LOADED,     GO,             CLAIMING,   A(LEDGER_CLAIM)),
	ROWS_FAIL(LOADED,               DISCARDING, A(SEND_ABORT), A(CUT), A(DEVICES_RESET)),

	ROW(CLAIMING,   LEDGER_DONE,    STARTING,   A(DEVICES_P2P)),
	ROW(CLAIMING,   LEDGER_HOME,    DISCARDING, A(SEND_ABORT), A(CUT), A(DEVICES_RESET)),
	ROW(CLAIMING,   LEDGER_UNKNOWN, DOUBT,      A(NONE)),
	ROW(CLAIMING,   FAIL,           CLAIMING,   A(NONE)),
	ROWS_DEAF(CLAIMING),

	ROW(DOUBT,      RETRY,          CLAIMING,   A(LEDGER_CLAIM)),
	ROW(DOUBT,      GIVE_UP,        RETURNING,  A(LEDGER_RETURN)),
	ROW(DOUBT,      FAIL,           DOUBT,      A(NONE)),
	ROWS_DEAF(DOUBT),

	ROW(STARTING,   DEVICES_DONE,   REVIVING,   A(DEVICES_RUN)),
	ROW(STARTING,   FAIL,           HALTING,    A(DEVICES_HALT)),
	ROWS_DEAF(STARTING),

	ROW(REVIVING,   DEVICES_DONE,   RECORDING,  A(LEDGER_STARTED)),
	ROW(REVIVING,   FAIL,           HALTING,    A(DEVICES_HALT)),
	ROWS_DEAF(REVIVING),

	/* A refusal means that an operator took the guest back; it is not ours to return. */
	ROW(RECORDING,  LEDGER_DONE,    RESUMING,   A(MACHINE_RUN)),
	ROW(RECORDING,  LEDGER_HOME,    DISCARDING, A(SEND_ABORT), A(CUT), A(DEVICES_RESET)),
	ROW(RECORDING,  LEDGER_UNKNOWN, HOLDING,    A(NONE)),
	ROW(RECORDING,  FAIL,           RECORDING,  A(NONE)),
	ROWS_DEAF(RECORDING),

	ROW(HOLDING,    RETRY,          RECORDING,  A(LEDGER_STARTED)),
	ROW(HOLDING,    GIVE_UP,        HOLDING,    A(NONE)),
	ROW(HOLDING,    FAIL,           HOLDING,    A(NONE)),
	ROWS_DEAF(HOLDING),

	ROW(RESUMING,   MACHINE_DONE,   RUNNING,    A(SEND_STARTED), A(CUT), A(END)),
	ROW(RESUMING,   FAIL,           HELD,       A(SEND_STARTED), A(CUT), A(END)),
	ROWS_DEAF(RESUMING),

	ROW(HALTING,    DEVICES_DONE,   RETURNING,  A(LEDGER_RETURN)),
	ROW(HALTING,    FAIL,           RETURNING,  A(LEDGER_RETURN)),
	ROWS_DEAF(HALTING),

	ROW(RETURNING,  LEDGER_DONE,    DISCARDING, A(SEND_RETURNED), A(CUT), A(DEVICES_RESET)),
	ROW(RETURNING,  LEDGER_HOME,    DISCARDING, A(SEND_RETURNED), A(CUT), A(DEVICES_RESET)),
	ROW(RETURNING,  LEDGER_UNKNOWN, GIVING_BACK, A(NONE)),
	ROW(RETURNING,  FAIL,           RETURNING,  A(NONE)),
	ROWS_DEAF(RETURNING),

	ROW(GIVING_BACK, RETRY,         RETURNING,  A(LEDGER_RETURN)),
	ROW(GIVING_BACK, GIVE_UP,       DISCARDING, A(CUT), A(DEVICES_RESET)),
	ROW(GIVING_BACK, FAIL,          GIVING_BACK, A(NONE)),
	ROWS_DEAF(GIVING_BACK),

	ROW(DISCARDING, DEVICES_DONE,   EXPLAINING, A(LEDGER_EXPLAIN)),
	ROW(DISCARDING, FAIL,           EXPLAINING, A(LEDGER_EXPLAIN)),
	ROWS_BACK(DISCARDING),

	ROW(EXPLAINING, LEDGER_DONE,    FAILED,     A(END)),
	ROW(EXPLAINING, LEDGER_HOME,    EXPLAINING, A(NONE)), /* no reason there yet */
	ROW(EXPLAINING, LEDGER_UNKNOWN, FAILED,     A(END)),
	ROW(EXPLAINING, RETRY,          EXPLAINING, A(LEDGER_EXPLAIN)),
	ROW(EXPLAINING, GIVE_UP,        FAILED,     A(END)),
	ROW(EXPLAINING, FAIL,           FAILED,     A(END)),
	ROWS_BACK(EXPLAINING),

	/* Ended: nothing changes any more. */
	ROW(RUNNING,    FAIL,           RUNNING,    A(NONE)),
	ROW(HELD,       FAIL,           HELD,       A(NONE)),
	ROW(FAILED,     FAIL,           FAILED,     A(NONE)),
};

#define NAME(name, text) #name,
static const char *const state_names[] = { TARGET_STATE_LIST(NAME) };
static const char *const event_names[] = { TARGET_EVENT_LIST(NAME) };
static const char *const action_names[] = { TARGET_ACTION_LIST(NAME) };
#undef NAME
#define TEXT(name, text) text,
static const char *const state_texts[] = { TARGET_STATE_LIST(TEXT) };
#undef TEXT
/* clang-format on */

const char *target_state_name(enum target_state state)
{
	return (unsigned int)state < TARGET_STATE_COUNT ? state_names[state] : "?";
}

const char *target_state_text(enum target_state state)
{
	return (unsigned int)state < TARGET_STATE_COUNT ? state_texts[state] : "?";
}

const char *target_event_name(enum target_event event)
{
	return (unsigned int)event < TARGET_EVENT_COUNT ? event_names[event] : "?";
}

const char *target_action_name(enum target_action action)
{
	return (unsigned int)action < TARGET_ACTION_COUNT ? action_names[action] : "?";
}

bool target_ended(enum target_state state)
{
	return state == TARGET_RUNNING || state == TARGET_HELD || state == TARGET_FAILED;
}

bool target_can_cancel(enum target_state state)
{
	return state < TARGET_CLAIMING;
}

void target_init(struct target *target)
{
	*target = (struct target){ .state = TARGET_IDLE };
}

const struct target_row *target_row(enum target_state state, enum target_event event)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].state == state && rows[i].event == event)
			return &rows[i];
	return NULL;
}

const struct target_row *target_row_at(unsigned int index)
{
	return index < sizeof(rows) / sizeof(rows[0]) ? &rows[index] : NULL;
}

/* docs/invariants.md, "What holds at the target", as assertions. */
static void check(const struct target *target)
{
	switch (target->state) {
	case TARGET_IDLE:
	case TARGET_LISTENING:
	case TARGET_GREETING:
	case TARGET_PREPARING:
	case TARGET_LOADING:
	case TARGET_VERIFYING:
	case TARGET_SETTING:
		assert(!target->proved);
		assert(!target->claimed);
		break;
	case TARGET_LOADED:
	case TARGET_CLAIMING:
	case TARGET_DOUBT:
		assert(target->proved);
		assert(!target->claimed);
		break;
	case TARGET_STARTING:
	case TARGET_REVIVING:
	case TARGET_RECORDING:
	case TARGET_HOLDING:
	case TARGET_HALTING:
		assert(target->proved);
		assert(target->claimed);
		assert(!target->started);
		break;
	case TARGET_RESUMING:
	case TARGET_RUNNING:
	case TARGET_HELD:
		assert(target->proved);
		assert(target->claimed);
		assert(target->started);
		break;
	case TARGET_RETURNING:
	case TARGET_GIVING_BACK:
	case TARGET_DISCARDING:
	case TARGET_EXPLAINING:
	case TARGET_FAILED:
		assert(!target->started);
		break;
	case TARGET_STATE_COUNT:
		assert(0);
	}
}

const struct target_row *target_step(struct target *target, enum target_event event,
				     bool *ret_unexpected)
{
	const struct target_row *row = target_row(target->state, event);

	check(target);
	*ret_unexpected = !row;
	if (!row)
		row = target_row(target->state, TARGET_E_FAIL);
	assert(row); /* FAIL has a row in every state; tests/unit/core-tables.c */

	target->state = row->next;
	if (row->state == TARGET_SETTING && row->next == TARGET_LOADED)
		target->proved = true;
	if (row->state == TARGET_CLAIMING && row->next == TARGET_STARTING)
		target->claimed = true;
	if (row->state == TARGET_RECORDING && row->next == TARGET_RESUMING)
		target->started = true;
	check(target);
	return row;
}
