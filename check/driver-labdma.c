/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Driving labdma, the lab's device on the kernel's own interfaces (docs/lab.md): 32-bit registers,
 * a doorbell that writes one page of a window by DMA and signals, and DMA of its own by a period.
 */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "check/run.h"

#define LABDMA_ID 0x4c414244u
#define CONTROL 0x04u
#define WINDOW_LOW 0x08u
#define WINDOW_HIGH 0x0cu
#define WINDOW_BYTES 0x10u
#define PERIOD_US 0x14u
#define COUNT 0x18u
#define DOORBELL 0x1cu
#define SCRATCH 0x20u
#define ERRORS 0x24u
#define POKE 0x2cu
#define CONFIG_REGION 7u
#define COMMAND_AT 4u
#define COMMAND_MASTER 4u
#define BEAT_PERIOD_US 200u
#define INTERRUPT_MS 1000

static bool get(struct check *c, uint64_t at, uint32_t *ret_value)
{
	int r = OPS(c)->region_read(SELF(c), 0, at, ret_value, sizeof(*ret_value));

	return r == 0 ||
	       check_fail(c, "reading register 0x%02x gave %s", (unsigned int)at, check_errno(r));
}

static bool put(struct check *c, uint64_t at, uint32_t value)
{
	int r = OPS(c)->region_write(SELF(c), 0, at, &value, sizeof(value));

	return r == 0 ||
	       check_fail(c, "writing register 0x%02x gave %s", (unsigned int)at, check_errno(r));
}

static bool probe(struct check *c)
{
	uint32_t id = 0;

	return OPS(c)->region_read(SELF(c), 0, 0, &id, sizeof(id)) == 0 && id == LABDMA_ID;
}

/* It may write memory, and does so within the window. */
static bool window(struct check *c, uint64_t iova, uint32_t bytes)
{
	uint16_t command = 0;
	int r = OPS(c)->region_read(SELF(c), CONFIG_REGION, COMMAND_AT, &command, sizeof(command));

	command |= COMMAND_MASTER;
	if (r == 0)
		r = OPS(c)->region_write(SELF(c), CONFIG_REGION, COMMAND_AT, &command,
					 sizeof(command));
	if (r < 0)
		return check_fail(c, "its command register gave %s", check_errno(r));
	return put(c, WINDOW_LOW, (uint32_t)iova) && put(c, WINDOW_HIGH, (uint32_t)(iova >> 32)) &&
	       put(c, WINDOW_BYTES, bytes);
}

static bool work(struct check *c, uint64_t iova, uint32_t length)
{
	const uint32_t pages = (length + HF_PAGE_SIZE - 1) / HF_PAGE_SIZE;
	uint32_t before = 0, after = 0, errors = 0;

	if (!get(c, COUNT, &before) || !window(c, iova, pages * HF_PAGE_SIZE))
		return false;
	for (uint32_t page = 0; page < pages; page++)
		if (!put(c, DOORBELL, page))
			return false;
	/* And a little of its own memory, so that there is something to save. */
	if (!put(c, POKE, pages) || !get(c, COUNT, &after) || !get(c, ERRORS, &errors))
		return false;
	if (after != before + pages)
		return check_fail(c, "its doorbell does nothing");
	return !errors || check_fail(c, "its DMA failed");
}

static bool beat(struct check *c)
{
	return window(c, CHECK_RAM_IOVA, 4 * HF_PAGE_SIZE) && put(c, PERIOD_US, BEAT_PERIOD_US) &&
	       put(c, CONTROL, 1);
}

static bool came(struct check *c)
{
	struct pollfd p = { .fd = c->eventfds[0], .events = POLLIN };
	uint64_t n;

	return poll(&p, 1, INTERRUPT_MS) == 1 && read(p.fd, &n, sizeof(n)) == sizeof(n);
}

static bool interrupt(struct check *c)
{
	uint64_t n;

	while (read(c->eventfds[0], &n, sizeof(n)) == sizeof(n))
		;
	return work(c, CHECK_WORK_IOVA, 64) &&
	       (came(c) || check_fail(c, "work is done, but no interrupt comes"));
}

static bool registers(struct check *c, uint64_t *ret_sum)
{
	static const uint8_t all[] = { CONTROL,	  WINDOW_LOW, WINDOW_HIGH, WINDOW_BYTES,
				       PERIOD_US, COUNT,      SCRATCH,	   ERRORS };
	uint64_t sum = 0;
	uint32_t v = 0;

	for (uint32_t i = 0; i < sizeof(all); i++) {
		if (!get(c, all[i], &v))
			return false;
		sum = (sum ^ v) * 0x100000001b3ull + i;
	}
	*ret_sum = sum;
	return true;
}

static bool poke(struct check *c, uint64_t value, uint64_t *ret_read)
{
	uint32_t back = 0;

	if (!put(c, SCRATCH, (uint32_t)value) || !get(c, SCRATCH, &back))
		return false;
	*ret_read = back;
	return true;
}

const struct check_driver check_driver_labdma = {
	.name = "labdma",
	.can = CHECK_NEEDS_WORK | CHECK_NEEDS_DMA | CHECK_NEEDS_IRQ | CHECK_NEEDS_BEAT,
	.probe = probe,
	.work = work,
	.beat = beat,
	.came = came,
	.interrupt = interrupt,
	.registers = registers,
	.poke = poke,
};
