/* SPDX-License-Identifier: BSD-3-Clause */
/* ABORT: the sender ends the session, and says why. docs/stream.md, section 5.14. */
#ifndef WIRE_REC_ABORT_H
#define WIRE_REC_ABORT_H

#include <holdfast/error.h>

#include "wire/rec.h"

struct rec_abort {
	struct hf_error error; /* why */
};

/*
 * An abort is never refused by its own encoder, so that a reason is never lost: a code that is none
 * becomes HF_E_BUG, a cause that is none becomes 0, and bytes that may not be in a text become '?'.
 * So it is with RETURNED.
 */
int rec_abort_encode(const struct rec_abort *abort, void *buf, size_t capacity);
int rec_abort_decode(const void *body, size_t length, struct rec_abort *ret_abort);

#endif
