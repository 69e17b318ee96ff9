/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The BARs of one function: where they are, what the guest reaches without a trap (memory slots
 * without dirty logging: what is in a BAR is the device's state, not memory), and what the other
 * devices reach by DMA (peer to peer).
 */
#include "pci-device.h"

#include <errno.h>

#include "fail.h"

#define BAR_IO 1u
#define BAR_WIDE 4u
#define BAR_PREFETCHABLE 8u
#define LOW_SIZE_MAX (512ull << 20) /* greater ones go above 4 GiB, if they can */

static uint64_t round_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

/* ---- set-up --------------------------------------------------------------------------------- */

static bool size_ok(uint64_t size, bool io)
{
	return (size & (size - 1)) == 0 && (io ? size >= 4 && size <= 256 : size >= 16);
}

/* There is no firmware: BARs get their addresses here, before the guest runs. */
static int assign(struct pci *pci, struct bar *bar, struct hf_error *err)
{
	uint64_t size = bar->size > HF_PAGE_SIZE ? bar->size : HF_PAGE_SIZE;
	uint64_t low = round_up(pci->low_next, size);
	uint64_t high = round_up(pci->high_next, size);
	uint64_t port = round_up(pci->io_next, bar->size);

	if (bar->io && port <= PCI_IO_END - bar->size) {
		bar->gpa = port;
		pci->io_next = (uint32_t)(port + bar->size);
		return 0;
	}
	if (bar->io)
		return fail(err, HF_E_UNSUPPORTED, 0, "no room for %ju ports",
			    (uintmax_t)bar->size);
	if ((!bar->wide || size <= LOW_SIZE_MAX) && low <= PCI_MMIO_END &&
	    size <= PCI_MMIO_END - low) {
		bar->gpa = low;
		pci->low_next = low + size;
		return 0;
	}
	if (bar->wide && high <= pci->high_end && size <= pci->high_end - high) {
		bar->gpa = high;
		pci->high_next = high + size;
		return 0;
	}
	return fail(err, HF_E_UNSUPPORTED, 0, "no room for a BAR of %ju bytes",
		    (uintmax_t)bar->size);
}

static int bar_new(struct pci_device *device, uint32_t index, bool *ret_wide, struct hf_error *err)
{
	const struct hf_device_ops *ops = device->device.ops;
	struct bar *bar = &device->bars[index];
	struct hf_region_info info;
	uint32_t at = PCI_BAR0 + 4 * index;
	uint32_t flags;
	int r;

	r = ops->region_info(device->device.self, index, &info);
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "BAR %u cannot be asked for", index);
	r = ops->region_read(device->device.self, REGION_CONFIG, at, &flags, sizeof(flags));
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "BAR %u cannot be read", index);
	if (info.size == 0) {
		pci_config_emulate(device, at, 4, 0, 0);
		return 0;
	}
	bar->io = (flags & BAR_IO) != 0;
	if (!size_ok(info.size, bar->io))
		return fail(err, HF_E_UNSUPPORTED, 0, "BAR %u has %ju %s, which no BAR can", index,
			    (uintmax_t)info.size, bar->io ? "ports" : "bytes");
	bar->size = info.size;
	if (bar->io) {
		r = assign(device->pci, bar, err);
		if (r == 0)
			pci_config_emulate(device, at, 4, (uint32_t)bar->gpa | BAR_IO,
					   (uint32_t) ~(info.size - 1) & 0xfffcu);
		return r;
	}
	bar->wide = (flags & BAR_WIDE) != 0;
	bar->prefetchable = (flags & BAR_PREFETCHABLE) != 0;
	if (bar->wide && index + 1 == PCI_BARS)
		return fail(err, HF_E_DEVICE_CONFIG, 0, "BAR %u has no upper half", index);
	r = assign(device->pci, bar, err);
	if (r != 0)
		return r;
	pci_config_emulate(device, at, 4, (uint32_t)bar->gpa | (flags & 0xfu),
			   (uint32_t) ~(info.size - 1) & ~0xfu);
	if (bar->wide)
		pci_config_emulate(device, at + 4, 4, (uint32_t)(bar->gpa >> 32),
				   (uint32_t)(~(info.size - 1) >> 32));
	*ret_wide = bar->wide;
	pieces_new(device, index, &info);
	return 0;
}

int bars_new(struct pci_device *device, struct hf_error *err)
{
	for (uint32_t i = 0; i < PCI_BARS; i++) {
		bool wide = false;
		int r = bar_new(device, i, &wide, err);

		if (r != 0)
			return r;
		if (wide)
			i++; /* the next one is this one's upper half */
	}
	return 0;
}

void bars_free(struct pci_device *device)
{
	(void)bars_unmap(device); /* what fails now ends with the VM */
	for (uint32_t i = 0; i < PCI_BARS; i++)
		pieces_free(&device->bars[i]);
}

/* ---- decoding ------------------------------------------------------------------------------- */

/*
 * Devices that cannot reach a peer's BAR say so here: an IOAS of iommufd takes no BAR of a kernel
 * device. The guest does not learn it, as on a PC whose bridges do not forward; the operator does,
 * once. What counts is that a guest that has it at the source has it at the target, too, and
 * pci-state.c checks that.
 */
static void p2p_refused(struct pci *pci, uint32_t device, uint32_t peer, int error)
{
	pci->p2p_refusal =
		(struct pci_p2p_refusal){ pci->p2p_refusal.count + 1, device, peer, error };
	pci_news(pci);
}

static void p2p_map(struct pci_device *device, const struct bar *bar, struct bar_piece *piece)
{
	struct pci *pci = device->pci;

	for (uint32_t i = 0; i < pci->device_count; i++) {
		const struct hf_device *other = &pci->devices[i]->device;
		int r;

		if (i == device->index || (piece->p2p & (1u << i)) != 0)
			continue;
		r = other->ops->dma_map(other->self, bar->mapped_gpa + piece->offset, piece->size,
					piece->host, piece->fd, piece->fd_offset,
					HF_DMA_READ | HF_DMA_WRITE | HF_DMA_P2P);
		if (r >= 0)
			piece->p2p |= 1u << i;
		else
			p2p_refused(pci, i, device->index, -r);
	}
}

static int p2p_unmap(struct pci_device *device, const struct bar *bar, struct bar_piece *piece)
{
	struct pci *pci = device->pci;
	int first = 0;

	for (uint32_t i = 0; i < pci->device_count; i++) {
		const struct hf_device *other = &pci->devices[i]->device;
		int r;

		if ((piece->p2p & (1u << i)) == 0)
			continue;
		r = other->ops->dma_unmap(other->self, bar->mapped_gpa + piece->offset,
					  piece->size);
		if (r < 0 && first == 0)
			first = r;
	}
	piece->p2p = 0;
	return first;
}

static bool any_mapped(const struct bar *bar)
{
	for (uint32_t i = 0; i < bar->piece_count; i++)
		if (bar->pieces[i].mapped)
			return true;
	return false;
}

static bool all_mapped(const struct bar *bar)
{
	for (uint32_t i = 0; i < bar->piece_count; i++)
		if (!bar->pieces[i].mapped)
			return false;
	return true;
}

static int bar_unmap(struct pci_device *device, uint32_t index)
{
	struct bar *bar = &device->bars[index];
	int first = 0;

	if (bar->mapped_gpa == 0)
		return 0;
	for (uint32_t i = 0; i < bar->piece_count; i++) {
		int r = p2p_unmap(device, bar, &bar->pieces[i]);

		if (first == 0)
			first = r;
		if (!bar->pieces[i].mapped)
			continue;
		r = vm_slot_set(device->pci->vm, bar->pieces[i].slot,
				bar->mapped_gpa + bar->pieces[i].offset, 0, NULL);
		if (r == 0)
			bar->pieces[i].mapped = false;
		if (first == 0)
			first = r;
	}
	if (!any_mapped(bar))
		bar->mapped_gpa = 0;
	if (first < 0)
		pci_failed(device, FAILURE_OF_BARS, index, -first);
	return first;
}

/* Also what is left of one that is mapped there in part. What is not mapped traps. */
static int bar_map(struct pci_device *device, uint32_t index, uint64_t gpa)
{
	struct bar *bar = &device->bars[index];
	int first = 0;

	bar->mapped_gpa = gpa;
	for (uint32_t i = 0; i < bar->piece_count; i++) {
		struct bar_piece *piece = &bar->pieces[i];
		int r = 0;

		if (!piece->mapped)
			r = vm_slot_set(device->pci->vm, piece->slot, gpa + piece->offset,
					piece->size, piece->host);
		if (r == 0)
			piece->mapped = true;
		else if (first == 0)
			first = r;
		p2p_map(device, bar, piece);
	}
	if (first < 0)
		pci_failed(device, FAILURE_OF_BARS, index, -first);
	return first;
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a <= b ? b - a < a_size : a - b < b_size; /* sums could wrap */
}

static bool free_for(const struct pci *pci, const struct bar *bar, uint64_t gpa)
{
	for (uint32_t i = 0; i < pci->device_count; i++)
		for (uint32_t j = 0; j < PCI_BARS; j++) {
			const struct bar *other = &pci->devices[i]->bars[j];

			if (other != bar && other->io == bar->io && other->mapped_gpa != 0 &&
			    overlaps(gpa, bar->size, other->mapped_gpa, other->size))
				return false;
		}
	return true;
}

/*
 * Where a BAR may be decoded. While the guest sizes a BAR, or writes its halves, it passes through
 * addresses that are none: those are not decoded.
 */
static bool allowed(const struct pci *pci, const struct bar *bar, uint64_t gpa)
{
	bool port = gpa >= PCI_IO_LOWEST && gpa <= PCI_IO_END - bar->size;
	bool low = gpa >= MEMORY_HOLE_GPA && gpa < PCI_MMIO_END && bar->size <= PCI_MMIO_END - gpa;
	bool high = gpa >= MEMORY_HIGH_GPA && gpa >= memory_end(pci->memory) &&
		    gpa < pci->high_end && bar->size <= pci->high_end - gpa;

	return (bar->io ? port : low || high) && free_for(pci, bar, gpa);
}

static void read_register(struct pci_device *device, uint32_t index)
{
	struct bar *bar = &device->bars[index];

	bar->gpa = pci_config_u32(device, PCI_BAR0 + 4 * index) & (bar->io ? 0xfffcu : ~0xfu);
	if (bar->wide)
		bar->gpa |= (uint64_t)pci_config_u32(device, PCI_BAR0 + 4 * index + 4) << 32;
}

bool bars_collide(struct pci_device *device, const struct pci_device *other)
{
	for (uint32_t i = 0; i < PCI_BARS; i++) {
		const struct bar *bar = &device->bars[i];

		if (bar->size == 0)
			continue;
		read_register(device, i);
		for (uint32_t j = 0; j < PCI_BARS; j++)
			if (other->bars[j].mapped_gpa != 0 && other->bars[j].io == bar->io &&
			    overlaps(bar->gpa, bar->size, other->bars[j].mapped_gpa,
				     other->bars[j].size))
				return true;
	}
	return false;
}

/* Where the BAR is to be decoded; 0: nowhere. */
static uint64_t wanted_gpa(struct pci_device *device, uint32_t index)
{
	const struct bar *bar = &device->bars[index];
	uint16_t enable = bar->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	bool decode = (pci_config_u16(device, PCI_COMMAND) & enable) != 0;

	read_register(device, index);
	return decode && power_on(device) && allowed(device->pci, bar, bar->gpa) ? bar->gpa : 0;
}

int bars_update(struct pci_device *device)
{
	int first = 0;

	/* Away before anything comes: one BAR may go where another one was. */
	for (uint32_t i = 0; i < PCI_BARS; i++) {
		struct bar *bar = &device->bars[i];
		int r = 0;

		if (bar->size != 0 && bar->mapped_gpa != wanted_gpa(device, i))
			r = bar_unmap(device, i);
		if (first == 0)
			first = r;
	}
	for (uint32_t i = 0; i < PCI_BARS; i++) {
		const struct bar *bar = &device->bars[i];
		uint64_t gpa = bar->size != 0 ? wanted_gpa(device, i) : 0;
		int r = 0;

		if (gpa != 0 &&
		    (bar->mapped_gpa == 0 || (bar->mapped_gpa == gpa && !all_mapped(bar))))
			r = bar_map(device, i, gpa);
		if (first == 0)
			first = r;
	}
	return first;
}

uint16_t bars_decoded(const struct pci_device *device)
{
	uint16_t command = 0;

	for (uint32_t i = 0; i < PCI_BARS; i++)
		if (device->bars[i].mapped_gpa != 0)
			command |= device->bars[i].io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	return command;
}

int bars_unmap(struct pci_device *device)
{
	int first = 0;

	for (uint32_t i = 0; i < PCI_BARS; i++) {
		int r = bar_unmap(device, i);

		if (first == 0)
			first = r;
	}
	return first;
}
