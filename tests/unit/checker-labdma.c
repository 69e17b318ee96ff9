/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's driver of labdma on a model of the lab's device: left alone it finds nothing, and
 * a page that is old, memory or a register that is another's, a counter that began anew, and an
 * interrupt too many or too few it finds and names. On the device itself, by migrations:
 * tests/lab/vfio-handover.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/thread-guest.h"

#define MEMORY (256ull << 10)
#define PAGE 4096u

struct fixture {
	uint64_t window, count;
	uint32_t control, scratch, crc, errors, window_bytes;
	uint32_t bar2[4], irq_number, irq_seen, interrupts, held, released, lose;
	bool gone, hangs, masked, no_mask;
	uint64_t now;
	uint8_t *memory;
	struct work_env env;
	struct work_shared shared;
	struct work_vcpu vcpu;
	struct work_device device;
	struct work work;
};

/* ---- the model ------------------------------------------------------------------------------ */

static uint64_t *window_page(const struct fixture *f, uint64_t page)
{
	return (uint64_t *)(void *)(f->memory + f->window + page * PAGE);
}

static void interrupt(struct fixture *f)
{
	if (f->lose > 0)
		f->lose--;
	else if (f->masked)
		f->held++;
	else
		f->interrupts++;
}

/* It writes every 200 us, and interrupts if the driver has had the one before. */
static uint64_t ticks(void *ctx)
{
	struct fixture *f = ctx;

	f->now += 20000;
	if (f->now % 200000 != 0)
		return f->now;
	if ((f->control & 1) && !f->hangs) {
		f->count++;
		*window_page(f, (f->count - 1) % (f->window_bytes / PAGE)) = f->count;
	}
	if ((f->control & 4) && f->irq_number == f->irq_seen) {
		f->irq_number++;
		interrupt(f);
	}
	return f->now;
}

static uint64_t irq_count(void *ctx, uint32_t device, uint32_t vector)
{
	const struct fixture *f = ctx;

	assert_true(device == 0 && vector == 0);
	return f->interrupts;
}

static bool irq_mask(void *ctx, uint32_t device, bool masked)
{
	struct fixture *f = ctx;

	assert_int_equal(device, 0);
	if (f->no_mask)
		return false;
	assert_true(f->masked != masked);
	f->masked = masked;
	if (!masked) {
		f->released += f->held;
		f->interrupts += f->held;
		f->held = 0;
	}
	return true;
}

static uint64_t reg_read(void *ctx, uint32_t device, uint32_t bar, uint32_t offset, uint32_t size)
{
	const struct fixture *f = ctx;

	assert_true(device == 0 && (bar == 0 || bar == 2) && size == 4);
	if (f->gone)
		return UINT32_MAX;
	if (bar == 2) {
		assert_true(offset / PAGE < 4 && offset % PAGE == 0x800);
		return f->bar2[offset / PAGE];
	}
	switch (offset) {
	case 0x00:
		return 0x4c414244;
	case 0x18:
		return f->count;
	case 0x20:
		return f->scratch;
	case 0x24:
		return f->errors;
	case 0x28:
		return f->crc;
	case 0x34:
		return f->irq_number;
	default:
		fail_msg("it reads the register at 0x%x", offset);
		return 0;
	}
}

static void reg_write(void *ctx, uint32_t device, uint32_t bar, uint32_t offset, uint32_t size,
		      uint64_t value)
{
	struct fixture *f = ctx;

	assert_true(device == 0 && (bar == 0 || bar == 2) && size == 4);
	if (bar == 2) {
		assert_true(offset / PAGE < 4 && offset % PAGE == 0x800);
		f->crc = f->crc * 69069 + (uint32_t)value - f->bar2[offset / PAGE];
		f->bar2[offset / PAGE] = (uint32_t)value;
		return;
	}
	switch (offset) {
	case 0x04:
		assert_true(f->window != 0 && f->window_bytes != 0);
		f->control = (uint32_t)value;
		break;
	case 0x08:
		f->window = value;
		break;
	case 0x0c:
		assert_int_equal(value, 0);
		break;
	case 0x10:
		f->window_bytes = (uint32_t)value;
		break;
	case 0x14:
		break;
	case 0x20:
		f->scratch = (uint32_t)value;
		break;
	case 0x2c:
		f->crc = f->crc * 69069 + (uint32_t)value;
		break;
	case 0x38:
		assert_int_equal(value, f->irq_number);
		f->irq_seen = (uint32_t)value;
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
	f->crc = 12345;
	f->env = (struct work_env){ .ctx = f,
				    .ram = f->memory,
				    .ticks = ticks,
				    .reg_read = reg_read,
				    .reg_write = reg_write,
				    .irq_count = irq_count,
				    .irq_mask = irq_mask,
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
	f->device.kind = WORK_DEVICE_LABDMA;
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

/* One that has worked for so many passes. */
static struct fixture *worked(uint64_t passes)
{
	struct fixture *f = begin();

	run_passes(f, passes);
	assert_int_equal(f->shared.corrupt_count, 0);
	return f;
}

/* One whose newest write went to that page. */
static struct fixture *worked_to(uint64_t page)
{
	struct fixture *f = worked(20);

	while ((f->count - 1) % WORK_WINDOW_PAGES != page)
		assert_true(work_step(&f->work, 0));
	assert_int_equal(f->shared.corrupt_count, 0);
	assert_int_equal(*window_page(f, page), f->count);
	assert_true(f->count > WORK_WINDOW_PAGES);
	return f;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void left_alone_it_is_clean(void **state)
{
	struct fixture *f = worked(50);

	(void)state;
	assert_true(f->device.commands >= 50);
	assert_true(f->device.beats > 5 * WORK_WINDOW_PAGES);
	assert_true(f->device.irqs >= 50 * WORK_LABDMA_IRQS_PER_PASS);
	assert_int_equal(f->device.irqs, f->irq_seen);
	assert_true(f->released >= 49);
	end(f);
	f = begin();
	f->no_mask = true; /* as in threads */
	run_passes(f, 50);
	assert_int_equal(f->shared.corrupt_count, 0);
	assert_true(f->device.irqs >= 50 * WORK_LABDMA_IRQS_PER_PASS);
	end(f);
}

/* Each page as it was one round ago: it was not sent again. */
static void an_old_page_is_found(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < WORK_WINDOW_PAGES; page++) {
		struct fixture *f = worked_to(page);

		*window_page(f, page) -= WORK_WINDOW_PAGES;
		found(f, WORK_CORRUPT_DMA_DATA);
	}
}

static void a_lost_page_is_found(void **state)
{
	struct fixture *f = worked_to(WORK_WINDOW_PAGES - 1);

	(void)state;
	*window_page(f, WORK_WINDOW_PAGES - 1) = 0;
	found(f, WORK_CORRUPT_DMA_DATA);
}

static void a_page_that_is_ahead_is_found(void **state)
{
	struct fixture *f = worked_to(3);

	(void)state;
	*window_page(f, 3) += 1000ull * WORK_WINDOW_PAGES;
	found(f, WORK_CORRUPT_DMA_DATA);
}

static void other_state_is_found(void **state)
{
	struct fixture *f = worked(3);

	(void)state;
	f->crc++;
	found(f, WORK_CORRUPT_STATE_WORD);
	f = worked(3);
	f->scratch ^= 1u << 31;
	found(f, WORK_CORRUPT_STATE_WORD);
	f = worked(3);
	f->errors = 1;
	found(f, WORK_CORRUPT_DEVICE_ERRORS);
	f = worked(3);
	f->count = 0;
	found(f, WORK_CORRUPT_BEAT_REPEATED);
	for (uint32_t page = 0; page < 4; page++) {
		f = worked(3);
		f->bar2[page]++;
		found(f, WORK_CORRUPT_BAR_MEMORY);
	}
	f = worked(3);
	f->irq_number += 2;
	found(f, WORK_CORRUPT_STATE_WORD);
}

/* One that has had its first interrupt held back for a while, or that is about to. */
static struct fixture *worked_to_held(enum work_irq_held held)
{
	struct fixture *f = worked(3);

	while (f->device.irq_held != held)
		assert_true(work_step(&f->work, 0));
	assert_int_equal(f->shared.corrupt_count, 0);
	return f;
}

static void a_lost_interrupt_is_found(void **state)
{
	struct fixture *f = worked(3);

	(void)state;
	f->lose = 1;
	found(f, WORK_CORRUPT_INTERRUPT_LOST);
	/* One that was pending. */
	f = worked_to_held(WORK_IRQ_HELD);
	assert_int_equal(f->held, 1);
	f->held = 0;
	found(f, WORK_CORRUPT_INTERRUPT_LOST);
	/* The device does not know that it may go on. */
	f = worked_to_held(WORK_IRQ_FREE);
	f->control = 1;
	found(f, WORK_CORRUPT_BEAT_INTERRUPT);
}

static void an_interrupt_that_comes_again_is_found(void **state)
{
	struct fixture *f = worked_to_held(WORK_IRQ_FREE);

	(void)state;
	f->interrupts++;
	found(f, WORK_CORRUPT_INTERRUPT_AGAIN);
	/* Two at once, of which one has a number. */
	f = worked_to_held(WORK_IRQ_FREE);
	while (f->irq_number == f->irq_seen)
		(void)ticks(f);
	f->interrupts++;
	found(f, WORK_CORRUPT_INTERRUPT_AGAIN);
	/* In spite of the mask. */
	f = worked_to_held(WORK_IRQ_HELD);
	f->interrupts++;
	found(f, WORK_CORRUPT_INTERRUPT_AGAIN);
}

static void one_that_does_nothing_is_found(void **state)
{
	struct fixture *f = worked(3);

	(void)state;
	f->hangs = true;
	found(f, WORK_CORRUPT_BEAT_STOPPED);
	f = begin();
	f->gone = true;
	found(f, WORK_CORRUPT_DEVICE_GONE);
}

static void impossible_state_is_refused(void **state)
{
	struct thread_guest *guest = calloc(1, sizeof(*guest));
	struct fixture *f = worked_to_held(WORK_IRQ_FREE);
	struct work_device wrong[5];

	(void)state;
	assert_non_null(guest);
	guest->guest.vcpu_count = guest->guest.device_count = 1;
	guest->memory_bytes = MEMORY;
	guest->devices[0].kind = WORK_DEVICE_LABDMA;
	assert_true(thread_device_fits(guest, 0, &f->device));
	for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		wrong[i] = f->device;
	wrong[0].window_gpa = MEMORY - (WORK_WINDOW_PAGES - 1) * PAGE;
	wrong[1].window_gpa = UINT64_MAX - 7;
	wrong[2].state = WORK_DEVICE_WAITING;
	wrong[3].beats = UINT64_MAX;
	wrong[4].irq_held = WORK_IRQ_MASKED; /* a thread guest masks nothing */
	for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (thread_device_fits(guest, 0, &wrong[i]))
			fail_msg("wrong state %u is taken", i);
	end(f);
	free(guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(left_alone_it_is_clean),
		cmocka_unit_test(an_old_page_is_found),
		cmocka_unit_test(a_lost_page_is_found),
		cmocka_unit_test(a_page_that_is_ahead_is_found),
		cmocka_unit_test(other_state_is_found),
		cmocka_unit_test(a_lost_interrupt_is_found),
		cmocka_unit_test(an_interrupt_that_comes_again_is_found),
		cmocka_unit_test(one_that_does_nothing_is_found),
		cmocka_unit_test(impossible_state_is_refused),
	};

	return cmocka_run_group_tests_name("checker-labdma", tests, NULL, NULL);
}
