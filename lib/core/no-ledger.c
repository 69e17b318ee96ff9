/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/no-ledger.h"

#include <assert.h>

bool no_ledger_answer(enum ledger_op op, const struct no_ledger *known)
{
	switch (op) {
	case LEDGER_OP_REVOKE:
		return !known->go_sent || known->declined;
	case LEDGER_OP_REGISTER:
	case LEDGER_OP_ENTER:
	case LEDGER_OP_OFFER: /* the offer is GO */
	case LEDGER_OP_TAKE_BACK: /* an operator's word is all there is */
	case LEDGER_OP_CLAIM: /* GO came, so the source waits for us */
	case LEDGER_OP_STARTED:
	case LEDGER_OP_RETURN:
	case LEDGER_OP_NOTE:
		return true;
	case LEDGER_OP_COUNT:
		break;
	}
	assert(0);
	return false;
}
