/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the decoders share: looking at bytes with an error at hand, and putting items together.
 * Functions that return int return 0, or -1 after the one error is set.
 */
#ifndef GUARD_DECODE_H
#define GUARD_DECODE_H

#include <stddef.h>

#include "guard/inspect.h"

struct decode {
	struct reader *reader;
	const struct inspect_options *options;
	const struct inspect_sink *sink;
	struct inspect_result *result;
	uint64_t start_ns;
	uint32_t page_size; /* of the target */
	char where[320]; /* the section that is being read, for errors */
};

/*
 * The bytes from `skip` on behind the reader's position make no sense: the format says what was
 * expected. What is there is taken from the reader. Always -1; the first error stays.
 */
int decode_bad(struct decode *decode, size_t skip, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for bytes that were taken already: what was there is the caller's word. */
int decode_bad_at(struct decode *decode, uint64_t offset, const char *found, const char *format,
		  ...) __attribute__((format(printf, 4, 5)));

/* This host failed (an errno), not the stream. */
int decode_failed(struct decode *decode, int error);

/* The next n bytes; the error is that the stream ends within `what`. */
int decode_need(struct decode *decode, size_t n, const uint8_t **ret_bytes, const char *what);

/* Pass over n bytes. */
int decode_skip(struct decode *decode, uint64_t n, const char *what);

/* A str8 that is `skip` bytes ahead: 1..255 printable characters. Nothing is taken. */
int decode_name(struct decode *decode, size_t skip, char ret_name[256], const char *what);

uint64_t decode_now(const struct decode *decode); /* since the connection began */

/* Items. A field that does not fit any more is a fault of ours. */
void item_begin(const struct decode *decode, struct inspect_item *item, const char *what);
void item_number(struct inspect_item *item, const char *name, uint64_t number);
void item_hex(struct inspect_item *item, const char *name, uint64_t number);
void item_text(struct inspect_item *item, const char *name, const char *text);
void item_bool(struct inspect_item *item, const char *name, bool value);
/* Its length is what was read since item_begin(). */
void item_end(const struct decode *decode, struct inspect_item *item);

static inline uint16_t be16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

static inline uint32_t be32(const uint8_t *b)
{
	return (uint32_t)be16(b) << 16 | be16(b + 2);
}

static inline uint64_t be64(const uint8_t *b)
{
	return (uint64_t)be32(b) << 32 | be32(b + 4);
}

static inline uint32_t le32(const uint8_t *b)
{
	return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

static inline bool printable(uint8_t c)
{
	return c >= 0x20 && c <= 0x7e;
}

/* One decoder for each kind. They read to the end of the stream. */
int decode_main(struct decode *decode, bool header);
int decode_multifd(struct decode *decode);
int decode_preempt(struct decode *decode);
int decode_return(struct decode *decode);
int decode_holdfast(struct decode *decode);

#endif
