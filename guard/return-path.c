/* SPDX-License-Identifier: BSD-3-Clause */
/* The return path: what the target says to the source. */
#include <string.h>

#include "guard/decode.h"

#define PAYLOAD_MAX 512u
#define VARIES 0xffffu
#define BITMAP_END UINT64_C(0x0123456789abcdef)
#define BITMAP_MAX (UINT64_C(1) << 40)

enum { SHUT = 1, PONG, REQ_PAGES_ID, REQ_PAGES, RECV_BITMAP, RESUME_ACK, SWITCHOVER_ACK };

/* clang-format off */
static const struct {
	const char *name;
	uint16_t length;
} table[] = {
	[SHUT] = { "SHUT", 4 },
	[PONG] = { "PONG", 4 },
	[REQ_PAGES_ID] = { "REQ_PAGES_ID", VARIES },
	[REQ_PAGES] = { "REQ_PAGES", 12 },
	[RECV_BITMAP] = { "RECV_BITMAP", VARIES },
	[RESUME_ACK] = { "RESUME_ACK", 4 },
	[SWITCHOVER_ACK] = { "SWITCHOVER_ACK", 0 },
};
/* clang-format on */

#define MESSAGES (sizeof(table) / sizeof(table[0]))

/* The block's name at the end of a message, whose length it decides. */
static int block_name(struct decode *decode, size_t at, uint16_t length, char block[256],
		      struct inspect_item *item)
{
	if (decode_name(decode, 4 + at, block, "a block's name") < 0)
		return -1;
	if (length != at + 1 + strlen(block))
		return decode_bad(decode, 2, "the length that the block's name makes, %zu",
				  at + 1 + strlen(block));
	item_text(item, "block", block);
	return 0;
}

static int payload(struct decode *decode, uint16_t type, uint16_t length, char block[256],
		   struct inspect_item *item)
{
	const uint8_t *bytes;
	size_t least = type == REQ_PAGES_ID ? 14 : type == RECV_BITMAP ? 2 : table[type].length;

	if (length < least)
		return decode_bad(decode, 2, "the length of %s", table[type].name);
	if (decode_need(decode, 4u + length, &bytes, table[type].name) < 0)
		return -1;
	if (type == SHUT)
		item_number(item, "value", be32(bytes + 4));
	if (type == PONG)
		item_hex(item, "cookie", be32(bytes + 4));
	if (type == REQ_PAGES || type == REQ_PAGES_ID) {
		item_hex(item, "at", be64(bytes + 4));
		item_number(item, "bytes", be32(bytes + 12));
	}
	if (type == RESUME_ACK && be32(bytes + 4) != 1)
		return decode_bad(decode, 4, "1, the value of RESUME_ACK");
	if (type == REQ_PAGES_ID)
		return block_name(decode, 12, length, block, item);
	if (type == RECV_BITMAP)
		return block_name(decode, 0, length, block, item);
	return 0;
}

/* Behind the message, not in it: length, bits, end. */
static int bitmap(struct decode *decode, struct inspect_item *item)
{
	const uint8_t *bytes;
	uint64_t length, pages = 0;

	if (decode_need(decode, 8, &bytes, "the length of a bitmap") < 0)
		return -1;
	length = be64(bytes);
	if (length == 0 || length % 8 != 0 || length > BITMAP_MAX)
		return decode_bad(decode, 0, "the length of a bitmap, a multiple of 8");
	reader_take(decode->reader, 8);
	for (uint64_t left = length; left > 0; left -= 8) {
		if (decode_need(decode, 8, &bytes, "a bitmap") < 0)
			return -1;
		pages += (uint64_t)__builtin_popcountll(be64(bytes));
		reader_take(decode->reader, 8);
	}
	if (decode_need(decode, 8, &bytes, "the end of a bitmap") < 0)
		return -1;
	if (be64(bytes) != BITMAP_END)
		return decode_bad(decode, 0, "the end of a bitmap, 01 23 45 67 89 ab cd ef");
	reader_take(decode->reader, 8);
	item_number(item, "bitmap-bytes", length);
	item_number(item, "pages", pages);
	return 0;
}

static int message(struct decode *decode, bool *ret_shut)
{
	struct inspect_item item;
	const uint8_t *bytes;
	uint16_t type, length;
	char block[256];

	item_begin(decode, &item, "return");
	if (decode_need(decode, 4, &bytes, "a message of the return path") < 0)
		return -1;
	type = be16(bytes);
	length = be16(bytes + 2);
	if (type == 0 || type >= MESSAGES)
		return decode_bad(decode, 0, "a message, 1 to %zu", MESSAGES - 1);
	if (table[type].length == VARIES ? length > PAYLOAD_MAX : length != table[type].length)
		return decode_bad(decode, 2, "the length of %s", table[type].name);
	item_text(&item, "message", table[type].name);
	if (payload(decode, type, length, block, &item) < 0)
		return -1;
	reader_take(decode->reader, 4u + length);
	if (type == RECV_BITMAP && bitmap(decode, &item) < 0)
		return -1;
	*ret_shut = type == SHUT;
	item_end(decode, &item);
	return 0;
}

int decode_return(struct decode *decode)
{
	const uint8_t *bytes;
	bool shut = false;

	while (!shut && reader_peek(decode->reader, 1, &bytes) == 1)
		if (message(decode, &shut) < 0)
			return -1;
	return 0; /* nothing comes behind SHUT; whoever calls looks for it */
}
