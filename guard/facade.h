/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a session sees of a QEMU: a machine, one page of memory that stands for none (QEMU copies
 * its own), and devices: first QEMU's own copy of the guest as a device ("qemu", whose load is what
 * the target has to prove), then the guest's VFIO devices. docs/guard.md, "How it works".
 */
#ifndef GUARD_FACADE_H
#define GUARD_FACADE_H

#include <stdbool.h>
#include <stdint.h>

#include <holdfast/backend.h>
#include <holdfast/session.h>

#include "guard/qemu.h"

struct facade_side;

/* One device of the facade; index 0 is QEMU's copy. */
struct facade_device {
	struct facade_side *side;
	uint32_t index;
	int fd; /* target: of the VFIO device, taken from QEMU; -1: none, or trusted unseen */
	uint32_t flags; /* HF_MIG_*, of the real device behind fd */
	uint32_t state; /* where the facade stands; the owner is the worker that calls */
	struct qemu_vfio vfio;
	char why[HF_ERROR_TEXT_MAX]; /* of the last failure; the caller's worker */
};

struct facade_side {
	struct qemu *qemu;
	struct facade_device devices[HF_DEVICES_MAX];
	uint32_t count;
	struct hf_session_device session_devices[HF_DEVICES_MAX];
	struct hf_memory_region region;
	uint64_t wait_ns; /* the longest wait for QEMU */
};

/*
 * Find the guest's devices and name them. Each gets ops, of which facade_ops() makes a table.
 * Errors: those of qemu_vfio_devices(), HF_E_UNSUPPORTED (too many).
 */
int facade_init(struct facade_side *side, struct qemu *qemu, const struct hf_device_ops *ops,
		struct hf_error *err);
void facade_done(struct facade_side *side);

/* A table of operations in which what QEMU does itself is refused; the rest is the side's. */
#define FACADE_OPS                                                                                 \
	.size = sizeof(struct hf_device_ops), .kind = "qemu", .info = facade_info,                 \
	.data_size = facade_data_size, .dirty_start = facade_dirty_start,                          \
	.dirty_read = facade_dirty_read, .dirty_stop = facade_dirty_stop,                          \
	.region_info = facade_region_info, .region_read = facade_region_read,                      \
	.region_write = facade_region_write, .irq_count = facade_irq_count,                        \
	.irqs_set = facade_irqs_set, .dma_map = facade_dma_map, .dma_unmap = facade_dma_unmap,     \
	.close = facade_close, .why = facade_why

int facade_info(void *self, struct hf_device_info *ret_info);
int facade_data_size(void *self, uint64_t *ret_bytes);
int facade_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
		       uint32_t count);
int facade_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
		      uint64_t *bitmap);
int facade_dirty_stop(void *self);
int facade_region_info(void *self, uint32_t index, struct hf_region_info *ret_info);
int facade_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size);
int facade_region_write(void *self, uint32_t index, uint64_t offset, const void *buf, size_t size);
int facade_irq_count(void *self, uint32_t index, uint32_t *ret_count);
int facade_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds);
int facade_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd,
		   uint64_t fd_offset, uint32_t flags);
int facade_dma_unmap(void *self, uint64_t iova, uint64_t size);
void facade_close(void *self);
void facade_why(void *self, char *text, size_t size);

/* Keep a failure's words for why(), and turn it into an errno. */
int facade_failed(struct facade_device *device, const struct hf_error *err);

/* A memory of which nothing is ever dirty. */
struct hf_memory facade_memory(void);

/* The machine's parts that both sides have: sections, of which there are none. */
int facade_throttle(void *self, uint32_t percent, struct hf_error *err);
int facade_state_save(void *self, uint32_t index, struct hf_state_section *ret_section, void *buf,
		      uint32_t capacity, struct hf_error *err);
int facade_state_load(void *self, const struct hf_state_section *section, const void *buf,
		      struct hf_error *err);
int facade_device_save(void *self, uint32_t device, void *buf, uint32_t capacity,
		       uint32_t *ret_length, struct hf_error *err);
int facade_device_load(void *self, uint32_t device, const void *buf, uint32_t length,
		       struct hf_error *err);

/* What must be alike on both sides, as JSON: describe() and check() of both machines. */
struct facade_plan {
	uint32_t multifd; /* channels that the source's QEMU opens beside its main one; 0: none */
	bool runs; /* the guest, at the source; one that is paused stays so */
};

/* settings: of settings_read(); NULL: none are told. */
int facade_describe(struct qemu *qemu, const struct facade_plan *plan, json_t *settings, char *buf,
		    uint32_t capacity, uint32_t *ret_length, struct hf_error *err);
/* HF_E_MISMATCH names what differs. *ret_settings: what was told of them, the caller's; or NULL. */
int facade_compare(struct qemu *qemu, const char *shape, uint32_t length,
		   struct facade_plan *ret_plan, json_t **ret_settings, struct hf_error *err);

#endif
