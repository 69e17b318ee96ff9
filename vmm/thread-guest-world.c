/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the workload finds around it when it runs in threads: a clock, registers of devices, their
 * interrupts as eventfds, a console, the witness.
 */
#include "thread-guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "witness.h"

uint64_t thread_clock(const struct thread_guest *guest)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + guest->clock_offset;
}

static uint64_t ticks(void *ctx)
{
	return thread_clock(ctx);
}

static uint64_t reg_read(void *ctx, uint32_t index, uint32_t bar, uint32_t offset, uint32_t size)
{
	struct thread_guest *guest = ctx;
	const struct hf_device *device = &guest->guest.devices[index].device;
	uint64_t value = 0;

	/* What fails reads as all ones, as on a PCI bus, and the workload finds it wrong. */
	if (device->ops->region_read(device->self, bar, offset, &value, size) < 0)
		return UINT64_MAX;
	return value;
}

static void reg_write(void *ctx, uint32_t index, uint32_t bar, uint32_t offset, uint32_t size,
		      uint64_t value)
{
	struct thread_guest *guest = ctx;
	const struct hf_device *device = &guest->guest.devices[index].device;

	/* One that fails is lost, as on a PCI bus, and the workload misses what it should do. */
	(void)device->ops->region_write(device->self, bar, offset, &value, size);
}

int thread_irqs_take(struct thread_guest *guest, uint32_t index)
{
	struct thread_device *device = &guest->devices[index];

	for (uint32_t v = 0; v < THREAD_VECTORS; v++) {
		uint64_t signals = 0;
		ssize_t n = read(device->irq_fd[v], &signals, sizeof(signals));

		if (n == (ssize_t)sizeof(signals))
			device->irq_count[v] += signals;
		else if (n >= 0 || (errno != EAGAIN && errno != EINTR))
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

static uint64_t irq_count(void *ctx, uint32_t index, uint32_t vector)
{
	struct thread_guest *guest = ctx;

	if (guest->devices[index].kind == WORK_DEVICE_MTTY)
		return UINT64_MAX; /* it is polled */
	/* An eventfd that cannot be read brings no interrupt, and the workload misses it. */
	(void)thread_irqs_take(guest, index);
	return guest->devices[index].irq_count[vector];
}

/* An eventfd is read or it is not: there is nothing that could hold it back. */
static bool irq_mask(void *ctx, uint32_t index, bool masked)
{
	(void)ctx;
	(void)index;
	(void)masked;
	return false;
}

static uint64_t timer_count(void *ctx, uint32_t vcpu)
{
	(void)ctx;
	(void)vcpu;
	return UINT64_MAX; /* threads have none */
}

static bool registers_ok(void *ctx, uint32_t vcpu)
{
	(void)ctx;
	(void)vcpu;
	return true; /* between two steps a thread keeps nothing in registers */
}

/* ---- the console -------------------------------------------------------------------------------
 */

static uint32_t console_write(void *ctx, const char *text, uint32_t length)
{
	const struct thread_guest *guest = ctx;
	struct pollfd ready = { .fd = guest->out_fd, .events = POLLOUT };
	ssize_t n;

	if (guest->out_fd < 0)
		return length;
	if (poll(&ready, 1, 0) != 1)
		return 0; /* whoever reads it is slow: the vCPU does not wait for it */
	n = write(guest->out_fd, text, length);
	if (n >= 0)
		return (uint32_t)n;
	return errno == EAGAIN || errno == EINTR ? 0 : length; /* nobody reads it any more */
}

static int console_read(void *ctx)
{
	struct thread_guest *guest = ctx;
	struct pollfd ready = { .fd = guest->in_fd, .events = POLLIN };
	unsigned char byte;

	if (guest->in_fd < 0 || poll(&ready, 1, 0) != 1)
		return -1;
	if (read(guest->in_fd, &byte, 1) == 1)
		return byte;
	guest->in_fd = -1;
	return -1;
}

int thread_console_open(struct thread_guest *guest, const char *where, struct hf_error *err)
{
	if (where == NULL || strcmp(where, "stdio") == 0) {
		guest->out_fd = STDOUT_FILENO;
		guest->in_fd = STDIN_FILENO;
		return 0;
	}
	if (strcmp(where, "none") == 0)
		return 0;
	if (strncmp(where, "file:", 5) != 0)
		return fail(err, HF_E_INVALID, 0,
			    "serial: \"%s\" is none of stdio, file:PATH, none", where);
	guest->out_fd = open(where + 5, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (guest->out_fd < 0)
		return fail(err, HF_E_INVALID, errno, "serial: %s", where + 5);
	guest->out_owned = true;
	return 0;
}

void thread_console_close(struct thread_guest *guest)
{
	if (guest->out_owned)
		(void)close(guest->out_fd);
}

/* ---- the end -----------------------------------------------------------------------------------
 */

static void witness(void *ctx, uint32_t word)
{
	(void)ctx;
	/* A word that could not be written is a number that the referee misses. */
	(void)witness_append(word);
}

static void finish(void *ctx, uint32_t status)
{
	struct thread_guest *guest = ctx;

	guest->guest.exit_status = (int)status;
	thread_guest_tell(guest, GUEST_EVENT_SHUTDOWN);
}

const struct work_env thread_world = {
	.ticks = ticks,
	.reg_read = reg_read,
	.reg_write = reg_write,
	.irq_count = irq_count,
	.irq_mask = irq_mask,
	.timer_count = timer_count,
	.registers_ok = registers_ok,
	.console_write = console_write,
	.console_read = console_read,
	.witness = witness,
	.finish = finish,
};
