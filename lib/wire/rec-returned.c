/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-returned.h"

#include "wire/rec-error.h"

/* docs/stream.md, section 5.13. */
int rec_returned_encode(const struct rec_returned *returned, void *buf, size_t capacity)
{
	struct wr wr;

	if (returned->epoch == 0)
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_RETURNED);
	wr_u64(&wr, returned->epoch);
	rec_error_write(&wr, &returned->error);
	return rec_finish(&wr);
}

int rec_returned_decode(const void *body, size_t length, struct rec_returned *ret_returned)
{
	struct rec_returned returned;
	struct rd rd;

	rd_init(&rd, body, length);
	returned.epoch = rd_u64(&rd);
	rec_error_read(&rd, &returned.error);
	if (!rd_done(&rd) || returned.epoch == 0)
		return -EPROTO;
	*ret_returned = returned;
	return 0;
}
