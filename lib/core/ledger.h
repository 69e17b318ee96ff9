/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the ledger's operations make of a record: pure, and the same for every kind of ledger. The
 * engine reads the record, asks ledger_next(), and writes what it says by compare-and-swap.
 *
 * Every operation may be repeated: one whose effect is there already is ALREADY. A write that comes
 * late fails by the revision.
 */
#ifndef CORE_LEDGER_H
#define CORE_LEDGER_H

#include <stdint.h>

#include <holdfast/backend.h>

/* X(name, who, what it does) */
/* clang-format off */
#define LEDGER_OP_LIST(X) \
	X(REGISTER,  "owner",  "a guest was booted here: it is ours, whatever was") \
	X(ENTER,     "source", "the guest is ours to give; makes the record if there is none") \
	X(OFFER,     "source", "HOME -> OFFERED, with the next epoch") \
	X(REVOKE,    "source", "OFFERED -> HOME, or HOME -> HOME so that a late offer fails") \
	X(TAKE_BACK, "source", "as REVOKE, and CLAIMED -> HOME: an operator says the target is dead") \
	X(CLAIM,     "target", "OFFERED -> CLAIMED") \
	X(STARTED,   "target", "CLAIMED -> AWAY; the target is the owner now") \
	X(RETURN,    "target", "OFFERED or CLAIMED -> HOME, with the reason") \
	X(NOTE,      "both",   "the reason only")
/* clang-format on */

#define LEDGER_ENUM_(name, who, text) LEDGER_OP_##name,
enum ledger_op { LEDGER_OP_LIST(LEDGER_ENUM_) LEDGER_OP_COUNT };
#undef LEDGER_ENUM_

struct ledger_request {
	enum ledger_op op;
	uint64_t epoch; /* of the handover: all but REGISTER and ENTER */
	char guest[HF_NAME_MAX];
	char side[HF_NAME_MAX]; /* who asks */
	char peer[HF_NAME_MAX]; /* OFFER: to whom */
	char attempt[HF_NAME_MAX]; /* unique for each request */
	int32_t reason_code; /* RETURN, REVOKE, NOTE; 0: leave what is there */
	char reason[HF_LEDGER_REASON_MAX];
};

enum ledger_verdict {
	LEDGER_WRITE = 1, /* write *ret_record by compare-and-swap */
	LEDGER_ALREADY = 2, /* the record says already what the request wants */
	LEDGER_REFUSE = 3, /* it must not be done; ledger_view() says how things stand */
};

/* now: the record as read (revision 0: none). ret_record is written with LEDGER_WRITE only. */
enum ledger_verdict ledger_next(const struct ledger_request *request,
				const struct hf_ledger_record *now,
				struct hf_ledger_record *ret_record);

/* Whose the guest is, as seen from the source's side in the handover of this epoch. */
enum ledger_view {
	LEDGER_VIEW_HOME = 1, /* the source's, and no offer of this epoch can be claimed */
	LEDGER_VIEW_OFFERED = 2, /* offered in this epoch */
	LEDGER_VIEW_CLAIMED = 3, /* claimed in this epoch; or the record is lost, who knows */
	LEDGER_VIEW_AWAY = 4, /* started by the target, or owned by somebody else altogether */
};

enum ledger_view ledger_view(const struct hf_ledger_record *now, const char *source_side,
			     uint64_t epoch);

const char *ledger_op_name(enum ledger_op op);

#endif
