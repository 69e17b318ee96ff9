/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Settings of a QEMU's migration that change what is sent, so that both QEMUs must have them alike:
 * what the user has set at the source, the target's gets, too. What a guard sets itself, and what
 * concerns the sender alone, is not among them.
 */
#ifndef GUARD_SETTINGS_H
#define GUARD_SETTINGS_H

#include <jansson.h>

#include "guard/qemu.h"

/* As an object: "capabilities", those that are on, and parameters by name. NULL: failed. */
json_t *settings_read(struct qemu *qemu, struct hf_error *err);

/*
 * Make this QEMU's settings those of another one; before it listens. Errors: HF_E_UNSUPPORTED names
 * what this QEMU does not have; HF_E_PROTOCOL: they are not of settings_read()'s shape.
 */
int settings_apply(struct qemu *qemu, const json_t *theirs, struct hf_error *err);

/* HF_E_UNSUPPORTED: QEMU is to encrypt its streams itself, so that a guard cannot read them. */
int settings_check(struct qemu *qemu, const char *whose, struct hf_error *err);

#endif
