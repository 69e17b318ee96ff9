/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sections of a main stream: which are known, and where a body ends that only its device can
 * read. There is no length; behind it stands a footer with the section's id (except with machine
 * types of long ago), and behind that something that can stand there. Both together are taken for
 * the end; the description of the devices says later whether that was right.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guard/stream.h"

#define FOOTER_BYTES 5

struct section *section_of(struct stream *stream, uint32_t id)
{
	for (uint32_t i = 0; i < stream->section_count; i++)
		if (stream->sections[i].id == id)
			return &stream->sections[i];
	return NULL;
}

struct section *section_add(struct stream *stream, uint32_t id, const char *idstr)
{
	struct section *section;

	if (stream->section_count == SECTIONS_MAX) {
		(void)decode_bad(stream->decode, 0, "at most %u sections", SECTIONS_MAX);
		return NULL;
	}
	if (stream->section_count == stream->section_room) {
		uint32_t room = stream->section_room ? stream->section_room * 2 : 64;
		struct section *more = realloc(stream->sections, room * sizeof(*more));

		if (!more) {
			(void)decode_failed(stream->decode, ENOMEM);
			return NULL;
		}
		stream->sections = more;
		stream->section_room = room;
	}
	section = &stream->sections[stream->section_count++];
	memset(section, 0, sizeof(*section));
	section->id = id;
	memcpy(section->idstr, idstr, strnlen(idstr, sizeof(section->idstr) - 1));
	return section;
}

/* ---- what can be the next item ------------------------------------------------------------- */

/* A header of a section, behind its type. */
static bool plausible_header(struct stream *stream, size_t at, bool strict)
{
	struct reader *reader = stream->decode->reader;
	const uint8_t *bytes;
	const struct section *known;
	size_t length;
	uint32_t id;

	if (reader_peek(reader, at + 5, &bytes) < at + 5)
		return !strict;
	id = be32(bytes + at);
	length = bytes[at + 4];
	if (length == 0 || (strict && (length < 2 || id > 0xfffff)))
		return false;
	if (reader_peek(reader, at + 5 + length + 8, &bytes) < at + 5 + length + 8)
		return !strict;
	bytes += at + 5;
	for (size_t i = 0; i < length; i++)
		if (!printable(bytes[i]))
			return false;
	if (be32(bytes + length + 4) > (strict ? 0xffu : 0xffffu))
		return false;
	known = section_of(stream, id);
	return !known || (!known->full && strlen(known->idstr) == length &&
			  memcmp(known->idstr, bytes, length) == 0);
}

/* The end of the stream, or EOF and a description. */
static bool plausible_eof(struct stream *stream, size_t at, bool strict)
{
	struct reader *reader = stream->decode->reader;
	const uint8_t *bytes;

	if (reader_peek(reader, at + 1, &bytes) < at + 1)
		return !strict && reader->limit == UINT64_MAX;
	if (bytes[at] != ITEM_DESCRIPTION)
		return false;
	if (reader_peek(reader, at + 6, &bytes) < at + 6)
		return !strict;
	return bytes[at + 5] == '{';
}

/*
 * If the stream ends within it, what is missing is no doubt, except where all hangs on this
 * (strict): where there are no footers.
 */
bool section_plausible(struct stream *stream, size_t at, bool strict)
{
	struct reader *reader = stream->decode->reader;
	const uint8_t *bytes;
	const struct section *known;

	if (reader_peek(reader, at + 1, &bytes) < at + 1)
		return true; /* nothing follows: the end will be judged as such */
	switch (bytes[at]) {
	case ITEM_EOF:
		return plausible_eof(stream, at + 1, strict);
	case ITEM_START:
	case ITEM_FULL:
		return plausible_header(stream, at + 1, strict);
	case ITEM_PART:
	case ITEM_END:
		if (strict || reader_peek(reader, at + 5, &bytes) < at + 5)
			return !strict;
		known = section_of(stream, be32(bytes + at + 1));
		return known && known->iterable && !known->ended;
	case ITEM_COMMAND:
		if (strict || reader_peek(reader, at + 5, &bytes) < at + 5)
			return !strict;
		return command_plausible(be16(bytes + at + 1), be16(bytes + at + 3));
	default:
		return false;
	}
}

/* ---- the end of a body --------------------------------------------------------------------- */

/*
 * Where the end may have been, if none is found: a footer with something behind it that makes no
 * sense, or a header with something else than the footer in front of it.
 */
struct doubt {
	bool some;
	uint64_t offset;
	const char *expected;
	char found[32];
};

static void doubt(struct stream *stream, struct doubt *doubt, uint64_t offset, size_t ahead,
		  const char *expected)
{
	const uint8_t *bytes;
	size_t ready = reader_ready(stream->decode->reader, &bytes), length = 0;

	if (doubt->some)
		return;
	doubt->some = true;
	doubt->offset = offset;
	doubt->expected = expected;
	(void)snprintf(doubt->found, sizeof(doubt->found), "another section's header behind");
	for (size_t i = ahead; ahead && i < ready && i < ahead + 8; i++)
		length += (size_t)snprintf(doubt->found + length, sizeof(doubt->found) - length,
					   "%s%02x", i > ahead ? " " : "", bytes[i]);
}

/* The reader stands at what may be the footer. */
static bool at_footer(struct stream *stream, uint32_t id, struct doubt *in_doubt)
{
	struct reader *reader = stream->decode->reader;
	const uint8_t *bytes;

	if (reader_peek(reader, FOOTER_BYTES, &bytes) < FOOTER_BYTES || bytes[0] != ITEM_FOOTER ||
	    be32(bytes + 1) != id)
		return false;
	if (section_plausible(stream, FOOTER_BYTES, false))
		return true;
	doubt(stream, in_doubt, reader->offset + FOOTER_BYTES, FOOTER_BYTES,
	      "what can follow the footer");
	return false;
}

/* How many bytes to the next one that may be the footer's first, or a header's. */
static size_t until_candidate(const uint8_t *bytes, size_t ready, bool footers)
{
	size_t i = 0;

	if (footers)
		while (i < ready && bytes[i] != ITEM_FOOTER && bytes[i] != ITEM_FULL)
			i++;
	else
		while (i < ready && bytes[i] > ITEM_FULL)
			i++;
	return i;
}

static int not_found(struct stream *stream, const struct section *section, uint64_t start,
		     const struct doubt *doubt)
{
	struct decode *decode = stream->decode;

	if (decode->reader->failed)
		return decode_failed(decode, -decode->reader->failed);
	if (doubt->some)
		return decode_bad_at(decode, doubt->offset, doubt->found, "%s 7e %08x",
				     doubt->expected, section->id);
	if (stream->footers == FOOTERS_OFF)
		return decode_bad(decode, 0,
				  "the next section, or EOF and a description: without "
				  "footers nothing else tells where a body ends");
	return decode_bad(decode, 0, "the footer 7e %08x of the body that began at offset %llu",
			  section->id, (unsigned long long)start);
}

/* The reader stands at a candidate: is it the end? */
static bool ends_here(struct stream *stream, const struct section *section, uint64_t start,
		      uint8_t candidate, struct doubt *in_doubt)
{
	struct reader *reader = stream->decode->reader;

	if (stream->footers == FOOTERS_OFF)
		return section_plausible(stream, 0, true);
	if (candidate == ITEM_FOOTER)
		return at_footer(stream, section->id, in_doubt);
	if (!in_doubt->some && reader->offset >= start + FOOTER_BYTES &&
	    section_plausible(stream, 0, true))
		doubt(stream, in_doubt, reader->offset - FOOTER_BYTES, 0, "the footer");
	return false;
}

int section_opaque(struct stream *stream, const struct section *section)
{
	struct reader *reader = stream->decode->reader;
	const bool footers = stream->footers != FOOTERS_OFF;
	const uint64_t start = reader->offset;
	struct doubt in_doubt = { .some = false };
	const uint8_t *bytes;
	size_t ready;

	if (!footers && section->iterable && !section->full)
		return decode_bad(stream->decode, 0,
				  "a footer: without one nobody knows where '%s' ends",
				  section->idstr);
	stream->guessed = !footers;
	while ((ready = reader_ready(reader, &bytes)) > 0) {
		size_t next = until_candidate(bytes, ready, footers);
		uint8_t candidate = next < ready ? bytes[next] : 0;

		reader_take(reader, next);
		if (next == ready)
			continue;
		if (ends_here(stream, section, start, candidate, &in_doubt))
			return 0;
		if (reader_ready(reader, &bytes) > 0)
			reader_take(reader, 1);
	}
	return not_found(stream, section, start, &in_doubt);
}
