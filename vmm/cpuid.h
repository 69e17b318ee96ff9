/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CPU that the guest sees: this host's, as far as KVM supports it, less what cannot be migrated
 * (nested virtualization, performance counters). A guest keeps the table it was started with, for
 * ever; a target that cannot offer a feature of it says which.
 */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <stdint.h>

#include <linux/kvm.h>

#include "bytes.h"
#include "kvm-vm.h"

#define CPUID_ENTRIES_MAX 256u

/* The table without what differs between vCPUs (APIC ids). */
struct cpuid {
	uint32_t count;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

/* What a new guest sees here. */
int cpuid_make(struct cpuid *cpuid, const struct vm *vm, uint32_t vcpu_count, struct hf_error *err);

/* Give vCPU index the table. Before it has run. */
int cpuid_set(const struct cpuid *cpuid, int cpu_fd, uint32_t index, struct hf_error *err);

/* The guest's physical address width. */
uint32_t cpuid_phys_bits(const struct cpuid *cpuid);

void cpuid_put(const struct cpuid *cpuid, struct writer *writer);
int cpuid_take(struct cpuid *cpuid, struct reader *reader); /* 0 or -EPROTO */

/* Does here have all that the source's guest sees? HF_E_MISMATCH names the first feature missing.
 */
int cpuid_check(const struct cpuid *source, const struct cpuid *here, struct hf_error *err);

#endif
