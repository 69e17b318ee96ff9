/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vCPU has used a port. Ports: the console, PCI's configuration, devices' BARs, the witness, and
 * three ways to end the guest. Nobody: reads give ones, writes are lost. PIC, PIT and port 0x61 are
 * KVM's and never come here.
 */
#include <string.h>

#include "kvm-guest.h"
#include "witness.h"

#define PORT_KEYBOARD 0x64u /* its only command here: pulse the reset line */
#define KEYBOARD_RESET 0xfeu
#define PORT_DEBUG_EXIT 0x501u /* a byte written ends the guest with that status */
#define PORT_POWER 0x604u /* 16 bits written power it off, as PM1a_CNT does on QEMU's q35 */

static void read_ports(struct kvm_guest *guest, uint16_t port, uint8_t *data, uint32_t size)
{
	memset(data, 0xff, size);
	if (port == PORT_KEYBOARD && size == 1) {
		data[0] = 0; /* ready for a command, nothing to read */
		return;
	}
	for (uint32_t i = 0; i < size; i++)
		if (port + i >= SERIAL_PORT && port + i < SERIAL_PORT + SERIAL_PORTS)
			data[i] = serial_read(&guest->serial, port + i - SERIAL_PORT);
}

static void write_witness(struct kvm_guest *guest, const uint8_t *data)
{
	uint32_t word;
	int r;

	memcpy(&word, data, sizeof(word)); /* x86: the guest's byte order is this one */
	r = witness_append(word);
	if (r < 0) /* it must not execute unseen */
		kvm_guest_crash(guest, "its witness cannot be written (errno %d)", -r);
}

static void write_ports(struct kvm_guest *guest, uint16_t port, const uint8_t *data, uint32_t size)
{
	if (port == PORT_DEBUG_EXIT && size == 1) {
		kvm_guest_shutdown(guest, data[0]);
		return;
	}
	if (port == PORT_POWER && size == 2) {
		kvm_guest_shutdown(guest, 0);
		return;
	}
	if (port == WITNESS_PORT && size == 4) {
		write_witness(guest, data);
		return;
	}
	if (port == PORT_KEYBOARD && size == 1 && data[0] == KEYBOARD_RESET) {
		kvm_guest_crash(guest, "it asked for a reset (port 0x64), and is not reset here");
		return;
	}
	for (uint32_t i = 0; i < size; i++)
		if (port + i >= SERIAL_PORT && port + i < SERIAL_PORT + SERIAL_PORTS)
			serial_write(&guest->serial, port + i - SERIAL_PORT, data[i]);
}

void pio_access(struct kvm_guest *guest, uint16_t port, uint8_t *data, uint32_t size, bool write)
{
	if (port >= PCI_PORT && port < PCI_PORT + PCI_PORTS) {
		if (write)
			pci_port_write(&guest->pci, port - PCI_PORT, data, size);
		else
			pci_port_read(&guest->pci, port - PCI_PORT, data, size);
	} else if (port >= PCI_IO_LOWEST && (write ? pci_io_write(&guest->pci, port, data, size)
						   : pci_io_read(&guest->pci, port, data, size))) {
		return;
	} else if (write) {
		write_ports(guest, port, data, size);
	} else {
		read_ports(guest, port, data, size);
	}
}
