/* SPDX-License-Identifier: BSD-3-Clause */
/* Bitmaps against the plainest possible model: one byte per bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bitmap.h"

#define BITS_MAX 300u
#define ROUNDS 20000u

static unsigned int seed = 20240607;

static uint64_t below(uint64_t limit)
{
	return (uint64_t)rand_r(&seed) % limit;
}

static void assert_equal(const uint64_t *map, const unsigned char *model, uint64_t bits)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < bits; i++) {
		assert_int_equal(bitmap_test(map, i), model[i]);
		count += model[i];
	}
	assert_int_equal(bitmap_count(map, bits), count);
	if (bits % 64)
		assert_int_equal(map[bits / 64] >> (bits % 64), 0); /* the tail stays clear */
	assert_int_equal(map[bitmap_words(bits)], 0x5a5a5a5a5a5a5a5a); /* and what is behind it */
}

static void sizes_are_exact_at_the_edges(void **state)
{
	(void)state;
	assert_int_equal(bitmap_words(0), 0);
	assert_int_equal(bitmap_words(1), 1);
	assert_int_equal(bitmap_words(64), 1);
	assert_int_equal(bitmap_words(65), 2);
	assert_int_equal(bitmap_words(UINT64_MAX), 1ull << 58);
	assert_int_equal(bitmap_bytes(65), 16);
	assert_int_equal(bitmap_mask_to(64), UINT64_MAX);
	assert_int_equal(bitmap_mask_to(1), 1);
	assert_int_equal(bitmap_mask_from(64), UINT64_MAX);
	assert_int_equal(bitmap_mask_from(63), 1ull << 63);
}

static void single_bits_and_ranges_do_what_the_model_does(void **state)
{
	uint64_t map[BITS_MAX / 64 + 2];
	unsigned char model[BITS_MAX];

	(void)state;
	for (unsigned int round = 0; round < ROUNDS / 20; round++) {
		uint64_t bits = 1 + below(BITS_MAX);

		memset(map, 0x5a, sizeof(map));
		bitmap_zero(map, bits);
		memset(model, 0, sizeof(model));
		for (unsigned int step = 0; step < 20; step++) {
			uint64_t first = below(bits), count = below(bits - first + 1);

			switch (below(4)) {
			case 0:
				bitmap_set(map, first);
				model[first] = 1;
				break;
			case 1:
				bitmap_clear(map, first);
				model[first] = 0;
				break;
			case 2:
				bitmap_set_range(map, first, count);
				memset(model + first, 1, count);
				break;
			default:
				bitmap_clear_range(map, first, count);
				memset(model + first, 0, count);
			}
			assert_equal(map, model, bits);
		}
	}
}

static void next_set_and_next_clear_walk_all_runs(void **state)
{
	uint64_t map[BITS_MAX / 64 + 2];

	(void)state;
	for (unsigned int round = 0; round < ROUNDS / 20; round++) {
		uint64_t bits = 1 + below(BITS_MAX);

		memset(map, 0, sizeof(map));
		for (unsigned int i = 0; i < round % 7; i++) {
			uint64_t first = below(bits);

			bitmap_set_range(map, first, below(bits - first + 1));
		}
		for (uint64_t from = 0; from <= bits; from++) {
			uint64_t set = from, clear = from;

			while (set < bits && !bitmap_test(map, set))
				set++;
			while (clear < bits && bitmap_test(map, clear))
				clear++;
			assert_int_equal(bitmap_next_set(map, bits, from), set);
			assert_int_equal(bitmap_next_clear(map, bits, from), clear);
		}
		assert_int_equal(bitmap_next_set(map, bits, bits + 1000), bits);
	}
	assert_int_equal(bitmap_next_set(map, 0, 0), 0);
	assert_int_equal(bitmap_next_clear(map, 0, 0), 0);
}

static void or_joins_and_or_at_shifts(void **state)
{
	uint64_t to[BITS_MAX / 64 + 2], from[BITS_MAX / 64 + 2];
	unsigned char model[BITS_MAX];

	(void)state;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t bits = 1 + below(BITS_MAX), first = below(bits);
		uint64_t count = below(bits - first + 1);

		memset(to, 0x5a, sizeof(to));
		bitmap_zero(to, bits);
		memset(from, 0, sizeof(from));
		memset(model, 0, sizeof(model));
		for (uint64_t i = 0; i < bits; i++) {
			if (below(3) == 0) {
				bitmap_set(to, i);
				model[i] = 1;
			}
		}
		for (uint64_t i = 0; i < count; i++) {
			if (below(3) == 0) {
				bitmap_set(from, i);
				model[first + i] = 1;
			}
		}
		bitmap_or_at(to, first, from, count);
		assert_equal(to, model, bits);
		bitmap_or(to, from, count);
		for (uint64_t i = 0; i < count; i++)
			model[i] |= bitmap_test(from, i);
		assert_equal(to, model, bits);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_exact_at_the_edges),
		cmocka_unit_test(single_bits_and_ranges_do_what_the_model_does),
		cmocka_unit_test(next_set_and_next_clear_walk_all_runs),
		cmocka_unit_test(or_joins_and_or_at_shifts),
	};

	return cmocka_run_group_tests_name("bitmap", tests, NULL, NULL);
}
