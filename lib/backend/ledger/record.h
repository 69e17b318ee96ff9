/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ledger record as text, as it stands in a file or in a store: lines of "key: value", read by
 * people, written by machines only (the last line is a checksum of the others). A store that
 * numbers its writes itself keeps texts with the revision 0; which it must be, the kinds check.
 */
#ifndef BACKEND_LEDGER_RECORD_H
#define BACKEND_LEDGER_RECORD_H

#include <stddef.h>

#include <holdfast/backend.h>

/* More than the longest record with every byte of its texts escaped. */
#define RECORD_TEXT_MAX 4096u

/* The text's length; *ret_text is not terminated. The record keeps the rules (ledger_record_check).
 */
size_t record_encode(const struct hf_ledger_record *record, char ret_text[RECORD_TEXT_MAX]);

/*
 * 0, or the number of the line (from 1) that is wrong; *ret_why says how, in static text. What is
 * accepted is exactly what record_encode() makes.
 */
unsigned int record_decode(const char *text, size_t length, struct hf_ledger_record *ret_record,
			   const char **ret_why);

#endif
