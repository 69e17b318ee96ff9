/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The answers when there is no ledger (kind "none"): GO commits. Each side answers its own
 * operations from what it knows, without any record.
 *
 * The source knows for certain that the guest is its own while GO was not sent, and when the target
 * has said that it will not have it. Between these two it knows nothing, and waits for an operator.
 */
#ifndef CORE_NO_LEDGER_H
#define CORE_NO_LEDGER_H

#include <stdbool.h>

#include "core/ledger.h"

/* What a source without a ledger knows. Owner: the session's loop thread. */
struct no_ledger {
	bool go_sent; /* or may have been: a process that came back does not know */
	bool declined; /* ABORT or RETURNED came: the target will not run the guest */
};

/* true: done. false: unknown. */
bool no_ledger_answer(enum ledger_op op, const struct no_ledger *known);

#endif
