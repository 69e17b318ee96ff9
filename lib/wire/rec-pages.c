/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-pages.h"

#include "wire/rec-body.h"

#define FIRST_PAGE_END (UINT64_C(1) << (WIRE_ADDRESS_BITS - HF_PAGE_SHIFT))

static uint32_t count_bits(const uint64_t words[REC_PAGES_WORDS])
{
	uint32_t count = 0;

	for (unsigned int i = 0; i < REC_PAGES_WORDS; i++)
		count += (uint32_t)__builtin_popcountll(words[i]);
	return count;
}

/* The bits of word i that stand for pages of a window of count pages. */
static uint64_t window(uint32_t count, unsigned int i)
{
	if (count >= (i + 1) * 64)
		return UINT64_MAX;
	if (count <= i * 64)
		return 0;
	return (UINT64_C(1) << (count - i * 64)) - 1;
}

static bool valid(const struct rec_pages *pages)
{
	if (pages->region >= HF_REGIONS_MAX || pages->count < 1 || pages->count > REC_PAGES_MAX)
		return false;
	if (pages->first_page >= FIRST_PAGE_END)
		return false;
	for (unsigned int i = 0; i < REC_PAGES_WORDS; i++) {
		if ((pages->present[i] & ~window(pages->count, i)) != 0)
			return false;
		if ((pages->zero[i] & ~pages->present[i]) != 0)
			return false;
	}
	return rec_pages_present(pages) > 0;
}

uint32_t rec_pages_present(const struct rec_pages *pages)
{
	return count_bits(pages->present);
}

uint32_t rec_pages_zero(const struct rec_pages *pages)
{
	return count_bits(pages->zero);
}

uint32_t rec_pages_content_bytes(const struct rec_pages *pages)
{
	return (rec_pages_present(pages) - rec_pages_zero(pages)) * HF_PAGE_SIZE;
}

/* docs/stream.md, section 5.18. */
int rec_pages_encode(const struct rec_pages *pages, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(pages))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_PAGES);
	wr_u32(&wr, pages->region);
	wr_u32(&wr, pages->count);
	wr_u64(&wr, pages->first_page);
	for (unsigned int i = 0; i < REC_PAGES_WORDS; i++)
		wr_u64(&wr, pages->present[i]);
	for (unsigned int i = 0; i < REC_PAGES_WORDS; i++)
		wr_u64(&wr, pages->zero[i]);
	return rec_finish_content(&wr, rec_pages_content_bytes(pages));
}

int rec_pages_decode(const void *fixed, size_t fixed_length, uint32_t body_length,
		     struct rec_pages *ret_pages)
{
	struct rec_pages pages;
	struct rd rd;

	rd_init(&rd, fixed, fixed_length);
	pages.region = rd_u32(&rd);
	pages.count = rd_u32(&rd);
	pages.first_page = rd_u64(&rd);
	for (unsigned int i = 0; i < REC_PAGES_WORDS; i++)
		pages.present[i] = rd_u64(&rd);
	for (unsigned int i = 0; i < REC_PAGES_WORDS; i++)
		pages.zero[i] = rd_u64(&rd);
	if (!rd_done(&rd) || !valid(&pages))
		return -EPROTO;
	if (body_length != REC_PAGES_FIXED + rec_pages_content_bytes(&pages))
		return -EMSGSIZE;
	*ret_pages = pages;
	return 0;
}
