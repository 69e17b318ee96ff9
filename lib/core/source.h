/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The source's half of the handover, as a table. Pure: no I/O, clock, memory or thread. The engine
 * turns everything that happens into an event, asks source_step(), and does the actions of the row
 * in their order; a test explores every interleaving of this very function with the target's.
 *
 * docs/invariants.md says what holds in each state.
 */
#ifndef CORE_SOURCE_H
#define CORE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

/* States are waiting places. X(name, what is waited for) */
/* clang-format off */
#define SOURCE_STATE_LIST(X) \
	X(IDLE,       "the session's start") \
	X(ENTERING,   "the ledger: is the guest ours to give") \
	X(HELLO,      "the target's ACCEPT; the guest has not been touched") \
	X(PRECOPY,    "rounds until what is left fits the downtime limit") \
	X(QUIETING,   "every device in its P2P-quiet state; the vCPUs still run") \
	X(QUIESCING,  "the vCPUs to stop") \
	X(STOPPING,   "every device in STOP_COPY") \
	X(DRAINING,   "the last pages, device data, configuration and machine state to be sent") \
	X(PROVING,    "LOADED: the target's proof that it can run the guest") \
	X(OFFERING,   "the ledger: offer") \
	X(COMMITTING, "STARTED or RETURNED; GO was sent") \
	X(REVOKING,   "the ledger: revoke, or whose the guest is") \
	X(DOUBT,      "the time to ask the ledger again; it did not answer") \
	X(CLAIMED,    "the target, which has claimed the guest, to start or to return it") \
	X(TAKING_BACK, "the ledger: take back, since an operator says that the target is dead") \
	X(UNDOING,    "every device back in RUNNING_P2P") \
	X(REVIVING,   "every device back in RUNNING") \
	X(RESUMING,   "the vCPUs to run again, if they ran") \
	X(EXPLAINING, "the target's reason in the ledger; the guest is home already") \
	X(PAUSING,    "the vCPUs to stop, if they were not; a device was reset") \
	X(LOSING,     "the devices that are left; one was reset, so the guest stays paused") \
	X(HOME,       "nothing: the guest is here as it was before") \
	X(AWAY,       "nothing: the guest is the target's") \
	X(LOST,       "nothing: the guest is here, paused, without what it had in a device") \
	X(WAITING,    "an operator, or the ledger: whose the guest is; it is here, paused and whole")

/* X(name, what happened) */
#define SOURCE_EVENT_LIST(X) \
	X(START,          "the session was stepped for the first time") \
	X(RESTART,        "as START, with a guest that an earlier process of this side has kept") \
	X(ACCEPTED,       "ACCEPT came, and every bulk connection is attached") \
	X(CONVERGED,      "what is left fits the limit, and every device is primed") \
	X(DEVICES_DONE,   "every device reached what was asked of it") \
	X(DEVICES_LOST,   "as DEVICES_DONE, but one had to be reset") \
	X(MACHINE_DONE,   "the machine did what was asked of it") \
	X(DRAINED,        "everything was sent") \
	X(LOADED,         "the target's LOADED") \
	X(STARTED,        "the target's STARTED") \
	X(RETURNED,       "the target's RETURNED") \
	X(LEDGER_DONE,    "the ledger did what was asked of it") \
	X(LEDGER_HOME,    "the ledger did not: it says that the guest is ours, for good") \
	X(LEDGER_CLAIMED, "the ledger says that the target has claimed the guest") \
	X(LEDGER_AWAY,    "the ledger says that the target has started the guest") \
	X(LEDGER_UNKNOWN, "the ledger did not answer") \
	X(RETRY,          "the time to ask again has come") \
	X(GIVE_UP,        "it has been asked for long enough") \
	X(ASK,            "the operator wants the ledger asked again") \
	X(TAKE_BACK,      "the operator says that the target is dead") \
	X(LET_GO,         "the operator says that the target runs the guest; without a ledger") \
	X(CANCEL,         "the operator cancels") \
	X(ABORT,          "the target's ABORT") \
	X(LOST,           "the connection is gone") \
	X(FAIL,           "what was being done failed, or its deadline passed")

/* X(name, what to do) */
#define SOURCE_ACTION_LIST(X) \
	X(NONE,              "nothing") \
	X(LEDGER_ENTER,      "ledger: enter") \
	X(CONNECT,           "connect, send HELLO, attach the bulk connections") \
	X(PRECOPY,           "track dirty pages, devices to PRE_COPY, begin with round 1") \
	X(DEVICES_QUIET,     "devices to their P2P-quiet state") \
	X(MACHINE_STOP,      "stop the vCPUs") \
	X(DEVICES_STOP_COPY, "devices to STOP_COPY") \
	X(DRAIN,             "send the rest: pages, device data, configuration, machine state") \
	X(SEND_END,          "send END") \
	X(LEDGER_OFFER,      "ledger: offer") \
	X(SEND_GO,           "send GO") \
	X(LEDGER_REVOKE,     "ledger: revoke") \
	X(LEDGER_TAKE_BACK,  "ledger: take back") \
	X(LEDGER_READ,       "ledger: read whose the guest is") \
	X(LEDGER_EXPLAIN,    "ledger: note our reason, or read the target's") \
	X(SEND_ABORT,        "send ABORT with the reason, if the target still listens") \
	X(CUT,               "shut the connections down, so that nothing hangs on them") \
	X(UNTRACK,           "stop tracking dirty pages, stop throttling") \
	X(DEVICES_UNDO,      "devices to RUNNING_P2P; reset is the last resort") \
	X(DEVICES_RUN,       "devices to RUNNING; reset is the last resort") \
	X(MACHINE_RUN,       "run the vCPUs, if they ran before") \
	X(TOO_LATE,          "tell the operator that it is too late to cancel") \
	X(RELEASE,           "the guest is not ours any more: everything of it may be freed") \
	X(END,               "the session has ended")
/* clang-format on */

#define SOURCE_ENUM_(name, text) SOURCE_##name,
enum source_state { SOURCE_STATE_LIST(SOURCE_ENUM_) SOURCE_STATE_COUNT };
#undef SOURCE_ENUM_
#define SOURCE_ENUM_(name, text) SOURCE_E_##name,
enum source_event { SOURCE_EVENT_LIST(SOURCE_ENUM_) SOURCE_EVENT_COUNT };
#undef SOURCE_ENUM_
#define SOURCE_ENUM_(name, text) SOURCE_A_##name,
enum source_action { SOURCE_ACTION_LIST(SOURCE_ENUM_) SOURCE_ACTION_COUNT };
#undef SOURCE_ENUM_

#define SOURCE_ACTIONS_MAX 4

struct source_row {
	enum source_state state;
	enum source_event event;
	enum source_state next;
	enum source_action actions[SOURCE_ACTIONS_MAX]; /* NONE ends them */
};

/* All of the source's own memory. Owner: the session's loop thread. */
struct source {
	enum source_state state;
	bool stopped; /* the vCPUs were told to stop, and not to run again */
	bool exposed; /* an offer is in the ledger, or may yet arrive there */
};

void source_init(struct source *source);

/*
 * The one writer of the state. Returns the row that was taken. An event that has no row of its own
 * is a breach of the protocol, or of our own rules, and is taken as FAIL; *ret_unexpected says so.
 */
const struct source_row *source_step(struct source *source, enum source_event event,
				     bool *ret_unexpected);

/* The row of a pair, NULL if it has none. For tests and documents. */
const struct source_row *source_row(enum source_state state, enum source_event event);

/* The index-th row, NULL behind the last. For tests and documents. */
const struct source_row *source_row_at(unsigned int index);

/* HOME, AWAY, LOST, WAITING: nothing more will happen, but WAITING hears an operator. */
bool source_ended(enum source_state state);

/* May an operator say whose the guest is? REVOKING to TAKING_BACK, and WAITING. */
bool source_can_resolve(enum source_state state);

/* Until when an operator's cancel takes the guest back. */
bool source_can_cancel(enum source_state state);

const char *source_state_name(enum source_state state);
const char *source_state_text(enum source_state state);
const char *source_event_name(enum source_event event);
const char *source_action_name(enum source_action action);

#endif
