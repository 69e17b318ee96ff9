/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's driver of QEMU's edu (its docs/specs/edu), a plain PCI function: what a guest has
 * that was given one by vfio-pci, behind an IOMMU. It cannot migrate; so this asks only whether
 * pass-through is right. Its commands, in turn, first by the interrupt pin and then by MSI:
 *
 *   an interrupt   that a register raises
 *   in             DMA from guest memory to the device's buffer
 *   out            DMA from there to a page of guest memory, which is looked at then and in each
 *                  pass
 *
 * Each is completed by one interrupt, of the kind that is on, which the handler takes back by
 * writing ones to WORK_EDU_LOWER (it is level-triggered, so before the EOI).
 */
#include "work.h"

#include "pattern.h"

#define ID_VALUE 0x010000edu
#define BUFFER 0x40000u /* of 4096 bytes, of which DMA never reaches the last */
#define WORDS 128u /* of 8 bytes, that a command moves */
#define PAGE 4096u

enum reg {
	REG_ID = 0x00,
	REG_NOT = 0x04, /* reads as what was written, inverted */
	REG_STATUS = 0x24, /* what it interrupts for */
	REG_RAISE = 0x60,
	REG_FROM = 0x80,
	REG_TO = 0x88,
	REG_BYTES = 0x90,
	REG_COMMAND = 0x98,
};

#define COMMAND_RUN 1u /* until it is done */
#define COMMAND_TO_MEMORY 2u
#define COMMAND_INTERRUPT 4u

enum turn { TURN_RAISE, TURN_IN, TURN_OUT, TURN_COUNT };
#define WAYS 2u /* the pin, and MSI: vectors 0 and 1 */

enum phase { PHASE_BEGIN = 0, PHASE_CYCLE };

static uint64_t run_ticks(const struct work *work, uint32_t device)
{
	return work->vcpus[work->devices[device].vcpu].run_ticks;
}

/* The interrupt that completes command number sequence, from 1. */
static uint32_t vector_of(uint64_t sequence)
{
	return (uint32_t)((sequence - 1) / TURN_COUNT % WAYS);
}

/* How many of a vector the driver has had. */
static uint64_t *seen_of(struct work_device *dev, uint32_t vector)
{
	return vector == 0 ? &dev->irq_seen : &dev->beat_irqs;
}

/* ---- what it must be ---------------------------------------------------------------------------
 */

static void registers_check(struct work *work, uint32_t device)
{
	const struct work_device *dev = &work->devices[device];
	uint64_t id = work_reg(work, device, REG_ID, 4);
	uint64_t inverted = work_reg(work, device, REG_NOT, 4);
	uint64_t status = work_reg(work, device, REG_STATUS, 4);

	if (id != ID_VALUE)
		work_device_corrupt(work, device, WORK_CORRUPT_DEVICE_GONE, ID_VALUE, id);
	else if (inverted != (uint32_t)~dev->scratch)
		work_device_corrupt(work, device, WORK_CORRUPT_STATE_WORD, (uint32_t)~dev->scratch,
				    inverted);
	else if (status != 0)
		work_device_corrupt(work, device, WORK_CORRUPT_DEVICE_ERRORS, 0, status);
}

static void slot_check(struct work *work, uint32_t device, uint32_t slot)
{
	const struct work_device *dev = &work->devices[device];
	const uint64_t *words = work_ptr(work, dev->slots_gpa + (uint64_t)slot * PAGE);
	uint64_t sequence = dev->slot_sequence[slot];
	uint32_t i;

	for (i = 0; i < WORDS && sequence != 0; i++) {
		struct work_corrupt_record record = {
			.what = WORK_CORRUPT_DMA_DATA,
			.number = device,
			.unit = "device",
			.part = "slot",
			.part_number = slot,
			.word = i,
			.expected = pattern_copy_word(device, sequence, i),
			.found = words[i],
		};

		if (record.found == record.expected)
			continue;
		work_corrupt_add(work, &record);
		return;
	}
}

/* ---- commands ----------------------------------------------------------------------------------
 */

static void spurious_add(struct work *work, uint32_t device, uint64_t count)
{
	struct work_device *dev = &work->devices[device];

	work_count(&dev->spurious, dev->spurious + count);
	if (dev->spurious > WORK_STORM)
		work_device_corrupt(work, device, WORK_CORRUPT_INTERRUPT_STORM, dev->commands,
				    dev->spurious);
}

static void dma_start(struct work *work, uint32_t device, uint64_t from, uint64_t to,
		      uint32_t direction)
{
	work_reg_set(work, device, REG_FROM, 8, from);
	work_reg_set(work, device, REG_TO, 8, to);
	work_reg_set(work, device, REG_BYTES, 4, WORDS * 8);
	work_reg_set(work, device, REG_COMMAND, 4, COMMAND_RUN | COMMAND_INTERRUPT | direction);
}

static void dma_in(struct work *work, uint32_t device)
{
	const struct work_device *dev = &work->devices[device];
	uint64_t *words = work_ptr(work, dev->source_gpa);
	uint32_t i;

	for (i = 0; i < WORDS; i++)
		words[i] = pattern_copy_word(device, dev->commands, i);
	dma_start(work, device, dev->source_gpa, BUFFER, 0);
}

static void dma_out(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];

	dev->slot = (uint32_t)work_below(work_random(&dev->random), dev->slot_count);
	slot_check(work, device, dev->slot);
	dev->slot_sequence[dev->slot] = 0;
	dma_start(work, device, BUFFER, dev->slots_gpa + (uint64_t)dev->slot * PAGE,
		  COMMAND_TO_MEMORY);
}

static void submit(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint32_t vector;

	registers_check(work, device);
	for (vector = 0; vector < WAYS; vector++) {
		uint64_t *seen = seen_of(dev, vector);
		uint64_t count = work->env->irq_count(work->env->ctx, device, vector);

		if (count != *seen)
			spurious_add(work, device, count - *seen);
		*seen = count;
	}
	dev->scratch = (uint32_t)work_random(&dev->random);
	work_reg_set(work, device, REG_NOT, 4, dev->scratch);
	dev->command = (uint32_t)(dev->commands % TURN_COUNT);
	dev->commands++;
	dev->submit_run_ticks = run_ticks(work, device);
	dev->state = WORK_DEVICE_WAITING;
	switch ((enum turn)dev->command) {
	case TURN_RAISE:
		work->env->irq_pin(work->env->ctx, device, vector_of(dev->commands) == 0);
		work_reg_set(work, device, REG_RAISE, 4, 1u << (dev->scratch & 7));
		break;
	case TURN_IN:
		dma_in(work, device);
		break;
	case TURN_OUT:
		dma_out(work, device);
		break;
	case TURN_COUNT:
		break;
	}
}

static void done(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t rate = work->shared->knobs.dma;

	if (dev->command == TURN_OUT) {
		dev->slot_sequence[dev->slot] = dev->commands - 1; /* of what was put in */
		slot_check(work, device, dev->slot);
	}
	dev->state = WORK_DEVICE_IDLE;
	dev->next_run_ticks = run_ticks(work, device);
	if (rate != 0 && rate != WORK_MAX)
		dev->next_run_ticks += 1000 * work->shared->ticks_per_ms / rate;
	work_count(&dev->completed, dev->completed + 1);
}

static void wait(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint32_t vector = vector_of(dev->commands);
	uint64_t *seen = seen_of(dev, vector);
	uint64_t fresh = work->env->irq_count(work->env->ctx, device, vector) - *seen;
	uint64_t waited = run_ticks(work, device) - dev->submit_run_ticks;
	bool runs = work_reg(work, device, REG_COMMAND, 4) & COMMAND_RUN;

	/* One that came before it was done is not for it: then the status is there, for its own. */
	if (fresh && !runs && work_reg(work, device, REG_STATUS, 4) == 0) {
		*seen += fresh;
		work_count(&dev->irqs, dev->irqs + fresh);
		spurious_add(work, device, fresh - 1);
		done(work, device);
	} else if (waited > WORK_LOST_MS * work->shared->ticks_per_ms) {
		work_device_corrupt(work, device,
				    runs ? WORK_CORRUPT_COMMAND_LOST : WORK_CORRUPT_INTERRUPT_LOST,
				    dev->commands, dev->completed);
	}
}

/* ---- a step ------------------------------------------------------------------------------------
 */

/* Whatever it was left as by others, perhaps at work: it has no reset. */
static void take_over(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint32_t vector;

	if (work_reg(work, device, REG_ID, 4) == ID_VALUE &&
	    (work_reg(work, device, REG_COMMAND, 4) & COMMAND_RUN))
		return; /* it ends by itself */
	work_reg_set(work, device, WORK_EDU_LOWER, 4, UINT32_MAX);
	dev->scratch = (uint32_t)work_random(&dev->random);
	work_reg_set(work, device, REG_NOT, 4, dev->scratch);
	registers_check(work, device);
	for (vector = 0; vector < WAYS; vector++)
		*seen_of(dev, vector) = work->env->irq_count(work->env->ctx, device, vector);
	dev->state = WORK_DEVICE_IDLE;
}

/* A pass: the registers, what was written before, and each command by either interrupt. */
static void verify(struct work *work, uint32_t device, uint64_t wanted)
{
	struct work_device *dev = &work->devices[device];
	uint32_t slot;

	switch ((enum phase)dev->verify_phase) {
	case PHASE_BEGIN:
		registers_check(work, device);
		for (slot = 0; slot < dev->slot_count; slot++)
			slot_check(work, device, slot);
		dev->cycle_target = dev->commands;
		if (work->shared->knobs.dma)
			dev->cycle_target += (uint64_t)WAYS * TURN_COUNT;
		dev->verify_phase = PHASE_CYCLE;
		return;
	case PHASE_CYCLE:
		if (dev->commands < dev->cycle_target)
			return;
		dev->verify_phase = PHASE_BEGIN;
		dev->pass_done = wanted;
		return;
	}
}

void work_edu_step(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t wanted = __atomic_load_n(&work->shared->pass_wanted, __ATOMIC_ACQUIRE);

	switch ((enum work_device_state)dev->state) {
	case WORK_DEVICE_NEW:
		take_over(work, device);
		return;
	case WORK_DEVICE_WAITING:
		wait(work, device);
		return;
	case WORK_DEVICE_IDLE:
		break;
	}
	if (dev->pass_done != wanted)
		verify(work, device, wanted);
	if (work->shared->knobs.dma && run_ticks(work, device) >= dev->next_run_ticks)
		submit(work, device);
}
