/* SPDX-License-Identifier: BSD-3-Clause */
/* The grammar of filters: what it means, and that what is wrong is named. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backend/filter/filter.h"

static struct filter_spec parse(const char *text)
{
	struct filter_spec spec;
	struct hf_error err = { 0 };

	if (filter_spec_parse(text, &spec, &err) < 0)
		fail_msg("%s", err.text);
	return spec;
}

static void specifications_mean_what_they_say(void **state)
{
	struct filter_spec s;

	(void)state;
	s = parse("fault:device.set_state=RESUMING:3");
	assert_int_equal(s.object, FILTER_DEVICE);
	assert_int_equal(s.op, DEVICE_OP_SET_STATE);
	assert_true(s.has_state && s.state == HF_DEVICE_RESUMING && !s.has_index && !s.is_delay);
	assert_true(s.first == 3 && s.last == 3 && s.error == EIO && s.actions == 0);

	s = parse("fault:device[2].reset:1+:EBUSY:noreset");
	assert_true(s.has_index && s.index == 2 && s.op == DEVICE_OP_RESET);
	assert_true(s.first == 1 && s.last == FILTER_CALLS_FOREVER && s.error == EBUSY);
	assert_int_equal(s.actions, FILTER_NORESET);

	s = parse("fault:device.read_data=STOP_COPY:2:flip");
	assert_true(s.state == HF_DEVICE_STOP_COPY && s.actions == FILTER_FLIP);
	s = parse("fault:device.get_state:*:error:after");
	assert_true(s.first == 1 && s.last == FILTER_CALLS_FOREVER);
	assert_int_equal(s.actions, FILTER_ERROR | FILTER_AFTER);
	assert_int_equal(parse("fault:device.set_state:1:stay").actions, 0);

	s = parse("fault:channel[control].send:5:close");
	assert_true(s.object == FILTER_CHANNEL && !strcmp(s.role, "control") &&
		    s.actions == FILTER_CLOSE);
	s = parse("fault:channel[3].recv:1:flip");
	assert_true(s.has_index && s.index == 3 && s.op == CHANNEL_OP_RECV);
	s = parse("fault:ledger.swap=CLAIMED:1:after:ETIMEDOUT");
	assert_true(s.state == HF_LEDGER_CLAIMED && s.error == ETIMEDOUT);
	assert_int_equal(parse("fault:memory.dirty_sync:1").op, MEMORY_OP_DIRTY_SYNC);
	assert_int_equal(parse("fault:machine.device_load:1:ENOMEM").op, MACHINE_OP_DEVICE_LOAD);

	s = parse("delay:device[0].set_state=STOP_COPY:60000");
	assert_true(s.is_delay && s.delay_ms == 60000 && s.has_state && s.has_index);
	assert_int_equal(parse("delay:channel.send:0").delay_ms, 0);
	assert_int_equal(parse("fault:device.reset:4294967295").first, UINT32_MAX);
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *spec, *part;
	} wrong[] = {
		{ "", "KIND:OBJECT.OP:NUMBER" },
		{ "fault", "fault" },
		{ "fault:device.reset", "KIND:OBJECT.OP:NUMBER" },
		{ "break:device.reset:1", "\"break\"" },
		{ "fault:devices.reset:1", "\"devices\"" },
		{ "fault:device:1", "\"device\"" },
		{ "fault:device.:1", "\"\"" },
		{ "fault:.reset:1", "\"\"" },
		{ "fault:device.close:1", "\"close\"" },
		{ "fault:device[x].reset:1", "\"x\"" },
		{ "fault:device[].reset:1", "\"\"" },
		{ "fault:device[33].reset:1", "\"33\"" },
		{ "fault:device[1.reset:1", "no ] behind \"1\"" },
		{ "fault:device[control].reset:1", "\"control\"" },
		{ "fault:machine[0].run:1", "\"0\"" },
		{ "fault:device.set_state=NOWHERE:1", "\"NOWHERE\"" },
		{ "fault:device.set_state=ERROR:1", "\"ERROR\"" },
		{ "fault:machine.run=STOP:1", "\"STOP\"" },
		{ "fault:ledger.read=HOME:1", "\"HOME\"" },
		{ "fault:ledger.swap=:1", "\"\"" },
		{ "fault:device.reset:0", "\"0\"" },
		{ "fault:device.reset:", "\"\"" },
		{ "fault:device.reset:+", "\"\"" },
		{ "fault:device.reset:-1", "\"-1\"" },
		{ "fault:device.reset:4294967296", "\"4294967296\"" },
		{ "fault:device.reset:1:ENOSUCH", "\"ENOSUCH\"" },
		{ "fault:device.reset:1:", "\"\"" },
		{ "fault:device.reset:1:flip", "\"flip\"" },
		{ "fault:device.read_data:1:close", "\"close\"" },
		{ "fault:device.read_data:1:cut:flip", "go together" },
		{ "fault:device.read_data:1:cut:error", "go together" },
		{ "fault:channel.send:1:flip", "\"flip\"" },
		{ "fault:machine.run:1:after", "\"after\"" },
		{ "delay:device.reset:60001", "\"60001\"" },
		{ "delay:device.reset:1:after", "\"after\"" },
		{ "delay:device.reset:1s", "\"1s\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct filter_spec spec = { .op = 99 };
		struct hf_error err = { 0 };

		if (filter_spec_parse(wrong[i].spec, &spec, &err) != HF_E_INVALID)
			fail_msg("taken: %s", wrong[i].spec);
		if (!strstr(err.text, wrong[i].part))
			fail_msg("%s: %s", wrong[i].spec, err.text);
		assert_int_equal(spec.op, 99);
	}
}

static void a_specification_has_a_limit(void **state)
{
	char text[FILTER_SPEC_MAX + 1];
	struct filter_spec spec;

	(void)state;
	memset(text, 0, sizeof(text));
	memset(text, 'x', FILTER_SPEC_MAX);
	assert_int_equal(filter_spec_parse(text, &spec, NULL), HF_E_INVALID);
	assert_int_equal(filter_spec_parse(NULL, &spec, NULL), HF_E_INVALID);
}

static void a_set_has_a_limit(void **state)
{
	struct hf_filters *filters = NULL;

	(void)state;
	assert_int_equal(hf_filters_new(&filters, NULL), 0);
	for (uint32_t i = 0; i < FILTERS_MAX; i++)
		assert_int_equal(hf_filters_add(filters, "fault:device.reset:1", NULL), 0);
	assert_int_equal(hf_filters_add(filters, "fault:device.reset:1", NULL), HF_E_INVALID);
	assert_null(hf_filters_free(filters));
	assert_null(hf_filters_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(specifications_mean_what_they_say),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(a_specification_has_a_limit),
		cmocka_unit_test(a_set_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
