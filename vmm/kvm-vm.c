/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM as KVM has it. What is needed and missing is an error here, once, with its name; what is
 * optional is remembered.
 */
#include "kvm-vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fail.h"
#include "guest.h"

/* Intel's processors without unrestricted guests need four pages of guest addresses for KVM. */
#define IDENTITY_MAP_GPA 0xfffbc000u
#define TSS_GPA 0xfffbd000u

#define RING_ENTRIES 65536u
#define RING_ENTRY_BYTES 16u

struct requirement {
	uint32_t cap;
	const char *name;
};

static const struct requirement requirements[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
	{ KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING" },
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
	{ KVM_CAP_IRQFD_RESAMPLE, "KVM_CAP_IRQFD_RESAMPLE" },
	{ KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI" },
	{ KVM_CAP_PIT2, "KVM_CAP_PIT2" },
	{ KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2" },
	{ KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK" },
	{ KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
	{ KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
	{ KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS" },
	{ KVM_CAP_XSAVE, "KVM_CAP_XSAVE" },
	{ KVM_CAP_XCRS, "KVM_CAP_XCRS" },
	{ KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ" },
};

uint32_t vm_cap(const struct vm *vm, uint32_t cap)
{
	int r = ioctl(vm->vm_fd >= 0 ? vm->vm_fd : vm->kvm_fd, KVM_CHECK_EXTENSION, cap);

	return r > 0 ? (uint32_t)r : 0;
}

static int check_host(const struct vm *vm, struct hf_error *err)
{
	int version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION)
		return fail(err, HF_E_UNSUPPORTED, 0, "/dev/kvm speaks API version %d, not %d",
			    version, KVM_API_VERSION);
	for (size_t i = 0; i < sizeof(requirements) / sizeof(requirements[0]); i++)
		if (vm_cap(vm, requirements[i].cap) == 0)
			return fail(err, HF_E_UNSUPPORTED, 0, "this host's KVM lacks %s",
				    requirements[i].name);
	return 0;
}

static int open_kvm(struct vm *vm, struct hf_error *err)
{
	*vm = (struct vm){ .kvm_fd = -1, .vm_fd = -1 };
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return fail(err, HF_E_UNSUPPORTED, errno, "/dev/kvm cannot be opened");
	return check_host(vm, err);
}

int kvm_guest_possible(struct hf_error *err)
{
	struct vm vm;
	int r = open_kvm(&vm, err);

	vm_close(&vm);
	return r;
}

static int enable(const struct vm *vm, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap enable_cap = { .cap = cap, .args = { arg } };

	return ioctl(vm->vm_fd, KVM_ENABLE_CAP, &enable_cap) < 0 ? -errno : 0;
}

/* Things without which state would be lost in corners, where the kernel has them. */
static void enable_features(struct vm *vm)
{
	const uint64_t x2apic =
		KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;

	if (vm_cap(vm, KVM_CAP_EXCEPTION_PAYLOAD) != 0 &&
	    enable(vm, KVM_CAP_EXCEPTION_PAYLOAD, 1) == 0)
		vm->features |= VM_EXCEPTION_PAYLOAD;
	if (vm_cap(vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT) != 0 &&
	    enable(vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1) == 0)
		vm->features |= VM_TRIPLE_FAULT_EVENT;
	if ((vm_cap(vm, KVM_CAP_X2APIC_API) & x2apic) == x2apic &&
	    enable(vm, KVM_CAP_X2APIC_API, x2apic) == 0)
		vm->features |= VM_X2APIC_IDS;
	/* No guest sees counters (cpuid.c); if the kernel cannot switch them off, they stay idle.
	 */
	if ((vm_cap(vm, KVM_CAP_PMU_CAPABILITY) & KVM_PMU_CAP_DISABLE) != 0)
		(void)enable(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);
}

/* Before the first vCPU is created, or never. A smaller ring than we want is still a ring. */
static void enable_ring(struct vm *vm)
{
	const uint32_t caps[] = { KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING };

	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
		uint32_t bytes = vm_cap(vm, caps[i]);

		if (bytes > RING_ENTRIES * RING_ENTRY_BYTES)
			bytes = RING_ENTRIES * RING_ENTRY_BYTES;
		if (bytes != 0 && enable(vm, caps[i], bytes) == 0) {
			vm->ring_bytes = bytes;
			return;
		}
	}
}

static int read_sizes(struct vm *vm, struct hf_error *err)
{
	struct kvm_msr_list *list;
	int r = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (r < (int)sizeof(struct kvm_run))
		return fail(err, HF_E_UNSUPPORTED, r < 0 ? errno : 0, "KVM_GET_VCPU_MMAP_SIZE");
	vm->run_bytes = (uint32_t)r;
	vm->xsave_bytes = vm_cap(vm, KVM_CAP_XSAVE2);
	if (vm->xsave_bytes < sizeof(struct kvm_xsave))
		vm->xsave_bytes = sizeof(struct kvm_xsave);
	vm->has_sregs2 = vm_cap(vm, KVM_CAP_SREGS2) != 0;
	vm->has_tsc_scaling = vm_cap(vm, KVM_CAP_TSC_CONTROL) != 0;

	list = calloc(1, sizeof(*list) + sizeof(vm->msrs));
	if (list == NULL)
		return fail(err, HF_E_NO_MEMORY, ENOMEM, "the list of MSRs");
	list->nmsrs = VM_MSRS_MAX;
	r = ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0 ? errno : 0;
	if (r == 0) {
		vm->msr_count = list->nmsrs;
		for (uint32_t i = 0; i < list->nmsrs; i++)
			vm->msrs[i] = list->indices[i];
	}
	free(list);
	return r == 0 ? 0 : fail(err, HF_E_UNSUPPORTED, r, "KVM_GET_MSR_INDEX_LIST");
}

static int create(struct vm *vm, bool with_ring, struct hf_error *err)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	uint64_t identity_map = IDENTITY_MAP_GPA;

	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0ul);
	if (vm->vm_fd < 0)
		return fail(err, HF_E_SYSTEM, errno, "KVM_CREATE_VM");
	if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
		return fail(err, HF_E_SYSTEM, errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_GPA) < 0)
		return fail(err, HF_E_SYSTEM, errno, "KVM_SET_TSS_ADDR");
	if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0ul) < 0)
		return fail(err, HF_E_SYSTEM, errno, "KVM_CREATE_IRQCHIP");
	if (ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return fail(err, HF_E_SYSTEM, errno, "KVM_CREATE_PIT2");
	enable_features(vm);
	if (with_ring)
		enable_ring(vm);
	return read_sizes(vm, err);
}

int vm_open(struct vm *vm, bool with_ring, struct hf_error *err)
{
	int r = open_kvm(vm, err);

	if (r == 0)
		r = create(vm, with_ring, err);
	if (r != 0)
		vm_close(vm);
	return r;
}

void vm_close(struct vm *vm)
{
	if (vm->vm_fd >= 0)
		(void)close(vm->vm_fd); /* nothing to be done about it here */
	if (vm->kvm_fd >= 0)
		(void)close(vm->kvm_fd);
	vm->vm_fd = -1;
	vm->kvm_fd = -1;
}

int vm_slot_set(const struct vm *vm, uint32_t slot, uint64_t gpa, uint64_t size, void *host)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}
