/* SPDX-License-Identifier: BSD-3-Clause */
/* SHAPE: the machine in the VMM's own words. docs/stream.md, section 5.4. */
#ifndef WIRE_REC_SHAPE_H
#define WIRE_REC_SHAPE_H

#include "wire/rec.h"

struct rec_shape {
	const void *data; /* decoded: in the body */
	uint32_t data_length; /* 0..WIRE_DATA_MAX */
};

int rec_shape_encode(const struct rec_shape *shape, void *buf, size_t capacity);
int rec_shape_decode(const void *body, size_t length, struct rec_shape *ret_shape);

#endif
