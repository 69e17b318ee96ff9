/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guests for memory-contract.c: memory that somebody writes, and the dirty source that says where.
 * The tests do not know whether a vCPU of a small VM writes, or a thread.
 */
#ifndef MEMORY_WORLDS_H
#define MEMORY_WORLDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <holdfast/backend.h>

#define WORLD_REGIONS 2u
#define WORLD_WRITERS 2u
#define WORLD_PAGES_0 2085u /* of the first region, which KVM sees as two slots */
#define WORLD_PAGES_1 300u
#define WORLD_SPLIT_PAGES 1001u /* where: not at a word of a bitmap */
#define WORLD_LIST_MAX 4000u /* pages that one write() takes */
#define WORLD_RING_BYTES 65536u /* 4096 entries: more than any test writes between two syncs */
#define WORLD_RING_BYTES_SMALL 16384u /* 1024: a write of all pages fills it */

struct world_page {
	uint32_t region, page;
};

struct world {
	const char *kind;
	struct hf_memory memory;
	struct hf_memory_region regions[WORLD_REGIONS];
	void *self; /* the kind's */
	atomic_uint full_exits;
	/* Add 1 to the first word of each page. writer: 0..WORLD_WRITERS-1, each in its own thread.
	 */
	void (*write)(struct world *world, unsigned int writer, const struct world_page *pages,
		      uint32_t count);
	/* The source is closed, and another one opened on the same guest. */
	void (*reopen)(struct world *world);
	void (*close)(struct world *world);
};

/* 0, or -1 with the reason for which this host cannot. */
int world_open(const char *kind, struct world *ret_world, const char **ret_why);
void world_close(struct world *world);

/* The KVM kinds (memory-world-kvm.c), by the ring or, with 0, the log; the regions are there. */
int world_open_kvm(struct world *world, uint32_t ring_bytes, const char **ret_why);

#endif
