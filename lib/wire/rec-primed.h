/* SPDX-License-Identifier: BSD-3-Clause */
/* PRIMED: a device's initial data is in: its switchover is cheap now. docs/stream.md, section 5.10.
 */
#ifndef WIRE_REC_PRIMED_H
#define WIRE_REC_PRIMED_H

#include "wire/rec.h"

struct rec_primed {
	uint32_t device;
};

int rec_primed_encode(const struct rec_primed *primed, void *buf, size_t capacity);
int rec_primed_decode(const void *body, size_t length, struct rec_primed *ret_primed);

#endif
