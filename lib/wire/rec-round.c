/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-round.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_round *round)
{
	return round->round >= 1 && round->round <= WIRE_ROUNDS_MAX;
}

/* docs/stream.md, section 5.19. */
int rec_round_encode(const struct rec_round *round, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(round))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_ROUND);
	wr_u32(&wr, round->round);
	wr_zero(&wr, 4);
	wr_u64(&wr, round->pages);
	return rec_finish(&wr);
}

int rec_round_decode(const void *body, size_t length, struct rec_round *ret_round)
{
	struct rec_round round;
	struct rd rd;

	rd_init(&rd, body, length);
	round.round = rd_u32(&rd);
	rd_zero(&rd, 4);
	round.pages = rd_u64(&rd);
	if (!rd_done(&rd) || !valid(&round))
		return -EPROTO;
	*ret_round = round;
	return 0;
}
