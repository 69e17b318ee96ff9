/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device behind filters. Besides making calls fail it plays a device that stands in ERROR until
 * it is reset, one that cannot be reset, and one whose stream is cut short, damaged or doubled.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/device/ops.h"
#include "backend/filter/filter.h"
#include "base/error.h"
#include "base/export.h"

#define CHUNK_MAX 4096u /* bytes of a chunk that is tampered with */
#define EXTRA_SIZE 16u
#define EXTRA_BYTE 0xeeu
#define FOREIGN_SIZE 16u

struct filtered {
	struct hf_device next;
	struct filter_point point;
	/* atomic: the VMM's threads call too */
	uint32_t in_error; /* the device plays dead */
	uint32_t no_reset; /* the errno of resets */
	/* The migration worker's. */
	uint32_t cut, extra; /* until the state changes */
	size_t again, again_done; /* bytes in chunk to deliver once more */
	uint8_t chunk[CHUNK_MAX];
};

static int get(const uint32_t *flag)
{
	return (int)__atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(uint32_t *flag, int value)
{
	__atomic_store_n(flag, (uint32_t)value, __ATOMIC_RELEASE);
}

/* The fault for a call that has no state among its arguments: where the device stands counts. */
static const struct filter_spec *strike(struct filtered *f, enum filter_device_op op)
{
	uint32_t state = HF_DEVICE_ERROR;

	if (filter_wants_state(&f->point, op))
		(void)f->next.ops->get_state(f->next.self, &state); /* none: then none matches */
	return filter_strike(&f->point, op, state);
}

/* Carry out what the fault does to the device; the result of the call. */
static int suffer(struct filtered *f, const struct filter_spec *spec)
{
	if (spec->actions & FILTER_ERROR)
		set(&f->in_error, 1);
	if (spec->actions & FILTER_NORESET)
		set(&f->no_reset, spec->error);
	return -spec->error;
}

/* A call that needs no more than failing, before or after; call is made at most once. */
#define FILTERED(f, op, call)                                                                      \
	do {                                                                                       \
		const struct filter_spec *spec_ = strike(f, op);                                   \
		if (!spec_)                                                                        \
			return (call);                                                             \
		if (spec_->actions & FILTER_AFTER)                                                 \
			(void)(call); /* it fails all the same */                                  \
		return suffer(f, spec_);                                                           \
	} while (0)

static int op_info(void *self, struct hf_device_info *ret_info)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_INFO, f->next.ops->info(f->next.self, ret_info));
}

/* ---- states -------------------------------------------------------------------------------- */

static int op_get_state(void *self, uint32_t *ret_state)
{
	struct filtered *f = self;
	const struct filter_spec *spec = strike(f, DEVICE_OP_GET_STATE);

	if (spec)
		(void)suffer(f, spec);
	if (spec && !(spec->actions & FILTER_ERROR))
		return -spec->error;
	if (!get(&f->in_error))
		return f->next.ops->get_state(f->next.self, ret_state);
	*ret_state = HF_DEVICE_ERROR;
	return 0;
}

static int op_set_state(void *self, uint32_t state)
{
	struct filtered *f = self;
	const struct filter_spec *spec = filter_strike(&f->point, DEVICE_OP_SET_STATE, state);

	if (get(&f->in_error))
		return -EIO;
	if (!spec || (spec->actions & FILTER_AFTER)) {
		int r = f->next.ops->set_state(f->next.self, state);

		f->cut = f->extra = 0;
		f->again = 0;
		if (!spec)
			return r;
	}
	return suffer(f, spec);
}

static int op_reset(void *self)
{
	struct filtered *f = self;
	const struct filter_spec *spec = strike(f, DEVICE_OP_RESET);
	int r;

	if (get(&f->no_reset))
		return -get(&f->no_reset);
	if (spec && !(spec->actions & FILTER_AFTER))
		return suffer(f, spec);
	r = f->next.ops->reset(f->next.self);
	f->cut = f->extra = 0;
	f->again = 0;
	if (r == 0)
		set(&f->in_error, 0);
	return spec ? suffer(f, spec) : r;
}

/* ---- data ---------------------------------------------------------------------------------- */

static void tamper(uint8_t *data, size_t size, uint32_t actions)
{
	if (actions & FILTER_FLIP)
		data[size / 2] ^= (uint8_t)(1u << (size % 8));
	if (actions & FILTER_FOREIGN)
		for (size_t i = 0; i < FOREIGN_SIZE && i < size; i++)
			data[i] ^= 0xa5;
}

/* What is held back, or added behind the end. 0: there is nothing. */
static ssize_t read_surplus(struct filtered *f, uint8_t *buf, size_t size)
{
	size_t n = f->again - f->again_done;

	if (n > size)
		n = size;
	memcpy(buf, f->chunk + f->again_done, n);
	f->again_done += n;
	return (ssize_t)n;
}

static ssize_t read_next(struct filtered *f, void *buf, size_t size)
{
	ssize_t n = f->next.ops->read_data(f->next.self, buf, size);
	uint32_t state = HF_DEVICE_ERROR;

	if (n != 0 || !f->extra)
		return n;
	if (f->next.ops->get_state(f->next.self, &state) < 0 || state != HF_DEVICE_STOP_COPY)
		return n; /* an end for now only */
	f->extra = 0;
	if (size > EXTRA_SIZE)
		size = EXTRA_SIZE;
	memset(buf, EXTRA_BYTE, size);
	return (ssize_t)size;
}

static ssize_t read_tampered(struct filtered *f, void *buf, size_t size, uint32_t actions)
{
	ssize_t n;

	if (size > CHUNK_MAX)
		size = CHUNK_MAX;
	n = read_next(f, buf, size);
	if (n <= 0)
		return n;
	if (actions & FILTER_REPEAT) {
		memcpy(f->chunk, buf, (size_t)n);
		f->again = (size_t)n;
		f->again_done = 0;
	}
	tamper(buf, (size_t)n, actions);
	return n;
}

static ssize_t op_read_data(void *self, void *buf, size_t size)
{
	struct filtered *f = self;
	const struct filter_spec *spec = strike(f, DEVICE_OP_READ_DATA);

	if (get(&f->in_error))
		return -EIO;
	if (spec && (spec->actions & FILTER_CUT))
		f->cut = 1;
	if (spec && (spec->actions & FILTER_EXTRA))
		f->extra = 1;
	if (f->cut)
		return 0;
	if (f->again_done < f->again)
		return read_surplus(f, buf, size);
	if (!spec)
		return read_next(f, buf, size);
	if (spec->actions & FILTER_DATA)
		return read_tampered(f, buf, size, spec->actions);
	if (spec->actions & FILTER_AFTER)
		(void)f->next.ops->read_data(f->next.self, buf, size);
	return suffer(f, spec);
}

/* All of size bytes. 0 or a negative errno. */
static int write_all(struct filtered *f, const uint8_t *from, size_t size)
{
	while (size) {
		ssize_t n = f->next.ops->write_data(f->next.self, from, size);

		if (n < 0)
			return (int)n;
		if (n == 0 || (size_t)n > size)
			return -EPROTO;
		from += n;
		size -= (size_t)n;
	}
	return 0;
}

static ssize_t write_tampered(struct filtered *f, const void *buf, size_t size, uint32_t actions)
{
	uint8_t more[EXTRA_SIZE];
	int r;

	if (size > CHUNK_MAX)
		size = CHUNK_MAX;
	memcpy(f->chunk, buf, size);
	tamper(f->chunk, size, actions);
	r = write_all(f, f->chunk, size);
	if (r == 0 && (actions & FILTER_REPEAT))
		r = write_all(f, f->chunk, size);
	if (r == 0 && (actions & FILTER_EXTRA)) {
		memset(more, EXTRA_BYTE, sizeof(more));
		r = write_all(f, more, sizeof(more));
	}
	return r < 0 ? r : (ssize_t)size;
}

static ssize_t op_write_data(void *self, const void *buf, size_t size)
{
	struct filtered *f = self;
	const struct filter_spec *spec = strike(f, DEVICE_OP_WRITE_DATA);

	if (get(&f->in_error))
		return -EIO;
	if (spec && (spec->actions & FILTER_CUT))
		f->cut = 1;
	if (f->cut)
		return (ssize_t)size; /* taken, and lost */
	if (!spec)
		return f->next.ops->write_data(f->next.self, buf, size);
	if (spec->actions & FILTER_DATA)
		return write_tampered(f, buf, size, spec->actions);
	if (spec->actions & FILTER_AFTER)
		(void)f->next.ops->write_data(f->next.self, buf, size);
	return suffer(f, spec);
}

static int op_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_PRECOPY_INFO,
		 f->next.ops->precopy_info(f->next.self, ret_initial_bytes, ret_dirty_bytes));
}

static int op_data_size(void *self, uint64_t *ret_bytes)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_DATA_SIZE, f->next.ops->data_size(f->next.self, ret_bytes));
}

/* ---- the rest: failing is all -------------------------------------------------------------- */

static int op_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
			  uint32_t count)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_DIRTY_START,
		 f->next.ops->dirty_start(f->next.self, page_size, ranges, count));
}

static int op_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
			 uint64_t *bitmap)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_DIRTY_READ,
		 f->next.ops->dirty_read(f->next.self, iova, length, page_size, bitmap));
}

static int op_dirty_stop(void *self)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_DIRTY_STOP, f->next.ops->dirty_stop(f->next.self));
}

static int op_region_info(void *self, uint32_t index, struct hf_region_info *ret_info)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_REGION_INFO, f->next.ops->region_info(f->next.self, index, ret_info));
}

static int op_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_REGION_READ,
		 f->next.ops->region_read(f->next.self, index, offset, buf, size));
}

static int op_region_write(void *self, uint32_t index, uint64_t offset, const void *buf,
			   size_t size)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_REGION_WRITE,
		 f->next.ops->region_write(f->next.self, index, offset, buf, size));
}

static int op_irq_count(void *self, uint32_t index, uint32_t *ret_count)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_IRQ_COUNT, f->next.ops->irq_count(f->next.self, index, ret_count));
}

static int op_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_IRQS_SET,
		 f->next.ops->irqs_set(f->next.self, index, count, eventfds));
}

static int op_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd,
		      uint64_t fd_offset, uint32_t flags)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_DMA_MAP,
		 f->next.ops->dma_map(f->next.self, iova, size, vaddr, fd, fd_offset, flags));
}

static int op_dma_unmap(void *self, uint64_t iova, uint64_t size)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_DMA_UNMAP, f->next.ops->dma_unmap(f->next.self, iova, size));
}

/* For a filter it is dma_map() by another way. */
static int op_dma_map_calls(void *self, uint64_t iova, uint64_t size,
			    const struct hf_dma_calls *calls, uint32_t flags)
{
	struct filtered *f = self;

	FILTERED(f, DEVICE_OP_DMA_MAP, device_ops_map_calls(f->next, iova, size, calls, flags));
}

static void op_why(void *self, char *ret_text, size_t size)
{
	const struct filtered *f = self;

	device_ops_why(f->next, ret_text, size);
}

static void op_close(void *self)
{
	struct filtered *f = self;

	if (!f)
		return;
	f->next.ops->close(f->next.self);
	free(f);
}

static const struct hf_device_ops filtered_ops = {
	.size = sizeof(struct hf_device_ops),
	.kind = "filter",
	.info = op_info,
	.get_state = op_get_state,
	.set_state = op_set_state,
	.read_data = op_read_data,
	.write_data = op_write_data,
	.precopy_info = op_precopy_info,
	.data_size = op_data_size,
	.dirty_start = op_dirty_start,
	.dirty_read = op_dirty_read,
	.dirty_stop = op_dirty_stop,
	.reset = op_reset,
	.region_info = op_region_info,
	.region_read = op_region_read,
	.region_write = op_region_write,
	.irq_count = op_irq_count,
	.irqs_set = op_irqs_set,
	.dma_map = op_dma_map,
	.dma_unmap = op_dma_unmap,
	.close = op_close,
	.dma_map_calls = op_dma_map_calls,
	.why = op_why,
};

HF_EXPORT int hf_filters_device(struct hf_filters *filters, uint32_t index,
				struct hf_device *device, struct hf_error *err)
{
	struct filter_point point;
	struct filtered *f;

	filter_point_init(&point, filters, FILTER_DEVICE, index, NULL);
	if (!point.count)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return error_set(err, HF_E_NO_MEMORY, 0, "filter of device %u", index);
	f->next = *device;
	f->point = point;
	*device = (struct hf_device){ .ops = &filtered_ops, .self = f };
	return 0;
}
