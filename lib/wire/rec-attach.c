/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-attach.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_attach *attach)
{
	return rec_id_valid(attach->session) && rec_id_valid(attach->token) &&
	       attach->channel < HF_CHANNELS_MAX;
}

/* docs/stream.md, section 5.17. */
int rec_attach_encode(const struct rec_attach *attach, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(attach))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_ATTACH);
	wr_bytes(&wr, attach->session, WIRE_ID_BYTES);
	wr_bytes(&wr, attach->token, WIRE_ID_BYTES);
	wr_u32(&wr, attach->channel);
	wr_zero(&wr, 4);
	return rec_finish(&wr);
}

int rec_attach_decode(const void *body, size_t length, struct rec_attach *ret_attach)
{
	struct rec_attach attach;
	struct rd rd;

	rd_init(&rd, body, length);
	rd_bytes(&rd, attach.session, WIRE_ID_BYTES);
	rd_bytes(&rd, attach.token, WIRE_ID_BYTES);
	attach.channel = rd_u32(&rd);
	rd_zero(&rd, 4);
	if (!rd_done(&rd) || !valid(&attach))
		return -EPROTO;
	*ret_attach = attach;
	return 0;
}
