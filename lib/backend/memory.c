/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checking wrapper around dirty sources. A source that reports pages which do not exist would
 * make the engine read behind a region: that is checked here, once.
 */
#include "backend/memory.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/error.h"
#include "base/export.h"

static int judge(const struct memory *memory, const char *what, int r, struct hf_error *err)
{
	assert(r != 0);
	if (r > 0)
		return error_set(err, HF_E_BUG, 0, "dirty pages (%s): %s returned %d",
				 memory->raw.ops->kind, what, r);
	switch (-r) {
	case ENOMEM:
		return error_set(err, HF_E_NO_MEMORY, -r, "dirty pages (%s): %s",
				 memory->raw.ops->kind, what);
	case EOPNOTSUPP:
		return error_set(err, HF_E_UNSUPPORTED, -r, "dirty pages (%s): %s",
				 memory->raw.ops->kind, what);
	default:
		return error_set(err, HF_E_DIRTY_TRACKING, -r, "dirty pages (%s): %s",
				 memory->raw.ops->kind, what);
	}
}

int memory_init(struct memory *memory, struct hf_memory raw, const struct hf_memory_region *regions,
		uint32_t count, struct hf_error *err)
{
	if (!raw.ops || raw.ops->size < sizeof(*raw.ops))
		return error_set(err, HF_E_INVALID, 0,
				 "memory: nobody says which pages the guest writes");
	if (count > HF_REGIONS_MAX)
		return error_set(err, HF_E_INVALID, 0, "memory: %u regions of at most %u", count,
				 HF_REGIONS_MAX);
	memset(memory, 0, sizeof(*memory));
	memory->raw = raw;
	memory->region_count = count;
	for (uint32_t i = 0; i < count; i++) {
		if (regions[i].size == 0 || regions[i].size % HF_PAGE_SIZE)
			return error_set(err, HF_E_INVALID, 0,
					 "memory region %.63s: its size is not in whole pages",
					 regions[i].name);
		memory->region_pages[i] = regions[i].size >> HF_PAGE_SHIFT;
	}
	return 0;
}

int memory_dirty_start(struct memory *memory, struct hf_error *err)
{
	int r;

	assert(!memory->tracking);
	r = memory->raw.ops->dirty_start(memory->raw.self);
	if (r)
		return judge(memory, "start", r, err);
	memory->tracking = true;
	memory->synced = false;
	return 0;
}

int memory_dirty_sync(struct memory *memory, struct hf_error *err)
{
	int r;

	assert(memory->tracking);
	r = memory->raw.ops->dirty_sync(memory->raw.self);
	if (r)
		return judge(memory, "sync", r, err);
	memory->synced = true;
	return 0;
}

int memory_dirty_read(struct memory *memory, uint32_t region, uint64_t *bitmap,
		      struct hf_error *err)
{
	uint64_t pages;
	int r;

	assert(memory->tracking && memory->synced);
	assert(region < memory->region_count);
	pages = memory->region_pages[region];
	r = memory->raw.ops->dirty_read(memory->raw.self, region, bitmap);
	if (r)
		return judge(memory, "read", r, err);
	if (pages % BITMAP_WORD_BITS && bitmap[bitmap_words(pages) - 1] & ~bitmap_mask_to(pages))
		return error_set(err, HF_E_BUG, 0,
				 "dirty pages (%s): pages behind the end of region %u",
				 memory->raw.ops->kind, region);
	return 0;
}

int memory_dirty_stop(struct memory *memory, struct hf_error *err)
{
	int r;

	if (!memory->tracking)
		return 0;
	memory->tracking = false; /* it is not asked twice, whatever it answers */
	r = memory->raw.ops->dirty_stop(memory->raw.self);
	return r ? judge(memory, "stop", r, err) : 0;
}

HF_EXPORT void hf_memory_close(struct hf_memory *memory)
{
	if (!memory->ops)
		return;
	memory->ops->close(memory->self);
	memory->ops = NULL;
	memory->self = NULL;
}
