/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-device-config.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_device_config *config)
{
	return config->device < HF_DEVICES_MAX;
}

/* docs/stream.md, section 5.5. */
int rec_device_config_encode(const struct rec_device_config *config, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(config) || config->data_length > WIRE_DATA_MAX)
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_DEVICE_CONFIG);
	wr_u32(&wr, config->device);
	wr_zero(&wr, 4);
	wr_bytes(&wr, config->data, config->data_length);
	return rec_finish(&wr);
}

int rec_device_config_decode(const void *body, size_t length, struct rec_device_config *ret_config)
{
	struct rec_device_config config;
	struct rd rd;

	rd_init(&rd, body, length);
	config.device = rd_u32(&rd);
	rd_zero(&rd, 4);
	if (rd.left > WIRE_DATA_MAX)
		return -EMSGSIZE;
	config.data_length = (uint32_t)rd.left;
	config.data = rd_take(&rd, rd.left);
	if (!rd_done(&rd) || !valid(&config))
		return -EPROTO;
	*ret_config = config;
	return 0;
}
