/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device as a PCI function: its regions and its raw configuration space. What a guest
 * sees of configuration space and of the MSI-X table is the VMM's to make of it, and travels beside
 * the device's stream; none of it is part of the stream.
 */
#include <errno.h>
#include <string.h>

#include "backend/device/sim/arcs.h"
#include "backend/device/sim/sim.h"

#define REGION_BAR0 0u
#define REGION_BAR2 2u
#define REGION_BAR4 4u
#define REGION_CONFIG 7u
#define REGION_COUNT 8u

#define MSIX_CAP 0x40u

static void put16(uint8_t *to, uint32_t v)
{
	to[0] = (uint8_t)v;
	to[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *to, uint32_t v)
{
	put16(to, v);
	put16(to + 2, v >> 16);
}

/* PCI Local Bus Specification 3.0, 6.1 and 6.8.2 (MSI-X). */
void sim_pci_reset(struct sim *sim)
{
	uint8_t *c = sim->pci_config;

	memset(sim->bar2, 0, sizeof(sim->bar2));
	memset(c, 0, SIM_CONFIG_SIZE);
	put16(c + 0x00, HF_SIM_VENDOR_ID);
	put16(c + 0x02, HF_SIM_DEVICE_ID);
	put16(c + 0x06, 0x0010); /* there is a list of capabilities */
	put32(c + 0x08, (uint32_t)HF_SIM_CLASS << 8 | HF_SIM_REVISION);
	put32(c + 0x20, 0x0000000c); /* BAR4: memory, 64-bit, prefetchable */
	put16(c + 0x2c, HF_SIM_VENDOR_ID);
	put16(c + 0x2e, 1);
	c[0x34] = MSIX_CAP;
	c[MSIX_CAP] = 0x11;
	put16(c + MSIX_CAP + 2, HF_SIM_VECTORS - 1);
	put32(c + MSIX_CAP + 4, HF_SIM_MSIX_TABLE | REGION_BAR2);
	put32(c + MSIX_CAP + 8, HF_SIM_MSIX_PBA | REGION_BAR2);
}

/* Which bits of a byte of configuration space can be written. BARs: the address bits above the
 * size, so that writing all ones and reading gives the size. */
static uint8_t writable(uint64_t offset)
{
	static const uint8_t mask[SIM_CONFIG_SIZE] = {
		[0x04] = 0x47,	       [0x05] = 0x05, /* COMMAND */
		[0x11] = 0xf0,	       [0x12] = 0xff, [0x13] = 0xff, /* BAR0: 4 KiB */
		[0x19] = 0xf0,	       [0x1a] = 0xff, [0x1b] = 0xff, /* BAR2: 4 KiB */
		[0x22] = 0xff,	       [0x23] = 0xff, /* BAR4: 64 KiB */
		[0x24] = 0xff,	       [0x25] = 0xff, [0x26] = 0xff,
		[0x27] = 0xff,	       [0x3c] = 0xff, /* interrupt line */
		[MSIX_CAP + 3] = 0xc0, /* enable, mask all */
	};

	return mask[offset];
}

static uint64_t region_size(uint32_t index)
{
	switch (index) {
	case REGION_BAR0:
		return HF_SIM_BAR0_SIZE;
	case REGION_BAR2:
		return HF_SIM_BAR2_SIZE;
	case REGION_BAR4:
		return HF_SIM_BAR4_SIZE;
	case REGION_CONFIG:
		return SIM_CONFIG_SIZE;
	default:
		return 0;
	}
}

int sim_region_info(void *self, uint32_t index, struct hf_region_info *ret_info)
{
	const struct sim *sim = self;
	struct hf_region_info info = { .mmap_fd = -1, .size = region_size(index) };

	if (index >= REGION_COUNT)
		return -EINVAL;
	if (info.size)
		info.flags = HF_REGION_READ | HF_REGION_WRITE;
	if (index == REGION_BAR4) {
		info.flags |= HF_REGION_MMAP;
		info.mmap_fd = sim->bar4_fd;
	}
	*ret_info = info;
	return 0;
}

static int access_valid(uint32_t index, uint64_t offset, size_t size)
{
	uint64_t limit = region_size(index);

	if (size == 0 || size > limit || offset > limit - size)
		return 0;
	if (index == REGION_CONFIG)
		return 1;
	return (size == 1 || size == 2 || size == 4 || size == 8) && offset % size == 0;
}

/* An access of at most 8 bytes that does not cross a unit of 8. */
static void bar0_read(struct sim *sim, uint64_t offset, void *buf, size_t size)
{
	uint64_t value = sim_model_read(sim, offset & ~7ull) >> (offset % 8 * 8);

	memcpy(buf, &value, size);
}

static void bar0_write(struct sim *sim, uint64_t offset, const void *buf, size_t size)
{
	uint64_t value = 0, mask = size == 8 ? ~0ull : (1ull << (size * 8)) - 1;
	uint64_t shift = offset % 8 * 8;

	memcpy(&value, buf, size);
	sim_model_write(sim, offset & ~7ull, value << shift, mask << shift);
}

static void bar2_read(struct sim *sim, uint64_t offset, void *buf, size_t size)
{
	sim->bar2[HF_SIM_MSIX_PBA] = (uint8_t)sim->model.irq_pending;
	memcpy(buf, sim->bar2 + offset, size);
}

static void bar2_write(struct sim *sim, uint64_t offset, const void *buf, size_t size)
{
	if (offset + size <= HF_SIM_MSIX_TABLE + HF_SIM_VECTORS * 16)
		memcpy(sim->bar2 + offset, buf, size);
}

int sim_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size)
{
	struct sim *sim = self;

	if (!access_valid(index, offset, size))
		return -EINVAL;
	(void)pthread_mutex_lock(&sim->lock);
	if (index == REGION_BAR0)
		bar0_read(sim, offset, buf, size);
	else if (index == REGION_BAR2)
		bar2_read(sim, offset, buf, size);
	else if (index == REGION_BAR4)
		memcpy(buf, sim->bar4 + offset, size);
	else
		memcpy(buf, sim->pci_config + offset, size);
	(void)pthread_mutex_unlock(&sim->lock);
	return 0;
}

static void config_write(struct sim *sim, uint64_t offset, const uint8_t *from, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint8_t mask = writable(offset + i);
		uint8_t *byte = &sim->pci_config[offset + i];

		*byte = (uint8_t)((*byte & ~mask) | (from[i] & mask));
	}
}

int sim_region_write(void *self, uint32_t index, uint64_t offset, const void *buf, size_t size)
{
	struct sim *sim = self;

	if (!access_valid(index, offset, size))
		return -EINVAL;
	(void)pthread_mutex_lock(&sim->lock);
	if (index == REGION_BAR0)
		bar0_write(sim, offset, buf, size);
	else if (index == REGION_BAR2)
		bar2_write(sim, offset, buf, size);
	else if (index == REGION_CONFIG)
		config_write(sim, offset, buf, size);
	else if (sim_state_runs(sim->state))
		memcpy(sim->bar4 + offset, buf, size);
	(void)pthread_mutex_unlock(&sim->lock);
	return 0;
}
