/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's driver of the kernel's sample migration driver mtty (samples/vfio-mdev/mtty.c): a
 * PCI card with one or two UARTs, each of which gives back the bytes that it is sent. It has no DMA
 * and no memory; what it holds is a FIFO of 16 bytes and registers. The driver knows at every
 * moment what all of that must be, and looks before each of its commands and in each pass. It
 * polls; but where the card has its interrupt pin, its interrupts have to go on coming: one that
 * stays masked after a migration is found. They cannot be counted out, since mtty forgets what it
 * has to say while its pin is masked.
 *
 * It is a driver of mtty, not of a 16550: mtty with all 16 bytes in takes its FIFO for empty, keeps
 * its overrun until a byte finds room, and gives the interrupt's reasons all at once.
 */
#include "work.h"

#include <stddef.h>

#define PASS_CYCLES 1u /* of each port's commands, since the pass began */
#define FIFO_MOST (WORK_UART_FIFO - 1)
#define ASKED_MOST 8u /* reasons for an interrupt, of which one at least must have brought it */

enum reg { REG_DATA, REG_IER, REG_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, REG_COUNT };
#define REG_IIR REG_FCR /* when it is read */
#define REG_DIVISOR_LOW REG_DATA /* while LCR_DLAB is on */
#define REG_DIVISOR_HIGH REG_IER

#define IER_DATA 0x01u
#define IER_LINE 0x04u
#define IIR_NONE 0x01u
#define IIR_DATA 0x04u
#define IIR_LINE 0x06u
#define IIR_16550 0xc0u
#define FCR_ON 0x01u
#define FCR_CLEAR 0x06u
#define LCR_DLAB 0x80u
#define LSR_DATA 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_EMPTY 0x60u
#define MCR_AFE 0x20u
#define MSR_THERE 0xa2u /* DSR, DDSR, DCD */
#define MSR_CTS 0x11u /* and DCTS */

/* What a port is told to do next, in turn. */
enum turn {
	TURN_SETTINGS,
	TURN_SEND,
	TURN_RECEIVE,
	TURN_SEND_MORE,
	TURN_LATCH, /* and it stays so until the port's next command */
	TURN_EMPTY,
	TURN_OVERRUN, /* with its FIFO off it has room for one byte */
	TURN_FIFO,
	TURN_COUNT
};

enum phase { PHASE_BEGIN = 0, PHASE_CYCLE };

static uint64_t reg_read(const struct work *work, uint32_t device, uint32_t port, enum reg reg)
{
	return work->env->reg_read(work->env->ctx, device, port, reg, 1);
}

static void reg_write(const struct work *work, uint32_t device, uint32_t port, enum reg reg,
		      uint8_t value)
{
	work->env->reg_write(work->env->ctx, device, port, reg, 1, value);
}

static void corrupt(struct work *work, uint32_t device, uint32_t port, enum work_corrupt what,
		    uint64_t word, uint64_t expected, uint64_t found)
{
	struct work_corrupt_record record = {
		.what = what,
		.number = device,
		.unit = "device",
		.part = "port",
		.part_number = port,
		.word = word,
		.expected = expected,
		.found = found,
	};

	work_corrupt_add(work, &record);
}

static uint32_t level(const struct work_uart *uart)
{
	return (uint32_t)(uart->sent - uart->received);
}

/* Byte number n; no two of 256 in a row are alike. */
static uint8_t byte_of(uint32_t device, uint32_t port, uint64_t n)
{
	return (uint8_t)(n * 167 + device * 89 + port * 31);
}

/* ---- what it must be ---------------------------------------------------------------------------
 */

static uint8_t lsr_of(const struct work_uart *uart)
{
	return (uint8_t)((level(uart) ? LSR_DATA : LSR_EMPTY) | (uart->overrun ? LSR_OVERRUN : 0));
}

static uint8_t iir_of(const struct work_uart *uart)
{
	uint8_t iir = 0;

	if ((uart->ier & IER_LINE) && uart->overrun)
		iir |= IIR_LINE;
	if ((uart->ier & IER_DATA) && level(uart))
		iir |= IIR_DATA;
	return iir ? iir | IIR_16550 : IIR_NONE | IIR_16550;
}

static uint8_t msr_of(const struct work_uart *uart)
{
	bool room = !uart->single || level(uart) == 0;

	return room || !(uart->mcr & MCR_AFE) ? MSR_THERE | MSR_CTS : MSR_THERE;
}

/* All registers that can be read without a change; the FIFO's bytes are not among them. */
static void port_check(struct work *work, uint32_t device, uint32_t port)
{
	const struct work_uart *uart = &work->devices[device].uarts[port];
	const uint8_t expected[REG_COUNT] = {
		[REG_DIVISOR_LOW] = (uint8_t)uart->divisor,
		[REG_IER] = uart->latched ? (uint8_t)(uart->divisor >> 8) : uart->ier,
		[REG_IIR] = iir_of(uart),
		[REG_LCR] = uart->latched ? uart->lcr | LCR_DLAB : uart->lcr,
		[REG_MCR] = uart->mcr,
		[REG_LSR] = lsr_of(uart),
		[REG_MSR] = msr_of(uart),
		[REG_SCR] = uart->scr,
	};
	uint32_t reg;

	for (reg = REG_COUNT; reg-- > (uart->latched ? REG_DIVISOR_LOW : REG_IER);) {
		uint64_t found = reg_read(work, device, port, reg);

		if (found == expected[reg])
			continue;
		/* Ones are nobody's answer: no LSR has them all. */
		corrupt(work, device, port,
			(reg_read(work, device, port, REG_LSR) & 0xff) == 0xff
				? WORK_CORRUPT_DEVICE_GONE
				: WORK_CORRUPT_UART_REGISTER,
			reg, expected[reg], found);
		return;
	}
}

/* ---- commands ----------------------------------------------------------------------------------
 */

static void settings_write(struct work *work, uint32_t device, uint32_t port)
{
	const struct work_uart *uart = &work->devices[device].uarts[port];

	reg_write(work, device, port, REG_LCR, uart->lcr);
	reg_write(work, device, port, REG_IER, uart->ier);
	reg_write(work, device, port, REG_MCR, uart->mcr);
	reg_write(work, device, port, REG_SCR, uart->scr);
}

static void settings(struct work *work, uint32_t device, uint32_t port)
{
	struct work_uart *uart = &work->devices[device].uarts[port];
	uint64_t random = work_random(&work->devices[device].random);

	uart->lcr = random & 0x7f;
	uart->ier = random >> 8 & (IER_DATA | IER_LINE);
	uart->mcr = random >> 16 & 0x3f;
	uart->scr = (uint8_t)(random >> 24);
	settings_write(work, device, port);
}

static void irq_asked(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];

	if (dev->irq_asked++ == 0)
		dev->irq_run_ticks = work->vcpus[dev->vcpu].run_ticks;
	dev->irq_asked_all++;
}

static void send(struct work *work, uint32_t device, uint32_t port, uint32_t count)
{
	struct work_uart *uart = &work->devices[device].uarts[port];

	for (; count > 0; count--) {
		if ((uart->ier & IER_DATA) && level(uart) == 0)
			irq_asked(work, device);
		reg_write(work, device, port, REG_DATA, byte_of(device, port, uart->sent));
		uart->sent++;
		uart->overrun = 0;
	}
}

static void receive(struct work *work, uint32_t device, uint32_t port, uint32_t count)
{
	struct work_uart *uart = &work->devices[device].uarts[port];

	for (; count > 0; count--) {
		uint8_t expected = byte_of(device, port, uart->received);
		uint64_t found = reg_read(work, device, port, REG_DATA);

		if (found != expected) {
			corrupt(work, device, port, WORK_CORRUPT_UART_DATA, uart->received,
				expected, found);
			return;
		}
		uart->received++;
	}
}

static void latch(struct work *work, uint32_t device, uint32_t port)
{
	struct work_uart *uart = &work->devices[device].uarts[port];

	uart->divisor = work_random(&work->devices[device].random) >> 16 & 0xffff;
	uart->latched = 1;
	reg_write(work, device, port, REG_LCR, uart->lcr | LCR_DLAB);
	reg_write(work, device, port, REG_DIVISOR_LOW, (uint8_t)uart->divisor);
	reg_write(work, device, port, REG_DIVISOR_HIGH, (uint8_t)(uart->divisor >> 8));
}

static void overrun(struct work *work, uint32_t device, uint32_t port)
{
	struct work_uart *uart = &work->devices[device].uarts[port];

	uart->single = 1;
	reg_write(work, device, port, REG_FCR, 0);
	send(work, device, port, 1);
	if (uart->ier & IER_LINE)
		irq_asked(work, device);
	reg_write(work, device, port, REG_DATA, 0xee); /* there is no room for it */
	uart->overrun = 1;
}

static void fifo(struct work *work, uint32_t device, uint32_t port)
{
	struct work_uart *uart = &work->devices[device].uarts[port];

	receive(work, device, port, level(uart));
	uart->single = 0;
	reg_write(work, device, port, REG_FCR, FCR_ON);
}

static void turn(struct work *work, uint32_t device, uint32_t port, enum turn turn)
{
	struct work_device *dev = &work->devices[device];
	struct work_uart *uart = &dev->uarts[port];
	uint64_t random = work_random(&dev->random);

	port_check(work, device, port);
	if (uart->latched) {
		uart->latched = 0;
		reg_write(work, device, port, REG_LCR, uart->lcr);
		port_check(work, device, port);
	}
	switch (turn) {
	case TURN_SETTINGS:
		settings(work, device, port);
		break;
	case TURN_SEND:
	case TURN_SEND_MORE:
		if (level(uart) < FIFO_MOST)
			send(work, device, port,
			     1 + (uint32_t)work_below(random, FIFO_MOST - level(uart)));
		break;
	case TURN_RECEIVE:
		if (level(uart))
			receive(work, device, port, (uint32_t)work_below(random, level(uart)));
		break;
	case TURN_LATCH:
		latch(work, device, port);
		break;
	case TURN_EMPTY:
		receive(work, device, port, level(uart));
		break;
	case TURN_OVERRUN:
		overrun(work, device, port);
		break;
	case TURN_FIFO:
		fifo(work, device, port);
		break;
	case TURN_COUNT:
		break;
	}
}

static void command(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t now = work->vcpus[dev->vcpu].run_ticks;
	uint64_t rate = work->shared->knobs.dma;

	turn(work, device, (uint32_t)(dev->commands % dev->port_count),
	     (enum turn)(dev->commands / dev->port_count % TURN_COUNT));
	dev->commands++;
	work_count(&dev->completed, dev->commands);
	dev->next_run_ticks = now;
	if (rate != WORK_MAX)
		dev->next_run_ticks += 1000 * work->shared->ticks_per_ms / rate;
}

/* ---- its interrupt -----------------------------------------------------------------------------
 */

static bool has_irq(const struct work *work, uint32_t device)
{
	return work->env->irq_count(work->env->ctx, device, 0) != UINT64_MAX;
}

static void irq_step(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t count = work->env->irq_count(work->env->ctx, device, 0);
	uint64_t waited = work->vcpus[dev->vcpu].run_ticks - dev->irq_run_ticks;

	if (count == UINT64_MAX)
		return;
	if (count != dev->irq_seen) {
		work_count(&dev->irqs, dev->irqs + (count - dev->irq_seen));
		dev->irq_seen = count;
		dev->irq_asked = 0;
	} else if (dev->irq_asked >= ASKED_MOST &&
		   waited > WORK_LOST_MS * work->shared->ticks_per_ms) {
		work_device_corrupt(work, device, WORK_CORRUPT_INTERRUPT_LOST, dev->irq_asked_all,
				    dev->irqs);
	}
	if (dev->irqs > dev->irq_asked_all + WORK_STORM)
		work_device_corrupt(work, device, WORK_CORRUPT_INTERRUPT_STORM, dev->irq_asked_all,
				    dev->irqs);
}

/* ---- a step ------------------------------------------------------------------------------------
 */

/* Whatever it was left as by others: settings, an empty FIFO, and no overrun. */
static void take_over(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint32_t port;

	dev->irq_seen = work->env->irq_count(work->env->ctx, device, 0);
	for (port = 0; port < dev->port_count; port++) {
		settings_write(work, device, port);
		reg_write(work, device, port, REG_FCR, FCR_ON | FCR_CLEAR);
		send(work, device, port, 1);
		receive(work, device, port, 1);
		port_check(work, device, port);
	}
	dev->state = WORK_DEVICE_IDLE;
}

/* A pass: every register as it stands now, every byte of the FIFOs since, and an interrupt. */
static void verify(struct work *work, uint32_t device, uint64_t wanted)
{
	struct work_device *dev = &work->devices[device];
	uint32_t port;

	switch ((enum phase)dev->verify_phase) {
	case PHASE_BEGIN:
		for (port = 0; port < dev->port_count; port++)
			port_check(work, device, port);
		dev->cycle_target = dev->commands;
		dev->irq_target = dev->irqs;
		if (work->shared->knobs.dma)
			dev->cycle_target += (uint64_t)PASS_CYCLES * TURN_COUNT * dev->port_count;
		if (work->shared->knobs.dma && has_irq(work, device))
			dev->irq_target++;
		dev->verify_phase = PHASE_CYCLE;
		return;
	case PHASE_CYCLE:
		if (dev->commands < dev->cycle_target || dev->irqs < dev->irq_target)
			return;
		dev->verify_phase = PHASE_BEGIN;
		dev->pass_done = wanted;
		return;
	}
}

void work_mtty_step(struct work *work, uint32_t device)
{
	struct work_device *dev = &work->devices[device];
	uint64_t wanted = __atomic_load_n(&work->shared->pass_wanted, __ATOMIC_ACQUIRE);

	if (dev->state == WORK_DEVICE_NEW) {
		take_over(work, device);
		return;
	}
	if (dev->selftest_port) {
		dev->selftest_port = 0;
		reg_write(work, device, 0, REG_SCR, dev->uarts[0].scr ^ 1);
	}
	irq_step(work, device);
	if (dev->pass_done != wanted)
		verify(work, device, wanted);
	if (work->shared->knobs.dma && work->vcpus[dev->vcpu].run_ticks >= dev->next_run_ticks)
		command(work, device);
}
