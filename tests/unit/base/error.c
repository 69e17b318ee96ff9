/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of codes, and how the story of a failure is built: lib/base/error.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <holdfast/version.h>

#include "base/error.h"

/* All bytes behind the NUL are zero: the struct travels whole. */
static void assert_tail_is_zero(const struct hf_error *err)
{
	size_t length = strnlen(err->text, sizeof(err->text));

	assert_true(length < sizeof(err->text));
	for (size_t i = length; i < sizeof(err->text); i++)
		assert_int_equal(err->text[i], 0);
}

static void test_codes_are_told_apart_and_found_by_name(void **state)
{
	unsigned int count = 0;

	(void)state;
	for (int code; (code = hf_error_at(count)) != 0; count++) {
		char name[64];

		assert_true(code < -4095); /* below every errno */
		for (unsigned int i = 0; i < count; i++)
			assert_int_not_equal(hf_error_at(i), code);
		assert_int_equal(hf_error_from_name(hf_error_name(code)), code);
		(void)snprintf(name, sizeof(name), "HF_E_%s", hf_error_name(code));
		assert_int_equal(hf_error_from_name(name), code);
		assert_true(strlen(hf_error_explain(code)) > 10);
		assert_string_not_equal(hf_error_class_name(hf_error_class(code)), "?");
	}
	assert_true(count >= 30);
	assert_int_equal(hf_error_at(count + 1), 0);
	assert_int_equal(hf_error_at(UINT32_MAX), 0);
}

static void test_numbers_of_the_protocol_do_not_change(void **state)
{
	(void)state;
	assert_int_equal(HF_E_INVALID, -4101);
	assert_int_equal(HF_E_CONNECTION_LOST, -4121);
	assert_int_equal(HF_E_PROTOCOL, -4140);
	assert_int_equal(HF_E_DEVICE_STATE, -4160);
	assert_int_equal(HF_E_LEDGER_UNKNOWN, -4181);
	assert_int_equal(HF_E_BUG, -4199);
}

static void test_the_class_says_whose_failure_it_is(void **state)
{
	(void)state;
	assert_int_equal(hf_error_class(HF_E_DEADLINE), HF_CLASS_RETRY);
	assert_int_equal(hf_error_class(HF_E_STREAM_DAMAGED), HF_CLASS_PEER);
	assert_int_equal(hf_error_class(HF_E_DEVICE_STATE), HF_CLASS_DEVICE);
	assert_int_equal(hf_error_class(HF_E_NO_MEMORY), HF_CLASS_LOCAL);
	assert_int_equal(hf_error_class(HF_E_LEDGER_REFUSED), HF_CLASS_LEDGER);
}

static void test_an_errno_that_nobody_judged_is_a_bug(void **state)
{
	(void)state;
	assert_int_equal(hf_error_class(-EBUSY), HF_CLASS_BUG);
	assert_string_equal(hf_error_name(-EBUSY), "?");
	assert_non_null(hf_error_explain(-EBUSY));
	assert_string_equal(hf_error_name(0), "OK");
	assert_int_equal(hf_error_from_name("NO_SUCH_CODE"), 0);
	assert_int_equal(hf_error_from_name(""), 0);
	assert_int_equal(hf_error_from_name("HF_E_"), 0);
}

static void test_the_cause_has_its_words(void **state)
{
	struct hf_error err;

	(void)state;
	memset(&err, 0xaa, sizeof(err));
	error_clear(&err);
	assert_int_equal(error_set(&err, HF_E_DEVICE_STATE, EBUSY, "set %s", "STOP_COPY"),
			 HF_E_DEVICE_STATE);
	assert_int_equal(err.code, HF_E_DEVICE_STATE);
	assert_int_equal(err.cause, EBUSY);
	assert_string_equal(err.text, "set STOP_COPY: Device or resource busy (errno 16)");
	assert_tail_is_zero(&err);
}

static void test_the_first_failure_wins(void **state)
{
	struct hf_error err = { 0 };

	(void)state;
	(void)error_set(&err, HF_E_DEVICE_DATA, EIO, "first");
	assert_int_equal(error_set(&err, HF_E_BUG, 0, "second"), HF_E_DEVICE_DATA);
	assert_int_equal(err.code, HF_E_DEVICE_DATA);
	assert_int_equal(strncmp(err.text, "first", 5), 0);
}

static void test_outer_calls_put_their_words_in_front(void **state)
{
	struct hf_error err = { 0 };

	(void)state;
	(void)error_set(&err, HF_E_DEVICE_STATE, 0, "RESUMING -> STOP");
	assert_int_equal(error_prepend(&err, "device %d (%s)", 3, "0000:17:00.1"),
			 HF_E_DEVICE_STATE);
	assert_string_equal(err.text, "device 3 (0000:17:00.1): RESUMING -> STOP");
	assert_tail_is_zero(&err);
}

/* Texts of every length around the limit, with and without words in front. */
static void test_texts_are_cut_at_the_limit_and_end(void **state)
{
	char text[HF_ERROR_TEXT_MAX + 8];

	(void)state;
	for (size_t length = HF_ERROR_TEXT_MAX - 4; length < sizeof(text); length++) {
		size_t kept = length < HF_ERROR_TEXT_MAX - 1 ? length : HF_ERROR_TEXT_MAX - 1;
		struct hf_error err = { 0 };

		memset(text, 'x', sizeof(text));
		text[length] = 0;
		(void)error_set(&err, HF_E_SYSTEM, 0, "%s", text);
		assert_int_equal(strlen(err.text), kept);
		(void)error_prepend(&err, "%s", "outer");
		assert_int_equal(strlen(err.text), HF_ERROR_TEXT_MAX - 1);
		assert_int_equal(strncmp(err.text, "outer: xxx", 10), 0);
		assert_tail_is_zero(&err);

		error_clear(&err);
		(void)error_set(&err, HF_E_SYSTEM, EIO, "%s", text);
		assert_tail_is_zero(&err);
		(void)error_prepend(&err, "%s", text);
		assert_tail_is_zero(&err);
	}
}

static void test_a_failure_without_a_reason_is_one_all_the_same(void **state)
{
	struct hf_error empty = { 0 }, err = { 0 };

	(void)state;
	error_copy(&err, &empty);
	assert_int_equal(err.code, HF_E_BUG);
	assert_true(err.text[0] != 0);
	error_copy(&err, NULL);
	assert_int_equal(err.code, HF_E_BUG);
	(void)error_set(&empty, HF_E_CANCELLED, 0, "why");
	error_copy(&err, &empty);
	assert_memory_equal(&err, &empty, sizeof(err));
}

static void test_nobody_has_to_ask_for_the_story(void **state)
{
	(void)state;
	assert_int_equal(error_set(NULL, HF_E_SYSTEM, EIO, "%d", 1), HF_E_SYSTEM);
	assert_int_equal(error_prepend(NULL, "%d", 1), HF_E_BUG);
	error_copy(NULL, NULL);
	error_clear(NULL);
}

static void test_the_version_is_the_headers(void **state)
{
	char text[32];

	(void)state;
	assert_string_equal(hf_version(), HF_VERSION_TEXT);
	(void)snprintf(text, sizeof(text), "%d.%d.", HF_VERSION_MAJOR, HF_VERSION_MINOR);
	assert_int_equal(strncmp(HF_VERSION_TEXT, text, strlen(text)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codes_are_told_apart_and_found_by_name),
		cmocka_unit_test(test_numbers_of_the_protocol_do_not_change),
		cmocka_unit_test(test_the_class_says_whose_failure_it_is),
		cmocka_unit_test(test_an_errno_that_nobody_judged_is_a_bug),
		cmocka_unit_test(test_the_cause_has_its_words),
		cmocka_unit_test(test_the_first_failure_wins),
		cmocka_unit_test(test_outer_calls_put_their_words_in_front),
		cmocka_unit_test(test_texts_are_cut_at_the_limit_and_end),
		cmocka_unit_test(test_a_failure_without_a_reason_is_one_all_the_same),
		cmocka_unit_test(test_nobody_has_to_ask_for_the_story),
		cmocka_unit_test(test_the_version_is_the_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
