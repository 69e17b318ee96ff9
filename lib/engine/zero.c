/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Most pages with content show it in their first bytes, so the first look is cheap; the rest goes
 * by blocks that the compiler turns into vector instructions.
 */
#include <stdint.h>

#include <holdfast/types.h>

#include "engine/zero.h"

#define BLOCK_WORDS 32u /* 256 bytes */

bool page_is_zero(const void *page)
{
	const uint64_t *word = page;
	const uint64_t *end = word + HF_PAGE_SIZE / sizeof(*word);

	if (word[0] | word[HF_PAGE_SIZE / sizeof(*word) - 1])
		return false;
	while (word < end) {
		uint64_t any = 0;

		for (unsigned int i = 0; i < BLOCK_WORDS; i++)
			any |= word[i];
		if (any)
			return false;
		word += BLOCK_WORDS;
	}
	return true;
}
