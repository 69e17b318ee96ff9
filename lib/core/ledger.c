/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/ledger.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define NAME(name, who, text) #name,
static const char *const names[] = { LEDGER_OP_LIST(NAME) };
#undef NAME

const char *ledger_op_name(enum ledger_op op)
{
	return (unsigned int)op < LEDGER_OP_COUNT ? names[op] : "?";
}

static bool same(const char *a, const char *b)
{
	return strncmp(a, b, HF_NAME_MAX) == 0;
}

/* Zeroes the rest: a record leaves the process whole. */
static void put(char to[HF_NAME_MAX], const char *from)
{
	size_t length = strnlen(from, HF_NAME_MAX - 1);

	memset(to, 0, HF_NAME_MAX);
	memcpy(to, from, length);
}

static void put_reason(struct hf_ledger_record *record, const struct ledger_request *request)
{
	if (!request->reason_code)
		return;
	record->reason_code = request->reason_code;
	memset(record->reason, 0, sizeof(record->reason));
	memcpy(record->reason, request->reason,
	       strnlen(request->reason, sizeof(record->reason) - 1));
}

static void clear_reason(struct hf_ledger_record *record)
{
	record->reason_code = 0;
	memset(record->reason, 0, sizeof(record->reason));
}

/* Is the record in this handover, in this state, between this side and the other? */
static bool stands(const struct hf_ledger_record *now, uint32_t state,
		   const struct ledger_request *request)
{
	return now->state == state && now->epoch == request->epoch;
}

static enum ledger_verdict next_register(const struct hf_ledger_record *now,
					 struct hf_ledger_record *record,
					 const struct ledger_request *request)
{
	/* A handover whose end is not known: booting another guest of that name could be the
	 * second execution. An operator must decide it first. */
	if (now->state == HF_LEDGER_OFFERED || now->state == HF_LEDGER_CLAIMED)
		return LEDGER_REFUSE;
	record->state = HF_LEDGER_HOME;
	record->epoch = now->epoch + 1; /* whatever of the old guest is still under way fails */
	put(record->owner, request->side);
	put(record->offered_to, "");
	clear_reason(record);
	return LEDGER_WRITE;
}

static enum ledger_verdict next_enter(const struct hf_ledger_record *now,
				      struct hf_ledger_record *record,
				      const struct ledger_request *request)
{
	if (!now->revision) {
		record->state = HF_LEDGER_HOME;
		record->epoch = 0;
		put(record->owner, request->side);
		return LEDGER_WRITE;
	}
	if (!same(now->owner, request->side))
		return LEDGER_REFUSE;
	/* AWAY and ours: it came here by an earlier handover, and has been at home since. */
	if (now->state != HF_LEDGER_HOME && now->state != HF_LEDGER_AWAY)
		return LEDGER_REFUSE;
	if (now->state == HF_LEDGER_HOME && !now->reason_code)
		return LEDGER_ALREADY;
	record->state = HF_LEDGER_HOME;
	put(record->offered_to, "");
	clear_reason(record);
	return LEDGER_WRITE;
}

static enum ledger_verdict next_offer(const struct hf_ledger_record *now,
				      struct hf_ledger_record *record,
				      const struct ledger_request *request)
{
	if (!same(now->owner, request->side))
		return LEDGER_REFUSE;
	if (stands(now, HF_LEDGER_OFFERED, request) && same(now->offered_to, request->peer))
		return LEDGER_ALREADY;
	if (now->state != HF_LEDGER_HOME || now->epoch + 1 != request->epoch)
		return LEDGER_REFUSE;
	record->state = HF_LEDGER_OFFERED;
	record->epoch = request->epoch;
	put(record->offered_to, request->peer);
	clear_reason(record);
	return LEDGER_WRITE;
}

static enum ledger_verdict next_revoke(const struct hf_ledger_record *now,
				       struct hf_ledger_record *record,
				       const struct ledger_request *request)
{
	if (!same(now->owner, request->side))
		return LEDGER_REFUSE;
	if (stands(now, HF_LEDGER_HOME, request))
		return LEDGER_ALREADY; /* revoked before, or returned */
	if (!stands(now, HF_LEDGER_OFFERED, request) &&
	    !(now->state == HF_LEDGER_HOME && now->epoch + 1 == request->epoch))
		return LEDGER_REFUSE;
	record->state = HF_LEDGER_HOME;
	record->epoch = request->epoch;
	put(record->offered_to, "");
	put_reason(record, request);
	return LEDGER_WRITE;
}

static enum ledger_verdict next_take_back(const struct hf_ledger_record *now,
					  struct hf_ledger_record *record,
					  const struct ledger_request *request)
{
	/* The record was lost: the operator's word alone counts, and a late started must fail. */
	if (!now->revision) {
		record->state = HF_LEDGER_HOME;
		record->epoch = request->epoch;
		put(record->owner, request->side);
		put_reason(record, request);
		return LEDGER_WRITE;
	}
	if (!same(now->owner, request->side))
		return LEDGER_REFUSE;
	if (stands(now, HF_LEDGER_HOME, request))
		return LEDGER_ALREADY;
	/* The offer may not have arrived yet: this is written so that it fails when it does. */
	if (!stands(now, HF_LEDGER_CLAIMED, request) && !stands(now, HF_LEDGER_OFFERED, request) &&
	    !(now->state == HF_LEDGER_HOME && now->epoch + 1 == request->epoch))
		return LEDGER_REFUSE;
	record->state = HF_LEDGER_HOME;
	record->epoch = request->epoch;
	put(record->offered_to, "");
	put_reason(record, request);
	return LEDGER_WRITE;
}

static enum ledger_verdict next_claim(const struct hf_ledger_record *now,
				      struct hf_ledger_record *record,
				      const struct ledger_request *request)
{
	if (!same(now->offered_to, request->side))
		return LEDGER_REFUSE;
	if (stands(now, HF_LEDGER_CLAIMED, request))
		return LEDGER_ALREADY;
	if (!stands(now, HF_LEDGER_OFFERED, request))
		return LEDGER_REFUSE;
	record->state = HF_LEDGER_CLAIMED;
	return LEDGER_WRITE;
}

static enum ledger_verdict next_started(const struct hf_ledger_record *now,
					struct hf_ledger_record *record,
					const struct ledger_request *request)
{
	if (!same(now->offered_to, request->side))
		return LEDGER_REFUSE;
	if (stands(now, HF_LEDGER_AWAY, request))
		return LEDGER_ALREADY;
	if (!stands(now, HF_LEDGER_CLAIMED, request))
		return LEDGER_REFUSE;
	record->state = HF_LEDGER_AWAY;
	put(record->owner, request->side);
	return LEDGER_WRITE;
}

static enum ledger_verdict next_return(const struct hf_ledger_record *now,
				       struct hf_ledger_record *record,
				       const struct ledger_request *request)
{
	if (stands(now, HF_LEDGER_HOME, request))
		return LEDGER_ALREADY; /* returned before, revoked, or taken back */
	if (!same(now->offered_to, request->side))
		return LEDGER_REFUSE;
	if (!stands(now, HF_LEDGER_OFFERED, request) && !stands(now, HF_LEDGER_CLAIMED, request))
		return LEDGER_REFUSE;
	record->state = HF_LEDGER_HOME;
	put(record->offered_to, "");
	put_reason(record, request);
	return LEDGER_WRITE;
}

static enum ledger_verdict next_note(const struct hf_ledger_record *now,
				     struct hf_ledger_record *record,
				     const struct ledger_request *request)
{
	/* One that comes late must not become the reason of another handover. */
	bool ours = (now->epoch == request->epoch && now->state != HF_LEDGER_AWAY) ||
		    (now->epoch + 1 == request->epoch && now->state == HF_LEDGER_HOME);

	if (!now->revision || !request->reason_code || !ours)
		return LEDGER_REFUSE;
	if (now->reason_code == request->reason_code &&
	    strncmp(now->reason, request->reason, sizeof(now->reason)) == 0)
		return LEDGER_ALREADY;
	put_reason(record, request);
	return LEDGER_WRITE;
}

enum ledger_verdict ledger_next(const struct ledger_request *request,
				const struct hf_ledger_record *now,
				struct hf_ledger_record *ret_record)
{
	struct hf_ledger_record record = *now;
	enum ledger_verdict verdict = LEDGER_REFUSE;

	assert(request->attempt[0]);
	switch (request->op) {
	case LEDGER_OP_REGISTER:
		verdict = next_register(now, &record, request);
		break;
	case LEDGER_OP_ENTER:
		verdict = next_enter(now, &record, request);
		break;
	case LEDGER_OP_OFFER:
		verdict = next_offer(now, &record, request);
		break;
	case LEDGER_OP_REVOKE:
		verdict = next_revoke(now, &record, request);
		break;
	case LEDGER_OP_TAKE_BACK:
		verdict = next_take_back(now, &record, request);
		break;
	case LEDGER_OP_CLAIM:
		verdict = next_claim(now, &record, request);
		break;
	case LEDGER_OP_STARTED:
		verdict = next_started(now, &record, request);
		break;
	case LEDGER_OP_RETURN:
		verdict = next_return(now, &record, request);
		break;
	case LEDGER_OP_NOTE:
		verdict = next_note(now, &record, request);
		break;
	case LEDGER_OP_COUNT:
		assert(0);
	}
	if (verdict != LEDGER_WRITE)
		return verdict;
	put(record.guest, request->guest);
	put(record.attempt, request->attempt);
	*ret_record = record;
	return verdict;
}

enum ledger_view ledger_view(const struct hf_ledger_record *now, const char *source_side,
			     uint64_t epoch)
{
	if (!now->revision) /* it was there: it was lost, and says nothing about the guest */
		return LEDGER_VIEW_CLAIMED;
	if (!same(now->owner, source_side))
		return LEDGER_VIEW_AWAY;
	if (now->epoch == epoch && now->state == HF_LEDGER_OFFERED)
		return LEDGER_VIEW_OFFERED;
	if (now->epoch == epoch && now->state == HF_LEDGER_CLAIMED)
		return LEDGER_VIEW_CLAIMED;
	return LEDGER_VIEW_HOME;
}
