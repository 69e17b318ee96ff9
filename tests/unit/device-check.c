/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance check of devices, checked: an undamaged simulated device passes, and for each
 * check there is a planted defect of it that makes this check, by its name, not pass.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "check/run.h"

#include "backend/device/sim/defect.h"

#define BASE "sim:state=64K"

/* What a check's device has to be besides, where the check needs it. */
static const char *keys_for(const struct check_row *row)
{
	if (row->needs & CHECK_NEEDS_LESS)
		return ",flags=1";
	if (row->needs & CHECK_NEEDS_NOLOG)
		return ",logging=off";
	return "";
}

static void run(const char *uri, const char *only, uint32_t deadline_ms,
		struct check_report *ret_report)
{
	struct check_options options = {
		.uri = uri, .second_uri = uri, .dangerous = true, .deadline_ms = deadline_ms
	};
	struct hf_error err = { 0 };

	if (only)
		options.only[options.only_count++] = only;
	if (check_run(&options, ret_report, &err) < 0)
		fail_msg("%s: %s", uri, err.text);
}

static uint32_t row_of(const char *name)
{
	for (uint32_t i = 0; i < check_row_count; i++)
		if (strcmp(check_rows[i].name, name) == 0)
			return i;
	fail_msg("there is no check %s", name);
	return 0;
}

static void an_undamaged_device_passes_all_checks(void **state)
{
	static const char *const more[] = { "",
					    ",flags=1",
					    ",flags=3",
					    ",flags=5",
					    ",logging=off,data_size=off",
					    ",seed=7",
					    ",state=4K",
					    ",state=1M,latency_us=50" };
	/* Which checks passed for at least one of them: all of them did. */
	uint8_t *passed = calloc(check_row_count, 1);

	(void)state;
	assert_non_null(passed);
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		struct check_report report;
		char uri[HF_URI_MAX];

		(void)snprintf(uri, sizeof(uri), BASE "%s", more[i]);
		run(uri, NULL, 0, &report);
		for (uint32_t row = 0; row < check_row_count; row++) {
			const struct check_result *r = &report.results[row];

			if (r->verdict != CHECK_PASS && r->verdict != CHECK_SKIP)
				fail_msg("%s: %s: %s: %s", uri, check_rows[row].name,
					 check_verdict_name(r->verdict), r->text);
			passed[row] |= r->verdict == CHECK_PASS;
		}
		assert_false(report.hung);
		check_report_done(&report);
	}
	for (uint32_t row = 0; row < check_row_count; row++)
		if (!passed[row])
			fail_msg("%s was never asked", check_rows[row].name);
	free(passed);
}

static void every_check_is_tripped_by_its_planted_defect(void **state)
{
	uint32_t wrong = 0;

	(void)state;
	assert_true(check_row_count >= 60);
	for (uint32_t row = 0; row < check_row_count; row++) {
		const char *name = check_rows[row].name;
		struct check_report report;
		char uri[HF_URI_MAX];

		if (!sim_defect_find(name)) {
			print_error("%s: no defect is planted for it\n", name);
			wrong++;
			continue;
		}
		(void)snprintf(uri, sizeof(uri), BASE "%s,defect=%s", keys_for(&check_rows[row]),
			       name);
		run(uri, name, 0, &report);
		if (report.results[row].verdict !=
		    (check_rows[row].level == CHECK_MUST ? CHECK_FAIL : CHECK_WARN)) {
			print_error("%s: its defect gives %s %s\n", name,
				    check_verdict_name(report.results[row].verdict),
				    report.results[row].text);
			wrong++;
		}
		check_report_done(&report);
	}
	assert_int_equal(wrong, 0);
}

/* Names of defects are names of checks, but for one. */
static void every_planted_defect_is_some_checks(void **state)
{
	const struct defect_row *row;

	(void)state;
	for (uint32_t n = 0; (row = sim_defect_nth(n)) != NULL; n++)
		if (strcmp(row->name, "hang.read") != 0)
			(void)row_of(row->name);
}

static void a_damaged_device_does_not_stop_the_other_checks(void **state)
{
	static const char *const bad[] = { "info.state-known",	"arc.legal",
					   "save.something",	"save.read-bounds",
					   "reset.works",	"reset.everywhere",
					   "load.write-bounds", "arc.access-stopped" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct check_report report;
		char uri[HF_URI_MAX];

		(void)snprintf(uri, sizeof(uri), "sim:state=4K,defect=%s", bad[i]);
		run(uri, NULL, 0, &report);
		assert_int_equal(report.results[row_of(bad[i])].verdict,
				 check_rows[row_of(bad[i])].level == CHECK_MUST ? CHECK_FAIL
										: CHECK_WARN);
		assert_int_equal(report.verdicts[CHECK_NOT_RUN], 0);
		assert_true(report.verdicts[CHECK_PASS] > 10);
		check_report_done(&report);
	}
}

static void an_operation_that_does_not_return_is_found_and_named(void **state)
{
	struct check_report report;
	const uint32_t row = row_of("save.something");

	(void)state;
	run(BASE ",defect=hang.read", "save", 1000, &report);
	assert_true(report.hung);
	assert_int_equal(report.results[row].verdict, CHECK_FAIL);
	assert_non_null(strstr(report.results[row].text, "not returned"));
	assert_int_equal(report.results[row + 1].verdict, CHECK_SKIP);
	assert_int_equal(report.results[row_of("load.identity")].verdict, CHECK_NOT_RUN);
	check_report_done(&report);
}

static void a_known_quirk_is_neither_passed_nor_failed(void **state)
{
	const uint32_t row = row_of("precopy.temporary-end");
	struct check_report report;

	(void)state;
	run(BASE ",model=hisi_acc,defect=precopy.temporary-end", "precopy", 0, &report);
	assert_int_equal(report.results[row].verdict, CHECK_QUIRK);
	assert_string_equal(report.results[row].quirk, "hisi/temporary-end");
	assert_int_equal(report.verdicts[CHECK_FAIL], 0);
	check_report_done(&report);

	/* A device that has mended it passes. */
	run(BASE ",model=hisi_acc", "precopy", 0, &report);
	assert_int_equal(report.results[row].verdict, CHECK_PASS);
	check_report_done(&report);
}

static void every_known_quirk_is_of_a_check(void **state)
{
	const struct hf_device_info mtty = { .vendor_id = 0x4348, .device_id = 0x3253 };
	const struct hf_device_info other = { .vendor_id = 0x4348, .compat = "sim-1/basic/4096" };

	(void)state;
	for (uint32_t i = 0; i < check_quirk_count; i++)
		(void)row_of(check_quirks[i].check);
	assert_non_null(check_quirk_of(&mtty, "precopy.temporary-end"));
	assert_null(check_quirk_of(&mtty, "arc.legal"));
	assert_null(check_quirk_of(&other, "precopy.temporary-end"));
}

static void dangerous_checks_are_only_run_when_they_are_asked_for(void **state)
{
	const struct check_options options = { .uri = BASE, .only = { "arc" }, .only_count = 1 };
	struct check_report report;
	struct hf_error err = { 0 };

	(void)state;
	assert_int_equal(check_run(&options, &report, &err), 0);
	assert_int_equal(report.results[row_of("arc.stop-copy-to-pre-copy")].verdict, CHECK_SKIP);
	assert_non_null(
		strstr(report.results[row_of("arc.stop-copy-to-pre-copy")].text, "--dangerous"));
	assert_int_equal(report.results[row_of("arc.legal")].verdict, CHECK_PASS);
	check_report_done(&report);
}

/* All of a file, or "". */
static char *text_of(FILE *file)
{
	char *text = NULL;
	size_t size = 0, n;

	rewind(file);
	do {
		text = realloc(text, size + 65537);
		assert_non_null(text);
		n = fread(text + size, 1, 65536, file);
		size += n;
	} while (n);
	text[size] = 0;
	return text;
}

static void the_document_has_the_list_of_checks_and_quirks(void **state)
{
	FILE *document = fopen(DEVICE_CHECK_MD, "re"), *list = tmpfile();
	char *text, *wanted;

	(void)state;
	assert_true(document && list);
	check_print_list(list);
	text = text_of(document);
	wanted = text_of(list);
	if (!strstr(text, wanted))
		fail_msg("docs/device-check.md does not have what check --list prints");
	for (uint32_t i = 0; i < check_quirk_count; i++) {
		char line[256];

		(void)snprintf(line, sizeof(line), "| `%s` | `%s` | %s |\n", check_quirks[i].name,
			       check_quirks[i].check, check_quirks[i].text);
		if (!strstr(text, line))
			fail_msg("docs/device-check.md does not have: %s", line);
	}
	free(text);
	free(wanted);
	(void)fclose(document);
	(void)fclose(list);
}

/* ---- a host that is short of memory -------------------------------------------------------- */

static bool no_mappings;

/* Linked in front of the C library's (-Wl,--wrap), which is called so with 64-bit offsets. */
void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);

void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	if (no_mappings) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return __real_mmap64(at, size, protection, flags, fd, offset);
}

static uint32_t descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	uint32_t count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	(void)closedir(folder);
	return count;
}

/* Nothing of it stays that the next attempt could take for memory, and that one may succeed. */
static void memory_that_cannot_be_mapped_is_told(void **state)
{
	struct check *c = calloc(1, sizeof(*c));
	struct hf_error err = { 0 };
	uint32_t before;

	(void)state;
	assert_non_null(c);
	c->options.uri = BASE;
	before = descriptors();
	for (int i = 0; i < 2; i++) {
		no_mappings = true;
		assert_false(check_attach(c, &err));
		no_mappings = false;
		assert_int_equal(err.code, HF_E_SYSTEM);
		assert_int_equal(err.cause, ENOMEM);
		assert_null(c->ram);
		assert_null(c->peer);
		assert_int_equal(descriptors(), before);
	}
	assert_true(check_attach(c, &err));
	c->ram[CHECK_RAM_SIZE - 1] = c->peer[CHECK_PEER_SIZE - 1] = 1;
	check_detach(c);
	check_memory_free(c);
	assert_int_equal(descriptors(), before);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_undamaged_device_passes_all_checks),
		cmocka_unit_test(every_check_is_tripped_by_its_planted_defect),
		cmocka_unit_test(every_planted_defect_is_some_checks),
		cmocka_unit_test(a_damaged_device_does_not_stop_the_other_checks),
		cmocka_unit_test(an_operation_that_does_not_return_is_found_and_named),
		cmocka_unit_test(a_known_quirk_is_neither_passed_nor_failed),
		cmocka_unit_test(every_known_quirk_is_of_a_check),
		cmocka_unit_test(dangerous_checks_are_only_run_when_they_are_asked_for),
		cmocka_unit_test(the_document_has_the_list_of_checks_and_quirks),
		cmocka_unit_test(memory_that_cannot_be_mapped_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
