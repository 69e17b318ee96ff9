/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who tracks the pages that vCPUs write: the library's dirty ring or dirty log, behind a thin
 * wrapper that lets the guest know when it is gone. A vCPU with a full ring needs it, in another
 * thread than the session's.
 */
#include <errno.h>
#include <stdlib.h>

#include "fail.h"
#include "kvm-guest.h"

struct kvm_tracker {
	struct kvm_guest *guest;
	struct hf_memory inner;
};

static int tracker_start(void *self)
{
	struct kvm_tracker *tracker = self;

	return tracker->inner.ops->dirty_start(tracker->inner.self);
}

static int tracker_sync(void *self)
{
	struct kvm_tracker *tracker = self;

	return tracker->inner.ops->dirty_sync(tracker->inner.self);
}

static int tracker_read(void *self, uint32_t region, uint64_t *bitmap)
{
	struct kvm_tracker *tracker = self;

	return tracker->inner.ops->dirty_read(tracker->inner.self, region, bitmap);
}

static int tracker_stop(void *self)
{
	struct kvm_tracker *tracker = self;

	return tracker->inner.ops->dirty_stop(tracker->inner.self);
}

static void tracker_close(void *self)
{
	struct kvm_tracker *tracker = self;
	struct kvm_guest *guest = tracker->guest;

	/* With the lock: no vCPU is in it, and none will be. */
	(void)pthread_mutex_lock(&guest->tracker_lock);
	guest->tracker = NULL;
	hf_memory_close(&tracker->inner);
	(void)pthread_mutex_unlock(&guest->tracker_lock);
	free(tracker);
}

#define TRACKER_OPS(kind_)                                                                         \
	{                                                                                          \
		.size = sizeof(struct hf_memory_ops), .kind = (kind_),                             \
		.dirty_start = tracker_start, .dirty_sync = tracker_sync,                          \
		.dirty_read = tracker_read, .dirty_stop = tracker_stop, .close = tracker_close,    \
	}

static const struct hf_memory_ops ring_ops = TRACKER_OPS("kvm-ring");
static const struct hf_memory_ops log_ops = TRACKER_OPS("kvm-log");

static int open_inner(struct kvm_guest *guest, struct hf_memory *ret_memory, struct hf_error *err)
{
	int vcpu_fds[HF_VCPUS_MAX];
	struct hf_kvm_slot slots[MEMORY_SLOTS];
	struct hf_kvm_vm vm = {
		.kvm_fd = guest->vm.kvm_fd,
		.vm_fd = guest->vm.vm_fd,
		.vcpu_fds = vcpu_fds,
		.vcpu_count = guest->cpus.count,
		.slot_count = guest->memory.count,
		.slots = slots,
		.ring_bytes = guest->vm.ring_bytes,
	};

	for (uint32_t i = 0; i < guest->cpus.count; i++)
		vcpu_fds[i] = guest->cpus.cpus[i].fd;
	for (uint32_t i = 0; i < guest->memory.count; i++) {
		const struct hf_memory_region *region = &guest->memory.regions[i];

		slots[i] = (struct hf_kvm_slot){
			.slot = i,
			.region = i,
			.gpa = region->gpa,
			.size = region->size,
			.host = region->host,
		};
	}
	return guest->vm.ring_bytes != 0 ? hf_memory_kvm_ring(&vm, ret_memory, err)
					 : hf_memory_kvm_log(&vm, ret_memory, err);
}

int tracker_open(struct kvm_guest *guest, struct hf_memory *ret_memory, struct hf_error *err)
{
	struct kvm_tracker *tracker;
	int r;

	if (guest->tracker != NULL)
		return fail(err, HF_E_BUSY, 0, "dirty pages are being tracked already");
	tracker = calloc(1, sizeof(*tracker));
	if (tracker == NULL)
		return fail(err, HF_E_NO_MEMORY, ENOMEM, "tracking dirty pages");
	tracker->guest = guest;
	r = open_inner(guest, &tracker->inner, err);
	if (r != 0) {
		free(tracker);
		return r;
	}
	(void)pthread_mutex_lock(&guest->tracker_lock);
	guest->tracker = tracker;
	(void)pthread_mutex_unlock(&guest->tracker_lock);
	*ret_memory = (struct hf_memory){
		.ops = guest->vm.ring_bytes != 0 ? &ring_ops : &log_ops,
		.self = tracker,
	};
	return 0;
}

/* What is left in a ring when nobody tracks any more is thrown away, by a tracker for one moment.
 */
static int empty_ring(struct kvm_guest *guest)
{
	struct hf_memory memory;
	int r = open_inner(guest, &memory, NULL);

	if (r != 0)
		return -EIO;
	r = hf_memory_kvm_ring_full(&memory);
	hf_memory_close(&memory);
	return r;
}

int tracker_ring_full(struct kvm_guest *guest)
{
	int r;

	(void)pthread_mutex_lock(&guest->tracker_lock);
	if (guest->tracker != NULL)
		r = hf_memory_kvm_ring_full(&guest->tracker->inner);
	else
		r = empty_ring(guest);
	(void)pthread_mutex_unlock(&guest->tracker_lock);
	return r < 0 ? r : 0;
}
