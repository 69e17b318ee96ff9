/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Saving the simulated device: stream.h's bytes out of a device that may run meanwhile.
 *
 * Blocks are sent once in order (the initial data), then those again that commands have changed
 * since. A block in front of the cursor that changes needs no mark: it is still to come. One record
 * at a time is made under the device's lock, from where it is read without.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include <xxhash.h>

#include "backend/device/sim/arcs.h"
#include "backend/device/sim/stream.h"

enum phase { PHASE_HEADER, PHASE_BLOCKS, PHASE_BAR4, PHASE_REGISTERS, PHASE_TRAILER, PHASE_END };

struct sim_save {
	uint64_t blocks;
	/* Under the device's lock. */
	enum phase phase;
	uint64_t cursor; /* blocks below it were sent once */
	uint64_t dirty_count; /* bits set in dirty: sent, and changed since */
	uint64_t dirty_next; /* where to look first */
	uint64_t *dirty;
	/* The worker's. */
	uint64_t records, bytes; /* made so far */
	XXH3_state_t *hash; /* of them */
	size_t staged, taken; /* bytes in record, and how many were read */
	int staged_initial;
	uint8_t record[SIM_RECORD_MAX];
};

struct sim_save *sim_save_new(uint64_t blocks)
{
	struct sim_save *save = calloc(1, sizeof(*save));

	if (!save)
		return NULL;
	save->blocks = blocks;
	save->dirty = calloc(blocks / 64 + 1, 8);
	save->hash = XXH3_createState();
	if (!save->dirty || !save->hash) {
		sim_save_free(save);
		return NULL;
	}
	return save;
}

void sim_save_free(struct sim_save *save)
{
	if (!save)
		return;
	free(save->dirty);
	(void)XXH3_freeState(save->hash);
	free(save);
}

void sim_save_begin(struct sim *sim)
{
	struct sim_save *save = sim->save;

	memset(save->dirty, 0, (save->blocks / 64 + 1) * 8);
	save->phase = PHASE_HEADER;
	save->cursor = save->dirty_count = save->dirty_next = 0;
	save->records = save->bytes = 0;
	save->staged = save->taken = 0;
	save->staged_initial = 0;
	(void)XXH3_64bits_reset(save->hash);
}

void sim_save_touch(struct sim *sim, uint64_t index)
{
	struct sim_save *save = sim->save;
	uint64_t bit = 1ull << (index % 64);

	assert(index < save->blocks);
	if (!sim_state_saves(sim->state) || index >= save->cursor)
		return;
	if (!(save->dirty[index / 64] & bit))
		save->dirty_count++;
	save->dirty[index / 64] |= bit;
}

/* ---- making records ------------------------------------------------------------------------ */

static void make_header(struct sim *sim)
{
	uint8_t *to = sim->save->record;

	memset(to, 0, SIM_STREAM_HEADER_SIZE);
	sim_put64(to, SIM_STREAM_MAGIC);
	sim_put32(to + 8, SIM_STREAM_VERSION);
	sim_put32(to + 12, SIM_STREAM_HEADER_SIZE);
	sim_put64(to + 16, sim->config.state_size);
	sim_put32(to + 24, HF_SIM_BAR4_SIZE);
	sim_put32(to + 28, SIM_BLOCK_SIZE);
	memcpy(to + 32, sim->config.model, sizeof(sim->config.model));
	sim->save->staged = SIM_STREAM_HEADER_SIZE;
}

static uint8_t *make_record(struct sim_save *save, uint32_t type, uint32_t length, uint64_t index,
			    uint64_t sequence)
{
	uint8_t *to = save->record;

	sim_put32(to, type);
	sim_put32(to + 4, length);
	sim_put64(to + 8, save->records++);
	sim_put64(to + 16, index);
	sim_put64(to + 24, sequence);
	save->staged = SIM_RECORD_HEADER_SIZE + length;
	assert(save->staged <= sizeof(save->record));
	return to + SIM_RECORD_HEADER_SIZE;
}

static void make_block(struct sim_save *save, uint64_t index, uint64_t sequence)
{
	uint8_t *body = make_record(save, SIM_RECORD_BLOCK, SIM_BLOCK_SIZE, index, sequence);
	uint64_t words[SIM_BLOCK_WORDS];
	uint64_t word = sim_block_base(index, sequence);

	for (uint32_t w = 0; w < SIM_BLOCK_WORDS; w++) {
		words[w] = htole64(word);
		word += HF_SIM_WORD(0, 1);
	}
	memcpy(body, words, sizeof(words));
}

static void make_registers(struct sim_save *save, const struct sim_model *model)
{
	uint8_t *body = make_record(save, SIM_RECORD_REGISTERS, SIM_REGISTERS_SIZE, 0, 0);

	memset(body, 0, SIM_REGISTERS_SIZE);
#define PUT64(offset, member) sim_put64(body + (offset), model->member);
#define PUT32(offset, member) sim_put32(body + (offset), model->member);
	SIM_REGISTERS_LIST(PUT64, PUT32)
#undef PUT64
#undef PUT32
}

static void make_trailer(struct sim_save *save)
{
	uint64_t records = save->records;
	uint8_t *body = make_record(save, SIM_RECORD_TRAILER, SIM_TRAILER_SIZE, 0, 0);

	sim_put64(body, records);
	sim_put64(body + 8, save->bytes);
	sim_put64(body + 16, XXH3_64bits_digest(save->hash));
	sim_put64(body + 24, 0);
}

/* ---- which comes next ---------------------------------------------------------------------- */

/* The next block that was changed since it was sent; there is one. */
static uint64_t take_dirty(struct sim_save *save)
{
	uint64_t words = save->blocks / 64 + 1;
	uint64_t at = save->dirty_next / 64;
	uint64_t index;

	assert(save->dirty_count > 0);
	while (!save->dirty[at])
		at = at + 1 == words ? 0 : at + 1;
	index = at * 64 + (uint64_t)__builtin_ctzll(save->dirty[at]);
	save->dirty[at] &= save->dirty[at] - 1;
	save->dirty_count--;
	save->dirty_next = index + 1 == save->blocks ? 0 : index + 1;
	return index;
}

/* Which block, under the lock; 0 if there is none to send. */
static int next_block(struct sim *sim, uint64_t *ret_index, uint64_t *ret_sequence)
{
	struct sim_save *save = sim->save;

	if (save->cursor < save->blocks) {
		*ret_index = save->cursor++;
		save->staged_initial = 1;
	} else if (save->dirty_count) {
		*ret_index = take_dirty(save);
		save->staged_initial = 0;
	} else {
		return 0;
	}
	*ret_sequence = sim->sequences[*ret_index];
	return 1;
}

/* Make the next record. 1, or 0 if there is none: for now, or at the end. */
static int stage(struct sim *sim)
{
	struct sim_save *save = sim->save;
	uint64_t index = 0, sequence = 0;
	int is_block = 0, stopped;

	save->staged = save->taken = 0;
	(void)pthread_mutex_lock(&sim->lock);
	stopped = sim->state == HF_DEVICE_STOP_COPY;
	if (save->phase == PHASE_BLOCKS) {
		is_block = next_block(sim, &index, &sequence);
		if (!is_block && stopped)
			save->phase = PHASE_BAR4;
	}
	switch (save->phase) {
	case PHASE_HEADER:
		make_header(sim);
		save->staged_initial = 1;
		save->phase = PHASE_BLOCKS;
		break;
	case PHASE_BLOCKS:
		break;
	case PHASE_BAR4:
		memcpy(make_record(save, SIM_RECORD_BAR4, HF_SIM_BAR4_SIZE, 0, 0), sim->bar4,
		       HF_SIM_BAR4_SIZE);
		save->phase = PHASE_REGISTERS;
		break;
	case PHASE_REGISTERS:
		make_registers(save, &sim->model);
		save->phase = PHASE_TRAILER;
		break;
	case PHASE_TRAILER:
		make_trailer(save);
		save->phase = PHASE_END;
		break;
	case PHASE_END:
		break;
	}
	(void)pthread_mutex_unlock(&sim->lock);

	if (is_block)
		make_block(save, index, sequence); /* its content follows from the sequence */
	(void)XXH3_64bits_update(save->hash, save->record, save->staged);
	save->bytes += save->staged;
	return save->staged > 0;
}

ssize_t sim_save_read(struct sim *sim, void *buf, size_t size)
{
	struct sim_save *save = sim->save;
	uint8_t *to = buf;
	size_t done = 0;

	size = sim_portion(sim, size);
	while (done < size) {
		size_t n = save->staged - save->taken;

		if (!n && !stage(sim))
			break;
		n = save->staged - save->taken;
		if (n > size - done)
			n = size - done;
		memcpy(to + done, save->record + save->taken, n);
		save->taken += n;
		done += n;
	}
	if (!done && sim->state != HF_DEVICE_STOP_COPY)
		return -ENOMSG; /* the uAPI's temporary end */
	sim_pace(sim, done);
	return (ssize_t)done;
}

/* ---- how much there is --------------------------------------------------------------------- */

void sim_save_left(struct sim *sim, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes)
{
	const struct sim_save *save = sim->save;
	uint64_t rest = save->staged - save->taken;

	*ret_initial_bytes = (save->blocks - save->cursor) * SIM_BLOCK_RECORD_SIZE;
	*ret_dirty_bytes = save->dirty_count * SIM_BLOCK_RECORD_SIZE;
	if (save->phase == PHASE_HEADER)
		*ret_initial_bytes += SIM_STREAM_HEADER_SIZE;
	if (save->staged_initial)
		*ret_initial_bytes += rest;
	else
		*ret_dirty_bytes += rest;
}

uint64_t sim_save_stop_bytes(struct sim *sim)
{
	const uint64_t tail = 3 * SIM_RECORD_HEADER_SIZE + HF_SIM_BAR4_SIZE + SIM_REGISTERS_SIZE +
			      SIM_TRAILER_SIZE;
	uint64_t initial = 0, dirty = 0;

	if (!sim_state_saves(sim->state))
		return SIM_STREAM_HEADER_SIZE + sim->blocks * SIM_BLOCK_RECORD_SIZE + tail;
	sim_save_left(sim, &initial, &dirty);
	switch (sim->save->phase) {
	case PHASE_HEADER:
	case PHASE_BLOCKS:
	case PHASE_BAR4:
		return initial + dirty + tail;
	case PHASE_REGISTERS:
		return initial + dirty + 2 * SIM_RECORD_HEADER_SIZE + SIM_REGISTERS_SIZE +
		       SIM_TRAILER_SIZE;
	case PHASE_TRAILER:
		return initial + dirty + SIM_RECORD_HEADER_SIZE + SIM_TRAILER_SIZE;
	case PHASE_END:
		return initial + dirty;
	}
	return 0;
}
