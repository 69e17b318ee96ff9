/* SPDX-License-Identifier: BSD-3-Clause */
/* GO: the guest is offered in the ledger; the target may claim it. docs/stream.md, section 5.8. */
#ifndef WIRE_REC_GO_H
#define WIRE_REC_GO_H

#include "wire/rec.h"

struct rec_go {
	uint64_t epoch; /* the offer's; not 0 */
};

int rec_go_encode(const struct rec_go *go, void *buf, size_t capacity);
int rec_go_decode(const void *body, size_t length, struct rec_go *ret_go);

#endif
