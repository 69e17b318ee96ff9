/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * KVM's VFIO device (Documentation/virt/kvm/devices/vfio.rst): by it KVM knows the files of the
 * kernel devices that its guest uses. Drivers that need their guest's KVM get it so, and KVM learns
 * of DMA that does not snoop caches. A kernel that has none, or does not take a file, is no error:
 * most devices never ask.
 */
#ifndef VMM_KVM_VFIO_H
#define VMM_KVM_VFIO_H

#include <stdint.h>

#include "kvm-vm.h"

struct kvm_vfio {
	int fd; /* -1: not asked for yet, or there is none */
	bool asked;
	uint32_t count, refused; /* of files: those that KVM has, and those that it did not take */
	int files[HF_DEVICES_MAX]; /* duplicates */
};

void kvm_vfio_init(struct kvm_vfio *vfio);
/* Give KVM a file, once, if it takes it. Errors: HF_E_SYSTEM (no more descriptors). */
int kvm_vfio_add(struct kvm_vfio *vfio, const struct vm *vm, int file, struct hf_error *err);
/* KVM lets go of all of them: until then their devices and groups could not be opened anew. */
void kvm_vfio_close(struct kvm_vfio *vfio);

#endif
