/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * KVM's dirty rings: each vCPU notes the pages it writes in a ring of its own
 * (Documentation/virt/kvm/api.rst, KVM_CAP_DIRTY_LOG_RING). An entry goes from "dirty" (KVM wrote
 * it) to "reset" (we have taken it); KVM_RESET_DIRTY_RINGS then protects the taken pages again and
 * makes the entry empty. A vCPU whose ring is nearly full leaves KVM_RUN until somebody has
 * harvested, so no thread has to run beside the vCPUs.
 *
 * KVM looks for a full ring between two entries into the guest, and keeps 64 entries for what
 * happens in between. Where it emulates many instructions in one go these are not enough: it then
 * writes over entries that nobody has taken, and warns in its log. We see that (a ring all of whose
 * entries are dirty; taken entries that are dirty again), and say that every page was written.
 * After it, KVM's place in the ring and ours differ by empty entries: a ring that was overrun is
 * searched for them.
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

/*
 * A signal makes KVM_RESET_DIRTY_RINGS return early, and does so once: after this many calls that
 * did nothing it is not signals. After that many there is no hope.
 */
#define IDLE_SIGNALS 8u
#define IDLE_MAX 65536u

struct ring {
	struct kvm_dirty_gfn *entries; /* mapped from the vCPU's fd */
	/* Both run on, modulo the count; what lies between was taken, and is not known to be empty.
	 */
	uint32_t next; /* the entry to be taken next */
	uint32_t reset; /* the first that KVM has not made empty; next when all are */
	bool placed; /* the two above mean something */
	bool proven; /* KVM has emptied entries where we thought it stands */
	bool overrun; /* KVM has written over entries: there may be gaps */
};

/* lock guards all: the session's worker syncs while vCPU threads harvest. */
struct kvm_ring {
	pthread_mutex_t lock;
	struct kvm_slots slots;
	struct ring *rings;
	uint32_t ring_count;
	uint32_t ring_bytes;
	uint32_t entry_count; /* of each ring; a power of two */
	bool lost; /* pages were written that we cannot name: all are */
};

static struct kvm_dirty_gfn *entry_at(const struct kvm_ring *self, const struct ring *ring,
				      uint32_t index)
{
	return &ring->entries[index & (self->entry_count - 1)];
}

/* Acquire: slot and offset were written before the flag. */
static uint32_t flags_at(const struct kvm_ring *self, const struct ring *ring, uint32_t index)
{
	return __atomic_load_n(&entry_at(self, ring, index)->flags, __ATOMIC_ACQUIRE);
}

/* Release: what we read was read before KVM may write it anew. */
static void mark_taken(const struct kvm_ring *self, const struct ring *ring, uint32_t index)
{
	__atomic_store_n(&entry_at(self, ring, index)->flags, KVM_DIRTY_GFN_F_RESET,
			 __ATOMIC_RELEASE);
}

static void note_overrun(struct kvm_ring *self, struct ring *ring)
{
	ring->overrun = true;
	self->lost = true;
}

/* An entry is taken: its page is pending. -ENXIO: a page was written that we could not name. */
static int take(struct kvm_ring *self, const struct ring *ring, uint32_t index, bool keep)
{
	const struct kvm_dirty_gfn *entry = entry_at(self, ring, index);
	const struct kvm_slot *slot;

	if (keep) {
		slot = kvm_slots_find(&self->slots, entry->slot);
		if (!slot || entry->offset >= slot->pages)
			return -ENXIO;
		bitmap_set(slot->pending, entry->offset);
	}
	mark_taken(self, ring, index);
	return 0;
}

/*
 * In a ring that was overrun: empty entries before a dirty one are a gap, which KVM will not cross
 * by itself. They count as taken. Whether there was one.
 */
static bool cross_gap(const struct kvm_ring *self, struct ring *ring)
{
	uint32_t most = self->entry_count - (ring->next - ring->reset);
	uint32_t gap = 1;

	while (gap < most && flags_at(self, ring, ring->next + gap) != KVM_DIRTY_GFN_F_DIRTY)
		gap++;
	if (gap >= most)
		return false;
	/* Entries are written in order: without a gap, the first is dirty by now. */
	if (flags_at(self, ring, ring->next) == KVM_DIRTY_GFN_F_DIRTY)
		return true;
	for (; gap; gap--)
		mark_taken(self, ring, ring->next++);
	return true;
}

/*
 * KVM's place in a ring outlives us, and cannot be asked: a source before us may have used it. The
 * first run of dirty entries begins there. When all are dirty, KVM has written over entries: the
 * place is unknown, and stays so when they are taken.
 */
static void place(const struct kvm_ring *self, struct ring *ring)
{
	uint32_t at = 0;

	while (at < self->entry_count && (flags_at(self, ring, at) != KVM_DIRTY_GFN_F_DIRTY ||
					  flags_at(self, ring, at - 1) == KVM_DIRTY_GFN_F_DIRTY))
		at++;
	if (at == self->entry_count && flags_at(self, ring, 0) != KVM_DIRTY_GFN_F_DIRTY)
		return; /* nothing is dirty */
	ring->next = ring->reset = at;
	ring->placed = true;
	ring->proven = false;
}

/* Take what is in one ring; at most one ring full, so that a busy vCPU cannot hold us here. */
static int take_all(struct kvm_ring *self, struct ring *ring, bool keep)
{
	int r;

	if (!ring->placed)
		place(self, ring);
	while (ring->placed && ring->next - ring->reset < self->entry_count) {
		if (flags_at(self, ring, ring->next) == KVM_DIRTY_GFN_F_DIRTY) {
			r = take(self, ring, ring->next, keep);
			if (r < 0)
				return r;
			ring->next++;
		} else if (!ring->overrun || !cross_gap(self, ring)) {
			return 0;
		}
	}
	if (ring->placed)
		note_overrun(self, ring); /* KVM never fills a ring to the last entry */
	return 0;
}

/*
 * Where KVM_RESET_DIRTY_RINGS stands in a ring, after it did less than all. An entry that was taken
 * and is dirty again was written over before KVM came to it, and it does not pass it: take it
 * again.
 */
static int follow_reset(struct kvm_ring *self, struct ring *ring, bool keep)
{
	int r;

	while (ring->reset != ring->next && flags_at(self, ring, ring->reset) == 0)
		ring->reset++;
	for (uint32_t at = ring->reset; at != ring->next; at++) {
		if (flags_at(self, ring, at) != KVM_DIRTY_GFN_F_DIRTY)
			continue;
		note_overrun(self, ring);
		r = take(self, ring, at, keep);
		if (r < 0)
			return r;
	}
	return 0;
}

static uint64_t count_taken(const struct kvm_ring *self)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < self->ring_count; i++)
		count += self->rings[i].next - self->rings[i].reset;
	return count;
}

/*
 * KVM stands before the entries that we found in a ring which a source before us left overrun: the
 * empty one in front of them belongs to a gap. One at a time, since we must not go before KVM's
 * place.
 */
static void widen(const struct kvm_ring *self, struct ring *ring)
{
	if (ring->proven || ring->reset == ring->next ||
	    ring->next - ring->reset == self->entry_count ||
	    flags_at(self, ring, ring->reset) != KVM_DIRTY_GFN_F_RESET ||
	    flags_at(self, ring, ring->reset - 1) != 0)
		return;
	mark_taken(self, ring, --ring->reset);
	ring->overrun = true;
}

/* All that was taken is protected again and empty. */
static void all_reset(struct kvm_ring *self)
{
	for (uint32_t i = 0; i < self->ring_count; i++) {
		struct ring *ring = &self->rings[i];

		if (!ring->proven && ring->next - ring->reset == self->entry_count)
			ring->placed = ring->overrun = false; /* all were: see place() */
		if (ring->next != ring->reset)
			ring->proven = ring->placed;
		ring->reset = ring->next;
	}
}

/* Protect again the pages of all entries that were taken, and make the entries empty. */
static int reset(struct kvm_ring *self, bool keep)
{
	unsigned int idle = 0; /* calls in a row that did nothing */
	uint64_t taken;
	int n, r;

	while ((taken = count_taken(self)) > 0) {
		n = ioctl(self->slots.vm_fd, KVM_RESET_DIRTY_RINGS, 0);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n >= 0 && (uint64_t)n >= taken) {
			all_reset(self);
			return 0;
		}
		idle = n > 0 ? 0 : idle + 1;
		if (idle == IDLE_MAX)
			return -EBUSY;
		for (uint32_t i = 0; i < self->ring_count; i++) {
			r = follow_reset(self, &self->rings[i], keep);
			if (r < 0)
				return r;
			if (idle > 0 && idle % IDLE_SIGNALS == 0)
				widen(self, &self->rings[i]);
		}
	}
	return 0;
}

/* With the lock held. keep: entries become pending pages; otherwise they are dropped. */
static int harvest(struct kvm_ring *self, bool keep)
{
	int r = 0;

	for (uint32_t i = 0; i < self->ring_count && r == 0; i++)
		r = take_all(self, &self->rings[i], keep);
	if (r == 0)
		r = reset(self, keep);
	if (self->lost && keep)
		kvm_slots_fill(&self->slots);
	self->lost = false;
	return r;
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
