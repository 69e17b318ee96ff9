/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-channel-end.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_channel_end *end)
{
	return end->channel < HF_CHANNELS_MAX;
}

/* docs/stream.md, section 5.22. */
int rec_channel_end_encode(const struct rec_channel_end *end, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(end))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_CHANNEL_END);
	wr_u32(&wr, end->channel);
	wr_zero(&wr, 4);
	wr_u64(&wr, end->records);
	wr_u64(&wr, end->bytes);
	wr_u64(&wr, end->digest);
	return rec_finish(&wr);
}

int rec_channel_end_decode(const void *body, size_t length, struct rec_channel_end *ret_end)
{
	struct rec_channel_end end;
	struct rd rd;

	rd_init(&rd, body, length);
	end.channel = rd_u32(&rd);
	rd_zero(&rd, 4);
	end.records = rd_u64(&rd);
	end.bytes = rd_u64(&rd);
	end.digest = rd_u64(&rd);
	if (!rd_done(&rd) || !valid(&end))
		return -EPROTO;
	*ret_end = end;
	return 0;
}
