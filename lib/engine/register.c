/* SPDX-License-Identifier: BSD-3-Clause */
/* What is asked of the ledger outside of any session: by a VMM that boots, by an operator. */
#include <stdio.h>
#include <string.h>

#include <holdfast/session.h>

#include "backend/ledger.h"
#include "base/error.h"
#include "base/export.h"
#include "base/time.h"
#include "core/ledger.h"

#define SWAPS_MAX 16

/* One operation, to its end. ret_now: the record as it stands then. Verdict, or a negative code. */
static int ask(struct hf_ledger *ledger, const struct ledger_request *request,
	       struct hf_ledger_record *ret_now, struct hf_error *err)
{
	struct hf_ledger_record next;

	for (int i = 0; i < SWAPS_MAX; i++) {
		int code = ledger_read(ledger, request->guest, ret_now, err);
		enum ledger_verdict verdict;

		if (code < 0)
			return code;
		verdict = ledger_next(request, ret_now, &next);
		if (verdict != LEDGER_WRITE)
			return (int)verdict;
		code = ledger_swap(ledger, &next, ret_now, err);
		if (code == HF_LEDGER_DONE)
			return LEDGER_WRITE;
		if (code < 0)
			return code;
		if (code == HF_LEDGER_UNKNOWN)
			break;
	}
	return error_set(err, HF_E_LEDGER_UNKNOWN, 0, "guest \"%s\": the ledger did not answer",
			 request->guest);
}

static int request_of(struct ledger_request *request, const struct hf_ledger *ledger,
		      const char *guest, const char *side, struct hf_error *err)
{
	if (!ledger->ops || !ledger_name_ok(guest) || !side[0] || strlen(side) >= HF_NAME_MAX)
		return error_set(err, HF_E_INVALID, 0, "guest \"%s\", side \"%s\": not valid names",
				 guest, side);
	memcpy(request->guest, guest, strlen(guest));
	memcpy(request->side, side, strlen(side));
	(void)snprintf(request->attempt, sizeof(request->attempt), "%.40s/%llx", side,
		       (unsigned long long)time_now_ns());
	return 0;
}

HF_EXPORT int hf_ledger_register(struct hf_ledger *ledger, const char *guest, const char *side,
				 struct hf_error *err)
{
	struct ledger_request request = { .op = LEDGER_OP_REGISTER };
	struct hf_ledger_record now;
	int code = request_of(&request, ledger, guest, side, err);

	if (code == 0)
		code = ask(ledger, &request, &now, err);
	if (code == LEDGER_REFUSE)
		return error_set(err, HF_E_LEDGER_REFUSED, 0,
				 "guest \"%s\": %s has %s it to %s, and the end is not known; "
				 "that must be decided first (holdfast resolve)",
				 guest, now.owner,
				 now.state == HF_LEDGER_OFFERED ? "offered" : "handed",
				 now.offered_to);
	return code < 0 ? code : 0;
}

HF_EXPORT int hf_ledger_take_back(struct hf_ledger *ledger, const char *guest,
				  struct hf_ledger_record *ret_now, struct hf_error *err)
{
	struct ledger_request request = { .op = LEDGER_OP_TAKE_BACK,
					  .reason_code = HF_E_IN_DOUBT,
					  .reason = "an operator took the guest back" };
	int code;

	if (!ledger->ops || !ledger_name_ok(guest))
		return error_set(err, HF_E_INVALID, 0, "guest \"%s\": not a valid name", guest);
	code = ledger_read(ledger, guest, ret_now, err);
	if (code < 0)
		return code;
	if (ret_now->state != HF_LEDGER_OFFERED && ret_now->state != HF_LEDGER_CLAIMED)
		return error_set(err, HF_E_LEDGER_REFUSED, 0, "guest \"%s\" is not in doubt: %s%s",
				 guest,
				 !ret_now->revision		    ? "there is no record of it"
				 : ret_now->state == HF_LEDGER_AWAY ? "it was started by "
								    : "it is at home, at ",
				 ret_now->owner);
	/* As its owner, in the handover that is under way: another one would be refused. */
	request.epoch = ret_now->epoch;
	code = request_of(&request, ledger, guest, ret_now->owner, err);
	if (code == 0)
		code = ask(ledger, &request, ret_now, err);
	if (code == LEDGER_REFUSE)
		return error_set(err, HF_E_LEDGER_REFUSED, 0,
				 "guest \"%s\": %s has started it meanwhile", guest,
				 ret_now->owner);
	return code < 0 ? code : 0;
}
