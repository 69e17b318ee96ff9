/* SPDX-License-Identifier: BSD-3-Clause */
/* The PCI bus as a guest would use it, and its LAPIC as KVM shows it. See vmm-testing.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-testing.h"
#include "vmm/pci-device.h"

/* Switches its LAPIC on and counts. */
PROGRAM(lapic_on, "movl $0x1ff, 0xfee000f0; 1: incl 0x200000; jmp 1b");

static void config_select(struct kvm_guest *guest, uint32_t slot, uint32_t offset)
{
	uint32_t address = 0x80000000u | slot << 11 | (offset & ~3u);

	pci_port_write(&guest->pci, 0, &address, 4);
}

uint32_t config_read(struct kvm_guest *guest, uint32_t slot, uint32_t offset, uint32_t size)
{
	uint32_t value = 0;

	config_select(guest, slot, offset);
	pci_port_read(&guest->pci, 4 + (offset & 3), &value, size);
	return value;
}

void config_write(struct kvm_guest *guest, uint32_t slot, uint32_t offset, uint32_t size,
		  uint32_t value)
{
	config_select(guest, slot, offset);
	pci_port_write(&guest->pci, 4 + (offset & 3), &value, size);
}

uint32_t mmio_read(struct kvm_guest *guest, uint64_t gpa)
{
	uint32_t value = 0;

	assert_true(pci_mmio_read(&guest->pci, gpa, &value, 4));
	return value;
}

void mmio_write(struct kvm_guest *guest, uint64_t gpa, uint32_t value)
{
	assert_true(pci_mmio_write(&guest->pci, gpa, &value, 4));
}

/* Vector index of slot 1: a message to LAPIC 0. */
void set_vector(struct kvm_guest *guest, uint32_t index, uint32_t vector, bool masked)
{
	mmio_write(guest, BAR2_GPA + 16 * index, 0xfee00000);
	mmio_write(guest, BAR2_GPA + 16 * index + 4, 0);
	mmio_write(guest, BAR2_GPA + 16 * index + 8, vector);
	mmio_write(guest, BAR2_GPA + 16 * index + 12, masked ? 1 : 0);
}

void signal_vector(const struct fake_device *fake, uint32_t index)
{
	const uint64_t one = 1;

	assert_true(index < fake->irq_count);
	assert_int_equal(write(fake->irqs[index], &one, sizeof(one)), (int)sizeof(one));
}

/* The bit of a vector in one of LAPIC 0's registers that are 256 bits wide. */
static bool lapic_bit(struct kvm_guest *guest, uint32_t base, uint32_t vector)
{
	struct kvm_lapic_state lapic;

	assert_int_equal(ioctl(guest->cpus.cpus[0].fd, KVM_GET_LAPIC, &lapic), 0);
	return (lapic.regs[base + vector / 32 * 0x10 + vector % 32 / 8] >> vector % 8 & 1) != 0;
}

bool requested(struct kvm_guest *guest, uint32_t vector)
{
	return lapic_bit(guest, 0x200, vector);
}

bool is_in_service(struct kvm_guest *guest, uint32_t vector)
{
	return lapic_bit(guest, 0x100, vector);
}

/* KVM may deliver from a work queue of its own. */
bool wait_requested(struct kvm_guest *guest, uint32_t vector)
{
	for (uint32_t i = 0; i < 2000; i++) {
		const struct timespec pause = { .tv_nsec = 1000000 };

		if (requested(guest, vector))
			return true;
		(void)nanosleep(&pause, NULL);
	}
	return false;
}

/* The LAPIC's logical id, in the flat model. */
void set_ldr(struct kvm_guest *guest, uint8_t id)
{
	struct kvm_lapic_state lapic;

	assert_int_equal(ioctl(guest->cpus.cpus[0].fd, KVM_GET_LAPIC, &lapic), 0);
	lapic.regs[0xd3] = (char)id;
	assert_int_equal(ioctl(guest->cpus.cpus[0].fd, KVM_SET_LAPIC, &lapic), 0);
}

/* A guest with its LAPIC on, paused, and its device's BARs decoded and MSI-X enabled. */
struct kvm_guest *guest_with_msix(struct fake_device *fake)
{
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest = guest_with(&lapic_on, (struct guest_config){ 0 }, &device, 1);

	guest_run(guest);
	(void)wait_word_change(guest_at(guest, SCRATCH_GPA), 0);
	guest_stop(guest);
	config_write(guest, 1, 4, 2, 6);
	config_write(guest, 1, 0x62, 2, 0x8000);
	return guest;
}
