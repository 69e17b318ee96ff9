/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of saving while the device runs. */
#include <errno.h>
#include <inttypes.h>

#include "check/run.h"

#define LARGE (1u << 20)
#define PASSES_MAX 64u

static bool ask(struct check *c, uint64_t *ret_initial, uint64_t *ret_dirty)
{
	int r = OPS(c)->precopy_info(SELF(c), ret_initial, ret_dirty);

	return r >= 0 || check_fail(c, "in %s asking how much there is gave %s",
				    hf_device_state_name(check_state(c)), check_errno(r));
}

void check_pre_info(struct check *c)
{
	uint64_t initial, dirty;

	if (check_go(c, HF_DEVICE_PRE_COPY))
		(void)ask(c, &initial, &dirty);
}

void check_pre_info_p2p(struct check *c)
{
	uint64_t initial, dirty;

	if (check_go(c, HF_DEVICE_PRE_COPY_P2P))
		(void)ask(c, &initial, &dirty);
}

void check_pre_info_late(struct check *c)
{
	static const uint32_t states[] = { HF_DEVICE_STOP_COPY, HF_DEVICE_STOP, HF_DEVICE_RUNNING };
	uint64_t initial, dirty;

	for (uint32_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (!check_reset(c) || !check_go(c, states[i]))
			return;
		if (OPS(c)->precopy_info(SELF(c), &initial, &dirty) >= 0) {
			(void)check_fail(c, "in %s it was answered",
					 hf_device_state_name(states[i]));
			return;
		}
	}
}

void check_pre_initial(struct check *c)
{
	uint64_t initial = 0, dirty;

	if (check_go(c, HF_DEVICE_PRE_COPY) && ask(c, &initial, &dirty) && initial == 0)
		(void)check_fail(c, "there are no initial bytes");
}

void check_pre_falls(struct check *c)
{
	uint64_t before = 0, between = 0, after = 0, dirty;

	if (!check_go(c, HF_DEVICE_PRE_COPY) || !ask(c, &before, &dirty) ||
	    !check_read(c, &c->whole, LARGE, before / 2 + 1) || !ask(c, &between, &dirty) ||
	    !check_read(c, &c->whole, LARGE, UINT64_MAX) || !ask(c, &after, &dirty))
		return;
	if (before && between >= before)
		(void)check_fail(c,
				 "%" PRIu64 " initial bytes, and %" PRIu64 " after half of "
				 "them were read",
				 before, between);
	else if (after)
		(void)check_fail(c, "%" PRIu64 " initial bytes are left when all was read", after);
}

static ssize_t read_at_end(struct check *c)
{
	uint8_t buf[64];

	return OPS(c)->read_data(SELF(c), buf, sizeof(buf));
}

/* Into PRE_COPY and to where there is nothing to read for now. */
static bool to_the_end(struct check *c, struct check_bytes *stream)
{
	return check_go(c, HF_DEVICE_PRE_COPY) && check_read(c, stream, LARGE, UINT64_MAX);
}

void check_pre_enomsg(struct check *c)
{
	ssize_t n;

	if (!to_the_end(c, &c->whole))
		return;
	n = read_at_end(c);
	if (n != -ENOMSG)
		(void)check_fail(c, "with nothing to read for now, read gave %s instead of ENOMSG",
				 check_errno(n));
}

void check_pre_end_again(struct check *c)
{
	if (!to_the_end(c, &c->whole))
		return;
	for (uint32_t i = 0; i < 3; i++) {
		ssize_t n = read_at_end(c);

		if (n != -ENOMSG && n != 0) {
			(void)check_fail(c, "at the end for now read gave %s", check_errno(n));
			return;
		}
	}
	(void)check_stands(c, HF_DEVICE_PRE_COPY, "at the end for now");
}

void check_pre_idle(struct check *c)
{
	uint64_t initial = 0, dirty = 0;

	if (!check_go(c, HF_DEVICE_PRE_COPY))
		return;
	for (uint32_t i = 0; i < PASSES_MAX; i++) {
		if (!check_read(c, &c->whole, LARGE, UINT64_MAX) || !ask(c, &initial, &dirty))
			return;
		if (initial == 0 && dirty == 0)
			return;
		c->whole.size = 0;
	}
	(void)check_fail(c,
			 "nothing works, and after %u passes there are %" PRIu64 " initial and "
			 "%" PRIu64 " dirty bytes",
			 PASSES_MAX, initial, dirty);
}

void check_pre_busy(struct check *c)
{
	uint64_t initial = 0, dirty = 0;

	if (to_the_end(c, &c->whole) && check_work(c) && ask(c, &initial, &dirty) && dirty == 0)
		(void)check_fail(c, "after work there are no dirty bytes");
}

void check_pre_works(struct check *c)
{
	if (check_go(c, HF_DEVICE_PRE_COPY))
		(void)check_work(c);
}

/*
 * A stream of which limit bytes are read in PRE_COPY, loaded: the device that comes of it saves the
 * same bytes as the one that was saved.
 */
static void whole_after(struct check *c, bool half, bool all)
{
	struct check_bytes *stream = &c->damaged;
	uint64_t limit = 0;

	if (!check_work(c))
		return;
	if (half || all) {
		uint64_t initial = 0, dirty = 0;

		if (!check_go(c, HF_DEVICE_PRE_COPY) || !ask(c, &initial, &dirty))
			return;
		limit = all ? UINT64_MAX : initial / 2 + 1;
	} else if (!check_go(c, HF_DEVICE_PRE_COPY)) {
		return;
	}
	if (!check_read(c, stream, LARGE, limit) || !check_save(c, stream) ||
	    !check_go(c, HF_DEVICE_STOP) || !check_save(c, &c->whole))
		return;
	(void)check_loads_same(c, stream, &c->whole);
}

void check_pre_unread(struct check *c)
{
	whole_after(c, false, false);
}

void check_pre_partial(struct check *c)
{
	whole_after(c, true, false);
}

void check_pre_all(struct check *c)
{
	whole_after(c, false, true);
}

void check_pre_switch(struct check *c)
{
	struct check_bytes *stream = &c->damaged;
	uint64_t initial = 0, dirty = 0;

	if (!check_work(c) || !check_go(c, HF_DEVICE_PRE_COPY) || !ask(c, &initial, &dirty) ||
	    !check_read(c, stream, LARGE, initial / 4 + 1) ||
	    !check_go(c, HF_DEVICE_PRE_COPY_P2P) ||
	    !check_read(c, stream, LARGE, initial / 4 + 1) || !check_go(c, HF_DEVICE_PRE_COPY) ||
	    !check_read(c, stream, LARGE, UINT64_MAX) || !check_save(c, stream) ||
	    !check_go(c, HF_DEVICE_STOP) || !check_save(c, &c->whole))
		return;
	(void)check_loads_same(c, stream, &c->whole);
}

void check_pre_changes(struct check *c)
{
	struct check_bytes *stream = &c->damaged;
	uint64_t before = 0, after = 0;

	if (!to_the_end(c, stream) || !check_work(c) || !c->driver->registers(c, &before) ||
	    !check_read(c, stream, LARGE, UINT64_MAX) || !check_save(c, stream) ||
	    !check_reset(c) || !check_load(c, stream, LARGE) || !check_go(c, HF_DEVICE_RUNNING) ||
	    !c->driver->registers(c, &after))
		return;
	if (before != after)
		(void)check_fail(c, "what changed while it was saved is not in the device that "
				    "was loaded");
}

void check_pre_less(struct check *c)
{
	if (!check_save(c, &c->whole) || !check_go(c, HF_DEVICE_RUNNING) ||
	    !to_the_end(c, &c->other))
		return;
	c->damaged.size = 0;
	if (check_save(c, &c->damaged) && c->damaged.size >= c->whole.size)
		(void)check_fail(c,
				 "%zu bytes are read in STOP_COPY after PRE_COPY, and %zu "
				 "without",
				 c->damaged.size, c->whole.size);
}

void check_pre_again(struct check *c)
{
	struct check_bytes *stream = &c->damaged;

	if (!check_work(c) || !to_the_end(c, stream) || !check_go(c, HF_DEVICE_RUNNING))
		return;
	stream->size = 0;
	if (!to_the_end(c, stream) || !check_save(c, stream) || !check_go(c, HF_DEVICE_STOP) ||
	    !check_save(c, &c->whole))
		return;
	(void)check_loads_same(c, stream, &c->whole);
}
