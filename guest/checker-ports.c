/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker guest's ports: the serial line (16550 at 0x3f8), the witness, and the two ways to
 * power off. From ring 0 and, with IOPL 3, from ring 3.
 */
#include "boot.h"

#define COM1 0x3f8
#define LSR (COM1 + 5)
#define LSR_DATA 0x01u
#define LSR_FREE 0x20u /* the transmit buffer is empty */
#define PORT_DEBUG_EXIT 0x501
#define PORT_WITNESS 0x520 /* of the reference VMM alone */
#define PORT_POWER 0x604 /* PM1a control of QEMU's q35 and of the reference VMM */
#define POWER_OFF 0x2000

void checker_serial_start(void)
{
	out8(COM1 + 1, 0); /* no interrupts */
	out8(COM1 + 3, 0x80); /* 115200 */
	out8(COM1 + 0, 1);
	out8(COM1 + 1, 0);
	out8(COM1 + 3, 0x03); /* 8N1 */
	out8(COM1 + 2, 0x01);
	out8(COM1 + 4, 0x03);
}

uint32_t checker_serial_write(const char *text, uint32_t length)
{
	if (length == 0 || !(in8(LSR) & LSR_FREE))
		return 0;
	out8(COM1, (uint8_t)text[0]);
	return 1;
}

int checker_serial_read(void)
{
	return in8(LSR) & LSR_DATA ? in8(COM1) : -1;
}

void checker_print(const char *text)
{
	while (*text) {
		uint64_t give_up = rdtsc() + (1ull << 32); /* a second or two: a dead line */

		while (!checker_serial_write(text, 1) && rdtsc() < give_up)
			;
		text++;
	}
}

void checker_print_hex(const char *name, uint64_t value)
{
	char text[17];
	uint32_t i;

	for (i = 0; i < 16; i++)
		text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
	text[16] = 0;
	checker_print(name);
	checker_print("0x");
	checker_print(text);
}

void checker_witness(uint32_t word)
{
	out32(PORT_WITNESS, word);
}

void checker_power_off(uint32_t status)
{
	/* The last characters leave before the machine does. */
	uint64_t give_up = rdtsc() + (1ull << 32);

	while (!(in8(LSR) & LSR_FREE) && rdtsc() < give_up)
		;
	out8(PORT_DEBUG_EXIT, (uint8_t)status);
	out16(PORT_POWER, POWER_OFF);
	for (;;)
		__asm__ volatile("pause");
}
