/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance check over vfio-user: a simulated device that is served gives the same verdict on
 * every check as the same device in this process, and what is wrong with one is found through the
 * socket as well.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "check/run.h"

#include "device-served.h"

static void run(const char *uri, const char *only, struct check_report *ret_report)
{
	struct check_options options = { .uri = uri, .dangerous = true };
	struct hf_error err = { 0 };

	if (only)
		options.only[options.only_count++] = only;
	if (check_run(&options, ret_report, &err) < 0)
		fail_msg("%s: %s", uri, err.text);
}

static void run_served(const char *model, const char *keys, const char *only,
		       struct check_report *ret_report)
{
	struct served s;
	char uri[HF_URI_MAX];

	served_start(&s, model);
	(void)snprintf(uri, sizeof(uri), "vfio-user:%s%s", s.path, keys);
	run(uri, only, ret_report);
	served_stop(&s);
}

static void compare(const char *model, const char *keys)
{
	struct check_report here, there;

	run(model, NULL, &here);
	run_served(model, keys, NULL, &there);
	for (uint32_t row = 0; row < check_row_count; row++)
		if (here.results[row].verdict != there.results[row].verdict)
			fail_msg("%s: %s: %s in this process, %s over vfio-user%s: %s", model,
				 check_rows[row].name,
				 check_verdict_name(here.results[row].verdict),
				 check_verdict_name(there.results[row].verdict), keys,
				 there.results[row].text);
	assert_int_equal(there.verdicts[CHECK_FAIL] + there.verdicts[CHECK_WARN], 0);
	assert_true(there.verdicts[CHECK_PASS] > 80);
	check_report_done(&here);
	check_report_done(&there);
}

static void a_served_device_is_judged_as_it_is_in_process(void **state)
{
	static const char *const models[] = { "sim:state=64K", "sim:state=64K,flags=1",
					      "sim:state=64K,flags=5,data_size=off,seed=7" };

	(void)state;
	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
		compare(models[i], "");
}

static void messages_and_a_single_socket_make_no_difference(void **state)
{
	(void)state;
	compare("sim:state=64K", ",dma=messages");
	compare("sim:state=64K", ",dma=messages,twin=off,xfer=4096");
}

static void what_is_wrong_is_found_through_the_socket(void **state)
{
	static const char *const defects[] = { "arc.quiet-in-stop", "load.empty-refused",
					       "hostile.appended",  "hostile.truncated",
					       "log.complete",	    "log.report-clears",
					       "reset.works",	    "precopy.initial-bytes" };

	(void)state;
	for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++) {
		struct check_report report;
		char model[HF_URI_MAX];
		uint32_t failed = 0;

		(void)snprintf(model, sizeof(model), "sim:state=64K,defect=%s", defects[i]);
		run_served(model, "", defects[i], &report);
		for (uint32_t row = 0; row < check_row_count; row++)
			failed += strcmp(check_rows[row].name, defects[i]) == 0 &&
				  report.results[row].verdict == CHECK_FAIL;
		if (!failed)
			fail_msg("%s is not found", defects[i]);
		check_report_done(&report);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_served_device_is_judged_as_it_is_in_process),
		cmocka_unit_test(messages_and_a_single_socket_make_no_difference),
		cmocka_unit_test(what_is_wrong_is_found_through_the_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
