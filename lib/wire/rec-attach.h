/* SPDX-License-Identifier: BSD-3-Clause */
/* ATTACH: which session, and which of its bulk connections, this one is. docs/stream.md,
 * section 5.17. */
#ifndef WIRE_REC_ATTACH_H
#define WIRE_REC_ATTACH_H

#include "wire/rec.h"

struct rec_attach {
	uint8_t session[WIRE_ID_BYTES]; /* HELLO's */
	uint8_t token[WIRE_ID_BYTES]; /* ACCEPT's */
	uint32_t channel; /* 0..granted - 1; the stream header's */
};

int rec_attach_encode(const struct rec_attach *attach, void *buf, size_t capacity);
int rec_attach_decode(const void *body, size_t length, struct rec_attach *ret_attach);

#endif
