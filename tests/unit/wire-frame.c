/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Framing: the same headers and records come out however the octets arrive, and what is wrong is
 * refused as early as it can be known.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire-files.h"
#include "wire/frame.h"
#include "wire/records.h"

static struct frame frame;
static uint8_t stream[STREAM_HEADER_BYTES + 2 * REC_CONTROL_BYTES_MAX];
static size_t stream_length;

/* What came out of a stream: results and types, as text to compare. */
struct story {
	char text[1024];
	size_t raw_bytes;
	int failed;
};

static void tell(struct story *story, int result)
{
	size_t used = strlen(story->text);

	(void)snprintf(story->text + used, sizeof(story->text) - used, "%s ",
		       result == FRAME_HEADER	 ? "header"
		       : result == FRAME_SKIPPED ? "skipped"
						 : rec_name(frame.record.type));
	story->raw_bytes += frame.raw_length;
}

/* Push all of bytes in pieces of step octets; the first piece is of `first`. */
static struct story push(uint8_t direction, const uint8_t *bytes, size_t n, size_t first,
			 size_t step)
{
	struct story story = { .failed = 0 };
	size_t at = 0;

	frame_init(&frame, direction);
	assert_true(frame_idle(&frame));
	while (at < n && story.failed == 0) {
		size_t piece = at == 0 ? first : step;
		size_t offered = piece < n - at ? piece : n - at;

		while (offered > 0) {
			size_t consumed;
			int result = frame_push(&frame, bytes + at, offered, &consumed);

			assert_in_range(consumed, 0, offered);
			if (result < 0) {
				story.failed = result;
				assert_non_null(frame.why);
				break;
			}
			if (result == FRAME_MORE)
				assert_int_equal(consumed, offered);
			else
				tell(&story, result);
			at += consumed;
			offered -= consumed;
		}
	}
	return story;
}

static void begin(void)
{
	static const struct stream_header header = { WIRE_MAJOR, WIRE_MINOR, WIRE_CONTROL,
						     WIRE_TO_TARGET, 0 };

	stream_length = (size_t)stream_header_encode(&header, stream, sizeof(stream));
	assert_int_equal(stream_length, STREAM_HEADER_BYTES);
}

static void append(const void *bytes, size_t n)
{
	assert_in_range(n, 0, sizeof(stream) - stream_length);
	memcpy(stream + stream_length, bytes, n);
	stream_length += n;
}

/* A record of any type, with its padding. */
static void append_record(uint32_t type, uint32_t length, uint8_t fill)
{
	uint8_t head[8];

	for (unsigned int i = 0; i < 4; i++) {
		head[i] = (uint8_t)(type >> (8 * i));
		head[4 + i] = (uint8_t)(length >> (8 * i));
	}
	append(head, sizeof(head));
	for (uint32_t i = 0; i < length; i++)
		append(&fill, 1);
	append(rec_zeros, rec_padding(length));
}

#define OUT_STORY                                                                                  \
	"header HELLO REGIONS KEEPALIVE DEVICES SHAPE MACHINE_STATE DEVICE_CONFIG skipped "        \
	"MACHINE_STATE DEVICE_CONFIG END GO BYE "
#define IN_STORY "header KEEPALIVE ACCEPT PRIMED LOADED STARTED BYE "

static void records_come_out_however_the_octets_arrive(void **state)
{
	static const struct {
		const char *name, *story;
		uint8_t direction;
	} rows[] = {
		{ "session/control.out", OUT_STORY, WIRE_TO_TARGET },
		{ "session/control.in", IN_STORY, WIRE_TO_SOURCE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n;
		uint8_t *bytes = file_read(VECTORS, rows[i].name, &n);

		for (size_t step = 1; step < n + 2; step += step < 70 ? 1 : 97) {
			struct story story = push(rows[i].direction, bytes, n, step, step);

			assert_int_equal(story.failed, 0);
			assert_string_equal(story.text, rows[i].story);
			assert_int_equal(story.raw_bytes, n); /* every octet once: digests */
			assert_true(frame_idle(&frame));
		}
		for (size_t split = 1; split < n; split++) {
			struct story story = push(rows[i].direction, bytes, n, split, n);

			assert_string_equal(story.text, rows[i].story);
		}
		free(bytes);
	}
}

static void the_longest_record_fits(void **state)
{
	(void)state;
	begin();
	append_record(REC_SHAPE, WIRE_DATA_MAX, 0xff);
	append_record(0x80000999, REC_SKIPPED_BODY_MAX, 0xff);
	struct story story = push(WIRE_TO_TARGET, stream, stream_length, 1000, 1000);

	assert_int_equal(story.failed, 0);
	assert_string_equal(story.text, "header SHAPE skipped ");
}

static void only_a_whole_record_leaves_the_frame_idle(void **state)
{
	size_t consumed;

	(void)state;
	begin();
	append_record(REC_GO, 8, 1);
	for (size_t n = 1; n < stream_length; n++) {
		(void)push(WIRE_TO_TARGET, stream, n, n, n);
		assert_true(frame_idle(&frame) == (n == STREAM_HEADER_BYTES));
	}
	(void)push(WIRE_TO_TARGET, stream, stream_length, 1, 1);
	assert_int_equal(frame_push(&frame, stream, 0, &consumed), FRAME_MORE);
	assert_true(frame_idle(&frame));
}

/* Only as many octets as were pushed decide: the failure comes with the last octet of the header.
 */
static void a_wrong_header_of_a_record_is_refused_before_its_body(void **state)
{
	static const struct {
		uint32_t type, length;
		int want;
	} rows[] = {
		{ REC_SHAPE, WIRE_DATA_MAX + 1, -EMSGSIZE },
		{ REC_SHAPE, UINT32_MAX, -EMSGSIZE },
		{ REC_GO, 7, -EMSGSIZE },
		{ REC_GO, 9, -EMSGSIZE },
		{ REC_ACCEPT, 352, -EPROTO },
		{ REC_PAGES, 144, -EPROTO },
		{ 0, 0, -EPROTO },
		{ 0x99, 0, -EPROTO },
		{ 0x80000099, REC_SKIPPED_BODY_MAX + 1, -EMSGSIZE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t consumed;
		struct story story;

		begin();
		append_record(rows[i].type, 0, 0);
		for (unsigned int k = 0; k < 4; k++)
			stream[STREAM_HEADER_BYTES + 4 + k] = (uint8_t)(rows[i].length >> (8 * k));
		story = push(WIRE_TO_TARGET, stream, STREAM_HEADER_BYTES + 7, 40, 1);
		assert_int_equal(story.failed, 0);
		assert_int_equal(frame_push(&frame, stream + STREAM_HEADER_BYTES + 7, 1, &consumed),
				 rows[i].want);
		assert_non_null(frame.why);
		assert_false(frame_idle(&frame));
		/* and for ever */
		assert_int_equal(frame_push(&frame, stream, 8, &consumed), rows[i].want);
		assert_int_equal(consumed, 0);
	}
}

static void a_wrong_stream_header_is_refused(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		int want;
	} rows[] = {
		{ 0, 'h', -EPROTO }, /* magic */
		{ 7, 0, -EPROTO }, /* magic */
		{ 8, 2, -EPROTONOSUPPORT }, /* major */
		{ 9, 1, -EPROTONOSUPPORT }, /* major */
		{ 10, 9, FRAME_MORE }, /* minor: any */
		{ 12, WIRE_BULK, -EPROTO }, /* kind */
		{ 12, 0, -EPROTO }, /* kind */
		{ 13, WIRE_TO_SOURCE, -EPROTO }, /* direction */
		{ 14, 1, -EPROTO }, /* channel */
		{ 16, 1, -EPROTO }, /* reserved */
		{ 31, 128, -EPROTO }, /* reserved */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct story story;

		begin();
		stream[rows[i].at] = rows[i].value;
		story = push(WIRE_TO_TARGET, stream, stream_length, 5, 5);
		assert_int_equal(story.failed, rows[i].want);
		if (rows[i].want == -EPROTONOSUPPORT)
			assert_int_equal(frame.peer_major, stream[8] | stream[9] << 8);
	}
}

static void padding_that_is_not_zero_is_refused(void **state)
{
	static const uint32_t types[] = { REC_SHAPE, 0x80000099 };

	(void)state;
	for (unsigned int t = 0; t < 2; t++)
		for (uint32_t length = 0; length < 16; length++)
			for (uint32_t i = 0; i < rec_padding(length); i++) {
				begin();
				append_record(types[t], length, 0xff);
				stream[stream_length - 1 - i] = 1;
				assert_int_equal(
					push(WIRE_TO_TARGET, stream, stream_length, 9, 9).failed,
					-EPROTO);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_come_out_however_the_octets_arrive),
		cmocka_unit_test(the_longest_record_fits),
		cmocka_unit_test(only_a_whole_record_leaves_the_frame_idle),
		cmocka_unit_test(a_wrong_header_of_a_record_is_refused_before_its_body),
		cmocka_unit_test(a_wrong_stream_header_is_refused),
		cmocka_unit_test(padding_that_is_not_zero_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
