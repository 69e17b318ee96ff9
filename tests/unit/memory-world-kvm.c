/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM of two vCPUs without paging, each with a list of addresses at which it adds 1, then halts.
 * Lists and code lie in a slot of their own that nobody tracks.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/kvm.h>

#include "memory-worlds.h"

#define LOW_BYTES 0x10000u
#define CODE_GPA 0x1000u
#define LIST_GPA(vcpu) (0x4000u + (vcpu)*0x5000u)

#define MY_CAP_DIRTY_LOG_RING 192
#define MY_CAP_DIRTY_LOG_RING_ACQ_REL 223

static const uint8_t code[] = {
	0x8d, 0x73, 0x04, /* again: lea esi, [ebx + 4] */
	0x8b, 0x0b, /*        mov ecx, [ebx] */
	0x85, 0xc9, /*        test ecx, ecx */
	0x74, 0x0a, /*        jz done */
	0x8b, 0x06, /* next:  mov eax, [esi] */
	0xff, 0x00, /*        inc dword [eax] */
	0x83, 0xc6, 0x04, /*        add esi, 4 */
	0x49, /*        dec ecx */
	0x75, 0xf6, /*        jnz next */
	0xf4, /* done:  hlt */
	0xeb, 0xea, /*        jmp again */
};

struct vm {
	int kvm, fd, vcpus[WORLD_WRITERS];
	struct kvm_run *run[WORLD_WRITERS];
	size_t run_bytes;
	uint8_t *low;
	uint32_t ring_bytes;
	struct hf_kvm_slot slots[3];
};

static void vm_write(struct world *world, unsigned int writer, const struct world_page *pages,
		     uint32_t count)
{
	struct vm *vm = world->self;
	uint32_t *list = (uint32_t *)(void *)(vm->low + LIST_GPA(writer));
	int r;

	assert_true(count <= WORLD_LIST_MAX);
	list[0] = count;
	for (uint32_t i = 0; i < count; i++)
		list[1 + i] = (uint32_t)(world->regions[pages[i].region].gpa +
					 ((uint64_t)pages[i].page << HF_PAGE_SHIFT));
	for (;;) {
		r = ioctl(vm->vcpus[writer], KVM_RUN, 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			fail_msg("KVM_RUN: errno %d", errno);
		if (vm->run[writer]->exit_reason == KVM_EXIT_HLT)
			return;
		if (vm->run[writer]->exit_reason != 31) /* KVM_EXIT_DIRTY_RING_FULL */
			fail_msg("vCPU %u left for reason %u", writer,
				 vm->run[writer]->exit_reason);
		atomic_fetch_add(&world->full_exits, 1);
		r = hf_memory_kvm_ring_full(&world->memory);
		if (r < 0)
			fail_msg("ring full: %d", r);
	}
}

static void vm_close(struct world *world)
{
	struct vm *vm = world->self;

	for (unsigned int i = 0; i < WORLD_WRITERS; i++) {
		(void)munmap(vm->run[i], vm->run_bytes);
		(void)close(vm->vcpus[i]);
	}
	(void)close(vm->fd);
	(void)close(vm->kvm);
	(void)munmap(vm->low, LOW_BYTES);
	free(vm);
}

static int set_slot(const struct vm *vm, const struct hf_kvm_slot *slot)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot->slot,
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->size,
		.userspace_addr = (uintptr_t)slot->host,
	};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/* Flat 32-bit protected mode, at ring 0, without paging. */
static int set_mode(int vcpu, unsigned int number)
{
	struct kvm_segment flat = { .limit = 0xffffffff,
				    .selector = 0x10,
				    .type = 3,
				    .present = 1,
				    .db = 1,
				    .s = 1,
				    .g = 1 };
	struct kvm_regs regs = { .rip = CODE_GPA, .rflags = 2, .rbx = LIST_GPA(number) };
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
	flat.type = 11;
	flat.selector = 0x8;
	sregs.cs = flat;
	sregs.cr0 |= 1;
	return ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0 ? -1
											      : 0;
}

static int enable_ring(const struct vm *vm, uint32_t ring_bytes, const char **ret_why)
{
	struct kvm_enable_cap enable = { .args = { ring_bytes } };
	static const uint32_t caps[] = { MY_CAP_DIRTY_LOG_RING_ACQ_REL, MY_CAP_DIRTY_LOG_RING };

	*ret_why = "this kernel has no KVM dirty ring";
	for (unsigned int i = 0; i < 2; i++) {
		enable.cap = caps[i];
		if (ioctl(vm->fd, KVM_CHECK_EXTENSION, caps[i]) > 0)
			return ioctl(vm->fd, KVM_ENABLE_CAP, &enable);
	}
	return -1;
}

static int add_vcpu(struct vm *vm, unsigned int number, const char **ret_why)
{
	int bytes = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	*ret_why = "a vCPU cannot be made here";
	vm->vcpus[number] = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)number);
	if (bytes <= 0 || vm->vcpus[number] < 0)
		return -1;
	vm->run_bytes = (size_t)bytes;
	vm->run[number] =
		mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpus[number], 0);
	return vm->run[number] == MAP_FAILED ? -1 : set_mode(vm->vcpus[number], number);
}

static int add_slots(struct world *world, struct vm *vm, struct hf_kvm_slot slots[3])
{
	const uint64_t split = (uint64_t)WORLD_SPLIT_PAGES << HF_PAGE_SHIFT;
	const struct hf_memory_region *regions = world->regions;
	struct hf_kvm_slot low = { .slot = 9, .size = LOW_BYTES };

	vm->low = mmap(NULL, LOW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm->low == MAP_FAILED)
		return -1;
	memcpy(vm->low + CODE_GPA, code, sizeof(code));
	low.host = vm->low;
	slots[0] = (struct hf_kvm_slot){
		.slot = 3, .gpa = regions[0].gpa, .size = split, .host = regions[0].host
	};
	slots[1] = (struct hf_kvm_slot){ .slot = 0,
					 .region_offset = split,
					 .gpa = regions[0].gpa + split,
					 .size = regions[0].size - split,
					 .host = (char *)regions[0].host + split };
	slots[2] = (struct hf_kvm_slot){ .slot = 7,
					 .region = 1,
					 .gpa = regions[1].gpa,
					 .size = regions[1].size,
					 .host = regions[1].host };
	for (unsigned int i = 0; i < 3; i++)
		if (set_slot(vm, &slots[i]) < 0)
			return -1;
	return set_slot(vm, &low);
}

static int open_source(struct world *world, const struct hf_kvm_slot *slots, uint32_t count,
		       struct hf_error *err)
{
	const struct vm *vm = world->self;
	struct hf_kvm_vm view = { .kvm_fd = vm->kvm,
				  .vm_fd = vm->fd,
				  .vcpu_fds = vm->vcpus,
				  .vcpu_count = WORLD_WRITERS,
				  .slot_count = count,
				  .slots = slots,
				  .ring_bytes = vm->ring_bytes };

	memset(err, 0, sizeof(*err));
	return vm->ring_bytes ? hf_memory_kvm_ring(&view, &world->memory, err)
			      : hf_memory_kvm_log(&view, &world->memory, err);
}

static void vm_reopen(struct world *world)
{
	const struct vm *vm = world->self;
	struct hf_error err;

	hf_memory_close(&world->memory);
	if (open_source(world, vm->slots, 3, &err) < 0)
		fail_msg("%s", err.text); /* the kernel said it can: no reason to skip */
}

/* What is wrong with a slot is said. */
static void check_refusal(struct world *world)
{
	const struct vm *vm = world->self;
	struct hf_kvm_slot odd = vm->slots[0];
	struct hf_error err;

	odd.size++;
	assert_int_equal(open_source(world, &odd, 1, &err), HF_E_INVALID);
	assert_non_null(strstr(err.text, "whole pages"));
	assert_null(world->memory.ops);
}

int world_open_kvm(struct world *world, uint32_t ring_bytes, const char **ret_why)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int r = 0;

	assert_non_null(vm);
	vm->ring_bytes = ring_bytes;
	*ret_why = "/dev/kvm cannot be opened";
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm->fd = vm->kvm < 0 ? -1 : ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		return -1;
	if (ring_bytes)
		r = enable_ring(vm, ring_bytes, ret_why);
	for (unsigned int i = 0; i < WORLD_WRITERS && r == 0; i++)
		r = add_vcpu(vm, i, ret_why);
	if (r == 0) {
		*ret_why = "memory slots cannot be made here";
		r = add_slots(world, vm, vm->slots);
	}
	if (r < 0)
		return -1;
	world->self = vm;
	world->write = vm_write;
	world->close = vm_close;
	world->reopen = vm_reopen;
	check_refusal(world);
	vm_reopen(world);
	return 0;
}
