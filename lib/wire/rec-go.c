/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-go.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_go *go)
{
	return go->epoch != 0;
}

/* docs/stream.md, section 5.8. */
int rec_go_encode(const struct rec_go *go, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(go))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_GO);
	wr_u64(&wr, go->epoch);
	return rec_finish(&wr);
}

int rec_go_decode(const void *body, size_t length, struct rec_go *ret_go)
{
	struct rec_go go;
	struct rd rd;

	rd_init(&rd, body, length);
	go.epoch = rd_u64(&rd);
	if (!rd_done(&rd) || !valid(&go))
		return -EPROTO;
	*ret_go = go;
	return 0;
}
