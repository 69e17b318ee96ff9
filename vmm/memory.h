/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's memory: files, mapped here, and where they are in the guest. Not who writes to them.
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include <holdfast/backend.h>

#include "kvm-vm.h"

/* Nothing but PCI, the interrupt controllers and KVM's own pages is between 3 and 4 GiB. */
#define MEMORY_HOLE_GPA 0xc0000000ull
#define MEMORY_HIGH_GPA 0x100000000ull

#define MEMORY_REGIONS_MAX 2u
#define MEMORY_SLOTS MEMORY_REGIONS_MAX /* slot i is region i; BARs come after them */

struct memory {
	const char *keep; /* the folder of its files, or NULL; the caller's */
	uint32_t count;
	struct hf_memory_region regions[MEMORY_REGIONS_MAX];
};

/* bytes: page-aligned, not 0. keep, kept: memory-file.h. On failure nothing is left. */
int memory_new(struct memory *memory, uint64_t bytes, const char *keep, bool kept,
	       struct hf_error *err);
void memory_done(struct memory *memory);

/* Give the regions to KVM: slots 0.. */
int memory_attach(const struct memory *memory, const struct vm *vm, struct hf_error *err);

/* [gpa, gpa + size) in this process; NULL if not all of it is in one region. */
void *memory_at(const struct memory *memory, uint64_t gpa, uint64_t size);

/* Behind the last byte of the highest region. */
uint64_t memory_end(const struct memory *memory);

#endif
