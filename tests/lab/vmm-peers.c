/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vmm-peers WAY FUNCTION FUNCTION: a KVM guest with two PCI functions behind an IOMMU, in the lab
 * (QEMU's edu, by vfio-pci). What a mediated device does not have: memory that is pinned for the
 * IOMMU, and a BAR that is none, and cannot be. WAY is group or cdev.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/vmm-testing.h"
#include "vmm/pci-device.h"

/* edu's registers (QEMU's docs/specs/edu), and its buffer for DMA. */
#define EDU_ID 0x010000edu /* register 0 */
#define EDU_NOT 0x04u /* reads as what was written, inverted */
#define EDU_FROM 0x80u
#define EDU_TO 0x88u
#define EDU_BYTES 0x90u
#define EDU_COMMAND 0x98u
#define EDU_RUN 1u /* of COMMAND, until it is done */
#define EDU_TO_MEMORY 2u
#define EDU_BUFFER 0x40000u

static const char *way, *functions[2];

static struct kvm_guest *guest_of_both(void)
{
	const struct guest_config config = { .incoming = true,
					     .serial = "none",
					     .memory_bytes = 8u << 20 };
	struct hf_session_device devices[2] = { { .name = "vfio0" }, { .name = "vfio1" } };
	struct hf_device_host host;
	struct kvm_guest *guest;
	struct hf_error err = { 0 };

	if (kvm_guest_begin(&config, &guest, &err) != 0)
		fail_msg("%s", err.text);
	host = kvm_guest_host(guest);
	for (uint32_t i = 0; i < 2; i++) {
		char uri[128];

		(void)snprintf(uri, sizeof(uri), "vfio:%s,path=%s", functions[i], way);
		if (hf_device_open_for(&host, uri, devices[i].name, &devices[i].device, &err) != 0)
			fail_msg("%s", err.text);
	}
	if (kvm_guest_finish(guest, &config, devices, 2, &err) != 0)
		fail_msg("%s", err.text);
	return guest;
}

static const struct bar *bar_of(const struct kvm_guest *guest, uint32_t device)
{
	return &guest->pci.devices[device]->bars[0];
}

/* An incoming guest decodes its BARs at once, where it expects them. */
static void peers_reach_each_other_or_it_is_told(void **state)
{
	struct kvm_guest *guest = guest_of_both();
	bool reached = strcmp(way, "group") == 0;

	(void)state;
	assert_int_equal(guest->guest.ops->events(&guest->guest),
			 reached ? 0 : GUEST_EVENT_P2P_REFUSED);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(bar_of(guest, i)->piece_count, 1);
		assert_true(bar_of(guest, i)->pieces[0].mapped);
		assert_int_equal(pieces_reached(bar_of(guest, i), true),
				 reached ? 1u << (1 - i) : 0);
	}
	if (!reached) {
		assert_int_equal(guest->guest.p2p_refused.error, EFAULT);
		assert_int_not_equal(guest->guest.p2p_refused.device,
				     guest->guest.p2p_refused.peer);
	}
	assert_int_equal(guest->guest.ops->events(&guest->guest), 0);
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	guest_end(guest);
}

static uint32_t gpa_of(uint32_t device)
{
	return 0xd0000000u + device * 0x1000000u;
}

/* The guest moves both BARs there, and lets both do DMA. */
static void move_both(struct kvm_guest *guest)
{
	for (uint32_t i = 0; i < 2; i++) {
		config_write(guest, i + 1, 0x10, 4, gpa_of(i));
		config_write(guest, i + 1, 4, 2, 6);
	}
}

static volatile uint32_t *reg_of(const struct kvm_guest *guest, uint32_t device, uint32_t at)
{
	return (volatile uint32_t *)(void *)(bar_of(guest, device)->pieces[0].host + at);
}

/* Four bytes, by the device's DMA. */
static void transfer(struct kvm_guest *guest, uint32_t device, uint32_t from, uint32_t to,
		     uint32_t direction)
{
	*reg_of(guest, device, EDU_FROM) = from;
	*reg_of(guest, device, EDU_TO) = to;
	*reg_of(guest, device, EDU_BYTES) = 4;
	*reg_of(guest, device, EDU_COMMAND) = EDU_RUN | direction;
	assert_int_equal(wait_word_change(reg_of(guest, device, EDU_COMMAND), EDU_RUN | direction),
			 direction);
}

/* From guest memory into the peer's register, and back; or the IOMMU does not let it. */
static void peers_move_data_or_none(void **state)
{
	struct kvm_guest *guest = guest_of_both();
	bool reached = strcmp(way, "group") == 0;
	volatile uint32_t *memory = guest_at(guest, SCRATCH_GPA);

	(void)state;
	move_both(guest);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t value = 0x12345678u + i, before = 0x5a5a0000u + i;
		uint32_t peer = gpa_of(1 - i) + EDU_NOT;

		*reg_of(guest, 1 - i, EDU_NOT) = before;
		memory[0] = value;
		memory[1] = 0;
		transfer(guest, i, SCRATCH_GPA, EDU_BUFFER, 0);
		transfer(guest, i, EDU_BUFFER, peer, EDU_TO_MEMORY);
		assert_int_equal(*reg_of(guest, 1 - i, EDU_NOT), ~(reached ? value : before));
		transfer(guest, i, peer, EDU_BUFFER + 8, 0);
		transfer(guest, i, EDU_BUFFER + 8, SCRATCH_GPA + 4, EDU_TO_MEMORY);
		assert_int_equal(memory[1] == ~value, reached);
	}
	guest_end(guest);
}

/* Whether they reach each other or not, they are the guest's, also where it moves them. */
static void they_are_the_guests_all_the_same(void **state)
{
	struct kvm_guest *guest = guest_of_both();

	(void)state;
	move_both(guest);
	for (uint32_t i = 0; i < 2; i++) {
		const struct bar_piece *piece = &bar_of(guest, i)->pieces[0];

		assert_int_equal(mmio_read(guest, gpa_of(i)), EDU_ID);
		assert_int_equal(*(volatile const uint32_t *)(const void *)piece->host, EDU_ID);
	}
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	guest_end(guest);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peers_reach_each_other_or_it_is_told),
		cmocka_unit_test(peers_move_data_or_none),
		cmocka_unit_test(they_are_the_guests_all_the_same),
	};

	if (argc != 4) {
		(void)fprintf(stderr, "usage: vmm-peers group|cdev FUNCTION FUNCTION\n");
		return 2;
	}
	way = argv[1];
	functions[0] = argv[2];
	functions[1] = argv[3];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
