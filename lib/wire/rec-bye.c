/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-bye.h"

#include "wire/rec-body.h"

/* docs/stream.md, section 5.15. */
int rec_bye_encode(void *buf, size_t capacity)
{
	struct wr wr;

	rec_begin(&wr, buf, capacity, REC_BYE);
	return rec_finish(&wr);
}

int rec_bye_decode(const void *body, size_t length)
{
	(void)body; /* there is none */
	return length == 0 ? 0 : -EPROTO;
}
