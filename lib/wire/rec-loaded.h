/* SPDX-License-Identifier: BSD-3-Clause */
/* LOADED: the proof: everything is loaded, and every device stands in STOP. docs/stream.md,
 * section 5.11. */
#ifndef WIRE_REC_LOADED_H
#define WIRE_REC_LOADED_H

#include "wire/rec.h"

struct rec_loaded {
	uint64_t verify_us; /* from END read to the proof */
};

int rec_loaded_encode(const struct rec_loaded *loaded, void *buf, size_t capacity);
int rec_loaded_decode(const void *body, size_t length, struct rec_loaded *ret_loaded);

#endif
