/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-started.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_started *started)
{
	return started->epoch != 0;
}

/* docs/stream.md, section 5.12. */
int rec_started_encode(const struct rec_started *started, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(started))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_STARTED);
	wr_u64(&wr, started->epoch);
	wr_u64(&wr, started->start_us);
	return rec_finish(&wr);
}

int rec_started_decode(const void *body, size_t length, struct rec_started *ret_started)
{
	struct rec_started started;
	struct rd rd;

	rd_init(&rd, body, length);
	started.epoch = rd_u64(&rd);
	started.start_us = rd_u64(&rd);
	if (!rd_done(&rd) || !valid(&started))
		return -EPROTO;
	*ret_started = started;
	return 0;
}
