/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * KVM's dirty rings: each vCPU notes the pages it writes in a ring of its own
 * (Documentation/virt/kvm/api.rst, KVM_CAP_DIRTY_LOG_RING). An entry goes from "dirty" (KVM wrote
 * it) to "reset" (we have taken it); KVM_RESET_DIRTY_RINGS then protects the taken pages again. A
 * vCPU whose ring is full leaves KVM_RUN until somebody has harvested, so nothing is ever lost, and
 * no thread has to run beside the vCPUs.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "backend/memory/kvm.h"
#include "base/bitmap.h"
#include "base/error.h"
#include "base/export.h"

/* A signal makes KVM_RESET_DIRTY_RINGS return early; this many in a row without a step are a fault.
 */
#define RESET_TRIES_MAX 1000u

struct ring {
	struct kvm_dirty_gfn *entries; /* mapped from the vCPU's fd */
	uint32_t next; /* the entry to be taken next; runs on, modulo count */
};

/* lock guards all: the session's worker syncs while vCPU threads harvest. */
struct kvm_ring {
	pthread_mutex_t lock;
	struct kvm_slots slots;
	struct ring *rings;
	uint32_t ring_count;
	uint32_t ring_bytes;
	uint32_t entry_count; /* of each ring; a power of two */
	uint64_t taken; /* entries taken and not reset yet */
};

/* An entry that KVM has filled is taken: its page is pending. 1, 0 if there is none, -ENXIO. */
static int take(struct kvm_ring *self, struct ring *ring, bool keep)
{
	struct kvm_dirty_gfn *entry = &ring->entries[ring->next & (self->entry_count - 1)];
	const struct kvm_slot *slot;

	/* Acquire: slot and offset were written before the flag. */
	if (__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
		return 0;
	if (keep) {
		slot = kvm_slots_find(&self->slots, entry->slot);
		if (!slot || entry->offset >= slot->pages)
			return -ENXIO; /* a page was written that we could not name */
		bitmap_set(slot->pending, entry->offset);
	}
	/* Release: what we read was read before KVM may write it anew. */
	__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	ring->next++;
	self->taken++;
	return 1;
}

/* Protect again the pages of all entries that were taken. */
static int reset(struct kvm_ring *self)
{
	unsigned int tries = 0;
	int n;

	while (self->taken) {
		n = ioctl(self->slots.vm_fd, KVM_RESET_DIRTY_RINGS, 0);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0) {
			self->taken -= (uint64_t)n < self->taken ? (uint64_t)n : self->taken;
			tries = 0;
		} else if (++tries == RESET_TRIES_MAX) {
			return -EBUSY;
		}
	}
	return 0;
}

/* With the lock held. keep: entries become pending pages; otherwise they are dropped. */
static int harvest(struct kvm_ring *self, bool keep)
{
	int r = 0;

	for (uint32_t i = 0; i < self->ring_count; i++) {
		/* At most one ring full, so that a busy vCPU cannot hold us here. */
		for (uint32_t n = 0; n < self->entry_count; n++) {
			r = take(self, &self->rings[i], keep);
			if (r < 0)
				return r;
			if (r == 0)
				break;
		}
	}
	return reset(self);
}

static int ring_dirty_start(void *opaque)
{
	struct kvm_ring *self = opaque;
	int r;

	(void)pthread_mutex_lock(&self->lock);
	assert(!self->slots.logging);
	kvm_slots_clear(&self->slots);
	r = harvest(self, false);
	if (r == 0)
		r = kvm_slots_log(&self->slots, true);
	(void)pthread_mutex_unlock(&self->lock);
	return r;
}

static int ring_dirty_sync(void *opaque)
{
	struct kvm_ring *self = opaque;
	int r;

	(void)pthread_mutex_lock(&self->lock);
	assert(self->slots.logging);
	r = harvest(self, true);
	if (r == 0)
		kvm_slots_publish(&self->slots);
	(void)pthread_mutex_unlock(&self->lock);
	return r;
}

static int ring_dirty_read(void *opaque, uint32_t region, uint64_t *bitmap)
{
	struct kvm_ring *self = opaque;

	(void)pthread_mutex_lock(&self->lock);
	kvm_slots_read(&self->slots, region, bitmap);
	(void)pthread_mutex_unlock(&self->lock);
	return 0;
}

static int ring_dirty_stop(void *opaque)
{
	struct kvm_ring *self = opaque;
	int r, dropped;

	(void)pthread_mutex_lock(&self->lock);
	r = kvm_slots_log(&self->slots, false);
	dropped = harvest(self, false); /* a full ring would keep its vCPU out of the guest */
	(void)pthread_mutex_unlock(&self->lock);
	return r < 0 ? r : dropped;
}

static void ring_close(void *opaque)
{
	struct kvm_ring *self = opaque;

	if (!self)
		return;
	if (self->slots.logging)
		(void)ring_dirty_stop(self);
	for (uint32_t i = 0; i < self->ring_count; i++)
		(void)munmap(self->rings[i].entries, self->ring_bytes);
	free(self->rings);
	kvm_slots_done(&self->slots);
	(void)pthread_mutex_destroy(&self->lock);
	free(self);
}

static const struct hf_memory_ops ring_ops = {
	.size = sizeof(ring_ops),
	.kind = "kvm-ring",
	.dirty_start = ring_dirty_start,
	.dirty_sync = ring_dirty_sync,
	.dirty_read = ring_dirty_read,
	.dirty_stop = ring_dirty_stop,
	.close = ring_close,
};

static int map_rings(struct kvm_ring *self, const struct hf_kvm_vm *vm, struct hf_error *err)
{
	void *at;

	self->rings = calloc(vm->vcpu_count ? vm->vcpu_count : 1, sizeof(*self->rings));
	if (!self->rings)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "track dirty pages");
	for (uint32_t i = 0; i < vm->vcpu_count; i++) {
		at = mmap(NULL, vm->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fds[i],
			  (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * HF_PAGE_SIZE);
		if (at == MAP_FAILED)
			return error_set(err, HF_E_DIRTY_TRACKING, errno,
					 "map the dirty ring of vCPU %u", i);
		self->rings[i].entries = at;
		self->ring_count = i + 1;
	}
	return 0;
}

static int check_ring(const struct hf_kvm_vm *vm, struct hf_error *err)
{
	int most = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING_ACQ_REL);

	if (most <= 0)
		most = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING);
	if (most <= 0)
		return error_set(err, HF_E_UNSUPPORTED, 0, "this kernel has no KVM dirty ring");
	if (vm->ring_bytes < HF_PAGE_SIZE || vm->ring_bytes & (vm->ring_bytes - 1) ||
	    vm->ring_bytes > (uint32_t)most)
		return error_set(err, HF_E_INVALID, 0,
				 "KVM dirty ring: %u bytes; a power of two from %u to %d is needed",
				 vm->ring_bytes, HF_PAGE_SIZE, most);
	return 0;
}

HF_EXPORT int hf_memory_kvm_ring(const struct hf_kvm_vm *vm, struct hf_memory *ret_memory,
				 struct hf_error *err)
{
	struct kvm_ring *self;
	int r;

	r = check_ring(vm, err);
	if (r < 0)
		return r;
	self = calloc(1, sizeof(*self));
	if (!self)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "track dirty pages");
	(void)pthread_mutex_init(&self->lock, NULL); /* cannot fail on Linux */
	self->ring_bytes = vm->ring_bytes;
	self->entry_count = vm->ring_bytes / (uint32_t)sizeof(struct kvm_dirty_gfn);
	r = kvm_slots_init(&self->slots, vm, err);
	if (r == 0)
		r = map_rings(self, vm, err);
	if (r < 0) {
		ring_close(self);
		return r;
	}
	ret_memory->ops = &ring_ops;
	ret_memory->self = self;
	return 0;
}

HF_EXPORT int hf_memory_kvm_ring_full(struct hf_memory *memory)
{
	struct kvm_ring *self = memory->self;
	int r;

	if (memory->ops != &ring_ops)
		return -EINVAL;
	(void)pthread_mutex_lock(&self->lock);
	r = harvest(self, self->slots.logging);
	(void)pthread_mutex_unlock(&self->lock);
	return r;
}
