/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the guest reaches of a BAR without a trap: what the device lets be mapped, in whole pages,
 * without those that hold the MSI-X table or its pending bits, which are ours to emulate, also
 * where the device would let them be mapped. Each piece is mapped by itself, since a device may
 * refuse a mapping that includes what lies between two. Where pieces go: pci-bar.c.
 */
#include <errno.h>
#include <sys/mman.h>

#include "pci-device.h"

struct range {
	uint64_t start, end; /* bytes, in the BAR */
};

static uint64_t page_down(uint64_t value)
{
	return value & ~(uint64_t)(HF_PAGE_SIZE - 1);
}

static uint64_t page_up(uint64_t value)
{
	return page_down(value + HF_PAGE_SIZE - 1);
}

static void insert_sorted(struct range *ranges, uint32_t count, struct range range)
{
	uint32_t at = count;

	for (; at > 0 && ranges[at - 1].start > range.start; at--)
		ranges[at] = ranges[at - 1];
	ranges[at] = range;
}

/* What the device lets be mapped, in order; areas that overlap or stick out are its own fault. */
static uint32_t mappable(const struct hf_region_info *info, struct range *ret_ranges)
{
	uint32_t count = 0;

	if ((info->flags & HF_REGION_MMAP) != 0) {
		ret_ranges[0] = (struct range){ 0, page_down(info->size) };
		return 1;
	}
	if ((info->flags & HF_REGION_MMAP_AREAS) == 0)
		return 0;
	for (uint32_t i = 0; i < info->area_count && i < HF_REGION_AREAS_MAX; i++) {
		const struct hf_region_area *area = &info->areas[i];
		struct range range;

		if (area->offset >= info->size)
			continue;
		range.start = page_up(area->offset);
		range.end = area->size < info->size - area->offset ? area->offset + area->size
								   : info->size;
		range.end = page_down(range.end);
		if (range.end > range.start)
			insert_sorted(ret_ranges, count++, range);
	}
	return count;
}

/* The pages of a BAR that trap, in order. */
static uint32_t holes_of(const struct msix *msix, uint32_t index, struct range ret_holes[2])
{
	const struct range table = { page_down(msix->table_offset),
				     page_up(msix->table_offset + msix->count * 16ull) };
	const struct range pba = { page_down(msix->pba_offset),
				   page_up(msix->pba_offset + (msix->count + 63ull) / 64 * 8) };
	uint32_t count = 0;

	if (msix->count != 0 && msix->table_bar == index)
		insert_sorted(ret_holes, count++, table);
	if (msix->count != 0 && msix->pba_bar == index)
		insert_sorted(ret_holes, count++, pba);
	return count;
}

/* What is not a piece traps; that it has to, is told. */
static void add_piece(struct pci_device *device, uint32_t index, const struct hf_region_info *info,
		      struct range range)
{
	struct bar *bar = &device->bars[index];
	void *host;

	if (range.end <= range.start || bar->piece_count == PCI_BAR_PIECES)
		return;
	host = mmap(NULL, range.end - range.start, PROT_READ | PROT_WRITE, MAP_SHARED,
		    info->mmap_fd, (off_t)(info->mmap_offset + range.start));
	if (host == MAP_FAILED) {
		bar->lacks_piece = true;
		pci_failed(device, FAILURE_OF_BARS, index, errno);
		return;
	}
	bar->pieces[bar->piece_count++] = (struct bar_piece){
		.offset = range.start,
		.size = range.end - range.start,
		.host = host,
		.fd = info->mmap_fd,
		.fd_offset = info->mmap_offset + range.start,
		.slot = MEMORY_SLOTS + device->pci->slot_count++,
	};
}

void pieces_new(struct pci_device *device, uint32_t index, const struct hf_region_info *info)
{
	struct range ranges[HF_REGION_AREAS_MAX], holes[2];
	uint32_t count = mappable(info, ranges);
	uint32_t hole_count = holes_of(&device->msix, index, holes);
	uint64_t done = 0; /* all before it is a piece, or none */

	for (uint32_t i = 0; i < count; i++) {
		if (ranges[i].start > done)
			done = ranges[i].start;
		for (uint32_t j = 0; j < hole_count; j++) {
			if (holes[j].end <= done || holes[j].start >= ranges[i].end)
				continue;
			add_piece(device, index, info, (struct range){ done, holes[j].start });
			done = holes[j].end;
		}
		add_piece(device, index, info, (struct range){ done, ranges[i].end });
		if (ranges[i].end > done)
			done = ranges[i].end;
	}
}

void pieces_free(struct bar *bar)
{
	for (uint32_t i = 0; i < bar->piece_count; i++)
		(void)munmap(bar->pieces[i].host, bar->pieces[i].size);
	bar->piece_count = 0;
}

uint32_t pieces_reached(const struct bar *bar, bool all)
{
	uint32_t any_of = 0, all_of = bar->piece_count != 0 && !bar->lacks_piece ? ~0u : 0;

	for (uint32_t i = 0; i < bar->piece_count; i++) {
		any_of |= bar->pieces[i].p2p;
		all_of &= bar->pieces[i].p2p;
	}
	return all ? all_of : any_of;
}
