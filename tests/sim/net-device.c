/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that migrates: a counter and some bytes that follow from it, and DMA into guest memory.
 * It takes its time, refuses, fails into ERROR and loses what it held when it is reset.
 *
 * Its stream is a sequence of blobs: the counter and state_bytes that follow from it. Those of
 * pre-copy are old when they arrive; the one of STOP_COPY counts, and must be whole.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net-world.h"

#define BLOB_MAX 65536u

struct fake_device {
	struct side *side;
	uint32_t index, state;
	uint64_t counter; /* what it holds */
	bool was_reset;
	/* the stream */
	uint64_t blob_counter; /* what is being read, or was read last */
	uint32_t at; /* in the blob, read or written */
	bool initial_done, final_begun, final_done;
	uint64_t loading; /* the counter of the blob that comes */
	uint64_t loaded; /* of the last whole one */
	bool whole;
	bool logging;
	uint8_t dirty[PAGES_MAX];
};

static struct fake_device fakes[2][DEVICES_MAX];

static uint32_t blob_bytes(void)
{
	return 8 + world.scenario->device.state_bytes;
}

static uint8_t blob_byte(uint64_t counter, uint32_t at)
{
	if (at < 8)
		return (uint8_t)(counter >> (8 * at));
	return (uint8_t)((counter * 31 + at) * 2654435761u >> 13);
}

static bool is_live(uint32_t state)
{
	return state == HF_DEVICE_RUNNING || state == HF_DEVICE_RUNNING_P2P ||
	       state == HF_DEVICE_PRE_COPY || state == HF_DEVICE_PRE_COPY_P2P;
}

static bool fails(struct fake_device *fake, const char *op)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%s of device %u in %s", op, fake->index,
		       hf_device_state_name(fake->state));
	return seam_fails(SEAM_DEVICE, text);
}

static void take_time(void)
{
	const struct device_mood *mood = &world.scenario->device;

	if (!world.calm && world.slowing && mood->whom & 1u << sched_side() &&
	    sched_chance(mood->slow_per_mille)) {
		story(world_side()->name, "a device takes its time");
		sched_sleep_until(sched_now() + mood->slow_ns);
	}
	sched_sleep_until(sched_now() + sched_between(0, mood->delay_ns_max));
}

static int dev_info(void *self, struct hf_device_info *ret_info)
{
	struct fake_device *fake = self;

	if (fails(fake, "info"))
		return -EIO;
	memset(ret_info, 0, sizeof(*ret_info));
	ret_info->mig_flags = world.scenario->device.mig_flags;
	ret_info->flags = HF_DEVICE_HAS_DATA_SIZE | HF_DEVICE_HAS_DMA_LOGGING | HF_DEVICE_HAS_RESET;
	(void)snprintf(ret_info->kind, sizeof(ret_info->kind), "net");
	(void)snprintf(ret_info->name, sizeof(ret_info->name), "dev%u", fake->index);
	(void)snprintf(ret_info->compat, sizeof(ret_info->compat), "net 1");
	return 0;
}

static int dev_get_state(void *self, uint32_t *ret_state)
{
	struct fake_device *fake = self;

	if (fails(fake, "get_state"))
		return -EIO;
	*ret_state = fake->state;
	return 0;
}

static void begin_stream(struct fake_device *fake, bool final)
{
	fake->at = 0;
	fake->blob_counter = fake->counter;
	if (world.scenario->sabotage == SABOTAGE_DEVICE)
		fake->blob_counter = 1;
	fake->final_begun = final;
	fake->final_done = false;
}

static bool saves(uint32_t state)
{
	return state == HF_DEVICE_STOP_COPY || state == HF_DEVICE_PRE_COPY ||
	       state == HF_DEVICE_PRE_COPY_P2P;
}

/* 0, or why it is not there. */
static int arrive(struct fake_device *fake, uint32_t state)
{
	if (fake->state == HF_DEVICE_RESUMING && state != HF_DEVICE_RESUMING) {
		if (!fake->whole || fake->at)
			return -EINVAL;
		fake->counter = fake->loaded;
	}
	if (state == HF_DEVICE_RESUMING && fake->state != state) {
		fake->at = 0;
		fake->whole = false;
	}
	if (saves(state) && !saves(fake->state))
		begin_stream(fake, state == HF_DEVICE_STOP_COPY);
	/* What pre-copy has begun is read to its end, then comes what counts. */
	fake->state = state;
	return 0;
}

static int dev_set_state(void *self, uint32_t state)
{
	struct fake_device *fake = self;

	take_time();
	if (fake->state == HF_DEVICE_ERROR)
		return -EIO;
	if (fails(fake, hf_device_state_name(state))) {
		if (sched_chance(300))
			fake->state = HF_DEVICE_ERROR;
		else if (sched_chance(200))
			(void)arrive(fake, state); /* it is there all the same */
		return -EBUSY;
	}
	return arrive(fake, state);
}

static ssize_t dev_read_data(void *self, void *buf, size_t size)
{
	struct fake_device *fake = self;
	uint32_t left = blob_bytes() - fake->at, count;

	take_time();
	if (fails(fake, "read_data"))
		return -EIO;
	if (!left && fake->state == HF_DEVICE_STOP_COPY && !fake->final_begun) {
		begin_stream(fake, true);
		left = blob_bytes();
	}
	if (!left) {
		fake->initial_done = true;
		fake->final_done = fake->final_begun;
		if (fake->state != HF_DEVICE_STOP_COPY && sched_chance(200))
			begin_stream(fake, false); /* it has changed since: there is more, later */
		return 0;
	}
	count = 1 + sched_below(world.scenario->device.piece_bytes);
	if (count > left)
		count = left;
	if (count > size)
		count = (uint32_t)size;
	for (uint32_t i = 0; i < count; i++)
		((uint8_t *)buf)[i] = blob_byte(fake->blob_counter, fake->at + i);
	fake->at += count;
	return (ssize_t)count;
}

static ssize_t dev_write_data(void *self, const void *buf, size_t size)
{
	struct fake_device *fake = self;
	const uint8_t *bytes = buf;
	size_t count = 1 + sched_below(world.scenario->device.piece_bytes);

	take_time();
	if (fails(fake, "write_data"))
		return -EIO;
	if (count > size)
		count = size;
	for (size_t i = 0; i < count; i++) {
		if (fake->at < 8) {
			if (fake->at == 0)
				fake->loading = 0;
			fake->loading |= (uint64_t)bytes[i] << (8 * fake->at);
		} else if (bytes[i] != blob_byte(fake->loading, fake->at)) {
			referee_fail("I14", "device %u gets other bytes than were read",
				     fake->index);
			return -EIO;
		}
		if (++fake->at == blob_bytes()) {
			fake->at = 0;
			fake->loaded = fake->loading;
			fake->whole = true;
		}
	}
	return (ssize_t)count;
}

static int dev_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes)
{
	struct fake_device *fake = self;

	if (fails(fake, "precopy_info"))
		return -EIO;
	*ret_initial_bytes = fake->initial_done ? 0 : blob_bytes() - fake->at;
	*ret_dirty_bytes = fake->initial_done ? blob_bytes() - fake->at : 0;
	return 0;
}

static int dev_data_size(void *self, uint64_t *ret_bytes)
{
	if (fails(self, "data_size"))
		return -EIO;
	*ret_bytes = blob_bytes();
	return 0;
}

static int dev_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
			   uint32_t count)
{
	struct fake_device *fake = self;

	(void)ranges;
	assert(page_size == HF_PAGE_SIZE && count == 1);
	if (fails(fake, "dirty_start"))
		return -ENOMEM;
	memset(fake->dirty, 0, sizeof(fake->dirty));
	fake->logging = true;
	return 0;
}

static int dev_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
			  uint64_t *bitmap)
{
	struct fake_device *fake = self;

	assert(iova == fake->side->region.gpa && length == fake->side->region.size &&
	       page_size == HF_PAGE_SIZE);
	if (fails(fake, "dirty_read"))
		return -EIO;
	for (uint32_t page = 0; page < world.scenario->pages; page++)
		if (fake->dirty[page])
			bitmap[page / 64] |= 1ull << page % 64;
	memset(fake->dirty, 0, sizeof(fake->dirty));
	return 0;
}

static int dev_dirty_stop(void *self)
{
	struct fake_device *fake = self;

	fake->logging = false;
	return fails(fake, "dirty_stop") ? -EIO : 0;
}

static int dev_reset(void *self)
{
	struct fake_device *fake = self;

	take_time();
	fake->was_reset = true;
	if (fails(fake, "reset"))
		return -EIO;
	fake->state = HF_DEVICE_RUNNING;
	fake->counter = 0;
	fake->at = 0;
	fake->whole = fake->initial_done = false;
	return 0;
}

/* What only a VMM asks for. */
static int no_region_info(void *self, uint32_t index, struct hf_region_info *ret_info)
{
	(void)self;
	(void)index;
	(void)ret_info;
	return -EOPNOTSUPP;
}

static int no_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size)
{
	(void)self;
	(void)index;
	(void)offset;
	(void)buf;
	(void)size;
	return -EOPNOTSUPP;
}

static int no_region_write(void *self, uint32_t index, uint64_t offset, const void *buf,
			   size_t size)
{
	(void)self;
	(void)index;
	(void)offset;
	(void)buf;
	(void)size;
	return -EOPNOTSUPP;
}

static int no_irq_count(void *self, uint32_t index, uint32_t *ret_count)
{
	(void)self;
	(void)index;
	(void)ret_count;
	return -EOPNOTSUPP;
}

static int no_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds)
{
	(void)self;
	(void)index;
	(void)count;
	(void)eventfds;
	return -EOPNOTSUPP;
}

static int no_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd,
		      uint64_t fd_offset, uint32_t flags)
{
	(void)self;
	(void)iova;
	(void)size;
	(void)vaddr;
	(void)fd;
	(void)fd_offset;
	(void)flags;
	return -EOPNOTSUPP;
}

static int no_dma_unmap(void *self, uint64_t iova, uint64_t size)
{
	(void)self;
	(void)iova;
	(void)size;
	return -EOPNOTSUPP;
}

static void dev_close(void *self)
{
	(void)self;
}

static const struct hf_device_ops ops = {
	.size = sizeof(ops),
	.kind = "net",
	.info = dev_info,
	.get_state = dev_get_state,
	.set_state = dev_set_state,
	.read_data = dev_read_data,
	.write_data = dev_write_data,
	.precopy_info = dev_precopy_info,
	.data_size = dev_data_size,
	.dirty_start = dev_dirty_start,
	.dirty_read = dev_dirty_read,
	.dirty_stop = dev_dirty_stop,
	.reset = dev_reset,
	.region_info = no_region_info,
	.region_read = no_region_read,
	.region_write = no_region_write,
	.irq_count = no_irq_count,
	.irqs_set = no_irqs_set,
	.dma_map = no_dma_map,
	.dma_unmap = no_dma_unmap,
	.close = dev_close,
};

/* ---- for the world ------------------------------------------------------------------------- */

void device_wrote(struct side *side, uint32_t page)
{
	/* Whichever of them it was. */
	uint32_t index = sched_below(world.scenario->devices);

	if (side->fakes[index]->logging)
		side->fakes[index]->dirty[page] = 1;
}

/*
 * Packets arrive also while the vCPUs stand still, as long as the device is not stopped. A target's
 * devices hear of nothing before its guest runs: the outside still talks to the source.
 */
void device_live(struct side *side)
{
	for (uint32_t i = 0; i < world.scenario->devices; i++) {
		struct fake_device *fake = side->fakes[i];

		if (!is_live(fake->state) || fake->was_reset || world.scenario->paused ||
		    ((side->id == TARGET || side->returned) && !side->running))
			continue;
		/* A source whose guest runs elsewhere has nothing to tell any more. */
		if (side->id == SOURCE && !side->running && world.sides[TARGET].was_run)
			continue;
		if (sched_chance(300))
			fake->counter = ++world.truth.device[i];
		if (sched_chance(300))
			guest_write(side, false);
	}
}

bool device_is_true(const struct side *side, uint32_t index, char *text, uint32_t size)
{
	const struct fake_device *fake = side->fakes[index];

	if (fake->state != HF_DEVICE_RUNNING) {
		(void)snprintf(text, size, "device %u stands in %s", index,
			       hf_device_state_name(fake->state));
		return false;
	}
	if (fake->counter != world.truth.device[index] && !fake->was_reset) {
		(void)snprintf(text, size, "device %u holds %llu, not %llu", index,
			       (unsigned long long)fake->counter,
			       (unsigned long long)world.truth.device[index]);
		return false;
	}
	if (side->configs[index] != world.truth.config[index]) {
		(void)snprintf(text, size, "device %u has configuration %u, not %u", index,
			       side->configs[index], world.truth.config[index]);
		return false;
	}
	return true;
}

bool device_was_reset(const struct side *side, uint32_t index)
{
	return side->fakes[index]->was_reset;
}

uint32_t device_state_of(const struct side *side, uint32_t index)
{
	return side->fakes[index]->state;
}

void device_begin(struct side *side, uint32_t index)
{
	struct hf_session_device *device = &side->devices[index];
	struct fake_device *fake = &fakes[side->id][index];

	*fake = (struct fake_device){ .side = side, .index = index, .state = HF_DEVICE_RUNNING };
	if (side->id == SOURCE)
		fake->counter = world.truth.device[index] = 1000 + index;
	side->fakes[index] = fake;
	device->device = (struct hf_device){ &ops, fake };
	(void)snprintf(device->name, sizeof(device->name), "dev%u", index);
}

void device_forget(struct side *side, uint32_t index)
{
	*side->fakes[index] =
		(struct fake_device){ .side = side, .index = index, .state = HF_DEVICE_RUNNING };
}
