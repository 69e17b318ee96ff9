/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-device-data.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_device_data *data)
{
	if (data->device >= HF_DEVICES_MAX || data->data_length > REC_DEVICE_DATA_MAX)
		return false;
	/* Initial data is what comes before STOP_COPY, so both at once say nothing. */
	return data->flags <= REC_DEVICE_STOP_COPY;
}

/* docs/stream.md, section 5.20. */
int rec_device_data_encode(const struct rec_device_data *data, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(data))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_DEVICE_DATA);
	wr_u32(&wr, data->device);
	wr_u32(&wr, data->sequence);
	wr_u32(&wr, data->flags);
	wr_u32(&wr, data->data_length);
	return rec_finish_content(&wr, data->data_length);
}

int rec_device_data_decode(const void *fixed, size_t fixed_length, uint32_t body_length,
			   struct rec_device_data *ret_data)
{
	struct rec_device_data data;
	struct rd rd;

	rd_init(&rd, fixed, fixed_length);
	data.device = rd_u32(&rd);
	data.sequence = rd_u32(&rd);
	data.flags = rd_u32(&rd);
	data.data_length = rd_u32(&rd);
	if (!rd_done(&rd) || !valid(&data))
		return -EPROTO;
	if (body_length != REC_DEVICE_DATA_FIXED + data.data_length)
		return -EMSGSIZE;
	*ret_data = data;
	return 0;
}
