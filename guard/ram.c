/* SPDX-License-Identifier: BSD-3-Clause */
/* Records of the section `ram`, version 4: the list of blocks, and pages in their several forms. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guard/stream.h"

#define ZERO 0x002u
#define MEM_SIZE 0x004u
#define PAGE 0x008u
#define EOS 0x010u
#define CONTINUE 0x020u
#define XBZRLE 0x040u
#define HOOK 0x080u
#define COMPRESSED 0x100u
#define FLUSH 0x200u

#define USED_MAX (UINT64_C(1) << 52) /* no guest has more; sums cannot overflow */
#define MAPPED_HEADER 28

/* ---- the list of blocks -------------------------------------------------------------------- */

static const struct block *block_of(const struct ram *ram, const char *name)
{
	for (uint32_t i = 0; i < ram->block_count; i++)
		if (strcmp(ram->blocks[i].name, name) == 0)
			return &ram->blocks[i];
	return NULL;
}

static int add_block(struct decode *decode, struct ram *ram, const char *name, uint64_t used)
{
	if (ram->block_count % 64 == 0) {
		struct block *more = realloc(ram->blocks, (ram->block_count + 64) * sizeof(*more));

		if (!more)
			return decode_failed(decode, ENOMEM);
		ram->blocks = more;
	}
	memcpy(ram->blocks[ram->block_count].name, name, strlen(name) + 1);
	ram->blocks[ram->block_count].used = used;
	ram->block_count++;
	return 0;
}

/*
 * A block's page size is there only if it is none of the usual ones; the receiver knows its own
 * blocks, we only know from POSTCOPY_ADVISE that there is such a block. It is a power of two that
 * was announced; what else may follow is a name (its length is not 0) or a record (its flags).
 */
static int huge_page(struct decode *decode, const struct ram *ram, struct inspect_item *item)
{
	const uint8_t *bytes;
	uint64_t size;

	if ((ram->page_sizes & ~(uint64_t)decode->page_size) == 0)
		return 0;
	if (decode_need(decode, 8, &bytes, "the list of blocks") < 0)
		return -1;
	size = be64(bytes);
	if (size <= decode->page_size || (size & (size - 1)) != 0 || !(size & ram->page_sizes))
		return 0;
	item_number(item, "page-size", size);
	reader_take(decode->reader, 8);
	return 0;
}

/* The pages that are there, by the bitmap of a mapped block; the reader stands behind it then. */
static int mapped_bitmap(struct decode *decode, uint64_t bytes_left, uint64_t *ret_pages)
{
	*ret_pages = 0;
	while (bytes_left > 0) {
		const uint8_t *bytes;
		size_t n = reader_ready(decode->reader, &bytes);

		if (n == 0)
			return decode_bad(decode, 0, "%llu more bytes of the bitmap of pages",
					  (unsigned long long)bytes_left);
		if (n > bytes_left)
			n = (size_t)bytes_left;
		for (size_t i = 0; i < n; i++)
			*ret_pages += (uint64_t)__builtin_popcount(bytes[i]);
		reader_take(decode->reader, n);
		bytes_left -= n;
	}
	return 0;
}

static int mapped_block(struct decode *decode, uint64_t used, struct inspect_item *item)
{
	uint64_t here = decode->reader->offset + MAPPED_HEADER;
	uint64_t bitmap_at, pages_at, bitmap_bytes, pages;
	const uint8_t *bytes;

	if (decode_need(decode, MAPPED_HEADER, &bytes, "the header of mapped-ram") < 0)
		return -1;
	bitmap_at = be64(bytes + 12);
	pages_at = be64(bytes + 20);
	bitmap_bytes = (used / decode->page_size + 63) / 64 * 8;
	if (be32(bytes) != 1)
		return decode_bad(decode, 0, "version 1 of the header of mapped-ram");
	if (be64(bytes + 4) != decode->page_size)
		return decode_bad(decode, 4, "the page size, %u", decode->page_size);
	if (bitmap_at < here || bitmap_at > USED_MAX)
		return decode_bad(decode, 12, "the offset of the bitmap, behind its header");
	if (pages_at < bitmap_at + bitmap_bytes || pages_at > USED_MAX)
		return decode_bad(decode, 20, "the offset of the pages, behind the bitmap");
	reader_take(decode->reader, MAPPED_HEADER);
	if (decode_skip(decode, bitmap_at - here, "the header of mapped-ram") < 0 ||
	    mapped_bitmap(decode, bitmap_bytes, &pages) < 0 ||
	    decode_skip(decode, pages_at + used - decode->reader->offset, "pages") < 0)
		return -1;
	item_hex(item, "bitmap-at", bitmap_at);
	item_hex(item, "pages-at", pages_at);
	item_number(item, "pages", pages);
	return 0;
}

static int list_entry(struct decode *decode, struct ram *ram, uint64_t *left)
{
	struct inspect_item item;
	const uint8_t *bytes;
	uint64_t used;
	char name[256];

	item_begin(decode, &item, "block");
	if (decode_name(decode, 0, name, "a block's name") < 0)
		return -1;
	if (block_of(ram, name))
		return decode_bad(decode, 1, "a block that was not listed yet");
	if (ram->block_count == BLOCKS_MAX)
		return decode_bad(decode, 0, "at most %u blocks", BLOCKS_MAX);
	reader_take(decode->reader, 1 + strlen(name));
	if (decode_need(decode, 8, &bytes, "a block's length") < 0)
		return -1;
	used = be64(bytes);
	if (used > *left)
		return decode_bad(decode, 0, "a block's length, at most %llu",
				  (unsigned long long)*left);
	reader_take(decode->reader, 8);
	item_text(&item, "name", name);
	item_number(&item, "bytes", used);
	if (huge_page(decode, ram, &item) < 0)
		return -1;
	if (ram->shared) {
		if (decode_need(decode, 8, &bytes, "a block's address") < 0)
			return -1;
		item_hex(&item, "address", be64(bytes));
		reader_take(decode->reader, 8);
	}
	if ((ram->mapped && mapped_block(decode, used, &item) < 0) ||
	    add_block(decode, ram, name, used) < 0)
		return -1;
	item_end(decode, &item);
	*left -= used;
	return 0;
}

static int block_list(struct decode *decode, struct ram *ram, uint64_t total)
{
	if (total == 0 || total > USED_MAX)
		return decode_bad(decode, 0, "the length of all blocks");
	reader_take(decode->reader, 8);
	while (total > 0)
		if (list_entry(decode, ram, &total) < 0)
			return -1;
	ram->listed = true;
	return 0;
}

/* ---- pages --------------------------------------------------------------------------------- */

/* uleb128 of at most two bytes; returns its length, 0: it is none. */
static size_t uleb128(const uint8_t *bytes, size_t left, uint32_t *ret_value)
{
	if (left >= 1 && bytes[0] < 0x80) {
		*ret_value = bytes[0];
		return 1;
	}
	if (left < 2 || bytes[1] >= 0x80)
		return 0;
	*ret_value = (bytes[0] & 0x7fu) | (uint32_t)bytes[1] << 7;
	return 2;
}

/* Runs of unchanged and of changed bytes, `head` bytes ahead. */
static int xbzrle_check(struct decode *decode, const uint8_t *bytes, size_t head, size_t length)
{
	size_t at = 0, page = 0;

	while (at < length) {
		uint32_t same, changed;
		size_t n = uleb128(bytes + head + at, length - at, &same);

		if (n == 0 || (same == 0 && at > 0))
			return decode_bad(decode, head + at, "the length of an unchanged run");
		at += n;
		n = uleb128(bytes + head + at, length - at, &changed);
		if (n == 0 || changed == 0 || changed > length - at - n)
			return decode_bad(decode, head + at, "the length of a changed run");
		at += n + changed;
		page += same + changed;
		if (page > decode->page_size)
			return decode_bad(decode, head + at - n - changed,
					  "runs of one page together");
	}
	return 0;
}

static int xbzrle(struct decode *decode, struct inspect_item *item)
{
	const uint8_t *bytes;
	uint16_t length;

	if (decode_need(decode, 3, &bytes, "an XBZRLE page") < 0)
		return -1;
	length = be16(bytes + 1);
	if (bytes[0] != 1)
		return decode_bad(decode, 0, "01, the kind of encoding");
	if (length > decode->page_size)
		return decode_bad(decode, 1, "the length of an XBZRLE page, at most %u",
				  decode->page_size);
	if (decode_need(decode, 3u + length, &bytes, "an XBZRLE page") < 0 ||
	    xbzrle_check(decode, bytes, 3, length) < 0)
		return -1;
	reader_take(decode->reader, 3u + length);
	item_number(item, "encoded", length);
	return 0;
}

static int compressed(struct decode *decode, struct inspect_item *item)
{
	uint32_t most = decode->page_size + decode->page_size / 1000 + 64;
	const uint8_t *bytes;
	uint32_t length;

	if (decode_need(decode, 4, &bytes, "a compressed page") < 0)
		return -1;
	length = be32(bytes);
	if (length == 0 || length > most)
		return decode_bad(decode, 0, "the length of a compressed page, at most %u", most);
	reader_take(decode->reader, 4);
	item_number(item, "encoded", length);
	return decode_skip(decode, length, "a compressed page");
}

static int content(struct decode *decode, struct ram *ram, uint32_t kind, struct inspect_item *item)
{
	const uint8_t *bytes;

	switch (kind) {
	case ZERO:
		if (decode_need(decode, 1, &bytes, "a page of zeros") < 0)
			return -1;
		if (bytes[0] != 0)
			return decode_bad(decode, 0, "00, the octet of a page of zeros");
		reader_take(decode->reader, 1);
		ram->sums.zeros++;
		return 0;
	case PAGE:
		ram->sums.pages++;
		return decode_skip(decode, decode->page_size, "a page");
	case XBZRLE:
		ram->sums.xbzrle++;
		return xbzrle(decode, item);
	default:
		ram->sums.compressed++;
		return compressed(decode, item);
	}
}

static int page_block(struct decode *decode, struct ram *ram, bool go_on)
{
	const struct block *block;

	if (go_on) {
		if (!ram->block_known)
			return decode_bad(decode, 0,
					  "a page with its block's name, before one "
					  "that continues");
		reader_take(decode->reader, 8);
		return 0;
	}
	if (decode_name(decode, 8, ram->block_name, "a block's name") < 0)
		return -1;
	block = block_of(ram, ram->block_name);
	if (ram->listed && !block)
		return decode_bad(decode, 9, "the name of a block that is in the list");
	ram->block_known = true;
	ram->block_used = block ? block->used : USED_MAX;
	reader_take(decode->reader, 8 + 1 + strlen(ram->block_name));
	return 0;
}

static const char *kind_name(uint32_t kind)
{
	return kind == ZERO ? "zero" : kind == PAGE ? "page" : kind == XBZRLE ? "xbzrle" : "zlib";
}

static int page(struct decode *decode, struct ram *ram, uint64_t head, uint32_t kind)
{
	uint64_t at = head & ~(uint64_t)(decode->page_size - 1);
	uint64_t offset = decode->reader->offset;
	struct inspect_item item;

	item_begin(decode, &item, "page");
	if (page_block(decode, ram, head & CONTINUE) < 0)
		return -1;
	if (at >= ram->block_used)
		return decode_bad_at(decode, offset, "one behind its end",
				     "the offset of a page of block '%s'", ram->block_name);
	item_text(&item, "kind", kind_name(kind));
	item_text(&item, "block", ram->block_name);
	item_hex(&item, "at", at);
	if (content(decode, ram, kind, &item) < 0)
		return -1;
	if (decode->options->records)
		item_end(decode, &item);
	return 0;
}

static void flush(struct decode *decode, struct ram *ram)
{
	struct inspect_item item;

	item_begin(decode, &item, "multifd-flush");
	reader_take(decode->reader, 8);
	ram->sums.flushes++;
	if (decode->options->records)
		item_end(decode, &item);
}

/* One record. Returns 1 if it was the end of the body. */
static int record(struct decode *decode, struct ram *ram, bool *listed)
{
	const uint8_t *bytes;
	uint64_t head;
	uint32_t kind;

	if (decode_need(decode, 8, &bytes, "a record of RAM") < 0)
		return -1;
	head = be64(bytes);
	kind = (uint32_t)(head & (decode->page_size - 1)) & ~CONTINUE;
	if (!*listed && (kind != MEM_SIZE || (head & CONTINUE)))
		return decode_bad(decode, 0, "the list of blocks");
	if (!*listed) {
		*listed = true;
		return block_list(decode, ram, head - MEM_SIZE);
	}
	if (head == EOS) {
		reader_take(decode->reader, 8);
		return 1;
	}
	if (head == FLUSH) {
		flush(decode, ram);
		return 0;
	}
	if (kind == ZERO || kind == PAGE || kind == XBZRLE || kind == COMPRESSED)
		return page(decode, ram, head, kind);
	return decode_bad(decode, 0, "%s",
			  kind == HOOK ? "no hook: RDMA is not decoded"
				       : "the head of a record of RAM");
}

int ram_body(struct decode *decode, struct ram *ram, bool start)
{
	bool listed = !start;
	int r;

	memset(&ram->sums, 0, sizeof(ram->sums));
	while ((r = record(decode, ram, &listed)) == 0)
		;
	return r < 0 ? -1 : 0;
}

void ram_fields(const struct ram *ram, struct inspect_item *item)
{
	item_number(item, "pages", ram->sums.pages);
	item_number(item, "zeros", ram->sums.zeros);
	if (ram->sums.xbzrle)
		item_number(item, "xbzrle", ram->sums.xbzrle);
	if (ram->sums.compressed)
		item_number(item, "zlib", ram->sums.compressed);
	if (ram->sums.flushes)
		item_number(item, "multifd-flushes", ram->sums.flushes);
}

void ram_done(struct ram *ram)
{
	free(ram->blocks);
}

/* ---- the pre-empt channel of post-copy ----------------------------------------------------- */

int decode_preempt(struct decode *decode)
{
	struct ram ram = { .block_known = false };
	struct inspect_item item;
	const uint8_t *bytes;
	bool listed = true;
	int r = 0;

	item_begin(decode, &item, "pages");
	while (r == 0 && reader_peek(decode->reader, 1, &bytes) > 0)
		r = record(decode, &ram, &listed);
	if (r < 0)
		return -1;
	ram_fields(&ram, &item);
	item_bool(&item, "ended", r == 1);
	item_end(decode, &item);
	return 0;
}
