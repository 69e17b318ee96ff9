/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kernel device behind struct hf_device_ops: what its parts share. vfio.c opens and closes it and
 * has the table, state.c the arcs and the data, dirty.c the dirty pages, region.c regions and
 * interrupts, unmask.c what INTx needs of some drivers. It does not give the device to KVM and
 * emulates nothing: that is the VMM's.
 */
#ifndef BACKEND_DEVICE_VFIO_VFIO_H
#define BACKEND_DEVICE_VFIO_VFIO_H

#include <pthread.h>

#include <holdfast/backend.h>

#include "backend/device/vfio/space.h"

#define VFIO_REGIONS_MAX 64u
#define VFIO_IRQS_MAX 8u
#define VFIO_VECTORS_MAX 2048u /* MSI-X has no more */

struct vfio_region {
	struct hf_region_info info;
	uint64_t offset; /* where pread() has it */
	uint64_t size; /* that the driver has: of the configuration space it may be less */
};

struct vfio_irq {
	uint32_t count, flags; /* VFIO_IRQ_INFO_* */
	uint32_t enabled; /* vectors that the kernel has now */
};

/* Who unmasks INTx in the driver's place (unmask.c). Immutable while it runs. */
struct vfio_unmask {
	int runs, event_fd, stop_fd, device_fd;
	pthread_t thread;
};

struct vfio {
	struct vfio_config config;
	struct vfio_member member; /* the descriptor, and the share in the address space */
	struct hf_device_info info;
	struct vfio_region regions[VFIO_REGIONS_MAX]; /* immutable once it is open */

	/* The session's: one worker at a time. */
	int data_fd; /* -1: none, or lost */
	uint32_t session; /* STOP_COPY: data_fd saves; RESUMING: it loads; else ERROR */
	int load_error; /* what the first write that failed said; 0: none did */
	enum vfio_dirty dirty;

	/* Any thread's. */
	pthread_mutex_t lock; /* of irqs and unmask */
	struct vfio_irq irqs[VFIO_IRQS_MAX];
	struct vfio_unmask unmask;
};

/* "vfio:", whose rest is given. */
int vfio_open(const struct hf_device_host *host, const char *rest, const char *name,
	      struct hf_device *ret_device, struct hf_error *err);

/* VFIO_DEVICE_FEATURE. data goes in and comes out; what a failure leaves in it is untold. */
int vfio_feature(const struct vfio *v, uint32_t flags, void *data, size_t size);

/* ---- state.c ---- */
void vfio_state_init(struct vfio *v);
void vfio_state_done(struct vfio *v);
int vfio_get_state(void *self, uint32_t *ret_state);
int vfio_set_state(void *self, uint32_t state);
int vfio_reset(void *self);
ssize_t vfio_read_data(void *self, void *buf, size_t size);
ssize_t vfio_write_data(void *self, const void *buf, size_t size);
int vfio_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes);
int vfio_data_size(void *self, uint64_t *ret_bytes);

/* ---- dirty.c ---- */
/* Who will tell of dirty pages. Errors: HF_E_UNSUPPORTED, if the one that was asked for cannot. */
int vfio_dirty_init(struct vfio *v, struct hf_error *err);
int vfio_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
		     uint32_t count);
int vfio_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
		    uint64_t *bitmap);
int vfio_dirty_stop(void *self);

/* ---- region.c ---- */
/* Ask for all regions and interrupts once. -errno. */
int vfio_regions_init(struct vfio *v, uint32_t region_count, uint32_t irq_count);
int vfio_region_info(void *self, uint32_t index, struct hf_region_info *ret_info);
int vfio_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size);
int vfio_region_write(void *self, uint32_t index, uint64_t offset, const void *buf, size_t size);
int vfio_irq_count(void *self, uint32_t index, uint32_t *ret_count);
int vfio_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds);

/* ---- unmask.c; with the lock ---- */
/* Unmask INTx whenever event_fd, the caller's, is signalled. -errno. */
int vfio_unmask_start(struct vfio *v, int event_fd);
void vfio_unmask_stop(struct vfio *v); /* it need not run */

#endif
