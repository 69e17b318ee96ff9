/* SPDX-License-Identifier: BSD-3-Clause */
/* The console. Registers after the PC16550D data sheet, section 8. */
#include "serial.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"

#define IER_THR_EMPTY 0x02u
#define IIR_NONE 0x01u
#define IIR_THR_EMPTY 0x02u
#define IIR_FIFO 0xc0u
#define LCR_DLAB 0x80u
#define LSR_IDLE 0x60u /* transmitter empty, holding register empty */
#define MSR_READY 0xb0u /* carrier, data set ready, clear to send */
#define FCR_ENABLE 0x01u

#define WRITE_WAIT_MS 1000

static int open_output(struct serial *serial, const char *where, struct hf_error *err)
{
	if (strcmp(where, "none") == 0)
		return 0;
	if (strcmp(where, "stdio") == 0) {
		serial->fd = STDOUT_FILENO;
		return 0;
	}
	if (strncmp(where, "file:", 5) != 0 || where[5] == '\0')
		return fail(err, HF_E_INVALID, 0,
			    "serial: '%s' is none of stdio, file:PATH and none", where);
	serial->fd = open(where + 5, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
	if (serial->fd < 0)
		return fail(err, HF_E_INVALID, errno, "serial: %s", where);
	serial->fd_owned = true;
	return 0;
}

int serial_open(struct serial *serial, const struct irq *irq, const char *where,
		struct hf_error *err)
{
	int r;

	*serial = (struct serial){ .irq = irq, .fd = -1 };
	r = pthread_mutex_init(&serial->lock, NULL);
	if (r != 0)
		return fail(err, HF_E_NO_MEMORY, r, "a mutex");
	serial->lock_made = true;
	r = open_output(serial, where, err);
	if (r != 0)
		serial_close(serial);
	return r;
}

void serial_close(struct serial *serial)
{
	if (serial->fd_owned)
		(void)close(serial->fd); /* written unbuffered: nothing is left that could fail */
	if (serial->lock_made)
		(void)pthread_mutex_destroy(&serial->lock);
	*serial = (struct serial){ .fd = -1 };
}

/* A reader who does not read must not hold up the vCPU for ever: after a second bytes get lost. */
static void send_byte(struct serial *serial, uint8_t byte)
{
	struct pollfd pollfd = { .fd = serial->fd, .events = POLLOUT };
	int wait_ms = serial->lost_bytes == 0 ? WRITE_WAIT_MS : 0;

	if (serial->fd < 0)
		return;
	if (poll(&pollfd, 1, wait_ms) != 1 || write(serial->fd, &byte, 1) != 1)
		serial->lost_bytes++;
}

uint64_t serial_lost_bytes(struct serial *serial)
{
	uint64_t count;

	(void)pthread_mutex_lock(&serial->lock); /* a plain mutex, not ours yet: cannot fail */
	count = serial->lost_bytes;
	(void)pthread_mutex_unlock(&serial->lock);
	return count;
}

static int update_line(struct serial *serial)
{
	bool high = serial->regs.thr_empty_pending != 0 && (serial->regs.ier & IER_THR_EMPTY) != 0;

	return irq_line_set(serial->irq, IRQ_SERIAL, high);
}

static uint8_t read_register(struct serial *serial, uint32_t offset)
{
	struct serial_regs *regs = &serial->regs;
	uint8_t value;

	switch (offset) {
	case 0:
		return (regs->lcr & LCR_DLAB) != 0 ? regs->divisor_low : 0;
	case 1:
		return (regs->lcr & LCR_DLAB) != 0 ? regs->divisor_high : regs->ier;
	case 2:
		value = (regs->fcr & FCR_ENABLE) != 0 ? IIR_FIFO : 0;
		if (regs->thr_empty_pending == 0 || (regs->ier & IER_THR_EMPTY) == 0)
			return (uint8_t)(value | IIR_NONE);
		regs->thr_empty_pending = 0; /* reading says it was seen */
		return (uint8_t)(value | IIR_THR_EMPTY);
	case 3:
		return regs->lcr;
	case 4:
		return regs->mcr;
	case 5:
		return LSR_IDLE;
	case 6:
		return MSR_READY;
	default:
		return regs->scratch;
	}
}

uint8_t serial_read(struct serial *serial, uint32_t offset)
{
	uint8_t value;

	(void)pthread_mutex_lock(&serial->lock); /* a plain mutex, not ours yet: cannot fail */
	value = read_register(serial, offset);
	if (offset == 2)
		(void)update_line(serial); /* a valid GSI of a living VM: cannot fail */
	(void)pthread_mutex_unlock(&serial->lock);
	return value;
}

static void write_register(struct serial *serial, uint32_t offset, uint8_t value)
{
	struct serial_regs *regs = &serial->regs;

	switch (offset) {
	case 0:
		if ((regs->lcr & LCR_DLAB) != 0) {
			regs->divisor_low = value;
			break;
		}
		send_byte(serial, value);
		regs->thr_empty_pending = 1; /* and empty again at once */
		break;
	case 1:
		if ((regs->lcr & LCR_DLAB) != 0) {
			regs->divisor_high = value;
			break;
		}
		/* Enabling it with an empty register raises it (data sheet, 8.6.4). */
		if ((value & IER_THR_EMPTY) != 0 && (regs->ier & IER_THR_EMPTY) == 0)
			regs->thr_empty_pending = 1;
		regs->ier = value & 0x0f;
		break;
	case 2:
		regs->fcr = value;
		break;
	case 3:
		regs->lcr = value;
		break;
	case 4:
		regs->mcr = value & 0x1f;
		break;
	case 7:
		regs->scratch = value;
		break;
	default: /* LSR and MSR: read-only */
		break;
	}
}

void serial_write(struct serial *serial, uint32_t offset, uint8_t value)
{
	(void)pthread_mutex_lock(&serial->lock);
	write_register(serial, offset, value);
	if (offset <= 1)
		(void)update_line(serial); /* as above */
	(void)pthread_mutex_unlock(&serial->lock);
}

void serial_save(struct serial *serial, struct writer *writer)
{
	(void)pthread_mutex_lock(&serial->lock);
	put(writer, &serial->regs, sizeof(serial->regs));
	(void)pthread_mutex_unlock(&serial->lock);
}

int serial_load(struct serial *serial, struct reader *reader)
{
	struct serial_regs regs;
	int r;

	take(reader, &regs, sizeof(regs));
	if (!reader_complete(reader))
		return -EPROTO;
	(void)pthread_mutex_lock(&serial->lock);
	serial->regs = regs;
	r = update_line(serial);
	(void)pthread_mutex_unlock(&serial->lock);
	return r;
}
