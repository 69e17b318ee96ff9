/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's driver of mtty on a model of the kernel's sample driver: left alone it finds
 * nothing, and whatever of the card's state is changed behind its back, lost or old, it finds and
 * names. On the kernel's own, by migrations: tests/lab/vfio-handover.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/thread-guest.h"

#define FIFO 16u
#define MEMORY (128ull << 10)
#define PORTS 2u
#define TURNS 8u /* commands of a port until they begin anew */
#define PASSES 3u /* within so many whatever is wrong is found */

/* One port, as in samples/vfio-mdev/mtty.c: what travels. */
struct port {
	uint8_t regs[8];
	uint8_t fifo[FIFO];
	uint8_t head, tail, count;
	uint8_t latch, overrun, most;
	uint16_t divisor;
};

struct fixture {
	struct port ports[PORTS];
	uint64_t now;
	bool gone;
	bool has_pin, masked; /* its interrupt, which the guest ends as soon as it has come */
	uint64_t interrupts;
	uint8_t *memory;
	struct work_env env;
	struct work_shared shared;
	struct work_vcpu vcpu;
	struct work_device device;
	struct work work;
};

/* ---- the model ------------------------------------------------------------------------------ */

static void port_write(struct port *p, uint32_t reg, uint8_t value)
{
	if (reg == 0 && p->latch) {
		p->divisor |= value;
	} else if (reg == 1 && p->latch) {
		p->divisor = (uint16_t)(p->divisor | value << 8);
	} else if (reg == 0 && p->count < p->most) {
		p->fifo[p->head] = value;
		p->head = (p->head + 1) % FIFO;
		p->count++;
		p->overrun = 0;
	} else if (reg == 0) {
		p->overrun = 1;
	} else if (reg == 2) {
		if (value & 6)
			p->count = p->head = p->tail = 0;
		p->most = value & 1 ? FIFO : 1;
	} else if (reg == 3) {
		p->latch = value >> 7;
		if (p->latch)
			p->divisor = 0;
		p->regs[3] = value;
	} else if (reg == 1 || reg == 4 || reg == 7) {
		p->regs[reg] = value;
	}
}

static uint8_t iir(const struct port *p)
{
	uint8_t value = 0;

	if ((p->regs[1] & 4) && p->overrun)
		value |= 6;
	if ((p->regs[1] & 1) && p->count >= 1)
		value |= 4;
	if ((p->regs[1] & 2) && p->head == p->tail)
		value |= 2;
	return (uint8_t)(0xc0 | (value ? value : 1));
}

static uint8_t take(struct port *p)
{
	uint8_t value = p->fifo[p->tail];

	if (p->head == p->tail)
		return 0;
	p->tail = (p->tail + 1) % FIFO;
	p->count--;
	return value;
}

static uint8_t port_read(struct port *p, uint32_t reg)
{
	bool empty = p->head == p->tail;

	switch (reg) {
	case 0:
		return p->latch ? (uint8_t)p->divisor : take(p);
	case 1:
		return p->latch ? (uint8_t)(p->divisor >> 8) : p->regs[1] & 0x0f;
	case 2:
		return iir(p);
	case 5:
		return (uint8_t)((empty ? 0x60 : 0x01) | (p->overrun ? 0x02 : 0));
	case 6:
		return p->regs[4] & 0x20 && p->count >= p->most ? 0xa2 : 0xb3;
	default:
		return p->regs[reg];
	}
}

/* ---- the world ------------------------------------------------------------------------------ */

static uint64_t ticks(void *ctx)
{
	struct fixture *f = ctx;

	return f->now += 20000; /* 20 us: a tick is a nanosecond */
}

static uint64_t reg_read(void *ctx, uint32_t device, uint32_t bar, uint32_t offset, uint32_t size)
{
	struct fixture *f = ctx;

	assert_true(device == 0 && bar < PORTS && offset < 8 && size == 1);
	return f->gone ? 0xff : port_read(&f->ports[bar], offset);
}

/* A byte for an empty FIFO, or for a full one. What comes while it is masked it forgets. */
static void raise(struct fixture *f, const struct port *p, uint32_t reg)
{
	bool data = (p->regs[1] & 1) && p->count == 0,
	     line = (p->regs[1] & 4) && p->count >= p->most;

	if (reg == 0 && !p->latch && !f->masked && (data || line))
		f->interrupts++;
}

static void reg_write(void *ctx, uint32_t device, uint32_t bar, uint32_t offset, uint32_t size,
		      uint64_t value)
{
	struct fixture *f = ctx;

	assert_true(device == 0 && bar < PORTS && offset < 8 && size == 1 && value <= 0xff);
	if (f->gone)
		return;
	raise(f, &f->ports[bar], offset);
	port_write(&f->ports[bar], offset, (uint8_t)value);
}

static uint64_t irq_count(void *ctx, uint32_t device, uint32_t vector)
{
	const struct fixture *f = ctx;

	assert_true(device == 0 && vector == 0);
	return f->has_pin ? f->interrupts : UINT64_MAX;
}

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

/* ports that were used before, and nobody has reset */
static struct fixture *begin(const char *knobs)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char bad[64];

	assert_non_null(f);
	f->memory = calloc(1, MEMORY);
	assert_non_null(f->memory);
	for (uint32_t i = 0; i < PORTS; i++)
		f->ports[i] = (struct port){ .regs = { 0, 15, 0, 0x83, 63, 0, 0, 0x5a },
					     .fifo = { 1, 2, 3 },
					     .head = 3,
					     .count = 3,
					     .latch = 1,
					     .overrun = 1,
					     .most = 1,
					     .divisor = 77 };
	f->env = (struct work_env){ .ctx = f,
				    .ram = f->memory,
				    .ticks = ticks,
				    .reg_read = reg_read,
				    .reg_write = reg_write,
				    .irq_count = irq_count,
				    .timer_count = timer_count,
				    .registers_ok = registers_ok,
				    .console_write = console_write,
				    .console_read = console_read,
				    .finish = finish };
	f->work = (struct work){ &f->env, &f->shared, &f->vcpu, &f->device };
	assert_int_equal(work_knobs_parse(knobs, &f->shared.knobs, bad, sizeof(bad)), 0);
	f->shared.vcpu_count = f->shared.device_count = 1;
	f->shared.ticks_per_ms = 1000000;
	f->shared.ranges[0] = (struct work_range){ 4096, MEMORY - 4096 };
	f->shared.range_count = 1;
	f->device.kind = WORK_DEVICE_MTTY;
	f->device.port_count = PORTS;
	assert_int_equal(work_layout(&f->work), 0);
	work_start(&f->work);
	return f;
}

static void end(struct fixture *f)
{
	free(f->memory);
	free(f);
}

/* Until it has done so many commands, or has found something. */
static void run_commands(struct fixture *f, uint64_t commands)
{
	for (uint32_t i = 0; i < 10000000 && f->device.commands < commands; i++)
		if (f->shared.corrupt_count || !work_step(&f->work, 0))
			return;
	assert_true(f->device.commands >= commands);
}

static void run_passes(struct fixture *f, uint64_t more)
{
	uint64_t goal = f->shared.pass + more;

	for (uint32_t i = 0; i < 10000000 && f->shared.pass < goal; i++)
		if (f->shared.corrupt_count || !work_step(&f->work, 0))
			return;
	assert_true(f->shared.pass >= goal);
}

/* It was found within a few passes, in that port. */
static void found(struct fixture *f, uint32_t port, const char *what)
{
	const struct work_corrupt_record *record = &f->shared.corrupt[0];

	run_passes(f, PASSES);
	if (f->shared.corrupt_count == 0)
		fail_msg("%s of port %u, at command %u: nothing was found", what, port,
			 (unsigned int)f->device.commands);
	if (record->what != WORK_CORRUPT_UART_REGISTER && record->what != WORK_CORRUPT_UART_DATA)
		fail_msg("%s: found as %s", what, work_corrupt_text(record->what));
	assert_string_equal(record->unit, "device");
	assert_string_equal(record->part, "port");
	assert_int_equal(record->part_number, port);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void left_alone_it_is_clean(void **state)
{
	struct fixture *f = begin("dma=max rate=1000");

	(void)state;
	run_passes(f, 20);
	assert_int_equal(f->shared.corrupt_count, 0);
	/* A pass has every command of every port. */
	assert_true(f->device.commands >= 20ull * TURNS * PORTS);
	assert_true(f->device.uarts[0].received > 100 && f->device.uarts[1].received > 100);
	end(f);
}

static void its_interrupts_go_on(void **state)
{
	struct fixture *f = begin("dma=1000 rate=1000");

	(void)state;
	f->has_pin = true;
	run_passes(f, 20);
	assert_int_equal(f->shared.corrupt_count, 0);
	assert_true(f->device.irqs >= 20);
	assert_int_equal(f->device.irqs, f->device.irq_asked_all);
	/* Masked for a while, as while it is served. */
	f->masked = true;
	run_commands(f, f->device.commands + 100);
	f->masked = false;
	run_passes(f, 3);
	assert_int_equal(f->shared.corrupt_count, 0);
	/* And one that nobody unmasks any more. */
	f->masked = true;
	run_passes(f, 2);
	assert_int_equal(f->shared.corrupt[0].what, WORK_CORRUPT_INTERRUPT_LOST);
	end(f);
	f = begin("dma=1000 rate=1000");
	f->has_pin = true;
	run_passes(f, 3);
	f->interrupts += 2 * WORK_STORM;
	run_passes(f, 1);
	assert_int_equal(f->shared.corrupt[0].what, WORK_CORRUPT_INTERRUPT_STORM);
	end(f);
}

static void without_commands_registers_are_looked_at(void **state)
{
	struct fixture *f = begin("dma=0");

	(void)state;
	run_passes(f, 3);
	assert_int_equal(f->shared.corrupt_count, 0);
	assert_int_equal(f->device.commands, 0);
	f->ports[1].regs[4] ^= 1;
	found(f, 1, "MCR");
	end(f);
}

/* Is the byte at this offset of a port one that its driver has reason to rely on? */
static bool is_state(const struct port *p, size_t at)
{
	size_t in_fifo = at - offsetof(struct port, fifo);

	if (at < offsetof(struct port, fifo))
		return at == 1 || at == 3 || at == 4 || at == 7;
	if (at < offsetof(struct port, head))
		return (in_fifo + FIFO - p->tail) % FIFO < p->count;
	if (at == offsetof(struct port, latch) || at == offsetof(struct port, overrun))
		return true;
	if (at == offsetof(struct port, most))
		return false; /* by itself it is not seen; below */
	if (at >= offsetof(struct port, divisor))
		return p->latch;
	return true;
}

/* Which bit of it: of the FIFO's indexes one that leads nowhere else. */
static uint8_t bit_of(size_t at, uint32_t number)
{
	bool index = at >= offsetof(struct port, head) && at < offsetof(struct port, divisor);

	return (uint8_t)(1u << (index ? 0 : number % 4));
}

/* Every byte of everything, changed after each of the commands: eight turns of both ports. */
static void whatever_changes_is_found(void **state)
{
	(void)state;
	for (uint32_t commands = 1; commands <= TURNS * PORTS + 1; commands++)
		for (uint32_t at = 0; at < sizeof(struct port); at++) {
			struct fixture *f = begin("dma=max rate=1000");
			uint32_t port = commands % PORTS;
			char what[32];

			run_commands(f, TURNS * PORTS + commands);
			if (is_state(&f->ports[port], at)) {
				((uint8_t *)&f->ports[port])[at] ^= bit_of(at, commands);
				(void)snprintf(what, sizeof(what), "byte %u", at);
				found(f, port, what);
			}
			end(f);
		}
}

/* It has room for one byte only, just before several are sent. */
static void a_fifo_that_is_off_is_found(void **state)
{
	struct fixture *f = begin("dma=max rate=1000");

	(void)state;
	run_commands(f, PORTS * TURNS + PORTS);
	f->ports[0].most = 1;
	found(f, 0, "FIFO");
	end(f);
}

/* A state that was right once: as when an old one is loaded. */
static void an_old_state_is_found(void **state)
{
	(void)state;
	for (uint32_t ago = 1; ago < 3 * TURNS * PORTS; ago++) {
		struct fixture *f = begin("dma=max rate=1000");
		struct port old[PORTS];

		run_commands(f, 100);
		memcpy(old, f->ports, sizeof(old));
		run_commands(f, 100 + ago);
		memcpy(f->ports, old, sizeof(old));
		run_passes(f, PASSES);
		assert_true(f->shared.corrupt_count != 0);
		end(f);
	}
}

static void a_new_card_is_found(void **state)
{
	struct fixture *f = begin("dma=max rate=1000");

	(void)state;
	run_passes(f, 1);
	memset(f->ports, 0, sizeof(f->ports));
	run_passes(f, PASSES);
	assert_true(f->shared.corrupt_count != 0);
	end(f);
}

static void the_other_ports_state_is_found(void **state)
{
	struct fixture *f = begin("dma=max rate=1000");
	struct port first;

	(void)state;
	run_passes(f, 1);
	first = f->ports[0];
	f->ports[0] = f->ports[1];
	f->ports[1] = first;
	run_passes(f, PASSES);
	assert_true(f->shared.corrupt_count != 0);
	end(f);
}

static void a_card_that_does_not_answer_is_gone(void **state)
{
	struct fixture *f = begin("dma=max rate=1000");

	(void)state;
	run_passes(f, 1);
	f->gone = true;
	run_passes(f, 1);
	assert_int_equal(f->shared.corrupt[0].what, WORK_CORRUPT_DEVICE_GONE);
	end(f);
}

/* The state of such a driver that comes from a peer: its own is always taken, ... */
static void what_a_driver_leaves_is_possible(void **state)
{
	struct thread_guest *guest = calloc(1, sizeof(*guest));
	struct fixture *f = begin("dma=max rate=1000");

	(void)state;
	assert_non_null(guest);
	guest->guest.vcpu_count = guest->guest.device_count = 1;
	guest->devices[0].kind = WORK_DEVICE_MTTY;
	guest->devices[0].port_count = PORTS;
	assert_true(thread_device_fits(guest, 0, &f->device));
	for (uint64_t commands = 1; commands < 500; commands++) {
		run_commands(f, commands);
		assert_true(thread_device_fits(guest, 0, &f->device));
	}
	end(f);
	free(guest);
}

/* ... and what would make it run through memory, or count for ever, is not. */
static void what_it_cannot_leave_is_refused(void **state)
{
	struct thread_guest *guest = calloc(1, sizeof(*guest));
	struct work_device fits = { .kind = WORK_DEVICE_MTTY, .port_count = PORTS, .random = 1 };
	struct work_device wrong[9];

	(void)state;
	assert_non_null(guest);
	guest->guest.vcpu_count = guest->guest.device_count = 1;
	guest->devices[0].kind = WORK_DEVICE_MTTY;
	guest->devices[0].port_count = PORTS;
	fits.uarts[1].sent = FIFO - 1;
	assert_true(thread_device_fits(guest, 0, &fits));
	for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		wrong[i] = fits;
	wrong[0].kind = WORK_DEVICE_SIM;
	wrong[1].kind = 2;
	wrong[2].port_count = 0;
	wrong[3].port_count = PORTS + 1;
	wrong[4].vcpu = 1;
	wrong[5].random = 0;
	wrong[6].state = WORK_DEVICE_WAITING;
	wrong[7].uarts[1].sent = FIFO;
	wrong[8].uarts[0].received = 1;
	for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (thread_device_fits(guest, 0, &wrong[i]))
			fail_msg("wrong state %u is taken", i);
	free(guest);
}

static void the_selftest_is_found(void **state)
{
	struct fixture *f = begin("dma=max selftest=uart");

	(void)state;
	found(f, 0, "SCR");
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(left_alone_it_is_clean),
		cmocka_unit_test(its_interrupts_go_on),
		cmocka_unit_test(without_commands_registers_are_looked_at),
		cmocka_unit_test(whatever_changes_is_found),
		cmocka_unit_test(a_fifo_that_is_off_is_found),
		cmocka_unit_test(an_old_state_is_found),
		cmocka_unit_test(a_new_card_is_found),
		cmocka_unit_test(the_other_ports_state_is_found),
		cmocka_unit_test(a_card_that_does_not_answer_is_gone),
		cmocka_unit_test(what_a_driver_leaves_is_possible),
		cmocka_unit_test(what_it_cannot_leave_is_refused),
		cmocka_unit_test(the_selftest_is_found),
	};

	return cmocka_run_group_tests_name("checker-mtty", tests, NULL, NULL);
}
