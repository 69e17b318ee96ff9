/* SPDX-License-Identifier: BSD-3-Clause */
/* What the checker says while nobody reads its console: the end of it must not be what is missing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "work.h"

static uint64_t ticks(void *ctx)
{
	(void)ctx;
	return 1000;
}

static const struct work_env env = { .ticks = ticks };

static struct work *new_work(void)
{
	struct work *work = calloc(1, sizeof(*work));

	assert_non_null(work);
	work->shared = calloc(1, sizeof(*work->shared));
	assert_non_null(work->shared);
	work->env = &env;
	work->shared->ticks_per_ms = 1;
	return work;
}

static void done(struct work *work)
{
	free(work->shared);
	free(work);
}

static int says(const struct work *work, const char *text)
{
	return memmem(work->shared->console, work->shared->console_used, text, strlen(text)) !=
	       NULL;
}

static void test_a_full_console_still_takes_the_verdict_and_the_end(void **state)
{
	struct work *work = new_work();
	uint32_t lines = 0;

	(void)state;
	while (work_report(work, NULL))
		lines++;
	assert_true(lines > 1);
	assert_true(work_report(work, "checker: VERDICT clean"));
	assert_true(work_report(work, "checker: done clean"));
	assert_true(says(work, "checker: VERDICT clean"));
	assert_true(says(work, "checker: done clean"));
	done(work);
}

static void test_a_full_console_still_takes_the_count_of_what_is_corrupt(void **state)
{
	struct work *work = new_work();

	(void)state;
	while (work_report(work, NULL))
		;
	work->shared->corrupt_count = 1000;
	work_report_corrupt(work);
	assert_true(says(work, "checker: stopped CORRUPT errors=1000 pass=0\n"));
	done(work);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_full_console_still_takes_the_verdict_and_the_end),
		cmocka_unit_test(test_a_full_console_still_takes_the_count_of_what_is_corrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
