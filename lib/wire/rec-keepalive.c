/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-keepalive.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_keepalive *keepalive)
{
	return keepalive->counter != 0;
}

/* docs/stream.md, section 5.16. */
int rec_keepalive_encode(const struct rec_keepalive *keepalive, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(keepalive))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_KEEPALIVE);
	wr_u64(&wr, keepalive->counter);
	return rec_finish(&wr);
}

int rec_keepalive_decode(const void *body, size_t length, struct rec_keepalive *ret_keepalive)
{
	struct rec_keepalive keepalive;
	struct rd rd;

	rd_init(&rd, body, length);
	keepalive.counter = rd_u64(&rd);
	if (!rd_done(&rd) || !valid(&keepalive))
		return -EPROTO;
	*ret_keepalive = keepalive;
	return 0;
}
