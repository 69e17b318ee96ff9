/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MSI-X capability, table and pending bits of one function (PCI 3.0, 6.8.2), all of them ours.
 */
#include "pci-device.h"

#include "fail.h"

#define CAP_MSIX 0x11u
#define CONTROL_ENABLE 0x8000u
#define CONTROL_MASK 0x4000u
#define VECTOR_MASKED 1u
#define ENTRY_SIZE 16u

static uint64_t table_bytes(const struct msix *msix)
{
	return (uint64_t)msix->count * ENTRY_SIZE;
}

static uint64_t pba_bytes(const struct msix *msix)
{
	return (uint64_t)(msix->count + 63) / 64 * 8;
}

static int read_layout(struct pci_device *device, struct hf_error *err)
{
	struct msix *msix = &device->msix;
	uint8_t raw[12];
	uint32_t table, pba;
	uint16_t control;
	int r = pci_capability(device, CAP_MSIX, &msix->capability);

	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its capabilities cannot be read");
	if (msix->capability == 0)
		return 0;
	if (msix->capability > PCI_CONFIG_SIZE - sizeof(raw))
		return fail(err, HF_E_DEVICE_CONFIG, 0, "its MSI-X capability has no room");
	r = pci_config_read(device, msix->capability, raw, sizeof(raw));
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its MSI-X capability cannot be read");
	memcpy(&control, raw + 2, sizeof(control));
	memcpy(&table, raw + 4, sizeof(table));
	memcpy(&pba, raw + 8, sizeof(pba));
	msix->table_bar = table & 7;
	msix->table_offset = table & ~7u;
	msix->pba_bar = pba & 7;
	msix->pba_offset = pba & ~7u;
	msix->count = (control & 0x7ffu) + 1u;
	if (msix->table_bar >= PCI_BARS || msix->pba_bar >= PCI_BARS)
		return fail(err, HF_E_DEVICE_CONFIG, 0, "its MSI-X table is in no BAR");
	/* The table's size is read-only, enable and mask are the guest's. */
	pci_config_emulate(device, msix->capability + 2, 2, control & 0x7ffu,
			   CONTROL_ENABLE | CONTROL_MASK);
	return 0;
}

int msix_new(struct pci_device *device, struct hf_error *err)
{
	struct msix *msix = &device->msix;
	uint32_t vectors = 0;
	int r = read_layout(device, err);

	if (r != 0 || msix->count == 0)
		return r;
	r = device->device.ops->irq_count(device->device.self, IRQ_INDEX_MSIX, &vectors);
	if (r < 0 || vectors < msix->count)
		return fail(err, HF_E_DEVICE_CONFIG, r < 0 ? -r : 0,
			    "its MSI-X table has %u vectors, the device signals %u", msix->count,
			    vectors);
	return vectors_new(device, &msix->vectors, IRQ_INDEX_MSIX, msix->count, err);
}

void msix_free(struct pci_device *device)
{
	vectors_free(device, &device->msix.vectors);
}

bool msix_enabled(const struct pci_device *device)
{
	return device->msix.count != 0 &&
	       (pci_config_u16(device, device->msix.capability + 2) & CONTROL_ENABLE) != 0;
}

int msix_vectors_update(struct pci_device *device, bool deliver)
{
	return vectors_update(device, &device->msix.vectors, 0, device->msix.count, deliver);
}

int msix_control_update(struct pci_device *device, bool deliver)
{
	struct msix *msix = &device->msix;
	uint16_t control;
	int r = 0;

	if (msix->count == 0)
		return 0;
	control = pci_config_u16(device, msix->capability + 2);
	msix->enabled = (control & CONTROL_ENABLE) != 0;
	msix->vectors.on = msix->enabled && (control & CONTROL_MASK) == 0;
	if (msix->enabled && !msix->vectors.armed)
		r = vectors_arm(device, &msix->vectors, msix->count);
	if (r == 0)
		r = msix_vectors_update(device, deliver);
	if (r == 0 && !msix->enabled && msix->vectors.armed)
		r = vectors_disarm(device, &msix->vectors);
	return r;
}

/* ---- what the guest sees -------------------------------------------------------------------- */

static bool within(uint64_t offset, uint64_t start, uint64_t size)
{
	return offset >= start && offset - start < size;
}

static bool in_table(const struct msix *msix, uint32_t bar, uint64_t offset)
{
	return bar == msix->table_bar && within(offset, msix->table_offset, table_bytes(msix));
}

bool msix_covers(const struct pci_device *device, uint32_t bar, uint64_t offset)
{
	const struct msix *msix = &device->msix;

	if (msix->count == 0)
		return false;
	return in_table(msix, bar, offset) ||
	       (bar == msix->pba_bar && within(offset, msix->pba_offset, pba_bytes(msix)));
}

static uint8_t table_byte(const struct msix *msix, uint64_t at)
{
	const struct vector *vector = &msix->vectors.vector[at / ENTRY_SIZE];
	const uint32_t words[4] = { vector->address_low, vector->address_high, vector->data,
				    vector->masked ? VECTOR_MASKED : 0 };

	return (uint8_t)(words[at % ENTRY_SIZE / 4] >> (at % 4 * 8));
}

static uint8_t pba_byte(struct msix *msix, uint64_t at)
{
	uint8_t byte = 0;

	for (uint32_t bit = 0; bit < 8 && at * 8 + bit < msix->count; bit++)
		if (vectors_pending(&msix->vectors, (uint32_t)at * 8 + bit))
			byte |= (uint8_t)(1u << bit);
	return byte;
}

void msix_read(struct pci_device *device, uint32_t bar, uint64_t offset, uint8_t *data,
	       uint32_t size)
{
	struct msix *msix = &device->msix;

	for (uint32_t i = 0; i < size; i++) {
		if (!msix_covers(device, bar, offset + i))
			data[i] = 0;
		else if (in_table(msix, bar, offset + i))
			data[i] = table_byte(msix, offset + i - msix->table_offset);
		else
			data[i] = pba_byte(msix, offset + i - msix->pba_offset);
	}
}

static int write_word(struct pci_device *device, uint64_t at, uint32_t value)
{
	struct vector *vector = &device->msix.vectors.vector[at / ENTRY_SIZE];

	switch (at % ENTRY_SIZE / 4) {
	case 0:
		vector->address_low = value & ~3u;
		break;
	case 1:
		vector->address_high = value;
		break;
	case 2:
		vector->data = value;
		break;
	default:
		vector->masked = (value & VECTOR_MASKED) != 0;
		break;
	}
	return vectors_update(device, &device->msix.vectors, (uint32_t)(at / ENTRY_SIZE), 1, true);
}

/* Aligned words and double words only (6.8.2); anything else, and the PBA, is ignored. */
int msix_write(struct pci_device *device, uint32_t bar, uint64_t offset, const uint8_t *data,
	       uint32_t size)
{
	const struct msix *msix = &device->msix;

	if ((size != 4 && size != 8) || offset % size != 0)
		return 0;
	for (uint32_t i = 0; i < size; i += 4) {
		uint32_t value;
		int r;

		if (!in_table(msix, bar, offset + i))
			return 0;
		memcpy(&value, data + i, sizeof(value));
		r = write_word(device, offset + i - msix->table_offset, value);
		if (r < 0)
			return r;
	}
	return 0;
}
