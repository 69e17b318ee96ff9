/* SPDX-License-Identifier: BSD-3-Clause */
/* ROUND: the end of a round on this connection; a barrier across all of them. docs/stream.md,
 * section 5.19. */
#ifndef WIRE_REC_ROUND_H
#define WIRE_REC_ROUND_H

#include "wire/rec.h"

struct rec_round {
	uint32_t round; /* 1, 2, ... */
	uint64_t pages; /* present in this connection's PAGES of this round */
};

int rec_round_encode(const struct rec_round *round, void *buf, size_t capacity);
int rec_round_decode(const void *body, size_t length, struct rec_round *ret_round);

#endif
