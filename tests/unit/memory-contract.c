/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every source of dirty pages promises, shown for each by comparing with what was really
 * written: every written page is found, others are not, and a copy that follows the rounds ends up
 * equal.
 *
 * Usage: memory-contract KIND (kvm-ring, kvm-ring-small, kvm-log, userfault-async,
 * userfault-thread). A small ring runs full, and some kernels overrun it: then more pages may be
 * found than were written.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/memory.h"
#include "base/bitmap.h"
#include "base/time.h"
#include "memory-worlds.h"

#define WORDS ((WORLD_PAGES_0 + 63) / 64)
#define FOLLOW_NS (NS_PER_S)

static const char *kind;

/* The set of pages of a world. */
struct pages {
	uint64_t map[WORLD_REGIONS][WORDS];
};

static const uint32_t region_pages[WORLD_REGIONS] = { WORLD_PAGES_0, WORLD_PAGES_1 };

struct fixture {
	struct world world;
	struct memory memory;
};

static void open_fixture(struct fixture *fixture)
{
	const char *why = "?";
	struct hf_error err = { 0 };

	if (world_open(kind, &fixture->world, &why) < 0) {
		print_message("# %s: %s\n", kind, why);
		skip();
	}
	if (memory_init(&fixture->memory, fixture->world.memory, fixture->world.regions,
			WORLD_REGIONS, &err) < 0)
		fail_msg("%s", err.text);
}

static void start(struct fixture *fixture)
{
	struct hf_error err = { 0 };

	if (memory_dirty_start(&fixture->memory, &err) < 0)
		fail_msg("%s", err.text);
}

static void stop(struct fixture *fixture)
{
	struct hf_error err = { 0 };

	if (memory_dirty_stop(&fixture->memory, &err) < 0)
		fail_msg("%s", err.text);
}

static void sync_and_read(struct fixture *fixture, struct pages *ret)
{
	struct hf_error err = { 0 };

	memset(ret, 0, sizeof(*ret));
	if (memory_dirty_sync(&fixture->memory, &err) < 0)
		fail_msg("%s", err.text);
	for (uint32_t i = 0; i < WORLD_REGIONS; i++)
		if (memory_dirty_read(&fixture->memory, i, ret->map[i], &err) < 0)
			fail_msg("%s", err.text);
}

static void assert_pages(const struct pages *found, const struct pages *truth)
{
	const bool exact = strcmp(kind, "kvm-ring-small") != 0;

	for (uint32_t i = 0; i < WORLD_REGIONS; i++) {
		for (uint32_t page = 0; page < region_pages[i]; page++) {
			bool is_found = bitmap_test(found->map[i], page);
			bool is_written = bitmap_test(truth->map[i], page);

			if (is_written > is_found || (exact && is_found != is_written))
				fail_msg("region %u, page %u: found %d, written %d", i, page,
					 is_found, is_written);
		}
	}
}

/* Every step-th page from first on, in both regions; they are written and in *ret. */
static void write_every(struct fixture *fixture, uint32_t first, uint32_t step, struct pages *ret)
{
	struct world_page list[WORLD_LIST_MAX];
	uint32_t count = 0;

	memset(ret, 0, sizeof(*ret));
	for (uint32_t i = 0; i < WORLD_REGIONS; i++) {
		for (uint32_t page = first; page < region_pages[i]; page += step) {
			list[count++] = (struct world_page){ i, page };
			bitmap_set(ret->map[i], page);
		}
	}
	fixture->world.write(&fixture->world, first % WORLD_WRITERS, list, count);
}

static void exactly_the_written_pages_are_found(void **state)
{
	struct fixture *fixture = *state;
	struct pages found, truth, none = { 0 };

	open_fixture(fixture);
	write_every(fixture, 0, 2, &truth); /* half of the pages are there before */
	start(fixture);
	sync_and_read(fixture, &found);
	assert_pages(&found, &none);
	/* 7 is odd: half of these pages were never touched before. Both ends are among them. */
	write_every(fixture, 0, 7, &truth);
	assert_true(bitmap_test(truth.map[0], 0));
	sync_and_read(fixture, &found);
	assert_pages(&found, &truth);
	sync_and_read(fixture, &found);
	assert_pages(&found, &none);
	stop(fixture);
}

static void a_page_is_found_again_in_each_round_that_writes_it(void **state)
{
	struct fixture *fixture = *state;
	struct pages found, truth;

	open_fixture(fixture);
	start(fixture);
	for (uint32_t round = 0; round < 5; round++) {
		write_every(fixture, round, 3, &truth);
		write_every(fixture, round, 3, &truth); /* twice is once */
		sync_and_read(fixture, &found);
		assert_pages(&found, &truth);
	}
	stop(fixture);
}

static void the_first_and_the_last_page_are_found(void **state)
{
	static const uint32_t pages[] = {
		0, 63, 64, WORLD_SPLIT_PAGES - 1, WORLD_SPLIT_PAGES, WORLD_PAGES_0 - 1
	};
	struct fixture *fixture = *state;

	open_fixture(fixture);
	start(fixture);
	for (unsigned int i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		struct world_page page = { 0, pages[i] };
		struct pages found, truth = { 0 };

		bitmap_set(truth.map[0], pages[i]);
		fixture->world.write(&fixture->world, 0, &page, 1);
		sync_and_read(fixture, &found);
		assert_pages(&found, &truth);
	}
	stop(fixture);
}

static void all_pages_at_once_are_found(void **state)
{
	struct fixture *fixture = *state;
	struct pages found, truth;

	open_fixture(fixture);
	start(fixture);
	write_every(fixture, 0, 1, &truth);
	sync_and_read(fixture, &found);
	assert_pages(&found, &truth);
	if (strcmp(kind, "kvm-ring-small") == 0)
		assert_true(atomic_load(&fixture->world.full_exits) > 0);
	stop(fixture);
}

static void reading_adds_and_does_not_take_away(void **state)
{
	struct fixture *fixture = *state;
	struct pages found, truth;
	struct hf_error err = { 0 };

	open_fixture(fixture);
	start(fixture);
	write_every(fixture, 1, 10, &truth);
	sync_and_read(fixture, &found);
	memset(&found, 0, sizeof(found));
	bitmap_set(found.map[0], 3);
	for (unsigned int again = 0; again < 2; again++)
		for (uint32_t i = 0; i < WORLD_REGIONS; i++)
			assert_int_equal(memory_dirty_read(&fixture->memory, i, found.map[i], &err),
					 0);
	bitmap_set(truth.map[0], 3);
	assert_pages(&found, &truth);
	stop(fixture);
}

static void what_is_written_while_nobody_tracks_is_not_found_later(void **state)
{
	struct fixture *fixture = *state;
	struct pages found, truth, none = { 0 };

	open_fixture(fixture);
	for (unsigned int i = 0; i < 3; i++) {
		start(fixture);
		write_every(fixture, 2, 3, &truth); /* never synced: dropped by stop */
		stop(fixture);
		stop(fixture); /* not tracking: fine */
		write_every(fixture, 0, 5, &truth);
		start(fixture);
		sync_and_read(fixture, &found);
		assert_pages(&found, &none);
		write_every(fixture, i, 11, &truth);
		sync_and_read(fixture, &found);
		assert_pages(&found, &truth);
		stop(fixture);
	}
}

/* A second migration: what the first source left in KVM's rings must not hide what is written now.
 */
static void another_source_takes_over_where_the_first_ended(void **state)
{
	struct fixture *fixture = *state;
	struct hf_error err = { 0 };
	struct pages found, truth, none = { 0 };

	open_fixture(fixture);
	for (uint32_t i = 0; i < 12; i++) {
		start(fixture);
		sync_and_read(fixture, &found);
		if (strcmp(kind, "kvm-ring-small") != 0)
			assert_pages(&found, &none);
		/* Both writers; sometimes all, so that a small ring is full when it ends. */
		write_every(fixture, i % 5, i % 4 == 3 ? 1 : 5, &truth);
		sync_and_read(fixture, &found);
		assert_pages(&found, &truth);
		write_every(fixture, i % 5, i % 3 + 1, &truth); /* left behind */
		if (i % 2)
			stop(fixture);
		else
			fixture->memory.tracking = false; /* closed while it tracks */
		fixture->world.reopen(&fixture->world);
		assert_int_equal(memory_init(&fixture->memory, fixture->world.memory,
					     fixture->world.regions, WORLD_REGIONS, &err),
				 0);
	}
}

static void closing_while_tracking_leaves_the_memory_usable(void **state)
{
	struct fixture *fixture = *state;
	struct pages truth;

	open_fixture(fixture);
	start(fixture);
	write_every(fixture, 0, 3, &truth);
	if (strncmp(kind, "kvm", 3) == 0)
		return; /* vCPUs with rings need them until they are gone; world_close() is next */
	hf_memory_close(&fixture->world.memory);
	write_every(fixture, 0, 1, &truth); /* hangs if a page stayed protected */
}

static void a_source_opened_anew_misses_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct hf_error err = { 0 };
	struct pages found, truth;

	open_fixture(fixture);
	for (unsigned int i = 0; i < 4; i++) {
		start(fixture);
		write_every(fixture, i, 7, &truth); /* both writers: vCPUs' rings go on apart */
		sync_and_read(fixture, &found);
		assert_pages(&found, &truth);
		write_every(fixture, i + 1, 3, &truth);
		sync_and_read(fixture, &found);
		assert_pages(&found, &truth);
		stop(fixture);
		write_every(fixture, 0, 1, &truth);
		fixture->world.reopen(&fixture->world);
		if (memory_init(&fixture->memory, fixture->world.memory, fixture->world.regions,
				WORLD_REGIONS, &err) < 0)
			fail_msg("%s", err.text);
	}
}

/* ---- a copy follows -------------------------------------------------------------------------- */

struct writer {
	struct world *world;
	unsigned int number;
	atomic_bool *quit;
	uint64_t writes;
};

static void *keep_writing(void *arg)
{
	struct writer *writer = arg;
	unsigned int seed = 1234 + writer->number;
	struct world_page list[64];

	while (!atomic_load(writer->quit)) {
		for (unsigned int i = 0; i < 64; i++) {
			/* Some pages often, the others now and then. */
			uint32_t region = rand_r(&seed) % 8 == 0;
			uint32_t span = rand_r(&seed) % 4 ? 40 : region_pages[region];

			list[i].region = region;
			list[i].page = (uint32_t)rand_r(&seed) % span;
		}
		writer->world->write(writer->world, writer->number, list, 64);
		writer->writes += 64;
	}
	return NULL;
}

static void copy_found(struct fixture *fixture, char *const copies[WORLD_REGIONS],
		       const struct pages *found)
{
	for (uint32_t i = 0; i < WORLD_REGIONS; i++) {
		const char *host = fixture->world.regions[i].host;

		for (uint64_t page = bitmap_next_set(found->map[i], region_pages[i], 0);
		     page < region_pages[i];
		     page = bitmap_next_set(found->map[i], region_pages[i], page + 1))
			memcpy(copies[i] + (page << HF_PAGE_SHIFT), host + (page << HF_PAGE_SHIFT),
			       HF_PAGE_SIZE);
	}
}

static void a_copy_that_follows_the_rounds_is_equal_in_the_end(void **state)
{
	struct fixture *fixture = *state;
	struct writer writers[WORLD_WRITERS];
	pthread_t threads[WORLD_WRITERS];
	atomic_bool quit = false;
	char *copies[WORLD_REGIONS];
	struct pages found;
	unsigned int rounds = 0;
	uint64_t end;

	open_fixture(fixture);
	start(fixture);
	for (uint32_t i = 0; i < WORLD_REGIONS; i++) {
		copies[i] = malloc(fixture->world.regions[i].size);
		assert_non_null(copies[i]);
	}
	for (unsigned int i = 0; i < WORLD_WRITERS; i++) {
		writers[i] = (struct writer){ &fixture->world, i, &quit, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, keep_writing, &writers[i]), 0);
	}
	for (uint32_t i = 0; i < WORLD_REGIONS; i++) /* the first round: everything */
		memcpy(copies[i], fixture->world.regions[i].host, fixture->world.regions[i].size);
	end = time_now_ns() + FOLLOW_NS;
	while (time_now_ns() < end) {
		sync_and_read(fixture, &found);
		copy_found(fixture, copies, &found);
		rounds++;
	}
	atomic_store(&quit, true);
	for (unsigned int i = 0; i < WORLD_WRITERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	sync_and_read(fixture, &found); /* the last one, with the writers stopped */
	copy_found(fixture, copies, &found);
	print_message("# %u rounds, %llu and %llu writes, ring full %u times\n", rounds,
		      (unsigned long long)writers[0].writes, (unsigned long long)writers[1].writes,
		      atomic_load(&fixture->world.full_exits));
	assert_true(rounds > 2 && writers[0].writes && writers[1].writes);
	for (uint32_t i = 0; i < WORLD_REGIONS; i++) {
		assert_memory_equal(copies[i], fixture->world.regions[i].host,
				    fixture->world.regions[i].size);
		free(copies[i]);
	}
	stop(fixture);
}

static int set_up(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	world_close(&fixture->world);
	free(fixture);
	return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(exactly_the_written_pages_are_found),
		TEST(a_page_is_found_again_in_each_round_that_writes_it),
		TEST(the_first_and_the_last_page_are_found),
		TEST(all_pages_at_once_are_found),
		TEST(reading_adds_and_does_not_take_away),
		TEST(what_is_written_while_nobody_tracks_is_not_found_later),
		TEST(a_source_opened_anew_misses_nothing),
		TEST(another_source_takes_over_where_the_first_ended),
		TEST(closing_while_tracking_leaves_the_memory_usable),
		TEST(a_copy_that_follows_the_rounds_is_equal_in_the_end),
	};

	if (argc != 2) {
		(void)fprintf(stderr,
			      "usage: %s kvm-ring|kvm-ring-small|kvm-log|userfault-async|"
			      "userfault-thread\n",
			      argv[0]);
		return 99;
	}
	kind = argv[1];
	(void)alarm(110); /* a page that stays protected hangs its writer: end by a signal then */
	return cmocka_run_group_tests_name(kind, tests, NULL, NULL);
}
