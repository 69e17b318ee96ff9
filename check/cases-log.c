/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of the log of DMA, and of maps. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "check/run.h"

#define WORDS (CHECK_RAM_PAGES / 64)
#define WORK_PAGE ((CHECK_WORK_IOVA - CHECK_RAM_IOVA) / HF_PAGE_SIZE)
#define PRECISE_MAX 8u /* reported pages for each one that was written */

static const struct hf_dma_range all_ram = { CHECK_RAM_IOVA, CHECK_RAM_SIZE };

static int start(struct check *c, const struct hf_dma_range *ranges, uint32_t count)
{
	return OPS(c)->dirty_start(SELF(c), HF_PAGE_SIZE, ranges, count);
}

static bool started(struct check *c, const struct hf_dma_range *ranges, uint32_t count)
{
	int r = start(c, ranges, count);

	return r >= 0 || check_fail(c, "logging does not start: %s", check_errno(r));
}

static bool stopped(struct check *c)
{
	int r = OPS(c)->dirty_stop(SELF(c));

	return r >= 0 || check_fail(c, "logging does not stop: %s", check_errno(r));
}

static bool report(struct check *c, uint64_t iova, uint64_t length, uint64_t page_size,
		   uint64_t *bitmap)
{
	int r = OPS(c)->dirty_read(SELF(c), iova, length, page_size, bitmap);

	return r >= 0 || check_fail(c, "a report gave %s", check_errno(r));
}

static bool report_all(struct check *c, uint64_t bitmap[WORDS])
{
	memset(bitmap, 0, WORDS * sizeof(bitmap[0]));
	return report(c, CHECK_RAM_IOVA, CHECK_RAM_SIZE, HF_PAGE_SIZE, bitmap);
}

static bool is_set(const uint64_t *bitmap, uint64_t bit)
{
	return (bitmap[bit / 64] >> (bit % 64)) & 1;
}

/* The pages that work() writes: far apart, alone and in rows. */
static const struct {
	uint32_t page, count;
} written[] = { { WORK_PAGE, 1 }, { WORK_PAGE + 63, 3 }, { 200, 1 }, { 511, 2 }, { 1023, 1 } };
#define WRITTEN (sizeof(written) / sizeof(written[0]))

static bool work(struct check *c)
{
	for (uint32_t i = 0; i < WRITTEN; i++)
		if (!c->driver->work(c, CHECK_RAM_IOVA + written[i].page * HF_PAGE_SIZE,
				     written[i].count * HF_PAGE_SIZE))
			return false;
	return true;
}

static bool all_reported(struct check *c, const uint64_t *bitmap, const char *where)
{
	for (uint32_t i = 0; i < WRITTEN; i++)
		for (uint32_t p = 0; p < written[i].count; p++)
			if (!is_set(bitmap, written[i].page + p))
				return check_fail(c,
						  "page %" PRIu32 " was written, and is not "
						  "reported%s",
						  written[i].page + p, where);
	return true;
}

static void has_to_fail(struct check *c, int r, const char *what)
{
	if (r >= 0)
		(void)check_fail(c, "%s succeeded", what);
}

/* ---- starting and stopping ----------------------------------------------------------------- */

void check_log_all(struct check *c)
{
	uint64_t bitmap[WORDS];

	if (started(c, &all_ram, 1) && report_all(c, bitmap))
		(void)stopped(c);
}

void check_log_none(struct check *c)
{
	has_to_fail(c, start(c, &all_ram, 1), "a start without logging");
}

void check_log_count(struct check *c)
{
	struct hf_dma_range ranges[257];

	for (uint32_t i = 0; i < 257; i++)
		ranges[i] = (struct hf_dma_range){ CHECK_RAM_IOVA + i * 2ull * HF_PAGE_SIZE,
						   HF_PAGE_SIZE };
	has_to_fail(c, start(c, ranges, 0), "a start with no range");
	(void)OPS(c)->dirty_stop(SELF(c));
	has_to_fail(c, start(c, ranges, 257), "a start with 257 ranges");
}

void check_log_aligned(struct check *c)
{
	const struct hf_dma_range begin = { CHECK_RAM_IOVA + 512, HF_PAGE_SIZE };
	const struct hf_dma_range end = { CHECK_RAM_IOVA, HF_PAGE_SIZE + 512 };

	has_to_fail(c, start(c, &begin, 1), "a start with a range that begins in a page");
	(void)OPS(c)->dirty_stop(SELF(c));
	has_to_fail(c, start(c, &end, 1), "a start with a range that ends in a page");
}

void check_log_overlap(struct check *c)
{
	const struct hf_dma_range ranges[2] = { { CHECK_RAM_IOVA, 4ull * HF_PAGE_SIZE },
						{ CHECK_RAM_IOVA + 3ull * HF_PAGE_SIZE,
						  4ull * HF_PAGE_SIZE } };

	has_to_fail(c, start(c, ranges, 2), "a start with ranges that overlap");
}

void check_log_wrap(struct check *c)
{
	const struct hf_dma_range range = { UINT64_MAX - HF_PAGE_SIZE + 1, 2ull * HF_PAGE_SIZE };

	has_to_fail(c, start(c, &range, 1), "a start with a range beyond the end");
}

void check_log_twice(struct check *c)
{
	if (started(c, &all_ram, 1))
		has_to_fail(c, start(c, &all_ram, 1), "a second start");
}

void check_log_restart(struct check *c)
{
	if (started(c, &all_ram, 1) && stopped(c) && started(c, &all_ram, 1))
		(void)stopped(c);
}

void check_log_many(struct check *c)
{
	struct hf_dma_range ranges[256];

	for (uint32_t i = 0; i < 256; i++)
		ranges[i] = (struct hf_dma_range){ CHECK_RAM_IOVA + i * 2ull * HF_PAGE_SIZE,
						   HF_PAGE_SIZE };
	(void)started(c, ranges, 256);
}

void check_log_early(struct check *c)
{
	uint64_t bitmap[WORDS] = { 0 };

	has_to_fail(
		c,
		OPS(c)->dirty_read(SELF(c), CHECK_RAM_IOVA, CHECK_RAM_SIZE, HF_PAGE_SIZE, bitmap),
		"a report before the start");
}

void check_log_late(struct check *c)
{
	uint64_t bitmap[WORDS] = { 0 };

	if (started(c, &all_ram, 1) && stopped(c))
		has_to_fail(c,
			    OPS(c)->dirty_read(SELF(c), CHECK_RAM_IOVA, CHECK_RAM_SIZE,
					       HF_PAGE_SIZE, bitmap),
			    "a report after the stop");
}

void check_log_page_size(struct check *c)
{
	uint64_t bitmap[WORDS * 8] = { 0 };

	if (!started(c, &all_ram, 1))
		return;
	has_to_fail(c, OPS(c)->dirty_read(SELF(c), CHECK_RAM_IOVA, CHECK_RAM_SIZE, 2048, bitmap),
		    "a report by pages of 2048 bytes");
	has_to_fail(c, OPS(c)->dirty_read(SELF(c), CHECK_RAM_IOVA, CHECK_RAM_SIZE, 12288, bitmap),
		    "a report by pages of 12288 bytes");
}

/* ---- reports ------------------------------------------------------------------------------- */

void check_log_complete(struct check *c)
{
	uint64_t bitmap[WORDS];

	if (started(c, &all_ram, 1) && work(c) && report_all(c, bitmap))
		(void)all_reported(c, bitmap, "");
}

void check_log_precise(struct check *c)
{
	uint64_t bitmap[WORDS];
	uint32_t reported = 0;

	if (!started(c, &all_ram, 1) || !c->driver->work(c, CHECK_WORK_IOVA, 256) ||
	    !report_all(c, bitmap))
		return;
	for (uint32_t i = 0; i < WORDS; i++)
		reported += (uint32_t)__builtin_popcountll(bitmap[i]);
	if (reported > PRECISE_MAX) /* the page, and those of its driver's rings */
		(void)check_fail(c, "%" PRIu32 " pages are reported where one was written",
				 reported);
}

void check_log_clears(struct check *c)
{
	uint64_t bitmap[WORDS];

	if (!started(c, &all_ram, 1) || !work(c) || !report_all(c, bitmap) ||
	    !report_all(c, bitmap))
		return;
	for (uint32_t page = 0; page < CHECK_RAM_PAGES; page++)
		if (is_set(bitmap, page)) {
			(void)check_fail(c, "page %" PRIu32 " is reported again", page);
			return;
		}
}

void check_log_sets(struct check *c)
{
	uint64_t bitmap[WORDS];

	memset(bitmap, 0xff, sizeof(bitmap));
	if (!started(c, &all_ram, 1) ||
	    !report(c, CHECK_RAM_IOVA, CHECK_RAM_SIZE, HF_PAGE_SIZE, bitmap))
		return;
	for (uint32_t i = 0; i < WORDS; i++)
		if (~bitmap[i]) {
			(void)check_fail(c, "bits that were set before the report are not now");
			return;
		}
}

void check_log_parts(struct check *c)
{
	uint64_t bitmap[WORDS];
	const uint64_t part = 64ull * HF_PAGE_SIZE;

	memset(bitmap, 0, sizeof(bitmap));
	if (!started(c, &all_ram, 1) || !work(c))
		return;
	for (uint32_t i = 0; i < WORDS; i++)
		if (!report(c, CHECK_RAM_IOVA + i * part, part, HF_PAGE_SIZE, &bitmap[i]))
			return;
	(void)all_reported(c, bitmap, " by parts");
}

void check_log_outside(struct check *c)
{
	const struct hf_dma_range upper = { CHECK_RAM_IOVA + CHECK_RAM_SIZE / 2,
					    CHECK_RAM_SIZE / 2 };
	uint64_t bitmap[WORDS] = { 0 };

	if (!started(c, &upper, 1) || !work(c))
		return;
	/* It may be an error; if it is not, nothing of the lower half is there. */
	if (OPS(c)->dirty_read(SELF(c), CHECK_RAM_IOVA, CHECK_RAM_SIZE / 2, HF_PAGE_SIZE, bitmap) <
	    0)
		return;
	for (uint32_t page = 0; page < CHECK_RAM_PAGES / 2; page++)
		if (is_set(bitmap, page)) {
			(void)check_fail(c, "page %" PRIu32 " is reported, and was not logged",
					 page);
			return;
		}
}

void check_log_guard(struct check *c)
{
	const uint64_t guard = 0x5a5a5a5a5a5a5a5aull;
	uint64_t bitmap[3] = { guard, 0, guard };

	if (!started(c, &all_ram, 1) || !work(c) ||
	    !report(c, CHECK_WORK_IOVA, 64ull * HF_PAGE_SIZE, HF_PAGE_SIZE, &bitmap[1]))
		return;
	if (bitmap[0] != guard || bitmap[2] != guard)
		(void)check_fail(c, "a report of 64 pages wrote beside its one word");
}

void check_log_sizes(struct check *c)
{
	static const uint64_t sizes[] = { 65536, 2u << 20 };

	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t bitmap[WORDS] = { 0 };
		const uint64_t pages = sizes[i] / HF_PAGE_SIZE;

		if (!check_fresh(c) || !started(c, &all_ram, 1) || !work(c) ||
		    !report(c, CHECK_RAM_IOVA, CHECK_RAM_SIZE, sizes[i], bitmap))
			return;
		for (uint32_t w = 0; w < WRITTEN; w++)
			if (!is_set(bitmap, written[w].page / pages)) {
				(void)check_fail(c,
						 "by pages of %" PRIu64 " KiB, number %" PRIu64
						 " was written and is not reported",
						 sizes[i] / 1024, written[w].page / pages);
				return;
			}
		for (uint64_t bit = CHECK_RAM_PAGES / pages; bit < CHECK_RAM_PAGES; bit++)
			if (is_set(bitmap, bit)) {
				(void)check_fail(c,
						 "by pages of %" PRIu64 " KiB, number %" PRIu64
						 " is reported, which there is not",
						 sizes[i] / 1024, bit);
				return;
			}
	}
}

void check_log_stop(struct check *c)
{
	uint64_t bitmap[WORDS];

	if (started(c, &all_ram, 1) && work(c) && check_go(c, HF_DEVICE_STOP_COPY) &&
	    report_all(c, bitmap))
		(void)all_reported(c, bitmap, " in STOP_COPY");
}

void check_log_precopy(struct check *c)
{
	uint64_t bitmap[WORDS];

	if (started(c, &all_ram, 1) && work(c) && check_go(c, HF_DEVICE_PRE_COPY) &&
	    report_all(c, bitmap))
		(void)all_reported(c, bitmap, " in PRE_COPY");
}

void check_log_reads(struct check *c)
{
	uint64_t bitmap[WORDS];
	const uint32_t page = 700;

	if (started(c, &all_ram, 1) &&
	    c->driver->read(c, CHECK_RAM_IOVA + page * (uint64_t)HF_PAGE_SIZE, HF_PAGE_SIZE) &&
	    report_all(c, bitmap) && is_set(bitmap, page))
		(void)check_fail(c, "a page that was only read is reported");
}

/* ---- maps ---------------------------------------------------------------------------------- */

#define FREE_IOVA (CHECK_RAM_IOVA + 2ull * CHECK_RAM_SIZE)

static int map(struct check *c, uint64_t iova, uint64_t size, void *at)
{
	return OPS(c)->dma_map(SELF(c), iova, size, at, -1, 0, HF_DMA_READ | HF_DMA_WRITE);
}

void check_dma_overlap(struct check *c)
{
	has_to_fail(c,
		    map(c, CHECK_RAM_IOVA + CHECK_RAM_SIZE - HF_PAGE_SIZE, 2ull * HF_PAGE_SIZE,
			c->peer),
		    "a map over another one");
}

void check_dma_aligned(struct check *c)
{
	has_to_fail(c, map(c, FREE_IOVA + 512, HF_PAGE_SIZE, c->peer), "a map at 512 in a page");
	has_to_fail(c, map(c, FREE_IOVA, 512, c->peer), "a map of 512 bytes");
	(void)OPS(c)->dma_unmap(SELF(c), FREE_IOVA, HF_PAGE_SIZE);
}

void check_dma_split(struct check *c)
{
	has_to_fail(
		c,
		OPS(c)->dma_unmap(SELF(c), CHECK_RAM_IOVA + CHECK_RAM_SIZE / 2, CHECK_RAM_SIZE / 2),
		"taking away a part of a map");
}

/* A page of its own, since what was mapped here is written to if the check finds something. */
void check_dma_unmap(struct check *c)
{
	uint8_t *page = c->peer + CHECK_PEER_SIZE - HF_PAGE_SIZE;
	int r = map(c, FREE_IOVA, HF_PAGE_SIZE, page);

	if (r < 0) {
		(void)check_fail(c, "a page could not be mapped: %s", check_errno(r));
		return;
	}
	if (!c->driver->work(c, FREE_IOVA, 256))
		return;
	r = OPS(c)->dma_unmap(SELF(c), FREE_IOVA, HF_PAGE_SIZE);
	if (r < 0) {
		(void)check_fail(c, "the page could not be taken away: %s", check_errno(r));
		return;
	}
	memset(page, 0, HF_PAGE_SIZE);
	(void)c->driver->work(c, FREE_IOVA, 256); /* it fails, in whatever way */
	c->result->verdict = CHECK_PASS;
	for (uint32_t i = 0; i < HF_PAGE_SIZE; i++)
		if (page[i]) {
			(void)check_fail(c, "it wrote where nothing is mapped any more");
			return;
		}
	c->result->text[0] = 0;
}
