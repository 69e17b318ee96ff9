/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The console: a 16550 at 0x3f8, IRQ 4, that can be polled or used with the transmitter's
 * interrupt. It sends and never receives. Bytes leave one by one, unbuffered, so that the last
 * words of a guest that dies are there.
 */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "irq.h"

#define SERIAL_PORT 0x3f8u
#define SERIAL_PORTS 8u

/* What the guest sees of it, and what travels. */
struct serial_regs {
	uint8_t ier, lcr, mcr, scratch, fcr, divisor_low, divisor_high;
	uint8_t thr_empty_pending; /* the transmitter's interrupt has not been read from IIR yet */
};

struct serial {
	const struct irq *irq;
	int fd; /* -1: nowhere */
	bool fd_owned;
	pthread_mutex_t lock; /* guards everything below */
	bool lock_made;
	struct serial_regs regs;
	uint64_t lost_bytes; /* the fd took none for a second, or failed */
};

/* where: "stdio", "file:PATH" (appended), "none". HF_E_INVALID names it. */
int serial_open(struct serial *serial, const struct irq *irq, const char *where,
		struct hf_error *err);
void serial_close(struct serial *serial); /* also zeroed */

uint8_t serial_read(struct serial *serial, uint32_t offset);
void serial_write(struct serial *serial, uint32_t offset, uint8_t value);

uint64_t serial_lost_bytes(struct serial *serial);

void serial_save(struct serial *serial, struct writer *writer);
/* 0, or -EPROTO if the layout is wrong, or -errno of the interrupt line. */
int serial_load(struct serial *serial, struct reader *reader);

#endif
