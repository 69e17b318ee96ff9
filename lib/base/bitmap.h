/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bitmaps of pages: bit n is bit n % 64 of word n / 64, as in the kernel's dirty logs on
 * little-endian hosts. Not atomic: one thread owns a bitmap. Memory is the caller's. Bits behind
 * the last one of a map (the tail of its last word) must be 0; no function here sets them.
 */
#ifndef BASE_BITMAP_H
#define BASE_BITMAP_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BITMAP_WORD_BITS 64u

/* Words that a map of so many bits takes. */
static inline size_t bitmap_words(uint64_t bits)
{
	return (size_t)(bits / BITMAP_WORD_BITS + (bits % BITMAP_WORD_BITS != 0));
}

static inline size_t bitmap_bytes(uint64_t bits)
{
	return bitmap_words(bits) * sizeof(uint64_t);
}

static inline void bitmap_set(uint64_t *map, uint64_t bit)
{
	map[bit / BITMAP_WORD_BITS] |= 1ull << (bit % BITMAP_WORD_BITS);
}

static inline void bitmap_clear(uint64_t *map, uint64_t bit)
{
	map[bit / BITMAP_WORD_BITS] &= ~(1ull << (bit % BITMAP_WORD_BITS));
}

static inline bool bitmap_test(const uint64_t *map, uint64_t bit)
{
	return (map[bit / BITMAP_WORD_BITS] >> (bit % BITMAP_WORD_BITS)) & 1;
}

static inline void bitmap_zero(uint64_t *map, uint64_t bits)
{
	memset(map, 0, bitmap_bytes(bits));
}

/* Bits [from, 64) of a word, and bits [0, to) of it with to in 1..64. */
static inline uint64_t bitmap_mask_from(uint64_t from)
{
	return ~0ull << (from % BITMAP_WORD_BITS);
}

static inline uint64_t bitmap_mask_to(uint64_t to)
{
	assert(to > 0);
	return ~0ull >> ((BITMAP_WORD_BITS - to % BITMAP_WORD_BITS) % BITMAP_WORD_BITS);
}

/* Set [first, first + count). */
static inline void bitmap_set_range(uint64_t *map, uint64_t first, uint64_t count)
{
	uint64_t word = first / BITMAP_WORD_BITS;
	uint64_t last;

	if (count == 0)
		return;
	last = (first + count - 1) / BITMAP_WORD_BITS;
	if (word == last) {
		map[word] |= bitmap_mask_from(first) & bitmap_mask_to(first + count);
		return;
	}
	map[word] |= bitmap_mask_from(first);
	for (word++; word < last; word++)
		map[word] = ~0ull;
	map[last] |= bitmap_mask_to(first + count);
}

/* Clear [first, first + count). */
static inline void bitmap_clear_range(uint64_t *map, uint64_t first, uint64_t count)
{
	uint64_t word = first / BITMAP_WORD_BITS;
	uint64_t last;

	if (count == 0)
		return;
	last = (first + count - 1) / BITMAP_WORD_BITS;
	if (word == last) {
		map[word] &= ~(bitmap_mask_from(first) & bitmap_mask_to(first + count));
		return;
	}
	map[word] &= ~bitmap_mask_from(first);
	for (word++; word < last; word++)
		map[word] = 0;
	map[last] &= ~bitmap_mask_to(first + count);
}

/* to |= from, both of so many bits. */
static inline void bitmap_or(uint64_t *to, const uint64_t *from, uint64_t bits)
{
	size_t words = bitmap_words(bits);

	for (size_t i = 0; i < words; i++)
		to[i] |= from[i];
}

/*
 * OR count bits of from (from its bit 0) into to, beginning at bit first there: the map of a slot
 * into the map of the region it lies in. from's tail must be 0.
 */
static inline void bitmap_or_at(uint64_t *to, uint64_t first, const uint64_t *from, uint64_t count)
{
	uint64_t shift = first % BITMAP_WORD_BITS;
	size_t words = bitmap_words(count);

	to += first / BITMAP_WORD_BITS;
	for (size_t i = 0; i < words; i++) {
		if (from[i] == 0)
			continue; /* also keeps us inside to: what is shifted over its end is 0 */
		to[i] |= from[i] << shift;
		if (shift && from[i] >> (BITMAP_WORD_BITS - shift))
			to[i + 1] |= from[i] >> (BITMAP_WORD_BITS - shift);
	}
}

/* How many bits are set. */
static inline uint64_t bitmap_count(const uint64_t *map, uint64_t bits)
{
	size_t words = bitmap_words(bits);
	uint64_t count = 0;

	for (size_t i = 0; i < words; i++)
		count += (unsigned int)__builtin_popcountll(map[i]);
	return count;
}

/* The first set bit at or behind from; bits if there is none. */
static inline uint64_t bitmap_next_set(const uint64_t *map, uint64_t bits, uint64_t from)
{
	uint64_t word = from / BITMAP_WORD_BITS;
	size_t words = bitmap_words(bits);
	uint64_t found, value;

	if (from >= bits)
		return bits;
	value = map[word] & bitmap_mask_from(from);
	while (value == 0) {
		if (++word >= words)
			return bits;
		value = map[word];
	}
	found = word * BITMAP_WORD_BITS + (unsigned int)__builtin_ctzll(value);
	return found < bits ? found : bits;
}

/* The first clear bit at or behind from; bits if there is none: the end of the run from from. */
static inline uint64_t bitmap_next_clear(const uint64_t *map, uint64_t bits, uint64_t from)
{
	uint64_t word = from / BITMAP_WORD_BITS;
	size_t words = bitmap_words(bits);
	uint64_t found, value;

	if (from >= bits)
		return bits;
	value = ~map[word] & bitmap_mask_from(from);
	while (value == 0) {
		if (++word >= words)
			return bits;
		value = ~map[word];
	}
	found = word * BITMAP_WORD_BITS + (unsigned int)__builtin_ctzll(value);
	return found < bits ? found : bits;
}

#endif
