/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_CONFIG: what the VMM keeps of a device, beside the device's own stream. docs/stream.md,
 * section 5.5. */
#ifndef WIRE_REC_DEVICE_CONFIG_H
#define WIRE_REC_DEVICE_CONFIG_H

#include "wire/rec.h"

struct rec_device_config {
	uint32_t device;
	const void *data; /* decoded: in the body */
	uint32_t data_length; /* 0..WIRE_DATA_MAX */
};

int rec_device_config_encode(const struct rec_device_config *config, void *buf, size_t capacity);
int rec_device_config_decode(const void *body, size_t length, struct rec_device_config *ret_config);

#endif
