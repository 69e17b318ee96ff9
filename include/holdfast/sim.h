/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registers of the simulated device, for drivers in guests. docs/sim-device.md explains them.
 *
 * A PCI function with
 *   BAR0  4 KiB  registers (below), 32-bit and 64-bit little-endian accesses, naturally aligned
 *   BAR2  4 KiB  MSI-X table at 0, pending bits at 0x800; HF_SIM_VECTORS vectors
 *   BAR4  64 KiB plain device memory, can be mapped, target of other devices' DMA (P2P)
 * and internal state of STATE_SIZE bytes that every command changes, so that a guest can prove from
 * inside that none of it was lost, repeated or made stale by a migration.
 */
#ifndef HOLDFAST_SIM_H
#define HOLDFAST_SIM_H

#define HF_SIM_VENDOR_ID 0x1234
#define HF_SIM_DEVICE_ID 0x4846
#define HF_SIM_REVISION 1
#define HF_SIM_CLASS 0xff0000 /* unassigned class */

#define HF_SIM_BAR0_SIZE 0x1000
#define HF_SIM_BAR2_SIZE 0x1000
#define HF_SIM_BAR4_SIZE 0x10000
#define HF_SIM_MSIX_TABLE 0x000
#define HF_SIM_MSIX_PBA 0x800
#define HF_SIM_VECTORS 4

/* clang-format off */
/* BAR0. RO: writes are ignored. 64-bit registers may be accessed as two 32-bit halves. */
#define HF_SIM_MAGIC 0x00	/* RO u32: HF_SIM_MAGIC_VALUE */
#define HF_SIM_VERSION 0x04	/* RO u32: 1 */
#define HF_SIM_STATUS 0x08	/* RO u32: HF_SIM_STATUS_* */
#define HF_SIM_COMMAND 0x0c	/* WO u32: HF_SIM_CMD_*: submits one command; ignored while BUSY */
#define HF_SIM_SRC 0x10		/* RW u64: guest-physical source address */
#define HF_SIM_DST 0x18		/* RW u64: guest-physical destination address */
#define HF_SIM_LENGTH 0x20	/* RW u32: bytes, a multiple of 8, at most 1 MiB */
#define HF_SIM_RING 0x28	/* RW u64: address of the completion ring, 16-byte entries */
#define HF_SIM_RING_ENTRIES 0x30 /* RW u32: 0 (no ring) or a power of two up to 4096 */
#define HF_SIM_SUBMITTED 0x38	/* RO u64: commands accepted since reset = sequence of the last */
#define HF_SIM_COMPLETED 0x40	/* RO u64: commands finished since reset */
#define HF_SIM_STATE_SIZE 0x48	/* RO u64: bytes of internal state, a power of two >= 4096 */
#define HF_SIM_STATE_INDEX 0x50 /* RW u64: which 8-byte word of it HF_SIM_STATE_WORD shows */
#define HF_SIM_STATE_WORD 0x58	/* RO u64: that word */
#define HF_SIM_BEAT_RING 0x60	/* RW u64: address of the beat ring, 8-byte entries */
#define HF_SIM_BEAT_ENTRIES 0x68 /* RW u32: a power of two up to 1 << 20 */
#define HF_SIM_BEAT_PERIOD 0x6c /* RW u32: microseconds between beats; 0: off */
#define HF_SIM_BEATS 0x70	/* RO u64: beats since reset */
#define HF_SIM_ERRORS 0x78	/* RO u64: DMA that hit no mapping, since reset */

#define HF_SIM_MAGIC_VALUE 0x44484f48u /* "HOHD" read as text, little-endian */

#define HF_SIM_STATUS_BUSY 1u  /* a command is being worked on */
#define HF_SIM_STATUS_FAULT 2u /* the last command failed (address, length) */

#define HF_SIM_CMD_COPY 1u /* LENGTH bytes from SRC to DST */
#define HF_SIM_CMD_FILL 2u /* LENGTH bytes at DST: word i is HF_SIM_WORD(sequence, i) */
#define HF_SIM_CMD_SUM 3u  /* the sum of the 64-bit words of SRC, LENGTH goes into the completion */
/* clang-format on */

/*
 * A completion: {u64 sequence, u64 value} at RING + 16 * ((sequence - 1) % RING_ENTRIES); value is
 * the sum for CMD_SUM, ~0 for a fault, else 0. It is written before COMPLETED counts, and then
 * MSI-X vector 0 fires. A beat writes {u64 number} at BEAT_RING + 8 * ((number - 1) % BEAT_ENTRIES)
 * with number counting from 1, and every HF_SIM_BEATS_PER_IRQ-th beat fires vector 1.
 *
 * Command number s (1..) also rewrites one 4 KiB block of the internal state: block
 * HF_SIM_BLOCK(s, STATE_SIZE / 4096); word w (0..511) of it becomes HF_SIM_WORD(s, w). After reset,
 * word w of block b is HF_SIM_WORD(0, b * 512 + w).
 */
#define HF_SIM_BEATS_PER_IRQ 64u
#define HF_SIM_WORD(sequence, i)                                                                   \
	((((unsigned long long)(sequence) << 32) ^ (unsigned long long)(i)) * 0x9e3779b97f4a7c15ull)
#define HF_SIM_BLOCK(sequence, blocks) ((unsigned long long)(sequence) % (blocks))

#endif
