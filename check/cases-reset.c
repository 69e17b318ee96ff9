/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of the reset, and of what has limits. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <inttypes.h>
#include <string.h>

#include "check/run.h"

#define LARGE (1u << 20)
#define FD_ROUNDS 20u
#define ACCESS_LIMIT_MS 1000u
#define CONFIG_REGION 7u

void check_reset_everywhere(struct check *c)
{
	for (uint32_t state = 1; state < HF_DEVICE_STATE_COUNT; state++)
		if (check_has(c, state) && (!check_go(c, state) || !check_reset(c)))
			return;
}

void check_reset_twice(struct check *c)
{
	if (check_reset(c))
		(void)check_reset(c);
}

void check_reset_works(struct check *c)
{
	if (check_work(c) && check_reset(c))
		(void)check_work(c);
}

void check_reset_migrates(struct check *c)
{
	if (!check_sample(c, &c->whole))
		return;
	for (uint32_t state = 1; state < HF_DEVICE_STATE_COUNT; state++) {
		if (!check_has(c, state))
			continue;
		if (!check_go(c, state) || !check_loads_same(c, &c->whole, &c->whole) ||
		    !check_reset(c))
			return;
	}
}

void check_reset_clean(struct check *c)
{
	uint64_t before = 0, dirty = 0, after = 0, back = 0;

	if (!c->driver->registers(c, &before) ||
	    !c->driver->poke(c, CHECK_WORK_IOVA ^ 0x55, &back) ||
	    !c->driver->registers(c, &dirty) || !check_reset(c) || !c->driver->registers(c, &after))
		return;
	if (before == dirty)
		(void)check_fail(c, "a register did not take what was written");
	else if (after != before)
		(void)check_fail(c, "registers are others than after the reset before");
}

void check_reset_log(struct check *c)
{
	const struct hf_dma_range all = { CHECK_RAM_IOVA, CHECK_RAM_SIZE };
	uint64_t bitmap[CHECK_RAM_PAGES / 64];
	const uint64_t page = (CHECK_WORK_IOVA - CHECK_RAM_IOVA) / HF_PAGE_SIZE;
	int r = OPS(c)->dirty_start(SELF(c), HF_PAGE_SIZE, &all, 1);

	if (r < 0) {
		(void)check_fail(c, "logging does not start: %s", check_errno(r));
		return;
	}
	memset(bitmap, 0, sizeof(bitmap));
	if (!check_reset(c) || !c->driver->work(c, CHECK_WORK_IOVA, 256))
		return;
	r = OPS(c)->dirty_read(SELF(c), CHECK_RAM_IOVA, CHECK_RAM_SIZE, HF_PAGE_SIZE, bitmap);
	if (r == 0 && !(bitmap[page / 64] & 1ull << (page % 64)))
		(void)check_fail(c, "after a reset a report succeeds and lacks what was written");
}

void check_reset_advertised(struct check *c)
{
	if (check_reset(c) && !(c->info.flags & HF_DEVICE_HAS_RESET))
		(void)check_fail(c, "it can be reset, and does not say so");
}

/* ---- limits -------------------------------------------------------------------------------- */

void check_limits_fds(struct check *c)
{
	uint32_t before, after;

	if (!check_sample(c, &c->whole))
		return;
	before = check_open_fds();
	for (uint32_t i = 0; i < FD_ROUNDS; i++)
		if (!check_loads_same(c, &c->whole, &c->whole) || !check_reset(c))
			return;
	after = check_open_fds();
	if (after > before)
		(void)check_fail(c, "%" PRIu32 " descriptors were open, and %" PRIu32 " are now",
				 before, after);
}

struct reader {
	struct check *c;
	atomic_bool stop; /* the only things that both threads touch, these three */
	_Atomic uint64_t slowest_ns;
	_Atomic uint32_t reads;
};

/* As a vCPU does, which a migration does not stop. */
static void *read_config(void *arg)
{
	struct reader *a = arg;

	do {
		uint64_t began = check_now_ns(), took;
		uint32_t word;

		/* It may fail where the device is stopped; it may not hang. */
		(void)OPS(a->c)->region_read(SELF(a->c), CONFIG_REGION, 0, &word, sizeof(word));
		took = check_now_ns() - began;
		if (took > a->slowest_ns)
			a->slowest_ns = took;
		a->reads++;
	} while (!a->stop);
	return NULL;
}

void check_limits_access(struct check *c)
{
	struct reader a = { .c = c };
	pthread_t thread;
	bool good = true;

	if (!check_sample(c, &c->whole))
		return;
	if (pthread_create(&thread, NULL, read_config, &a) != 0) {
		(void)check_skip(c, "no second thread");
		return;
	}
	/* Both sides have their share, however they are scheduled. */
	for (uint32_t i = 0; good && (i < 5 || a.reads < 5); i++)
		good = check_loads_same(c, &c->whole, &c->whole);
	a.stop = true;
	(void)pthread_join(thread, NULL);
	if (a.slowest_ns > ACCESS_LIMIT_MS * 1000000ull)
		(void)check_fail(c,
				 "a read of it took %" PRIu64 " ms while it was saved and "
				 "loaded",
				 a.slowest_ns / 1000000u);
}
