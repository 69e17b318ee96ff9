/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's memory. One file per region, so that a device in another process, or the VMM's own
 * successor on this host, can be given it.
 */
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail.h"
#include "memory-file.h"

static int region_new(struct memory *memory, const char *name, uint64_t gpa, uint64_t size,
		      bool kept, struct hf_error *err)
{
	struct hf_memory_region *region = &memory->regions[memory->count++];
	int r;

	*region = (struct hf_memory_region){ .gpa = gpa, .size = size, .fd = -1 };
	(void)snprintf(region->name, sizeof(region->name), "%s", name);
	r = memory_file_new(name, size, memory->keep, kept, &region->fd, err);
	if (r != 0)
		return r;
	region->host =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, region->fd, 0);
	if (region->host == MAP_FAILED) {
		region->host = NULL;
		return fail(err, HF_E_NO_MEMORY, errno, "mapping %ju bytes of guest memory",
			    (uintmax_t)size);
	}
	/* A child process (vfio-user, a hook) must not turn pinned pages into copies. */
	if (madvise(region->host, size, MADV_DONTFORK) < 0)
		return fail(err, HF_E_SYSTEM, errno, "madvise of guest memory");
	return 0;
}

int memory_new(struct memory *memory, uint64_t bytes, const char *keep, bool kept,
	       struct hf_error *err)
{
	uint64_t low = bytes < MEMORY_HOLE_GPA ? bytes : MEMORY_HOLE_GPA;
	int r;

	*memory = (struct memory){ .keep = keep };
	r = region_new(memory, "ram-low", 0, low, kept, err);
	if (r == 0 && bytes > low)
		r = region_new(memory, "ram-high", MEMORY_HIGH_GPA, bytes - low, kept, err);
	if (r != 0)
		memory_done(memory);
	return r;
}

void memory_done(struct memory *memory)
{
	for (uint32_t i = 0; i < memory->count; i++) {
		struct hf_memory_region *region = &memory->regions[i];

		if (region->host != NULL)
			(void)munmap(region->host, region->size); /* ours: cannot fail */
		if (region->fd >= 0) {
			(void)close(region->fd);
			memory_file_drop(region->name, memory->keep);
		}
	}
	memory->count = 0;
}

int memory_attach(const struct memory *memory, const struct vm *vm, struct hf_error *err)
{
	for (uint32_t i = 0; i < memory->count; i++) {
		const struct hf_memory_region *region = &memory->regions[i];
		int r = vm_slot_set(vm, i, region->gpa, region->size, region->host);

		if (r < 0)
			return fail(err, HF_E_SYSTEM, -r, "giving KVM the memory %s", region->name);
	}
	return 0;
}

void *memory_at(const struct memory *memory, uint64_t gpa, uint64_t size)
{
	for (uint32_t i = 0; i < memory->count; i++) {
		const struct hf_memory_region *region = &memory->regions[i];

		if (gpa >= region->gpa && gpa - region->gpa <= region->size &&
		    size <= region->size - (gpa - region->gpa))
			return (char *)region->host + (gpa - region->gpa);
	}
	return NULL;
}

uint64_t memory_end(const struct memory *memory)
{
	const struct hf_memory_region *last = &memory->regions[memory->count - 1];

	return last->gpa + last->size;
}
