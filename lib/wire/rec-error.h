/* SPDX-License-Identifier: BSD-3-Clause */
/* A struct hf_error in a body: ABORT and RETURNED have it. docs/stream.md, section 2.4. */
#ifndef WIRE_REC_ERROR_H
#define WIRE_REC_ERROR_H

#include <holdfast/error.h>

#include "wire/rec-body.h"

static inline bool rec_error_code_valid(int32_t code)
{
	return code <= -WIRE_CODE_FIRST && code >= -WIRE_CODE_LAST;
}

static inline bool rec_error_cause_valid(int32_t cause)
{
	return cause >= 0 && cause <= WIRE_CAUSE_MAX;
}

/* Never refuses: what cannot be sent as it is becomes something that can (rec-abort.h). */
static inline void rec_error_write(struct wr *wr, const struct hf_error *error)
{
	char text[HF_ERROR_TEXT_MAX] = { 0 };

	for (size_t i = 0; i < sizeof(text) - 1 && error->text[i] != '\0'; i++)
		text[i] = (char)(error->text[i] >= 0x20 && error->text[i] <= 0x7e ? error->text[i]
										  : '?');
	wr_i32(wr, rec_error_code_valid(error->code) ? error->code : (int32_t)HF_E_BUG);
	wr_i32(wr, rec_error_cause_valid(error->cause) ? error->cause : 0);
	wr_text(wr, text, sizeof(text));
}

static inline void rec_error_read(struct rd *rd, struct hf_error *ret_error)
{
	ret_error->code = rd_i32(rd);
	ret_error->cause = rd_i32(rd);
	rd_text(rd, ret_error->text, HF_ERROR_TEXT_MAX);
	if (!rec_error_code_valid(ret_error->code) || !rec_error_cause_valid(ret_error->cause))
		rd->bad = true;
}

#endif
