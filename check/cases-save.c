/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of the stream that is read in STOP_COPY. */
#include <errno.h>
#include <string.h>

#include "check/run.h"

#define LARGE (1u << 20)

void check_save_something(struct check *c)
{
	if (check_save(c, &c->whole) && c->whole.size == 0)
		(void)check_fail(c, "the stream is empty");
}

void check_save_bounds(struct check *c)
{
	static const size_t sizes[] = { 1, 2, 3, 16, 100, 4096, 65536 };
	uint8_t buf[65536];

	if (!check_go(c, HF_DEVICE_STOP_COPY))
		return;
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		ssize_t n = OPS(c)->read_data(SELF(c), buf, sizes[i]);

		if (n > (ssize_t)sizes[i]) {
			(void)check_fail(c, "a read of %zu bytes gave %zd", sizes[i], n);
			return;
		}
	}
}

void check_save_eof(struct check *c)
{
	uint8_t buf[64];

	if (!check_save(c, &c->whole))
		return;
	for (uint32_t i = 0; i < 3; i++) {
		ssize_t n = OPS(c)->read_data(SELF(c), buf, sizeof(buf));

		if (n != 0) {
			(void)check_fail(c, "after the end read gave %s", check_errno(n));
			return;
		}
	}
}

void check_save_enomsg(struct check *c)
{
	uint8_t buf[4096];
	ssize_t n;

	if (!check_go(c, HF_DEVICE_STOP_COPY))
		return;
	do
		n = OPS(c)->read_data(SELF(c), buf, sizeof(buf));
	while (n > 0);
	if (n == 0)
		n = OPS(c)->read_data(SELF(c), buf, sizeof(buf));
	if (n == -ENOMSG)
		(void)check_fail(c, "in STOP_COPY read gave ENOMSG");
}

void check_save_split(struct check *c)
{
	static const size_t chunks[] = { 1, 7, 4095, 4096 };

	if (!check_work(c) || !check_save(c, &c->whole))
		return;
	for (uint32_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		c->other.size = 0;
		if (!check_go(c, HF_DEVICE_STOP) || !check_go(c, HF_DEVICE_STOP_COPY) ||
		    !check_read(c, &c->other, chunks[i], UINT64_MAX) ||
		    !check_same(c, &c->whole, &c->other, "by reads of another length"))
			return;
	}
}

void check_save_zero(struct check *c)
{
	uint8_t byte = 0;
	ssize_t n;

	if (!check_work(c) || !check_save(c, &c->whole) || !check_go(c, HF_DEVICE_STOP) ||
	    !check_go(c, HF_DEVICE_STOP_COPY))
		return;
	n = OPS(c)->read_data(SELF(c), &byte, 0);
	if (n != 0)
		(void)check_fail(c, "a read of no bytes gave %s", check_errno(n));
	else if (check_read(c, &c->other, LARGE, UINT64_MAX))
		(void)check_same(c, &c->whole, &c->other, "after a read of no bytes");
}

void check_save_same(struct check *c)
{
	if (check_work(c) && check_save(c, &c->whole) && check_go(c, HF_DEVICE_STOP) &&
	    check_save(c, &c->other))
		(void)check_same(c, &c->whole, &c->other, "saved twice");
}

/* A save of which a part was read, up to there. */
static bool partly(struct check *c)
{
	return check_save(c, &c->whole) && check_go(c, HF_DEVICE_STOP) &&
	       check_go(c, HF_DEVICE_STOP_COPY) &&
	       check_read(c, &c->other, LARGE, c->whole.size / 2);
}

void check_save_ends_stop(struct check *c)
{
	if (partly(c) && check_go(c, HF_DEVICE_STOP))
		(void)check_read_nothing(c, "in STOP");
}

void check_save_ends_run(struct check *c)
{
	if (partly(c) && check_go(c, HF_DEVICE_RUNNING))
		(void)check_read_nothing(c, "in RUNNING");
}

void check_save_ends_reset(struct check *c)
{
	if (partly(c) && check_reset(c))
		(void)check_read_nothing(c, "after a reset");
}

void check_save_fresh(struct check *c)
{
	if (!check_work(c) || !partly(c) || !check_go(c, HF_DEVICE_STOP))
		return;
	c->other.size = 0;
	if (check_save(c, &c->other))
		(void)check_same(c, &c->whole, &c->other, "saved after a save that was given up");
}

void check_save_partial(struct check *c)
{
	if (partly(c))
		(void)check_go(c, HF_DEVICE_STOP);
}

void check_save_partial_run(struct check *c)
{
	if (partly(c))
		(void)check_go(c, HF_DEVICE_RUNNING);
}

void check_save_stays(struct check *c)
{
	if (check_save(c, &c->whole))
		(void)check_stands(c, HF_DEVICE_STOP_COPY, "after all was read");
}

void check_save_no_write(struct check *c)
{
	static const uint8_t bytes[16];
	ssize_t n;

	if (!check_go(c, HF_DEVICE_STOP_COPY))
		return;
	n = OPS(c)->write_data(SELF(c), bytes, sizeof(bytes));
	if (n >= 0)
		(void)check_fail(c, "in STOP_COPY a write gave %s", check_errno(n));
}

void check_save_harmless(struct check *c)
{
	uint64_t before = 0, after = 0;

	if (!check_work(c) || !c->driver->registers(c, &before) || !check_save(c, &c->whole) ||
	    !check_go(c, HF_DEVICE_RUNNING) || !c->driver->registers(c, &after))
		return;
	if (before != after)
		(void)check_fail(c, "registers are others than before the save");
	else
		(void)check_work(c);
}
