/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session that does what a test says, in place of the library's: for tests of the VMM's main
 * loop. Also a guest whose machine only remembers, and a ledger with one record. The test's thread
 * tells, the main loop's thread steps; a mutex lies between.
 */
#ifndef TESTS_QMP_FAKE_SESSION_H
#define TESTS_QMP_FAKE_SESSION_H

#include <holdfast/session.h>

#include "vmm/guest.h"

/* Forget everything; no session may exist. */
void fake_reset(void);

/* The next steps show this state. */
void fake_state(const char *state);

/* The next step tells this event. */
void fake_event(uint32_t id, const char *text, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/*
 * The next step ends the session. The machine is run if the outcome is RUNNING, or HOME and it ran
 * before.
 */
void fake_end(enum hf_outcome outcome, int code, const char *text);

/* How many times hf_session_resolve() was asked, and what for last. */
uint32_t fake_resolved(enum hf_resolve *ret_how);

/* What hf_session_cancel() answers; with 0 the session ends HOME (or FAILED). */
void fake_cancel_answer(int code);

/* hf_session_new() fails with this. */
void fake_new_fails(int code, const char *text);

/* hf_ledger_register() fails with this. */
void fake_register_fails(int code, const char *text);

/* The next step breaks its own rules. */
void fake_break(void);

/* What the ledger holds. */
void fake_ledger(const struct hf_ledger_record *record);

/* The last configuration that hf_session_new() got; strings are copies. */
struct fake_seen {
	struct hf_config config;
	char guest[HF_NAME_MAX], side[HF_NAME_MAX], uri[HF_URI_MAX];
	uint32_t session_count, filter_count;
};
void fake_seen(struct fake_seen *ret_seen);

/* A guest of this kind; *ret_freed becomes 1 when it is freed. */
struct guest *fake_guest(int *ret_freed);

/* Give it one more device, with these flags of struct hf_device_info. */
void fake_guest_device(struct guest *guest, const char *name, uint32_t flags);
/* How many times devices of this guest were reset; from now on it fails with answer. */
uint32_t fake_device_resets(int answer);
/* Until so many were. */
void fake_device_resets_await(uint32_t count);
/* From now on its vCPUs stop when this is called with false. */
void fake_stop_blocks(bool blocks);
/* How many of these while its vCPUs ran. */
uint32_t fake_device_resets_running(void);

/* As if the guest did it. */
void fake_guest_event(struct guest *guest, uint32_t event);

#endif
