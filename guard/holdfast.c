/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection of Holdfast's own stream, record by record. Bodies are holdfast-stream's matter.
 */
#include <stdio.h>
#include <string.h>

#include <holdfast/stream.h>

#include "guard/decode.h"

static int header(struct decode *decode, struct hf_stream_header *ret_header)
{
	struct hf_error err = { 0 };
	struct inspect_item item;
	const uint8_t *bytes;

	item_begin(decode, &item, "header");
	if (decode_need(decode, HF_STREAM_HEADER_BYTES, &bytes, "the stream's header") < 0)
		return -1;
	if (hf_stream_header(bytes, ret_header, &err) < 0)
		return decode_bad(decode, ret_header->bad_at, "%s", err.text);
	item_number(&item, "major", ret_header->major);
	item_number(&item, "minor", ret_header->minor);
	item_text(&item, "kind", ret_header->bulk ? "bulk" : "control");
	item_text(&item, "direction", ret_header->to_source ? "to-source" : "to-target");
	if (ret_header->bulk)
		item_number(&item, "channel", ret_header->channel);
	reader_take(decode->reader, HF_STREAM_HEADER_BYTES);
	item_end(decode, &item);
	return 0;
}

static int record(struct decode *decode, const struct hf_stream_header *header)
{
	struct hf_stream_record record = { .size = sizeof(record) };
	struct hf_error err = { 0 };
	struct inspect_item item;
	const uint8_t *bytes;

	item_begin(decode, &item, "record");
	if (decode_need(decode, HF_STREAM_RECORD_BYTES, &bytes, "a record's header") < 0)
		return -1;
	if (hf_stream_record(header, bytes, &record, &err) < 0)
		return decode_bad(decode, record.bad_at, "%s", err.text);
	item_text(&item, "name", record.name);
	item_hex(&item, "type", record.type);
	item_number(&item, "body", record.length);
	reader_take(decode->reader, HF_STREAM_RECORD_BYTES);
	(void)snprintf(decode->where, sizeof(decode->where), "%s", record.name);
	if (decode_skip(decode, record.length, "a record's body") < 0 ||
	    decode_need(decode, record.padding, &bytes, "a record's padding") < 0)
		return -1;
	for (uint32_t i = 0; i < record.padding; i++)
		if (bytes[i] != 0)
			return decode_bad(decode, i, "00, a record's padding");
	decode->where[0] = 0;
	reader_take(decode->reader, record.padding);
	item_end(decode, &item);
	return 0;
}

int decode_holdfast(struct decode *decode)
{
	struct hf_stream_header stream = { .size = sizeof(stream) };
	const uint8_t *bytes;
	int r = header(decode, &stream);

	while (r == 0 && reader_peek(decode->reader, 1, &bytes) == 1)
		r = record(decode, &stream);
	return r;
}
