/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Promise P5: nothing is allocated while the guest stands still. Every allocation of the process
 * (both sessions, the simulated devices, the ledger) passes here, and is counted between the stop
 * of the source's vCPUs and the first run on either side.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "session-fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INTERPOSED 0 /* the sanitizer's own allocator stands here */
#else
#define INTERPOSED 1

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

static atomic_uint frozen_allocations, all_allocations;

static void count(void)
{
	atomic_fetch_add(&all_allocations, 1);
	if (atomic_load(&fixture_frozen))
		atomic_fetch_add(&frozen_allocations, 1);
}

void *malloc(size_t size)
{
	count();
	return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
	count();
	return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size)
{
	count();
	return __libc_realloc(memory, size);
}
#endif

static const char *source_record, *target_record; /* config.record */

static void assert_nothing_allocated(const struct pair_config *config)
{
#if INTERPOSED
	struct pair pair;

	atomic_store(&frozen_allocations, 0);
	atomic_store(&all_allocations, 0);
	pair_init(&pair, config);
	pair.source.dirty_pages_per_sync = 100;
	pair.source.dirty_syncs_left = 3;
	pair.source.config.record = source_record;
	pair.target.config.record = target_record;
	pair_run(&pair);
	pair_assert_moved(&pair);
	pair_done(&pair);
	assert_true(atomic_load(&all_allocations) > 10); /* they do pass here */
	assert_int_equal(atomic_load(&frozen_allocations), 0);
#else
	(void)config;
	print_message("skipped: a sanitizer's allocator cannot be counted\n");
	skip();
#endif
}

static void nothing_is_allocated_while_the_guest_stands_still(void **state)
{
	(void)state;
	assert_nothing_allocated(&(struct pair_config){
		.memory_bytes = 16 << 20, .device_count = 3, .channels = 4 });
}

static void nor_with_a_ledger_in_files(void **state)
{
	char directory[] = "/tmp/hf-frozen-XXXXXX", uri[64], command[96];

	(void)state;
	assert_non_null(mkdtemp(directory));
	(void)snprintf(uri, sizeof(uri), "file:%s", directory);
	assert_nothing_allocated(&(struct pair_config){
		.memory_bytes = 8 << 20, .device_count = 1, .ledger_uri = uri });
	(void)snprintf(command, sizeof(command), "rm -r %s", directory);
	assert_int_equal(system(command), 0);
}

static void nor_while_both_sides_are_recorded(void **state)
{
	char directory[] = "/tmp/hf-frozen-XXXXXX", source[64], target[64], command[96];

	(void)state;
	assert_non_null(mkdtemp(directory));
	(void)snprintf(source, sizeof(source), "%s/source", directory);
	(void)snprintf(target, sizeof(target), "%s/target", directory);
	source_record = source;
	target_record = target;
	assert_nothing_allocated(
		&(struct pair_config){ .memory_bytes = 8 << 20, .device_count = 2 });
	source_record = target_record = NULL;
	assert_int_equal(access(source, F_OK) | access(target, F_OK), 0);
	(void)snprintf(command, sizeof(command), "rm -r %s", directory);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_allocated_while_the_guest_stands_still),
		cmocka_unit_test(nor_with_a_ledger_in_files),
		cmocka_unit_test(nor_while_both_sides_are_recorded),
	};

	return cmocka_run_group_tests_name("session-frozen", tests, NULL, NULL);
}
