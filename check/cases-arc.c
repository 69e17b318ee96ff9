/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of the states and the ways between them. */
#include <errno.h>
#include <inttypes.h>

#include "check/run.h"

#define WALK_STEPS 1000u
#define WALK_RESUMING 24u /* every so many steps through RESUMING: they carry a whole stream */

/* From RUNNING to a state; in RESUMING with a whole stream written, so that it can be left. */
static bool enter(struct check *c, uint32_t state)
{
	int r;

	if (!check_go(c, state))
		return false;
	if (state != HF_DEVICE_RESUMING)
		return true;
	r = check_write(c, &c->whole, 1u << 20);
	return r == 0 || check_fail(c, "loading what it has saved: write gave %s", check_errno(r));
}

void check_arc_legal(struct check *c)
{
	if (!check_sample(c, &c->whole))
		return;
	for (uint32_t from = 1; from < HF_DEVICE_STATE_COUNT; from++)
		for (uint32_t to = 1; to < HF_DEVICE_STATE_COUNT; to++) {
			if (!check_legal(c, from, to) || from == to)
				continue;
			if (!check_reset(c) || !enter(c, from) || !check_go(c, to))
				return;
		}
}

void check_arc_same(struct check *c)
{
	for (uint32_t state = 1; state < HF_DEVICE_STATE_COUNT; state++)
		if (check_has(c, state) &&
		    (!check_reset(c) || !check_go(c, state) || !check_go(c, state)))
			return;
}

/* Read a part of the stream, let disturb() do its worst, and the rest has to fit. */
static bool undisturbed(struct check *c, bool (*disturb)(struct check *c))
{
	if (!check_sample(c, &c->whole) || !check_load(c, &c->whole, 1u << 20) ||
	    !check_go(c, HF_DEVICE_STOP_COPY) ||
	    !check_read(c, &c->other, 1u << 20, c->whole.size / 2) || !disturb(c) ||
	    !check_read(c, &c->other, 1u << 20, UINT64_MAX))
		return false;
	return check_same(c, &c->whole, &c->other, "the stream was disturbed");
}

static bool set_same(struct check *c)
{
	return check_go(c, HF_DEVICE_STOP_COPY);
}

void check_arc_same_session(struct check *c)
{
	(void)undisturbed(c, set_same);
}

static bool set_refused(struct check *c)
{
	return check_refused(c, HF_DEVICE_STATE_COUNT) && check_refused(c, HF_DEVICE_ERROR);
}

void check_arc_refusal_session(struct check *c)
{
	(void)undisturbed(c, set_refused);
}

/* In each state a request that has to be refused. */
static bool refused_everywhere(struct check *c, uint32_t to)
{
	for (uint32_t state = 1; state < HF_DEVICE_STATE_COUNT; state++)
		if (check_has(c, state) &&
		    (!check_reset(c) || !check_go(c, state) || !check_refused(c, to)))
			return false;
	return true;
}

void check_arc_error(struct check *c)
{
	(void)refused_everywhere(c, HF_DEVICE_ERROR);
}

void check_arc_unknown(struct check *c)
{
	(void)(refused_everywhere(c, HF_DEVICE_STATE_COUNT) && refused_everywhere(c, 0xffff) &&
	       refused_everywhere(c, UINT32_MAX));
}

void check_arc_einval(struct check *c)
{
	static const uint32_t numbers[] = { HF_DEVICE_ERROR, HF_DEVICE_STATE_COUNT, UINT32_MAX };

	for (uint32_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		int r = OPS(c)->set_state(SELF(c), numbers[i]);

		if (r != -EINVAL) {
			(void)check_fail(c, "a SET to %" PRIu32 " gave %s", numbers[i],
					 check_errno(r));
			return;
		}
	}
}

void check_arc_optional(struct check *c)
{
	for (uint32_t state = 1; state < HF_DEVICE_STATE_COUNT; state++)
		if (!check_has(c, state) && !refused_everywhere(c, state))
			return;
}

static void blocked(struct check *c, uint32_t to)
{
	int r;

	if (!check_go(c, HF_DEVICE_STOP_COPY) || !check_refused(c, to))
		return;
	r = OPS(c)->set_state(SELF(c), to);
	if (r != -EINVAL)
		(void)check_fail(c, "STOP_COPY -> %s gave %s", hf_device_state_name(to),
				 check_errno(r));
}

void check_arc_blocked(struct check *c)
{
	blocked(c, HF_DEVICE_PRE_COPY);
}

void check_arc_blocked_p2p(struct check *c)
{
	blocked(c, HF_DEVICE_PRE_COPY_P2P);
}

void check_arc_walk(struct check *c)
{
	uint32_t at = HF_DEVICE_RUNNING;

	if (!check_sample(c, &c->whole))
		return;
	for (uint32_t i = 0; i < WALK_STEPS; i++) {
		uint32_t to = 1 + (uint32_t)(check_random(c) % (HF_DEVICE_STATE_COUNT - 1));

		if (to == HF_DEVICE_RESUMING && i % WALK_RESUMING)
			continue;
		if (!check_legal(c, at, to) || at == to)
			continue;
		if (!enter(c, to))
			return;
		at = to;
	}
}

/* ---- what work survives -------------------------------------------------------------------- */

void check_arc_cancel(struct check *c)
{
	if (check_go(c, HF_DEVICE_PRE_COPY) && check_go(c, HF_DEVICE_RUNNING))
		(void)check_work(c);
}

void check_arc_works(struct check *c)
{
	for (uint32_t state = 1; state < HF_DEVICE_STATE_COUNT; state++) {
		if (!check_has(c, state) || state == HF_DEVICE_RESUMING)
			continue;
		if (!check_reset(c) || !check_go(c, state) || !check_go(c, HF_DEVICE_RUNNING) ||
		    !check_work(c))
			return;
	}
}

void check_arc_stop_keeps(struct check *c)
{
	uint64_t before = 0, after = 0;

	if (!check_work(c) || !c->driver->registers(c, &before) || !check_go(c, HF_DEVICE_STOP) ||
	    !check_go(c, HF_DEVICE_RUNNING) || !c->driver->registers(c, &after))
		return;
	if (before != after)
		(void)check_fail(c, "registers are others than before STOP");
}

void check_arc_config(struct check *c)
{
	uint8_t before[64], after[64];

	if (OPS(c)->region_read(SELF(c), 7, 0, before, sizeof(before)) < 0) {
		(void)check_fail(c, "the configuration space cannot be read");
		return;
	}
	if (!check_go(c, HF_DEVICE_STOP) || !check_go(c, HF_DEVICE_RUNNING))
		return;
	if (OPS(c)->region_read(SELF(c), 7, 0, after, sizeof(after)) < 0) {
		(void)check_fail(c, "after STOP the configuration space cannot be read");
		return;
	}
	for (uint32_t i = 0; i < sizeof(before); i++)
		if (before[i] != after[i]) {
			(void)check_fail(c,
					 "byte 0x%02x of the configuration space was 0x%02x, "
					 "and is 0x%02x after STOP",
					 i, before[i], after[i]);
			return;
		}
}

void check_arc_irqs(struct check *c)
{
	if (check_go(c, HF_DEVICE_STOP) && check_go(c, HF_DEVICE_RUNNING))
		(void)c->driver->interrupt(c);
}

void check_arc_pending(struct check *c)
{
	if (!check_irqs(c, false) || !check_work(c) || !check_go(c, HF_DEVICE_STOP) ||
	    !check_go(c, HF_DEVICE_RUNNING))
		return;
	if (!check_irqs(c, true) || !c->driver->came(c))
		(void)check_fail(c, "an interrupt was due before STOP, and did not come after it");
}
