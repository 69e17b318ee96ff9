/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HELLO and what belongs to it, and ACCEPT: whether the two machines fit. Everything that does not
 * is refused here, before the guest is touched, with a sentence that names it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"
#include "engine/actions.h"

static int send_encoded(struct session *session, int length, const char *name, struct hf_error *err)
{
	if (length < 0)
		return error_set(err, HF_E_INVALID, -length, "%s cannot be encoded", name);
	return control_send_raw(session, session->link_buffer, (size_t)length, err);
}

static int send_hello(struct session *session, struct hf_error *err)
{
	struct rec_hello hello = {
		.flags = session->config.paused ? REC_HELLO_PAUSED : 0,
		.page_shift = HF_PAGE_SHIFT,
		.region_count = session->region_count,
		.device_count = session->device_count,
		.channels = session->channel_count,
		.epoch = session->epoch,
		.downtime_us_max = session->config.downtime_us_max,
	};

	memcpy(hello.session, session->session_id, sizeof(hello.session));
	memcpy(hello.guest, session->guest, sizeof(hello.guest));
	memcpy(hello.side, session->side, sizeof(hello.side));
	memcpy(hello.ledger, session->ledger.uri, sizeof(hello.ledger));
	return send_encoded(session,
			    rec_hello_encode(&hello, session->link_buffer, REC_CONTROL_BYTES_MAX),
			    "HELLO", err);
}

static int send_regions(struct session *session, struct hf_error *err)
{
	struct rec_regions regions = { .count = session->region_count };

	for (uint32_t i = 0; i < regions.count; i++) {
		regions.region[i].gpa = session->regions[i].gpa;
		regions.region[i].size = session->regions[i].size;
		memcpy(regions.region[i].name, session->regions[i].name, HF_NAME_MAX);
	}
	return send_encoded(
		session, rec_regions_encode(&regions, session->link_buffer, REC_CONTROL_BYTES_MAX),
		"REGIONS", err);
}

static void describe_device(const struct device *device, struct rec_device *ret)
{
	const struct hf_device_info *info = &device->info;

	*ret = (struct rec_device){
		.mig_flags = info->mig_flags,
		.vendor_id = info->vendor_id,
		.device_id = info->device_id,
		.subsystem_vendor_id = info->subsystem_vendor_id,
		.subsystem_id = info->subsystem_id,
		.revision = info->revision,
	};
	memcpy(ret->name, device->name, sizeof(ret->name));
	memcpy(ret->kind, info->kind, sizeof(ret->kind));
	memcpy(ret->compat, info->compat, sizeof(ret->compat));
}

static int send_devices(struct session *session, struct hf_error *err)
{
	struct rec_devices devices = { .count = session->device_count };

	for (uint32_t i = 0; i < devices.count; i++)
		describe_device(&session->slots[i].device, &devices.device[i]);
	return send_encoded(
		session, rec_devices_encode(&devices, session->link_buffer, REC_CONTROL_BYTES_MAX),
		"DEVICES", err);
}

int greet_send(struct session *session, struct hf_error *err)
{
	struct rec_shape shape = { .data = session->shape };
	int code;

	/* HELLO first: without it, the reason of what fails behind it could not be said. */
	if ((code = send_hello(session, err)) < 0 || (code = send_regions(session, err)) < 0 ||
	    (code = send_devices(session, err)) < 0)
		return code;
	code = session->machine.ops->describe(session->machine.self, session->shape,
					      HF_MACHINE_SHAPE_MAX, &shape.data_length, err);
	if (code < 0)
		return code;
	assert(shape.data_length <= HF_MACHINE_SHAPE_MAX);
	return send_encoded(session,
			    rec_shape_encode(&shape, session->link_buffer, REC_CONTROL_BYTES_MAX),
			    "SHAPE", err);
}

static int check_hello(struct session *session, const struct rec_hello *hello, struct hf_error *err)
{
	if (strcmp(hello->guest, session->guest) != 0)
		return error_set(err, HF_E_MISMATCH, 0,
				 "the source brings guest \"%s\", this side waits for \"%s\"",
				 hello->guest, session->guest);
	if (strcmp(hello->ledger, session->ledger.uri) != 0)
		return error_set(err, HF_E_LEDGER_UNEQUAL, 0,
				 "the source's ledger is %.90s, this side's is %.90s",
				 hello->ledger, session->ledger.uri);
	if (strcmp(hello->side, session->side) == 0)
		return error_set(err, HF_E_MISMATCH, 0,
				 "source and target have the same side id \"%s\"", hello->side);
	if (hello->region_count != session->region_count)
		return error_set(err, HF_E_MISMATCH, 0,
				 "the source has %u memory regions, this side %u",
				 hello->region_count, session->region_count);
	if (hello->device_count != session->device_count)
		return error_set(err, HF_E_MISMATCH, 0, "the source has %u devices, this side %u",
				 hello->device_count, session->device_count);
	return 0;
}

static int check_regions(struct session *session, const struct rec_regions *regions,
			 struct hf_error *err)
{
	for (uint32_t i = 0; i < regions->count; i++) {
		const struct rec_region *theirs = &regions->region[i];
		const struct hf_memory_region *ours = &session->regions[i];

		if (theirs->gpa != ours->gpa || theirs->size != ours->size)
			return error_set(
				err, HF_E_MISMATCH, 0,
				"memory region \"%s\" is %llu MiB at 0x%llx at the source, "
				"%llu MiB at 0x%llx here",
				theirs->name, (unsigned long long)theirs->size >> 20,
				(unsigned long long)theirs->gpa,
				(unsigned long long)ours->size >> 20,
				(unsigned long long)ours->gpa);
	}
	return 0;
}

static int check_device(const struct device *device, const struct rec_device *theirs,
			struct hf_error *err)
{
	struct rec_device ours;

	describe_device(device, &ours);
	if (strcmp(theirs->name, ours.name) != 0)
		return error_set(err, HF_E_MISMATCH, 0,
				 "device %u is \"%s\" at the source, \"%s\" here", device->index,
				 theirs->name, ours.name);
	if (strcmp(theirs->compat, ours.compat) != 0)
		return error_set(err, HF_E_MISMATCH, 0,
				 "device %u (%s) is of model \"%s\" at the source, \"%s\" here",
				 device->index, ours.name, theirs->compat, ours.compat);
	if (theirs->vendor_id != ours.vendor_id || theirs->device_id != ours.device_id ||
	    theirs->subsystem_vendor_id != ours.subsystem_vendor_id ||
	    theirs->subsystem_id != ours.subsystem_id || theirs->revision != ours.revision)
		return error_set(err, HF_E_MISMATCH, 0,
				 "device %u (%s) has ids %04x:%04x rev %u at the source, "
				 "%04x:%04x rev %u here",
				 device->index, ours.name, theirs->vendor_id, theirs->device_id,
				 theirs->revision, ours.vendor_id, ours.device_id, ours.revision);
	if ((theirs->mig_flags & HF_MIG_P2P) && !(ours.mig_flags & HF_MIG_P2P))
		return error_set(err, HF_E_MISMATCH, 0,
				 "device %u (%s) has P2P states at the source, none here",
				 device->index, ours.name);
	return 0;
}

int greet_check(struct session *session, struct hf_error *err)
{
	const struct frame *frame = &session->frame;
	struct rec_regions regions;
	struct rec_devices devices;
	struct rec_shape shape;
	int code = 0;

	switch (frame->record.type) {
	case REC_HELLO:
		code = rec_hello_decode(frame->body, frame->record.length, &session->hello);
		if (code == 0) {
			record_peer(session, session->hello.session, session->hello.side);
			return check_hello(session, &session->hello, err);
		}
		break;
	case REC_REGIONS:
		code = rec_regions_decode(frame->body, frame->record.length, &regions);
		if (code == 0 && regions.count != session->region_count)
			code = -EPROTO;
		if (code == 0)
			return check_regions(session, &regions, err);
		break;
	case REC_DEVICES:
		code = rec_devices_decode(frame->body, frame->record.length, &devices);
		if (code == 0 && devices.count != session->device_count)
			code = -EPROTO;
		for (uint32_t i = 0; code == 0 && i < devices.count; i++) {
			int bad = check_device(&session->slots[i].device, &devices.device[i], err);

			if (bad < 0)
				return bad;
		}
		break;
	case REC_SHAPE:
		code = rec_shape_decode(frame->body, frame->record.length, &shape);
		if (code < 0)
			break;
		memcpy(session->shape, shape.data, shape.data_length); /* at most SHAPE_MAX */
		session->shape_length = shape.data_length;
		session->shape_seen = true;
		break;
	default:
		break;
	}
	if (code < 0)
		return error_set(err, HF_E_PROTOCOL, 0, "%s does not decode",
				 rec_name(frame->record.type));
	return 0;
}

void greet_send_accept(struct session *session)
{
	struct rec_accept accept = {
		.channels = session->channel_count,
		.chunk_bytes_max = WIRE_CHUNK_BYTES_MAX,
	};
	uint8_t *bytes = session->link_buffer; /* the link's worker is idle: nothing was sent yet */
	int length;

	memcpy(accept.token, session->token, sizeof(accept.token));
	memcpy(accept.side, session->side, sizeof(accept.side));
	memcpy(accept.ledger, session->ledger.uri, sizeof(accept.ledger));
	length = rec_accept_encode(&accept, bytes, REC_CONTROL_BYTES_MAX);
	assert(length > 0);
	control_send(session, bytes, length);
}
