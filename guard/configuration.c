/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration behind the header of a main stream: machine, and up to three subsections. */
#include <stdio.h>
#include <string.h>

#include "guard/stream.h"

#define NAME_MAX_BYTES 255u
#define CAPABILITIES_MAX 64u
#define TEXT_MAX 512u

struct configuration {
	uint32_t page_bits; /* 0: not said */
	bool has_capabilities, has_uuid;
	char machine[NAME_MAX_BYTES + 1];
	char capabilities[TEXT_MAX];
	char uuid[33];
};

static int machine(struct decode *decode, struct configuration *to)
{
	const uint8_t *bytes;
	uint32_t length;

	reader_take(decode->reader, 1); /* its type */
	if (decode_need(decode, 4, &bytes, "the length of the machine's name") < 0)
		return -1;
	length = be32(bytes);
	if (length == 0 || length > NAME_MAX_BYTES)
		return decode_bad(decode, 0, "the length of the machine's name, 1 to %u",
				  NAME_MAX_BYTES);
	reader_take(decode->reader, 4);
	if (decode_need(decode, length, &bytes, "the machine's name") < 0)
		return -1;
	for (uint32_t i = 0; i < length; i++)
		if (!printable(bytes[i]))
			return decode_bad(decode, i, "a printable character of the machine's name");
	memcpy(to->machine, bytes, length);
	reader_take(decode->reader, length);
	return 0;
}

static int page_bits(struct decode *decode, struct configuration *to)
{
	const uint8_t *bytes;

	if (decode_need(decode, 4, &bytes, "target-page-bits") < 0)
		return -1;
	to->page_bits = be32(bytes);
	if (to->page_bits < 10 || to->page_bits > 16)
		return decode_bad(decode, 0, "target-page-bits, 10 to 16");
	reader_take(decode->reader, 4);
	decode->page_size = 1u << to->page_bits;
	return 0;
}

static int capabilities(struct stream *stream, struct configuration *to)
{
	struct decode *decode = stream->decode;
	const uint8_t *bytes;
	size_t used = 0;
	uint32_t count;

	if (decode_need(decode, 4, &bytes, "the number of capabilities") < 0)
		return -1;
	count = be32(bytes);
	if (count > CAPABILITIES_MAX)
		return decode_bad(decode, 0, "the number of capabilities, at most %u",
				  CAPABILITIES_MAX);
	reader_take(decode->reader, 4);
	to->has_capabilities = true;
	for (uint32_t i = 0; i < count; i++) {
		char name[256];
		int n;

		if (decode_name(decode, 0, name, "a capability's name") < 0)
			return -1;
		reader_take(decode->reader, 1 + strlen(name));
		stream->ram.shared |= strcmp(name, "x-ignore-shared") == 0;
		stream->ram.mapped |= strcmp(name, "mapped-ram") == 0;
		n = snprintf(to->capabilities + used, sizeof(to->capabilities) - used, "%s%s",
			     used ? " " : "", name);
		if (n > 0 && (size_t)n < sizeof(to->capabilities) - used)
			used += (size_t)n;
	}
	return 0;
}

static int uuid(struct decode *decode, struct configuration *to)
{
	const uint8_t *bytes;

	if (decode_need(decode, 16, &bytes, "the UUID") < 0)
		return -1;
	for (unsigned int i = 0; i < 16; i++)
		(void)snprintf(to->uuid + 2 * i, 3, "%02x", bytes[i]);
	to->has_uuid = true;
	reader_take(decode->reader, 16);
	return 0;
}

static int subsection(struct stream *stream, struct configuration *to)
{
	struct decode *decode = stream->decode;
	const uint8_t *bytes;
	char name[256];

	if (decode_name(decode, 1, name, "a subsection's name") < 0 ||
	    decode_need(decode, 2 + strlen(name) + 4, &bytes, "a subsection's version") < 0)
		return -1;
	if (be32(bytes + 2 + strlen(name)) != 1)
		return decode_bad(decode, 2 + strlen(name), "version 1 of '%s'", name);
	if (strcmp(name, "configuration/target-page-bits") != 0 &&
	    strcmp(name, "configuration/capabilities") != 0 &&
	    strcmp(name, "configuration/uuid") != 0)
		return decode_bad(decode, 2, "a subsection of the configuration");
	reader_take(decode->reader, 2 + strlen(name) + 4);
	if (strcmp(name, "configuration/target-page-bits") == 0)
		return page_bits(decode, to);
	if (strcmp(name, "configuration/uuid") == 0)
		return uuid(decode, to);
	return capabilities(stream, to);
}

int configuration_decode(struct stream *stream)
{
	struct decode *decode = stream->decode;
	struct configuration configuration = { .page_bits = 0 };
	struct inspect_item item;
	const uint8_t *bytes;

	item_begin(decode, &item, "configuration");
	if (machine(decode, &configuration) < 0)
		return -1;
	while (reader_peek(decode->reader, 1, &bytes) == 1 && bytes[0] == ITEM_SUBSECTION)
		if (subsection(stream, &configuration) < 0)
			return -1;
	item_text(&item, "machine", configuration.machine);
	if (configuration.page_bits)
		item_number(&item, "page-bits", configuration.page_bits);
	if (configuration.has_capabilities)
		item_text(&item, "capabilities", configuration.capabilities);
	if (configuration.has_uuid)
		item_text(&item, "uuid", configuration.uuid);
	item_end(decode, &item);
	return 0;
}
