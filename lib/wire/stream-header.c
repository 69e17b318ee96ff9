/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/stream-header.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "wire/rd.h"
#include "wire/wr.h"

#define MAGIC "HOLDFAST"
#define MAGIC_BYTES 8u

/* docs/stream.md, section 3: rules 3.2 to 3.4. */
static bool valid(const struct stream_header *header)
{
	if (header->kind == WIRE_CONTROL)
		return header->channel == 0 &&
		       (header->direction == WIRE_TO_TARGET || header->direction == WIRE_TO_SOURCE);
	return header->kind == WIRE_BULK && header->direction == WIRE_TO_TARGET &&
	       header->channel < HF_CHANNELS_MAX;
}

int stream_header_encode(const struct stream_header *header, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(header))
		return -EINVAL;
	wr_init(&wr, buf, capacity);
	wr_bytes(&wr, MAGIC, MAGIC_BYTES);
	wr_u16(&wr, header->major);
	wr_u16(&wr, header->minor);
	wr_u8(&wr, header->kind);
	wr_u8(&wr, header->direction);
	wr_u16(&wr, header->channel);
	wr_zero(&wr, 16);
	return wr.bad ? -ENOSPC : (int)wr.used;
}

int stream_header_decode(const void *bytes, size_t length, struct stream_header *ret_header,
			 uint16_t *ret_major, uint16_t *ret_minor)
{
	struct stream_header header;
	uint8_t magic[MAGIC_BYTES];
	struct rd rd;

	rd_init(&rd, bytes, length);
	rd_bytes(&rd, magic, MAGIC_BYTES);
	header.major = rd_u16(&rd);
	header.minor = rd_u16(&rd);
	if (rd.bad || memcmp(magic, MAGIC, MAGIC_BYTES) != 0)
		return -EPROTO;
	if (header.major != WIRE_MAJOR) {
		if (ret_major != NULL)
			*ret_major = header.major;
		if (ret_minor != NULL)
			*ret_minor = header.minor;
		return -EPROTONOSUPPORT; /* what lies behind may have another meaning there */
	}
	header.kind = rd_u8(&rd);
	header.direction = rd_u8(&rd);
	header.channel = rd_u16(&rd);
	rd_zero(&rd, 16);
	if (!rd_done(&rd) || !valid(&header))
		return -EPROTO;
	*ret_header = header;
	return 0;
}
