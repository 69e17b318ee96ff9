/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pull reader: bytes of a file or a connection, looked at before they are taken. It holds a
 * window of fixed size and counts; it knows nothing of what it reads.
 */
#ifndef GUARD_READER_H
#define GUARD_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define READER_WINDOW (128u << 10) /* the most that can be peeked at */

struct reader_source {
	/* 1..n: so many bytes; 0: the end; negative: -errno. May block. */
	ssize_t (*fill)(void *self, void *to, size_t n);
	/* Pass over up to n bytes unseen. As fill; 0 is the end. NULL: reading does it. */
	int64_t (*skip)(void *self, uint64_t n);
	void *self;
};

/* Owner: one thread. Read-only for others: offset, failed. */
struct reader {
	struct reader_source source;
	uint64_t offset; /* of the next byte */
	uint64_t limit; /* nothing is seen from this offset on; UINT64_MAX: no limit */
	int failed; /* -errno of the source; it counts as the end */
	bool ended;
	size_t at, end; /* what is in the window */
	size_t shown; /* under ASan: nobody may look behind it */
	uint8_t window[READER_WINDOW];
};

void reader_init(struct reader *reader, const struct reader_source *source);

/*
 * Look at the next n bytes (at most READER_WINDOW), waiting for them. Returns how many there are:
 * fewer than n only before the end or the limit. They are valid until the next call.
 */
size_t reader_peek(struct reader *reader, size_t n, const uint8_t **ret_bytes);

/* What can be looked at without waiting; waits only for the first byte. 0: the end, or the limit.
 */
size_t reader_ready(struct reader *reader, const uint8_t **ret_bytes);

/* Take n of the bytes that were looked at. */
void reader_take(struct reader *reader, size_t n);

/* Pass over n bytes; returns how many there were. */
uint64_t reader_skip(struct reader *reader, uint64_t n);

#endif
