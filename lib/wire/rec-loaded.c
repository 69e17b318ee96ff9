/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-loaded.h"

#include "wire/rec-body.h"

/* docs/stream.md, section 5.11. */
int rec_loaded_encode(const struct rec_loaded *loaded, void *buf, size_t capacity)
{
	struct wr wr;

	rec_begin(&wr, buf, capacity, REC_LOADED);
	wr_u64(&wr, loaded->verify_us);
	return rec_finish(&wr);
}

int rec_loaded_decode(const void *body, size_t length, struct rec_loaded *ret_loaded)
{
	struct rec_loaded loaded;
	struct rd rd;

	rd_init(&rd, body, length);
	loaded.verify_us = rd_u64(&rd);
	if (!rd_done(&rd))
		return -EPROTO;
	*ret_loaded = loaded;
	return 0;
}
