/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty pages as a space knows them. The kernel forgets what it reports, for all members at once
 * and (type1) for whole maps only. So whoever asks for a part, the rest is kept here until it is
 * asked for; and that a page is told to one member only is right for a session, which takes what
 * all devices say together.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/device/vfio/space.h"
#include "base/bitmap.h"

#define CHUNK_PAGES (1u << 20) /* asked of a page table's dirty bits at once */

static uint64_t pages_of(const struct vfio_space *space, uint64_t size)
{
	return (size + space->page_size - 1) / space->page_size;
}

/* ---- what is lost -------------------------------------------------------------------------- */

void vfio_space_remember(struct vfio_space *space, uint64_t iova, uint64_t size)
{
	struct hf_dma_range *last = &space->gone[VFIO_GONE_MAX - 1];
	uint64_t end, last_end;

	if (space->gone_count < VFIO_GONE_MAX) {
		space->gone[space->gone_count++] = (struct hf_dma_range){ iova, size };
		return;
	}
	/* Too many to tell apart: one that holds both, and what lies between. */
	end = iova + (size - 1);
	last_end = last->iova + (last->size - 1);
	if (iova < last->iova)
		last->iova = iova;
	last->size = (end > last_end ? end : last_end) - last->iova + 1;
}

/* Set the pages of [from, from + size) that lie in [iova, iova + length). */
static void set_range(uint64_t from, uint64_t size, uint64_t iova, uint64_t length,
		      uint64_t page_size, uint64_t *bitmap)
{
	uint64_t last = from + (size - 1), end = iova + (length - 1);

	if (last < iova || from > end)
		return;
	if (from < iova)
		from = iova;
	if (last > end)
		last = end;
	bitmap_set_range(bitmap, (from - iova) / page_size,
			 (last - iova) / page_size - (from - iova) / page_size + 1);
}

/* ---- start and stop ------------------------------------------------------------------------ */

/* Place for the bits of a map, and of a read of them. */
int vfio_space_track_map(struct vfio_space *space, struct vfio_map *map)
{
	uint64_t bytes = bitmap_bytes(pages_of(space, map->size));
	uint64_t *scratch;

	if (bytes > space->scratch_bytes) {
		scratch = realloc(space->scratch, bytes);
		if (!scratch)
			return -ENOMEM;
		space->scratch = scratch;
		space->scratch_bytes = bytes;
	}
	if (!map->dirty)
		map->dirty = calloc(1, bytes);
	return map->dirty ? 0 : -ENOMEM;
}

static void forget_all(struct vfio_space *space)
{
	for (uint32_t i = 0; i < space->map_count; i++) {
		free(space->maps[i].dirty);
		space->maps[i].dirty = NULL;
	}
	free(space->scratch);
	space->scratch = NULL;
	space->scratch_bytes = 0;
	space->gone_count = 0;
}

static int start_type1(struct vfio_space *space)
{
	for (uint32_t i = 0; i < space->map_count; i++) {
		int r = vfio_space_track_map(space, &space->maps[i]);

		if (r < 0)
			return r;
	}
	return space->kernel_tracks ? 0 : vfio_type1_track(space, 1);
}

static int start_iommufd(struct vfio_space *space, struct vfio_hwpt *hwpt)
{
	if (!space->scratch) {
		space->scratch_bytes = CHUNK_PAGES / 8;
		space->scratch = malloc(space->scratch_bytes);
		if (!space->scratch)
			return -ENOMEM;
	}
	/* To switch it on again would throw away what others have not read yet. */
	return hwpt->tracking ? 0 : vfio_iommufd_track(space, hwpt, 1);
}

static int start_locked(struct vfio_member *m, int all)
{
	struct vfio_space *space = m->space;
	uint32_t bit = 1u << m->slot;
	int r = 0;

	if (space->tracking & bit)
		return -EINVAL; /* as the kernel's drivers say of a second START */
	if (!all && m->knows == VFIO_KNOWS_PINNED)
		r = start_type1(space);
	else if (!all && m->knows == VFIO_KNOWS_DIRTY)
		r = start_iommufd(space, &space->hwpts[m->hwpt]);
	if (r < 0) {
		if (!space->tracking)
			forget_all(space);
		return r;
	}
	space->tracking |= bit;
	if (!all && m->knows == VFIO_KNOWS_PINNED)
		space->kernel_tracks |= bit;
	if (!all && m->knows == VFIO_KNOWS_DIRTY)
		space->hwpts[m->hwpt].tracking |= bit;
	return 0;
}

int vfio_space_dirty_start(struct vfio_member *m, int all)
{
	int r;

	(void)pthread_mutex_lock(&m->space->lock);
	r = start_locked(m, all);
	(void)pthread_mutex_unlock(&m->space->lock);
	return r;
}

int vfio_space_dirty_stop(struct vfio_member *m)
{
	struct vfio_space *space = m->space;
	struct vfio_hwpt *hwpt = m->hwpt >= 0 ? &space->hwpts[m->hwpt] : NULL;
	uint32_t bit = 1u << m->slot;
	int r = 0;

	(void)pthread_mutex_lock(&space->lock);
	if (!(space->tracking & bit)) {
		(void)pthread_mutex_unlock(&space->lock);
		return -EINVAL;
	}
	if (space->kernel_tracks == bit)
		r = vfio_type1_track(space, 0);
	if (hwpt && hwpt->tracking == bit)
		r = vfio_iommufd_track(space, hwpt, 0);
	/* Also after a failure: what it reports is not asked for any more. */
	space->tracking &= ~bit;
	space->kernel_tracks &= ~bit;
	if (hwpt)
		hwpt->tracking &= ~bit;
	if (!space->tracking)
		forget_all(space);
	(void)pthread_mutex_unlock(&space->lock);
	return r;
}

/* ---- read ---------------------------------------------------------------------------------- */

struct request {
	uint64_t iova, length, page_size;
	uint64_t *bitmap;
};

/* Tell, and forget, the runs of bits (page 0 at base) that lie in the request. */
static void report(const struct vfio_space *space, uint64_t base, uint64_t *bits, uint64_t count,
		   const struct request *q)
{
	uint64_t end = q->iova + (q->length - 1), page = space->page_size;
	uint64_t from = q->iova > base ? (q->iova - base) / page : 0;
	uint64_t to = (end - base) / page + 1; /* end >= base: the map lies in the request */

	if (to > count)
		to = count;
	for (uint64_t at = bitmap_next_set(bits, to, from); at < to;) {
		uint64_t stop = bitmap_next_clear(bits, to, at);

		set_range(base + at * page, (stop - at) * page, q->iova, q->length, q->page_size,
			  q->bitmap);
		bitmap_clear_range(bits, at, stop - at);
		at = bitmap_next_set(bits, to, stop);
	}
}

static int read_type1(struct vfio_space *space, struct vfio_map *map, const struct request *q)
{
	uint64_t pages = pages_of(space, map->size);
	int r;

	assert(map->dirty && bitmap_bytes(pages) <= space->scratch_bytes);
	bitmap_zero(space->scratch, pages);
	r = vfio_type1_read(space, map, space->scratch, bitmap_bytes(pages));
	if (r < 0)
		return r;
	bitmap_or(map->dirty, space->scratch, pages);
	report(space, map->iova, map->dirty, pages, q);
	return 0;
}

/* Only what is asked for, so that the kernel keeps the rest; in chunks, since it walks for each. */
static int read_iommufd(struct vfio_space *space, const struct vfio_hwpt *hwpt,
			const struct vfio_map *map, const struct request *q)
{
	uint64_t end = q->iova + (q->length - 1), last = map->iova + (map->size - 1);
	uint64_t at = q->iova > map->iova ? q->iova : map->iova;

	if (last > end)
		last = end;
	while (at <= last) {
		uint64_t rest = last - at + 1, most = CHUNK_PAGES * space->page_size;
		uint64_t length = rest < most ? rest : most;
		uint64_t pages = pages_of(space, length);
		int r;

		bitmap_zero(space->scratch, pages);
		r = vfio_iommufd_read(space, hwpt, at, length, space->scratch);
		if (r < 0)
			return r;
		report(space, at, space->scratch, pages, q);
		if (rest == length)
			break;
		at += length;
	}
	return 0;
}

static int read_locked(struct vfio_member *m, const struct request *q)
{
	struct vfio_space *space = m->space;
	const struct vfio_hwpt *hwpt = m->hwpt >= 0 ? &space->hwpts[m->hwpt] : NULL;
	uint64_t end = q->iova + (q->length - 1);
	uint32_t bit = 1u << m->slot;
	int r = 0;

	if (!(space->tracking & bit))
		return -EINVAL;
	for (uint32_t i = 0; r == 0 && i < space->map_count; i++) {
		struct vfio_map *map = &space->maps[i];

		if (!(map->flags & HF_DMA_WRITE) || map->iova > end ||
		    map->iova + (map->size - 1) < q->iova)
			continue;
		if (space->kernel_tracks & bit)
			r = read_type1(space, map, q);
		else if (hwpt && (hwpt->tracking & bit))
			r = read_iommufd(space, hwpt, map, q);
		else
			set_range(map->iova, map->size, q->iova, q->length, q->page_size,
				  q->bitmap);
	}
	for (uint32_t i = 0; r == 0 && i < space->gone_count; i++)
		set_range(space->gone[i].iova, space->gone[i].size, q->iova, q->length,
			  q->page_size, q->bitmap);
	return r;
}

int vfio_space_dirty_read(struct vfio_member *m, uint64_t iova, uint64_t length, uint64_t page_size,
			  uint64_t *bitmap)
{
	struct request q = { iova, length, page_size, bitmap };
	int r;

	if (page_size < HF_PAGE_SIZE || (page_size & (page_size - 1)) || length == 0 ||
	    ((iova | length) & (HF_PAGE_SIZE - 1)))
		return -EINVAL;
	if (length > UINT64_MAX - iova)
		return -EOVERFLOW;
	(void)pthread_mutex_lock(&m->space->lock);
	r = read_locked(m, &q);
	(void)pthread_mutex_unlock(&m->space->lock);
	return r;
}
