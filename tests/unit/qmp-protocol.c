/* SPDX-License-Identifier: BSD-3-Clause */
/* QMP as bytes and messages (vmm/qmp.c): what is cut, what is refused, and how it goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/qmp.h"

static struct qmp_parser parser;

static int setup(void **state)
{
	(void)state;
	qmp_parser_init(&parser);
	return 0;
}

/* Push text, count its messages and refusals. */
static void push(const char *text, size_t length, size_t chunk, int *ret_good, int *ret_bad)
{
	*ret_good = 0;
	*ret_bad = 0;
	while (length > 0) {
		size_t piece = length < chunk ? length : chunk;
		const char *reason;
		json_t *message;
		size_t used = qmp_parser_push(&parser, text, piece, &message, &reason);

		assert_true(used <= piece);
		*ret_good += message != NULL;
		*ret_bad += reason != NULL;
		assert_false(message && reason);
		json_decref(message);
		text += used;
		length -= used;
		assert_true(used > 0 || reason); /* it gets on */
	}
}

static void expect(const char *text, int good, int bad)
{
	const size_t chunks[] = { 1, 2, 7, SIZE_MAX };

	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		int now_good, now_bad;

		push(text, strlen(text), chunks[i], &now_good, &now_bad);
		assert_int_equal(now_good, good);
		assert_int_equal(now_bad, bad);
	}
}

static void messages_may_be_split_and_joined(void **state)
{
	(void)state;
	expect("{\"execute\":\"a\"}{\"execute\":\"b\"}\r\n [1,{}] ", 3, 0);
	expect("{\"a\":\"}{][\\\"\"}\n", 1, 0);
}

static void strings_in_single_quotes_are_taken(void **state)
{
	const char text[] = "{'a': 'it\\'s \"b\"'}";
	const char *reason;
	json_t *message;

	(void)state;
	assert_int_equal(qmp_parser_push(&parser, text, strlen(text), &message, &reason),
			 strlen(text));
	assert_non_null(message);
	assert_string_equal(json_string_value(json_object_get(message, "a")), "it's \"b\"");
	json_decref(message);
}

static void what_is_malformed_is_refused_and_the_next_is_read(void **state)
{
	(void)state;
	expect("{\"a\":}{}", 1, 1);
	expect("}{}", 1, 1);
	expect("{\"a\"]{}", 1, 1);
	expect("{\"a\": \"cut\n{}", 1, 1);
	expect("{\"a\": 1, \"a\": 2}{}", 1, 1);
	expect("word {}", 1, 1);
	expect("word{}", 1, 1);
	expect("{\"open\": [\xff{}", 1, 1);
	expect("\xff\xff{}", 1, 0);
	expect("{\"a\": \"\xc3\x28\"}{}", 1, 1);
	expect("{\"a\": 99999999999999999999}{}", 1, 1);
}

static void a_message_has_a_limit(void **state)
{
	const size_t extra[] = { 0, 1, 5000 };

	(void)state;
	for (size_t i = 0; i < sizeof(extra) / sizeof(extra[0]); i++) {
		size_t length = QMP_MESSAGE_MAX + extra[i];
		char *text = malloc(length + 2);
		int good, bad;

		assert_non_null(text);
		memset(text, 'x', length);
		memcpy(text, "{\"a\":\"", 6);
		memcpy(text + length - 2, "\"}", 2);
		memcpy(text + length, "{}", 2);
		push(text, length + 2, 4096, &good, &bad);
		assert_int_equal(good, extra[i] ? 1 : 2);
		assert_int_equal(bad, extra[i] ? 1 : 0);
		free(text);
	}
}

static void nesting_has_a_limit(void **state)
{
	char text[4 * QMP_DEPTH_MAX];
	int good, bad;

	(void)state;
	memset(text, '[', QMP_DEPTH_MAX);
	memset(text + QMP_DEPTH_MAX, ']', QMP_DEPTH_MAX);
	push(text, 2 * QMP_DEPTH_MAX, 16, &good, &bad);
	assert_int_equal(good, 1);
	assert_int_equal(bad, 0);
	memset(text, '[', QMP_DEPTH_MAX + 1);
	push(text, QMP_DEPTH_MAX + 1, 16, &good, &bad);
	assert_int_equal(good, 0);
	assert_int_equal(bad, 1);
}

/* ---- answers ------------------------------------------------------------------------------- */

static json_t *echo(void *ctx, const json_t *arguments, struct qmp_error *error)
{
	assert_ptr_equal(ctx, &parser);
	if (json_object_get(arguments, "fail"))
		return qmp_fail(error, "as %s", "asked");
	return json_incref((json_t *)(uintptr_t)arguments);
}

static const struct qmp_argument echo_arguments[] = { { "text", QMP_STRING, true },
						      { "number", QMP_NUMBER, false },
						      { "fail", QMP_BOOL, false },
						      { "list", QMP_STRINGS, false },
						      { NULL } };
static const struct qmp_command commands[] = { { "echo", echo_arguments, echo },
					       { NULL, NULL, NULL } };
static const char *const events[] = { "STOP", NULL };
static const struct qmp_table table = { commands, events, &parser };

/* The answer to request as text, to be compared whole. */
static void answers(bool *negotiated, const char *request, const char *wanted)
{
	json_t *message = json_loads(request, JSON_DECODE_ANY, NULL), *answer;
	char *text;

	assert_non_null(message);
	answer = qmp_answer(&table, negotiated, message);
	assert_non_null(answer);
	text = json_dumps(answer, JSON_COMPACT);
	assert_string_equal(text, wanted);
	free(text);
	json_decref(answer);
	json_decref(message);
}

static void nothing_works_before_negotiation_and_that_only_once(void **state)
{
	bool negotiated = false;

	(void)state;
	answers(&negotiated, "{\"execute\":\"echo\",\"id\":1}",
		"{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"Expecting capabilities "
		"negotiation with 'qmp_capabilities'\"},\"id\":1}");
	assert_false(negotiated);
	answers(&negotiated,
		"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"Capability is not available: "
		"this server has none\"}}");
	assert_false(negotiated);
	answers(&negotiated, "{\"execute\":\"qmp_capabilities\",\"id\":{\"x\":[]}}",
		"{\"return\":{},\"id\":{\"x\":[]}}");
	assert_true(negotiated);
	answers(&negotiated, "{\"execute\":\"qmp_capabilities\"}",
		"{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"Capabilities negotiation is "
		"already complete, command ignored\"}}");
}

static void arguments_are_checked_by_name_and_type(void **state)
{
	bool negotiated = true;

	(void)state;
	answers(&negotiated, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"a\"},\"id\":\"i\"}",
		"{\"return\":{\"text\":\"a\"},\"id\":\"i\"}");
	answers(&negotiated, "{\"execute\":\"echo\"}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"Parameter 'text' is "
		"missing\"}}");
	answers(&negotiated, "{\"execute\":\"echo\",\"arguments\":{\"text\":5}}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"Invalid parameter type for "
		"'text', expected: string\"}}");
	answers(&negotiated, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"number\":-1}}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"Invalid parameter type for "
		"'number', expected: a number from 0\"}}");
	answers(&negotiated, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"list\":[1]}}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"Invalid parameter type for "
		"'list', expected: list of strings\"}}");
	answers(&negotiated, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"more\":1}}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"Parameter 'more' is "
		"unexpected\"}}");
	answers(&negotiated, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"fail\":true}}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"as asked\"}}");
}

static void messages_of_the_wrong_shape_are_refused_in_words(void **state)
{
	bool negotiated = true;

	(void)state;
	answers(&negotiated, "[]",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"QMP input must be a JSON "
		"object\"}}");
	answers(&negotiated, "{\"id\":3}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"QMP input lacks member "
		"'execute'\"},\"id\":3}");
	answers(&negotiated, "{\"execute\":3}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"QMP input member 'execute' must "
		"be a string\"}}");
	answers(&negotiated, "{\"execute\":\"echo\",\"arguments\":[]}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"QMP input member 'arguments' "
		"must be an object\"}}");
	answers(&negotiated, "{\"execute\":\"echo\",\"extra\":1}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"QMP input member 'extra' is "
		"unexpected\"}}");
	answers(&negotiated, "{\"execute\":\"none\"}",
		"{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"The command none has not "
		"been "
		"found\"}}");
}

static void the_server_lists_itself(void **state)
{
	bool negotiated = true;

	(void)state;
	answers(&negotiated, "{\"execute\":\"query-events\"}",
		"{\"return\":[{\"name\":\"STOP\"}]}");
	answers(&negotiated, "{\"execute\":\"query-commands\"}",
		"{\"return\":[{\"name\":\"qmp_capabilities\"},{\"name\":\"query-commands\"},"
		"{\"name\":\"query-events\"},{\"name\":\"query-version\"},{\"name\":\"echo\"}]}");
	answers(&negotiated, "{\"execute\":\"query-commands\",\"arguments\":{\"a\":1}}",
		"{\"error\":{\"class\":\"GenericError\",\"desc\":\"Parameter 'a' is "
		"unexpected\"}}");
}

static void an_event_has_its_time(void **state)
{
	json_t *event = qmp_event("STOP", NULL, (struct timespec){ 5, 6007000 });
	char *text = json_dumps(event, JSON_COMPACT);

	(void)state;
	assert_string_equal(text, "{\"timestamp\":{\"seconds\":5,\"microseconds\":6007},"
				  "\"event\":\"STOP\"}");
	free(text);
	json_decref(event);
}

static void a_text_that_is_no_utf8_is_still_told(void **state)
{
	json_t *text = qmp_text("cut \xc3");

	(void)state;
	assert_string_equal(json_string_value(text), "cut ?");
	json_decref(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(messages_may_be_split_and_joined, setup),
		cmocka_unit_test_setup(strings_in_single_quotes_are_taken, setup),
		cmocka_unit_test_setup(what_is_malformed_is_refused_and_the_next_is_read, setup),
		cmocka_unit_test_setup(a_message_has_a_limit, setup),
		cmocka_unit_test_setup(nesting_has_a_limit, setup),
		cmocka_unit_test(nothing_works_before_negotiation_and_that_only_once),
		cmocka_unit_test(arguments_are_checked_by_name_and_type),
		cmocka_unit_test(messages_of_the_wrong_shape_are_refused_in_words),
		cmocka_unit_test(the_server_lists_itself),
		cmocka_unit_test(an_event_has_its_time),
		cmocka_unit_test(a_text_that_is_no_utf8_is_still_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
