/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One PCI function and its configuration space. Each byte of it is either emulated, then the guest
 * sees ours and the device never hears of it, or it is the device's own. COMMAND is both: ours, and
 * told to the device. Emulated are: COMMAND, header type, BARs, ROM (there is none), the list of
 * capabilities, the interrupt line and pin, MSI's registers, MSI-X's control.
 */
#include "pci-device.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fail.h"

#define HEADER_TYPE 0x0eu
#define ROM 0x30u
#define CAPABILITIES 0x34u
#define STATUS_CAPABILITIES 0x10u
#define COMMAND_WRITABLE 0x0547u /* I/O, memory, bus master, parity, SERR, INTx disable */
#define CAP_MSI 0x05u
#define CAPS_MAX 48u /* as many as fit into 192 bytes */

/* ---- emulated bytes ------------------------------------------------------------------------- */

uint16_t pci_config_u16(const struct pci_device *device, uint32_t offset)
{
	uint16_t value;

	memcpy(&value, device->config + offset, sizeof(value));
	return value;
}

uint32_t pci_config_u32(const struct pci_device *device, uint32_t offset)
{
	uint32_t value;

	memcpy(&value, device->config + offset, sizeof(value));
	return value;
}

void pci_config_emulate(struct pci_device *device, uint32_t offset, uint32_t size, uint32_t value,
			uint32_t writable)
{
	assert(size <= 4 && offset + size <= PCI_CONFIG_SIZE);
	for (uint32_t i = 0; i < size; i++) {
		device->emulated[offset + i] = 1;
		device->config[offset + i] = (uint8_t)(value >> (8 * i));
		device->writable[offset + i] = (uint8_t)(writable >> (8 * i));
	}
}

/* ---- the device's own ----------------------------------------------------------------------- */

static int device_read(struct pci_device *device, uint32_t offset, void *data, uint32_t size)
{
	int r = device->device.ops->region_read(device->device.self, REGION_CONFIG, offset, data,
						size);

	return r < 0 ? r : 0;
}

static int device_write(struct pci_device *device, uint32_t offset, const void *data, uint32_t size)
{
	int r = device->device.ops->region_write(device->device.self, REGION_CONFIG, offset, data,
						 size);

	return r < 0 ? r : 0;
}

static int command_write(struct pci_device *device, uint16_t command)
{
	const uint8_t bytes[2] = { (uint8_t)command, (uint8_t)(command >> 8) };

	return device_write(device, PCI_COMMAND, bytes, sizeof(bytes));
}

int pci_command_forward(struct pci_device *device)
{
	return command_write(device, pci_config_u16(device, PCI_COMMAND));
}

/* ---- accesses ------------------------------------------------------------------------------- */

int pci_config_read(struct pci_device *device, uint32_t offset, uint8_t *data, uint32_t size)
{
	bool ours = true;
	int r = 0;

	assert(offset < PCI_CONFIG_SIZE && size <= PCI_CONFIG_SIZE - offset);
	if (msi_covers(device, offset, size))
		msi_refresh(device);
	for (uint32_t i = 0; i < size; i++)
		ours = ours && device->emulated[offset + i] != 0;
	if (!ours) {
		memset(data, 0xff, size);
		r = device_read(device, offset, data, size);
		if (r < 0)
			memset(data, 0xff, size);
	}
	for (uint32_t i = 0; i < size; i++)
		if (device->emulated[offset + i] != 0)
			data[i] = device->config[offset + i];
	return r;
}

static bool touches(uint32_t offset, uint32_t size, uint32_t start, uint32_t length)
{
	return offset < start + length && start < offset + size;
}

/* A device takes one kind of interrupt at a time: the pin goes first, and comes last. */
static int follow_interrupts(struct pci_device *device, uint32_t offset, uint32_t size)
{
	bool msi = msi_covers(device, offset, size);
	bool msix =
		device->msix.count != 0 && touches(offset, size, device->msix.capability + 2, 2);
	int r;

	if (!msi && !msix && !touches(offset, size, PCI_COMMAND, 2))
		return 0;
	r = intx_release(device);
	if (r == 0 && msix)
		r = msix_control_update(device, true);
	if (r == 0 && msi)
		r = msi_update(device, true);
	/* Before the machine is connected, the pin waits until it is, or for what is loaded. */
	if (r == 0 && device->pci->connected)
		r = intx_update(device);
	return r;
}

static void show_command(struct pci_device *device, uint16_t command)
{
	device->config[PCI_COMMAND] = (uint8_t)command;
	device->config[PCI_COMMAND + 1] = (uint8_t)(command >> 8);
}

/*
 * COMMAND or BARs have changed. The device decodes before the guest reaches its BARs, and for as
 * long as it does. Whoever does not do as the guest wants: at the end the guest's COMMAND is the
 * device's, and what it says of decoding is so.
 */
static int follow_decoding(struct pci_device *device, uint16_t old_command)
{
	uint16_t command = pci_config_u16(device, PCI_COMMAND);
	uint16_t off = old_command & (uint16_t)~command & (PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	int first = 0, r;

	if (command != old_command)
		first = command_write(device, command | off);
	if (first < 0) {
		show_command(device, old_command);
		return first;
	}
	first = bars_update(device);
	if (off == 0)
		return first;
	command |= bars_decoded(device);
	r = command_write(device, command);
	if (r == 0) {
		show_command(device, command);
		return first;
	}
	show_command(device, command | off);
	(void)bars_update(device); /* back to where they just were; what fails has been told */
	return r;
}

/* What has to follow from emulated bytes that have changed. */
static int follow(struct pci_device *device, uint32_t offset, uint32_t size, uint16_t old_command)
{
	int first = 0, r;

	if (touches(offset, size, PCI_COMMAND, 2) || touches(offset, size, PCI_BAR0, 4 * PCI_BARS))
		first = follow_decoding(device, old_command);
	r = follow_interrupts(device, offset, size);
	return first == 0 ? r : first;
}

int pci_config_write(struct pci_device *device, uint32_t offset, const uint8_t *data, uint32_t size)
{
	uint16_t old_command = pci_config_u16(device, PCI_COMMAND);
	uint32_t run = 0; /* of bytes in a row that are the device's */
	int first, r;

	assert(offset < PCI_CONFIG_SIZE && size <= PCI_CONFIG_SIZE - offset);
	first = power_before(device, offset, data, size);
	for (uint32_t i = 0; i < size; i++) {
		uint32_t at = offset + i;
		uint8_t writable = device->writable[at];

		if (device->emulated[at] != 0)
			device->config[at] =
				(uint8_t)((device->config[at] & ~writable) | (data[i] & writable));
		else
			run++;
		if (run != 0 && (device->emulated[at] != 0 || i + 1 == size)) {
			uint32_t end = device->emulated[at] != 0 ? i : i + 1;

			r = device_write(device, offset + end - run, data + end - run, run);
			first = first == 0 ? r : first;
			run = 0;
		}
	}
	r = power_after(device);
	first = first == 0 ? r : first;
	r = follow(device, offset, size, old_command);
	return first == 0 ? r : first;
}

void pci_news(const struct pci *pci)
{
	const uint64_t one = 1;

	/* It only fails when it is readable already. */
	(void)!write(pci->news_fd, &one, sizeof(one));
}

void pci_failed(struct pci_device *device, enum pci_failure_of of, uint32_t index, int error)
{
	uint64_t count = device->failures[of].count + 1;

	device->failures[of] = (struct pci_failure){ count, index, error };
	pci_news(device->pci);
}

int pci_irqs_set(struct pci_device *device, uint32_t index, uint32_t count, const int *eventfds)
{
	int r = device->device.ops->irqs_set(device->device.self, index, count, eventfds);

	if (r >= 0)
		return 0;
	pci_failed(device, FAILURE_OF_IRQS, index, -r);
	return r;
}

/* ---- set-up --------------------------------------------------------------------------------- */

int pci_capability(struct pci_device *device, uint8_t id, uint32_t *ret_offset)
{
	uint8_t at = device->config[CAPABILITIES];

	for (uint32_t i = 0; i < CAPS_MAX && at >= 0x40; i++) {
		uint8_t header[2];
		int r = pci_config_read(device, at, header, sizeof(header));

		if (r < 0)
			return r;
		if (header[0] == id) {
			*ret_offset = at;
			return 0;
		}
		at = header[1] & 0xfcu;
	}
	*ret_offset = 0;
	return 0;
}

/* An MSI capability that the device does not signal is not shown. */
static int is_shown(const struct pci_device *device, uint8_t capability, bool *ret_shown)
{
	uint32_t count = 1;
	int r = 0;

	if (capability == CAP_MSI)
		r = device->device.ops->irq_count(device->device.self, IRQ_INDEX_MSI, &count);
	*ret_shown = count != 0;
	return r < 0 ? r : 0;
}

/* Link the capabilities anew, those that are shown. */
static int link_capabilities(struct pci_device *device, struct hf_error *err)
{
	uint32_t link = CAPABILITIES; /* where the offset of the next one stands */
	uint8_t at = 0;
	uint16_t status;
	int r;

	pci_config_emulate(device, CAPABILITIES, 1, 0, 0);
	r = device_read(device, PCI_STATUS, &status, sizeof(status));
	if (r == 0 && (status & STATUS_CAPABILITIES) != 0)
		r = device_read(device, CAPABILITIES, &at, 1);
	for (uint32_t i = 0; r == 0 && i < CAPS_MAX && (at & 0xfcu) >= 0x40; i++) {
		uint8_t header[2];
		bool shown = false;

		at &= 0xfcu;
		r = device_read(device, at, header, sizeof(header));
		if (r == 0)
			r = is_shown(device, header[0], &shown);
		if (shown) {
			pci_config_emulate(device, link, 1, at, 0);
			link = at + 1u;
			pci_config_emulate(device, link, 1, 0, 0);
		}
		at = header[1];
	}
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its capabilities cannot be read");
	return 0;
}

static int set_up(struct pci_device *device, struct hf_error *err)
{
	uint8_t header_type;
	int r = device_read(device, HEADER_TYPE, &header_type, 1);

	if (r == 0)
		r = device_read(device, 0, device->ids, sizeof(device->ids));
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its configuration cannot be read");
	if ((header_type & 0x7f) != 0)
		return fail(err, HF_E_UNSUPPORTED, 0, "it is a bridge");
	pci_config_emulate(device, HEADER_TYPE, 1, 0, 0);
	pci_config_emulate(device, PCI_COMMAND, 2, 0, COMMAND_WRITABLE);
	pci_config_emulate(device, ROM, 4, 0, 0);
	r = link_capabilities(device, err);
	if (r == 0)
		r = msix_new(device, err);
	if (r == 0)
		r = msi_new(device, err);
	if (r == 0)
		r = intx_new(device, err);
	if (r == 0)
		r = host_events_new(&device->host, &device->device, err);
	if (r == 0)
		r = power_new(device, err);
	if (r == 0)
		r = bars_new(device, err);
	if (r != 0)
		return r;
	r = pci_command_forward(device);
	return r < 0 ? fail(err, HF_E_DEVICE_CONFIG, -r, "its COMMAND cannot be written") : 0;
}

/*
 * A machine that is switched on has devices that are, too: what the last user of this one left in
 * it is not its new guest's. One that does not say that it can be reset may refuse.
 */
static int switch_on(struct pci_device *device, struct hf_error *err)
{
	const struct hf_device_ops *ops = device->device.ops;
	struct hf_device_info info;
	int r = ops->info(device->device.self, &info);

	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "it does not say what it is");
	r = ops->reset(device->device.self);
	if (r < 0 && (info.flags & HF_DEVICE_HAS_RESET) != 0)
		return fail(err, HF_E_DEVICE_STATE, -r, "resetting it");
	return 0;
}

/* All of the guest's memory is the device's to read and write, before its first command. */
static int map_memory(struct pci_device *device, struct hf_error *err)
{
	const struct memory *memory = device->pci->memory;

	for (uint32_t i = 0; i < memory->count; i++) {
		const struct hf_memory_region *region = &memory->regions[i];
		int r = device->device.ops->dma_map(device->device.self, region->gpa, region->size,
						    region->host, region->fd, region->fd_offset,
						    HF_DMA_READ | HF_DMA_WRITE);

		if (r < 0)
			return fail(err, HF_E_DEVICE_CONFIG, -r, "mapping %s for its DMA%s",
				    region->name,
				    r == -ENOMEM ? " (the kernel locks it: is ulimit -l enough?)"
						 : "");
	}
	return 0;
}

int pci_device_new(struct pci *pci, const struct hf_session_device *from,
		   struct pci_device **ret_device, struct hf_error *err)
{
	struct pci_device *device = calloc(1, sizeof(*device));
	int r;

	if (device == NULL)
		return fail(err, HF_E_NO_MEMORY, ENOMEM, "a PCI function");
	device->pci = pci;
	device->index = pci->device_count;
	device->device = from->device;
	(void)snprintf(device->name, sizeof(device->name), "%s", from->name);
	r = switch_on(device, err);
	if (r == 0)
		r = map_memory(device, err);
	if (r == 0)
		r = set_up(device, err);
	if (r != 0) {
		pci_device_free(device);
		return r;
	}
	*ret_device = device;
	return 0;
}

void pci_device_free(struct pci_device *device)
{
	const struct hf_device_ops *ops;

	if (device == NULL)
		return;
	ops = device->device.ops;
	msix_free(device);
	msi_free(device);
	intx_free(device);
	host_events_free(&device->host, &device->device);
	bars_free(device);
	for (uint32_t i = 0; i < device->pci->memory->count; i++) {
		const struct hf_memory_region *region = &device->pci->memory->regions[i];

		/* What was not mapped is not there to unmap, and closing unmaps the rest. */
		(void)ops->dma_unmap(device->device.self, region->gpa, region->size);
	}
	free(device);
}
