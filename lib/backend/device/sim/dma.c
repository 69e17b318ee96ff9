/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA of the simulated device: dma.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/device/log-ranges.h"
#include "backend/device/sim/dma.h"

/* ---- maps ---------------------------------------------------------------------------------- */

/* The first map that ends behind iova; map_count if there is none. */
static uint32_t map_at(const struct sim_dma *dma, uint64_t iova)
{
	uint32_t low = 0, high = dma->map_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct sim_dma_map *m = &dma->maps[middle];

		if (m->iova + (m->size - 1) < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int range_valid(uint64_t iova, uint64_t size)
{
	return size > 0 && ((iova | size) & (HF_PAGE_SIZE - 1)) == 0 && size - 1 <= ~iova;
}

/* vaddr NULL: by calls. */
static int map_add(struct sim_dma *dma, uint64_t iova, uint64_t size, void *vaddr,
		   const struct hf_dma_calls *calls, uint32_t flags)
{
	uint32_t at;

	if (!range_valid(iova, size))
		return -EINVAL;
	if (!(flags & (HF_DMA_READ | HF_DMA_WRITE)) ||
	    (flags & ~(HF_DMA_READ | HF_DMA_WRITE | HF_DMA_P2P)))
		return -EINVAL;
	at = map_at(dma, iova);
	if (at < dma->map_count && dma->maps[at].iova <= iova + (size - 1))
		return -EEXIST;
	if (dma->map_count == SIM_DMA_MAPS_MAX)
		return -ENOSPC;
	if (dma->map_count == dma->map_capacity) {
		uint32_t capacity = dma->map_capacity ? dma->map_capacity * 2 : 16;
		struct sim_dma_map *maps = realloc(dma->maps, capacity * sizeof(*maps));

		if (!maps)
			return -ENOMEM;
		dma->maps = maps;
		dma->map_capacity = capacity;
	}
	memmove(&dma->maps[at + 1], &dma->maps[at], (dma->map_count - at) * sizeof(dma->maps[0]));
	dma->maps[at] = (struct sim_dma_map){ iova, size, vaddr, flags, { 0 } };
	if (!vaddr)
		dma->maps[at].calls = *calls;
	dma->map_count++;
	return 0;
}

int sim_dma_map(struct sim_dma *dma, uint64_t iova, uint64_t size, void *vaddr, uint32_t flags)
{
	if (!vaddr || ((uintptr_t)vaddr & (HF_PAGE_SIZE - 1)))
		return -EINVAL;
	return map_add(dma, iova, size, vaddr, NULL, flags);
}

int sim_dma_map_calls(struct sim_dma *dma, uint64_t iova, uint64_t size,
		      const struct hf_dma_calls *calls, uint32_t flags)
{
	if (!calls || calls->size < sizeof(*calls) || calls->flags || !calls->read || !calls->write)
		return -EINVAL;
	return map_add(dma, iova, size, NULL, calls, flags);
}

/* The maps in a range, from *ret_from to *ret_to: as type1 v2 whole ones only. */
static int maps_in(const struct sim_dma *dma, uint64_t iova, uint64_t size, uint32_t *ret_from,
		   uint32_t *ret_to)
{
	uint32_t from, to;

	if (!range_valid(iova, size))
		return -EINVAL;
	from = map_at(dma, iova);
	for (to = from; to < dma->map_count && dma->maps[to].iova <= iova + (size - 1); to++) {
		const struct sim_dma_map *m = &dma->maps[to];

		if (m->iova < iova || m->iova + (m->size - 1) > iova + (size - 1))
			return -EINVAL;
	}
	*ret_from = from;
	*ret_to = to;
	return 0;
}

int sim_dma_unmap_check(const struct sim_dma *dma, uint64_t iova, uint64_t size)
{
	uint32_t from, to;

	return maps_in(dma, iova, size, &from, &to);
}

/* Nothing there is fine. */
int sim_dma_unmap(struct sim_dma *dma, uint64_t iova, uint64_t size)
{
	uint32_t from, to;
	int r = maps_in(dma, iova, size, &from, &to);

	if (r < 0)
		return r;
	if (from == to)
		return 0; /* and maps may be NULL still */
	memmove(&dma->maps[from], &dma->maps[to], (dma->map_count - to) * sizeof(dma->maps[0]));
	dma->map_count -= to - from;
	return 0;
}

/* The piece of [iova, iova + size) that lies in one map; its length, or 0 if nothing is there. */
static size_t piece(const struct sim_dma *dma, uint64_t iova, uint64_t size, uint32_t access,
		    const struct sim_dma_map **ret_map)
{
	uint32_t at = map_at(dma, iova);
	const struct sim_dma_map *m;
	uint64_t rest;

	if (at == dma->map_count || dma->maps[at].iova > iova)
		return 0;
	m = &dma->maps[at];
	if ((m->flags & access) != access)
		return 0;
	rest = m->size - (iova - m->iova);
	*ret_map = m;
	return rest < size ? rest : size;
}

int sim_dma_check(const struct sim_dma *dma, uint64_t iova, uint64_t size, uint32_t access,
		  int *p2p)
{
	if (size && size - 1 > ~iova)
		return -EFAULT;
	while (size) {
		const struct sim_dma_map *m = NULL;
		size_t n = piece(dma, iova, size, access, &m);

		if (!n)
			return -EFAULT;
		if (m->flags & HF_DMA_P2P)
			*p2p = 1;
		iova += n;
		size -= n;
	}
	return 0;
}

/* ---- access -------------------------------------------------------------------------------- */

/* Words that others poll for appear whole, and after all that was written before. */
static void copy_to(uint8_t *to, const uint8_t *from, size_t n)
{
	uint64_t word;

	if (n == sizeof(word) && ((uintptr_t)to & 7) == 0) {
		memcpy(&word, from, sizeof(word));
		__atomic_store_n((uint64_t *)(void *)to, word, __ATOMIC_RELEASE);
		return;
	}
	memcpy(to, from, n);
}

int sim_dma_read(const struct sim_dma *dma, uint64_t iova, void *buf, size_t size)
{
	uint8_t *to = buf;

	while (size) {
		const struct sim_dma_map *m = NULL;
		size_t n = piece(dma, iova, size, HF_DMA_READ, &m);

		if (!n)
			return -EFAULT;
		if (m->vaddr)
			memcpy(to, m->vaddr + (iova - m->iova), n);
		else if (m->calls.read(m->calls.ctx, iova, to, n) < 0)
			return -EFAULT;
		to += n;
		iova += n;
		size -= n;
	}
	return 0;
}

static void log_write(struct sim_dma *dma, uint64_t iova, size_t size)
{
	uint64_t end = iova + (size - 1);

	for (uint32_t i = 0; i < dma->range_count; i++) {
		struct sim_log_range *r = &dma->ranges[i];
		uint64_t first, last;

		if (end < r->iova || iova > r->iova + (r->size - 1))
			continue;
		first = iova > r->iova ? (iova - r->iova) >> HF_PAGE_SHIFT : 0;
		last = (end - r->iova) >> HF_PAGE_SHIFT;
		if (last >= r->size >> HF_PAGE_SHIFT)
			last = (r->size >> HF_PAGE_SHIFT) - 1;
		for (uint64_t page = first; page <= last; page++)
			r->bits[page / 64] |= 1ull << (page % 64);
	}
}

int sim_dma_write(struct sim_dma *dma, uint64_t iova, const void *buf, size_t size)
{
	const uint8_t *from = buf;

	while (size) {
		const struct sim_dma_map *m = NULL;
		size_t n = piece(dma, iova, size, HF_DMA_WRITE, &m);

		if (!n)
			return -EFAULT;
		if (m->vaddr)
			copy_to(m->vaddr + (iova - m->iova), from, n);
		else if (m->calls.write(m->calls.ctx, iova, from, n) < 0)
			return -EFAULT;
		log_write(dma, iova, n);
		from += n;
		iova += n;
		size -= n;
	}
	return 0;
}

/* ---- the log ------------------------------------------------------------------------------- */

static void ranges_free(struct sim_dma *dma)
{
	for (uint32_t i = 0; i < dma->range_count; i++)
		free(dma->ranges[i].bits);
	free(dma->ranges);
	dma->ranges = NULL;
	dma->range_count = 0;
}

int sim_log_start(struct sim_dma *dma, uint64_t page_size, const struct hf_dma_range *ranges,
		  uint32_t count)
{
	int r = log_ranges_check(page_size, ranges, count, SIM_LOG_RANGES_MAX);
	uint64_t left = SIM_LOG_BYTES_MAX;

	if (r < 0)
		return r;
	if (dma->logging)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		if (ranges[i].size > left)
			return -EOPNOTSUPP; /* as drivers say it whose devices cannot */
		left -= ranges[i].size;
	}
	dma->ranges = calloc(count, sizeof(dma->ranges[0]));
	if (!dma->ranges)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		struct sim_log_range *range = &dma->ranges[i];

		range->iova = ranges[i].iova;
		range->size = ranges[i].size;
		range->bits = calloc((range->size >> HF_PAGE_SHIFT) / 64 + 1, 8);
		dma->range_count = i + 1;
		if (!range->bits) {
			ranges_free(dma);
			return -ENOMEM;
		}
	}
	dma->logging = 1;
	return 0;
}

/* Report and forget the pages of one range that lie in [iova, iova + length). */
static void report(struct sim_log_range *r, uint64_t iova, uint64_t length, uint32_t page_shift,
		   uint64_t *bitmap)
{
	uint64_t end = iova + (length - 1);
	uint64_t range_end = r->iova + (r->size - 1);
	uint64_t page, last;

	if (end < r->iova || iova > range_end)
		return;
	page = iova > r->iova ? (iova - r->iova) >> HF_PAGE_SHIFT : 0;
	last = ((end < range_end ? end : range_end) - r->iova) >> HF_PAGE_SHIFT;
	while (page <= last) {
		uint64_t word = r->bits[page / 64] >> (page % 64);
		uint64_t bit;

		if (!word) {
			page = (page / 64 + 1) * 64;
			continue;
		}
		page += (uint64_t)__builtin_ctzll(word);
		if (page > last)
			break;
		bit = (r->iova + (page << HF_PAGE_SHIFT) - iova) >> page_shift;
		bitmap[bit / 64] |= 1ull << (bit % 64);
		r->bits[page / 64] &= ~(1ull << (page % 64));
		page++;
	}
}

int sim_log_check(const struct sim_dma *dma, uint64_t iova, uint64_t length, uint64_t page_size)
{
	if (page_size < HF_PAGE_SIZE || (page_size & (page_size - 1)))
		return -EINVAL;
	if (length == 0 || ((iova | length) & (HF_PAGE_SIZE - 1)))
		return -EINVAL;
	if (length > UINT64_MAX - iova)
		return -EOVERFLOW;
	return dma->logging ? 0 : -EINVAL;
}

int sim_log_read(struct sim_dma *dma, uint64_t iova, uint64_t length, uint64_t page_size,
		 uint64_t *bitmap)
{
	int r = sim_log_check(dma, iova, length, page_size);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < dma->range_count; i++)
		report(&dma->ranges[i], iova, length, (uint32_t)__builtin_ctzll(page_size), bitmap);
	return 0;
}

int sim_log_stop(struct sim_dma *dma)
{
	if (!dma->logging)
		return -EINVAL;
	ranges_free(dma);
	dma->logging = 0;
	return 0;
}

void sim_dma_done(struct sim_dma *dma)
{
	ranges_free(dma);
	free(dma->maps);
	dma->maps = NULL;
	dma->map_count = dma->map_capacity = 0;
	dma->logging = 0;
}
