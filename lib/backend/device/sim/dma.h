/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device's view of memory: the maps a VMM made, access through them, and the log of
 * what was written. Not thread-safe: the device's lock is held.
 */
#ifndef DEVICE_SIM_DMA_H
#define DEVICE_SIM_DMA_H

#include <stdint.h>
#include <stddef.h>

#include <holdfast/backend.h>

#define SIM_DMA_MAPS_MAX 65535u /* as the kernel's type1 driver */
#define SIM_LOG_RANGES_MAX 256u
#define SIM_LOG_BYTES_MAX (16ull << 40) /* of all ranges: 512 MiB for their bits */

struct sim_dma_map {
	uint64_t iova, size;
	uint8_t *vaddr; /* NULL: it is reached by calls */
	uint32_t flags; /* HF_DMA_* */
	struct hf_dma_calls calls;
};

struct sim_log_range {
	uint64_t iova, size;
	uint64_t *bits; /* one for each 4 KiB */
};

struct sim_dma {
	struct sim_dma_map *maps; /* ascending, apart */
	uint32_t map_count, map_capacity;
	struct sim_log_range *ranges;
	uint32_t range_count;
	int logging;
};

void sim_dma_done(struct sim_dma *dma);

int sim_dma_map(struct sim_dma *dma, uint64_t iova, uint64_t size, void *vaddr, uint32_t flags);
int sim_dma_map_calls(struct sim_dma *dma, uint64_t iova, uint64_t size,
		      const struct hf_dma_calls *calls, uint32_t flags);
int sim_dma_unmap(struct sim_dma *dma, uint64_t iova, uint64_t size);
/* What sim_dma_unmap() would return, without a change. */
int sim_dma_unmap_check(const struct sim_dma *dma, uint64_t iova, uint64_t size);

/*
 * May all of [iova, iova + size) be reached so (HF_DMA_READ, HF_DMA_WRITE)? 0, or -EFAULT.
 * *p2p is set to 1 (else left alone) if any of it belongs to another device.
 */
int sim_dma_check(const struct sim_dma *dma, uint64_t iova, uint64_t size, uint32_t access,
		  int *p2p);

/* -EFAULT where nothing is mapped; then a part may have been done. Writes are logged. */
int sim_dma_read(const struct sim_dma *dma, uint64_t iova, void *buf, size_t size);
int sim_dma_write(struct sim_dma *dma, uint64_t iova, const void *buf, size_t size);

/* hf_device_ops.dirty_*: with the checks of the kernel's core. */
int sim_log_start(struct sim_dma *dma, uint64_t page_size, const struct hf_dma_range *ranges,
		  uint32_t count);
int sim_log_read(struct sim_dma *dma, uint64_t iova, uint64_t length, uint64_t page_size,
		 uint64_t *bitmap);
/* What sim_log_read() would return. */
int sim_log_check(const struct sim_dma *dma, uint64_t iova, uint64_t length, uint64_t page_size);
int sim_log_stop(struct sim_dma *dma);

#endif
