/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_END: the end of a device's own stream. docs/stream.md, section 5.21. */
#ifndef WIRE_REC_DEVICE_END_H
#define WIRE_REC_DEVICE_END_H

#include "wire/rec.h"

struct rec_device_end {
	uint32_t device;
	uint32_t records; /* DEVICE_DATA records */
	uint64_t bytes; /* of data in them */
	uint64_t digest; /* XXH3-64 of the data */
};

int rec_device_end_encode(const struct rec_device_end *end, void *buf, size_t capacity);
int rec_device_end_decode(const void *body, size_t length, struct rec_device_end *ret_end);

#endif
