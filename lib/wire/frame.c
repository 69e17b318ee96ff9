/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/frame.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

_Static_assert(REC_SKIPPED_BODY_MAX <= REC_CONTROL_BODY_MAX, "what is skipped is buffered too");
_Static_assert(STREAM_HEADER_BYTES <= REC_CONTROL_BYTES_MAX, "the header is buffered too");

void frame_init(struct frame *frame, uint8_t direction)
{
	memset(frame, 0, sizeof(*frame));
	frame->direction = direction;
}

bool frame_idle(const struct frame *frame)
{
	return frame->failed == 0 && (frame->used == 0 || frame->whole);
}

static int fail(struct frame *frame, int code, const char *why)
{
	frame->failed = code;
	frame->why = why;
	return code;
}

/* Bytes of what is being read, as far as they are known: header, body and padding. */
static size_t wanted(const struct frame *frame)
{
	uint32_t length = frame->record.length;

	if (!frame->started)
		return STREAM_HEADER_BYTES;
	if (frame->used < REC_HEADER_BYTES)
		return REC_HEADER_BYTES;
	return REC_HEADER_BYTES + (size_t)length + rec_padding(length);
}

/* Move bytes to the buffer until `until` are there. Returns how many were moved. */
static size_t fill(struct frame *frame, const uint8_t *bytes, size_t n, size_t until)
{
	size_t step = until - frame->used;

	assert(until <= sizeof(frame->buf));
	assert(frame->used <= until);
	if (step > n)
		step = n;
	if (step > 0)
		memcpy(frame->buf + frame->used, bytes, step);
	frame->used += step;
	return step;
}

static int take_header(struct frame *frame)
{
	int result = stream_header_decode(frame->buf, STREAM_HEADER_BYTES, &frame->header,
					  &frame->peer_major, &frame->peer_minor);

	if (result == -EPROTONOSUPPORT)
		return fail(frame, result, "another version of the stream");
	if (result < 0)
		return fail(frame, result, "not the header of a stream");
	if (frame->header.kind != WIRE_CONTROL)
		return fail(frame, -EPROTO, "not a control connection");
	if (frame->header.direction != frame->direction)
		return fail(frame, -EPROTO, "a stream of the wrong direction");
	frame->started = true;
	return FRAME_HEADER;
}

static int take_record(struct frame *frame, bool skipped)
{
	uint32_t length = frame->record.length;

	for (uint32_t i = 0; i < rec_padding(length); i++)
		if (frame->buf[REC_HEADER_BYTES + length + i] != 0)
			return fail(frame, -EPROTO, "padding that is not zero");
	frame->body = frame->buf + REC_HEADER_BYTES;
	return skipped ? FRAME_SKIPPED : FRAME_RECORD;
}

int frame_push(struct frame *frame, const void *bytes, size_t n, size_t *ret_consumed)
{
	const uint8_t *at = (const uint8_t *)bytes;
	int check = 0;
	int result;

	*ret_consumed = 0;
	if (frame->failed != 0)
		return frame->failed;
	if (frame->whole) { /* the last one was reported: begin the next */
		frame->whole = false;
		frame->used = 0;
	}
	if (frame->started && frame->used < REC_HEADER_BYTES) {
		*ret_consumed = fill(frame, at, n, REC_HEADER_BYTES);
		if (frame->used < REC_HEADER_BYTES)
			return FRAME_MORE;
		frame->record = rec_header_decode(frame->buf);
	}
	if (frame->started) { /* before the length is used for anything */
		check = rec_header_check(&frame->record, WIRE_CONTROL, frame->direction,
					 &frame->why);
		if (check < 0)
			return fail(frame, check, frame->why);
	}
	*ret_consumed += fill(frame, at + *ret_consumed, n - *ret_consumed, wanted(frame));
	if (frame->used < wanted(frame))
		return FRAME_MORE;
	result = frame->started ? take_record(frame, check > 0) : take_header(frame);
	frame->whole = result > 0;
	frame->raw = frame->buf;
	frame->raw_length = frame->used;
	return result;
}
