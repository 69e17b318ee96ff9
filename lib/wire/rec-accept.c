/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-accept.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_accept *accept)
{
	if (accept->features != 0 || !rec_id_valid(accept->token))
		return false;
	if (accept->channels < 1 || accept->channels > HF_CHANNELS_MAX)
		return false;
	if (accept->chunk_bytes_max < WIRE_CHUNK_BYTES_MIN ||
	    accept->chunk_bytes_max > WIRE_CHUNK_BYTES_MAX ||
	    accept->chunk_bytes_max % HF_PAGE_SIZE != 0)
		return false;
	return rec_name_valid(accept->side, HF_NAME_MAX) &&
	       rec_name_valid(accept->ledger, HF_URI_MAX);
}

/* docs/stream.md, section 5.9. */
int rec_accept_encode(const struct rec_accept *accept, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(accept))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_ACCEPT);
	wr_u32(&wr, accept->features);
	wr_u32(&wr, accept->channels);
	wr_u32(&wr, accept->chunk_bytes_max);
	wr_zero(&wr, 4);
	wr_bytes(&wr, accept->token, WIRE_ID_BYTES);
	wr_text(&wr, accept->side, HF_NAME_MAX);
	wr_text(&wr, accept->ledger, HF_URI_MAX);
	return rec_finish(&wr);
}

int rec_accept_decode(const void *body, size_t length, struct rec_accept *ret_accept)
{
	struct rec_accept accept;
	struct rd rd;

	rd_init(&rd, body, length);
	accept.features = rd_u32(&rd);
	accept.channels = rd_u32(&rd);
	accept.chunk_bytes_max = rd_u32(&rd);
	rd_zero(&rd, 4);
	rd_bytes(&rd, accept.token, WIRE_ID_BYTES);
	rd_text(&rd, accept.side, HF_NAME_MAX);
	rd_text(&rd, accept.ledger, HF_URI_MAX);
	if (!rd_done(&rd) || !valid(&accept))
		return -EPROTO;
	*ret_accept = accept;
	return 0;
}
