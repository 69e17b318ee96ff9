/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-shape.h"

#include "wire/rec-body.h"

/* docs/stream.md, section 5.4. */
int rec_shape_encode(const struct rec_shape *shape, void *buf, size_t capacity)
{
	struct wr wr;

	if (shape->data_length > WIRE_DATA_MAX)
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_SHAPE);
	wr_bytes(&wr, shape->data, shape->data_length);
	return rec_finish(&wr);
}

int rec_shape_decode(const void *body, size_t length, struct rec_shape *ret_shape)
{
	if (length > WIRE_DATA_MAX)
		return -EMSGSIZE;
	*ret_shape = (struct rec_shape){ .data = body, .data_length = (uint32_t)length };
	return 0;
}
