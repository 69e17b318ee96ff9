/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of operations of defect.h: passes through what a row does not have. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/device/sim/defect.h"

#define NEXT(d) ((d)->next.ops)
#define BEHIND(d) ((d)->next.self)

/* ---- for the rows -------------------------------------------------------------------------- */

void defect_lock(struct defect *d)
{
	(void)pthread_mutex_lock(&d->sim->lock);
}

void defect_unlock(struct defect *d)
{
	(void)pthread_mutex_unlock(&d->sim->lock);
}

uint32_t defect_state(struct defect *d)
{
	uint32_t state = HF_DEVICE_ERROR;

	(void)NEXT(d)->get_state(BEHIND(d), &state); /* the simulated device always answers */
	return state;
}

int defect_set(struct defect *d, uint32_t to)
{
	return NEXT(d)->set_state(BEHIND(d), to);
}

ssize_t defect_read(struct defect *d, void *buf, size_t size)
{
	uint8_t away[64];

	while (d->skip) {
		size_t n = d->skip < sizeof(away) ? d->skip : sizeof(away);
		ssize_t r = NEXT(d)->read_data(BEHIND(d), away, n);

		if (r <= 0)
			return r;
		d->skip -= (size_t)r;
	}
	return NEXT(d)->read_data(BEHIND(d), buf, size);
}

ssize_t defect_write(struct defect *d, const void *buf, size_t size)
{
	return NEXT(d)->write_data(BEHIND(d), buf, size);
}

int defect_reset(struct defect *d)
{
	return NEXT(d)->reset(BEHIND(d));
}

void defect_spoil(struct defect *d)
{
	defect_lock(d);
	d->sim->model.dst ^= 8;
	defect_unlock(d);
}

int defect_put(struct defect_bytes *b, const void *from, size_t size)
{
	if (size > DEFECT_STREAM_MAX - b->size)
		return -ENOMEM;
	if (b->size + size > b->capacity) {
		size_t capacity = (b->size + size) * 2;
		uint8_t *data = realloc(b->data, capacity);

		if (!data)
			return -ENOMEM;
		b->data = data;
		b->capacity = capacity;
	}
	memcpy(b->data + b->size, from, size);
	b->size += size;
	return 0;
}

int defect_store_dead(struct defect *d, uint32_t index, uint64_t at, const void *buf, size_t size)
{
	if (d->flag && index == 0 && at == HF_SIM_COMMAND)
		return 0;
	return NEXT(d)->region_write(BEHIND(d), index, at, buf, size);
}

/* ---- the operations ------------------------------------------------------------------------ */

static int op_info(void *self, struct hf_device_info *ret_info)
{
	struct defect *d = self;
	int r = NEXT(d)->info(BEHIND(d), ret_info);

	return r == 0 && d->row->info ? d->row->info(d, ret_info) : r;
}

static int op_get_state(void *self, uint32_t *ret_state)
{
	struct defect *d = self;
	int r = NEXT(d)->get_state(BEHIND(d), ret_state);

	return r == 0 && d->row->get ? d->row->get(d, ret_state) : r;
}

static int op_set_state(void *self, uint32_t state)
{
	struct defect *d = self;
	uint32_t from = defect_state(d);
	int r = d->row->set ? d->row->set(d, from, state) : defect_set(d, state);

	if (from != defect_state(d))
		d->ended = 0;
	if (from == HF_DEVICE_STOP || from == HF_DEVICE_RUNNING || from == HF_DEVICE_RUNNING_P2P)
		d->moved = 0;
	return r;
}

static ssize_t op_read_data(void *self, void *buf, size_t size)
{
	struct defect *d = self;
	ssize_t n = d->row->read ? d->row->read(d, buf, size) : defect_read(d, buf, size);

	if (n > 0)
		d->moved += (uint64_t)n;
	else if (size && (n == 0 || n == -ENOMSG))
		d->ended++;
	return n;
}

static ssize_t op_write_data(void *self, const void *buf, size_t size)
{
	struct defect *d = self;
	ssize_t n = d->row->write ? d->row->write(d, buf, size) : defect_write(d, buf, size);

	if (n > 0)
		d->moved += (uint64_t)n;
	return n;
}

static int op_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes)
{
	struct defect *d = self;
	int r = NEXT(d)->precopy_info(BEHIND(d), ret_initial_bytes, ret_dirty_bytes);

	return d->row->precopy ? d->row->precopy(d, r, ret_initial_bytes, ret_dirty_bytes) : r;
}

static int op_data_size(void *self, uint64_t *ret_bytes)
{
	struct defect *d = self;
	int r = NEXT(d)->data_size(BEHIND(d), ret_bytes);

	return r == 0 && d->row->size ? d->row->size(d, ret_bytes) : r;
}

static int op_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
			  uint32_t count)
{
	struct defect *d = self;

	return d->row->start ? d->row->start(d, page_size, ranges, count)
			     : NEXT(d)->dirty_start(BEHIND(d), page_size, ranges, count);
}

static int op_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
			 uint64_t *bitmap)
{
	struct defect *d = self;

	return d->row->report ? d->row->report(d, iova, length, page_size, bitmap)
			      : NEXT(d)->dirty_read(BEHIND(d), iova, length, page_size, bitmap);
}

static int op_dirty_stop(void *self)
{
	struct defect *d = self;

	return d->row->stop ? d->row->stop(d) : NEXT(d)->dirty_stop(BEHIND(d));
}

static int op_reset(void *self)
{
	struct defect *d = self;
	int r = d->row->reset ? d->row->reset(d, defect_state(d)) : defect_reset(d);

	d->moved = 0;
	d->ended = 0;
	d->skip = 0;
	return r;
}

static int op_region_info(void *self, uint32_t index, struct hf_region_info *ret_info)
{
	struct defect *d = self;
	int r = NEXT(d)->region_info(BEHIND(d), index, ret_info);

	return d->row->region ? d->row->region(d, index, r, ret_info) : r;
}

static int op_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size)
{
	struct defect *d = self;
	int r = NEXT(d)->region_read(BEHIND(d), index, offset, buf, size);

	return r == 0 && d->row->load ? d->row->load(d, index, offset, buf, size) : r;
}

static int op_region_write(void *self, uint32_t index, uint64_t offset, const void *buf,
			   size_t size)
{
	struct defect *d = self;

	return d->row->store ? d->row->store(d, index, offset, buf, size)
			     : NEXT(d)->region_write(BEHIND(d), index, offset, buf, size);
}

static int op_irq_count(void *self, uint32_t index, uint32_t *ret_count)
{
	struct defect *d = self;
	int r = NEXT(d)->irq_count(BEHIND(d), index, ret_count);

	return d->row->irqs ? d->row->irqs(d, index, r, ret_count) : r;
}

static int op_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds)
{
	struct defect *d = self;

	return NEXT(d)->irqs_set(BEHIND(d), index, count, eventfds);
}

static int op_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd,
		      uint64_t fd_offset, uint32_t flags)
{
	struct defect *d = self;
	int r = NEXT(d)->dma_map(BEHIND(d), iova, size, vaddr, fd, fd_offset, flags);

	return d->row->map ? d->row->map(d, iova, size, r) : r;
}

static int op_dma_map_calls(void *self, uint64_t iova, uint64_t size,
			    const struct hf_dma_calls *calls, uint32_t flags)
{
	struct defect *d = self;
	int r = NEXT(d)->dma_map_calls(BEHIND(d), iova, size, calls, flags);

	return d->row->map ? d->row->map(d, iova, size, r) : r;
}

static void op_why(void *self, char *ret_text, size_t size)
{
	struct defect *d = self;

	NEXT(d)->why(BEHIND(d), ret_text, size);
}

static int op_dma_unmap(void *self, uint64_t iova, uint64_t size)
{
	struct defect *d = self;

	return d->row->unmap ? d->row->unmap(d, iova, size)
			     : NEXT(d)->dma_unmap(BEHIND(d), iova, size);
}

static void op_close(void *self)
{
	struct defect *d = self;

	if (!d)
		return;
	if (d->row->close)
		d->row->close(d);
	NEXT(d)->close(BEHIND(d));
	for (uint32_t i = 0; i < d->fd_count; i++)
		(void)close(d->fds[i]);
	free(d->saved.data);
	free(d->known.data);
	free(d->written.data);
	free(d);
}

static const struct hf_device_ops defect_ops = {
	.size = sizeof(struct hf_device_ops),
	.kind = "sim",
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

/* ---- the rows ------------------------------------------------------------------------------ */

const struct defect_row *sim_defect_nth(uint32_t n)
{
	const struct {
		const struct defect_row *rows;
		uint32_t count;
	} lists[] = { { defect_rows_state, defect_count_state },
		      { defect_rows_stream, defect_count_stream },
		      { defect_rows_load, defect_count_load },
		      { defect_rows_log, defect_count_log } };

	for (uint32_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (n < lists[i].count)
			return &lists[i].rows[n];
		n -= lists[i].count;
	}
	return NULL;
}

const struct defect_row *sim_defect_find(const char *name)
{
	const struct defect_row *row;

	for (uint32_t n = 0; (row = sim_defect_nth(n)) != NULL; n++)
		if (strcmp(row->name, name) == 0)
			return row;
	return NULL;
}

int sim_defect_wrap(const struct defect_row *row, struct sim *sim, struct hf_device *device)
{
	struct defect *d = calloc(1, sizeof(*d));
	int r = d ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	d->row = row;
	d->sim = sim;
	d->next = *device;
	if (row->open)
		r = row->open(d);
	if (r < 0) {
		free(d);
		return r;
	}
	*device = (struct hf_device){ .ops = &defect_ops, .self = d };
	return 0;
}
