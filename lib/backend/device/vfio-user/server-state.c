/* SPDX-License-Identifier: BSD-3-Clause */
/* Migration of a served device: DEVICE_FEATURE, MIG_DATA_*, DEVICE_RESET (server.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/device/vfio-user/server.h"

#define HEAD 8u /* argsz and flags, or argsz and size */
#define LOG_RANGES_MAX 256u

int vu_do_reset(struct vu_conn *c)
{
	return c->device.ops->reset(c->device.self);
}

/* ---- data ------------------------------------------------------------------------------------ */

/* There is no word for "nothing for now" but a reply of 0 bytes. */
int vu_do_data_read(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	ssize_t n;

	if (request->v[VU_SIZE] > c->xfer)
		return -EINVAL;
	n = c->device.ops->read_data(c->device.self, c->data, (size_t)request->v[VU_SIZE]);
	if (n == -ENOMSG)
		n = 0;
	if (n < 0)
		return (int)n;
	if ((uint64_t)n > request->v[VU_SIZE])
		return -EIO; /* the device is at fault */
	answer->body.v[VU_ARGSZ] = HEAD + (uint64_t)n;
	answer->body.v[VU_SIZE] = (uint64_t)n;
	answer->body.tail = c->data;
	answer->body.tail_size = (size_t)n;
	return 0;
}

int vu_do_data_write(struct vu_conn *c, const struct vu_body *request)
{
	const uint8_t *from = request->tail;
	size_t left = request->tail_size;
	ssize_t n = 0;

	do { /* also of nothing: it is the state that matters then */
		n = c->device.ops->write_data(c->device.self, from, left);
		if (n < 0)
			return (int)n;
		if ((size_t)n > left || (left && n == 0))
			return -EIO;
		from += n;
		left -= (size_t)n;
	} while (left);
	return 0;
}

/* ---- features -------------------------------------------------------------------------------- */

/* An answer of size bytes. */
static int data_answer(const struct vu_body *request, struct vu_answer *answer, size_t size)
{
	if (request->v[VU_ARGSZ] < HEAD + size)
		return -EINVAL;
	answer->buf = calloc(1, size + 1);
	if (!answer->buf)
		return -ENOMEM;
	answer->body.tail = answer->buf;
	answer->body.tail_size = size;
	answer->body.v[VU_ARGSZ] = HEAD + size;
	return 0;
}

static int get_migration(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	int r = data_answer(request, answer, 8);

	if (r == 0)
		vu_put64(answer->buf, c->info.mig_flags);
	return r;
}

static int get_state(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	uint32_t state = 0;
	int r = data_answer(request, answer, 8);

	if (r == 0)
		r = c->device.ops->get_state(c->device.self, &state);
	if (r < 0)
		return r;
	vu_put32(answer->buf, state);
	vu_put32(answer->buf + 4, UINT32_MAX); /* data_fd */
	return 0;
}

static int set_state(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	int r;

	if (request->tail_size < 8)
		return -EINVAL;
	r = data_answer(request, answer, 8);
	if (r == 0)
		r = c->device.ops->set_state(c->device.self, vu_get32(request->tail));
	if (r < 0)
		return r;
	vu_put32(answer->buf, vu_get32(request->tail));
	vu_put32(answer->buf + 4, UINT32_MAX);
	return 0;
}

static int get_data_size(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	uint64_t bytes = 0;
	int r = data_answer(request, answer, 8);

	if (r == 0)
		r = c->device.ops->data_size(c->device.self, &bytes);
	if (r == 0)
		vu_put64(answer->buf, bytes);
	return r;
}

static int get_precopy_info(struct vu_conn *c, const struct vu_body *request,
			    struct vu_answer *answer)
{
	uint64_t initial = 0, dirty = 0;
	int r = data_answer(request, answer, 16);

	if (r == 0)
		r = c->device.ops->precopy_info(c->device.self, &initial, &dirty);
	if (r < 0)
		return r;
	vu_put64(answer->buf, initial);
	vu_put64(answer->buf + 8, dirty);
	return 0;
}

static int log_start(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	struct hf_dma_range ranges[LOG_RANGES_MAX];
	uint64_t page_size;
	uint32_t count;
	int r;

	if (request->tail_size < VU_LOG_START_BYTES)
		return -EINVAL;
	page_size = vu_get64(request->tail);
	count = vu_get32(request->tail + 8);
	/*
	 * None would be "all", which each later DMA_MAP would make something else: the kernel
	 * refuses it, and so do we.
	 */
	if (count == 0 || vu_get32(request->tail + 12))
		return -EINVAL;
	if (count > LOG_RANGES_MAX)
		return -E2BIG;
	if (request->tail_size != VU_LOG_START_BYTES + 16 * (size_t)count)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *at = request->tail + VU_LOG_START_BYTES + 16 * (size_t)i;

		ranges[i] = (struct hf_dma_range){ vu_get64(at), vu_get64(at + 8) };
	}
	r = data_answer(request, answer, request->tail_size);
	if (r == 0)
		r = c->device.ops->dirty_start(c->device.self, page_size, ranges, count);
	if (r < 0)
		return r;
	c->logging = 1;
	memcpy(answer->buf, request->tail, request->tail_size);
	return 0;
}

static int log_stop(struct vu_conn *c)
{
	int r = c->device.ops->dirty_stop(c->device.self);

	if (r == 0)
		c->logging = 0;
	return r;
}

static int log_report(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	uint64_t iova, length, page_size, pages, bytes;
	uint64_t *bitmap;
	int r;

	if (request->tail_size < VU_LOG_REPORT_BYTES)
		return -EINVAL;
	iova = vu_get64(request->tail);
	length = vu_get64(request->tail + 8);
	page_size = vu_get64(request->tail + 16);
	if (page_size < HF_PAGE_SIZE || (page_size & (page_size - 1)) || length == 0)
		return -EINVAL;
	if (length > UINT64_MAX - iova)
		return -EOVERFLOW;
	pages = length / page_size + (length % page_size != 0);
	bytes = (pages / 64 + (pages % 64 != 0)) * 8;
	if (bytes > c->xfer)
		return -E2BIG;
	r = data_answer(request, answer, (size_t)(VU_LOG_REPORT_BYTES + bytes));
	if (r < 0)
		return r;
	bitmap = calloc(1, (size_t)bytes);
	if (!bitmap)
		return -ENOMEM;
	r = c->device.ops->dirty_read(c->device.self, iova, length, page_size, bitmap);
	memcpy(answer->buf, request->tail, VU_LOG_REPORT_BYTES);
	memcpy(answer->buf + VU_LOG_REPORT_BYTES, bitmap, (size_t)bytes);
	free(bitmap);
	return r;
}

/* What the device has, and which of GET and SET the feature takes. */
static uint32_t ways(const struct vu_conn *c, uint32_t feature)
{
	int migrates = c->info.mig_flags != 0;
	int logs = (c->info.flags & HF_DEVICE_HAS_DMA_LOGGING) != 0;

	switch (feature) {
	case VU_FEATURE_MIGRATION:
		return migrates ? VU_FEATURE_GET : 0;
	case VU_FEATURE_MIG_STATE:
		return migrates ? VU_FEATURE_GET | VU_FEATURE_SET : 0;
	case VU_FEATURE_DATA_SIZE:
		return migrates && (c->info.flags & HF_DEVICE_HAS_DATA_SIZE) ? VU_FEATURE_GET : 0;
	case VU_FEATURE_PRECOPY_INFO:
		return c->info.mig_flags & HF_MIG_PRE_COPY ? VU_FEATURE_GET : 0;
	case VU_FEATURE_LOG_START:
	case VU_FEATURE_LOG_STOP:
		return logs ? VU_FEATURE_SET : 0;
	case VU_FEATURE_LOG_REPORT:
		return logs ? VU_FEATURE_GET : 0;
	default:
		return 0;
	}
}

static int do_one(struct vu_conn *c, uint32_t flags, const struct vu_body *request,
		  struct vu_answer *answer)
{
	switch (flags & VU_FEATURE_MASK) {
	case VU_FEATURE_MIGRATION:
		return get_migration(c, request, answer);
	case VU_FEATURE_MIG_STATE:
		return flags & VU_FEATURE_SET ? set_state(c, request, answer)
					      : get_state(c, request, answer);
	case VU_FEATURE_DATA_SIZE:
		return get_data_size(c, request, answer);
	case VU_FEATURE_PRECOPY_INFO:
		return get_precopy_info(c, request, answer);
	case VU_FEATURE_LOG_START:
		return log_start(c, request, answer);
	case VU_FEATURE_LOG_STOP:
		return log_stop(c);
	case VU_FEATURE_LOG_REPORT:
		return log_report(c, request, answer);
	default:
		return -ENOTTY;
	}
}

int vu_do_feature(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	uint32_t flags = (uint32_t)request->v[VU_FLAGS];
	uint32_t asked = flags & (VU_FEATURE_GET | VU_FEATURE_SET);
	uint32_t can = ways(c, flags & VU_FEATURE_MASK);

	if (flags & ~(VU_FEATURE_MASK | VU_FEATURE_GET | VU_FEATURE_SET | VU_FEATURE_PROBE))
		return -EINVAL;
	if (!can)
		return -ENOTTY;
	answer->body.v[VU_ARGSZ] = HEAD;
	answer->body.v[VU_FLAGS] = flags;
	if (asked & ~can)
		return -EINVAL;
	if (flags & VU_FEATURE_PROBE)
		return 0;
	if (asked != VU_FEATURE_GET && asked != VU_FEATURE_SET)
		return -EINVAL;
	return do_one(c, flags, request, answer);
}

void vu_log_done(struct vu_conn *c)
{
	if (c->logging)
		(void)log_stop(c); /* it was the client's, who is gone */
}
