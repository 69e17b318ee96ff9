/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checking wrapper around ledgers: what a kind is given keeps the rules, and so does what it
 * answers. A kind that breaks its contract is a fault of ours and named as such.
 */
#include "backend/ledger.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "base/export.h"

bool ledger_name_ok(const char *guest)
{
	size_t length = strnlen(guest, HF_NAME_MAX);

	if (length == 0 || length == HF_NAME_MAX || guest[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++) {
		char c = guest[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    c != '.' && c != '_' && c != '-')
			return false;
	}
	return true;
}

/* Terminated, and zero behind the NUL: records are compared and leave the process whole. */
static bool text_ok(const char *text, size_t size)
{
	size_t length = strnlen(text, size);

	if (length == size)
		return false;
	for (size_t i = length; i < size; i++)
		if (text[i])
			return false;
	return true;
}

int ledger_record_check(const struct hf_ledger_record *record, struct hf_error *err)
{
	if (!text_ok(record->guest, sizeof(record->guest)) || !ledger_name_ok(record->guest))
		return error_set(err, HF_E_INVALID, 0,
				 "ledger record: the guest's name is not 1..63 of [A-Za-z0-9._-]");
	if (!text_ok(record->owner, sizeof(record->owner)) ||
	    !text_ok(record->offered_to, sizeof(record->offered_to)) ||
	    !text_ok(record->attempt, sizeof(record->attempt)) ||
	    !text_ok(record->reason, sizeof(record->reason)))
		return error_set(err, HF_E_INVALID, 0,
				 "ledger record of %s: a text is not terminated and zeroed",
				 record->guest);
	if (record->state < HF_LEDGER_HOME || record->state > HF_LEDGER_AWAY)
		return error_set(err, HF_E_INVALID, 0, "ledger record of %s: %u is no state",
				 record->guest, record->state);
	if (!record->owner[0])
		return error_set(err, HF_E_INVALID, 0, "ledger record of %s: no owner",
				 record->guest);
	if (!record->attempt[0])
		return error_set(err, HF_E_INVALID, 0, "ledger record of %s: no attempt",
				 record->guest);
	if (record->state != HF_LEDGER_HOME && !record->offered_to[0])
		return error_set(err, HF_E_INVALID, 0, "ledger record of %s: offered to nobody",
				 record->guest);
	return 0;
}

static bool same_content(const struct hf_ledger_record *a, const struct hf_ledger_record *b)
{
	return strcmp(a->guest, b->guest) == 0 && a->epoch == b->epoch && a->state == b->state &&
	       a->reason_code == b->reason_code && strcmp(a->owner, b->owner) == 0 &&
	       strcmp(a->offered_to, b->offered_to) == 0 && strcmp(a->attempt, b->attempt) == 0 &&
	       strcmp(a->reason, b->reason) == 0;
}

bool ledger_record_is_written(const struct hf_ledger_record *now,
			      const struct hf_ledger_record *record)
{
	return now->revision > record->revision && same_content(now, record);
}

/* What a kind failed with; an errno (a filter's, say) is the ledger's not answering. */
static int judge(int r, const struct hf_ledger *ledger, const char *what, const char *guest,
		 struct hf_error *err)
{
	if (r == HF_E_BUG || hf_error_class(r) != HF_CLASS_BUG)
		return error_set(err, r, 0, "ledger %s: %s guest %s", ledger->uri, what, guest);
	return error_set(err, HF_E_LEDGER_UNKNOWN, -r, "ledger %s: %s guest %s", ledger->uri, what,
			 guest);
}

static int broken(const struct hf_ledger *ledger, const char *what, const char *guest,
		  struct hf_error *err)
{
	return error_set(err, HF_E_BUG, 0, "ledger %s: %s of guest %s broke the contract",
			 ledger->ops->kind, what, guest);
}

/* An answer about this guest: a whole record, or none. */
static bool answer_ok(const struct hf_ledger_record *record, const char *guest)
{
	if (strncmp(record->guest, guest, sizeof(record->guest)) != 0)
		return false;
	return record->revision == 0 || ledger_record_check(record, NULL) == 0;
}

int ledger_read(struct hf_ledger *ledger, const char *guest, struct hf_ledger_record *ret_record,
		struct hf_error *err)
{
	struct hf_ledger_record record;
	int r;

	assert(ledger->ops);
	if (!ledger_name_ok(guest))
		return error_set(err, HF_E_INVALID, 0,
				 "guest \"%.64s\": the name is not 1..63 of [A-Za-z0-9._-]", guest);
	memset(&record, 0, sizeof(record));
	r = ledger->ops->read(ledger->self, guest, &record, err);
	if (r > 0)
		return broken(ledger, "read", guest, err);
	if (r < 0)
		return judge(r, ledger, "read", guest, err);
	if (!answer_ok(&record, guest))
		return broken(ledger, "read", guest, err);
	*ret_record = record;
	return 0;
}

/* Between a kind's list and whoever asked. */
struct listener {
	void (*each)(void *ctx, const struct hf_ledger_record *record);
	void *ctx;
	bool is_broken;
};

static void hear(void *ctx, const struct hf_ledger_record *record)
{
	struct listener *listener = ctx;

	if (record->revision && ledger_record_check(record, NULL) == 0)
		listener->each(listener->ctx, record);
	else
		listener->is_broken = true;
}

/* A table of a VMM that was built before there was a list ends before it. */
static bool has_list(const struct hf_ledger_ops *ops)
{
	return ops->size >= offsetof(struct hf_ledger_ops, list) + sizeof(ops->list) && ops->list;
}

int ledger_list(struct hf_ledger *ledger,
		void (*each)(void *ctx, const struct hf_ledger_record *record), void *ctx,
		struct hf_error *err)
{
	struct listener listener = { .each = each, .ctx = ctx };
	int r;

	assert(ledger->ops);
	if (!has_list(ledger->ops))
		return error_set(err, HF_E_UNSUPPORTED, 0, "ledger %s: it cannot list its records",
				 ledger->uri);
	r = ledger->ops->list(ledger->self, hear, &listener, err);
	if (r < 0)
		return judge(r, ledger, "list", "of all names", err);
	if (r > 0 || listener.is_broken)
		return broken(ledger, "list", "of all names", err);
	return 0;
}

HF_EXPORT int hf_ledger_read(struct hf_ledger *ledger, const char *guest,
			     struct hf_ledger_record *ret_record, struct hf_error *err)
{
	return ledger_read(ledger, guest, ret_record, err);
}

HF_EXPORT int hf_ledger_list(struct hf_ledger *ledger,
			     void (*each)(void *ctx, const struct hf_ledger_record *record),
			     void *ctx, struct hf_error *err)
{
	return ledger_list(ledger, each, ctx, err);
}

int ledger_swap(struct hf_ledger *ledger, const struct hf_ledger_record *record,
		struct hf_ledger_record *ret_now, struct hf_error *err)
{
	struct hf_ledger_record now;
	int answer, r;

	assert(ledger->ops);
	r = ledger_record_check(record, err);
	if (r < 0)
		return r;
	memset(&now, 0, sizeof(now));
	answer = ledger->ops->swap(ledger->self, record, &now, err);
	if (answer < 0)
		return judge(answer, ledger, "write", record->guest, err);
	switch (answer) {
	case HF_LEDGER_DONE:
		if (!answer_ok(&now, record->guest) || !ledger_record_is_written(&now, record))
			return broken(ledger, "swap", record->guest, err);
		break;
	case HF_LEDGER_REFUSED:
		if (!answer_ok(&now, record->guest) || now.revision == record->revision)
			return broken(ledger, "swap", record->guest, err);
		break;
	case HF_LEDGER_UNKNOWN:
		(void)error_set(err, HF_E_LEDGER_UNKNOWN, 0, "ledger %s: write guest %s: no answer",
				ledger->uri, record->guest);
		return HF_LEDGER_UNKNOWN;
	default:
		return broken(ledger, "swap", record->guest, err);
	}
	*ret_now = now;
	return answer;
}
