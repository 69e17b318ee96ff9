/* SPDX-License-Identifier: BSD-3-Clause */
/* STARTED: the guest runs at the target. docs/stream.md, section 5.12. */
#ifndef WIRE_REC_STARTED_H
#define WIRE_REC_STARTED_H

#include "wire/rec.h"

struct rec_started {
	uint64_t epoch; /* GO's */
	uint64_t start_us; /* from END read until the vCPUs ran */
};

int rec_started_encode(const struct rec_started *started, void *buf, size_t capacity);
int rec_started_decode(const void *body, size_t length, struct rec_started *ret_started);

#endif
