/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MSI-X vectors of one function (PCI 3.0, 6.8.2). Table and pending bits are ours; the device
 * only signals eventfds. While a vector is enabled and unmasked, KVM takes its eventfd's counts
 * (irqfd); while it is not, they stay in the eventfd and show as the pending bit.
 */
#include "pci-device.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

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
	msix->vectors = calloc(msix->count, sizeof(*msix->vectors));
	if (msix->vectors == NULL)
		return fail(err, HF_E_NO_MEMORY, ENOMEM, "%u vectors", msix->count);
	for (uint32_t i = 0; i < msix->count; i++)
		msix->vectors[i] = (struct msix_vector){ .eventfd = -1, .control = VECTOR_MASKED };
	r = irq_messages_new(device->pci->irq, msix->count);
	if (r < 0)
		return fail(err, HF_E_UNSUPPORTED, -r, "%u more interrupt vectors", msix->count);
	for (uint32_t i = 0; i < msix->count; i++) {
		msix->vectors[i].gsi = (uint32_t)r + i;
		msix->vectors[i].eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (msix->vectors[i].eventfd < 0)
			return fail(err, HF_E_SYSTEM, errno, "eventfd for vector %u", i);
	}
	return 0;
}

void msix_free(struct pci_device *device)
{
	struct msix *msix = &device->msix;

	if (msix->vectors == NULL)
		return;
	if (msix->armed)
		(void)device->device.ops->irqs_set(device->device.self, IRQ_INDEX_MSIX, 0, NULL);
	for (uint32_t i = 0; i < msix->count; i++)
		if (msix->vectors[i].eventfd >= 0)
			(void)close(msix->vectors[i].eventfd); /* by that KVM lets go of it */
	free(msix->vectors);
	msix->vectors = NULL;
}

/* Counts that are in the eventfd become the pending bit. Only while nobody is attached. */
static int drain(struct msix_vector *vector)
{
	uint64_t count;

	if (read(vector->eventfd, &count, sizeof(count)) == (ssize_t)sizeof(count)) {
		vector->pending = true;
		return 0;
	}
	return errno == EAGAIN ? 0 : -errno;
}

static bool live(const struct msix *msix, const struct msix_vector *vector)
{
	return msix->enabled && !msix->masked && (vector->control & VECTOR_MASKED) == 0;
}

static struct irq_message message_of(const struct msix_vector *vector)
{
	return (struct irq_message){
		.address = (uint64_t)vector->address_high << 32 | vector->address_low,
		.data = vector->data,
	};
}

static int detach(struct irq *irq, struct msix_vector *vector)
{
	int r = irq_eventfd_detach(irq, vector->eventfd, vector->gsi);

	if (r == 0)
		vector->attached = false;
	return r;
}

/*
 * What is in the eventfd becomes pending. What comes between that and attaching, KVM raises, and
 * leaves in the eventfd, where it would look like another one later: so that is thrown away.
 */
static int attach(struct irq *irq, struct msix_vector *vector)
{
	uint64_t count;
	int r = drain(vector);

	if (r == 0)
		r = irq_eventfd_attach(irq, vector->eventfd, vector->gsi);
	if (r == 0) {
		vector->attached = true;
		(void)!read(vector->eventfd, &count, sizeof(count)); /* EAGAIN: as it should be */
	}
	return r;
}

static int vector_update(struct pci_device *device, struct msix_vector *vector, bool deliver)
{
	struct irq *irq = device->pci->irq;
	const struct irq_message message = message_of(vector);
	bool wanted = live(&device->msix, vector);
	int r = 0;

	if (vector->attached && !wanted)
		return detach(irq, vector);
	if (!vector->attached && wanted)
		r = attach(irq, vector);
	if (r == 0 && wanted && deliver && vector->pending) {
		r = irq_message_send(irq, &message);
		if (r == 0)
			vector->pending = false;
	}
	return r;
}

/* The routes of vectors [first, first + count) that are live, as their messages say. */
static int routes_update(struct pci_device *device, uint32_t first, uint32_t count)
{
	struct irq *irq = device->pci->irq;
	bool changed = false;

	for (uint32_t i = first; i < first + count; i++) {
		const struct msix_vector *vector = &device->msix.vectors[i];
		const struct irq_message message = message_of(vector);

		if (live(&device->msix, vector) && irq_route(irq, vector->gsi, &message))
			changed = true;
	}
	return changed ? irq_routes_push(irq) : 0;
}

static int range_update(struct pci_device *device, uint32_t first, uint32_t count, bool deliver)
{
	int result = routes_update(device, first, count);

	for (uint32_t i = first; i < first + count && result == 0; i++)
		result = vector_update(device, &device->msix.vectors[i], deliver);
	return result;
}

int msix_vectors_update(struct pci_device *device, bool deliver)
{
	return range_update(device, 0, device->msix.count, deliver);
}

/* Give the device all eventfds at once: it cannot be said to be able to take more later. */
static int arm(struct pci_device *device)
{
	struct msix *msix = &device->msix;
	int *fds;
	int r;

	fds = calloc(msix->count, sizeof(*fds));
	if (fds == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < msix->count; i++)
		fds[i] = msix->vectors[i].eventfd;
	r = device->device.ops->irqs_set(device->device.self, IRQ_INDEX_MSIX, msix->count, fds);
	free(fds);
	if (r >= 0)
		msix->armed = true;
	return r < 0 ? r : 0;
}

static int disarm(struct pci_device *device)
{
	struct msix *msix = &device->msix;
	int r = device->device.ops->irqs_set(device->device.self, IRQ_INDEX_MSIX, 0, NULL);

	if (r < 0)
		return r;
	msix->armed = false;
	for (uint32_t i = 0; i < msix->count; i++) {
		r = drain(&msix->vectors[i]);
		if (r < 0)
			return r;
		msix->vectors[i].pending = false; /* disabled: what came is void */
	}
	return 0;
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
	msix->masked = (control & CONTROL_MASK) != 0;
	if (msix->enabled && !msix->armed)
		r = arm(device);
	if (r == 0)
		r = msix_vectors_update(device, deliver);
	if (r == 0 && !msix->enabled && msix->armed)
		r = disarm(device);
	return r;
}

/*
 * Does KVM deliver this message within the device's own signal? It does for a fixed, edge-triggered
 * message to one LAPIC by its physical id (kvm_irq_delivery_to_apic_fast()); others it may leave to
 * a worker of its own.
 */
static bool delivered_at_once(const struct msix_vector *vector)
{
	const uint32_t address_mask = 0xfff0000cu; /* not: redirection hint, logical destination */
	const uint32_t data_mask = 0x8700u; /* not: level-triggered, another delivery mode */
	uint32_t destination = vector->address_low >> 12 & 0xff;

	return vector->address_high == 0 && (vector->address_low & address_mask) == 0xfee00000u &&
	       destination != 0xff && (vector->data & data_mask) == 0;
}

/*
 * Only detaching waits for KVM's worker, and can take seconds on a busy host, so it is done only
 * where it is needed. Who is detached is attached again when the vCPUs run.
 */
int msix_collect(struct pci_device *device)
{
	struct msix *msix = &device->msix;

	for (uint32_t i = 0; i < msix->count; i++) {
		struct msix_vector *vector = &msix->vectors[i];
		int r = 0;

		if (vector->attached && !delivered_at_once(vector))
			r = detach(device->pci->irq, vector);
		if (r == 0 && !vector->attached)
			r = drain(vector);
		if (r < 0)
			return r;
	}
	return 0;
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
	const struct msix_vector *vector = &msix->vectors[at / ENTRY_SIZE];
	const uint32_t words[4] = { vector->address_low, vector->address_high, vector->data,
				    vector->control };

	return (uint8_t)(words[at % ENTRY_SIZE / 4] >> (at % 4 * 8));
}

static uint8_t pba_byte(struct msix *msix, uint64_t at)
{
	uint8_t byte = 0;

	for (uint32_t bit = 0; bit < 8 && at * 8 + bit < msix->count; bit++) {
		struct msix_vector *vector = &msix->vectors[at * 8 + bit];

		if (!vector->attached)
			(void)drain(vector); /* an eventfd of ours: cannot fail */
		if (vector->pending)
			byte |= (uint8_t)(1u << bit);
	}
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
	struct msix_vector *vector = &device->msix.vectors[at / ENTRY_SIZE];

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
		vector->control = value & VECTOR_MASKED;
		break;
	}
	return range_update(device, (uint32_t)(at / ENTRY_SIZE), 1, true);
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
