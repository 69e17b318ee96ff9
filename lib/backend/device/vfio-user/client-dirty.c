/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages a served device's DMA may have written: what its server logs, and what it wrote by
 * messages, which we see ourselves and some servers do not log. A server that may not touch memory
 * but by messages needs no log of its own; one that has none and maps memory leaves only one right
 * answer, all that it may write, and info() says so.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/device/vfio-user/client.h"
#include "base/error.h"

#define REPORT_HEAD (8u + VU_LOG_REPORT_BYTES) /* argsz, flags; iova, length, page_size */

static int server_logs(struct vu_client *c)
{
	static const uint32_t needed[] = { VU_FEATURE_SET | VU_FEATURE_LOG_START,
					   VU_FEATURE_SET | VU_FEATURE_LOG_STOP,
					   VU_FEATURE_GET | VU_FEATURE_LOG_REPORT };

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (vu_feature(c, VU_FEATURE_PROBE | needed[i], NULL, 0) < 0)
			return 0;
	return 1;
}

/* Pages of one report: a whole number of the bitmap's words. */
static uint64_t chunk_pages(const struct vu_client *c)
{
	uint64_t fit = (uint64_t)(c->caps.max_data_xfer_size - REPORT_HEAD) / 8 * 64;

	return fit < VU_LOG_CHUNK_PAGES ? fit : VU_LOG_CHUNK_PAGES;
}

int vu_dirty_init(struct vu_client *c, struct hf_error *err)
{
	int logs = server_logs(c);

	c->dirty = c->config.dirty;
	if (c->dirty == VU_DIRTY_AUTO)
		c->dirty =
			logs || c->config.share == VU_SHARE_NONE ? VU_DIRTY_DEVICE : VU_DIRTY_ALL;
	if (c->dirty == VU_DIRTY_DEVICE && !logs && c->config.share != VU_SHARE_NONE)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio-user: %.100s does not log its DMA (dirty=device)",
				 c->config.path);
	c->info.flags |= HF_DEVICE_HAS_DMA_LOGGING;
	if (c->dirty == VU_DIRTY_ALL)
		c->info.flags |= HF_DEVICE_DIRTY_ALL;
	if (c->dirty != VU_DIRTY_DEVICE || !logs)
		return 0;
	c->log = malloc(REPORT_HEAD + (size_t)(chunk_pages(c) / 8));
	if (!c->log)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "vfio-user: %.100s", c->config.path);
	return 0;
}

static int start_server(struct vu_client *c, uint64_t page_size, const struct hf_dma_range *ranges,
			uint32_t count)
{
	uint8_t data[VU_LOG_START_BYTES + SIM_LOG_RANGES_MAX * 16];
	struct vu_exchange m = { .command = VU_DEVICE_FEATURE };
	uint8_t reply[sizeof(data) + VU_FIXED_MAX];

	assert(count <= SIM_LOG_RANGES_MAX);
	vu_put64(data, page_size);
	vu_put32(data + 8, count);
	vu_put32(data + 12, 0);
	for (uint32_t i = 0; i < count; i++) {
		vu_put64(data + VU_LOG_START_BYTES + 16 * (size_t)i, ranges[i].iova);
		vu_put64(data + VU_LOG_START_BYTES + 16 * (size_t)i + 8, ranges[i].size);
	}
	m.buf = reply;
	m.capacity = sizeof(reply);
	m.request.tail = data;
	m.request.tail_size = VU_LOG_START_BYTES + 16 * (size_t)count;
	m.request.v[VU_ARGSZ] = vu_fixed_size(VU_DEVICE_FEATURE, 0) + m.request.tail_size;
	m.request.v[VU_FLAGS] = VU_FEATURE_SET | VU_FEATURE_LOG_START;
	return vu_command(c, &m);
}

static int own_stop(struct vu_client *c)
{
	int r;

	(void)pthread_mutex_lock(&c->dma_lock);
	r = sim_log_stop(&c->dma);
	(void)pthread_mutex_unlock(&c->dma_lock);
	return r;
}

int vu_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
		   uint32_t count)
{
	struct vu_client *c = self;
	int r;

	(void)pthread_mutex_lock(&c->dma_lock);
	r = sim_log_start(&c->dma, page_size, ranges, count);
	(void)pthread_mutex_unlock(&c->dma_lock);
	if (r < 0 || !c->log)
		return r;
	r = start_server(c, page_size, ranges, count);
	if (r < 0)
		(void)own_stop(c); /* it was started above */
	return r;
}

/* ---- reports --------------------------------------------------------------------------------- */

static int report(struct vu_client *c, uint64_t iova, uint64_t length, uint64_t page_size,
		  uint64_t *bitmap)
{
	uint64_t pages = length / page_size + (length % page_size != 0);
	size_t words = (size_t)(pages / 64 + (pages % 64 != 0));
	uint8_t data[VU_LOG_REPORT_BYTES];
	struct vu_exchange m = { .command = VU_DEVICE_FEATURE,
				 .buf = c->log,
				 .capacity = REPORT_HEAD + words * 8 };
	int r;

	vu_put64(data, iova);
	vu_put64(data + 8, length);
	vu_put64(data + 16, page_size);
	m.request.tail = data;
	m.request.tail_size = sizeof(data);
	m.request.v[VU_ARGSZ] = m.capacity;
	m.request.v[VU_FLAGS] = VU_FEATURE_GET | VU_FEATURE_LOG_REPORT;
	r = vu_command(c, &m);
	if (r < 0)
		return r;
	if (m.reply.tail_size != VU_LOG_REPORT_BYTES + words * 8)
		return vu_malformed(c, VU_DEVICE_FEATURE, "bitmap");
	for (size_t w = 0; w < words; w++) {
		uint64_t bits = vu_get64(m.reply.tail + VU_LOG_REPORT_BYTES + 8 * w);

		if (w == words - 1 && pages % 64) /* bits behind the end are no pages */
			bits &= (1ull << (pages % 64)) - 1;
		bitmap[w] |= bits;
	}
	return 0;
}

/* Chunk by chunk: each begins with a word of the bitmap. */
static int report_all(struct vu_client *c, uint64_t iova, uint64_t length, uint64_t page_size,
		      uint64_t *bitmap)
{
	uint64_t chunk;
	int r = 0;

	if (__builtin_mul_overflow(chunk_pages(c), page_size, &chunk))
		chunk = length;
	for (uint64_t done = 0; r == 0 && done < length;) {
		uint64_t rest = length - done, n = rest < chunk ? rest : chunk;

		r = report(c, iova + done, n, page_size, bitmap + done / page_size / 64);
		done += n;
	}
	return r;
}

/* Everything that it may write, since nobody knows. */
static void all_mapped(struct vu_client *c, uint64_t iova, uint64_t length, uint64_t page_size,
		       uint64_t *bitmap)
{
	for (uint32_t i = 0; i < c->dma.map_count; i++) {
		const struct sim_dma_map *m = &c->dma.maps[i];
		uint64_t first, last, end = iova + (length - 1), map_end = m->iova + (m->size - 1);

		if (!(m->flags & HF_DMA_WRITE) || m->iova > end || map_end < iova)
			continue;
		first = m->iova > iova ? m->iova - iova : 0;
		last = (map_end < end ? map_end : end) - iova;
		for (uint64_t p = first / page_size; p <= last / page_size; p++)
			bitmap[p / 64] |= 1ull << (p % 64);
	}
}

int vu_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size, uint64_t *bitmap)
{
	struct vu_client *c = self;
	int r;

	/* Ours last: what is written by a message while we ask is then told twice, not lost. */
	(void)pthread_mutex_lock(&c->dma_lock);
	r = sim_log_check(&c->dma, iova, length, page_size);
	(void)pthread_mutex_unlock(&c->dma_lock);
	if (r == 0 && c->log)
		r = report_all(c, iova, length, page_size, bitmap);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&c->dma_lock);
	r = sim_log_read(&c->dma, iova, length, page_size, bitmap);
	if (r == 0 && c->dirty == VU_DIRTY_ALL)
		all_mapped(c, iova, length, page_size, bitmap);
	(void)pthread_mutex_unlock(&c->dma_lock);
	return r;
}

int vu_dirty_stop(void *self)
{
	struct vu_client *c = self;
	int r = own_stop(c);

	if (r < 0 || !c->log)
		return r;
	return vu_feature(c, VU_FEATURE_SET | VU_FEATURE_LOG_STOP, NULL, 0);
}
