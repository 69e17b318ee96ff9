/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's driver of the lab's device labdma (docs/lab.md): by itself it writes a counter by
 * DMA into one page after another of a window, which no vCPU writes to. A page of it that is old
 * after a migration was therefore missing in the device's own log. Each of the driver's commands
 * changes a block of the device's memory, whose CRC it knows, by a register, others by BAR 2, and a
 * register.
 *
 * The device's interrupts have numbers: it raises N + 1 when the driver has told it that N came. So
 * each comes once: not a second time, and not never. Each fourth is held back: masked until the
 * device has raised it and some time has passed, so that most handovers meet one that is pending.
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
	REG_IRQ_NUMBER = 0x34,
	REG_IRQ_SEEN = 0x38,
};

#define CONTROL_DMA 1u
#define CONTROL_INTERRUPT 4u
#define BAR2 2u
#define BAR2_PAGES 4u /* some of them reached without a trap */
#define BAR2_WORD 0x800u /* in each page: behind what a poke changes */
#define HELD_MS 50u

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

static uint32_t bar2_word(const struct work_device *dev, uint32_t page)
{
	return dev->scratch ^ (page + 1) * 0x9e3779b9u;
}

static void registers_check(struct work *work, uint32_t device)
{
	const struct work_device *dev = &work->devices[device];
	uint32_t id = reg_read(work, device, REG_ID);
	uint32_t errors = reg_read(work, device, REG_ERRORS);
	uint32_t scratch = reg_read(work, device, REG_SCRATCH);
	uint32_t crc = reg_read(work, device, REG_MEMORY_CRC);
	uint32_t page;

	for (page = 0; page < BAR2_PAGES && dev->commands; page++) {
		uint64_t word = work->env->reg_read(work->env->ctx, device, BAR2,
						    page * 4096 + BAR2_WORD, 4);

		if (word != bar2_word(dev, page))
			corrupt(work, device, WORK_CORRUPT_BAR_MEMORY, "page", page,
				bar2_word(dev, page), word);
	}
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

/* ---- interrupts --------------------------------------------------------------------------------
 */

static void irq_came(struct work *work, uint32_t device, uint64_t count, uint32_t number)
{
	struct work_device *dev = &work->devices[device];

	if (count != 1 || number == dev->irq_number || dev->irq_held != WORK_IRQ_FREE) {
		corrupt(work, device, WORK_CORRUPT_INTERRUPT_AGAIN, "irq", number,
			dev->irq_number + 1ull, dev->irq_number + count);
		return;
	}
	dev->irq_number = number;
	dev->irq_run_ticks = run_ticks(work, device);
	work_count(&dev->irqs, dev->irqs + 1);
	/* Before the device may raise the next one. */
	if (number % WORK_LABDMA_IRQS_PER_PASS == 0 &&
	    work->env->irq_mask(work->env->ctx, device, true))
		dev->irq_held = WORK_IRQ_MASKED;
	reg_write(work, device, REG_IRQ_SEEN, number);
}

/* None has come. */
static void irq_wait(struct work *work, uint32_t device, bool raised)
{
	struct work_device *dev = &work->devices[device];
	uint64_t now = run_ticks(work, device), waited = now - dev->irq_run_ticks;

	if (raised && dev->irq_held == WORK_IRQ_MASKED) {
		dev->irq_held = WORK_IRQ_HELD;
		dev->irq_run_ticks = now;
	} else if (dev->irq_held == WORK_IRQ_HELD &&
		   waited > HELD_MS * work->shared->ticks_per_ms) {
		dev->irq_held = WORK_IRQ_FREE;
		dev->irq_run_ticks = now;
		(void)work->env->irq_mask(work->env->ctx, device, false); /* it could before */
	} else if (waited > WORK_LOST_MS * work->shared->ticks_per_ms) {
		corrupt(work, device,
			raised ? WORK_CORRUPT_INTERRUPT_LOST : WORK_CORRUPT_BEAT_INTERRUPT, "irq",
			dev->irq_number + 1ull, dev->irq_number + 1ull, dev->irq_number);
	}
}

static void irq_step(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t count = work->env->irq_count(work->env->ctx, device, 0), fresh;
	uint32_t number = reg_read(work, device, REG_IRQ_NUMBER); /* after: it may be newer */

	fresh = count - dev->irq_seen;
	dev->irq_seen = count;
	if (number != dev->irq_number && number != dev->irq_number + 1)
		corrupt(work, device, WORK_CORRUPT_STATE_WORD, "reg", REG_IRQ_NUMBER,
			dev->irq_number, number);
	else if (fresh)
		irq_came(work, device, fresh, number);
	else
		irq_wait(work, device, number != dev->irq_number);
}

/* ---- commands ----------------------------------------------------------------------------------
 */

static void command(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t rate = work->shared->knobs.dma, random = work_random(&dev->random);
	uint32_t page;

	registers_check(work, device);
	dev->scratch = (uint32_t)random;
	reg_write(work, device, REG_SCRATCH, dev->scratch);
	reg_write(work, device, REG_POKE, (uint32_t)(random >> 32));
	for (page = 0; page < BAR2_PAGES; page++)
		work->env->reg_write(work->env->ctx, device, BAR2, page * 4096 + BAR2_WORD, 4,
				     bar2_word(dev, page));
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
	uint32_t number = reg_read(work, device, REG_IRQ_NUMBER);
	uint32_t period_us = work->shared->knobs.beat_us;

	if (id != ID_VALUE || count != 0 || number != 0) {
		work_device_corrupt(work, device, WORK_CORRUPT_DEVICE_GONE, ID_VALUE,
				    id != ID_VALUE ? id : count | number);
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
	dev->irq_seen = work->env->irq_count(work->env->ctx, device, 0);
	dev->irq_run_ticks = run_ticks(work, device);
	reg_write(work, device, REG_CONTROL, CONTROL_DMA | CONTROL_INTERRUPT);
	dev->state = WORK_DEVICE_IDLE;
}

/* A pass: the registers, one command, one more write of the device's own, and its interrupts. */
static void verify(struct work *work, uint32_t device, uint64_t wanted)
{
	struct work_device *dev = &work->devices[device];

	switch ((enum phase)dev->verify_phase) {
	case PHASE_BEGIN:
		registers_check(work, device);
		dev->cycle_target = dev->commands + (work->shared->knobs.dma ? 1 : 0);
		dev->beats_target = dev->beats + 1;
		dev->irq_target = dev->irqs + WORK_LABDMA_IRQS_PER_PASS;
		dev->verify_phase = PHASE_CYCLE;
		return;
	case PHASE_CYCLE:
		if (dev->commands < dev->cycle_target || dev->beats < dev->beats_target ||
		    dev->irqs < dev->irq_target)
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
	irq_step(work, device);
	if (now >= dev->beat_poll_run_ticks) {
		dev->beat_poll_run_ticks = now + 2 * work->shared->ticks_per_ms;
		count_step(work, device);
	}
	if (dev->pass_done != wanted)
		verify(work, device, wanted);
	if (work->shared->knobs.dma && now >= dev->next_run_ticks)
		command(work, device);
}
