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

#define EDU_ID 0x010000edu /* its register 0 */

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

/* Whether they reach each other or not, they are the guest's, also where it moves them. */
static void they_are_the_guests_all_the_same(void **state)
{
	struct kvm_guest *guest = guest_of_both();

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t gpa = 0xd0000000u + i * 0x1000000u;
		const struct bar_piece *piece = &bar_of(guest, i)->pieces[0];

		config_write(guest, i + 1, 0x10, 4, gpa);
		config_write(guest, i + 1, 4, 2, 6);
		assert_int_equal(mmio_read(guest, gpa), EDU_ID);
		assert_int_equal(*(volatile const uint32_t *)(const void *)piece->host, EDU_ID);
	}
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	guest_end(guest);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peers_reach_each_other_or_it_is_told),
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
