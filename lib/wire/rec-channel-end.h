/* SPDX-License-Identifier: BSD-3-Clause */
/* CHANNEL_END: the end of a bulk connection. docs/stream.md, section 5.22. */
#ifndef WIRE_REC_CHANNEL_END_H
#define WIRE_REC_CHANNEL_END_H

#include "wire/rec.h"

struct rec_channel_end {
	uint32_t channel;
	uint64_t records; /* before this one */
	uint64_t bytes; /* before this record, stream header and content included */
	uint64_t digest; /* XXH3-64 of these bytes without content of pages and device data */
};

int rec_channel_end_encode(const struct rec_channel_end *end, void *buf, size_t capacity);
int rec_channel_end_decode(const void *body, size_t length, struct rec_channel_end *ret_end);

#endif
