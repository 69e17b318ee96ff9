/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BARs and COMMAND where the host or the device does not do what the guest wants: what the guest
 * sees of them is what there is.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-testing.h"
#include "vmm/pci-device.h"

PROGRAM(idle, "1: hlt; jmp 1b");

#define A_SLOT 500u /* of memory; no piece of a BAR has it */

/* It stands in the way of what the VMM wants to map there. */
static void block(struct kvm_guest *guest, uint64_t gpa, bool away)
{
	static uint8_t page[HF_PAGE_SIZE] __attribute__((aligned(HF_PAGE_SIZE)));

	assert_int_equal(vm_slot_set(&guest->vm, A_SLOT, gpa, away ? 0 : sizeof(page), page), 0);
}

/* What the host does not map traps; the rest is mapped, peers reach all, and the pin follows. */
static void a_bar_that_cannot_be_mapped_traps(void **state)
{
	static const struct hf_region_area areas[] = { { 0x1000, 0x1000 }, { 0x4000, 0x2000 } };
	struct fake_device *first = fake_new(), *second = fake_new();
	const struct hf_session_device devices[] = { fake_session_device(first, "fake0"),
						     fake_session_device(second, "fake1") };
	const struct bar *bar;
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	first->area_count = 2;
	memcpy(first->areas, areas, sizeof(areas));
	guest = guest_with(&idle, (struct guest_config){ 0 }, devices, 2);
	bar = &guest->pci.devices[0]->bars[4];
	assert_int_equal(pci_interrupts_deliver(&guest->pci, NULL), 0);
	assert_true(guest->pci.devices[0]->intx.attached);
	block(guest, BAR4_GPA + 0x1000, false);
	config_write(guest, 1, 4, 2, 0x406);
	assert_int_equal(wait_event(guest), GUEST_EVENT_BARS_FAILED);
	assert_int_equal(guest->guest.bars_failures[0].count, 1);
	assert_int_equal(guest->guest.bars_failures[0].index, 4);
	assert_int_equal(guest->guest.bars_failures[0].error, EEXIST);
	assert_int_equal(guest->guest.bars_failures[1].count, 0);
	/* What the guest sees is what there is. */
	assert_int_equal(config_read(guest, 1, 4, 2), 0x406);
	assert_int_equal(first->config[4], 0x06);
	assert_false(bar->pieces[0].mapped);
	assert_true(bar->pieces[1].mapped);
	assert_non_null(fake_map_at(second, BAR4_GPA + 0x1000));
	assert_non_null(fake_map_at(second, BAR4_GPA + 0x4000));
	mmio_write(guest, BAR4_GPA + 0x1004, 0x600df00d);
	assert_int_equal(mmio_read(guest, BAR4_GPA + 0x1004), 0x600df00d);
	assert_false(guest->pci.devices[0]->intx.attached); /* of the same register */
	/* The next time it is tried again. */
	block(guest, BAR4_GPA + 0x1000, true);
	config_write(guest, 1, 4, 2, 6);
	assert_true(bar->pieces[0].mapped);
	assert_int_equal(guest->guest.ops->events(&guest->guest), 0);
	assert_int_equal(guest->guest.bars_failures[0].count, 1);
	assert_int_equal(second->map_count, 3); /* and memory */
	guest_end(guest);
	assert_int_equal(second->map_count, 0);
	fake_free(first);
	fake_free(second);
}

/* What the kernel does not let us map traps, too; the operator hears of it when the guest runs. */
static void a_bar_that_is_refused_by_mmap_traps(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	const uint32_t word = 0x600df00d;
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	assert_int_equal(pwrite(fake->bar4_fd, &word, sizeof(word), 0x1000), (int)sizeof(word));
	assert_int_equal(fcntl(fake->bar4_fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	guest = guest_with(&idle, (struct guest_config){ 0 }, &device, 1);
	assert_int_equal(wait_event(guest), GUEST_EVENT_BARS_FAILED);
	assert_int_equal(guest->guest.bars_failures[0].index, 4);
	assert_int_equal(guest->guest.bars_failures[0].error, EPERM);
	config_write(guest, 1, 4, 2, 6);
	assert_int_equal(mmio_read(guest, BAR4_GPA + 0x1000), word);
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	guest_end(guest);
	fake_free(fake);
}

/* What the host does not take away the guest can reach: so the device decodes it, and says so. */
static void a_bar_that_cannot_be_unmapped_stays(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	const struct bar *bar;
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(&idle, (struct guest_config){ 0 }, &device, 1);
	bar = &guest->pci.devices[0]->bars[4];
	config_write(guest, 1, 4, 2, 7);
	/* KVM refuses to take away what is not there any more. */
	assert_int_equal(vm_slot_set(&guest->vm, bar->pieces[0].slot, BAR4_GPA, 0, NULL), 0);
	config_write(guest, 1, 4, 2, 4);
	assert_int_equal(wait_event(guest), GUEST_EVENT_BARS_FAILED);
	assert_int_equal(guest->guest.bars_failures[0].index, 4);
	assert_int_equal(bar->mapped_gpa, BAR4_GPA);
	assert_int_equal(guest->pci.devices[0]->bars[0].mapped_gpa, 0);
	assert_int_equal(config_read(guest, 1, 4, 2), 6);
	assert_int_equal(fake->config[4], 6);
	/* When it goes, all of that goes. */
	assert_int_equal(vm_slot_set(&guest->vm, bar->pieces[0].slot, BAR4_GPA, FAKE_BAR4_SIZE,
				     bar->pieces[0].host),
			 0);
	config_write(guest, 1, 4, 2, 4);
	assert_int_equal(bar->mapped_gpa, 0);
	assert_int_equal(config_read(guest, 1, 4, 2), 4);
	assert_int_equal(fake->config[4], 4);
	guest_end(guest);
	fake_free(fake);
}

/* A device that does not take COMMAND has the old one, and so the guest sees that. */
static void a_command_that_is_refused_is_not_shown(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(&idle, (struct guest_config){ 0 }, &device, 1);
	fake->fail_at = fake->calls + 1;
	config_write(guest, 1, 4, 2, 7);
	assert_int_equal(config_read(guest, 1, 4, 2), 0);
	assert_int_equal(fake->config[4], 0);
	assert_int_equal(guest->pci.devices[0]->bars[4].mapped_gpa, 0);
	assert_int_equal(pci_failed_accesses(&guest->pci), 1);
	config_write(guest, 1, 4, 2, 7);
	assert_int_equal(config_read(guest, 1, 4, 2), 7);
	/* Off: nothing is decoded here any more, but by the device it is. */
	fake->fail_at = fake->calls + 2;
	config_write(guest, 1, 4, 2, 0);
	assert_int_equal(fake->config[4], 3);
	assert_int_equal(config_read(guest, 1, 4, 2), 3);
	assert_int_equal(guest->pci.devices[0]->bars[4].mapped_gpa, BAR4_GPA);
	guest_end(guest);
	fake_free(fake);
}

#define POWER 0x54u /* where the tests' device has its power state */

static struct fake_device *fake_that_sleeps(void)
{
	static const uint8_t capability[] = { 0x01, 0x60, 0x03, 0x00 }; /* then MSI-X */
	struct fake_device *fake = fake_new();

	memcpy(fake->config + POWER - 4, capability, sizeof(capability));
	return fake;
}

/* Neither the guest nor a peer reaches BARs outside of D0: the kernel would let none of them. */
static void a_function_that_sleeps_has_no_bars(void **state)
{
	struct fake_device *first = fake_that_sleeps(), *second = fake_that_sleeps();
	const struct hf_session_device devices[] = { fake_session_device(first, "fake0"),
						     fake_session_device(second, "fake1") };
	const struct bar *bars;
	struct kvm_guest *guest;
	uint32_t word;

	(void)state;
	require_kvm();
	guest = guest_with(&idle, (struct guest_config){ 0 }, devices, 2);
	bars = guest->pci.devices[0]->bars;
	config_write(guest, 1, 4, 2, 7);
	for (uint32_t power = 1; power <= 3; power++) {
		config_write(guest, 1, POWER, power == 2 ? 4 : 2, power);
		assert_int_equal(config_read(guest, 1, POWER, 1), power);
		for (uint32_t i = 0; i < PCI_BARS; i++)
			assert_int_equal(bars[i].mapped_gpa, 0);
		assert_false(pci_mmio_read(&guest->pci, BAR0_GPA, &word, 4));
		assert_false(pci_io_read(&guest->pci, PORTS, &word, 4));
		assert_null(fake_map_at(second, BAR4_GPA));
		/* What the guest writes meanwhile counts when it wakes it. */
		config_write(guest, 1, 4, 2, 6);
		assert_int_equal(bars[4].mapped_gpa, 0);
		config_write(guest, 1, POWER, 2, 0);
		assert_int_equal(bars[4].mapped_gpa, BAR4_GPA);
		assert_int_equal(bars[1].mapped_gpa, 0);
		assert_true(bars[4].pieces[0].mapped);
		assert_non_null(fake_map_at(second, BAR4_GPA));
	}
	/* A reset of the device's own wakes it, too: seen with the next write of any register. */
	config_write(guest, 1, POWER, 1, 3);
	first->config[POWER] = 0;
	config_write(guest, 1, 0x0c, 1, 0x10);
	assert_int_equal(bars[4].mapped_gpa, BAR4_GPA);
	/* One that does not go to sleep keeps them. */
	first->fail_at = first->calls + 1;
	config_write(guest, 1, POWER, 1, 3);
	assert_int_equal(config_read(guest, 1, POWER, 1), 0);
	assert_int_equal(bars[4].mapped_gpa, BAR4_GPA);
	guest_end(guest);
	fake_free(first);
	fake_free(second);
}

/* It sleeps at the target, and wakes there. */
static void a_function_that_sleeps_travels(void **state)
{
	struct fake_device *there = fake_that_sleeps(), *here = fake_that_sleeps();
	struct hf_session_device device = fake_session_device(there, "fake0");
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = guest_with(&idle, (struct guest_config){ 0 }, &device, 1);
	device = fake_session_device(here, "fake0");
	target = guest_with(NULL, (struct guest_config){ 0 }, &device, 1);
	config_write(source, 1, 4, 2, 6);
	config_write(source, 1, POWER, 2, 3);
	check_shape(source, target);
	move_state(source, target);
	move_device(source, target, 0);
	assert_int_equal(here->config[POWER], 3);
	assert_int_equal(target->pci.devices[0]->bars[4].mapped_gpa, 0);
	config_write(target, 1, POWER, 2, 0);
	assert_int_equal(target->pci.devices[0]->bars[4].mapped_gpa, BAR4_GPA);
	assert_int_equal(pci_failed_accesses(&target->pci), 0);
	guest_end(source);
	guest_end(target);
	fake_free(there);
	fake_free(here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bar_that_cannot_be_mapped_traps),
		cmocka_unit_test(a_bar_that_is_refused_by_mmap_traps),
		cmocka_unit_test(a_bar_that_cannot_be_unmapped_stays),
		cmocka_unit_test(a_command_that_is_refused_is_not_shown),
		cmocka_unit_test(a_function_that_sleeps_has_no_bars),
		cmocka_unit_test(a_function_that_sleeps_travels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
