/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vCPU has touched an address without memory. Only BARs are there; the interrupt controllers' own
 * addresses never come here, KVM has them. Nobody: reads give ones, writes are lost, as on a PC.
 */
#include <string.h>

#include "kvm-guest.h"

void mmio_access(struct kvm_guest *guest, uint64_t gpa, uint8_t *data, uint32_t size, bool write)
{
	bool found = write ? pci_mmio_write(&guest->pci, gpa, data, size)
			   : pci_mmio_read(&guest->pci, gpa, data, size);

	if (!found && !write)
		memset(data, 0xff, size);
}
