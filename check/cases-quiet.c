/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of what must not happen: a device that is stopped, or kept from its peers, is quiet. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/run.h"

#define LOOKS_MIN 8u

/* Has any vector signalled? Waits ms for it. */
static bool any_interrupt(struct check *c, int ms)
{
	struct pollfd p[CHECK_VECTORS];

	for (uint32_t v = 0; v < CHECK_VECTORS; v++)
		p[v] = (struct pollfd){ .fd = c->eventfds[v], .events = POLLIN };
	return poll(p, CHECK_VECTORS, ms) > 0;
}

static void take_interrupts(struct check *c)
{
	uint64_t n;

	for (uint32_t v = 0; v < CHECK_VECTORS; v++)
		while (read(c->eventfds[v], &n, sizeof(n)) == sizeof(n))
			;
}

/* Watch memory for a while, in which the device is also asked where it stands. */
static bool memory_still(struct check *c, uint8_t *memory, size_t size, const char *whose)
{
	const uint32_t state = check_state(c);
	uint8_t *copy = malloc(size);
	bool still = copy != NULL || check_skip(c, "too little memory");
	uint64_t until;

	if (still)
		memcpy(copy, memory, size);
	until = check_now_ns() + CHECK_QUIET_MS * 1000000ull;
	/* On a host that is overloaded the time may be over at once: look all the same. */
	for (uint32_t looks = 0; still && (looks < LOOKS_MIN || check_now_ns() < until); looks++) {
		(void)any_interrupt(c, 1);
		take_interrupts(c);
		still = check_stands(c, state, "while nothing was asked of it");
	}
	if (still && memcmp(copy, memory, size) != 0)
		still = check_fail(c, "in %s it wrote %s", hf_device_state_name(state), whose);
	free(copy);
	return still;
}

static void quiet_in(struct check *c, uint32_t state)
{
	if (c->driver->beat(c) && check_go(c, state))
		(void)memory_still(c, c->ram, CHECK_RAM_SIZE, "memory");
}

void check_arc_quiet_stop(struct check *c)
{
	quiet_in(c, HF_DEVICE_STOP);
}

void check_arc_quiet_stop_copy(struct check *c)
{
	quiet_in(c, HF_DEVICE_STOP_COPY);
}

void check_arc_quiet_resuming(struct check *c)
{
	quiet_in(c, HF_DEVICE_RESUMING);
}

void check_arc_quiet_irqs(struct check *c)
{
	static const uint32_t states[] = { HF_DEVICE_STOP, HF_DEVICE_STOP_COPY,
					   HF_DEVICE_RESUMING };

	for (uint32_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		uint64_t until;

		if (!check_reset(c) || !c->driver->beat(c) || !check_go(c, states[i]))
			return;
		take_interrupts(c);
		until = check_now_ns() + CHECK_QUIET_MS * 1000000ull;
		for (uint32_t looks = 0; looks < LOOKS_MIN || check_now_ns() < until; looks++)
			if (check_state(c) == states[i] && any_interrupt(c, 1)) {
				(void)check_fail(c, "in %s an interrupt was signalled",
						 hf_device_state_name(states[i]));
				return;
			}
	}
}

void check_arc_access(struct check *c)
{
	static const uint32_t states[] = { HF_DEVICE_STOP, HF_DEVICE_STOP_COPY,
					   HF_DEVICE_RESUMING };
	uint32_t word = 0;

	for (uint32_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (!check_reset(c) || !check_go(c, states[i]))
			return;
		for (uint32_t region = 0; region < c->info.region_count; region++) {
			struct hf_region_info info = { 0 };

			if (OPS(c)->region_info(SELF(c), region, &info) < 0 || info.size < 4)
				continue;
			/* It may fail. The same word is written back, so that nothing is meant. */
			if (OPS(c)->region_read(SELF(c), region, 0, &word, sizeof(word)) == 0)
				(void)OPS(c)->region_write(SELF(c), region, 0, &word, sizeof(word));
			if (!check_stands(c, states[i], "after an access"))
				return;
		}
		if (!check_reset(c) || !check_work(c))
			return;
	}
}

/* ---- peers --------------------------------------------------------------------------------- */

void check_arc_p2p_quiet(struct check *c)
{
	static const uint32_t states[] = { HF_DEVICE_RUNNING_P2P, HF_DEVICE_PRE_COPY_P2P };

	for (uint32_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (!check_has(c, states[i]))
			continue;
		if (!check_reset(c) || !check_go(c, states[i]) || !c->driver->start_peer(c) ||
		    !memory_still(c, c->peer, CHECK_PEER_SIZE, "into another device"))
			return;
	}
}

void check_arc_p2p_open(struct check *c)
{
	const uint64_t value = 0x55; /* a register of any width */
	uint64_t back = 0;

	if (!check_go(c, HF_DEVICE_RUNNING_P2P) || !c->driver->poke(c, value, &back))
		return;
	if (back != value)
		(void)check_fail(c, "in RUNNING_P2P a register does not take what is written");
}

void check_arc_p2p_resumes(struct check *c)
{
	if (!check_go(c, HF_DEVICE_RUNNING_P2P) || !c->driver->start_peer(c) ||
	    !check_go(c, HF_DEVICE_RUNNING))
		return;
	if (!c->driver->peer_done(c))
		(void)check_fail(c, "work into another device is not done after RUNNING_P2P");
}
