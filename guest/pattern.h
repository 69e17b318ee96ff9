/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the workload writes into pages and buffers, as pure functions of a few numbers, so that
 * whoever knows the numbers can tell whether the content is right. Freestanding: the checker guest
 * and the thread guest share it. It decides nothing and keeps nothing.
 *
 * A page of 512 words: word 0 the page's number, word 1 its generation (low half) and the vCPU that
 * writes it (high half), word 2 a seed that all of these went into, word 3 the complement of word
 * 2, then the body, which follows from the seed. The last word of the body is the tail.
 */
#ifndef GUEST_PATTERN_H
#define GUEST_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#define PATTERN_WORDS 512u /* in a page */
#define PATTERN_HEADER_WORDS 4u
#define PATTERN_STEP 0x9e3779b97f4a7c15ull /* odd: a walk over all 64-bit numbers */

enum pattern_kind {
	PATTERN_ZERO = 0, /* all zero, for ever */
	PATTERN_REPEATED = 1, /* one word over and over: compresses well */
	PATTERN_SCATTERED = 2, /* no two words alike: does not compress */
};

struct pattern_page {
	uint64_t number;
	uint64_t seed; /* of the whole workload */
	uint32_t generation;
	uint32_t vcpu;
	enum pattern_kind kind;
	bool header_only; /* only the header and the tail are written and looked at */
};

/* The finalizer of splitmix64: every bit of x goes into every bit of the result. */
static inline uint64_t pattern_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* Which kind a page is, with so many percent of zero and of repeated pages. */
static inline enum pattern_kind pattern_kind_of(uint64_t seed, uint64_t number,
						uint32_t zero_percent, uint32_t repeated_percent)
{
	uint32_t dice;

	if (zero_percent == 0 && repeated_percent == 0)
		return PATTERN_SCATTERED;
	dice = (uint32_t)(pattern_mix(seed + number * PATTERN_STEP) % 100);
	if (dice < zero_percent)
		return PATTERN_ZERO;
	return dice < zero_percent + repeated_percent ? PATTERN_REPEATED : PATTERN_SCATTERED;
}

static inline uint64_t pattern_page_seed(const struct pattern_page *page)
{
	uint64_t mixed = pattern_mix(page->seed ^ (page->number * PATTERN_STEP));

	return pattern_mix(mixed ^ ((uint64_t)page->vcpu << 32) ^ page->generation);
}

/* Word i of a page. */
static inline uint64_t pattern_word(const struct pattern_page *page, uint32_t i)
{
	uint64_t seed = pattern_page_seed(page);

	if (page->kind == PATTERN_ZERO)
		return 0;
	if (i == 0)
		return page->number;
	if (i == 1)
		return (uint64_t)page->vcpu << 32 | page->generation;
	if (i == 2)
		return seed;
	if (i == 3)
		return ~seed;
	return page->kind == PATTERN_REPEATED ? seed : seed + i * PATTERN_STEP;
}

/* Make words what the page is to hold. */
static inline void pattern_write(uint64_t *words, const struct pattern_page *page)
{
	uint64_t seed = pattern_page_seed(page);
	uint64_t step = page->kind == PATTERN_REPEATED ? 0 : PATTERN_STEP;
	uint64_t value = seed + PATTERN_HEADER_WORDS * step;
	uint32_t i;

	words[0] = page->number;
	words[1] = (uint64_t)page->vcpu << 32 | page->generation;
	words[2] = seed;
	words[3] = ~seed;
	if (page->header_only) {
		words[PATTERN_WORDS - 1] = seed + (PATTERN_WORDS - 1) * step;
		return;
	}
	for (i = PATTERN_HEADER_WORDS; i < PATTERN_WORDS; i++, value += step)
		words[i] = value;
}

static inline bool pattern_is_zero(const uint64_t *words, bool header_only)
{
	uint64_t all = 0;
	uint32_t i;

	if (header_only)
		return (words[0] | words[1] | words[2] | words[3] | words[PATTERN_WORDS - 1]) == 0;
	for (i = 0; i < PATTERN_WORDS; i++)
		all |= words[i];
	return all == 0;
}

/* Do words hold what the page is to hold? */
static inline bool pattern_matches(const uint64_t *words, const struct pattern_page *page)
{
	uint64_t seed = pattern_page_seed(page);
	uint64_t step = page->kind == PATTERN_REPEATED ? 0 : PATTERN_STEP;
	uint64_t value = seed + PATTERN_HEADER_WORDS * step;
	uint64_t wrong;
	uint32_t i;

	if (page->kind == PATTERN_ZERO)
		return pattern_is_zero(words, page->header_only);
	wrong = words[0] ^ page->number;
	wrong |= words[1] ^ ((uint64_t)page->vcpu << 32 | page->generation);
	wrong |= words[2] ^ seed;
	wrong |= words[3] ^ ~seed;
	if (page->header_only)
		wrong |= words[PATTERN_WORDS - 1] ^ (seed + (PATTERN_WORDS - 1) * step);
	else
		for (i = PATTERN_HEADER_WORDS; i < PATTERN_WORDS; i++, value += step)
			wrong |= words[i] ^ value;
	return wrong == 0;
}

/* The first word that is wrong; PATTERN_WORDS if none is (any more). */
static inline uint32_t pattern_first_wrong(const uint64_t *words, const struct pattern_page *page)
{
	uint32_t i;

	for (i = 0; i < PATTERN_WORDS; i++) {
		bool looked_at =
			!page->header_only || i < PATTERN_HEADER_WORDS || i == PATTERN_WORDS - 1;

		if (looked_at && words[i] != pattern_word(page, i))
			return i;
	}
	return PATTERN_WORDS;
}

/* Word i of what the driver of a device has copied by command number sequence. */
static inline uint64_t pattern_copy_word(uint32_t device, uint64_t sequence, uint32_t i)
{
	return pattern_mix(sequence ^ ((uint64_t)(device + 1) << 56)) + i * PATTERN_STEP;
}

/* Word i of what the driver keeps in a device's memory (BAR4) in a generation. */
static inline uint64_t pattern_bar_word(uint32_t device, uint64_t generation, uint32_t i)
{
	return pattern_copy_word(device, generation ^ (1ull << 48), i);
}

#endif
