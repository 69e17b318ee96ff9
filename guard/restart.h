/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a target's guard leaves in its folder, so that one that comes after it knows under which
 * name in the ledger it acted, and what is to become of QEMU.
 */
#ifndef GUARD_RESTART_H
#define GUARD_RESTART_H

#include <holdfast/session.h>

#include "guard/facade.h"

struct guard_note {
	char side[HF_NAME_MAX], guest[HF_NAME_MAX], ledger[HF_URI_MAX];
	struct facade_plan plan;
};

/* The file is written whole, or not at all. */
int guard_note_write(const char *path, const struct guard_note *note, struct hf_error *err);
int guard_note_read(const char *path, struct guard_note *ret_note, struct hf_error *err);

struct guard_source;

/*
 * The source's guard before this one died, and has kept nothing: the guest was not offered yet, or
 * it was decided whose it is, and QEMU was not told. *ret_outcome is HOME, AWAY, or WAITING: the
 * ledger says that it is offered. QEMU's process ends if it is away and quit.
 */
int guard_restart_source(struct guard_source *source, struct hf_ledger *ledger,
			 const struct guard_note *note, bool quit, enum hf_outcome *ret_outcome,
			 struct hf_error *err);

/*
 * The target's guard before this one died. The ledger says how far it was: a guest that was not
 * started goes back (QEMU's process ends first), one that was runs on. *ret_outcome is RUNNING or
 * FAILED. Errors: HF_E_LEDGER_UNKNOWN (ask again), and what QEMU says.
 */
int guard_restart_target(struct qemu *qemu, struct hf_ledger *ledger, const struct guard_note *note,
			 enum hf_outcome *ret_outcome, struct hf_error *err);

#endif
