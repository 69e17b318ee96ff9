/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-devices.h"

#include "wire/rec-body.h"

/* VFIO_MIGRATION_*: STOP_COPY always, P2P and PRE_COPY or not. */
static bool flags_valid(uint32_t mig_flags)
{
	return (mig_flags & HF_MIG_STOP_COPY) != 0 &&
	       (mig_flags & ~(HF_MIG_STOP_COPY | HF_MIG_P2P | HF_MIG_PRE_COPY)) == 0;
}

static bool valid(const struct rec_devices *devices)
{
	if (devices->count > HF_DEVICES_MAX)
		return false;
	for (uint32_t i = 0; i < devices->count; i++) {
		const struct rec_device *device = &devices->device[i];

		if (!rec_name_valid(device->name, HF_NAME_MAX) ||
		    !rec_name_valid(device->kind, WIRE_KIND_MAX) ||
		    !rec_text_valid(device->compat, HF_NAME_MAX))
			return false;
		if (!flags_valid(device->mig_flags))
			return false;
		for (uint32_t k = 0; k < i; k++)
			if (strcmp(devices->device[k].name, device->name) == 0)
				return false;
	}
	return true;
}

/* docs/stream.md, section 5.3. */
int rec_devices_encode(const struct rec_devices *devices, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(devices))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_DEVICES);
	wr_u32(&wr, devices->count);
	wr_zero(&wr, 4);
	for (uint32_t i = 0; i < devices->count; i++) {
		const struct rec_device *device = &devices->device[i];

		wr_text(&wr, device->name, HF_NAME_MAX);
		wr_text(&wr, device->kind, WIRE_KIND_MAX);
		wr_text(&wr, device->compat, HF_NAME_MAX);
		wr_u32(&wr, device->mig_flags);
		wr_u16(&wr, device->vendor_id);
		wr_u16(&wr, device->device_id);
		wr_u16(&wr, device->subsystem_vendor_id);
		wr_u16(&wr, device->subsystem_id);
		wr_u8(&wr, device->revision);
		wr_zero(&wr, 3);
	}
	return rec_finish(&wr);
}

int rec_devices_decode(const void *body, size_t length, struct rec_devices *ret_devices)
{
	struct rec_devices devices;
	struct rd rd;

	memset(&devices, 0, sizeof(devices));
	rd_init(&rd, body, length);
	devices.count = rd_u32(&rd);
	rd_zero(&rd, 4);
	if (devices.count > HF_DEVICES_MAX)
		return -EPROTO;
	for (uint32_t i = 0; i < devices.count; i++) {
		struct rec_device *device = &devices.device[i];

		rd_text(&rd, device->name, HF_NAME_MAX);
		rd_text(&rd, device->kind, WIRE_KIND_MAX);
		rd_text(&rd, device->compat, HF_NAME_MAX);
		device->mig_flags = rd_u32(&rd);
		device->vendor_id = rd_u16(&rd);
		device->device_id = rd_u16(&rd);
		device->subsystem_vendor_id = rd_u16(&rd);
		device->subsystem_id = rd_u16(&rd);
		device->revision = rd_u8(&rd);
		rd_zero(&rd, 3);
	}
	/* valid() compares names, which are only known to end if the reader found them to. */
	if (!rd_done(&rd) || !valid(&devices))
		return -EPROTO;
	*ret_devices = devices;
	return 0;
}
