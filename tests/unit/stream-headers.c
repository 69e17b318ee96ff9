/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast/stream.h: a capture is walked to its end; what is wrong in a header is pointed at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <holdfast/stream.h>

#include "wire-files.h"

static struct hf_stream_header header_of(const uint8_t *bytes)
{
	struct hf_stream_header header = { .size = sizeof(header) };
	struct hf_error err = { 0 };

	if (hf_stream_header(bytes, &header, &err) < 0)
		fail_msg("%s", err.text);
	return header;
}

/* Walks to the end of a file; returns its last record's name. */
static const char *walk(const char *name, unsigned int bulk, unsigned int to_source)
{
	const char *last = "";
	size_t length;
	uint8_t *bytes = file_read(VECTORS "/session", name, &length);
	const struct hf_stream_header header = header_of(bytes);

	assert_int_equal(header.major, 1);
	assert_int_equal(header.bulk, bulk);
	assert_int_equal(header.to_source, to_source);
	for (size_t at = HF_STREAM_HEADER_BYTES; at < length;) {
		struct hf_stream_record record = { .size = sizeof(record) };
		struct hf_error err = { 0 };

		assert_in_range(at + HF_STREAM_RECORD_BYTES, 0, length);
		if (hf_stream_record(&header, bytes + at, &record, &err) < 0)
			fail_msg("%s at %zu: %s", name, at, err.text);
		at += HF_STREAM_RECORD_BYTES + (size_t)record.length + record.padding;
		assert_int_equal(at % 8, 0);
		assert_in_range(at, 0, length);
		last = record.name;
	}
	free(bytes);
	return last;
}

static void a_capture_to_its_end(void **state)
{
	(void)state;
	assert_string_equal(walk("control.out", 0, 0), "BYE");
	assert_string_equal(walk("control.in", 0, 1), "BYE");
	assert_string_equal(walk("bulk-0.out", 1, 0), "CHANNEL_END");
	assert_string_equal(walk("bulk-1.out", 1, 0), "CHANNEL_END");
}

static void headers_that_are_wrong(void **state)
{
	static const struct {
		unsigned int at, octet;
		int code;
		uint32_t bad_at;
	} cases[] = {
		{ 3, 'd', HF_E_PROTOCOL, 3 },	 { 8, 2, HF_E_VERSION, 8 },
		{ 12, 3, HF_E_PROTOCOL, 12 },	 { 13, 0, HF_E_PROTOCOL, 13 },
		{ 13, 2, HF_E_PROTOCOL, 13 },	 { 14, 16, HF_E_PROTOCOL, 14 },
		{ 31, 0x80, HF_E_PROTOCOL, 31 },
	};
	size_t length;
	uint8_t *bytes = file_read(VECTORS "/session", "bulk-0.out", &length);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hf_stream_header header = { .size = sizeof(header) };
		struct hf_error err = { 0 };
		uint8_t was = bytes[cases[i].at];

		bytes[cases[i].at] = (uint8_t)cases[i].octet;
		assert_int_equal(hf_stream_header(bytes, &header, &err), cases[i].code);
		assert_int_equal(header.bad_at, cases[i].bad_at);
		assert_true(err.text[0] != 0);
		bytes[cases[i].at] = was;
	}
	free(bytes);
}

static void records_that_cannot_come(void **state)
{
	static const uint8_t unknown[8] = { 0x77, 0, 0, 0 }, skipped[8] = { 0x77, 0, 0, 0x80, 5 },
			     long_go[8] = { 8, 0, 0, 0, 9 }, started[8] = { 0x14, 0, 0, 0, 16 };
	const struct hf_stream_header control = { .size = sizeof(control) };
	struct hf_stream_record record = { .size = sizeof(record) };
	struct hf_error err = { 0 };

	(void)state;
	assert_int_equal(hf_stream_record(&control, unknown, &record, &err), HF_E_PROTOCOL);
	assert_int_equal(record.bad_at, 0);
	assert_int_equal(hf_stream_record(&control, started, &record, &err), HF_E_PROTOCOL);
	assert_int_equal(record.bad_at, 0);
	assert_int_equal(hf_stream_record(&control, long_go, &record, &err), HF_E_PROTOCOL);
	assert_int_equal(record.bad_at, 4);
	assert_int_equal(hf_stream_record(&control, skipped, &record, &err), 0);
	assert_string_equal(record.name, "?");
	assert_int_equal(record.length, 5);
	assert_int_equal(record.padding, 3);
}

static void sizes_that_are_not_set(void **state)
{
	const uint8_t bytes[HF_STREAM_HEADER_BYTES] = HF_STREAM_MAGIC;
	const struct hf_stream_header control = { .size = sizeof(control) };
	struct hf_stream_header header = { .size = 0 };
	struct hf_stream_record record = { .size = 8 };

	(void)state;
	assert_int_equal(hf_stream_header(bytes, &header, NULL), HF_E_INVALID);
	assert_int_equal(hf_stream_record(&control, bytes, &record, NULL), HF_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_capture_to_its_end),
		cmocka_unit_test(headers_that_are_wrong),
		cmocka_unit_test(records_that_cannot_come),
		cmocka_unit_test(sizes_that_are_not_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
