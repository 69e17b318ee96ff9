/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of loading a stream that is good. */
#include <errno.h>
#include <string.h>

#include "check/run.h"

#define LARGE (1u << 20)
#define CYCLES 40u

void check_load_identity(struct check *c)
{
	if (check_sample(c, &c->whole))
		(void)check_loads_same(c, &c->whole, &c->whole);
}

void check_load_second(struct check *c)
{
	struct check_options options = c->options;
	struct hf_error err = { 0 };

	if (!check_sample(c, &c->whole))
		return;
	check_detach(c);
	c->options.uri = options.second_uri;
	if (!check_attach(c, &err))
		(void)check_fail(c, "the second device cannot be opened: %.150s", err.text);
	else if (check_loads_same(c, &c->whole, &c->whole) && check_go(c, HF_DEVICE_RUNNING))
		(void)check_work(c);
	check_detach(c);
	c->options.uri = options.uri;
}

void check_load_split(struct check *c)
{
	static const size_t chunks[] = { 1, 7, 4095, 4096 };

	if (!check_sample(c, &c->whole))
		return;
	for (uint32_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		c->other.size = 0;
		if (!check_reset(c) || !check_load(c, &c->whole, chunks[i]) ||
		    !check_save(c, &c->other) ||
		    !check_same(c, &c->whole, &c->other, "loaded by writes of another length"))
			return;
	}
}

void check_load_bounds(struct check *c)
{
	size_t done = 0;

	if (!check_sample(c, &c->whole) || !check_go(c, HF_DEVICE_RESUMING))
		return;
	while (done < c->whole.size) {
		size_t size = c->whole.size - done < LARGE ? c->whole.size - done : LARGE;
		ssize_t n = OPS(c)->write_data(SELF(c), c->whole.data + done, size);

		if (n <= 0 || (size_t)n > size) {
			(void)check_fail(c, "a write of %zu bytes gave %s", size, check_errno(n));
			return;
		}
		done += (size_t)n;
	}
}

void check_load_cycles(struct check *c)
{
	if (!check_sample(c, &c->whole))
		return;
	for (uint32_t i = 0; i < CYCLES; i++) {
		c->other.size = 0;
		if (!check_load(c, &c->whole, LARGE) || !check_save(c, &c->other) ||
		    !check_same(c, &c->whole, &c->other, "after some cycles"))
			return;
	}
}

void check_load_works(struct check *c)
{
	uint64_t before = 0, after = 0;

	if (!check_work(c) || !c->driver->registers(c, &before) || !check_save(c, &c->whole) ||
	    !check_reset(c) || !check_load(c, &c->whole, LARGE) ||
	    !check_go(c, HF_DEVICE_RUNNING) || !c->driver->registers(c, &after))
		return;
	if (before != after)
		(void)check_fail(c, "registers are others than at the save");
	else
		(void)check_work(c);
}

void check_load_pending(struct check *c)
{
	if (!check_irqs(c, false) || !check_work(c) || !check_save(c, &c->whole) ||
	    !check_reset(c) || !check_load(c, &c->whole, LARGE) || !check_irqs(c, true) ||
	    !check_go(c, HF_DEVICE_RUNNING))
		return;
	if (!c->driver->came(c))
		(void)check_fail(c, "an interrupt was due at the save, and did not come");
}

void check_load_precopy(struct check *c)
{
	struct check_bytes *stream = &c->damaged;

	if (!check_work(c) || !check_go(c, HF_DEVICE_PRE_COPY) ||
	    !check_read(c, stream, LARGE, UINT64_MAX) || !check_save(c, stream) ||
	    !check_go(c, HF_DEVICE_STOP) || !check_save(c, &c->whole) || !check_reset(c) ||
	    !check_load(c, stream, LARGE) || !check_save(c, &c->other))
		return;
	(void)check_same(c, &c->whole, &c->other, "by way of PRE_COPY");
}

static int write_part(struct check *c, size_t from, size_t to)
{
	const struct check_bytes part = { .data = c->whole.data + from, .size = to - from };

	return check_write(c, &part, LARGE);
}

void check_load_same(struct check *c)
{
	size_t half;
	int r;

	if (!check_sample(c, &c->whole) || !check_go(c, HF_DEVICE_RESUMING))
		return;
	half = c->whole.size / 2;
	r = write_part(c, 0, half);
	if (r == 0 && !check_go(c, HF_DEVICE_RESUMING))
		return;
	if (r == 0)
		r = write_part(c, half, c->whole.size);
	if (r < 0)
		(void)check_fail(c, "with a SET to RESUMING in between, write gave %s",
				 check_errno(r));
	else
		(void)check_go(c, HF_DEVICE_STOP);
}

/* The stream with the first 8 bytes wrong: any device looks at those. */
static bool spoil(struct check *c)
{
	if (!check_put(&c->damaged, c->whole.data, c->whole.size))
		return check_skip(c, "too little memory");
	for (size_t i = 0; i < 8 && i < c->damaged.size; i++)
		c->damaged.data[i] ^= 0xff;
	return true;
}

void check_load_twice(struct check *c)
{
	if (check_sample(c, &c->whole) && spoil(c) && check_load(c, &c->whole, LARGE))
		(void)check_load_refused(c, &c->damaged, "begins wrong and comes second");
}

void check_load_empty(struct check *c)
{
	if (check_go(c, HF_DEVICE_RESUMING) && check_set(c, HF_DEVICE_STOP) == 0)
		(void)check_fail(c, "RESUMING -> STOP succeeded with nothing written");
}

void check_load_failed(struct check *c)
{
	uint32_t now;

	if (!check_sample(c, &c->whole) || !check_go(c, HF_DEVICE_RESUMING))
		return;
	c->whole.size /= 2;
	if (check_write(c, &c->whole, LARGE) == 0 && check_set(c, HF_DEVICE_RUNNING) == 0) {
		(void)check_skip(c, "it loads half a stream (hostile.truncated)");
		return;
	}
	now = check_state(c);
	if (now != HF_DEVICE_RESUMING && now != HF_DEVICE_STOP && now != HF_DEVICE_ERROR)
		(void)check_fail(c, "the load failed, and it stands in %s",
				 hf_device_state_name(now));
}

void check_load_recovers(struct check *c)
{
	if (!check_sample(c, &c->whole) || !spoil(c) || !check_go(c, HF_DEVICE_RESUMING))
		return;
	if (check_write(c, &c->damaged, LARGE) == 0)
		(void)check_set(c, HF_DEVICE_STOP); /* that it fails, other checks demand */
	(void)check_loads_same(c, &c->whole, &c->whole);
}

void check_load_abort(struct check *c)
{
	int r;

	if (!check_sample(c, &c->whole) || !check_go(c, HF_DEVICE_RESUMING))
		return;
	r = write_part(c, 0, c->whole.size / 2);
	if (r < 0)
		(void)check_fail(c, "write gave %s", check_errno(r));
	else
		(void)check_loads_same(c, &c->whole, &c->whole);
}

void check_load_late_write(struct check *c)
{
	ssize_t n;

	if (!check_sample(c, &c->whole) || !check_load(c, &c->whole, LARGE))
		return;
	n = OPS(c)->write_data(SELF(c), c->whole.data, c->whole.size < 16 ? c->whole.size : 16);
	if (n >= 0)
		(void)check_fail(c, "in STOP a write gave %s", check_errno(n));
}

void check_load_no_read(struct check *c)
{
	if (check_go(c, HF_DEVICE_RESUMING))
		(void)check_read_nothing(c, "in RESUMING");
}
