/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From bytes as they happen to arrive to the stream header and whole records, for the control
 * connection. It never blocks and never allocates: its buffer holds the longest record. (Bulk
 * connections are read by a thread that knows what it wants next: rec_header_decode(),
 * rec_header_check(), then the fixed part, then the content straight to where it belongs.)
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/rec.h"
#include "wire/stream-header.h"

/* What frame_push() has; negative: the stream is broken (-EPROTO, -EMSGSIZE, -EPROTONOSUPPORT). */
#define FRAME_MORE 0 /* all was consumed, and more is needed */
#define FRAME_HEADER 1 /* the stream header: frame->header */
#define FRAME_RECORD 2 /* a record: frame->record, body at frame->body */
#define FRAME_SKIPPED 3 /* an unknown record that may be skipped: only its raw bytes matter */

/* Owner: who pushes. All members are read-only for others, and valid until the next push. */
struct frame {
	struct stream_header header;
	struct rec_header record;
	const uint8_t *body; /* record.length bytes */
	const uint8_t *raw; /* the header, body and padding as they came: for the digest */
	size_t raw_length;
	const char *why; /* after a failure: what is wrong, in words; static text */
	uint16_t peer_major, peer_minor; /* after -EPROTONOSUPPORT */

	uint8_t direction;
	bool started; /* the stream header is behind us */
	bool whole; /* what is in the buffer was reported */
	int failed;
	size_t used;
	uint8_t buf[REC_CONTROL_BYTES_MAX];
};

/* For what comes on the control connection in one direction (WIRE_TO_TARGET, WIRE_TO_SOURCE). */
void frame_init(struct frame *frame, uint8_t direction);

/*
 * Take up to n bytes; *ret_consumed says how many: push the rest again. Stops behind each header
 * and each record, to report it. After a failure every push fails likewise.
 */
int frame_push(struct frame *frame, const void *bytes, size_t n, size_t *ret_consumed);

/* The connection may end here: no part of a header or of a record is in the buffer. */
bool frame_idle(const struct frame *frame);

#endif
