/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_DATA: a piece of a device's own stream. docs/stream.md, section 5.20. */
#ifndef WIRE_REC_DEVICE_DATA_H
#define WIRE_REC_DEVICE_DATA_H

#include "wire/rec.h"

#define REC_DEVICE_INITIAL_DONE 1u /* flags: the device's initial data ends with this record */
#define REC_DEVICE_STOP_COPY 2u /* flags: it was read in STOP_COPY */

struct rec_device_data {
	uint32_t device;
	uint32_t sequence; /* 0, 1, ... for each device */
	uint32_t flags; /* REC_DEVICE_* */
	uint32_t data_length; /* 0..REC_DEVICE_DATA_MAX; then rec_padding() zeros */
};

/*
 * encode: header and fixed part; the content follows. decode: the fixed part alone, and the length
 * of the whole body from the header.
 */
int rec_device_data_encode(const struct rec_device_data *data, void *buf, size_t capacity);
int rec_device_data_decode(const void *fixed, size_t fixed_length, uint32_t body_length,
			   struct rec_device_data *ret_data);

#endif
