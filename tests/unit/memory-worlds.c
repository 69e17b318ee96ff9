/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of all worlds, and those in which threads of this process write. */
#include "memory-worlds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/memory/userfault.h"

static void thread_write(struct world *world, unsigned int writer, const struct world_page *pages,
			 uint32_t count)
{
	(void)writer;
	for (uint32_t i = 0; i < count; i++) {
		char *host = (char *)world->regions[pages[i].region].host;

		(*(volatile uint32_t *)(void *)(host + ((size_t)pages[i].page << HF_PAGE_SHIFT)))++;
	}
}

static void thread_close(struct world *world)
{
	(void)world;
}

static void thread_reopen(struct world *world)
{
	const enum userfault_mode mode =
		strcmp(world->kind, "userfault-async") == 0 ? USERFAULT_ASYNC : USERFAULT_THREAD;
	struct hf_error err = { 0 };

	hf_memory_close(&world->memory);
	if (memory_userfault_open(world->regions, WORLD_REGIONS, mode, &world->memory, &err) < 0)
		fail_msg("%s", err.text);
}

static int open_userfault(struct world *world, enum userfault_mode mode, const char **ret_why)
{
	static struct hf_error err;

	memset(&err, 0, sizeof(err));
	world->write = thread_write;
	world->close = thread_close;
	world->reopen = thread_reopen;
	if (memory_userfault_open(world->regions, WORLD_REGIONS, mode, &world->memory, &err) == 0)
		return 0;
	if (err.code != HF_E_UNSUPPORTED)
		fail_msg("%s", err.text);
	*ret_why = err.text;
	return -1;
}

static void make_region(struct hf_memory_region *region, const char *name, uint64_t gpa,
			uint32_t pages)
{
	memset(region, 0, sizeof(*region));
	(void)snprintf(region->name, sizeof(region->name), "%s", name);
	region->gpa = gpa;
	region->size = (uint64_t)pages << HF_PAGE_SHIFT;
	region->fd = memfd_create(name, MFD_CLOEXEC);
	assert_true(region->fd >= 0);
	assert_int_equal(ftruncate(region->fd, (off_t)region->size), 0);
	region->host = mmap(NULL, region->size, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
	assert_true(region->host != MAP_FAILED);
}

int world_open(const char *kind, struct world *ret_world, const char **ret_why)
{
	struct world *world = ret_world;

	memset(world, 0, sizeof(*world));
	world->kind = kind;
	make_region(&world->regions[0], "ram", 0x100000, WORLD_PAGES_0);
	make_region(&world->regions[1], "more", 0x2000000, WORLD_PAGES_1);
	if (strcmp(kind, "kvm-ring") == 0)
		return world_open_kvm(world, WORLD_RING_BYTES, ret_why);
	if (strcmp(kind, "kvm-ring-small") == 0)
		return world_open_kvm(world, WORLD_RING_BYTES_SMALL, ret_why);
	if (strcmp(kind, "kvm-log") == 0)
		return world_open_kvm(world, 0, ret_why);
	if (strcmp(kind, "userfault-async") == 0)
		return open_userfault(world, USERFAULT_ASYNC, ret_why);
	assert_string_equal(kind, "userfault-thread");
	return open_userfault(world, USERFAULT_THREAD, ret_why);
}

void world_close(struct world *world)
{
	hf_memory_close(&world->memory);
	if (world->close)
		world->close(world);
	for (unsigned int i = 0; i < WORLD_REGIONS; i++) {
		if (!world->regions[i].host)
			continue;
		(void)munmap(world->regions[i].host, world->regions[i].size);
		(void)close(world->regions[i].fd);
	}
}
