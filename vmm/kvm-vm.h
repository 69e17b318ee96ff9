/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM as KVM has it: its descriptors, what this kernel can do, memory slots. No vCPUs, no
 * devices.
 */
#ifndef VMM_KVM_VM_H
#define VMM_KVM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/kvm.h>

#include <holdfast/backend.h>

/* Optional things that were switched on; they change the layout of state, so both sides compare. */
#define VM_EXCEPTION_PAYLOAD 1u
#define VM_TRIPLE_FAULT_EVENT 2u
#define VM_X2APIC_IDS 4u

#define VM_MSRS_MAX 1024u

/* Immutable after vm_open(). */
struct vm {
	int kvm_fd, vm_fd;
	uint32_t run_bytes; /* of a vCPU's shared area */
	uint32_t ring_bytes; /* of each vCPU's dirty ring; 0: there is none */
	uint32_t features; /* VM_* */
	uint32_t xsave_bytes;
	bool has_sregs2, has_tsc_scaling;
	uint32_t msr_count; /* KVM_GET_MSR_INDEX_LIST */
	uint32_t msrs[VM_MSRS_MAX];
};

/* with_ring: enable the dirty ring if the kernel has it. On failure nothing is left open. */
int vm_open(struct vm *vm, bool with_ring, struct hf_error *err);
void vm_close(struct vm *vm); /* also half-open or zeroed with fds of -1 */

/* KVM_CHECK_EXTENSION; 0: no. */
uint32_t vm_cap(const struct vm *vm, uint32_t cap);

/* Put [gpa, gpa + size) to host; size 0 takes the slot out. Returns 0 or -errno. */
int vm_slot_set(const struct vm *vm, uint32_t slot, uint64_t gpa, uint64_t size, void *host);

#endif
