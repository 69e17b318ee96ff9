/* SPDX-License-Identifier: BSD-3-Clause */
/* The PCI bus: the host bridge, configuration access by ports, who decodes an address. */
#include "pci.h"

#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fail.h"
#include "pci-device.h"

#define ADDRESS_ENABLE 0x80000000u
#define BRIDGE_ID 0x48421234u /* vendor 0x1234, device "HB": nobody's driver binds to it */
#define BRIDGE_CLASS 0x06000001u /* host bridge, revision 1 */
#define HIGH_ALIGN (1ull << 30)

int pci_open(struct pci *pci, const struct vm *vm, struct irq *irq, const struct memory *memory,
	     uint32_t phys_bits, struct hf_error *err)
{
	uint64_t end = memory_end(memory);
	int r;

	*pci = (struct pci){ .vm = vm, .irq = irq, .memory = memory, .news_fd = -1 };
	r = pthread_mutex_init(&pci->lock, NULL);
	if (r != 0)
		return fail(err, HF_E_NO_MEMORY, r, "a mutex");
	pci->lock_made = true;
	pci->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pci->news_fd < 0)
		return fail(err, HF_E_SYSTEM, errno, "an eventfd");
	if (end < MEMORY_HIGH_GPA)
		end = MEMORY_HIGH_GPA;
	pci->low_next = MEMORY_HOLE_GPA;
	pci->io_next = PCI_IO_START;
	pci->high_next = (end + HIGH_ALIGN - 1) / HIGH_ALIGN * HIGH_ALIGN;
	pci->high_end = 1ull << (phys_bits < 36 ? 36 : phys_bits > 46 ? 46 : phys_bits);
	return 0;
}

void pci_close(struct pci *pci)
{
	for (uint32_t i = 0; i < pci->device_count; i++)
		(void)bars_unmap(pci->devices[i]); /* from all others; what fails ends with them */
	while (pci->device_count > 0)
		pci_device_free(pci->devices[--pci->device_count]);
	if (!pci->lock_made)
		return; /* never opened */
	(void)pthread_mutex_destroy(&pci->lock); /* nobody has it any more */
	pci->lock_made = false;
	if (pci->news_fd >= 0)
		(void)close(pci->news_fd);
}

int pci_add(struct pci *pci, const struct hf_session_device *device, struct hf_error *err)
{
	struct pci_device *new_device;
	int r;

	if (pci->device_count == PCI_DEVICES_MAX)
		return fail(err, HF_E_INVALID, 0, "device %s: the bus has room for %u devices",
			    device->name, PCI_DEVICES_MAX);
	r = pci_device_new(pci, device, &new_device, err);
	if (r != 0) {
		(void)fail_prefix(err, "device %s", device->name);
		return r;
	}
	pci->devices[pci->device_count++] = new_device;
	return 0;
}

int pci_expect(struct pci *pci, struct hf_error *err)
{
	const uint8_t command[2] = { PCI_COMMAND_MEMORY, 0 };

	for (uint32_t i = 0; i < pci->device_count; i++) {
		int r = pci_config_write(pci->devices[i], PCI_COMMAND, command, sizeof(command));

		if (r < 0)
			return fail(err, HF_E_DEVICE_CONFIG, -r, "device %s: mapping its BARs",
				    pci->devices[i]->name);
		pci->devices[i]->expected = true;
	}
	return 0;
}

/* ---- configuration space by ports ----------------------------------------------------------- */

static void bridge_read(uint32_t offset, uint8_t *data, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++) {
		uint32_t at = offset + i;

		if (at < 4)
			data[i] = (uint8_t)(BRIDGE_ID >> (8 * at));
		else if (at >= 8 && at < 12)
			data[i] = (uint8_t)(BRIDGE_CLASS >> (8 * (at - 8)));
		else
			data[i] = 0;
	}
}

/* Slot and function that the latch names: the bridge is slot 0; NULL: nobody, or the bridge. */
static struct pci_device *selected(const struct pci *pci, bool *ret_bridge)
{
	uint32_t bus = pci->address >> 16 & 0xff;
	uint32_t slot = pci->address >> 11 & 0x1f;
	uint32_t function = pci->address >> 8 & 7;
	bool here = (pci->address & ADDRESS_ENABLE) != 0 && bus == 0 && function == 0;

	*ret_bridge = here && slot == 0;
	if (!here || slot == 0 || slot > pci->device_count)
		return NULL;
	return pci->devices[slot - 1];
}

/* The latch is one 32-bit register and nothing else. */
static bool is_latch(uint32_t offset, uint32_t size)
{
	return offset == 0 && size == sizeof(uint32_t);
}

static void count_failure(struct pci *pci, int r)
{
	if (r < 0)
		pci->failed_accesses++;
}

void pci_port_read(struct pci *pci, uint32_t offset, void *data, uint32_t size)
{
	struct pci_device *device;
	uint32_t at;
	bool bridge;

	(void)pthread_mutex_lock(&pci->lock); /* a plain mutex, not ours yet: cannot fail */
	memset(data, 0xff, size);
	if (is_latch(offset, size)) {
		memcpy(data, &pci->address, sizeof(pci->address));
	} else if (offset >= 4) {
		at = (pci->address & 0xfc) + (offset & 3);
		device = selected(pci, &bridge);
		if (at + size > PCI_CONFIG_SIZE)
			size = PCI_CONFIG_SIZE - at;
		if (bridge)
			bridge_read(at, data, size);
		else if (device != NULL)
			count_failure(pci, pci_config_read(device, at, data, size));
	}
	(void)pthread_mutex_unlock(&pci->lock);
}

void pci_port_write(struct pci *pci, uint32_t offset, const void *data, uint32_t size)
{
	struct pci_device *device;
	uint32_t at;
	bool bridge;

	(void)pthread_mutex_lock(&pci->lock);
	if (is_latch(offset, size)) {
		memcpy(&pci->address, data, sizeof(pci->address));
	} else if (offset >= 4) {
		at = (pci->address & 0xfc) + (offset & 3);
		device = selected(pci, &bridge);
		if (at + size > PCI_CONFIG_SIZE)
			size = PCI_CONFIG_SIZE - at;
		if (device != NULL)
			count_failure(pci, pci_config_write(device, at, data, size));
	}
	(void)pthread_mutex_unlock(&pci->lock);
}

/* ---- BARs that trap ------------------------------------------------------------------------- */

struct target {
	struct pci_device *device;
	uint32_t bar;
	uint64_t offset;
};

static bool find(const struct pci *pci, bool io, uint64_t gpa, struct target *ret_target)
{
	for (uint32_t i = 0; i < pci->device_count; i++)
		for (uint32_t j = 0; j < PCI_BARS; j++) {
			const struct bar *bar = &pci->devices[i]->bars[j];

			if (bar->io != io || bar->mapped_gpa == 0 || gpa < bar->mapped_gpa ||
			    gpa - bar->mapped_gpa >= bar->size)
				continue;
			*ret_target = (struct target){ pci->devices[i], j, gpa - bar->mapped_gpa };
			return true;
		}
	return false;
}

/* A device takes 1, 2, 4 or 8 bytes, naturally aligned: what is not comes in pieces. */
static uint32_t step_of(uint64_t offset, uint32_t size)
{
	uint32_t step = 8;

	while (step > size || offset % step != 0)
		step /= 2;
	return step;
}

static int region_read(const struct target *target, uint8_t *data, uint32_t size)
{
	const struct hf_device *device = &target->device->device;

	for (uint32_t done = 0; done < size;) {
		uint32_t step = step_of(target->offset + done, size - done);
		int r = device->ops->region_read(device->self, target->bar, target->offset + done,
						 data + done, step);

		if (r < 0) {
			memset(data, 0xff, size);
			return r;
		}
		done += step;
	}
	return 0;
}

static int region_write(const struct target *target, const uint8_t *data, uint32_t size)
{
	const struct hf_device *device = &target->device->device;

	for (uint32_t done = 0; done < size;) {
		uint32_t step = step_of(target->offset + done, size - done);
		int r = device->ops->region_write(device->self, target->bar, target->offset + done,
						  data + done, step);

		if (r < 0)
			return r;
		done += step;
	}
	return 0;
}

/* What a function has of an access behind the end of a BAR is nobody's: ones, or lost. */
static uint32_t within_bar(const struct target *target, uint32_t size)
{
	uint64_t left = target->device->bars[target->bar].size - target->offset;

	return left < size ? (uint32_t)left : size;
}

static void count_failure_unlocked(struct pci *pci, int r)
{
	if (r >= 0)
		return;
	(void)pthread_mutex_lock(&pci->lock);
	count_failure(pci, r);
	(void)pthread_mutex_unlock(&pci->lock);
}

static bool bar_read(struct pci *pci, bool io, uint64_t gpa, void *data, uint32_t size)
{
	struct target target;
	bool found, msix = false;

	(void)pthread_mutex_lock(&pci->lock);
	found = find(pci, io, gpa, &target);
	if (found) {
		msix = msix_covers(target.device, target.bar, target.offset);
		if (msix)
			msix_read(target.device, target.bar, target.offset, data, size);
	}
	(void)pthread_mutex_unlock(&pci->lock);
	if (!found || msix)
		return found;
	/* Without the lock: functions live as long as the vCPUs do. */
	memset(data, 0xff, size);
	count_failure_unlocked(pci, region_read(&target, data, within_bar(&target, size)));
	return true;
}

static bool bar_write(struct pci *pci, bool io, uint64_t gpa, const void *data, uint32_t size)
{
	struct target target;
	bool found, msix = false;

	(void)pthread_mutex_lock(&pci->lock);
	found = find(pci, io, gpa, &target);
	if (found) {
		msix = msix_covers(target.device, target.bar, target.offset);
		if (msix)
			count_failure(pci, msix_write(target.device, target.bar, target.offset,
						      data, size));
	}
	(void)pthread_mutex_unlock(&pci->lock);
	if (!found || msix)
		return found;
	count_failure_unlocked(pci, region_write(&target, data, within_bar(&target, size)));
	return true;
}

bool pci_mmio_read(struct pci *pci, uint64_t gpa, void *data, uint32_t size)
{
	return bar_read(pci, false, gpa, data, size);
}

bool pci_mmio_write(struct pci *pci, uint64_t gpa, const void *data, uint32_t size)
{
	return bar_write(pci, false, gpa, data, size);
}

bool pci_io_read(struct pci *pci, uint32_t port, void *data, uint32_t size)
{
	return bar_read(pci, true, port, data, size);
}

bool pci_io_write(struct pci *pci, uint32_t port, const void *data, uint32_t size)
{
	return bar_write(pci, true, port, data, size);
}

/* ---- for the machine ------------------------------------------------------------------------ */

static int interrupts_deliver(struct pci_device *device)
{
	int r = msix_vectors_update(device, true);

	if (r == 0)
		r = msi_update(device, true);
	return r == 0 ? intx_update(device) : r;
}

static int interrupts_collect(struct pci_device *device)
{
	int r = vectors_collect(device, &device->msix.vectors);

	if (r == 0)
		r = vectors_collect(device, &device->msi.vectors);
	return r == 0 ? intx_collect(device) : r;
}

static int interrupts_all(struct pci *pci, bool connected, int (*each)(struct pci_device *device),
			  const char *what, struct hf_error *err)
{
	int r = 0;

	(void)pthread_mutex_lock(&pci->lock);
	pci->connected = connected;
	for (uint32_t i = 0; i < pci->device_count && r == 0; i++) {
		r = each(pci->devices[i]);
		if (r < 0)
			r = fail(err, HF_E_MACHINE_STATE, -r, "device %s: %s its interrupts",
				 pci->devices[i]->name, what);
	}
	(void)pthread_mutex_unlock(&pci->lock);
	return r;
}

int pci_interrupts_deliver(struct pci *pci, struct hf_error *err)
{
	return interrupts_all(pci, true, interrupts_deliver, "connecting", err);
}

int pci_interrupts_settle(struct pci *pci, struct hf_error *err)
{
	return interrupts_all(pci, false, interrupts_collect, "settling", err);
}

struct pci_failure pci_failure(struct pci *pci, uint32_t device, enum pci_failure_of of)
{
	struct pci_failure failure;

	(void)pthread_mutex_lock(&pci->lock);
	failure = pci->devices[device]->failures[of];
	(void)pthread_mutex_unlock(&pci->lock);
	return failure;
}

struct pci_p2p_refusal pci_p2p_refusal(struct pci *pci)
{
	struct pci_p2p_refusal refusal;

	(void)pthread_mutex_lock(&pci->lock);
	refusal = pci->p2p_refusal;
	(void)pthread_mutex_unlock(&pci->lock);
	return refusal;
}

uint64_t pci_failed_accesses(struct pci *pci)
{
	uint64_t count;

	(void)pthread_mutex_lock(&pci->lock);
	count = pci->failed_accesses;
	(void)pthread_mutex_unlock(&pci->lock);
	return count;
}

void pci_save(struct pci *pci, struct writer *writer)
{
	(void)pthread_mutex_lock(&pci->lock);
	put_u32(writer, pci->address);
	put_u32(writer, pci->device_count);
	(void)pthread_mutex_unlock(&pci->lock);
}

int pci_load(struct pci *pci, struct reader *reader)
{
	uint32_t address = take_u32(reader);
	uint32_t count = take_u32(reader);

	if (!reader_complete(reader) || count != pci->device_count)
		return -EPROTO;
	(void)pthread_mutex_lock(&pci->lock);
	pci->address = address;
	(void)pthread_mutex_unlock(&pci->lock);
	return 0;
}
