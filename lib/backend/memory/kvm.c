/* SPDX-License-Identifier: BSD-3-Clause */
/* KVM's memory slots as both dirty sources see them. */
#include "backend/memory/kvm.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/bitmap.h"
#include "base/error.h"

static int check_slot(const struct hf_kvm_slot *slot, uint32_t index, struct hf_error *err)
{
	const uint64_t odd = HF_PAGE_SIZE - 1;

	if (slot->region >= HF_REGIONS_MAX)
		return error_set(err, HF_E_INVALID, 0, "KVM slot [%u]: region %u of at most %u",
				 index, slot->region, HF_REGIONS_MAX);
	if (slot->size == 0 || (slot->size | slot->gpa | slot->region_offset) & odd ||
	    (uintptr_t)slot->host & odd)
		return error_set(err, HF_E_INVALID, 0,
				 "KVM slot [%u]: empty, or not in whole pages", index);
	/* KVM's own limit; it also keeps all sums below far from their ends. */
	if (slot->size >> HF_PAGE_SHIFT >= 1ull << 31 || slot->region_offset >= 1ull << 52)
		return error_set(err, HF_E_INVALID, 0, "KVM slot [%u]: too large", index);
	return 0;
}

int kvm_slots_init(struct kvm_slots *slots, const struct hf_kvm_vm *vm, struct hf_error *err)
{
	int r;

	slots->vm_fd = vm->vm_fd;
	slots->count = 0;
	slots->logging = false;
	slots->at = calloc(vm->slot_count ? vm->slot_count : 1, sizeof(*slots->at));
	if (!slots->at)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "track dirty pages");
	for (uint32_t i = 0; i < vm->slot_count; i++) {
		struct kvm_slot *slot = &slots->at[i];

		r = check_slot(&vm->slots[i], i, err);
		if (r < 0)
			return r;
		slot->slot = vm->slots[i];
		slot->pages = slot->slot.size >> HF_PAGE_SHIFT;
		slot->pending = calloc(bitmap_words(slot->pages), sizeof(uint64_t));
		slot->found = calloc(bitmap_words(slot->pages), sizeof(uint64_t));
		slots->count = i + 1; /* what kvm_slots_done() looks at */
		if (!slot->pending || !slot->found)
			return error_set(err, HF_E_NO_MEMORY, ENOMEM, "track dirty pages");
	}
	return 0;
}

void kvm_slots_done(struct kvm_slots *slots)
{
	for (uint32_t i = 0; i < slots->count; i++) {
		free(slots->at[i].pending);
		free(slots->at[i].found);
	}
	free(slots->at);
	slots->at = NULL;
	slots->count = 0;
}

static int log_one(const struct kvm_slots *slots, const struct hf_kvm_slot *slot, bool on)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot->slot,
		.flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->size,
		.userspace_addr = (uintptr_t)slot->host,
	};

	return ioctl(slots->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

int kvm_slots_log(struct kvm_slots *slots, bool on)
{
	int r = 0, first = 0;

	for (uint32_t i = 0; i < slots->count; i++) {
		r = log_one(slots, &slots->at[i].slot, on);
		if (r < 0 && on) {
			while (i--)
				(void)log_one(slots, &slots->at[i].slot, false);
			return r;
		}
		if (r < 0 && first == 0)
			first = r; /* switch the others off all the same */
	}
	slots->logging = on;
	return first;
}

struct kvm_slot *kvm_slots_find(const struct kvm_slots *slots, uint32_t number)
{
	for (uint32_t i = 0; i < slots->count; i++)
		if (slots->at[i].slot.slot == number)
			return &slots->at[i];
	return NULL;
}

void kvm_slots_clear(struct kvm_slots *slots)
{
	for (uint32_t i = 0; i < slots->count; i++) {
		bitmap_zero(slots->at[i].pending, slots->at[i].pages);
		bitmap_zero(slots->at[i].found, slots->at[i].pages);
	}
}

void kvm_slots_fill(struct kvm_slots *slots)
{
	for (uint32_t i = 0; i < slots->count; i++)
		bitmap_set_range(slots->at[i].pending, 0, slots->at[i].pages);
}

void kvm_slots_publish(struct kvm_slots *slots)
{
	uint64_t *swap;

	for (uint32_t i = 0; i < slots->count; i++) {
		swap = slots->at[i].found;
		slots->at[i].found = slots->at[i].pending;
		slots->at[i].pending = swap;
		bitmap_zero(swap, slots->at[i].pages);
	}
}

void kvm_slots_read(const struct kvm_slots *slots, uint32_t region, uint64_t *bitmap)
{
	for (uint32_t i = 0; i < slots->count; i++) {
		const struct kvm_slot *slot = &slots->at[i];

		if (slot->slot.region == region)
			bitmap_or_at(bitmap, slot->slot.region_offset >> HF_PAGE_SHIFT, slot->found,
				     slot->pages);
	}
}
