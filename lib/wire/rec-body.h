/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files rec-NAME.c share: the frame around a body, and rules that several records have. */
#ifndef WIRE_REC_BODY_H
#define WIRE_REC_BODY_H

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "wire/rd.h"
#include "wire/rec.h"
#include "wire/wr.h"

/* Begin a record: its header, with the length still open. */
static inline void rec_begin(struct wr *wr, void *buf, size_t capacity, uint32_t type)
{
	wr_init(wr, buf, capacity);
	wr_u32(wr, type);
	wr_u32(wr, 0);
}

/* Close it, with content_bytes to follow from elsewhere, padding included: fill the length in. */
static inline int rec_finish_content(struct wr *wr, uint32_t content_bytes)
{
	struct wr length;

	if (wr->bad)
		return -ENOSPC;
	wr_init(&length, wr->to + 4, 4);
	wr_u32(&length, (uint32_t)(wr->used - REC_HEADER_BYTES) + content_bytes);
	return (int)wr->used;
}

/* Close it: fill the length in, and pad. */
static inline int rec_finish(struct wr *wr)
{
	int result = rec_finish_content(wr, 0);

	if (result < 0)
		return result;
	wr_zero(wr, rec_padding((uint32_t)wr->used));
	return wr->bad ? -ENOSPC : (int)wr->used;
}

/* A text field's rule (docs/stream.md, section 2.3): printable ASCII, and a NUL within n bytes. */
static inline bool rec_text_valid(const char *text, size_t n)
{
	size_t length = 0;

	while (length < n && text[length] >= 0x20 && text[length] <= 0x7e)
		length++;
	return length < n && text[length] == '\0';
}

/* The same, and not empty. */
static inline bool rec_name_valid(const char *text, size_t n)
{
	return text[0] != '\0' && rec_text_valid(text, n);
}

/* An id is random; all zeros is what a forgotten one looks like. */
static inline bool rec_id_valid(const uint8_t id[WIRE_ID_BYTES])
{
	static const uint8_t zero[WIRE_ID_BYTES];

	return memcmp(id, zero, WIRE_ID_BYTES) != 0;
}

#endif
