/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker guest's PCI: find the devices that there are drivers for on bus 0 by CF8/CFC, enable
 * them, and point the vectors of those with MSI-X, or the one of MSI or of the pin, at the vCPU
 * that drives them. BARs are where the firmware or the VMM put them.
 */
#include "boot.h"

#include <holdfast/sim.h>

#define PCI_COMMAND 0x04
#define PCI_COMMAND_ON 0x0406u /* memory, bus master, no INTx */
#define PCI_COMMAND_PORTS 0x0001u
#define PCI_COMMAND_NO_PIN 0x0400u
#define PCI_INTERRUPT 0x3c /* line, pin */
#define IOAPIC_ENTRY 0x10u /* of pin 0; two registers each */
#define IOAPIC_LEVEL_LOW 0xa000u
#define PCI_STATUS_CAPS 0x00100000u
#define PCI_HEADER 0x0c
#define PCI_MULTI_FUNCTION 0x00800000u
#define PCI_BAR0 0x10
#define PCI_CAPS 0x34
#define PCI_CAP_MSI 0x05u
#define MSI_ENABLE 0x00010000u /* of the dword with the id */
#define MSI_COUNT 0x00700000u /* 0: one */
#define MSI_WIDE 0x00800000u
#define MSI_MASKABLE 0x01000000u
#define MSI_ADDRESS 4u /* and, since it is wide, where the rest is */
#define MSI_DATA 12u
#define MSI_MASK 16u
#define PCI_CAP_MSIX 0x11u
#define MSIX_ENABLE 0x80000000u /* of the dword with the id; 0x40000000 masks all */
#define MSIX_MASK_ALL 0x40000000u

static uint32_t config_read(uint32_t function, uint32_t offset)
{
	out32(0xcf8, 0x80000000u | function << 8 | offset);
	return in32(0xcfc);
}

static void config_write(uint32_t function, uint32_t offset, uint32_t value)
{
	out32(0xcf8, 0x80000000u | function << 8 | offset);
	out32(0xcfc, value);
}

/* The address of a memory BAR; 0 if it has none below 4 GiB, where the checker's mapping ends. */
static uint64_t bar_read(uint32_t function, uint32_t index)
{
	uint32_t low = config_read(function, PCI_BAR0 + 4 * index);
	bool wide = (low & 6) == 4;

	if ((low & 1) || (wide && config_read(function, PCI_BAR0 + 4 * index + 4) != 0))
		return 0;
	return low & ~15u;
}

static uint32_t cap_find(uint32_t function, uint32_t id)
{
	uint32_t at, limit = 48;

	if (!(config_read(function, PCI_COMMAND) & PCI_STATUS_CAPS))
		return 0;
	at = config_read(function, PCI_CAPS) & 0xfc;
	while (at && limit--) {
		uint32_t head = config_read(function, at);

		if ((head & 0xff) == id)
			return at;
		at = head >> 8 & 0xfc;
	}
	return 0;
}

/* The first of a BAR's ports; 0: it has none. */
static uint64_t ports_read(uint32_t function, uint32_t index)
{
	uint32_t low = config_read(function, PCI_BAR0 + 4 * index);

	return low & 1 ? low & 0xfffcu : 0;
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(uintptr_t)IOAPIC = reg;
	*(volatile uint32_t *)(uintptr_t)(IOAPIC + 0x10) = value;
}

/* Its pin to the vCPU that drives it, where the VMM has said which of the IOAPIC's it is. */
static bool pin_start(uint32_t function, uint32_t device)
{
	uint32_t word = config_read(function, PCI_INTERRUPT), line = word & 0xff;
	uint32_t entry = IOAPIC_ENTRY + 2 * line;

	if ((word >> 8 & 0xff) == 0 || line >= IOAPIC_PINS)
		return false;
	ioapic_write(entry + 1, checker.apic_id[device % checker.vcpu_count] << 24);
	ioapic_write(entry, IOAPIC_LEVEL_LOW | (VECTOR_DEVICES + VECTORS_PER_DEVICE * device));
	return true;
}

static bool mtty_start(uint32_t function, uint32_t device, bool pins)
{
	checker.devices[device].kind = WORK_DEVICE_MTTY;
	checker.devices[device].bars[0] = ports_read(function, 0);
	checker.devices[device].bars[1] = ports_read(function, 1);
	checker.devices[device].pin = pins && pin_start(function, device);
	config_write(function, PCI_COMMAND,
		     checker.devices[device].pin ? PCI_COMMAND_PORTS
						 : PCI_COMMAND_PORTS | PCI_COMMAND_NO_PIN);
	return checker.devices[device].bars[0] != 0;
}

/* One message of MSI to that vector, not enabled; needs is of the dword with the id. */
static bool msi_point(uint32_t function, uint32_t device, uint32_t vector, uint32_t needs)
{
	uint32_t cap = cap_find(function, PCI_CAP_MSI);
	uint32_t apic = checker.apic_id[device % checker.vcpu_count];
	uint32_t head = cap ? config_read(function, cap) : 0;

	if ((head & needs) != needs)
		return false;
	config_write(function, cap + MSI_ADDRESS, LAPIC | apic << 12);
	config_write(function, cap + MSI_ADDRESS + 4, 0);
	config_write(function, cap + MSI_DATA,
		     VECTOR_DEVICES + VECTORS_PER_DEVICE * device + vector);
	checker.devices[device].function = function;
	checker.devices[device].msi = cap;
	boot_isr_counts = 1; /* its driver counts them out */
	return true;
}

static void msi_enable(uint32_t device, bool enabled)
{
	uint32_t function = checker.devices[device].function;
	uint32_t cap = checker.devices[device].msi;
	uint32_t head = config_read(function, cap) & ~(MSI_COUNT | MSI_ENABLE);

	config_write(function, cap, enabled ? head | MSI_ENABLE : head);
}

/* Two vCPUs must not come between each other's address and data. */
static uint32_t config_lock;

static void lock(void)
{
	while (__atomic_exchange_n(&config_lock, 1, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
}

static void unlock(void)
{
	__atomic_store_n(&config_lock, 0, __ATOMIC_RELEASE);
}

void checker_pci_mask(uint32_t device, bool masked)
{
	lock();
	config_write(checker.devices[device].function, checker.devices[device].msi + MSI_MASK,
		     masked);
	unlock();
}

void checker_pci_pin(uint32_t device, bool pin)
{
	lock();
	msi_enable(device, !pin);
	unlock();
}

static bool labdma_start(uint32_t function, uint32_t device)
{
	checker.devices[device].kind = WORK_DEVICE_LABDMA;
	checker.devices[device].bars[0] = bar_read(function, 0);
	checker.devices[device].bars[2] = bar_read(function, 2);
	config_write(function, PCI_COMMAND, PCI_COMMAND_ON);
	if (!checker.devices[device].bars[0] || !checker.devices[device].bars[2] ||
	    !msi_point(function, device, 0, MSI_WIDE | MSI_MASKABLE))
		return false;
	config_write(function, checker.devices[device].msi + MSI_MASK, 0);
	msi_enable(device, true);
	return true;
}

/* The pin, and MSI beside it: its driver changes over. */
static bool edu_start(uint32_t function, uint32_t device)
{
	uint64_t bar = bar_read(function, 0);
	uint32_t v;

	checker.devices[device].kind = WORK_DEVICE_EDU;
	checker.devices[device].bars[0] = bar;
	config_write(function, PCI_COMMAND, PCI_COMMAND_ON & ~PCI_COMMAND_NO_PIN);
	checker.devices[device].pin = pin_start(function, device);
	if (!bar || !checker.devices[device].pin || !msi_point(function, device, 1, MSI_WIDE))
		return false;
	for (v = 0; v < VECTORS_PER_DEVICE; v++)
		boot_acks[VECTORS_PER_DEVICE * device + v] = (uint32_t)bar + WORK_EDU_LOWER;
	return true;
}

static bool sim_start(uint32_t function, uint32_t device)
{
	uint32_t cap = cap_find(function, PCI_CAP_MSIX);
	uint32_t table, v, apic = checker.apic_id[device % checker.vcpu_count];
	uint64_t bar;

	checker.devices[device].kind = WORK_DEVICE_SIM;
	checker.devices[device].bars[0] = bar_read(function, 0);
	checker.devices[device].bars[4] = bar_read(function, 4);
	if (!checker.devices[device].bars[0] || !checker.devices[device].bars[4] || !cap)
		return false;
	table = config_read(function, cap + 4);
	bar = bar_read(function, table & 7);
	if (bar == 0)
		return false;
	config_write(function, PCI_COMMAND, PCI_COMMAND_ON);
	config_write(function, cap, config_read(function, cap) | MSIX_ENABLE | MSIX_MASK_ALL);
	for (v = 0; v < VECTORS_PER_DEVICE; v++) {
		volatile uint32_t *entry =
			(volatile uint32_t *)(uintptr_t)(bar + (table & ~7u) + 16 * v);

		entry[0] = LAPIC | apic << 12;
		entry[1] = 0;
		entry[2] = VECTOR_DEVICES + VECTORS_PER_DEVICE * device + v;
		entry[3] = 0;
	}
	config_write(function, cap, (config_read(function, cap) | MSIX_ENABLE) & ~MSIX_MASK_ALL);
	return true;
}

static bool device_start(uint32_t function, uint32_t id, uint32_t device, bool pins)
{
	if (id == (HF_SIM_VENDOR_ID | (uint32_t)HF_SIM_DEVICE_ID << 16))
		return sim_start(function, device);
	if (id == (WORK_MTTY_VENDOR_ID | WORK_MTTY_DEVICE_ID << 16))
		return mtty_start(function, device, pins);
	if (id == (WORK_LABDMA_VENDOR_ID | WORK_LABDMA_DEVICE_ID << 16))
		return labdma_start(function, device);
	if (id == (WORK_EDU_VENDOR_ID | WORK_EDU_DEVICE_ID << 16))
		return edu_start(function, device);
	return false;
}

uint32_t checker_pci_scan(bool pins)
{
	uint32_t slot, f, count = 0;

	for (slot = 0; slot < 32; slot++) {
		for (f = 0; f < 8 && count < WORK_DEVICES_MAX; f++) {
			uint32_t function = slot << 3 | f;
			uint32_t id = config_read(function, 0);

			if (device_start(function, id, count, pins))
				count++;
			if (f == 0 && (id == UINT32_MAX ||
				       !(config_read(function, PCI_HEADER) & PCI_MULTI_FUNCTION)))
				break;
		}
	}
	return count;
}
