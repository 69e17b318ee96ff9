/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What travels beside a device's own stream (no driver has it there): the configuration that the
 * guest sees, where its BARs are and who reaches them, MSI-X table, masks and pending interrupts.
 * Also what a function is, for describe() and check().
 *
 * Loading is what a driver in the guest would do, on a device that stands in STOP: COMMAND, BARs,
 * then interrupts.
 */
#include "pci-device.h"

#include <errno.h>

#include "fail.h"

#define LAYOUT_VERSION 3u
#define HINTS_MAX 64u
#define CAP_EXPRESS 0x10u

/* ---- describe and check --------------------------------------------------------------------- */

/*
 * The messages of the first vectors go along as a hint: most guests never change them, and then the
 * target has its routes before the guest stands still. Setting one can take long on a busy host.
 */
static void put_hints(const struct msix *msix, struct writer *writer)
{
	uint32_t count = msix->count < HINTS_MAX ? msix->count : HINTS_MAX;

	put_u32(writer, count);
	for (uint32_t i = 0; i < count; i++) {
		put_u32(writer, msix->vectors.vector[i].address_low);
		put_u32(writer, msix->vectors.vector[i].address_high);
		put_u32(writer, msix->vectors.vector[i].data);
	}
}

/* A BAR's size is 4 at least: room for what else must be equal. */
static uint64_t kind_of(const struct bar *bar)
{
	return bar->size | (bar->wide ? 1 : 0) | (bar->io ? 2 : 0);
}

static void put_function(const struct pci_device *device, struct writer *writer)
{
	put(writer, device->ids, sizeof(device->ids));
	put_u32(writer, device->msix.count);
	put_u32(writer, device->msi.vectors.count);
	put_u32(writer, device->intx.present ? 1 : 0);
	for (uint32_t i = 0; i < PCI_BARS; i++)
		put_u64(writer, kind_of(&device->bars[i]));
	put_hints(&device->msix, writer);
}

void pci_describe(struct pci *pci, struct writer *writer)
{
	(void)pthread_mutex_lock(&pci->lock); /* a plain mutex, not ours yet: cannot fail */
	put_u32(writer, pci->device_count);
	for (uint32_t i = 0; i < pci->device_count; i++)
		put_function(pci->devices[i], writer);
	(void)pthread_mutex_unlock(&pci->lock);
}

/* A route to a GSI that no eventfd is attached to does nothing. */
static int take_hints(const struct pci_device *device, struct reader *reader, bool *ret_changed)
{
	uint32_t count = take_u32(reader);

	if (count > HINTS_MAX || count > device->msix.count)
		return -EPROTO;
	for (uint32_t i = 0; i < count; i++) {
		struct irq_message message;
		uint32_t low = take_u32(reader);

		message.address = (uint64_t)take_u32(reader) << 32 | low;
		message.data = take_u32(reader);
		if (low != 0 && !reader->bad &&
		    irq_route(device->pci->irq, device->msix.vectors.vector[i].gsi, &message))
			*ret_changed = true;
	}
	return 0;
}

static int check_function(const struct pci_device *device, struct reader *reader, bool *ret_changed,
			  struct hf_error *err)
{
	const uint16_t *here = device->ids;
	uint16_t ids[2];
	uint32_t vectors, pins;

	take(reader, ids, sizeof(ids));
	if (ids[0] != here[0] || ids[1] != here[1])
		return fail(err, HF_E_MISMATCH, 0,
			    "device %s is a %04x:%04x at the source and a %04x:%04x at the target",
			    device->name, ids[0], ids[1], here[0], here[1]);
	vectors = take_u32(reader);
	if (vectors != device->msix.count)
		return fail(err, HF_E_MISMATCH, 0,
			    "device %s has %u MSI-X vectors at the source and %u at the target",
			    device->name, vectors, device->msix.count);
	vectors = take_u32(reader);
	if (vectors != device->msi.vectors.count)
		return fail(err, HF_E_MISMATCH, 0,
			    "device %s has %u MSI vectors at the source and %u at the target",
			    device->name, vectors, device->msi.vectors.count);
	pins = take_u32(reader);
	if (pins != (device->intx.present ? 1 : 0))
		return fail(err, HF_E_MISMATCH, 0,
			    "device %s has %s interrupt pin at the source and %s at the target",
			    device->name, pins != 0 ? "an" : "no",
			    device->intx.present ? "one" : "none");
	for (uint32_t i = 0; i < PCI_BARS; i++) {
		uint64_t size = take_u64(reader);
		uint64_t size_here = kind_of(&device->bars[i]);

		if (size != size_here)
			return fail(
				err, HF_E_MISMATCH, 0,
				"device %s, BAR %u: %ju bytes at the source and %ju at the target",
				device->name, i, (uintmax_t)(size & ~3ull),
				(uintmax_t)(size_here & ~3ull));
	}
	if (take_hints(device, reader, ret_changed) < 0)
		return fail(err, HF_E_MISMATCH, 0, "device %s: its vectors cannot be read",
			    device->name);
	return 0;
}

static int check_functions(struct pci *pci, struct reader *reader, struct hf_error *err)
{
	uint32_t count = take_u32(reader);
	bool changed = false;
	int r = 0;

	if (count != pci->device_count)
		return fail(err, HF_E_MISMATCH, 0,
			    "%u PCI devices at the source and %u at the target", count,
			    pci->device_count);
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = check_function(pci->devices[i], reader, &changed, err);
	if (r != 0 || !changed)
		return r;
	r = irq_routes_push(pci->irq);
	return r < 0 ? fail(err, HF_E_MACHINE_STATE, -r, "setting interrupt routes") : 0;
}

int pci_check(struct pci *pci, struct reader *reader, struct hf_error *err)
{
	int r;

	(void)pthread_mutex_lock(&pci->lock);
	r = check_functions(pci, reader, err);
	(void)pthread_mutex_unlock(&pci->lock);
	return r;
}

/* ---- saving --------------------------------------------------------------------------------- */

static int save(struct pci_device *device, struct writer *writer)
{
	uint8_t config[PCI_CONFIG_SIZE];
	const struct msix *msix = &device->msix;
	int r = vectors_collect(device, &device->msix.vectors);

	if (r == 0)
		r = vectors_collect(device, &device->msi.vectors);
	if (r == 0)
		r = intx_collect(device);
	if (r == 0)
		r = pci_config_read(device, 0, config, sizeof(config));
	if (r < 0)
		return r;
	msi_hide_pending(device, config);
	put_u32(writer, LAYOUT_VERSION);
	put(writer, config, sizeof(config));
	for (uint32_t i = 0; i < PCI_BARS; i++) {
		put_u64(writer, device->bars[i].mapped_gpa);
		put_u32(writer, pieces_reached(&device->bars[i], false));
	}
	put_u32(writer, msix->count);
	for (uint32_t i = 0; i < msix->count; i++) {
		const struct vector *vector = &msix->vectors.vector[i];

		put_u32(writer, vector->address_low);
		put_u32(writer, vector->address_high);
		put_u32(writer, vector->data);
		put_u32(writer, vector->masked ? 1 : 0);
		put_u32(writer, vector->pending ? 1 : 0);
	}
	put_u32(writer, device->msi.vectors.count);
	for (uint32_t i = 0; i < device->msi.vectors.count; i++)
		put_u32(writer, device->msi.vectors.vector[i].pending ? 1 : 0);
	put_u32(writer, device->intx.pending ? 1 : 0);
	return writer->overflow ? -EMSGSIZE : 0;
}

int pci_device_save(struct pci *pci, uint32_t index, struct writer *writer, struct hf_error *err)
{
	int r;

	if (index >= pci->device_count)
		return fail(err, HF_E_INVALID, 0, "there is no device %u", index);
	(void)pthread_mutex_lock(&pci->lock); /* a plain mutex, not ours yet: cannot fail */
	r = save(pci->devices[index], writer);
	(void)pthread_mutex_unlock(&pci->lock);
	return r < 0 ? fail(err, HF_E_DEVICE_CONFIG, -r, "saving the configuration of device %s",
			    pci->devices[index]->name)
		     : 0;
}

/* ---- loading -------------------------------------------------------------------------------- */

/* Emulated bytes: those that the guest can change are set, the others must be the same here. */
static int load_emulated(struct pci_device *device, const uint8_t *config, struct hf_error *err)
{
	for (uint32_t i = 0; i < PCI_CONFIG_SIZE; i++) {
		uint8_t writable = device->writable[i];

		if (device->emulated[i] == 0)
			continue;
		if (((device->config[i] ^ config[i]) & ~writable) != 0)
			return fail(err, HF_E_DEVICE_CONFIG, 0,
				    "configuration byte 0x%02x is 0x%02x at the source and 0x%02x "
				    "at the target",
				    i, config[i], device->config[i]);
	}
	for (uint32_t i = 0; i < PCI_CONFIG_SIZE; i++)
		if (device->emulated[i] != 0)
			device->config[i] = config[i];
	return 0;
}

/* One of the device's own registers: written if it differs, and then it must not differ. */
static int load_own(struct pci_device *device, const uint8_t *config, uint32_t offset,
		    uint32_t size, struct hf_error *err)
{
	uint8_t now[4];
	int r = pci_config_read(device, offset, now, size);

	if (r == 0 && memcmp(now, config + offset, size) == 0)
		return 0;
	if (r == 0)
		r = pci_config_write(device, offset, config + offset, size);
	if (r == 0)
		r = pci_config_read(device, offset, now, size);
	if (r < 0 || memcmp(now, config + offset, size) != 0)
		return fail(err, HF_E_DEVICE_CONFIG, r < 0 ? -r : 0,
			    "the register at 0x%02x could not be set", offset);
	return 0;
}

/*
 * What a guest may have changed in the device itself. Not status registers, whose ones are cleared
 * by writing ones, and not the link's, which belongs to the host.
 */
static int load_owns(struct pci_device *device, const uint8_t *config, struct hf_error *err)
{
	uint32_t express = 0;
	int r = pci_capability(device, CAP_EXPRESS, &express);

	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its capabilities cannot be read");

	if (memcmp(config, device->ids, sizeof(device->ids)) != 0)
		return fail(err, HF_E_DEVICE_CONFIG, 0, "it is another device at the source");
	r = load_own(device, config, 0x0c, 2, err); /* cache line size, latency timer */
	if (r == 0 && device->power.control != 0)
		r = load_own(device, config, device->power.control, 1, err);
	if (r == 0 && express != 0 && express <= PCI_CONFIG_SIZE - 0x2c) {
		r = load_own(device, config, express + 0x08, 2, err); /* device control */
		if (r == 0 && (config[express + 2] & 0xf) >= 2)
			r = load_own(device, config, express + 0x28, 2, err); /* and 2 */
	}
	return r;
}

/*
 * Whoever reached a BAR at the source by DMA must reach it here, or that would end in nothing. The
 * bits are the peer's: there may be no such device.
 */
static int check_reach(const struct pci *pci, uint32_t index, const struct bar *bar, uint32_t p2p,
		       struct hf_error *err)
{
	uint32_t missing = p2p & ~pieces_reached(bar, true);
	uint32_t first = missing != 0 ? (uint32_t)__builtin_ctz(missing) : 0;

	if (missing == 0)
		return 0;
	return fail(err, HF_E_DEVICE_CONFIG, 0,
		    "device %s cannot reach BAR %u, and could at the source",
		    first < pci->device_count ? pci->devices[first]->name : "(none)", index);
}

static int check_bars(const struct pci_device *device, struct reader *reader, struct hf_error *err)
{
	for (uint32_t i = 0; i < PCI_BARS; i++) {
		const struct bar *bar = &device->bars[i];
		uint64_t gpa = take_u64(reader);
		int r;

		if (gpa != bar->mapped_gpa)
			return fail(err, HF_E_DEVICE_CONFIG, 0,
				    "BAR %u is decoded at 0x%jx at the source and at 0x%jx at the "
				    "target",
				    i, (uintmax_t)gpa, (uintmax_t)bar->mapped_gpa);
		r = check_reach(device->pci, i, bar, take_u32(reader), err);
		if (r != 0)
			return r;
	}
	return 0;
}

/* Devices that are still to be loaded stand where they were expected, perhaps in the way. */
static int make_way(struct pci_device *device)
{
	struct pci *pci = device->pci;

	device->expected = false;
	for (uint32_t i = 0; i < pci->device_count; i++) {
		struct pci_device *other = pci->devices[i];
		int r;

		if (!other->expected || !bars_collide(device, other))
			continue;
		other->expected = false;
		r = bars_unmap(other);
		if (r < 0)
			return r;
	}
	return 0;
}

static int load_vectors(struct pci_device *device, struct reader *reader, struct hf_error *err)
{
	struct msix *msix = &device->msix;
	uint32_t count = take_u32(reader);
	bool pending;
	int r;

	if (count != msix->count)
		return fail(err, HF_E_DEVICE_CONFIG, 0,
			    "%u MSI-X vectors at the source and %u at the target", count,
			    msix->count);
	for (uint32_t i = 0; i < count; i++) {
		struct vector *vector = &msix->vectors.vector[i];

		vector->address_low = take_u32(reader);
		vector->address_high = take_u32(reader);
		vector->data = take_u32(reader);
		vector->masked = take_u32(reader) & 1;
		vector->pending = take_u32(reader) != 0;
	}
	count = take_u32(reader);
	if (count != device->msi.vectors.count)
		return fail(err, HF_E_DEVICE_CONFIG, 0,
			    "%u MSI vectors at the source and %u at the target", count,
			    device->msi.vectors.count);
	for (uint32_t i = 0; i < count; i++)
		device->msi.vectors.vector[i].pending = take_u32(reader) != 0;
	pending = take_u32(reader) != 0;
	if (!reader_complete(reader))
		return fail(err, HF_E_DEVICE_CONFIG, 0, "the configuration has the wrong length");
	/* What is pending goes out when the vCPUs run: their LAPICs may not be loaded yet. */
	r = intx_release(device);
	if (r == 0)
		r = msix_control_update(device, false);
	if (r == 0)
		r = msi_update(device, false);
	device->intx.pending = pending;
	if (r == 0)
		r = intx_update(device);
	return r < 0 ? fail(err, HF_E_DEVICE_CONFIG, -r, "its interrupt vectors") : 0;
}

static int load(struct pci_device *device, struct reader *reader, struct hf_error *err)
{
	uint32_t version = take_u32(reader);
	const uint8_t *config = take_space(reader, PCI_CONFIG_SIZE);
	int r;

	if (config == NULL || version != LAYOUT_VERSION)
		return fail(err, HF_E_DEVICE_CONFIG, 0, "layout %u of the configuration", version);
	r = load_emulated(device, config, err);
	if (r == 0)
		r = load_owns(device, config, err);
	if (r != 0)
		return r;
	r = pci_command_forward(device);
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its COMMAND register");
	r = make_way(device);
	if (r == 0)
		r = bars_update(device);
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "mapping its BARs");
	r = check_bars(device, reader, err);
	return r != 0 ? r : load_vectors(device, reader, err);
}

int pci_device_load(struct pci *pci, uint32_t index, struct reader *reader, struct hf_error *err)
{
	int r;

	if (index >= pci->device_count)
		return fail(err, HF_E_INVALID, 0, "there is no device %u", index);
	(void)pthread_mutex_lock(&pci->lock);
	r = load(pci->devices[index], reader, err);
	(void)pthread_mutex_unlock(&pci->lock);
	if (r != 0)
		(void)fail_prefix(err, "device %s", pci->devices[index]->name);
	return r;
}
