/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Planted defects of the simulated device: sim:defect=NAME. Each is a deviation that drivers have,
 * or could have, and that a check of `holdfast device check` has to find; it has the check's name.
 * They are in every build, since a check of somebody's own device is worth what can be seen to trip
 * it, and since the device under test is then the one that is shipped.
 *
 * The device itself stays correct. A defect is a table of operations in front of it, which does one
 * thing wrong: a row has only the operations that differ, and the rest passes through. Several
 * defects are several tables in front of each other.
 */
#ifndef DEVICE_SIM_DEFECT_H
#define DEVICE_SIM_DEFECT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "backend/device/sim/sim.h"

#define DEFECT_FDS_MAX 512u
#define DEFECT_KEEP_WORDS 64u /* of a bitmap */
#define DEFECT_STREAM_MAX (256u << 20)

struct defect_bytes {
	uint8_t *data;
	size_t size, capacity;
};

/* The device's callers' alone, one at a time, as the operations are; sim's parts have its lock. */
struct defect {
	const struct defect_row *row;
	struct hf_device next;
	struct sim *sim; /* the device behind all of them */

	/* Kept for all rows. */
	uint64_t moved; /* bytes read or written in this session */
	int ended; /* its end, for now or for good, was seen */

	/* What a row keeps for itself; zero at first. */
	uint64_t count, value;
	int flag;
	size_t skip; /* bytes of the stream that the next read leaves out */
	struct defect_bytes saved, known, written; /* streams: being saved, saved whole, loaded */
	uint64_t keep[DEFECT_KEEP_WORDS];
	int fds[DEFECT_FDS_MAX];
	uint32_t fd_count;
};

/* Members that are NULL pass through. A state that is not asked for is the row's arg. */
struct defect_row {
	const char *name;
	uint32_t arg;
	int (*open)(struct defect *d);
	void (*close)(struct defect *d);
	int (*info)(struct defect *d, struct hf_device_info *info); /* behind the device's */
	int (*get)(struct defect *d, uint32_t *state); /* the same */
	int (*set)(struct defect *d, uint32_t from, uint32_t to);
	ssize_t (*read)(struct defect *d, void *buf, size_t size);
	ssize_t (*write)(struct defect *d, const void *buf, size_t size);
	int (*precopy)(struct defect *d, int r, uint64_t *initial, uint64_t *dirty); /* behind */
	int (*size)(struct defect *d, uint64_t *bytes); /* behind */
	int (*start)(struct defect *d, uint64_t page_size, const struct hf_dma_range *ranges,
		     uint32_t count);
	int (*report)(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
		      uint64_t *bitmap);
	int (*stop)(struct defect *d);
	int (*reset)(struct defect *d, uint32_t from);
	int (*region)(struct defect *d, uint32_t index, int r, struct hf_region_info *info);
	int (*load)(struct defect *d, uint32_t index, uint64_t at, void *buf, size_t size);
	int (*store)(struct defect *d, uint32_t index, uint64_t at, const void *buf, size_t size);
	int (*irqs)(struct defect *d, uint32_t index, int r, uint32_t *count);
	int (*map)(struct defect *d, uint64_t iova, uint64_t size, int r);
	int (*unmap)(struct defect *d, uint64_t iova, uint64_t size);
};

/* A defect by its name, or NULL. */
const struct defect_row *sim_defect_find(const char *name);
/* The n-th of all, or NULL. For tests. */
const struct defect_row *sim_defect_nth(uint32_t n);
/* Put it in front of the device, which is sim_open()'s. 0 or -ENOMEM. */
int sim_defect_wrap(const struct defect_row *row, struct sim *sim, struct hf_device *device);

/* -- between the files of rows -- */

extern const struct defect_row defect_rows_state[], defect_rows_stream[], defect_rows_load[],
	defect_rows_log[];
extern const uint32_t defect_count_state, defect_count_stream, defect_count_load, defect_count_log;

/* The device behind: its operations. */
uint32_t defect_state(struct defect *d);
int defect_set(struct defect *d, uint32_t to);
ssize_t defect_read(struct defect *d, void *buf, size_t size); /* leaves out d->skip bytes */
ssize_t defect_write(struct defect *d, const void *buf, size_t size);
int defect_reset(struct defect *d);
/* Forget the destination register's value, or what is on its way. */
void defect_spoil(struct defect *d);
void defect_lock(struct defect *d);
void defect_unlock(struct defect *d);
int defect_put(struct defect_bytes *b, const void *from, size_t size);
/* A row whose device does no work while d->flag is set. */
int defect_store_dead(struct defect *d, uint32_t index, uint64_t at, const void *buf, size_t size);

#endif
