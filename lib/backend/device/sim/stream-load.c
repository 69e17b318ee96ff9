/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loading the simulated device: a strict reader of stream.h's bytes. It takes any split of the
 * bytes into writes, keeps everything apart until the arc RESUMING -> STOP, and there takes it over
 * as a whole or refuses. The first error is final for the load.
 *
 * Beyond its own digest it knows that a device's blocks follow from the number of commands it has
 * completed, so it also refuses a sound stream in which a block is older or newer than the rest.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include <xxhash.h>

#include "backend/device/sim/stream.h"

enum expect { EXPECT_HEADER, EXPECT_BLOCKS, EXPECT_REGISTERS, EXPECT_TRAILER, EXPECT_NOTHING };

/* The migration worker's, except between begin and commit, which hold the device's lock. */
struct sim_load {
	uint64_t blocks;
	enum expect expect;
	int failed;
	uint64_t records, bytes; /* complete ones, and the header's bytes */
	XXH3_state_t *hash; /* of them */
	uint64_t *sequences;
	uint64_t *seen; /* bit n: block n has come */
	uint8_t *bar4;
	struct sim_model model;
	size_t fill, need; /* bytes in record, and how many make the next step */
	uint8_t record[SIM_RECORD_MAX];
};

struct sim_load *sim_load_free(struct sim_load *load)
{
	if (!load)
		return NULL;
	free(load->sequences);
	free(load->seen);
	free(load->bar4);
	(void)XXH3_freeState(load->hash);
	free(load);
	return NULL;
}

int sim_load_begin(struct sim *sim)
{
	struct sim_load *load = calloc(1, sizeof(*load));

	assert(!sim->load);
	if (!load)
		return -ENOMEM;
	load->blocks = sim->blocks;
	load->sequences = calloc(sim->blocks, sizeof(load->sequences[0]));
	load->seen = calloc(sim->blocks / 64 + 1, 8);
	load->bar4 = calloc(1, HF_SIM_BAR4_SIZE);
	load->hash = XXH3_createState();
	if (!load->sequences || !load->seen || !load->bar4 || !load->hash) {
		(void)sim_load_free(load);
		return -ENOMEM;
	}
	(void)XXH3_64bits_reset(load->hash);
	load->expect = EXPECT_HEADER;
	load->need = SIM_STREAM_HEADER_SIZE;
	sim->load = load;
	return 0;
}

/* ---- records ------------------------------------------------------------------------------- */

static int zero(const uint8_t *from, size_t size)
{
	uint8_t any = 0;

	for (size_t i = 0; i < size; i++)
		any |= from[i];
	return any == 0;
}

static int header_valid(const struct sim *sim, const uint8_t *from)
{
	return sim_get64(from) == SIM_STREAM_MAGIC && sim_get32(from + 8) == SIM_STREAM_VERSION &&
	       sim_get32(from + 12) == SIM_STREAM_HEADER_SIZE &&
	       sim_get64(from + 16) == sim->config.state_size &&
	       sim_get32(from + 24) == HF_SIM_BAR4_SIZE && sim_get32(from + 28) == SIM_BLOCK_SIZE &&
	       memcmp(from + 32, sim->config.model, sizeof(sim->config.model)) == 0 &&
	       zero(from + 32 + SIM_MODEL_MAX, SIM_STREAM_HEADER_SIZE - 32 - SIM_MODEL_MAX);
}

/* What may come now, and how long is it? 0: nothing of that type. */
static uint32_t body_size(const struct sim_load *load, uint32_t type)
{
	if (load->expect == EXPECT_BLOCKS && type == SIM_RECORD_BLOCK)
		return SIM_BLOCK_SIZE;
	if (load->expect == EXPECT_BLOCKS && type == SIM_RECORD_BAR4)
		return HF_SIM_BAR4_SIZE;
	if (load->expect == EXPECT_REGISTERS && type == SIM_RECORD_REGISTERS)
		return SIM_REGISTERS_SIZE;
	if (load->expect == EXPECT_TRAILER && type == SIM_RECORD_TRAILER)
		return SIM_TRAILER_SIZE;
	return 0;
}

static int record_header(struct sim_load *load)
{
	const uint8_t *from = load->record;
	uint32_t type = sim_get32(from), length = sim_get32(from + 4);
	uint32_t size = body_size(load, type);

	if (!size || length != size || sim_get64(from + 8) != load->records)
		return -EINVAL;
	if (type != SIM_RECORD_BLOCK && !zero(from + 16, 16))
		return -EINVAL;
	load->need = SIM_RECORD_HEADER_SIZE + size;
	return 0;
}

static int content_valid(const uint8_t *body, uint64_t index, uint64_t sequence)
{
	uint64_t words[SIM_BLOCK_WORDS];
	uint64_t word = sim_block_base(index, sequence), wrong = 0;

	memcpy(words, body, sizeof(words));
	for (uint32_t w = 0; w < SIM_BLOCK_WORDS; w++) {
		wrong |= le64toh(words[w]) ^ word;
		word += HF_SIM_WORD(0, 1);
	}
	return wrong == 0;
}

static int block(struct sim_load *load)
{
	uint64_t index = sim_get64(load->record + 16), sequence = sim_get64(load->record + 24);
	uint64_t bit = 1ull << (index % 64);

	if (index >= load->blocks)
		return -EINVAL;
	if (sequence && HF_SIM_BLOCK(sequence, load->blocks) != index)
		return -EINVAL;
	if ((load->seen[index / 64] & bit) && sequence <= load->sequences[index])
		return -EINVAL;
	if (!content_valid(load->record + SIM_RECORD_HEADER_SIZE, index, sequence))
		return -EINVAL;
	load->seen[index / 64] |= bit;
	load->sequences[index] = sequence;
	return 0;
}

static int registers(struct sim_load *load)
{
	const uint8_t *body = load->record + SIM_RECORD_HEADER_SIZE;

#define GET64(offset, member) load->model.member = sim_get64(body + (offset));
#define GET32(offset, member) load->model.member = sim_get32(body + (offset));
	SIM_REGISTERS_LIST(GET64, GET32)
#undef GET64
#undef GET32
	if (!zero(body + SIM_REGISTERS_USED, SIM_REGISTERS_SIZE - SIM_REGISTERS_USED))
		return -EINVAL;
	return sim_model_valid(&load->model) ? 0 : -EINVAL;
}

static int trailer(const struct sim_load *load)
{
	const uint8_t *body = load->record + SIM_RECORD_HEADER_SIZE;

	return sim_get64(body) == load->records && sim_get64(body + 8) == load->bytes &&
			       sim_get64(body + 16) == XXH3_64bits_digest(load->hash) &&
			       sim_get64(body + 24) == 0
		       ? 0
		       : -EINVAL;
}

/* ---- step by step -------------------------------------------------------------------------- */

static int whole_record(struct sim_load *load)
{
	int r = -EINVAL;

	switch (sim_get32(load->record)) {
	case SIM_RECORD_BLOCK:
		r = block(load);
		break;
	case SIM_RECORD_BAR4:
		memcpy(load->bar4, load->record + SIM_RECORD_HEADER_SIZE, HF_SIM_BAR4_SIZE);
		load->expect = EXPECT_REGISTERS;
		r = 0;
		break;
	case SIM_RECORD_REGISTERS:
		r = registers(load);
		load->expect = EXPECT_TRAILER;
		break;
	case SIM_RECORD_TRAILER:
		r = trailer(load);
		load->expect = EXPECT_NOTHING;
		break;
	default:
		break;
	}
	load->records++;
	return r;
}

/* As many bytes are in record as the step needs: take the step. */
static int advance(const struct sim *sim, struct sim_load *load)
{
	int r;

	if (load->expect == EXPECT_HEADER) {
		r = header_valid(sim, load->record) ? 0 : -EINVAL;
		load->expect = EXPECT_BLOCKS;
	} else if (load->need == SIM_RECORD_HEADER_SIZE) {
		return record_header(load);
	} else {
		r = whole_record(load);
	}
	(void)XXH3_64bits_update(load->hash, load->record, load->fill);
	load->bytes += load->fill;
	load->fill = 0;
	load->need = SIM_RECORD_HEADER_SIZE;
	return r;
}

ssize_t sim_load_write(struct sim *sim, const void *buf, size_t size)
{
	struct sim_load *load = sim->load;
	const uint8_t *from = buf;
	size_t done = 0;

	size = sim_portion(sim, size);
	while (done < size && !load->failed) {
		size_t n = load->need - load->fill;

		if (load->expect == EXPECT_NOTHING) {
			load->failed = 1; /* more than there may be */
			break;
		}
		if (n > size - done)
			n = size - done;
		memcpy(load->record + load->fill, from + done, n);
		load->fill += n;
		done += n;
		if (load->fill == load->need && advance(sim, load) < 0)
			load->failed = 1;
	}
	if (load->failed)
		return -EINVAL;
	sim_pace(sim, size);
	return (ssize_t)size;
}

/* ---- the arc ------------------------------------------------------------------------------- */

/* The command that wrote a block last, of the first completed ones. */
static uint64_t last_writer(uint64_t index, uint64_t blocks, uint64_t completed)
{
	return completed < index ? 0 : completed - ((completed - index) & (blocks - 1));
}

static int consistent(const struct sim_load *load)
{
	for (uint64_t i = 0; i < load->blocks; i++) {
		if (!(load->seen[i / 64] & (1ull << (i % 64))))
			return 0;
		if (load->sequences[i] != last_writer(i, load->blocks, load->model.completed))
			return 0;
	}
	return 1;
}

int sim_load_commit(struct sim *sim)
{
	struct sim_load *load = sim->load;
	uint64_t *old = sim->sequences;

	assert(load);
	if (load->failed || load->expect != EXPECT_NOTHING || load->fill || !consistent(load))
		return -EINVAL;
	sim->sequences = load->sequences;
	load->sequences = old;
	memcpy(sim->bar4, load->bar4, HF_SIM_BAR4_SIZE);
	sim->model = load->model;
	sim->load = sim_load_free(load);
	return 0;
}
