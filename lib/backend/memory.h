/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session's view of a dirty source (struct hf_memory): the checking wrapper. It asserts the
 * order of calls, judges errnos (HF_E_DIRTY_TRACKING) and checks what came back. Which pages
 * devices have written is not known here.
 */
#ifndef BACKEND_MEMORY_H
#define BACKEND_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include <holdfast/backend.h>

/* Owner: one worker at a time. raw stays its creator's. */
struct memory {
	struct hf_memory raw;
	uint32_t region_count;
	uint64_t region_pages[HF_REGIONS_MAX];
	bool tracking; /* between dirty_start() and dirty_stop() */
	bool synced; /* a dirty_sync() has been since */
};

/* Checks the table (HF_E_INVALID) and takes the sizes of the regions. */
int memory_init(struct memory *memory, struct hf_memory raw, const struct hf_memory_region *regions,
		uint32_t count, struct hf_error *err);

int memory_dirty_start(struct memory *memory, struct hf_error *err);
int memory_dirty_sync(struct memory *memory, struct hf_error *err);
/* ORs into bitmap, which has bitmap_words(pages of the region) words. */
int memory_dirty_read(struct memory *memory, uint32_t region, uint64_t *bitmap,
		      struct hf_error *err);
/* Fine when nothing is tracked. */
int memory_dirty_stop(struct memory *memory, struct hf_error *err);

#endif
