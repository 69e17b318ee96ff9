/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of the simulated device's migration stream; docs/sim-device.md specifies them. Little
 * endian. A header, then records: BLOCK any number of times, BAR4, REGISTERS, TRAILER.
 */
#ifndef DEVICE_SIM_STREAM_H
#define DEVICE_SIM_STREAM_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "backend/device/sim/sim.h"

#define SIM_STREAM_MAGIC 0x5645444d49534648ull /* "HFSIMDEV" */
#define SIM_STREAM_VERSION 1u
#define SIM_STREAM_HEADER_SIZE 128u
#define SIM_RECORD_HEADER_SIZE 32u

#define SIM_RECORD_BLOCK 1u
#define SIM_RECORD_BAR4 2u
#define SIM_RECORD_REGISTERS 3u
#define SIM_RECORD_TRAILER 4u

#define SIM_REGISTERS_SIZE 192u
#define SIM_TRAILER_SIZE 32u
#define SIM_RECORD_MAX (SIM_RECORD_HEADER_SIZE + HF_SIM_BAR4_SIZE) /* bytes, the largest */
#define SIM_BLOCK_RECORD_SIZE (SIM_RECORD_HEADER_SIZE + SIM_BLOCK_SIZE)

static inline uint64_t sim_get64(const uint8_t *from)
{
	uint64_t v;

	memcpy(&v, from, sizeof(v));
	return le64toh(v);
}

static inline uint32_t sim_get32(const uint8_t *from)
{
	uint32_t v;

	memcpy(&v, from, sizeof(v));
	return le32toh(v);
}

static inline void sim_put64(uint8_t *to, uint64_t v)
{
	v = htole64(v);
	memcpy(to, &v, sizeof(v));
}

static inline void sim_put32(uint8_t *to, uint32_t v)
{
	v = htole32(v);
	memcpy(to, &v, sizeof(v));
}

/* The fields of REGISTERS, once for both directions: X64(offset, member), X32(offset, member). */
/* clang-format off */
#define SIM_REGISTERS_LIST(X64, X32) \
	X64(0, src) X64(8, dst) X64(16, ring) X64(24, beat_ring) \
	X64(32, submitted) X64(40, completed) X64(48, beats) X64(56, errors) X64(64, state_index) \
	X64(72, command_src) X64(80, command_dst) X64(88, command_left_ns) X64(96, beat_left_ns) \
	X32(104, length) X32(108, ring_entries) X32(112, beat_entries) X32(116, beat_period_us) \
	X32(120, fault) X32(124, irq_pending) X32(128, command_op) X32(132, command_length)
/* clang-format on */
#define SIM_REGISTERS_USED 136u /* the rest is reserved: zero */

#endif
