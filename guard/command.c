/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands of a main stream. What a package carries is read as items, up to its end. */
#include <string.h>

#include "guard/stream.h"

#define VARIES 0xffffu
#define PACKAGE_MAX (1u << 30) /* devices' states; RAM is not in it */

/* clang-format off */
static const struct {
	const char *name;
	uint16_t length;
} table[] = {
	[1] = { "OPEN_RETURN_PATH", 0 },
	[2] = { "PING", 4 },
	[3] = { "POSTCOPY_ADVISE", VARIES },
	[4] = { "POSTCOPY_LISTEN", 0 },
	[5] = { "POSTCOPY_RUN", 0 },
	[6] = { "POSTCOPY_RAM_DISCARD", VARIES },
	[7] = { "PACKAGED", 4 },
	[8] = { "ENABLE_COLO", VARIES },
	[9] = { "POSTCOPY_RESUME", 0 },
	[10] = { "RECV_BITMAP", VARIES },
	[11] = { "SWITCHOVER_START", 0 },
};
/* clang-format on */

#define COMMANDS (sizeof(table) / sizeof(table[0]))

enum { PING = 2, ADVISE = 3, LISTEN = 4, RUN = 5, DISCARD = 6, PACKAGED = 7, BITMAP = 10 };

bool command_plausible(uint16_t number, uint16_t length)
{
	if (number == 0 || number >= COMMANDS)
		return false;
	return table[number].length == VARIES || table[number].length == length;
}

static int advise(struct stream *stream, struct inspect_item *item, uint16_t length)
{
	const uint8_t *bytes;

	if (length == 0) { /* dirty bitmaps only */
		item_bool(item, "ram", false);
		return 0;
	}
	if (length != 16)
		return decode_bad(stream->decode, 3, "the length of POSTCOPY_ADVISE, 16 or 0");
	if (decode_need(stream->decode, 21, &bytes, "POSTCOPY_ADVISE") < 0)
		return -1;
	stream->ram.page_sizes = be64(bytes + 5);
	if (be64(bytes + 13) != stream->decode->page_size)
		return decode_bad(stream->decode, 13, "the target's page size, %u",
				  stream->decode->page_size);
	item_bool(item, "ram", true);
	item_hex(item, "page-sizes", stream->ram.page_sizes);
	item_number(item, "page-size", be64(bytes + 13));
	return 0;
}

static int discard(struct stream *stream, struct inspect_item *item, uint16_t length,
		   char block[256])
{
	struct decode *decode = stream->decode;
	uint64_t sum = 0;
	const uint8_t *bytes;
	size_t head;

	if (decode_need(decode, 6, &bytes, "POSTCOPY_RAM_DISCARD") < 0)
		return -1;
	if (bytes[5] != 0)
		return decode_bad(decode, 5, "version 0 of POSTCOPY_RAM_DISCARD");
	if (decode_name(decode, 6, block, "a block's name") < 0)
		return -1;
	head = 1 + 1 + strlen(block) + 1;
	if (length < head + 16 || (length - head) % 16 != 0)
		return decode_bad(decode, 3, "a length of whole ranges, at least one");
	if (decode_need(decode, 5u + length, &bytes, "POSTCOPY_RAM_DISCARD") < 0)
		return -1;
	if (bytes[5 + head - 1] != 0)
		return decode_bad(decode, 5 + head - 1, "00 behind the block's name");
	for (size_t at = 5 + head; at < 5u + length; at += 16)
		sum += be64(bytes + at + 8);
	item_text(item, "block", block);
	item_number(item, "ranges", (length - head) / 16);
	item_number(item, "bytes", sum);
	return 0;
}

static int packaged(struct stream *stream, struct inspect_item *item)
{
	struct decode *decode = stream->decode;
	const uint8_t *bytes;
	uint32_t length;

	if (decode->reader->limit != UINT64_MAX)
		return decode_bad(decode, 1, "no package within a package");
	if (decode_need(decode, 9, &bytes, "PACKAGED") < 0)
		return -1;
	length = be32(bytes + 5);
	if (length == 0 || length > PACKAGE_MAX)
		return decode_bad(decode, 5, "the length of a package, 1 to %u", PACKAGE_MAX);
	item_number(item, "bytes", length);
	return 0;
}

static int payload(struct stream *stream, struct inspect_item *item, uint16_t number,
		   uint16_t length, char block[256])
{
	struct decode *decode = stream->decode;
	const uint8_t *bytes;

	switch (number) {
	case PING:
		if (decode_need(decode, 9, &bytes, "PING") < 0)
			return -1;
		item_hex(item, "cookie", be32(bytes + 5));
		return 0;
	case ADVISE:
		return advise(stream, item, length);
	case DISCARD:
		return discard(stream, item, length, block);
	case PACKAGED:
		return packaged(stream, item);
	case BITMAP:
		if (decode_name(decode, 5, block, "a block's name") < 0)
			return -1;
		if (length != 1 + strlen(block))
			return decode_bad(decode, 3, "the length of a block's name");
		item_text(item, "block", block);
		return 0;
	default:
		return 0;
	}
}

int command_decode(struct stream *stream)
{
	struct decode *decode = stream->decode;
	struct inspect_item item;
	const uint8_t *bytes;
	uint16_t number, length;
	uint32_t package = 0;
	char block[256];

	item_begin(decode, &item, "command");
	if (decode_need(decode, 5, &bytes, "a command") < 0)
		return -1;
	number = be16(bytes + 1);
	length = be16(bytes + 3);
	if (number == 0 || number >= COMMANDS)
		return decode_bad(decode, 1, "a command, 1 to %zu", COMMANDS - 1);
	if (!command_plausible(number, length))
		return decode_bad(decode, 3, "the length of %s, %u", table[number].name,
				  table[number].length);
	item_text(&item, "command", table[number].name);
	if (payload(stream, &item, number, length, block) < 0 ||
	    decode_need(decode, 5u + length, &bytes, table[number].name) < 0)
		return -1;
	if (number == PACKAGED)
		package = be32(bytes + 5);
	if (number == LISTEN)
		stream->listening = true;
	reader_take(decode->reader, 5u + length);
	item_end(decode, &item);
	if (package)
		decode->reader->limit = decode->reader->offset + package;
	return 0;
}
