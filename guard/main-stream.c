/* SPDX-License-Identifier: BSD-3-Clause */
/* QEMU's main stream: header, items one after the other, EOF, description. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guard/stream.h"

#define VERSION 3
#define HEADER_BYTES 8
#define FOOTER_BYTES 5
#define RAM_VERSION 4
#define GLOBALSTATE_BYTES 104

struct body {
	struct vfio_sums vfio;
	bool has_vfio, has_ram;
	bool suspended;
	char run_state[33];
};

static void where(struct decode *decode, const struct section *section)
{
	(void)snprintf(decode->where, sizeof(decode->where), "section %u (%s)", section->id,
		       section->idstr);
}

/* ---- headers and footers ------------------------------------------------------------------- */

/* START and FULL say who they are, PART and END refer to a START. Returns what it is, or NULL. */
static struct section *named(struct stream *stream, uint8_t type)
{
	struct decode *decode = stream->decode;
	const uint8_t *bytes;
	struct section *section;
	char idstr[256];
	uint32_t id, instance, version;
	size_t length;

	if (decode_need(decode, 6, &bytes, "a section's header") < 0)
		return NULL;
	id = be32(bytes + 1);
	if (decode_name(decode, 5, idstr, "a section's name") < 0)
		return NULL;
	length = strlen(idstr);
	if (decode_need(decode, 6 + length + 8, &bytes, "a section's header") < 0)
		return NULL;
	instance = be32(bytes + 6 + length);
	version = be32(bytes + 6 + length + 4);
	section = section_of(stream, id);
	if (section && strcmp(section->idstr, idstr) != 0) {
		(void)decode_bad(decode, 6, "'%s', whose section %u is", section->idstr, id);
		return NULL;
	}
	if (section && (type == ITEM_START ? section->iterable : section->full)) {
		(void)decode_bad(decode, 1, "a section that was not there yet");
		return NULL;
	}
	if (strcmp(idstr, "ram") == 0 && (version != RAM_VERSION || type != ITEM_START)) {
		(void)decode_bad(decode, 6 + length + 4, "RAM's section, version %d, in parts",
				 RAM_VERSION);
		return NULL;
	}
	if (!section)
		section = section_add(stream, id, idstr);
	if (!section)
		return NULL;
	section->instance = instance;
	section->version = version;
	section->iterable |= type == ITEM_START;
	section->full |= type == ITEM_FULL;
	reader_take(decode->reader, 6 + length + 8);
	return section;
}

static struct section *referred(struct stream *stream, uint8_t type)
{
	struct decode *decode = stream->decode;
	const uint8_t *bytes;
	struct section *section;

	if (decode_need(decode, 5, &bytes, "a section's id") < 0)
		return NULL;
	section = section_of(stream, be32(bytes + 1));
	if (!section && stream->recovery) { /* what goes on then is RAM, and nothing else */
		section = section_add(stream, be32(bytes + 1), "ram");
		if (!section)
			return NULL;
		section->iterable = true;
	}
	if (!section || !section->iterable || section->ended) {
		(void)decode_bad(decode, 1, "the id of a section that was started");
		return NULL;
	}
	section->ended |= type == ITEM_END;
	reader_take(decode->reader, 5);
	return section;
}

/* Whether there are footers at all, the first section says whose end is known. */
static int footer(struct stream *stream, const struct section *section)
{
	struct decode *decode = stream->decode;
	const uint8_t *bytes;

	if (stream->footers == FOOTERS_OFF)
		return 0;
	if (stream->footers == FOOTERS_UNKNOWN) {
		bool there = reader_peek(decode->reader, 1, &bytes) == 1 && bytes[0] == ITEM_FOOTER;

		if (!there && section_plausible(stream, 0, false) &&
		    reader_peek(decode->reader, 1, &bytes) == 1) {
			stream->footers = FOOTERS_OFF;
			return 0;
		}
		stream->footers = FOOTERS_ON;
	}
	if (decode_need(decode, FOOTER_BYTES, &bytes, "a section's footer") < 0)
		return -1;
	if (bytes[0] != ITEM_FOOTER || be32(bytes + 1) != section->id)
		return decode_bad(decode, bytes[0] != ITEM_FOOTER ? 0 : 1, "the footer 7e %08x",
				  section->id);
	reader_take(decode->reader, FOOTER_BYTES);
	return 0;
}

/* ---- bodies -------------------------------------------------------------------------------- */

/* The run state that the target ends in. What does not look like it is nobody's fault here. */
static void globalstate(struct decode *decode, struct body *body)
{
	const uint8_t *bytes;
	uint32_t length;

	if (reader_peek(decode->reader, GLOBALSTATE_BYTES, &bytes) < GLOBALSTATE_BYTES)
		return;
	length = be32(bytes);
	if (length < 2 || length > 32)
		return;
	for (uint32_t i = 0; i < length - 1; i++)
		if (!printable(bytes[4 + i]))
			return;
	memcpy(body->run_state, bytes + 4, length - 1);
	body->suspended = bytes[36] == 1 && bytes[37] == 1;
}

static int read_body(struct stream *stream, const struct section *section, uint8_t type,
		     struct body *body)
{
	struct decode *decode = stream->decode;

	if (strcmp(section->idstr, "ram") == 0) {
		body->has_ram = true;
		return ram_body(decode, &stream->ram, type == ITEM_START);
	}
	if (vfio_is(section->idstr)) {
		body->has_vfio = true;
		return vfio_body(decode, type, &body->vfio);
	}
	if (type == ITEM_FULL && strcmp(section->idstr, "globalstate") == 0)
		globalstate(decode, body);
	return section_opaque(stream, section);
}

static int section_decode(struct stream *stream, uint8_t type)
{
	/* clang-format off */
	static const char *const names[] = { [ITEM_START] = "section-start",
					     [ITEM_PART] = "section-part",
					     [ITEM_END] = "section-end",
					     [ITEM_FULL] = "section-full" };
	/* clang-format on */
	struct decode *decode = stream->decode;
	struct body body = { .has_ram = false };
	struct section *section;
	struct inspect_item item;
	uint64_t start;

	item_begin(decode, &item, names[type]);
	section = type == ITEM_START || type == ITEM_FULL ? named(stream, type)
							  : referred(stream, type);
	if (!section)
		return -1;
	where(decode, section);
	stream->guessed = false;
	start = decode->reader->offset;
	if (read_body(stream, section, type, &body) < 0)
		return -1;
	item_number(&item, "id", section->id);
	item_text(&item, "idstr", section->idstr);
	if (type == ITEM_START || type == ITEM_FULL) {
		item_number(&item, "instance", section->instance);
		item_number(&item, "version", section->version);
	}
	item_number(&item, "body", decode->reader->offset - start);
	if (type == ITEM_FULL)
		section->full_bytes = decode->reader->offset - start;
	if (footer(stream, section) < 0)
		return -1;
	if (body.has_ram)
		ram_fields(&stream->ram, &item);
	if (body.has_vfio)
		vfio_fields(&body.vfio, &item);
	if (body.run_state[0])
		item_text(&item, "run-state", body.run_state);
	if (body.suspended)
		item_bool(&item, "suspended", true);
	if (stream->guessed)
		item_bool(&item, "end-guessed", true);
	item_end(decode, &item);
	section->count++;
	section->bytes += item.length;
	section->took_ns += item.took_ns;
	decode->where[0] = 0;
	return 0;
}

/* ---- items --------------------------------------------------------------------------------- */

static int eof(struct stream *stream)
{
	struct decode *decode = stream->decode;
	struct inspect_item item;
	const uint8_t *bytes;

	if (decode->reader->limit != UINT64_MAX)
		return decode_bad(decode, 0, "no EOF within a package");
	item_begin(decode, &item, "eof");
	reader_take(decode->reader, 1);
	item_end(decode, &item);
	if (stream->listening || reader_peek(decode->reader, 1, &bytes) == 0)
		return 0; /* machines may leave it out, and post-copy has none */
	if (bytes[0] != ITEM_DESCRIPTION)
		return decode_bad(decode, 0, "the description (06), or the end of the stream");
	return description_decode(stream);
}

static int one_item(struct stream *stream, uint8_t type)
{
	switch (type) {
	case ITEM_START:
	case ITEM_PART:
	case ITEM_END:
	case ITEM_FULL:
		return section_decode(stream, type);
	case ITEM_COMMAND:
		return command_decode(stream);
	default:
		return decode_bad(stream->decode, 0,
				  "an item: 00 EOF, 01 to 04 a section, "
				  "08 a command");
	}
}

static void leave_package(struct decode *decode)
{
	struct inspect_item item;

	decode->reader->limit = UINT64_MAX;
	item_begin(decode, &item, "package-end");
	item_end(decode, &item);
}

static int items(struct stream *stream)
{
	struct decode *decode = stream->decode;
	const uint8_t *bytes;

	for (;;) {
		if (decode->reader->offset == decode->reader->limit)
			leave_package(decode);
		if (decode_need(decode, 1, &bytes, "an item") < 0)
			return -1;
		if (bytes[0] == ITEM_EOF)
			return eof(stream);
		if (one_item(stream, bytes[0]) < 0)
			return -1;
	}
}

static int header(struct stream *stream)
{
	struct decode *decode = stream->decode;
	struct inspect_item item;
	const uint8_t *bytes;

	item_begin(decode, &item, "header");
	if (decode_need(decode, HEADER_BYTES, &bytes, "the stream's header") < 0)
		return -1;
	if (be32(bytes) != 0x5145564d)
		return decode_bad(decode, 0, "QEVM");
	if (be32(bytes + 4) != VERSION)
		return decode_bad(decode, 4, "version %d", VERSION);
	item_number(&item, "version", VERSION);
	reader_take(decode->reader, HEADER_BYTES);
	item_end(decode, &item);
	if (decode_need(decode, 1, &bytes, "a configuration, or an item") < 0)
		return -1;
	return bytes[0] == ITEM_CONFIGURATION ? configuration_decode(stream) : 0;
}

static void totals(const struct stream *stream)
{
	for (uint32_t i = 0; i < stream->section_count; i++) {
		const struct section *section = &stream->sections[i];
		struct inspect_item item;

		item_begin(stream->decode, &item, "total");
		item_number(&item, "id", section->id);
		item_text(&item, "idstr", section->idstr);
		item_number(&item, "instance", section->instance);
		item_number(&item, "count", section->count);
		item_number(&item, "bytes", section->bytes);
		if (stream->decode->options->now_ns)
			item_number(&item, "time-us", section->took_ns / 1000);
		stream->decode->sink->item(stream->decode->sink->self, &item);
	}
}

int decode_main(struct decode *decode, bool with_header)
{
	struct stream stream = { .decode = decode };
	int r = 0;

	if (with_header)
		r = header(&stream);
	else
		stream.recovery = stream.listening = true; /* it goes on with post-copy */
	if (r == 0)
		r = items(&stream);
	totals(&stream);
	ram_done(&stream.ram);
	free(stream.sections);
	return r;
}
