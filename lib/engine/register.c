/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest that was booted enters the ledger; outside of any session. */
#include <stdio.h>
#include <string.h>

#include <holdfast/session.h>

#include "backend/ledger.h"
#include "base/error.h"
#include "base/export.h"
#include "base/time.h"
#include "core/ledger.h"

#define SWAPS_MAX 16

HF_EXPORT int hf_ledger_register(struct hf_ledger *ledger, const char *guest, const char *side,
				 struct hf_error *err)
{
	struct ledger_request request = { .op = LEDGER_OP_REGISTER };
	struct hf_ledger_record now, next, after;
	int code;

	if (!ledger->ops || !ledger_name_ok(guest) || !side[0] || strlen(side) >= HF_NAME_MAX)
		return error_set(err, HF_E_INVALID, 0, "guest \"%s\", side \"%s\": not valid names",
				 guest, side);
	memcpy(request.guest, guest, strlen(guest));
	memcpy(request.side, side, strlen(side));
	(void)snprintf(request.attempt, sizeof(request.attempt), "%.40s/%llx", side,
		       (unsigned long long)time_now_ns());

	for (int i = 0; i < SWAPS_MAX; i++) {
		code = ledger_read(ledger, guest, &now, err);
		if (code < 0)
			return code;
		switch (ledger_next(&request, &now, &next)) {
		case LEDGER_ALREADY:
			return 0;
		case LEDGER_REFUSE:
			return error_set(
				err, HF_E_LEDGER_REFUSED, 0,
				"guest \"%s\": %s has %s it to %s, and the end is not known; "
				"that must be decided first",
				guest, now.owner,
				now.state == HF_LEDGER_OFFERED ? "offered" : "handed",
				now.offered_to);
		case LEDGER_WRITE:
			break;
		}
		code = ledger_swap(ledger, &next, &after, err);
		if (code == HF_LEDGER_DONE)
			return 0;
		if (code < 0)
			return code;
		if (code == HF_LEDGER_UNKNOWN)
			break;
	}
	return error_set(err, HF_E_LEDGER_UNKNOWN, 0, "guest \"%s\": the ledger did not answer",
			 guest);
}
