/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-end.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_end *end)
{
	return end->rounds >= 1 && end->rounds <= WIRE_ROUNDS_MAX &&
	       end->device_count <= HF_DEVICES_MAX && end->config_records == end->device_count &&
	       end->machine_sections <= WIRE_SECTIONS_MAX;
}

/* docs/stream.md, section 5.7. */
int rec_end_encode(const struct rec_end *end, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(end))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_END);
	wr_u32(&wr, end->rounds);
	wr_u32(&wr, end->device_count);
	wr_u32(&wr, end->config_records);
	wr_u32(&wr, end->machine_sections);
	wr_u64(&wr, end->normal_pages);
	wr_u64(&wr, end->zero_pages);
	wr_u64(&wr, end->device_bytes);
	wr_u64(&wr, end->digest);
	return rec_finish(&wr);
}

int rec_end_decode(const void *body, size_t length, struct rec_end *ret_end)
{
	struct rec_end end;
	struct rd rd;

	rd_init(&rd, body, length);
	end.rounds = rd_u32(&rd);
	end.device_count = rd_u32(&rd);
	end.config_records = rd_u32(&rd);
	end.machine_sections = rd_u32(&rd);
	end.normal_pages = rd_u64(&rd);
	end.zero_pages = rd_u64(&rd);
	end.device_bytes = rd_u64(&rd);
	end.digest = rd_u64(&rd);
	if (!rd_done(&rd) || !valid(&end))
		return -EPROTO;
	*ret_end = end;
	return 0;
}
