/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread guest's state comes from a peer, and the workload trusts it: it holds addresses and
 * indexes. So that a peer can damage its own guest and nothing else, each is checked here first.
 */
#include "thread-guest.h"

static bool in_memory(const struct thread_guest *guest, uint64_t gpa, uint64_t size)
{
	return gpa % 8 == 0 && gpa <= guest->memory_bytes && size <= guest->memory_bytes - gpa;
}

static bool ranges_fit(const struct thread_guest *guest, const struct work_shared *shared)
{
	uint64_t pages = 0;

	if (shared->range_count > WORK_RANGES_MAX)
		return false;
	for (uint32_t i = 0; i < shared->range_count; i++) {
		const struct work_range *range = &shared->ranges[i];

		if (range->size % HF_PAGE_SIZE || !in_memory(guest, range->gpa, range->size))
			return false;
		pages += range->size / HF_PAGE_SIZE;
	}
	return shared->page_count <= pages;
}

bool thread_shared_fits(const struct thread_guest *guest, const struct work_shared *shared)
{
	const struct work_knobs *knobs = &shared->knobs;
	bool ok = shared->vcpu_count == guest->guest.vcpu_count &&
		  shared->device_count == guest->guest.device_count &&
		  shared->p2p == guest->shared.p2p && ranges_fit(guest, shared) &&
		  shared->ticks_per_ms == THREAD_TICKS_PER_MS;

	ok = ok && knobs->dma_len >= 256 && knobs->dma_len <= WORK_DMA_LEN_MAX &&
	     knobs->dma_len % 8 == 0 && knobs->selftest <= WORK_SELFTEST_UART &&
	     (knobs->zero_percent <= 99 && knobs->comp_percent <= 100) && knobs->rate <= 1u << 30;
	ok = ok && shared->console_used <= WORK_CONSOLE_MAX &&
	     shared->console_sent <= shared->console_used &&
	     shared->command_line[WORK_COMMAND_LINE_MAX - 1] == 0;
	for (uint32_t i = 0; i < WORK_CORRUPT_MAX; i++)
		ok = ok && shared->corrupt[i].unit[sizeof(shared->corrupt[i].unit) - 1] == 0 &&
		     shared->corrupt[i].part[sizeof(shared->corrupt[i].part) - 1] == 0;
	return ok;
}

bool thread_vcpu_fits(const struct thread_guest *guest, uint32_t index,
		      const struct work_vcpu *vcpu)
{
	uint64_t pages = guest->shared.page_count / guest->guest.vcpu_count;

	/* No two vCPUs share a page. */
	return vcpu->first_page == index * pages && vcpu->page_count == pages && pages > 0 &&
	       pages <= UINT32_MAX && in_memory(guest, vcpu->table_gpa, pages * sizeof(uint32_t)) &&
	       vcpu->write_cursor < pages && vcpu->fill_cursor <= pages &&
	       vcpu->verify_cursor <= pages && vcpu->random != 0;
}

static bool sim_fits(const struct thread_guest *guest, uint32_t index,
		     const struct work_device *device)
{
	uint64_t length = guest->shared.knobs.dma_len;

	return device->bar4_gpa == guest->devices[index].bar4_gpa &&
	       device->state <= WORK_DEVICE_WAITING && device->command < WORK_COMMANDS &&
	       device->slot_count > 0 && device->slot_count <= WORK_SLOTS_MAX &&
	       device->slot < device->slot_count && device->verify_i < device->slot_count + 64 &&
	       (device->verify_phase != 1 || device->verify_i < device->slot_count) &&
	       (device->state == WORK_DEVICE_NEW || device->state_blocks > 0) &&
	       device->state_blocks <= UINT32_MAX &&
	       (device->state != WORK_DEVICE_WAITING || device->commands > 0) &&
	       in_memory(guest, device->ring_gpa, 16ull * WORK_RING_ENTRIES) &&
	       in_memory(guest, device->beat_gpa, 8ull * WORK_BEAT_ENTRIES) &&
	       in_memory(guest, device->source_gpa, length) &&
	       in_memory(guest, device->slots_gpa, length * device->slot_count);
}

/* Numbers of bytes are counted down; all else of it is only compared with what the device says. */
static bool mtty_fits(const struct work_device *device)
{
	bool ok = device->state <= WORK_DEVICE_IDLE;

	for (uint32_t i = 0; i < WORK_UARTS_MAX; i++)
		ok = ok && device->uarts[i].received <= device->uarts[i].sent &&
		     device->uarts[i].sent - device->uarts[i].received < WORK_UART_FIFO;
	return ok;
}

bool thread_device_fits(const struct thread_guest *guest, uint32_t index,
			const struct work_device *device)
{
	if (device->kind != guest->devices[index].kind ||
	    device->port_count != guest->devices[index].port_count ||
	    device->vcpu != index % guest->guest.vcpu_count || device->random == 0)
		return false;
	if (device->kind == WORK_DEVICE_MTTY)
		return mtty_fits(device);
	if (device->kind == WORK_DEVICE_LABDMA)
		return device->state <= WORK_DEVICE_IDLE && device->beats <= UINT32_MAX &&
		       device->irq_held == WORK_IRQ_FREE &&
		       in_memory(guest, device->window_gpa, 4096ull * WORK_WINDOW_PAGES);
	return sim_fits(guest, index, device);
}
