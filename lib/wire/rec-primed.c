/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-primed.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_primed *primed)
{
	return primed->device < HF_DEVICES_MAX;
}

/* docs/stream.md, section 5.10. */
int rec_primed_encode(const struct rec_primed *primed, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(primed))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_PRIMED);
	wr_u32(&wr, primed->device);
	wr_zero(&wr, 4);
	return rec_finish(&wr);
}

int rec_primed_decode(const void *body, size_t length, struct rec_primed *ret_primed)
{
	struct rec_primed primed;
	struct rd rd;

	rd_init(&rd, body, length);
	primed.device = rd_u32(&rd);
	rd_zero(&rd, 4);
	if (!rd_done(&rd) || !valid(&primed))
		return -EPROTO;
	*ret_primed = primed;
	return 0;
}
