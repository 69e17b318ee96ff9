/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bounded writer of little-endian numbers into the caller's buffer. A write that does not fit
 * sets `bad`, which stays, and writes nothing. Every byte up to wr->used was written on purpose:
 * text is padded with zeros, whatever stood behind its NUL.
 */
#ifndef WIRE_WR_H
#define WIRE_WR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wr {
	uint8_t *to;
	size_t used;
	size_t capacity;
	bool bad;
};

static inline void wr_init(struct wr *wr, void *to, size_t capacity)
{
	wr->to = (uint8_t *)to;
	wr->used = 0;
	wr->capacity = capacity;
	wr->bad = false;
}

/* Room for n bytes, or NULL (and bad). */
static inline uint8_t *wr_take(struct wr *wr, size_t n)
{
	uint8_t *at;

	if (wr->bad || n > wr->capacity - wr->used) {
		wr->bad = true;
		return NULL;
	}
	at = wr->to + wr->used;
	wr->used += n;
	return at;
}

static inline void wr_number(struct wr *wr, uint64_t value, unsigned int bytes)
{
	uint8_t *at = wr_take(wr, bytes);

	for (unsigned int i = 0; at != NULL && i < bytes; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static inline void wr_u8(struct wr *wr, uint8_t value)
{
	wr_number(wr, value, 1);
}

static inline void wr_u16(struct wr *wr, uint16_t value)
{
	wr_number(wr, value, 2);
}

static inline void wr_u32(struct wr *wr, uint32_t value)
{
	wr_number(wr, value, 4);
}

static inline void wr_u64(struct wr *wr, uint64_t value)
{
	wr_number(wr, value, 8);
}

static inline void wr_i32(struct wr *wr, int32_t value)
{
	wr_number(wr, (uint32_t)value, 4);
}

static inline void wr_bytes(struct wr *wr, const void *from, size_t n)
{
	uint8_t *at = wr_take(wr, n);

	if (at != NULL && n > 0)
		memcpy(at, from, n);
}

static inline void wr_zero(struct wr *wr, size_t n)
{
	uint8_t *at = wr_take(wr, n);

	if (at != NULL && n > 0)
		memset(at, 0, n);
}

/* A text field of n bytes: from up to its NUL (which must come within n), zeros behind it. */
static inline void wr_text(struct wr *wr, const char *from, size_t n)
{
	size_t length = strnlen(from, n);
	uint8_t *at;

	if (length == n)
		wr->bad = true;
	at = wr_take(wr, n);
	if (at == NULL)
		return;
	memset(at, 0, n);
	memcpy(at, from, length);
}

#endif
