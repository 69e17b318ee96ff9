/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MSI capability of one function (PCI 3.0, 6.8.1): its registers in configuration space are
 * emulated, one message for up to 32 vectors that differ in their lowest bits.
 */
#include <string.h>

#include "fail.h"
#include "pci-device.h"

#define CAP_MSI 0x05u
#define CONTROL_ENABLE 0x0001u
#define CONTROL_CAPABLE 0x000eu /* how many vectors, as a power of two */
#define CONTROL_ENABLED_SHIFT 4u /* how many of them the guest uses */
#define CONTROL_ENABLED 0x0070u
#define CONTROL_WIDE 0x0080u
#define CONTROL_MASKABLE 0x0100u
#define VECTORS_MAX 32u

static uint32_t data_at(const struct msi *msi)
{
	return msi->capability + (msi->wide ? 12 : 8);
}

static uint32_t mask_at(const struct msi *msi)
{
	return msi->capability + (msi->wide ? 16 : 12);
}

static uint32_t pending_at(const struct msi *msi)
{
	return mask_at(msi) + 4;
}

static uint32_t end_of(const struct msi *msi)
{
	return msi->maskable ? pending_at(msi) + 4 : data_at(msi) + 2;
}

static uint32_t power_of(uint32_t count)
{
	return (uint32_t)__builtin_ctz(count);
}

int msi_new(struct pci_device *device, struct hf_error *err)
{
	struct msi *msi = &device->msi;
	uint32_t count = 0;
	uint16_t control;
	int r = pci_capability(device, CAP_MSI, &msi->capability);

	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its capabilities cannot be read");
	if (msi->capability == 0)
		return 0;
	if (msi->capability > PCI_CONFIG_SIZE - 24)
		return fail(err, HF_E_DEVICE_CONFIG, 0, "its MSI capability has no room");
	r = pci_config_read(device, msi->capability + 2, (uint8_t *)&control, sizeof(control));
	if (r == 0)
		r = device->device.ops->irq_count(device->device.self, IRQ_INDEX_MSI, &count);
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its MSI capability cannot be read");
	if ((control & CONTROL_CAPABLE) >> 1 > power_of(VECTORS_MAX) ||
	    count < 1u << ((control & CONTROL_CAPABLE) >> 1))
		return fail(err, HF_E_DEVICE_CONFIG, 0,
			    "its MSI capability says 2^%u vectors, the device signals %u",
			    (control & CONTROL_CAPABLE) >> 1, count);
	msi->wide = (control & CONTROL_WIDE) != 0;
	msi->maskable = (control & CONTROL_MASKABLE) != 0;
	pci_config_emulate(device, msi->capability + 2, 2,
			   control & (CONTROL_CAPABLE | CONTROL_WIDE | CONTROL_MASKABLE),
			   CONTROL_ENABLE | CONTROL_ENABLED);
	pci_config_emulate(device, msi->capability + 4, 4, 0, ~3u);
	if (msi->wide)
		pci_config_emulate(device, msi->capability + 8, 4, 0, ~0u);
	pci_config_emulate(device, data_at(msi), 2, 0, 0xffff);
	if (msi->maskable) {
		pci_config_emulate(device, mask_at(msi), 4, 0, ~0u);
		pci_config_emulate(device, pending_at(msi), 4, 0, 0);
	}
	return vectors_new(device, &msi->vectors, IRQ_INDEX_MSI,
			   1u << ((control & CONTROL_CAPABLE) >> 1), err);
}

void msi_free(struct pci_device *device)
{
	vectors_free(device, &device->msi.vectors);
}

bool msi_enabled(const struct pci_device *device)
{
	return device->msi.vectors.count != 0 &&
	       (pci_config_u16(device, device->msi.capability + 2) & CONTROL_ENABLE) != 0;
}

bool msi_covers(const struct pci_device *device, uint32_t offset, uint32_t size)
{
	const struct msi *msi = &device->msi;

	return msi->vectors.count != 0 && offset < end_of(msi) &&
	       msi->capability + 2 < offset + size;
}

/* How many vectors the guest uses; more than there are is as many as there are. */
static uint32_t used(const struct pci_device *device, uint16_t control)
{
	uint32_t power = (control & CONTROL_ENABLED) >> CONTROL_ENABLED_SHIFT;
	uint32_t most = power_of(device->msi.vectors.count);

	return 1u << (power < most ? power : most);
}

/* What the registers say, for each vector. */
static void read_registers(struct pci_device *device, uint16_t control)
{
	struct msi *msi = &device->msi;
	uint32_t count = used(device, control);
	uint32_t data = pci_config_u16(device, data_at(msi)) & ~(count - 1);
	uint32_t mask = msi->maskable ? pci_config_u32(device, mask_at(msi)) : 0;

	for (uint32_t i = 0; i < msi->vectors.count; i++) {
		struct vector *vector = &msi->vectors.vector[i];

		vector->address_low = pci_config_u32(device, msi->capability + 4);
		vector->address_high = msi->wide ? pci_config_u32(device, msi->capability + 8) : 0;
		vector->data = data | (i & (count - 1));
		vector->masked = i >= count || (mask >> i & 1) != 0;
	}
	msi->vectors.on = (control & CONTROL_ENABLE) != 0;
}

int msi_update(struct pci_device *device, bool deliver)
{
	struct msi *msi = &device->msi;
	struct vectors *vectors = &msi->vectors;
	uint16_t control;
	int r = 0;

	if (vectors->count == 0)
		return 0;
	control = pci_config_u16(device, msi->capability + 2);
	read_registers(device, control);
	/* How many there are, a device learns when it is armed. */
	if (vectors->armed && vectors->on && used(device, control) != msi->armed_count)
		r = vectors_disarm(device, vectors);
	if (r == 0 && vectors->on && !vectors->armed) {
		msi->armed_count = used(device, control);
		r = vectors_arm(device, vectors, msi->armed_count);
	}
	if (r == 0)
		r = vectors_update(device, vectors, 0, vectors->count, deliver);
	if (r == 0 && !vectors->on && vectors->armed)
		r = vectors_disarm(device, vectors);
	return r;
}

void msi_hide_pending(const struct pci_device *device, uint8_t config[PCI_CONFIG_SIZE])
{
	if (device->msi.maskable)
		memset(config + pending_at(&device->msi), 0, 4);
}

void msi_refresh(struct pci_device *device)
{
	struct msi *msi = &device->msi;
	uint32_t pending = 0;

	if (!msi->maskable || msi->vectors.count == 0)
		return;
	for (uint32_t i = 0; i < msi->vectors.count; i++)
		if (vectors_pending(&msi->vectors, i))
			pending |= 1u << i;
	memcpy(device->config + pending_at(msi), &pending, sizeof(pending));
}
