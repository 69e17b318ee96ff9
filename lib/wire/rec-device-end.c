/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-device-end.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_device_end *end)
{
	return end->device < HF_DEVICES_MAX &&
	       end->bytes <= (uint64_t)end->records * REC_DEVICE_DATA_MAX;
}

/* docs/stream.md, section 5.21. */
int rec_device_end_encode(const struct rec_device_end *end, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(end))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_DEVICE_END);
	wr_u32(&wr, end->device);
	wr_u32(&wr, end->records);
	wr_u64(&wr, end->bytes);
	wr_u64(&wr, end->digest);
	return rec_finish(&wr);
}

int rec_device_end_decode(const void *body, size_t length, struct rec_device_end *ret_end)
{
	struct rec_device_end end;
	struct rd rd;

	rd_init(&rd, body, length);
	end.device = rd_u32(&rd);
	end.records = rd_u32(&rd);
	end.bytes = rd_u64(&rd);
	end.digest = rd_u64(&rd);
	if (!rd_done(&rd) || !valid(&end))
		return -EPROTO;
	*ret_end = end;
	return 0;
}
