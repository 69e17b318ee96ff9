/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * KVM's dirty log: one bitmap per slot, fetched in each round
 * (Documentation/virt/kvm/api.rst, 4.8, 4.117 and 8.x of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2).
 *
 * Where the kernel can, fetching and write-protecting are apart: the log is switched on without
 * protecting anything (INITIALLY_SET: all bits are set), and KVM_CLEAR_DIRTY_LOG protects piece by
 * piece, so that vCPUs never wait for the whole of a large slot.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "backend/memory/kvm.h"
#include "base/bitmap.h"
#include "base/error.h"
#include "base/export.h"

#ifndef KVM_DIRTY_LOG_INITIALLY_SET
#define KVM_DIRTY_LOG_INITIALLY_SET (1 << 1)
#endif

/* Pages that one KVM_CLEAR_DIRTY_LOG protects: 1 GiB. A multiple of 64, as it demands. */
#define CLEAR_PAGES (1u << 18)

/* Owner: one worker at a time. */
struct kvm_log {
	struct kvm_slots slots;
	uint64_t manual; /* KVM_DIRTY_LOG_* that are enabled; 0: fetching protects */
	uint64_t *fetched; /* of one slot; the largest fits */
};

/* Clear bits in KVM's log, and protect these pages. */
static int clear_log(const struct kvm_log *log, const struct kvm_slot *slot, uint64_t *bits)
{
	for (uint64_t first = 0; first < slot->pages; first += CLEAR_PAGES) {
		uint64_t left = slot->pages - first;
		struct kvm_clear_dirty_log clear = {
			.slot = slot->slot.slot,
			.num_pages = (uint32_t)(left < CLEAR_PAGES ? left : CLEAR_PAGES),
			.first_page = first,
			.dirty_bitmap = bits + first / BITMAP_WORD_BITS,
		};

		if (bitmap_next_set(clear.dirty_bitmap, clear.num_pages, 0) == clear.num_pages)
			continue;
		if (ioctl(log->slots.vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) < 0)
			return -errno;
	}
	return 0;
}

/*
 * Fetch one slot's log into pending. A page that is written between fetch and clear loses its new
 * bit, but not the write: the old bit is in pending, and the page is sent after this.
 */
static int fetch(const struct kvm_log *log, const struct kvm_slot *slot)
{
	struct kvm_dirty_log get = { .slot = slot->slot.slot, .dirty_bitmap = log->fetched };

	if (ioctl(log->slots.vm_fd, KVM_GET_DIRTY_LOG, &get) < 0)
		return -errno;
	bitmap_or(slot->pending, log->fetched, slot->pages);
	return log->manual ? clear_log(log, slot, log->fetched) : 0;
}

static int log_dirty_start(void *self)
{
	struct kvm_log *log = self;
	int r;

	assert(!log->slots.logging);
	kvm_slots_clear(&log->slots);
	r = kvm_slots_log(&log->slots, true);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < log->slots.count && log->manual; i++) {
		const struct kvm_slot *slot = &log->slots.at[i];

		/* All bits are set and nothing is protected yet: make all clean. */
		bitmap_zero(log->fetched, slot->pages);
		bitmap_set_range(log->fetched, 0, slot->pages);
		r = clear_log(log, slot, log->fetched);
		if (r < 0) {
			(void)kvm_slots_log(&log->slots, false);
			return r;
		}
	}
	return 0;
}

static int log_dirty_sync(void *self)
{
	struct kvm_log *log = self;
	int r;

	assert(log->slots.logging);
	for (uint32_t i = 0; i < log->slots.count; i++) {
		r = fetch(log, &log->slots.at[i]);
		if (r < 0)
			return r;
	}
	kvm_slots_publish(&log->slots);
	return 0;
}

static int log_dirty_read(void *self, uint32_t region, uint64_t *bitmap)
{
	const struct kvm_log *log = self;

	kvm_slots_read(&log->slots, region, bitmap);
	return 0;
}

static int log_dirty_stop(void *self)
{
	struct kvm_log *log = self;

	return kvm_slots_log(&log->slots, false);
}

static void log_close(void *self)
{
	struct kvm_log *log = self;

	if (!log)
		return;
	if (log->slots.logging)
		(void)kvm_slots_log(&log->slots, false);
	kvm_slots_done(&log->slots);
	free(log->fetched);
	free(log);
}

static const struct hf_memory_ops log_ops = {
	.size = sizeof(log_ops),
	.kind = "kvm-log",
	.dirty_start = log_dirty_start,
	.dirty_sync = log_dirty_sync,
	.dirty_read = log_dirty_read,
	.dirty_stop = log_dirty_stop,
	.close = log_close,
};

/*
 * Whether manual protection is enabled cannot be asked, only whether the kernel knows it; it can be
 * enabled at any time, so we do: afterwards it is known.
 */
static int enable_manual(struct kvm_log *log, struct hf_error *err)
{
	struct kvm_enable_cap enable = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 };
	int known;

	known = ioctl(log->slots.vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
	if (known <= 0 || !(known & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE))
		return 0;
	enable.args[0] = (uint64_t)known &
			 (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
	if (ioctl(log->slots.vm_fd, KVM_ENABLE_CAP, &enable) < 0)
		return error_set(err, HF_E_DIRTY_TRACKING, errno,
				 "KVM dirty log: enable manual protection");
	log->manual = enable.args[0];
	return 0;
}

static int prepare(struct kvm_log *log, const struct hf_kvm_vm *vm, struct hf_error *err)
{
	uint64_t most = 1;
	int r;

	r = kvm_slots_init(&log->slots, vm, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < log->slots.count; i++)
		if (log->slots.at[i].pages > most)
			most = log->slots.at[i].pages;
	log->fetched = calloc(bitmap_words(most), sizeof(uint64_t));
	if (!log->fetched)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "track dirty pages");
	return enable_manual(log, err);
}

HF_EXPORT int hf_memory_kvm_log(const struct hf_kvm_vm *vm, struct hf_memory *ret_memory,
				struct hf_error *err)
{
	struct kvm_log *log = calloc(1, sizeof(*log));
	int r;

	if (!log)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "track dirty pages");
	if (vm->ring_bytes)
		r = error_set(err, HF_E_INVALID, 0,
			      "KVM dirty log: the VM has dirty rings, which exclude it");
	else
		r = prepare(log, vm, err);
	if (r < 0) {
		log_close(log);
		return r;
	}
	ret_memory->ops = &log_ops;
	ret_memory->self = log;
	return 0;
}
