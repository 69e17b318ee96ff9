/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of records, against the specification's own table (docs/stream.md, section 4.3). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "wire-files.h"
#include "wire/records.h"

static void every_record_is_a_row_of_the_specification(void **state)
{
	size_t length;
	uint8_t *text = file_read(STREAM_MD, "", &length);
	unsigned int rows = 0;
	unsigned int i;

	(void)state;
	for (i = 0; rec_at(i) != NULL; i++) {
		const struct rec_info *info = rec_at(i);
		static const char *const senders[] = { "", "source", "target", "both" };
		char row[256];

		(void)snprintf(row, sizeof(row), "| 0x%08x | %s | %s | %s | %u | %u | 5.%u |\n",
			       info->type, info->name,
			       info->connection == WIRE_CONTROL ? "control" : "bulk",
			       senders[info->senders], info->fixed_bytes, info->body_bytes_max,
			       i + 1);
		if (memmem(text, length, row, strlen(row)) == NULL)
			fail_msg("docs/stream.md has no row %s", row);
	}
	for (size_t at = 0; at + 5 < length; at++) /* and no row but these */
		rows += memcmp(text + at, "\n| 0x", 5) == 0;
	assert_int_equal(rows, i);
	free(text);
}

static void names_and_types_are_unique(void **state)
{
	(void)state;
	for (unsigned int i = 0; rec_at(i) != NULL; i++) {
		assert_ptr_equal(rec_info(rec_at(i)->type), rec_at(i));
		assert_string_equal(rec_name(rec_at(i)->type), rec_at(i)->name);
		for (unsigned int k = 0; k < i; k++)
			assert_string_not_equal(rec_at(k)->name, rec_at(i)->name);
	}
	assert_null(rec_info(0));
	assert_string_equal(rec_name(0x7fffffff), "?");
}

static void bodies_fit_the_buffers_that_are_made_for_them(void **state)
{
	(void)state;
	for (unsigned int i = 0; rec_at(i) != NULL; i++) {
		const struct rec_info *info = rec_at(i);

		assert_in_range(info->fixed_bytes, 0, info->body_bytes_max);
		if (info->connection == WIRE_CONTROL)
			assert_in_range(info->body_bytes_max, 0, REC_CONTROL_BODY_MAX);
		else
			assert_in_range(info->fixed_bytes, 0, REC_BULK_FIXED_MAX);
	}
	assert_int_equal(rec_padding(0), 0);
	assert_int_equal(rec_padding(1), 7);
	assert_int_equal(rec_padding(8), 0);
	assert_int_equal(rec_padding(UINT32_MAX), 1);
}

/* Section 4.1 (c), 4.2 and the last sentence of 4.3, for every type. */
static void headers_are_checked_before_anything_is_read(void **state)
{
	(void)state;
	for (unsigned int i = 0; rec_at(i) != NULL; i++) {
		const struct rec_info *info = rec_at(i);
		struct rec_header header = { info->type, info->fixed_bytes };
		uint32_t other = info->connection == WIRE_CONTROL ? WIRE_BULK : WIRE_CONTROL;

		for (uint32_t direction = WIRE_TO_TARGET; direction <= WIRE_TO_SOURCE;
		     direction++) {
			uint32_t by = direction == WIRE_TO_TARGET ? REC_BY_SOURCE : REC_BY_TARGET;
			int want = (info->senders & by) != 0 ? 0 : -EPROTO;
			const char *why = NULL;

			header.length = info->fixed_bytes;
			assert_int_equal(
				rec_header_check(&header, info->connection, direction, &why), want);
			assert_true((why != NULL) == (want != 0));
			assert_int_equal(rec_header_check(&header, other, direction, NULL),
					 -EPROTO);
			if (want != 0)
				continue;
			header.length = info->body_bytes_max;
			assert_int_equal(
				rec_header_check(&header, info->connection, direction, NULL), 0);
			header.length = info->body_bytes_max + 1;
			assert_int_equal(
				rec_header_check(&header, info->connection, direction, NULL),
				-EMSGSIZE);
			header.length = info->fixed_bytes - 1; /* of 0: far too long */
			assert_int_equal(
				rec_header_check(&header, info->connection, direction, NULL),
				-EMSGSIZE);
		}
	}
}

static void unknown_records_fail_unless_they_may_be_skipped(void **state)
{
	static const struct {
		struct rec_header header;
		int want;
	} rows[] = {
		{ { 0, 0 }, -EPROTO },
		{ { REC_SKIPPABLE, 0 }, -EPROTO },
		{ { 0x23, 8 }, -EPROTO },
		{ { 0x7fffffff, 0 }, -EPROTO },
		{ { 0xffffffff, 0 }, 1 },
		{ { REC_SKIPPABLE | REC_HELLO, 440 }, 1 },
		{ { 0x80000099, REC_SKIPPED_BODY_MAX }, 1 },
		{ { 0x80000099, REC_SKIPPED_BODY_MAX + 1 }, -EMSGSIZE },
		{ { 0x80000099, UINT32_MAX }, -EMSGSIZE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (uint32_t kind = WIRE_CONTROL; kind <= WIRE_BULK; kind++)
			assert_int_equal(
				rec_header_check(&rows[i].header, kind, WIRE_TO_TARGET, NULL),
				rows[i].want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_record_is_a_row_of_the_specification),
		cmocka_unit_test(names_and_types_are_unique),
		cmocka_unit_test(bodies_fit_the_buffers_that_are_made_for_them),
		cmocka_unit_test(headers_are_checked_before_anything_is_read),
		cmocka_unit_test(unknown_records_fail_unless_they_may_be_skipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
