/* SPDX-License-Identifier: BSD-3-Clause */
/* RETURNED: claimed, but not started, and given back in the ledger. docs/stream.md, section 5.13.
 */
#ifndef WIRE_REC_RETURNED_H
#define WIRE_REC_RETURNED_H

#include <holdfast/error.h>

#include "wire/rec.h"

struct rec_returned {
	uint64_t epoch; /* GO's */
	struct hf_error error; /* why */
};

int rec_returned_encode(const struct rec_returned *returned, void *buf, size_t capacity);
int rec_returned_decode(const void *body, size_t length, struct rec_returned *ret_returned);

#endif
