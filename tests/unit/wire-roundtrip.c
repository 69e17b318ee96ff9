/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire-roundtrip.h"

#include <errno.h>
#include <stdlib.h>

union any_record {
	struct rec_hello hello;
	struct rec_regions regions;
	struct rec_devices devices;
	struct rec_shape shape;
	struct rec_device_config device_config;
	struct rec_machine_state machine_state;
	struct rec_end end;
	struct rec_go go;
	struct rec_accept accept;
	struct rec_primed primed;
	struct rec_loaded loaded;
	struct rec_started started;
	struct rec_returned returned;
	struct rec_abort abort;
	struct rec_keepalive keepalive;
	struct rec_attach attach;
	struct rec_pages pages;
	struct rec_round round;
	struct rec_device_data device_data;
	struct rec_device_end device_end;
	struct rec_channel_end channel_end;
};

/* What a decoder took its encoder must take too: else one of them does not know the rules. */
static int encoded(int length)
{
	if (length < 0)
		abort();
	return length;
}

#define PLAIN(name)                                                                                \
	result = rec_##name##_decode(body, fixed_length, &any.name);                               \
	return result < 0 ? result : encoded(rec_##name##_encode(&any.name, out, ROUNDTRIP_MAX))
#define HEAD(name)                                                                                 \
	result = rec_##name##_decode(body, fixed_length, body_length, &any.name);                  \
	return result < 0 ? result : encoded(rec_##name##_encode(&any.name, out, ROUNDTRIP_MAX))

int roundtrip_body(uint32_t type, const uint8_t *body, size_t fixed_length, uint32_t body_length,
		   uint8_t *out)
{
	union any_record any;
	int result;

	switch ((enum rec_type)type) {
	/* clang-format off */
	case REC_HELLO:         PLAIN(hello);
	case REC_REGIONS:       PLAIN(regions);
	case REC_DEVICES:       PLAIN(devices);
	case REC_SHAPE:         PLAIN(shape);
	case REC_DEVICE_CONFIG: PLAIN(device_config);
	case REC_MACHINE_STATE: PLAIN(machine_state);
	case REC_END:           PLAIN(end);
	case REC_GO:            PLAIN(go);
	case REC_ACCEPT:        PLAIN(accept);
	case REC_PRIMED:        PLAIN(primed);
	case REC_LOADED:        PLAIN(loaded);
	case REC_STARTED:       PLAIN(started);
	case REC_RETURNED:      PLAIN(returned);
	case REC_ABORT:         PLAIN(abort);
	case REC_KEEPALIVE:     PLAIN(keepalive);
	case REC_ATTACH:        PLAIN(attach);
	case REC_PAGES:         HEAD(pages);
	case REC_ROUND:         PLAIN(round);
	case REC_DEVICE_DATA:   HEAD(device_data);
	case REC_DEVICE_END:    PLAIN(device_end);
	case REC_CHANNEL_END:   PLAIN(channel_end);
	/* clang-format on */
	case REC_BYE:
		result = rec_bye_decode(body, fixed_length);
		return result < 0 ? result : rec_bye_encode(out, ROUNDTRIP_MAX);
	}
	return -ENOENT;
}

size_t roundtrip_length(uint32_t type, size_t n)
{
	size_t head = REC_HEADER_BYTES;

	if (type == REC_PAGES)
		head += REC_PAGES_FIXED;
	else if (type == REC_DEVICE_DATA)
		head += REC_DEVICE_DATA_FIXED;
	else
		return n;
	return head < n ? head : n;
}

int roundtrip_record(const uint8_t *bytes, size_t n, uint8_t *out)
{
	const struct rec_info *info;
	struct rec_header header;
	size_t fixed;
	int result;

	if (n < REC_HEADER_BYTES)
		return -ENODATA;
	header = rec_header_decode(bytes);
	info = rec_info(header.type);
	if (info == NULL)
		return -ENOENT;
	result = rec_header_check(
		&header, info->connection,
		(info->senders & REC_BY_SOURCE) != 0 ? WIRE_TO_TARGET : WIRE_TO_SOURCE, NULL);
	if (result < 0)
		return result;
	if (header.type == REC_PAGES || header.type == REC_DEVICE_DATA) {
		fixed = info->fixed_bytes;
		if (n < REC_HEADER_BYTES + fixed)
			return -ENODATA;
	} else {
		fixed = header.length;
		if (n != REC_HEADER_BYTES + fixed + rec_padding(header.length))
			return -ENODATA;
		for (size_t i = REC_HEADER_BYTES + fixed; i < n; i++)
			if (bytes[i] != 0)
				return -EPROTO; /* padding; as a receiver does */
	}
	return roundtrip_body(header.type, bytes + REC_HEADER_BYTES, fixed, header.length, out);
}
