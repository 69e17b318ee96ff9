/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What KVM's two dirty sources share: the slots, their logging flag, and the bitmaps of what was
 * found. The numbers come from linux/kvm.h; those that build hosts' headers may lack are here.
 */
#ifndef BACKEND_MEMORY_KVM_H
#define BACKEND_MEMORY_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include <holdfast/backend.h>

#ifndef KVM_CAP_DIRTY_LOG_RING
#define KVM_CAP_DIRTY_LOG_RING 192
#endif
#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL 223
#endif

struct kvm_slot {
	struct hf_kvm_slot slot;
	uint64_t pages;
	uint64_t *pending; /* found since the last sync */
	uint64_t *found; /* what the last sync found */
};

/*
 * Pages go to pending first and become found only when a sync has been through all slots: one that
 * failed halfway loses nothing.
 */
struct kvm_slots {
	int vm_fd;
	uint32_t count;
	bool logging;
	struct kvm_slot *at;
};

/* Checks and copies the slots. HF_E_INVALID, HF_E_NO_MEMORY. */
int kvm_slots_init(struct kvm_slots *slots, const struct hf_kvm_vm *vm, struct hf_error *err);
void kvm_slots_done(struct kvm_slots *slots);

/* Logging for all slots or, after a failure, for none. -errno. */
int kvm_slots_log(struct kvm_slots *slots, bool on);

/* The slot with this number; NULL if it is none of ours. */
struct kvm_slot *kvm_slots_find(const struct kvm_slots *slots, uint32_t number);

void kvm_slots_clear(struct kvm_slots *slots); /* nothing pending, nothing found */
void kvm_slots_fill(struct kvm_slots *slots); /* every page is pending */
void kvm_slots_publish(struct kvm_slots *slots); /* what was pending is found */
void kvm_slots_read(const struct kvm_slots *slots, uint32_t region, uint64_t *bitmap);

#endif
