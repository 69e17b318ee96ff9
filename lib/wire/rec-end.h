/* SPDX-License-Identifier: BSD-3-Clause */
/* END: everything was sent; totals, and a digest of what the control connection carried.
 * docs/stream.md, section 5.7. */
#ifndef WIRE_REC_END_H
#define WIRE_REC_END_H

#include "wire/rec.h"

struct rec_end {
	uint32_t rounds; /* 1..WIRE_ROUNDS_MAX */
	uint32_t device_count; /* HELLO's */
	uint32_t config_records; /* DEVICE_CONFIG: one for each device */
	uint32_t machine_sections; /* MACHINE_STATE: 0..WIRE_SECTIONS_MAX */
	uint64_t normal_pages; /* on all bulk connections, in all rounds */
	uint64_t zero_pages;
	uint64_t device_bytes; /* of all devices */
	uint64_t digest; /* XXH3-64 of the bytes before this record */
};

int rec_end_encode(const struct rec_end *end, void *buf, size_t capacity);
int rec_end_decode(const void *body, size_t length, struct rec_end *ret_end);

#endif
