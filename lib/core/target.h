/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target's half of the handover, as a table. The same rules as for core/source.h.
 */
#ifndef CORE_TARGET_H
#define CORE_TARGET_H

#include <stdbool.h>
#include <stdint.h>

/* States are waiting places. X(name, what is waited for) */
/* clang-format off */
#define TARGET_STATE_LIST(X) \
	X(IDLE,       "the session's start") \
	X(LISTENING,  "a source to connect") \
	X(GREETING,   "HELLO and what belongs to it") \
	X(PREPARING,  "the machine's check, then every device in RESUMING") \
	X(LOADING,    "everything to arrive: pages, devices' streams, machine state, END") \
	X(VERIFYING,  "every device to go from RESUMING to STOP") \
	X(SETTING,    "vCPUs, interrupt controllers and devices' configuration to be set") \
	X(LOADED,     "GO; the target has proved that it can run the guest") \
	X(CLAIMING,   "the ledger: claim") \
	X(DOUBT,      "the time to claim again; the ledger did not answer") \
	X(STARTING,   "every device in RUNNING_P2P") \
	X(REVIVING,   "every device in RUNNING") \
	X(RECORDING,  "the ledger: started") \
	X(HOLDING,    "the time to record the start again; the ledger did not answer") \
	X(RESUMING,   "the vCPUs to run, if they ran at the source") \
	X(HALTING,    "every device to stop, since the guest goes back") \
	X(RETURNING,  "the ledger: return") \
	X(GIVING_BACK, "the time to return again; the ledger did not answer") \
	X(DISCARDING, "every device to be reset; the guest was never ours") \
	X(EXPLAINING, "the source's reason in the ledger") \
	X(RUNNING,    "nothing: the guest is here") \
	X(HELD,       "an operator: the guest is here and ours, but its vCPUs could not be run") \
	X(FAILED,     "nothing: the guest is not here")

/* X(name, what happened) */
#define TARGET_EVENT_LIST(X) \
	X(START,          "the session was stepped for the first time") \
	X(CONNECTED,      "a source connected") \
	X(GREETED,        "HELLO and what belongs to it have come and fit") \
	X(PREPARED,       "the machine fits, and every device is in RESUMING") \
	X(ENDED,          "END has come; every stream is complete and matched") \
	X(DEVICES_DONE,   "every device reached what was asked of it") \
	X(MACHINE_DONE,   "the machine did what was asked of it") \
	X(GO,             "the source's GO") \
	X(LEDGER_DONE,    "the ledger did what was asked of it") \
	X(LEDGER_HOME,    "the ledger did not: the guest is the source's") \
	X(LEDGER_UNKNOWN, "the ledger did not answer") \
	X(RETRY,          "the time to ask again has come") \
	X(GIVE_UP,        "it has been asked for long enough") \
	X(CANCEL,         "the operator cancels") \
	X(ABORT,          "the source's ABORT") \
	X(LOST,           "the connection is gone") \
	X(FAIL,           "what was being done failed, or its deadline passed")

/* X(name, what to do) */
#define TARGET_ACTION_LIST(X) \
	X(NONE,           "nothing") \
	X(LISTEN,         "listen") \
	X(GREET,          "read HELLO and what belongs to it") \
	X(PREPARE,        "machine: check; devices to RESUMING") \
	X(SEND_ACCEPT,    "send ACCEPT, take the bulk connections, load what comes") \
	X(DEVICES_STOP,   "devices from RESUMING to STOP, checked") \
	X(MACHINE_LOAD,   "set devices' configuration, vCPU and platform state; check") \
	X(SEND_LOADED,    "send LOADED") \
	X(LEDGER_CLAIM,   "ledger: claim") \
	X(DEVICES_P2P,    "devices to RUNNING_P2P") \
	X(DEVICES_RUN,    "devices to RUNNING") \
	X(LEDGER_STARTED, "ledger: started") \
	X(MACHINE_RUN,    "run the vCPUs, if they ran at the source") \
	X(SEND_STARTED,   "send STARTED, if the source still listens") \
	X(DEVICES_HALT,   "devices to STOP, or reset") \
	X(LEDGER_RETURN,  "ledger: return, with the reason") \
	X(SEND_RETURNED,  "send RETURNED with the reason, if the source still listens") \
	X(SEND_ABORT,     "send ABORT with the reason, if the source still listens") \
	X(CUT,            "shut the bulk connections down, so that nothing hangs on them") \
	X(DEVICES_RESET,  "reset the devices: what was loaded is thrown away") \
	X(LEDGER_EXPLAIN, "ledger: note our reason, or read the source's") \
	X(TOO_LATE,       "tell the operator that it is too late to cancel") \
	X(END,            "the session has ended")
/* clang-format on */

#define TARGET_ENUM_(name, text) TARGET_##name,
enum target_state { TARGET_STATE_LIST(TARGET_ENUM_) TARGET_STATE_COUNT };
#undef TARGET_ENUM_
#define TARGET_ENUM_(name, text) TARGET_E_##name,
enum target_event { TARGET_EVENT_LIST(TARGET_ENUM_) TARGET_EVENT_COUNT };
#undef TARGET_ENUM_
#define TARGET_ENUM_(name, text) TARGET_A_##name,
enum target_action { TARGET_ACTION_LIST(TARGET_ENUM_) TARGET_ACTION_COUNT };
#undef TARGET_ENUM_

#define TARGET_ACTIONS_MAX 4

struct target_row {
	enum target_state state;
	enum target_event event;
	enum target_state next;
	enum target_action actions[TARGET_ACTIONS_MAX]; /* NONE ends them */
};

/* All of the target's own memory. Owner: the session's loop thread. */
struct target {
	enum target_state state;
	bool proved; /* everything is loaded and set; nothing fallible but starting is left */
	bool claimed; /* the ledger said that the claim won */
	bool started; /* the ledger said that started won: the guest is ours for good */
};

void target_init(struct target *target);

/* The one writer of the state; as source_step(). */
const struct target_row *target_step(struct target *target, enum target_event event,
				     bool *ret_unexpected);

const struct target_row *target_row(enum target_state state, enum target_event event);

/* The index-th row, NULL behind the last. For tests and documents. */
const struct target_row *target_row_at(unsigned int index);

/* RUNNING, HELD, FAILED: nothing more will happen. */
bool target_ended(enum target_state state);
bool target_can_cancel(enum target_state state);

const char *target_state_name(enum target_state state);
const char *target_state_text(enum target_state state);
const char *target_event_name(enum target_event event);
const char *target_action_name(enum target_action action);

#endif
