/* SPDX-License-Identifier: BSD-3-Clause */
/* One multifd channel: its first packet, packets of pages, packets of devices' states. */
#include <stdio.h>
#include <string.h>

#include "guard/stream.h"

#define MAGIC 0x11223344u
#define VERSION 1u
#define INIT_BYTES 64
#define HEAD_BYTES 320 /* the offsets come behind it */
#define DEVICE_HEAD_BYTES 276
#define PACKET_PAGES_BYTES 524288u /* a packet of RAM has room for so much */
#define PAYLOAD_MAX (UINT32_C(1) << 30)

#define SYNC 0x01u
#define COMPRESSION 0x3eu
#define DEVICE_STATE 0x40u
#define LAST_IS_CONFIGURATION 1u

struct channel {
	uint64_t packets, syncs, pages, zeros, payload, device_packets, device_bytes;
};

static const char *method_name(uint32_t flags)
{
	switch (flags & COMPRESSION) {
	case 0x00:
		return "none";
	case 0x02:
		return "zlib";
	case 0x04:
		return "zstd";
	case 0x08:
		return "qpl";
	case 0x10:
		return "uadk";
	case 0x20:
		return "qatzip";
	default:
		return NULL;
	}
}

static int magic_version(struct decode *decode, const char *what, const uint8_t **ret_bytes)
{
	if (decode_need(decode, 12, ret_bytes, what) < 0)
		return -1;
	if (be32(*ret_bytes) != MAGIC)
		return decode_bad(decode, 0, "%s: 11 22 33 44", what);
	if (be32(*ret_bytes + 4) != VERSION)
		return decode_bad(decode, 4, "version %u", VERSION);
	return 0;
}

static int init_packet(struct decode *decode)
{
	struct inspect_item item;
	const uint8_t *bytes;
	char uuid[33] = "";

	item_begin(decode, &item, "multifd-init");
	if (magic_version(decode, "a channel's first packet", &bytes) < 0 ||
	    decode_need(decode, INIT_BYTES, &bytes, "a channel's first packet") < 0)
		return -1;
	for (unsigned int i = 25; i < INIT_BYTES; i++)
		if (bytes[i] != 0)
			return decode_bad(decode, i, "00, it is reserved");
	for (unsigned int i = 0; i < 16; i++)
		(void)snprintf(uuid + 2 * i, 3, "%02x", bytes[8 + i]);
	decode->result->channel = bytes[24];
	item_number(&item, "channel", bytes[24]);
	item_text(&item, "uuid", uuid);
	reader_take(decode->reader, INIT_BYTES);
	item_end(decode, &item);
	return 0;
}

/* ---- pages --------------------------------------------------------------------------------- */

struct pages {
	uint32_t flags, alloc, normal, zeros, payload;
	char block[257];
};

/* A name that ends in its field. Behind it may be anything: there was a name before it. */
static int field_name(struct decode *decode, const uint8_t *bytes, size_t at, char ret_name[257],
		      const char *what)
{
	size_t length = strnlen((const char *)bytes + at, 256);

	if (length == 0 || length == 256)
		return decode_bad(decode, at, "%s, that ends in its 256 octets", what);
	for (size_t i = 0; i < length; i++)
		if (!printable(bytes[at + i]))
			return decode_bad(decode, at + i, "a printable character of %s", what);
	memcpy(ret_name, bytes + at, length + 1);
	return 0;
}

static int check_counts(struct decode *decode, const struct pages *pages, uint32_t room)
{
	if (pages->alloc > room)
		return decode_bad(decode, 12, "room for at most %u pages", room);
	if (pages->normal > pages->alloc)
		return decode_bad(decode, 16, "at most %u pages", pages->alloc);
	if (pages->zeros > pages->alloc - pages->normal)
		return decode_bad(decode, 32, "at most %u pages of zeros",
				  pages->alloc - pages->normal);
	if (pages->normal == 0)
		return 0; /* what it says of a payload is left from another packet */
	if (!(pages->flags & COMPRESSION) && pages->payload != pages->normal * decode->page_size)
		return decode_bad(decode, 20, "the length of %u pages, %u", pages->normal,
				  pages->normal * decode->page_size);
	if (pages->payload == 0 || pages->payload > PAYLOAD_MAX)
		return decode_bad(decode, 20, "the length of %u encoded pages", pages->normal);
	return 0;
}

static int page_packet(struct decode *decode, struct channel *channel)
{
	const uint32_t room = PACKET_PAGES_BYTES / decode->page_size;
	struct pages pages = { .flags = 0 };
	struct inspect_item item;
	const uint8_t *bytes;

	item_begin(decode, &item, "multifd-packet");
	if (decode_need(decode, HEAD_BYTES + 8 * room, &bytes, "a packet of pages") < 0)
		return -1;
	pages.flags = be32(bytes + 8);
	pages.alloc = be32(bytes + 12);
	pages.normal = be32(bytes + 16);
	pages.payload = be32(bytes + 20);
	pages.zeros = be32(bytes + 32);
	if (!method_name(pages.flags))
		return decode_bad(decode, 8, "flags with one method of compression at most");
	if (check_counts(decode, &pages, room) < 0)
		return -1;
	if (pages.normal + pages.zeros > 0 &&
	    field_name(decode, bytes, 64, pages.block, "a block's name") < 0)
		return -1;
	for (uint32_t i = 0; i < pages.normal + pages.zeros; i++)
		if (be64(bytes + HEAD_BYTES + 8 * i) & (decode->page_size - 1))
			return decode_bad(decode, HEAD_BYTES + 8 * i, "the offset of a page");
	item_bool(&item, "sync", pages.flags & SYNC);
	item_text(&item, "compression", method_name(pages.flags));
	item_number(&item, "number", be64(bytes + 24));
	item_number(&item, "pages", pages.normal);
	item_number(&item, "zeros", pages.zeros);
	if (pages.block[0])
		item_text(&item, "block", pages.block);
	if (pages.normal)
		item_number(&item, "payload", pages.payload);
	reader_take(decode->reader, HEAD_BYTES + 8 * room);
	if (pages.normal && decode_skip(decode, pages.payload, "a packet's pages") < 0)
		return -1;
	channel->packets++;
	channel->syncs += pages.flags & SYNC;
	channel->pages += pages.normal;
	channel->zeros += pages.zeros;
	channel->payload += pages.normal ? pages.payload : 0;
	if (decode->options->records)
		item_end(decode, &item);
	return 0;
}

/* ---- devices' states ----------------------------------------------------------------------- */

/* The last packet of a device: its configuration, as on the main stream. The limit is its end. */
static int configuration(struct decode *decode, struct vfio_sums *sums)
{
	const uint8_t *bytes;

	if (decode_need(decode, 8, &bytes, "a device's configuration") < 0)
		return -1;
	if (be64(bytes) != VFIO_TAG_CONFIGURATION)
		return decode_bad(decode, 0, "the tag of a configuration");
	reader_take(decode->reader, 8);
	if (vfio_configuration(decode, sums) < 0)
		return -1;
	if (decode->reader->offset != decode->reader->limit)
		return decode_bad(decode, 0, "the end of the packet");
	return 0;
}

static int device_payload(struct decode *decode, uint32_t length, struct inspect_item *item)
{
	struct vfio_sums sums = { .data_count = 0 };
	const uint8_t *bytes;
	uint32_t flags;
	int r;

	if (decode_need(decode, 12, &bytes, "a packet of a device's state") < 0)
		return -1;
	flags = be32(bytes + 8);
	if (be32(bytes) != 0)
		return decode_bad(decode, 0, "version 0 of a device's state");
	if (be32(bytes + 4) == UINT32_MAX)
		return decode_bad(decode, 4, "the number of a packet");
	if (flags & ~LAST_IS_CONFIGURATION)
		return decode_bad(decode, 8, "flags of a device's state, 0 or 1");
	item_number(item, "index", be32(bytes + 4));
	item_bool(item, "configuration", flags);
	reader_take(decode->reader, 12);
	if (!flags)
		return decode_skip(decode, length - 12, "a device's state");
	decode->reader->limit = decode->reader->offset + (length - 12);
	r = configuration(decode, &sums);
	if (r == 0)
		decode->reader->limit = UINT64_MAX;
	item_hex(item, "vendor", sums.vendor);
	item_hex(item, "device", sums.device);
	return r;
}

static int device_packet(struct decode *decode, struct channel *channel)
{
	struct inspect_item item;
	const uint8_t *bytes;
	uint32_t length;
	char idstr[257];

	item_begin(decode, &item, "multifd-device");
	if (decode_need(decode, DEVICE_HEAD_BYTES, &bytes, "a packet of a device's state") < 0)
		return -1;
	if (be32(bytes + 8) != DEVICE_STATE)
		return decode_bad(decode, 8, "no other flags beside DEVICE_STATE");
	if (field_name(decode, bytes, 12, idstr, "a section's name") < 0)
		return -1;
	length = be32(bytes + 272);
	if (length < 12 || length > PAYLOAD_MAX)
		return decode_bad(decode, 272, "the length of a device's state");
	item_text(&item, "idstr", idstr);
	item_number(&item, "instance", be32(bytes + 268));
	item_number(&item, "bytes", length);
	reader_take(decode->reader, DEVICE_HEAD_BYTES);
	(void)snprintf(decode->where, sizeof(decode->where), "the state of %s", idstr);
	if (device_payload(decode, length, &item) < 0)
		return -1;
	decode->where[0] = 0;
	channel->device_packets++;
	channel->device_bytes += length;
	item_end(decode, &item);
	return 0;
}

/* ---- the channel --------------------------------------------------------------------------- */

static void total(struct decode *decode, const struct channel *channel)
{
	struct inspect_item item;

	item_begin(decode, &item, "multifd-total");
	item_number(&item, "channel", decode->result->channel);
	item_number(&item, "packets", channel->packets);
	item_number(&item, "syncs", channel->syncs);
	item_number(&item, "pages", channel->pages);
	item_number(&item, "zeros", channel->zeros);
	item_number(&item, "payload", channel->payload);
	item_number(&item, "device-packets", channel->device_packets);
	item_number(&item, "device-bytes", channel->device_bytes);
	item_end(decode, &item);
}

int decode_multifd(struct decode *decode)
{
	struct channel channel = { .packets = 0 };
	const uint8_t *bytes;
	int r = init_packet(decode);

	while (r == 0 && reader_peek(decode->reader, 1, &bytes) == 1) {
		if (magic_version(decode, "a packet", &bytes) < 0)
			r = -1;
		else if (be32(bytes + 8) & DEVICE_STATE)
			r = device_packet(decode, &channel);
		else
			r = page_packet(decode, &channel);
	}
	total(decode, &channel);
	return r;
}
