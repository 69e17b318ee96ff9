/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's driver of QEMU's edu on a model of it: left alone it finds nothing, and DMA that
 * goes wrong either way, a register that is another's, an interrupt that does not come, or comes by
 * the other way, it finds and names. On the device itself: tests/lab/pci-guest.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "guest/work.h"

#define MEMORY (256ull << 10)
#define PAGE 4096u
#define BUFFER 0x40000u
#define DMA_INTERRUPT 0x100u
#define DMA_TICKS 300000u

struct fixture {
	uint32_t inverted, status, command, bytes;
	uint64_t from, to, done_at;
	uint64_t interrupts[2]; /* by the pin, by MSI */
	uint64_t all[2]; /* that it has ever raised */
	uint32_t lose, twice; /* the next ones */
	bool pin, other_way, gone, hangs;
	uint8_t buffer[PAGE];
	uint64_t now;
	uint8_t *memory;
	struct work_env env;
	struct work_shared shared;
	struct work_vcpu vcpu;
	struct work_device device;
	struct work work;
};

/* ---- the model ------------------------------------------------------------------------------ */

/* The guest's handler takes it back at once. */
static void raise(struct fixture *f, uint32_t bits)
{
	uint32_t vector = f->pin != f->other_way ? 0 : 1;

	f->status |= bits;
	f->all[vector]++;
	if (f->lose > 0) {
		f->lose--;
		return;
	}
	f->status = 0;
	f->interrupts[vector] += f->twice > 0 ? 2 : 1;
	f->twice -= f->twice > 0;
}

static void transfer(struct fixture *f)
{
	uint64_t gpa = f->command & 2 ? f->to : f->from;
	uint64_t own = (f->command & 2 ? f->from : f->to) - BUFFER;

	assert_true(own + f->bytes < PAGE && gpa + f->bytes <= MEMORY);
	if (f->command & 2)
		memcpy(f->memory + gpa, f->buffer + own, f->bytes);
	else
		memcpy(f->buffer + own, f->memory + gpa, f->bytes);
}

static uint64_t ticks(void *ctx)
{
	struct fixture *f = ctx;

	f->now += 20000;
	if ((f->command & 1) && f->now >= f->done_at && !f->hangs) {
		transfer(f);
		f->command &= ~1u;
		assert_true(f->command & 4);
		raise(f, DMA_INTERRUPT);
	}
	return f->now;
}

static uint64_t irq_count(void *ctx, uint32_t device, uint32_t vector)
{
	const struct fixture *f = ctx;

	assert_true(device == 0 && vector < 2);
	return f->interrupts[vector];
}

/* Never under way: what is raised in between goes nowhere. */
static void irq_pin(void *ctx, uint32_t device, bool pin)
{
	struct fixture *f = ctx;

	assert_true(device == 0 && !(f->command & 1));
	assert_true(f->status == 0 || f->shared.corrupt_count != 0);
	f->pin = pin;
}

static uint64_t reg_read(void *ctx, uint32_t device, uint32_t bar, uint32_t offset, uint32_t size)
{
	const struct fixture *f = ctx;

	assert_true(device == 0 && bar == 0 && size == 4);
	if (f->gone)
		return UINT32_MAX;
	switch (offset) {
	case 0x00:
		return 0x010000ed;
	case 0x04:
		return f->inverted;
	case 0x24:
		return f->status;
	case 0x98:
		return f->command;
	default:
		fail_msg("it reads the register at 0x%x", offset);
		return 0;
	}
}

static void reg_write(void *ctx, uint32_t device, uint32_t bar, uint32_t offset, uint32_t size,
		      uint64_t value)
{
	struct fixture *f = ctx;

	assert_true(device == 0 && bar == 0);
	assert_int_equal(size, offset == 0x80 || offset == 0x88 ? 8 : 4);
	assert_true(offset < 0x80 || !(f->command & 1));
	switch (offset) {
	case 0x04:
		f->inverted = ~(uint32_t)value;
		break;
	case 0x60:
		raise(f, (uint32_t)value);
		break;
	case 0x64:
		f->status &= ~(uint32_t)value;
		break;
	case 0x80:
		f->from = value;
		break;
	case 0x88:
		f->to = value;
		break;
	case 0x90:
		f->bytes = (uint32_t)value;
		break;
	case 0x98:
		f->command = (uint32_t)value;
		f->done_at = f->now + DMA_TICKS;
		break;
	default:
		fail_msg("it writes the register at 0x%x", offset);
	}
}

/* ---- the world ------------------------------------------------------------------------------ */

static uint64_t timer_count(void *ctx, uint32_t vcpu)
{
	(void)ctx;
	(void)vcpu;
	return UINT64_MAX;
}

static bool registers_ok(void *ctx, uint32_t vcpu)
{
	(void)ctx;
	(void)vcpu;
	return true;
}

static uint32_t console_write(void *ctx, const char *text, uint32_t length)
{
	(void)ctx;
	(void)text;
	return length;
}

static int console_read(void *ctx)
{
	(void)ctx;
	return -1;
}

static void finish(void *ctx, uint32_t status)
{
	(void)ctx;
	(void)status;
}

static struct fixture *begin(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char bad[64];

	assert_non_null(f);
	f->memory = calloc(1, MEMORY);
	assert_non_null(f->memory);
	f->status = DMA_INTERRUPT; /* as its last user left it */
	f->env = (struct work_env){ .ctx = f,
				    .ram = f->memory,
				    .ticks = ticks,
				    .reg_read = reg_read,
				    .reg_write = reg_write,
				    .irq_count = irq_count,
				    .irq_pin = irq_pin,
				    .timer_count = timer_count,
				    .registers_ok = registers_ok,
				    .console_write = console_write,
				    .console_read = console_read,
				    .finish = finish };
	f->work = (struct work){ &f->env, &f->shared, &f->vcpu, &f->device };
	assert_int_equal(work_knobs_parse("dma=1000 rate=1000", &f->shared.knobs, bad, sizeof(bad)),
			 0);
	f->shared.vcpu_count = f->shared.device_count = 1;
	f->shared.ticks_per_ms = 1000000;
	f->shared.ranges[0] = (struct work_range){ PAGE, MEMORY - PAGE };
	f->shared.range_count = 1;
	f->device.kind = WORK_DEVICE_EDU;
	assert_int_equal(work_layout(&f->work), 0);
	work_start(&f->work);
	return f;
}

static void end(struct fixture *f)
{
	free(f->memory);
	free(f);
}

static void run_passes(struct fixture *f, uint64_t more)
{
	uint64_t goal = f->shared.pass + more;

	for (uint32_t i = 0; i < 10000000 && f->shared.pass < goal; i++)
		if (f->shared.corrupt_count || !work_step(&f->work, 0))
			return;
	assert_true(f->shared.pass >= goal);
}

static void found(struct fixture *f, enum work_corrupt what)
{
	run_passes(f, 2);
	assert_true(f->shared.corrupt_count != 0);
	if (f->shared.corrupt[0].what != what)
		fail_msg("found as %s", work_corrupt_text(f->shared.corrupt[0].what));
	end(f);
}

static struct fixture *worked(uint64_t passes)
{
	struct fixture *f = begin();

	run_passes(f, passes);
	assert_int_equal(f->shared.corrupt_count, 0);
	return f;
}

/* One with DMA under way, to memory or from it. */
static struct fixture *worked_to_dma(bool to_memory)
{
	struct fixture *f = worked(3);

	while (!(f->command & 1) || !(f->command & 2) == to_memory)
		assert_true(work_step(&f->work, 0));
	assert_int_equal(f->shared.corrupt_count, 0);
	return f;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void left_alone_it_is_clean(void **state)
{
	struct fixture *f = worked(50);

	(void)state;
	assert_true(f->device.commands >= 50 * 6);
	assert_true(f->all[0] >= 50 * 3 && f->all[1] >= 50 * 3);
	assert_int_equal(f->device.irqs, f->device.completed);
	assert_int_equal(f->device.spurious, 0);
	/* One too many is no error, since a pin may be shared, and is told. */
	f->twice = 2;
	run_passes(f, 3);
	assert_int_equal(f->shared.corrupt_count, 0);
	assert_int_equal(f->device.spurious, 2);
	end(f);
}

static void dma_that_goes_wrong_is_found(void **state)
{
	struct fixture *f = worked_to_dma(true);

	(void)state;
	f->buffer[f->bytes - 1] ^= 1;
	found(f, WORK_CORRUPT_DMA_DATA);
	f = worked_to_dma(true);
	f->to += PAGE; /* somewhere else */
	found(f, WORK_CORRUPT_DMA_DATA);
	f = worked_to_dma(false);
	f->memory[f->from] ^= 1;
	found(f, WORK_CORRUPT_DMA_DATA);
	/* What was right once and is no longer. */
	f = worked(5);
	for (uint64_t slot = 0; slot < WORK_EDU_PAGES; slot++)
		f->memory[f->device.slots_gpa + slot * PAGE + 8] ^= 1;
	found(f, WORK_CORRUPT_DMA_DATA);
}

static void a_lost_interrupt_is_found(void **state)
{
	struct fixture *f;

	(void)state;
	for (uint32_t turn = 0; turn < 6; turn++) {
		f = worked(3);
		while (f->device.commands % 6 != turn)
			assert_true(work_step(&f->work, 0));
		f->lose = 1;
		found(f, WORK_CORRUPT_INTERRUPT_LOST);
	}
	/* MSI where it is to be the pin, and the pin for MSI. */
	f = worked(3);
	f->other_way = true;
	found(f, WORK_CORRUPT_INTERRUPT_LOST);
}

static void other_state_is_found(void **state)
{
	struct fixture *f = worked(3);

	(void)state;
	f->inverted ^= 1;
	found(f, WORK_CORRUPT_STATE_WORD);
	f = worked(3);
	while (f->device.state != WORK_DEVICE_IDLE)
		assert_true(work_step(&f->work, 0));
	f->status = 1;
	found(f, WORK_CORRUPT_DEVICE_ERRORS);
}

static void one_that_does_nothing_is_found(void **state)
{
	struct fixture *f = worked(3);

	(void)state;
	f->hangs = true;
	found(f, WORK_CORRUPT_COMMAND_LOST);
	f = begin();
	f->gone = true;
	found(f, WORK_CORRUPT_DEVICE_GONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(left_alone_it_is_clean),
		cmocka_unit_test(dma_that_goes_wrong_is_found),
		cmocka_unit_test(a_lost_interrupt_is_found),
		cmocka_unit_test(other_state_is_found),
		cmocka_unit_test(one_that_does_nothing_is_found),
	};

	return cmocka_run_group_tests_name("checker-edu", tests, NULL, NULL);
}
