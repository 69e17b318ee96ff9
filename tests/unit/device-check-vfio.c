/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance check through the backend of the kernel's devices: a kernel whose devices are
 * sound passes by group and by cdev, and what its drivers do wrong is found through the backend as
 * well.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "check/run.h"

#include "vfio-kernel.h"

static const char *const groups[] = { "info",	 "arc",	  "save", "precopy", "load",
				      "hostile", "reset", "log",  "dma",     "limits" };

static void begin(const char *keys)
{
	memset(&kernel, 0, sizeof(kernel));
	kernel.devices[0] = (struct kernel_device){
		.address = "0000:17:00.1", .group = "12", .driver = "fake-vfio-pci", .keys = keys
	};
}

static void run(const char *uri, struct check_report *ret_report)
{
	struct check_options options = { .uri = uri };
	struct hf_error err = { 0 };

	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		options.only[options.only_count++] = groups[i];
	kernel_start();
	if (check_run(&options, ret_report, &err) < 0)
		fail_msg("%s: %s", uri, err.text);
	kernel_end(); /* fails if a descriptor is left */
}

static const struct check_result *result_of(const struct check_report *report, const char *name)
{
	for (uint32_t i = 0; i < check_row_count; i++)
		if (strcmp(check_rows[i].name, name) == 0)
			return &report->results[i];
	fail_msg("there is no check %s", name);
	return NULL;
}

static void a_sound_kernel_device_passes_by_group_and_by_cdev(void **state)
{
	static const char *const paths[] = { "group", "cdev" };
	static const char *const keys[] = { "state=64K,flags=7", "state=64K,flags=5",
					    "state=64K,flags=3", "state=64K,flags=1" };

	(void)state;
	for (size_t p = 0; p < sizeof(paths) / sizeof(paths[0]); p++)
		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
			struct check_report report;
			char uri[HF_URI_MAX];

			(void)snprintf(uri, sizeof(uri), "vfio:0000:17:00.1,path=%s", paths[p]);
			begin(keys[k]);
			run(uri, &report);
			for (uint32_t row = 0; row < check_row_count; row++) {
				const struct check_result *r = &report.results[row];

				if (r->verdict == CHECK_FAIL || r->verdict == CHECK_WARN)
					fail_msg("%s, %s: %s: %s: %s", paths[p], keys[k],
						 check_rows[row].name,
						 check_verdict_name(r->verdict), r->text);
			}
			assert_true(report.verdicts[CHECK_PASS] > 80);
			assert_int_equal(kernel.devices[0].lockups, 0);
			check_report_done(&report);
		}
}

static void what_a_driver_does_wrong_is_found_through_the_backend(void **state)
{
	struct check_report report;

	(void)state;
	begin("state=64K");
	kernel.devices[0].forgives_writes = 1;
	run("vfio:0000:17:00.1", &report);
	assert_int_equal(result_of(&report, "hostile.truncated")->verdict, CHECK_FAIL);
	check_report_done(&report);

	begin("state=64K");
	kernel.devices[0].begins_in = HF_DEVICE_STOP_COPY;
	run("vfio:0000:17:00.1", &report);
	assert_int_equal(result_of(&report, "arc.legal")->verdict, CHECK_PASS);
	check_report_done(&report);

	begin("state=64K");
	kernel.devices[0].fail_from = HF_DEVICE_RESUMING;
	kernel.devices[0].fail_to = HF_DEVICE_STOP;
	kernel.devices[0].fail_times = UINT32_MAX;
	kernel.devices[0].fail_errno = EIO;
	run("vfio:0000:17:00.1", &report);
	assert_int_equal(result_of(&report, "load.identity")->verdict, CHECK_FAIL);
	assert_non_null(strstr(result_of(&report, "load.identity")->text, "EIO"));
	assert_int_equal(result_of(&report, "save.split")->verdict, CHECK_PASS);
	check_report_done(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sound_kernel_device_passes_by_group_and_by_cdev),
		cmocka_unit_test(what_a_driver_does_wrong_is_found_through_the_backend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
