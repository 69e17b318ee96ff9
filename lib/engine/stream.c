/* SPDX-License-Identifier: BSD-3-Clause */
/* Captured streams for those who show them (holdfast/stream.h), over the codec of the wire. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <holdfast/stream.h>

#include "base/error.h"
#include "base/export.h"
#include "wire/rec.h"
#include "wire/stream-header.h"

#define SIZE_LEAST(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

/* The first byte of a header that is not right, and what belongs there. */
static uint32_t first_bad(const uint8_t *bytes, const char **ret_expected)
{
	static const char magic[] = HF_STREAM_MAGIC;
	const uint32_t magic_bytes = sizeof(magic) - 1;
	const uint8_t kind = bytes[12], direction = bytes[13];
	uint32_t at = 0;

	*ret_expected = "HOLDFAST, the magic";
	for (; at < magic_bytes; at++)
		if (bytes[at] != (uint8_t)magic[at])
			return at;
	*ret_expected = "1 or 2, control or bulk";
	if (kind != WIRE_CONTROL && kind != WIRE_BULK)
		return 12;
	*ret_expected = "1 or 2, the direction; 1 on a bulk connection";
	if (direction != WIRE_TO_TARGET && (direction != WIRE_TO_SOURCE || kind == WIRE_BULK))
		return 13;
	*ret_expected = "00, it is reserved";
	for (at = 16; at < HF_STREAM_HEADER_BYTES; at++)
		if (bytes[at] != 0)
			return at;
	*ret_expected = "a channel's number, 0 on the control connection";
	return 14;
}

HF_EXPORT int hf_stream_header(const void *bytes, struct hf_stream_header *ret_header,
			       struct hf_error *err)
{
	struct stream_header header;
	uint16_t major = 0, minor = 0;
	const char *expected;
	int r;

	error_clear(err);
	if (ret_header->size < SIZE_LEAST(struct hf_stream_header, channel))
		return error_set(err, HF_E_INVALID, 0, "the size of struct hf_stream_header");
	r = stream_header_decode(bytes, HF_STREAM_HEADER_BYTES, &header, &major, &minor);
	ret_header->bad_at = 0;
	if (r == -EPROTONOSUPPORT) {
		ret_header->bad_at = 8;
		return error_set(err, HF_E_VERSION, 0, "version 1, not %u.%u", major, minor);
	}
	if (r < 0) {
		ret_header->bad_at = first_bad(bytes, &expected);
		return error_set(err, HF_E_PROTOCOL, 0, "%s", expected);
	}
	ret_header->major = header.major;
	ret_header->minor = header.minor;
	ret_header->bulk = header.kind == WIRE_BULK;
	ret_header->to_source = header.direction == WIRE_TO_SOURCE;
	ret_header->channel = header.channel;
	return 0;
}

HF_EXPORT int hf_stream_record(const struct hf_stream_header *connection, const void *bytes,
			       struct hf_stream_record *ret_record, struct hf_error *err)
{
	const uint32_t kind = connection->bulk ? WIRE_BULK : WIRE_CONTROL;
	const uint32_t direction = connection->to_source ? WIRE_TO_SOURCE : WIRE_TO_TARGET;
	struct rec_header header;
	const char *why = "";
	int r;

	error_clear(err);
	if (ret_record->size < SIZE_LEAST(struct hf_stream_record, padding))
		return error_set(err, HF_E_INVALID, 0, "the size of struct hf_stream_record");
	header = rec_header_decode(bytes);
	r = rec_header_check(&header, kind, direction, &why);
	ret_record->bad_at = r == -EMSGSIZE ? 4 : 0;
	if (r < 0)
		return error_set(err, HF_E_PROTOCOL, 0, "another record (%s: %s)",
				 rec_name(header.type), why);
	ret_record->name = rec_name(header.type);
	ret_record->type = header.type;
	ret_record->length = header.length;
	ret_record->padding = rec_padding(header.length);
	return 0;
}
