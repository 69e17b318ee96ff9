/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-abort.h"

#include "wire/rec-error.h"

/* docs/stream.md, section 5.14. */
int rec_abort_encode(const struct rec_abort *abort, void *buf, size_t capacity)
{
	struct wr wr;

	rec_begin(&wr, buf, capacity, REC_ABORT);
	rec_error_write(&wr, &abort->error);
	return rec_finish(&wr);
}

int rec_abort_decode(const void *body, size_t length, struct rec_abort *ret_abort)
{
	struct rec_abort abort;
	struct rd rd;

	rd_init(&rd, body, length);
	rec_error_read(&rd, &abort.error);
	if (!rd_done(&rd))
		return -EPROTO;
	*ret_abort = abort;
	return 0;
}
