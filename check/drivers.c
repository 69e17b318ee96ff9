/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What makes devices work, for checks of their work: the simulated device by its registers
 * (holdfast/sim.h), and the kernel's sample mtty by its scratch registers. One more model is one
 * more row.
 */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <holdfast/sim.h>

#include "check/run.h"

#define DONE_MS 20000u /* a piece of work, also on a host that is overloaded */
#define INTERRUPT_MS 1000 /* an interrupt, when the work is done */
#define RING_IOVA CHECK_RAM_IOVA
#define RING_ENTRIES 64u
#define BEAT_IOVA (CHECK_RAM_IOVA + 0x1000)
#define BEAT_ENTRIES 64u
#define BEAT_PERIOD_US 200u

static bool get(struct check *c, uint64_t reg, void *value, size_t size)
{
	int r = OPS(c)->region_read(SELF(c), 0, reg, value, size);

	return r == 0 || check_fail(c, "reading register 0x%llx gave %s", (unsigned long long)reg,
				    check_errno(r));
}

static bool put(struct check *c, uint64_t reg, uint64_t value, size_t size)
{
	int r = OPS(c)->region_write(SELF(c), 0, reg, &value, size); /* little endian */

	return r == 0 || check_fail(c, "writing register 0x%llx gave %s", (unsigned long long)reg,
				    check_errno(r));
}

/* ---- the simulated device ------------------------------------------------------------------ */

static bool sim_probe(struct check *c)
{
	uint32_t magic = 0;

	return OPS(c)->region_read(SELF(c), 0, HF_SIM_MAGIC, &magic, sizeof(magic)) == 0 &&
	       magic == HF_SIM_MAGIC_VALUE;
}

/* Wait for a vector's eventfd at most ms. */
static bool signalled(struct check *c, uint32_t vector, int ms)
{
	struct pollfd p = { .fd = c->eventfds[vector], .events = POLLIN };
	uint64_t n;

	return poll(&p, 1, ms) == 1 && read(p.fd, &n, sizeof(n)) == sizeof(n);
}

/* Wait until COMPLETED counts; the interrupt is a hint, and is not taken. */
static bool sim_wait(struct check *c, uint64_t sequence, uint32_t ms)
{
	const uint64_t until = check_now_ns() + ms * 1000000ull;
	struct pollfd hint = { .fd = c->eventfds[0], .events = POLLIN };
	uint64_t completed = 0;

	do {
		if (!get(c, HF_SIM_COMPLETED, &completed, sizeof(completed)))
			return false;
		if (completed >= sequence)
			return true;
		(void)poll(&hint, 1, 1);
	} while (check_now_ns() < until);
	return false;
}

static bool sim_submit(struct check *c, uint32_t op, uint64_t iova, uint32_t length,
		       uint64_t *ret_sequence)
{
	uint64_t before = 0;

	if (!get(c, HF_SIM_SUBMITTED, &before, sizeof(before)) ||
	    !put(c, HF_SIM_RING, RING_IOVA, 8) || !put(c, HF_SIM_RING_ENTRIES, RING_ENTRIES, 4) ||
	    !put(c, HF_SIM_SRC, iova, 8) || !put(c, HF_SIM_DST, iova, 8) ||
	    !put(c, HF_SIM_LENGTH, length, 4) || !put(c, HF_SIM_COMMAND, op, 4) ||
	    !get(c, HF_SIM_SUBMITTED, ret_sequence, sizeof(*ret_sequence)))
		return false;
	return *ret_sequence == before + 1 || check_fail(c, "it does not take a command");
}

static bool sim_command(struct check *c, uint32_t op, uint64_t iova, uint32_t length)
{
	uint64_t sequence = 0;
	uint32_t status = 0;

	if (!sim_submit(c, op, iova, length, &sequence))
		return false;
	if (!sim_wait(c, sequence, DONE_MS))
		return check_fail(c, "a command is not done after %u ms", DONE_MS);
	if (!get(c, HF_SIM_STATUS, &status, sizeof(status)))
		return false;
	return !(status & HF_SIM_STATUS_FAULT) || check_fail(c, "a command failed");
}

static bool sim_work(struct check *c, uint64_t iova, uint32_t length)
{
	uint64_t first = 0, sequence = 0;

	if (!sim_command(c, HF_SIM_CMD_FILL, iova, length) ||
	    !get(c, HF_SIM_COMPLETED, &sequence, sizeof(sequence)))
		return false;
	if (iova < CHECK_RAM_IOVA || iova >= CHECK_RAM_IOVA + CHECK_RAM_SIZE)
		return true;
	memcpy(&first, c->ram + (iova - CHECK_RAM_IOVA), sizeof(first));
	return first == HF_SIM_WORD(sequence, 0) || check_fail(c, "a command is done, but what it "
								  "should write is not there");
}

static bool sim_read(struct check *c, uint64_t iova, uint32_t length)
{
	return sim_command(c, HF_SIM_CMD_SUM, iova, length);
}

static bool sim_beat(struct check *c)
{
	return put(c, HF_SIM_BEAT_RING, BEAT_IOVA, 8) &&
	       put(c, HF_SIM_BEAT_ENTRIES, BEAT_ENTRIES, 4) &&
	       put(c, HF_SIM_BEAT_PERIOD, BEAT_PERIOD_US, 4) &&
	       (signalled(c, 1, (int)DONE_MS) || check_fail(c, "its beat does not begin"));
}

static bool sim_start_peer(struct check *c)
{
	uint64_t sequence = 0;

	return sim_submit(c, HF_SIM_CMD_FILL, CHECK_PEER_IOVA, 256, &sequence);
}

static bool sim_peer_done(struct check *c)
{
	uint64_t submitted = 0, first = 0;

	if (!get(c, HF_SIM_SUBMITTED, &submitted, sizeof(submitted)) ||
	    !sim_wait(c, submitted, DONE_MS))
		return false;
	memcpy(&first, c->peer, sizeof(first));
	return submitted && first == HF_SIM_WORD(submitted, 0);
}

static bool sim_came(struct check *c)
{
	return signalled(c, 0, INTERRUPT_MS);
}

static bool sim_interrupt(struct check *c)
{
	uint64_t sequence = 0;

	while (signalled(c, 0, 0))
		;
	return sim_submit(c, HF_SIM_CMD_FILL, CHECK_WORK_IOVA, 64, &sequence) &&
	       sim_wait(c, sequence, DONE_MS) &&
	       (sim_came(c) || check_fail(c, "work is done, but no interrupt comes"));
}

static bool sim_registers(struct check *c, uint64_t *ret_sum)
{
	static const uint8_t offsets[] = {
		HF_SIM_SRC,	     HF_SIM_DST,	  HF_SIM_LENGTH,    HF_SIM_RING,
		HF_SIM_RING_ENTRIES, HF_SIM_SUBMITTED,	  HF_SIM_COMPLETED, HF_SIM_STATE_SIZE,
		HF_SIM_BEAT_RING,    HF_SIM_BEAT_ENTRIES, HF_SIM_ERRORS
	};
	uint64_t sum = 0, v = 0;

	for (uint32_t i = 0; i < sizeof(offsets); i++) {
		if (!get(c, offsets[i], &v, sizeof(v)))
			return false;
		sum = (sum ^ v) * 0x100000001b3ull + i;
	}
	for (uint64_t word = 0; word < 4096; word += 511) {
		if (!put(c, HF_SIM_STATE_INDEX, word, 8) || !get(c, HF_SIM_STATE_WORD, &v, 8))
			return false;
		sum = (sum ^ v) * 0x100000001b3ull;
	}
	*ret_sum = sum;
	return true;
}

static bool sim_poke(struct check *c, uint64_t value, uint64_t *ret_read)
{
	return put(c, HF_SIM_DST, value, 8) && get(c, HF_SIM_DST, ret_read, 8);
}

const struct check_driver check_driver_sim = {
	.name = "sim",
	.can = CHECK_NEEDS_WORK | CHECK_NEEDS_DMA | CHECK_NEEDS_IRQ | CHECK_NEEDS_BEAT |
	       CHECK_NEEDS_PEER | CHECK_NEEDS_PENDING | CHECK_NEEDS_READ,
	.probe = sim_probe,
	.work = sim_work,
	.read = sim_read,
	.beat = sim_beat,
	.start_peer = sim_start_peer,
	.peer_done = sim_peer_done,
	.interrupt = sim_interrupt,
	.came = sim_came,
	.registers = sim_registers,
	.poke = sim_poke,
};

/* ---- mtty ---------------------------------------------------------------------------------- */

#define MTTY_VENDOR_ID 0x4348
#define MTTY_DEVICE_ID 0x3253
#define MTTY_SCRATCH 7 /* of a 16550 UART */

static bool mtty_probe(struct check *c)
{
	return c->info.vendor_id == MTTY_VENDOR_ID && c->info.device_id == MTTY_DEVICE_ID;
}

static bool mtty_poke(struct check *c, uint64_t value, uint64_t *ret_read)
{
	*ret_read = 0;
	return put(c, MTTY_SCRATCH, value & 0xff, 1) && get(c, MTTY_SCRATCH, ret_read, 1);
}

/* It has no DMA: its work is to keep what it is given. */
static bool mtty_work(struct check *c, uint64_t iova, uint32_t length)
{
	const uint64_t value = (iova / HF_PAGE_SIZE + length) & 0xff;
	uint64_t back = 0;

	return mtty_poke(c, value, &back) &&
	       (back == value || check_fail(c, "its scratch register does not keep what it gets"));
}

static bool mtty_registers(struct check *c, uint64_t *ret_sum)
{
	*ret_sum = 0;
	return get(c, MTTY_SCRATCH, ret_sum, 1);
}

const struct check_driver check_driver_mtty = {
	.name = "mtty",
	.can = CHECK_NEEDS_WORK,
	.probe = mtty_probe,
	.work = mtty_work,
	.registers = mtty_registers,
	.poke = mtty_poke,
};

const struct check_driver *check_driver_of(struct check *c)
{
	static const struct check_driver *const drivers[] = { &check_driver_sim, &check_driver_mtty,
							      &check_driver_labdma };

	for (uint32_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
		if (drivers[i]->probe(c))
			return drivers[i];
	return NULL;
}
