/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread guest's devices, of the kinds that the workload can drive: opened, given the guest's
 * memory and each other's, their interrupts made eventfds. No PCI bus: the workload drives them
 * through their tables.
 */
#include "thread-guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <holdfast/sim.h>

#include "fail.h"

#define PCI_COMMAND 0x04u
#define PCI_COMMAND_ON 0x0407u /* ports, memory, bus master, no INTx */
#define REGION_CONFIG 7u
#define REGION_BAR1 1u
#define REGION_BAR4 4u
#define IRQ_MSI 1u
#define IRQ_MSIX 2u

int thread_device_irqs_set(struct thread_guest *guest, uint32_t index, struct hf_error *err)
{
	const struct hf_session_device *device = &guest->guest.devices[index];
	bool sim = guest->devices[index].kind == WORK_DEVICE_SIM;
	int r;

	if (guest->devices[index].kind == WORK_DEVICE_MTTY)
		return 0; /* it is polled */
	r = device->device.ops->irqs_set(device->device.self, sim ? IRQ_MSIX : IRQ_MSI,
					 sim ? THREAD_VECTORS : 1, guest->devices[index].irq_fd);
	return r < 0 ? fail(err, HF_E_DEVICE_CONFIG, -r, "%s: enabling MSI%s", device->name,
			    sim ? "-X" : "")
		     : 0;
}

/* What it is, and so which driver it needs. */
static int device_identify(struct thread_guest *guest, uint32_t index, struct hf_error *err)
{
	const struct hf_session_device *device = &guest->guest.devices[index];
	const struct hf_device_ops *ops = device->device.ops;
	struct hf_region_info second;
	uint16_t ids[2];
	int r = ops->region_read(device->device.self, REGION_CONFIG, 0, ids, sizeof(ids));

	if (r >= 0)
		r = ops->region_info(device->device.self, REGION_BAR1, &second);
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "%s: asking what it is", device->name);
	if (ids[0] == HF_SIM_VENDOR_ID && ids[1] == HF_SIM_DEVICE_ID) {
		guest->devices[index].kind = WORK_DEVICE_SIM;
	} else if (ids[0] == WORK_MTTY_VENDOR_ID && ids[1] == WORK_MTTY_DEVICE_ID) {
		guest->devices[index].kind = WORK_DEVICE_MTTY;
		guest->devices[index].port_count = second.size ? 2 : 1;
	} else if (ids[0] == WORK_LABDMA_VENDOR_ID && ids[1] == WORK_LABDMA_DEVICE_ID) {
		guest->devices[index].kind = WORK_DEVICE_LABDMA;
	} else {
		return fail(err, HF_E_UNSUPPORTED, 0,
			    "%s: the thread guest has no driver for a %04x:%04x", device->name,
			    ids[0], ids[1]);
	}
	return 0;
}

static int device_open(struct thread_guest *guest, const struct guest_config *config,
		       uint32_t index, struct hf_error *err)
{
	struct hf_session_device *device = &guest->guest.devices[index];
	const char *uri = config->devices[index];
	uint16_t command = PCI_COMMAND_ON;
	int r;

	/* The kind and the number, so that it is the same at source and target. */
	(void)snprintf(device->name, sizeof(device->name), "%.*s%u", (int)strcspn(uri, ":="), uri,
		       index);
	r = hf_device_open(uri, device->name, &device->device, err);
	if (r != 0) {
		(void)fail_prefix(err, "device %s", uri);
		return r;
	}
	guest->guest.device_count++;
	r = device_identify(guest, index, err);
	if (r != 0)
		return r;
	for (uint32_t v = 0; v < THREAD_VECTORS; v++) {
		guest->devices[index].irq_fd[v] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (guest->devices[index].irq_fd[v] < 0)
			return fail(err, HF_E_SYSTEM, errno, "%s: eventfd", device->name);
	}
	r = device->device.ops->region_write(device->device.self, REGION_CONFIG, PCI_COMMAND,
					     &command, sizeof(command));
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "%s: enabling DMA", device->name);
	r = thread_device_irqs_set(guest, index, err);
	return r == 0 ? thread_host_watch(guest, index, err) : r;
}

static int memory_map(struct thread_guest *guest, uint32_t index, struct hf_error *err)
{
	const struct hf_session_device *device = &guest->guest.devices[index];
	const struct hf_memory_region *region = &guest->guest.regions[0];
	int r = device->device.ops->dma_map(device->device.self, region->gpa, region->size,
					    region->host, region->fd, region->fd_offset,
					    HF_DMA_READ | HF_DMA_WRITE);

	return r < 0 ? fail(err, HF_E_DEVICE_CONFIG, -r, "%s: mapping guest memory", device->name)
		     : 0;
}

/* BAR4 of a device in this process; without it there is no P2P, and no error. */
static void bar4_map(struct thread_guest *guest, uint32_t index)
{
	const struct hf_device *device = &guest->guest.devices[index].device;
	struct hf_region_info info;
	void *map;

	if (device->ops->region_info(device->self, REGION_BAR4, &info) < 0 ||
	    !(info.flags & HF_REGION_MMAP) || info.size != HF_SIM_BAR4_SIZE)
		return;
	map = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, info.mmap_fd,
		   (off_t)info.mmap_offset);
	if (map != MAP_FAILED)
		guest->devices[index].bar4 = map;
}

/* Every device reaches every other's BAR4, or none does. Returns 0, or a device's refusal. */
static int p2p_map(struct thread_guest *guest, struct hf_error *err)
{
	uint32_t count = guest->guest.device_count;

	guest->shared.p2p = count > 1;
	for (uint32_t i = 0; i < count; i++)
		if (guest->devices[i].bar4 == NULL)
			guest->shared.p2p = 0;
	for (uint32_t i = 0; guest->shared.p2p && i < count; i++) {
		const struct hf_session_device *device = &guest->guest.devices[i];

		for (uint32_t to = 0; to < count; to++) {
			int r;

			if (to == i)
				continue;
			r = device->device.ops->dma_map(
				device->device.self, guest->devices[to].bar4_gpa, HF_SIM_BAR4_SIZE,
				guest->devices[to].bar4, -1, 0,
				HF_DMA_READ | HF_DMA_WRITE | HF_DMA_P2P);
			if (r < 0)
				return fail(err, HF_E_DEVICE_CONFIG, -r, "%s: mapping %s",
					    device->name, guest->guest.devices[to].name);
		}
	}
	return 0;
}

int thread_devices_open(struct thread_guest *guest, const struct guest_config *config,
			struct hf_error *err)
{
	uint64_t behind_memory = (guest->memory_bytes + (1ull << 30) - 1) >> 30 << 30;
	int r = 0;

	if (config->device_count > WORK_DEVICES_MAX)
		return fail(err, HF_E_INVALID, 0, "devices: %u are more than %u",
			    config->device_count, WORK_DEVICES_MAX);
	for (uint32_t i = 0; i < HF_DEVICES_MAX; i++)
		for (uint32_t v = 0; v < THREAD_VECTORS; v++)
			guest->devices[i].irq_fd[v] = -1;
	for (uint32_t i = 0; r == 0 && i < config->device_count; i++) {
		guest->devices[i].bar4_gpa = behind_memory + (uint64_t)i * HF_SIM_BAR4_SIZE;
		r = device_open(guest, config, i, err);
		if (r == 0)
			r = memory_map(guest, i, err);
		if (r == 0)
			bar4_map(guest, i);
	}
	return r == 0 ? p2p_map(guest, err) : r;
}

void thread_devices_close(struct thread_guest *guest)
{
	/* First all devices, which reach into each other's memory, then what they reach. */
	for (uint32_t i = 0; i < guest->guest.device_count; i++) {
		host_events_free(&guest->devices[i].host, &guest->guest.devices[i].device);
		hf_device_close(&guest->guest.devices[i].device);
	}
	for (uint32_t i = 0; i < guest->guest.device_count; i++) {
		struct thread_device *device = &guest->devices[i];

		if (device->bar4 != NULL)
			(void)munmap(device->bar4, HF_SIM_BAR4_SIZE);
		for (uint32_t v = 0; v < THREAD_VECTORS; v++)
			if (device->irq_fd[v] >= 0)
				(void)close(device->irq_fd[v]);
	}
}
