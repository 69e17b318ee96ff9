/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bounded reader of little-endian numbers. A read that does not fit sets `bad`, which stays, and
 * gives zeros; so a decoder reads as the specification's table and asks once, at the end, by
 * rd_done(). No alignment is asked of the bytes.
 */
#ifndef WIRE_RD_H
#define WIRE_RD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rd {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static inline void rd_init(struct rd *rd, const void *bytes, size_t length)
{
	rd->at = (const uint8_t *)bytes;
	rd->left = length;
	rd->bad = false;
}

/* The next n bytes where they lie, or NULL (and bad). */
static inline const uint8_t *rd_take(struct rd *rd, size_t n)
{
	const uint8_t *at = rd->at;

	if (rd->bad || n > rd->left) {
		rd->bad = true;
		return NULL;
	}
	rd->at += n;
	rd->left -= n;
	return at;
}

static inline uint64_t rd_number(struct rd *rd, unsigned int bytes)
{
	const uint8_t *at = rd_take(rd, bytes);
	uint64_t value = 0;

	if (at == NULL)
		return 0;
	for (unsigned int i = bytes; i > 0; i--)
		value = value << 8 | at[i - 1];
	return value;
}

static inline uint8_t rd_u8(struct rd *rd)
{
	return (uint8_t)rd_number(rd, 1);
}

static inline uint16_t rd_u16(struct rd *rd)
{
	return (uint16_t)rd_number(rd, 2);
}

static inline uint32_t rd_u32(struct rd *rd)
{
	return (uint32_t)rd_number(rd, 4);
}

static inline uint64_t rd_u64(struct rd *rd)
{
	return rd_number(rd, 8);
}

static inline int32_t rd_i32(struct rd *rd)
{
	return (int32_t)rd_u32(rd);
}

static inline void rd_bytes(struct rd *rd, void *to, size_t n)
{
	const uint8_t *at = rd_take(rd, n);

	if (at != NULL)
		memcpy(to, at, n);
	else
		memset(to, 0, n);
}

/* n reserved bytes, which must be zero. */
static inline void rd_zero(struct rd *rd, size_t n)
{
	const uint8_t *at = rd_take(rd, n);

	for (size_t i = 0; at != NULL && i < n; i++)
		if (at[i] != 0)
			rd->bad = true;
}

/* A text field of n bytes (docs/stream.md, section 2.3): printable, a NUL, zeros behind it. */
static inline void rd_text(struct rd *rd, char *to, size_t n)
{
	size_t length = 0;

	rd_bytes(rd, to, n);
	while (length < n && to[length] >= 0x20 && to[length] <= 0x7e)
		length++;
	if (length == n)
		rd->bad = true;
	for (; length < n; length++)
		if (to[length] != 0)
			rd->bad = true;
}

/* Nothing went wrong, and nothing is left over. */
static inline bool rd_done(const struct rd *rd)
{
	return !rd->bad && rd->left == 0;
}

#endif
