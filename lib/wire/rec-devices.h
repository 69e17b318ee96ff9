/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICES: the guest's devices, as the source knows them. docs/stream.md, section 5.3. */
#ifndef WIRE_REC_DEVICES_H
#define WIRE_REC_DEVICES_H

#include "wire/rec.h"

struct rec_device {
	char name[HF_NAME_MAX]; /* unique in the guest; not empty */
	char kind[WIRE_KIND_MAX]; /* "vfio", "vfio-user", "sim" */
	char compat[HF_NAME_MAX]; /* must equal the target's */
	uint32_t mig_flags; /* HF_MIG_*: 1, 3, 5 or 7 */
	uint16_t vendor_id, device_id, subsystem_vendor_id, subsystem_id;
	uint8_t revision;
};

struct rec_devices {
	uint32_t count; /* 0..HF_DEVICES_MAX */
	struct rec_device device[HF_DEVICES_MAX];
};

int rec_devices_encode(const struct rec_devices *devices, void *buf, size_t capacity);
int rec_devices_decode(const void *body, size_t length, struct rec_devices *ret_devices);

#endif
