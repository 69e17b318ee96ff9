/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each pass verifies of a device, piece by piece while no command is under way: everything
 * that commands wrote and that should still be there, the memory of the device, words of its
 * internal state, its error counter; and a full round of commands since the pass began.
 */
#include "work.h"

#include <holdfast/sim.h>

#include "pattern.h"

#define BAR_WORDS 32u
#define BAR_STRIDE 1024u /* one word in each KiB of the lower half */
#define STATE_SAMPLES 16u

enum phase { PHASE_BEGIN = 0, PHASE_SLOTS, PHASE_BAR, PHASE_STATE, PHASE_P2P, PHASE_CYCLE };

/* The lower half of BAR4 is the driver's: what it wrote in the last pass is there; write anew. */
static void bar_check(struct work *work, uint32_t device, uint32_t i)
{
	struct work_device *dev = &work->devices[device];
	uint64_t expected = pattern_bar_word(device, dev->bar_generation, i);
	uint64_t found = work_bar4(work, device, i * BAR_STRIDE);
	struct work_corrupt_record record = {
		.what = WORK_CORRUPT_BAR_MEMORY,
		.number = device,
		.unit = "device",
		.part = "bar",
		.part_number = 4,
		.word = i * BAR_STRIDE / 8,
		.expected = expected,
		.found = found,
	};

	if (dev->bar_generation && found != expected)
		work_corrupt_add(work, &record);
	work->env->reg_write(work->env->ctx, device, 4, i * BAR_STRIDE, 8,
			     pattern_bar_word(device, dev->bar_generation + 1, i));
}

/* The number of the last command that rewrote a block of the internal state; 0: none has. */
static uint64_t last_writer(const struct work_device *dev, uint64_t block)
{
	uint64_t blocks = dev->state_blocks;
	uint64_t ago = (dev->commands % blocks + blocks - block) % blocks;

	return ago < dev->commands ? dev->commands - ago : 0;
}

static void state_check(struct work *work, uint32_t device, uint32_t sample)
{
	struct work_device *dev = &work->devices[device];
	uint64_t block = work_below(work_random(&dev->random), dev->state_blocks);
	uint64_t word = work_below(work_random(&dev->random), 512);
	uint64_t sequence;
	struct work_corrupt_record record = {
		.what = WORK_CORRUPT_STATE_WORD,
		.number = device,
		.unit = "device",
		.part = "block",
		.word = word,
	};

	if (sample % 2) /* what was written last is what a migration loses first */
		block = HF_SIM_BLOCK(dev->commands - (sample < dev->commands ? sample / 2 : 0),
				     dev->state_blocks);
	sequence = last_writer(dev, block);
	work_reg_set(work, device, HF_SIM_STATE_INDEX, 8, block * 512 + word);
	record.part_number = block;
	record.found = work_reg(work, device, HF_SIM_STATE_WORD, 8);
	record.expected =
		sequence ? HF_SIM_WORD(sequence, word) : HF_SIM_WORD(0, block * 512 + word);
	if (record.found != record.expected)
		work_corrupt_add(work, &record);
}

static void counters_check(struct work *work, uint32_t device)
{
	const struct work_device *dev = &work->devices[device];
	uint64_t magic = work_reg(work, device, HF_SIM_MAGIC, 4);
	uint64_t size = work_reg(work, device, HF_SIM_STATE_SIZE, 8);
	uint64_t errors = work_reg(work, device, HF_SIM_ERRORS, 8);
	uint64_t completed = work_reg(work, device, HF_SIM_COMPLETED, 8);

	if (magic != HF_SIM_MAGIC_VALUE || size != dev->state_blocks * 4096)
		work_device_corrupt(work, device, WORK_CORRUPT_DEVICE_GONE, HF_SIM_MAGIC_VALUE,
				    magic);
	if (errors != 0)
		work_device_corrupt(work, device, WORK_CORRUPT_DEVICE_ERRORS, 0, errors);
	if (completed != dev->commands)
		work_device_corrupt(work, device, WORK_CORRUPT_COMMAND_COUNT, dev->commands,
				    completed);
}

static void next_phase(struct work_device *dev)
{
	dev->verify_phase++;
	dev->verify_i = 0;
}

void work_device_verify(struct work *work, uint32_t device, uint64_t wanted)
{
	struct work_device *dev = &work->devices[device];
	uint32_t i = dev->verify_i++;

	switch ((enum phase)dev->verify_phase) {
	case PHASE_BEGIN:
		counters_check(work, device);
		dev->cycle_target = dev->commands + (work->shared->knobs.dma ? WORK_COMMANDS : 0);
		next_phase(dev);
		return;
	case PHASE_SLOTS:
		work_slot_check(work, device, i);
		if (dev->verify_i == dev->slot_count)
			next_phase(dev);
		return;
	case PHASE_BAR:
		bar_check(work, device, i);
		if (dev->verify_i == BAR_WORDS) {
			dev->bar_generation++;
			next_phase(dev);
		}
		return;
	case PHASE_STATE:
		state_check(work, device, i);
		if (dev->verify_i == STATE_SAMPLES)
			next_phase(dev);
		return;
	case PHASE_P2P:
		if (work->shared->p2p)
			work_p2p_check(work, device, i * 4, 4);
		if (!work->shared->p2p || dev->verify_i * 4 == WORK_P2P_WORDS)
			next_phase(dev);
		return;
	case PHASE_CYCLE:
		if (dev->commands < dev->cycle_target) {
			dev->verify_i = 0; /* nothing is counted in waiting */
			return;
		}
		dev->verify_phase = PHASE_BEGIN;
		dev->verify_i = 0;
		dev->pass_done = wanted;
		return;
	}
}
