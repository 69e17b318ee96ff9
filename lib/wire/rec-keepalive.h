/* SPDX-License-Identifier: BSD-3-Clause */
/* KEEPALIVE: the sender is alive. docs/stream.md, section 5.16. */
#ifndef WIRE_REC_KEEPALIVE_H
#define WIRE_REC_KEEPALIVE_H

#include "wire/rec.h"

struct rec_keepalive {
	uint64_t counter; /* 1, 2, ... */
};

int rec_keepalive_encode(const struct rec_keepalive *keepalive, void *buf, size_t capacity);
int rec_keepalive_decode(const void *body, size_t length, struct rec_keepalive *ret_keepalive);

#endif
