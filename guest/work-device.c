/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's driver of the simulated device (holdfast/sim.h): one command at a time, each
 * completed by one interrupt, everything that it did checked when it is done and again later. What
 * a pass looks at beside that is in work-device-verify.c.
 */
#include "work.h"

#include <holdfast/sim.h>

#include "pattern.h"

#define BEAT_POLL_MS 20u

void work_device_corrupt(struct work *work, uint32_t device, enum work_corrupt what,
			 uint64_t expected, uint64_t found)
{
	struct work_corrupt_record record = {
		.what = what,
		.number = device,
		.unit = "device",
		.expected = expected,
		.found = found,
	};

	work_corrupt_add(work, &record);
}

static uint64_t run_ticks(const struct work *work, uint32_t device)
{
	return work->vcpus[work->devices[device].vcpu].run_ticks;
}

static uint64_t *slot_words(const struct work *work, uint32_t device, uint32_t slot)
{
	return work_ptr(work, work->devices[device].slots_gpa +
				      (uint64_t)slot * work->shared->knobs.dma_len);
}

void work_slot_check(struct work *work, uint32_t device, uint32_t slot)
{
	const struct work_device *dev = &work->devices[device];
	const uint64_t *words = slot_words(work, device, slot);
	uint64_t sequence = dev->slot_sequence[slot];
	bool copied = dev->slot_command[slot] == WORK_COPY;
	uint64_t copy = pattern_copy_word(device, sequence, 0);
	uint32_t i;

	if (sequence == 0)
		return;
	for (i = 0; i < work->shared->knobs.dma_len / 8; i++) {
		uint64_t expected = copied ? copy + i * PATTERN_STEP : HF_SIM_WORD(sequence, i);
		struct work_corrupt_record record = {
			.what = WORK_CORRUPT_DMA_DATA,
			.number = device,
			.unit = "device",
			.part = "slot",
			.part_number = slot,
			.word = i,
			.expected = expected,
			.found = words[i],
		};

		if (words[i] == expected)
			continue;
		work_corrupt_add(work, &record);
		return;
	}
}

void work_p2p_check(struct work *work, uint32_t device, uint32_t first, uint32_t count)
{
	uint32_t peer = work_peer(work, device);
	uint64_t sequence = work->devices[device].p2p_sequence;
	uint32_t i;

	for (i = first; i < first + count && i < WORK_P2P_WORDS; i++) {
		uint64_t found =
			work_bar4(work, peer, WORK_P2P_OFFSET + device * WORK_P2P_STRIDE + i * 8);
		struct work_corrupt_record record = {
			.what = WORK_CORRUPT_P2P_DATA,
			.number = device,
			.unit = "device",
			.part = "peer",
			.part_number = peer,
			.word = i,
			.expected = pattern_copy_word(device, sequence, i),
			.found = found,
		};

		if (sequence == 0 || found == record.expected)
			continue;
		work_corrupt_add(work, &record);
		return;
	}
}

/* ---- the beat ----------------------------------------------------------------------------------
 */

static void beat_ring_check(struct work *work, uint32_t device, uint64_t last)
{
	struct work_device *dev = &work->devices[device];
	const uint64_t *ring = work_ptr(work, dev->beat_gpa);
	uint64_t first = dev->beats + 1;
	uint64_t number;

	if (last - dev->beats > WORK_BEAT_ENTRIES) {
		/* It went round while the vCPU stood: what was overwritten cannot be looked at. */
		dev->beats_skipped += last - dev->beats - WORK_BEAT_ENTRIES;
		first = last - WORK_BEAT_ENTRIES + 1;
	}
	for (number = first; number <= last; number++) {
		uint32_t i = (uint32_t)((number - 1) % WORK_BEAT_ENTRIES);
		uint64_t found = __atomic_load_n(&ring[i], __ATOMIC_ACQUIRE);

		if (found == number)
			continue;
		/* A later beat may have come round to the same entry since BEATS was read. */
		if (found > number && (found - number) % WORK_BEAT_ENTRIES == 0 &&
		    found <= work_reg(work, device, HF_SIM_BEATS, 8) + 1)
			continue;
		work_device_corrupt(work, device, WORK_CORRUPT_BEAT_LOST, number, found);
		return;
	}
}

static void beat_irq_check(struct work *work, uint32_t device, uint64_t last)
{
	struct work_device *dev = &work->devices[device];
	uint64_t now = run_ticks(work, device);
	uint64_t count = work->env->irq_count(work->env->ctx, device, 1);

	/* Two that come while a vCPU stands may be taken as one, so they are not counted out. */
	if (count != dev->beat_irqs || dev->beat_irq_run_ticks == 0) {
		work_count(&dev->irqs, dev->irqs + (count - dev->beat_irqs));
		dev->beat_irqs = count;
		dev->beat_irq_run_ticks = now;
		dev->beat_irq_beats = last;
	} else if (last - dev->beat_irq_beats >= 2 * HF_SIM_BEATS_PER_IRQ &&
		   now - dev->beat_irq_run_ticks > WORK_LOST_MS * work->shared->ticks_per_ms) {
		work_device_corrupt(work, device, WORK_CORRUPT_BEAT_INTERRUPT,
				    last / HF_SIM_BEATS_PER_IRQ, count);
	}
	if (count > last / HF_SIM_BEATS_PER_IRQ + WORK_STORM)
		work_device_corrupt(work, device, WORK_CORRUPT_INTERRUPT_STORM,
				    last / HF_SIM_BEATS_PER_IRQ, count);
}

static void beat_step(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t now = run_ticks(work, device);
	uint64_t lost = WORK_LOST_MS * work->shared->ticks_per_ms +
			work->shared->knobs.beat_us * work->shared->ticks_per_ms / 100;
	uint64_t last;

	if (work->shared->knobs.beat_us == 0 || now < dev->beat_poll_run_ticks)
		return;
	dev->beat_poll_run_ticks = now + BEAT_POLL_MS * work->shared->ticks_per_ms;
	last = work_reg(work, device, HF_SIM_BEATS, 8);
	if (last < dev->beats || last == UINT64_MAX) {
		work_device_corrupt(work, device, WORK_CORRUPT_BEAT_REPEATED, dev->beats, last);
		return;
	}
	if (last == dev->beats) {
		if (now - dev->beat_run_ticks > lost)
			work_device_corrupt(work, device, WORK_CORRUPT_BEAT_STOPPED, last + 1,
					    last);
		return;
	}
	beat_ring_check(work, device, last);
	work_count(&dev->beats, last);
	dev->beat_run_ticks = now;
	beat_irq_check(work, device, last);
}

/* ---- commands ----------------------------------------------------------------------------------
 */

static void take_over(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t magic = work_reg(work, device, HF_SIM_MAGIC, 4);
	uint64_t size = work_reg(work, device, HF_SIM_STATE_SIZE, 8);

	if (magic != HF_SIM_MAGIC_VALUE || size < 4096 || size == UINT64_MAX) {
		work_device_corrupt(work, device, WORK_CORRUPT_DEVICE_GONE, HF_SIM_MAGIC_VALUE,
				    magic);
		return;
	}
	dev->state_blocks = size / 4096;
	dev->commands = work_reg(work, device, HF_SIM_SUBMITTED, 8);
	work_count(&dev->beats, work_reg(work, device, HF_SIM_BEATS, 8));
	dev->irq_seen = work->env->irq_count(work->env->ctx, device, 0);
	dev->beat_irqs = work->env->irq_count(work->env->ctx, device, 1);
	dev->beat_run_ticks = run_ticks(work, device);
	work_reg_set(work, device, HF_SIM_RING, 8, dev->ring_gpa);
	work_reg_set(work, device, HF_SIM_RING_ENTRIES, 4, WORK_RING_ENTRIES);
	if (work->shared->knobs.beat_us) {
		work_reg_set(work, device, HF_SIM_BEAT_RING, 8, dev->beat_gpa);
		work_reg_set(work, device, HF_SIM_BEAT_ENTRIES, 4, WORK_BEAT_ENTRIES);
		work_reg_set(work, device, HF_SIM_BEAT_PERIOD, 4, work->shared->knobs.beat_us);
	}
	dev->state = WORK_DEVICE_IDLE;
}

/* New content for the buffer that is copied or summed up; returns its sum. */
static uint64_t source_write(struct work *work, uint32_t device, uint64_t sequence)
{
	uint64_t *words = work_ptr(work, work->devices[device].source_gpa);
	uint64_t word = pattern_copy_word(device, sequence, 0);
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < work->shared->knobs.dma_len / 8; i++, word += PATTERN_STEP) {
		words[i] = word;
		sum += word;
	}
	return sum;
}

static void spurious_add(struct work *work, uint32_t device, uint64_t count)
{
	struct work_device *dev = &work->devices[device];

	work_count(&dev->spurious, dev->spurious + count);
	if (dev->spurious > WORK_STORM)
		work_device_corrupt(work, device, WORK_CORRUPT_INTERRUPT_STORM, dev->commands,
				    dev->spurious);
}

static void submit(struct work *work, uint32_t device)
{
	static const uint32_t codes[] = { HF_SIM_CMD_FILL, HF_SIM_CMD_COPY, HF_SIM_CMD_SUM,
					  HF_SIM_CMD_COPY };
	struct work_device *dev = &work->devices[device];
	uint64_t sequence = dev->commands + 1;
	uint32_t length = work->shared->knobs.dma_len;
	uint64_t target, irqs;

	dev->command = (uint32_t)(sequence % (work->shared->p2p ? WORK_COMMANDS : WORK_P2P));
	dev->slot = (uint32_t)work_below(work_random(&dev->random), dev->slot_count);
	target = dev->slots_gpa + (uint64_t)dev->slot * length;
	if (dev->command == WORK_P2P) {
		work_p2p_check(work, device, 0, WORK_P2P_WORDS);
		target = work->devices[work_peer(work, device)].bar4_gpa + WORK_P2P_OFFSET +
			 device * WORK_P2P_STRIDE;
		length = WORK_P2P_WORDS * 8;
		dev->p2p_sequence = 0;
	} else if (dev->command != WORK_SUM) {
		work_slot_check(work, device, dev->slot);
		dev->slot_sequence[dev->slot] = 0;
	}
	if (dev->command != WORK_FILL) {
		dev->sum = source_write(work, device, sequence);
		work_reg_set(work, device, HF_SIM_SRC, 8, dev->source_gpa);
	}
	work_reg_set(work, device, HF_SIM_DST, 8, target);
	work_reg_set(work, device, HF_SIM_LENGTH, 4, length);
	irqs = work->env->irq_count(work->env->ctx, device, 0);
	if (irqs != dev->irq_seen)
		spurious_add(work, device, irqs - dev->irq_seen);
	dev->irq_seen = irqs;
	dev->commands = sequence;
	dev->submit_run_ticks = run_ticks(work, device);
	dev->state = WORK_DEVICE_WAITING;
	work_reg_set(work, device, HF_SIM_COMMAND, 4, codes[dev->command]);
}

/* The entry of the ring, and the counters, say that just this command is done. */
static void completion_check(struct work *work, uint32_t device, const uint64_t *entry)
{
	struct work_device *dev = &work->devices[device];
	uint64_t submitted = work_reg(work, device, HF_SIM_SUBMITTED, 8);
	uint64_t completed = work_reg(work, device, HF_SIM_COMPLETED, 8);
	uint64_t value = dev->command == WORK_SUM ? dev->sum : 0;

	if (submitted != dev->commands || completed != dev->commands)
		work_device_corrupt(work, device, WORK_CORRUPT_COMMAND_COUNT, dev->commands,
				    submitted != dev->commands ? submitted : completed);
	if (entry[1] == value)
		return;
	work_device_corrupt(work, device,
			    entry[1] == UINT64_MAX     ? WORK_CORRUPT_DEVICE_FAULT
			    : dev->command == WORK_SUM ? WORK_CORRUPT_DMA_SUM
						       : WORK_CORRUPT_COMPLETION,
			    value, entry[1]);
}

static void done(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t dma = work->shared->knobs.dma;

	if (dev->command == WORK_P2P) {
		dev->p2p_sequence = dev->commands;
		work_p2p_check(work, device, 0, WORK_P2P_WORDS);
	} else if (dev->command != WORK_SUM) {
		dev->slot_sequence[dev->slot] = dev->commands;
		dev->slot_command[dev->slot] = (uint8_t)dev->command;
		work_slot_check(work, device, dev->slot);
		if (dev->selftest_slot) {
			slot_words(work, device, dev->slot)[0] ^= 1;
			dev->selftest_slot = 0;
		}
	}
	if (dev->overlook == 2) {
		dev->overlook = 0;
		dev->commands--;
	}
	dev->state = WORK_DEVICE_IDLE;
	dev->next_run_ticks = run_ticks(work, device);
	if (dma != 0 && dma != WORK_MAX)
		dev->next_run_ticks =
			dev->submit_run_ticks + 1000 * work->shared->ticks_per_ms / dma;
	work_count(&dev->completed, dev->completed + 1);
}

static void wait(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	const uint64_t *entry = work_ptr(work, dev->ring_gpa);
	uint64_t irqs = work->env->irq_count(work->env->ctx, device, 0);
	uint64_t completed;

	entry += 2 * ((dev->commands - 1) % WORK_RING_ENTRIES);
	if (irqs != dev->irq_seen && dev->overlook == 1) {
		dev->overlook = 0;
		dev->irq_seen = irqs;
	} else if (irqs != dev->irq_seen) {
		uint64_t extra = irqs - dev->irq_seen;

		work_count(&dev->irqs, dev->irqs + extra);
		dev->irq_seen = irqs;
		if (__atomic_load_n(&entry[0], __ATOMIC_ACQUIRE) != dev->commands) {
			/* Not for this command: it must still come, with one of its own. */
			spurious_add(work, device, extra);
			return;
		}
		if (extra > 1)
			spurious_add(work, device, extra - 1);
		completion_check(work, device, entry);
		done(work, device);
	} else if (run_ticks(work, device) - dev->submit_run_ticks >
		   WORK_LOST_MS * work->shared->ticks_per_ms) {
		completed = work_reg(work, device, HF_SIM_COMPLETED, 8);
		work_device_corrupt(work, device,
				    completed == dev->commands && entry[0] != dev->commands
					    ? WORK_CORRUPT_COMPLETION
				    : completed == dev->commands ? WORK_CORRUPT_INTERRUPT_LOST
								 : WORK_CORRUPT_COMMAND_LOST,
				    dev->commands, completed);
	}
}

void work_device_step(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t wanted = __atomic_load_n(&work->shared->pass_wanted, __ATOMIC_ACQUIRE);

	switch ((enum work_device_state)dev->state) {
	case WORK_DEVICE_NEW:
		take_over(work, device);
		return;
	case WORK_DEVICE_WAITING:
		wait(work, device);
		break;
	case WORK_DEVICE_IDLE:
		break;
	}
	beat_step(work, device);
	if (dev->state != WORK_DEVICE_IDLE)
		return;
	if (dev->pass_done != wanted)
		work_device_verify(work, device, wanted);
	if (work->shared->knobs.dma && run_ticks(work, device) >= dev->next_run_ticks)
		submit(work, device);
}
