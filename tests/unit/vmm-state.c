/* SPDX-License-Identifier: BSD-3-Clause */
/* A KVM guest's state goes from one VM into another, whole, or not at all. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <cmocka.h>

#include "vmm-testing.h"
#include "vmm/cpu-state.h"

/*
 * Counts in a register and in memory and compares them before each step: what was lost, repeated or
 * stale ends it with 0xee. Writes down the TSC, which must not go back: else 0xdd.
 */
PROGRAM(checking, "mov $0x200000, %edi; xor %ebx, %ebx; xor %esi, %esi; xor %ebp, %ebp\n"
		  "1: cmp %ebx, (%edi); jne 2f\n"
		  "inc %ebx; mov %ebx, (%edi)\n"
		  "rdtsc; cmp %ebp, %edx; jb 3f; ja 4f; cmp %esi, %eax; jb 3f\n"
		  "4: mov %eax, %esi; mov %edx, %ebp\n"
		  "mov %eax, 8(%edi); mov %edx, 12(%edi); jmp 1b\n"
		  "2: mov $0xee, %al; jmp 5f; 3: mov $0xdd, %al; 5: " PROGRAM_EXIT);

PROGRAM(exit_7, "mov $7, %al\n" PROGRAM_EXIT);

static uint64_t clock_ns(clockid_t id)
{
	struct timespec now;

	assert_int_equal(clock_gettime(id, &now), 0);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void goes_on_in_another_vm(void **state)
{
	const struct guest_config config = { .vcpu_count = 2 };
	struct kvm_guest *source, *target;
	volatile uint32_t *count;
	uint32_t moved_at;

	(void)state;
	require_kvm();
	source = guest_with(&checking, config, NULL, 0);
	guest_run(source);
	for (uint32_t hop = 0; hop < 5; hop++) {
		(void)wait_word_change(guest_at(source, SCRATCH_GPA), 0);
		target = guest_with(NULL, config, NULL, 0);
		check_shape(source, target);
		guest_stop(source);
		copy_memory(source, target);
		move_state(source, target);
		count = guest_at(target, SCRATCH_GPA);
		moved_at = *count;
		guest_end(source);
		guest_run(target);
		assert_true(wait_word_change(count, moved_at) > moved_at);
		source = target;
	}
	assert_int_equal(source->guest.ops->events(&source->guest), 0);
	guest_end(source);
}

/* The migration failed: the source just goes on after its state was saved. */
static void the_source_goes_on_after_saving(void **state)
{
	struct kvm_guest *source, *target;
	volatile uint32_t *count;

	(void)state;
	require_kvm();
	source = guest_with(&checking, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	count = guest_at(source, SCRATCH_GPA);
	guest_run(source);
	(void)wait_word_change(count, 0);
	check_shape(source, target);
	for (uint32_t i = 0; i < 5; i++) {
		uint32_t before;

		guest_stop(source);
		before = *count;
		move_state(source, target);
		guest_run(source);
		assert_true(wait_word_change(count, before) > before);
	}
	guest_end(target);
	assert_int_equal(source->guest.ops->events(&source->guest), 0);
	guest_end(source);
}

/* ---- everything ----------------------------------------------------------------------------- */

static void set_msr(int fd, uint32_t index, uint64_t value)
{
	union {
		struct kvm_msrs header;
		uint8_t space[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} msr = { .header.nmsrs = 1 };

	msr.header.entries[0].index = index;
	msr.header.entries[0].data = value;
	assert_int_equal(ioctl(fd, KVM_SET_MSRS, &msr), 1);
}

/* Something that is not zero in each corner of a vCPU. */
static void fill_cpu(int fd)
{
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_regs regs;
	struct kvm_fpu fpu;

	assert_int_equal(ioctl(fd, KVM_GET_FPU, &fpu), 0);
	memset(fpu.xmm, 0x5a, sizeof(fpu.xmm));
	memset(fpu.fpr, 0x33, sizeof(fpu.fpr));
	assert_int_equal(ioctl(fd, KVM_SET_FPU, &fpu), 0);
	assert_int_equal(ioctl(fd, KVM_GET_DEBUGREGS, &debugregs), 0);
	debugregs.db[0] = 0x123456;
	assert_int_equal(ioctl(fd, KVM_SET_DEBUGREGS, &debugregs), 0);
	assert_int_equal(ioctl(fd, KVM_GET_LAPIC, &lapic), 0);
	lapic.regs[0x80] = 0x20; /* TPR */
	lapic.regs[0xf0] = 0x7f; /* spurious vector, enabled */
	lapic.regs[0xf1] = 0x01;
	assert_int_equal(ioctl(fd, KVM_SET_LAPIC, &lapic), 0);
	assert_int_equal(ioctl(fd, KVM_GET_REGS, &regs), 0);
	regs.r15 = 0x1122334455667788;
	assert_int_equal(ioctl(fd, KVM_SET_REGS, &regs), 0);
	set_msr(fd, 0xc0000082, 0xffffffff81000000); /* LSTAR */
	set_msr(fd, 0xc0000102, 0xffff888000000000); /* KERNEL_GS_BASE */
	set_msr(fd, 0x174, 0x10); /* SYSENTER_CS */
	assert_int_equal(ioctl(fd, KVM_NMI, 0ul), 0);
}

static uint32_t save_cpu(struct kvm_guest *guest, uint32_t index, uint8_t *buf)
{
	struct writer writer = writer_of(buf, HF_STATE_SECTION_MAX);
	struct hf_error err = { 0 };

	if (cpu_save(&guest->cpus.cpus[index], &guest->vm, guest->cpus.cpus[0].fd, &writer, &err) !=
	    0)
		fail_msg("%s", err.text);
	assert_false(writer.overflow);
	return writer.used;
}

static void every_corner_of_a_vcpu_travels(void **state)
{
	const struct guest_config config = { .vcpu_count = 2 };
	struct kvm_guest *source, *target;
	uint8_t *there = malloc(HF_STATE_SECTION_MAX), *here = malloc(HF_STATE_SECTION_MAX);

	(void)state;
	require_kvm();
	source = guest_with(&checking, config, NULL, 0);
	target = guest_with(NULL, config, NULL, 0);
	fill_cpu(source->cpus.cpus[0].fd);
	check_shape(source, target);
	move_state(source, target);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t length = save_cpu(source, i, there);

		assert_true(length > 4096);
		assert_int_equal(save_cpu(target, i, here), length);
		assert_memory_equal(there, here, length);
	}
	guest_end(source);
	guest_end(target);
	free(there);
	free(here);
}

static void get_chip(struct kvm_guest *guest, uint32_t id, struct kvm_irqchip *chip)
{
	*chip = (struct kvm_irqchip){ .chip_id = id };
	assert_int_equal(ioctl(guest->vm.vm_fd, KVM_GET_IRQCHIP, chip), 0);
}

static void the_platform_travels(void **state)
{
	struct kvm_guest *source, *target;
	struct kvm_pit_state2 pit = { 0 }, pit_here = { 0 };
	struct kvm_irqchip chip, chip_here;
	const uint32_t address = 0x80001234;
	uint32_t address_here;

	(void)state;
	require_kvm();
	source = guest_with(&checking, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	get_chip(source, KVM_IRQCHIP_IOAPIC, &chip);
	chip.chip.ioapic.redirtbl[5].fields.vector = 0x77;
	assert_int_equal(ioctl(source->vm.vm_fd, KVM_SET_IRQCHIP, &chip), 0);
	get_chip(source, KVM_IRQCHIP_PIC_MASTER, &chip);
	chip.chip.pic.imr = 0xa5;
	assert_int_equal(ioctl(source->vm.vm_fd, KVM_SET_IRQCHIP, &chip), 0);
	assert_int_equal(ioctl(source->vm.vm_fd, KVM_GET_PIT2, &pit), 0);
	pit.channels[2].count = 1193;
	pit.channels[2].mode = 3;
	assert_int_equal(ioctl(source->vm.vm_fd, KVM_SET_PIT2, &pit), 0);
	serial_write(&source->serial, 7, 0x42);
	pci_port_write(&source->pci, 0, &address, 4);
	check_shape(source, target);
	move_state(source, target);

	for (uint32_t id = KVM_IRQCHIP_PIC_MASTER; id <= KVM_IRQCHIP_IOAPIC; id++) {
		get_chip(source, id, &chip);
		get_chip(target, id, &chip_here);
		assert_memory_equal(&chip, &chip_here, sizeof(chip));
	}
	assert_int_equal(ioctl(target->vm.vm_fd, KVM_GET_PIT2, &pit_here), 0);
	assert_int_equal(pit_here.channels[2].count, 1193);
	assert_int_equal(pit_here.channels[2].mode, 3);
	assert_int_equal(serial_read(&target->serial, 7), 0x42);
	pci_port_read(&target->pci, 0, &address_here, 4);
	assert_int_equal(address_here, address);
	guest_end(source);
	guest_end(target);
}

static void a_guest_that_has_ended_stays_ended(void **state)
{
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = guest_with(&exit_7, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	check_shape(source, target);
	guest_run(source);
	assert_int_equal(wait_event(source), GUEST_EVENT_SHUTDOWN);
	guest_stop(source);
	move_state(source, target);
	guest_end(source);
	guest_run(target);
	assert_int_equal(wait_event(target), GUEST_EVENT_SHUTDOWN);
	assert_int_equal(target->guest.exit_status, 7);
	guest_end(target);
}

/* ---- time ----------------------------------------------------------------------------------- */

static uint64_t guest_tsc(struct kvm_guest *guest)
{
	union {
		struct kvm_msrs header;
		uint8_t space[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} msr = { .header.nmsrs = 1 };

	msr.header.entries[0].index = 0x10;
	assert_int_equal(ioctl(guest->cpus.cpus[0].fd, KVM_GET_MSRS, &msr), 1);
	return msr.header.entries[0].data;
}

/*
 * Move the TSC alone; exact: the target may take over the source's own offset; ahead: the source
 * says it is that much further.
 */
static int move_tsc(struct kvm_guest *source, struct kvm_guest *target, bool exact,
		    uint64_t ahead_ticks)
{
	uint8_t buf[256];
	struct writer writer = writer_of(buf, sizeof(buf));
	struct reader reader;
	struct tsc_origin origin;

	assert_int_equal(tsc_save(&source->tsc, source->cpus.cpus[0].fd, &writer), 0);
	memcpy(&origin, buf, sizeof(origin));
	if (!exact)
		origin.has_offset = 0;
	origin.ticks += ahead_ticks;
	memcpy(buf, &origin, sizeof(origin));
	reader = reader_of(buf, writer.used);
	assert_int_equal(tsc_load(&target->tsc, target->cpus.cpus[0].fd, &reader), 0);
	return tsc_set(&target->tsc, target->cpus.cpus[0].fd, 0);
}

/* Source and target stand on the same line, at any time after. */
static void same_line(struct kvm_guest *source, struct kvm_guest *target, uint64_t slack_us)
{
	uint64_t limit = tsc_ticks(slack_us * 1000, source->tsc.khz);

	for (uint32_t i = 0; i < 3; i++) {
		const struct timespec later = { .tv_nsec = 50000000 };
		uint64_t best = UINT64_MAX;

		for (uint32_t j = 0; j < 16; j++) {
			uint64_t before = guest_tsc(source), here = guest_tsc(target);
			uint64_t off = here > before ? here - before : before - here;

			best = off < best ? off : best;
		}
		if (best > limit)
			fail_msg("%ju ticks apart, %ju allowed", (uintmax_t)best, (uintmax_t)limit);
		(void)nanosleep(&later, NULL);
	}
}

static void the_tsc_goes_on(void **state)
{
	struct kvm_guest *source, *target;
	const uint64_t far = 0x123456789abc;
	uint64_t offset = far;
	struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL,
					.attr = KVM_VCPU_TSC_OFFSET,
					.addr = (uintptr_t)&offset };
	int fd;

	(void)state;
	require_kvm();
	source = guest_with(&checking, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	fd = source->cpus.cpus[0].fd;
	if (ioctl(fd, KVM_SET_DEVICE_ATTR, &attr) == 0 &&
	    ioctl(fd, KVM_GET_DEVICE_ATTR, &attr) == 0 && offset != far) {
		/* Then the TSC is the host's own, and what cannot be had must not be claimed. */
		print_message("# this host's KVM has no TSC offsets\n");
		assert_int_equal(move_tsc(source, target, true, far), -EOPNOTSUPP);
	}
	assert_int_equal(move_tsc(source, target, true, 0), 0);
	assert_true(target->tsc.offset == offset); /* the very same: it is the same host */
	same_line(source, target, 200);
	if (offset == far) {
		assert_int_equal(move_tsc(source, target, false, 0), 0);
		same_line(source, target, 1000);
	}
	guest_end(source);
	guest_end(target);
}

/* What the guest reads by RDTSC before and after is the time that it really stood still. */
static void the_guest_measures_its_stand_still(void **state)
{
	const struct timespec stand_still = { .tv_nsec = 300000000 };
	struct kvm_guest *source, *target;
	volatile uint32_t *count;
	uint64_t stopped_ns, ticks, ran_ns, gap_us, low_us, high_us;

	(void)state;
	require_kvm();
	source = guest_with(&checking, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	check_shape(source, target);
	guest_run(source);
	(void)wait_word_change(guest_at(source, SCRATCH_GPA), 0);
	guest_stop(source);
	stopped_ns = clock_ns(CLOCK_MONOTONIC);
	copy_memory(source, target);
	move_state(source, target);
	memcpy(&ticks, (const uint8_t *)memory_at(&target->memory, SCRATCH_GPA + 8, 8), 8);
	(void)nanosleep(&stand_still, NULL); /* what is measured, not waited for */
	count = guest_at(target, SCRATCH_GPA);
	low_us = (clock_ns(CLOCK_MONOTONIC) - stopped_ns) / 1000;
	guest_run(target);
	(void)wait_word_change(count, *count);
	guest_stop(target);
	ran_ns = clock_ns(CLOCK_MONOTONIC);
	high_us = (ran_ns - stopped_ns) / 1000;
	gap_us = (*(volatile uint64_t *)guest_at(target, SCRATCH_GPA + 8) - ticks) * 1000 /
		 source->tsc.khz;
	print_message("# the guest says %ju us, it was %ju to %ju us\n", (uintmax_t)gap_us,
		      (uintmax_t)low_us, (uintmax_t)high_us);
	assert_true(gap_us + 1000 >= low_us);
	assert_true(gap_us <= high_us + 20000); /* it had stopped a little before we knew */
	guest_end(source);
	guest_end(target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_on_in_another_vm),
		cmocka_unit_test(the_source_goes_on_after_saving),
		cmocka_unit_test(every_corner_of_a_vcpu_travels),
		cmocka_unit_test(the_platform_travels),
		cmocka_unit_test(a_guest_that_has_ended_stays_ended),
		cmocka_unit_test(the_tsc_goes_on),
		cmocka_unit_test(the_guest_measures_its_stand_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
