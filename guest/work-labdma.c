/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's driver of the lab's device labdma (docs/lab.md): by itself it writes a counter by
 * DMA into one page after another of a window, which no vCPU writes to. A page of it that is old
 * after a migration was therefore missing in the device's own log. The driver polls; each of its
 * commands changes a block of the device's memory, whose CRC it knows, and a register.
 */
#include "work.h"

#include <stddef.h>

#define ID_VALUE 0x4c414244u
#define PERIOD_US_LEAST 1000u

enum reg {
	REG_ID = 0x00,
	REG_CONTROL = 0x04,
	REG_WINDOW_LOW = 0x08,
	REG_WINDOW_HIGH = 0x0c,
	REG_WINDOW_BYTES = 0x10,
	REG_PERIOD_US = 0x14,
	REG_COUNT = 0x18,
	REG_SCRATCH = 0x20,
	REG_ERRORS = 0x24,
	REG_MEMORY_CRC = 0x28,
	REG_POKE = 0x2c,
};

#define CONTROL_DMA 1u

enum phase { PHASE_BEGIN = 0, PHASE_CYCLE };

static uint32_t reg_read(const struct work *work, uint32_t device, enum reg reg)
{
	return (uint32_t)work_reg(work, device, reg, 4);
}

static void reg_write(const struct work *work, uint32_t device, enum reg reg, uint32_t value)
{
	work_reg_set(work, device, reg, 4, value);
}

static uint64_t run_ticks(const struct work *work, uint32_t device)
{
	return work->vcpus[work->devices[device].vcpu].run_ticks;
}

static uint64_t page_value(const struct work *work, uint32_t device, uint64_t page)
{
	const uint64_t *at = work_ptr(work, work->devices[device].window_gpa + page * 4096);

	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static void corrupt(struct work *work, uint32_t device, enum work_corrupt what, const char *part,
		    uint64_t number, uint64_t expected, uint64_t found)
{
	struct work_corrupt_record record = {
		.what = what,
		.number = device,
		.unit = "device",
		.part_number = number,
		.expected = expected,
		.found = found,
	};
	uint32_t i;

	for (i = 0; part[i] && i + 1 < sizeof(record.part); i++)
		record.part[i] = part[i];
	work_corrupt_add(work, &record);
}

/* ---- what it must be ---------------------------------------------------------------------------
 */

/* The newest of writes 1..count that went to the page; 0: none did. */
static uint64_t newest(uint64_t count, uint64_t page)
{
	uint64_t round = count / WORK_WINDOW_PAGES;

	if (count % WORK_WINDOW_PAGES <= page) {
		if (round == 0)
			return 0;
		round--;
	}
	return round * WORK_WINDOW_PAGES + page + 1;
}

/* Each page has the newest write to it as of the last count, or one that came since. */
static void window_check(struct work *work, uint32_t device)
{
	uint64_t count = work->devices[device].beats, page;

	for (page = 0; page < WORK_WINDOW_PAGES; page++) {
		uint64_t expected = newest(count, page), found = page_value(work, device, page);

		if (found == expected)
			continue;
		if (found > expected && (found - 1) % WORK_WINDOW_PAGES == page &&
		    found <= reg_read(work, device, REG_COUNT))
			continue;
		corrupt(work, device, WORK_CORRUPT_DMA_DATA, "page", page, expected, found);
		return;
	}
}

static void registers_check(struct work *work, uint32_t device)
{
	const struct work_device *dev = &work->devices[device];
	uint32_t id = reg_read(work, device, REG_ID);
	uint32_t errors = reg_read(work, device, REG_ERRORS);
	uint32_t scratch = reg_read(work, device, REG_SCRATCH);
	uint32_t crc = reg_read(work, device, REG_MEMORY_CRC);

	if (id != ID_VALUE)
		work_device_corrupt(work, device, WORK_CORRUPT_DEVICE_GONE, ID_VALUE, id);
	else if (errors != 0)
		work_device_corrupt(work, device, WORK_CORRUPT_DEVICE_ERRORS, 0, errors);
	else if (scratch != dev->scratch)
		corrupt(work, device, WORK_CORRUPT_STATE_WORD, "reg", REG_SCRATCH, dev->scratch,
			scratch);
	else if (crc != dev->memory_crc)
		corrupt(work, device, WORK_CORRUPT_STATE_WORD, "reg", REG_MEMORY_CRC,
			dev->memory_crc, crc);
}

/*
 * Its own doing. All of the window is looked at each time, since a page that was lost is soon
 * written to again, and in the first step behind a migration it is not yet.
 */
static void count_step(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t now = run_ticks(work, device), count = reg_read(work, device, REG_COUNT);

	if (count < dev->beats || count == UINT32_MAX) {
		work_device_corrupt(work, device, WORK_CORRUPT_BEAT_REPEATED, dev->beats, count);
		return;
	}
	if (count != dev->beats || dev->beat_run_ticks == 0)
		dev->beat_run_ticks = now;
	else if (now - dev->beat_run_ticks > WORK_LOST_MS * work->shared->ticks_per_ms)
		work_device_corrupt(work, device, WORK_CORRUPT_BEAT_STOPPED, count + 1, count);
	work_count(&dev->beats, count);
	window_check(work, device);
}

/* ---- commands ----------------------------------------------------------------------------------
 */

static void command(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t rate = work->shared->knobs.dma, random = work_random(&dev->random);

	registers_check(work, device);
	dev->scratch = (uint32_t)random;
	reg_write(work, device, REG_SCRATCH, dev->scratch);
	reg_write(work, device, REG_POKE, (uint32_t)(random >> 32));
	dev->memory_crc = reg_read(work, device, REG_MEMORY_CRC);
	dev->commands++;
	work_count(&dev->completed, dev->commands);
	dev->next_run_ticks = run_ticks(work, device);
	if (rate != WORK_MAX)
		dev->next_run_ticks += 1000 * work->shared->ticks_per_ms / rate;
}

/* ---- a step ------------------------------------------------------------------------------------
 */

/* It has to be as it is after a reset, or the writes would go to other pages. */
static void take_over(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint32_t id = reg_read(work, device, REG_ID);
	uint32_t count = reg_read(work, device, REG_COUNT);
	uint32_t period_us = work->shared->knobs.beat_us;

	if (id != ID_VALUE || count != 0) {
		work_device_corrupt(work, device, WORK_CORRUPT_DEVICE_GONE, ID_VALUE,
				    id != ID_VALUE ? id : count);
		return;
	}
	dev->scratch = reg_read(work, device, REG_SCRATCH);
	dev->memory_crc = reg_read(work, device, REG_MEMORY_CRC);
	dev->beat_run_ticks = run_ticks(work, device);
	reg_write(work, device, REG_WINDOW_LOW, (uint32_t)dev->window_gpa);
	reg_write(work, device, REG_WINDOW_HIGH, (uint32_t)(dev->window_gpa >> 32));
	reg_write(work, device, REG_WINDOW_BYTES, WORK_WINDOW_PAGES * 4096);
	reg_write(work, device, REG_PERIOD_US,
		  period_us < PERIOD_US_LEAST ? PERIOD_US_LEAST : period_us);
	reg_write(work, device, REG_CONTROL, CONTROL_DMA);
	dev->state = WORK_DEVICE_IDLE;
}

/* A pass: the registers, one command, and one more write of the device's own. */
static void verify(struct work *work, uint32_t device, uint64_t wanted)
{
	struct work_device *dev = &work->devices[device];

	switch ((enum phase)dev->verify_phase) {
	case PHASE_BEGIN:
		registers_check(work, device);
		dev->cycle_target = dev->commands + (work->shared->knobs.dma ? 1 : 0);
		dev->beats_target = dev->beats + 1;
		dev->verify_phase = PHASE_CYCLE;
		return;
	case PHASE_CYCLE:
		if (dev->commands < dev->cycle_target || dev->beats < dev->beats_target)
			return;
		dev->verify_phase = PHASE_BEGIN;
		dev->pass_done = wanted;
		return;
	}
}

void work_labdma_step(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t wanted = __atomic_load_n(&work->shared->pass_wanted, __ATOMIC_ACQUIRE);
	uint64_t now = run_ticks(work, device);

	if (dev->state == WORK_DEVICE_NEW) {
		take_over(work, device);
		return;
	}
	if (now >= dev->beat_poll_run_ticks) {
		dev->beat_poll_run_ticks = now + 2 * work->shared->ticks_per_ms;
		count_step(work, device);
	}
	if (dev->pass_done != wanted)
		verify(work, device, wanted);
	if (work->shared->knobs.dma && now >= dev->next_run_ticks)
		command(work, device);
}
