/* SPDX-License-Identifier: BSD-3-Clause */
/* Planted defects of the log of DMA, and of maps. */
#include <errno.h>
#include <string.h>

#include "backend/device/sim/arcs.h"
#include "backend/device/sim/defect.h"

#define RANGES_FEW 64u

static int start(struct defect *d, uint64_t page_size, const struct hf_dma_range *ranges,
		 uint32_t count)
{
	return d->next.ops->dirty_start(d->next.self, page_size, ranges, count);
}

static int report(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
		  uint64_t *bitmap)
{
	return d->next.ops->dirty_read(d->next.self, iova, length, page_size, bitmap);
}

static int stop(struct defect *d)
{
	return d->next.ops->dirty_stop(d->next.self);
}

/* Words of a bitmap for the report, all of whose bits are in it. */
static uint64_t words_of(uint64_t length, uint64_t page_size)
{
	return length / page_size / 64;
}

/* ---- start and stop ------------------------------------------------------------------------ */

static int stop_missing(struct defect *d)
{
	(void)d;
	return -EOPNOTSUPP;
}

static int start_anyhow(struct defect *d, uint64_t page_size, const struct hf_dma_range *ranges,
			uint32_t count)
{
	(void)d, (void)page_size, (void)ranges, (void)count;
	return 0;
}

static int start_any_count(struct defect *d, uint64_t page_size, const struct hf_dma_range *ranges,
			   uint32_t count)
{
	return count == 0 || count > 256 ? 0 : start(d, page_size, ranges, count);
}

static int start_unaligned(struct defect *d, uint64_t page_size, const struct hf_dma_range *ranges,
			   uint32_t count)
{
	int r = start(d, page_size, ranges, count);

	return count && ((ranges[0].iova | ranges[0].size) & (page_size - 1)) ? 0 : r;
}

static int start_overlapping(struct defect *d, uint64_t page_size,
			     const struct hf_dma_range *ranges, uint32_t count)
{
	int r = start(d, page_size, ranges, count);

	return r == -EINVAL && count == 2 ? start(d, page_size, ranges, 1) : r;
}

static int start_wrapped(struct defect *d, uint64_t page_size, const struct hf_dma_range *ranges,
			 uint32_t count)
{
	int r = start(d, page_size, ranges, count);

	return r == -EOVERFLOW ? 0 : r;
}

static int start_again(struct defect *d, uint64_t page_size, const struct hf_dma_range *ranges,
		       uint32_t count)
{
	(void)stop(d);
	return start(d, page_size, ranges, count);
}

static int start_once(struct defect *d, uint64_t page_size, const struct hf_dma_range *ranges,
		      uint32_t count)
{
	return d->flag ? -EBUSY : start(d, page_size, ranges, count);
}

static int stop_for_good(struct defect *d)
{
	int r = stop(d);

	d->flag = r == 0;
	return r;
}

static int reset_allows(struct defect *d, uint32_t from)
{
	(void)from;
	d->flag = 0;
	return defect_reset(d);
}

static int start_few(struct defect *d, uint64_t page_size, const struct hf_dma_range *ranges,
		     uint32_t count)
{
	return count > RANGES_FEW ? -E2BIG : start(d, page_size, ranges, count);
}

/* ---- reports ------------------------------------------------------------------------------- */

static int report_unstarted(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
			    uint64_t *bitmap)
{
	int r = report(d, iova, length, page_size, bitmap);

	return d->sim->dma.logging ? r : 0;
}

static int report_any_size(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
			   uint64_t *bitmap)
{
	int r = report(d, iova, length, page_size, bitmap);

	return page_size < HF_PAGE_SIZE || (page_size & (page_size - 1)) ? 0 : r;
}

/* The last page that there is to report is left out. */
static int report_misses(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
			 uint64_t *bitmap)
{
	int r = report(d, iova, length, page_size, bitmap);

	for (uint64_t w = r < 0 ? 0 : words_of(length, page_size); w-- > 0;)
		if (bitmap[w]) {
			bitmap[w] &= ~(1ull << (63 - __builtin_clzll(bitmap[w])));
			break;
		}
	return r;
}

static int report_all(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
		      uint64_t *bitmap)
{
	int r = report(d, iova, length, page_size, bitmap);

	for (uint64_t w = 0; r == 0 && w < words_of(length, page_size); w++)
		bitmap[w] = ~0ull;
	return r;
}

static int report_keeps(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
			uint64_t *bitmap)
{
	int r = report(d, iova, length, page_size, bitmap);
	uint64_t words = words_of(length, page_size);

	for (uint64_t w = 0; r == 0 && w < words && w < DEFECT_KEEP_WORDS; w++) {
		bitmap[w] |= d->keep[w];
		d->keep[w] = bitmap[w];
	}
	return r;
}

static int report_empties(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
			  uint64_t *bitmap)
{
	for (uint64_t w = 0; w < words_of(length, page_size); w++)
		bitmap[w] = 0;
	return report(d, iova, length, page_size, bitmap);
}

/* A report of a part clears the log, and is empty. */
static int report_whole_only(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
			     uint64_t *bitmap)
{
	int r = report(d, iova, length, page_size, bitmap);

	if (r == 0 && d->sim->dma.range_count && length < d->sim->dma.ranges[0].size)
		for (uint64_t w = 0; w < words_of(length, page_size); w++)
			bitmap[w] = 0;
	return r;
}

static int report_outside(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
			  uint64_t *bitmap)
{
	int r = report(d, iova, length, page_size, bitmap);

	if (r == 0 && d->sim->dma.range_count && iova < d->sim->dma.ranges[0].iova)
		bitmap[0] |= 1;
	return r;
}

/*
 * One bit too far, where a report of one word is asked for that is not aligned to its length: so
 * that it is seen where it is looked for, and breaks nothing of a program that does not look.
 */
static int report_too_far(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
			  uint64_t *bitmap)
{
	int r = report(d, iova, length, page_size, bitmap);

	if (r == 0 && length == 64 * page_size && iova % length)
		bitmap[1] ^= 1;
	return r;
}

static int report_small_only(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
			     uint64_t *bitmap)
{
	int r = report(d, iova, length, page_size, bitmap);
	uint64_t bits = length / page_size;

	if (r == 0 && page_size > HF_PAGE_SIZE)
		for (uint64_t bit = 0; bit < bits; bit++)
			bitmap[bit / 64] &= ~(1ull << (bit % 64));
	return r;
}

static void forget(struct defect *d)
{
	defect_lock(d);
	for (uint32_t i = 0; i < d->sim->dma.range_count; i++) {
		struct sim_log_range *range = &d->sim->dma.ranges[i];

		memset(range->bits, 0, ((range->size >> HF_PAGE_SHIFT) / 64 + 1) * 8);
	}
	defect_unlock(d);
}

static int forgets_at(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	(void)from;
	if (r == 0 && to == d->row->arg)
		forget(d);
	return r;
}

/* What a command reads is in the log as well. */
static int reads_logged(struct defect *d, uint32_t index, uint64_t at, const void *buf, size_t size)
{
	if (index == 0 && at == HF_SIM_COMMAND && d->sim->dma.range_count) {
		struct sim_log_range *range = &d->sim->dma.ranges[0];
		uint64_t src = d->sim->model.src;

		defect_lock(d);
		if (src >= range->iova && src - range->iova < range->size) {
			uint64_t page = (src - range->iova) >> HF_PAGE_SHIFT;

			range->bits[page / 64] |= 1ull << (page % 64);
		}
		defect_unlock(d);
	}
	return d->next.ops->region_write(d->next.self, index, at, buf, size);
}

/* ---- maps ---------------------------------------------------------------------------------- */

static int map_over(struct defect *d, uint64_t iova, uint64_t size, int r)
{
	(void)d, (void)iova, (void)size;
	return r == -EEXIST ? 0 : r;
}

static int map_unaligned(struct defect *d, uint64_t iova, uint64_t size, int r)
{
	(void)d;
	return (iova | size) & (HF_PAGE_SIZE - 1) ? 0 : r;
}

static int unmap_part(struct defect *d, uint64_t iova, uint64_t size)
{
	int r = d->next.ops->dma_unmap(d->next.self, iova, size);

	return r == -EINVAL ? 0 : r;
}

static int unmap_late(struct defect *d, uint64_t iova, uint64_t size)
{
	return size == HF_PAGE_SIZE ? 0 : d->next.ops->dma_unmap(d->next.self, iova, size);
}

/* clang-format off */
const struct defect_row defect_rows_log[] = {
	{ "log.all-or-none", .stop = stop_missing },
	{ "log.none-refused", .start = start_anyhow },
	{ "log.start-count", .start = start_any_count },
	{ "log.start-aligned", .start = start_unaligned },
	{ "log.start-overlap", .start = start_overlapping },
	{ "log.start-wrap", .start = start_wrapped },
	{ "log.start-twice", .start = start_again },
	{ "log.restart", .start = start_once, .stop = stop_for_good, .reset = reset_allows },
	{ "log.many-ranges", .start = start_few },
	{ "log.report-early", .report = report_unstarted },
	{ "log.report-late", .report = report_unstarted },
	{ "log.report-page-size", .report = report_any_size },
	{ "log.complete", .report = report_misses },
	{ "log.precise", .report = report_all },
	{ "log.report-clears", .report = report_keeps },
	{ "log.report-only-sets", .report = report_empties },
	{ "log.parts", .report = report_whole_only },
	{ "log.outside", .report = report_outside },
	{ "log.bitmap-bounds", .report = report_too_far },
	{ "log.page-sizes", .report = report_small_only },
	{ "log.across-stop", HF_DEVICE_STOP_COPY, .set = forgets_at },
	{ "log.across-pre-copy", HF_DEVICE_PRE_COPY, .set = forgets_at },
	{ "log.reads-are-none", .store = reads_logged },
	{ "dma.overlap", .map = map_over },
	{ "dma.aligned", .map = map_unaligned },
	{ "dma.unmap-whole", .unmap = unmap_part },
	{ "dma.unmap-ends", .unmap = unmap_late },
};
/* clang-format on */
const uint32_t defect_count_log = sizeof(defect_rows_log) / sizeof(defect_rows_log[0]);
