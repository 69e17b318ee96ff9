/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checking wrapper around a ledger (struct hf_ledger): names and records are checked before a
 * kind sees them and after it answered. What the operations mean is in core/ledger.h.
 */
#ifndef BACKEND_LEDGER_H
#define BACKEND_LEDGER_H

#include <stdbool.h>

#include <holdfast/backend.h>

/* 1..63 of [A-Za-z0-9._-], no leading dot. */
bool ledger_name_ok(const char *guest);

/*
 * Whether a record that is there (revision > 0) or is to be written keeps the rules: terminated
 * texts with zeroed tails, a known state, an owner, and offered_to where the state needs one.
 */
int ledger_record_check(const struct hf_ledger_record *record, struct hf_error *err);

/* now is what writing record made of it: the same in all but a higher revision. */
bool ledger_record_is_written(const struct hf_ledger_record *now,
			      const struct hf_ledger_record *record);

/*
 * The guest's record (revision 0 if there is none): 0, HF_E_INVALID (the name),
 * HF_E_LEDGER_DAMAGED, HF_E_LEDGER_UNKNOWN, HF_E_UNSUPPORTED. err is always set by a failure.
 */
int ledger_read(struct hf_ledger *ledger, const char *guest, struct hf_ledger_record *ret_record,
		struct hf_error *err);

/*
 * Each record that can be read, checked; then 0 or the code of what could not be: as above, and
 * HF_E_UNSUPPORTED by a kind that has no list.
 */
int ledger_list(struct hf_ledger *ledger,
		void (*each)(void *ctx, const struct hf_ledger_record *record), void *ctx,
		struct hf_error *err);

/*
 * Compare and swap on record->revision: HF_LEDGER_DONE and HF_LEDGER_REFUSED with *ret_now;
 * HF_LEDGER_UNKNOWN with the reason in err. Negative codes as above, and others that name what
 * failed; whether they mean "not done" the text says, the caller takes them as unknown.
 * record->attempt must not be empty, and one never used before: writing the same record again is
 * DONE as well.
 */
int ledger_swap(struct hf_ledger *ledger, const struct hf_ledger_record *record,
		struct hf_ledger_record *ret_now, struct hf_error *err);

#endif
