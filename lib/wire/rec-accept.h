/* SPDX-License-Identifier: BSD-3-Clause */
/* ACCEPT: the target will take it, and on which terms. docs/stream.md, section 5.9. */
#ifndef WIRE_REC_ACCEPT_H
#define WIRE_REC_ACCEPT_H

#include "wire/rec.h"

struct rec_accept {
	uint32_t features; /* reserved, 0 */
	uint32_t channels; /* bulk connections granted: 1..what was wanted */
	uint32_t chunk_bytes_max; /* of content in one record of a bulk connection */
	uint8_t token[WIRE_ID_BYTES]; /* for ATTACH; random, never all zero */
	char side[HF_NAME_MAX]; /* the target's id in the ledger; not empty */
	char ledger[HF_URI_MAX]; /* its normal form; not empty */
};

int rec_accept_encode(const struct rec_accept *accept, void *buf, size_t capacity);
int rec_accept_decode(const void *body, size_t length, struct rec_accept *ret_accept);

#endif
