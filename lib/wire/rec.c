/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec.h"

#include <errno.h>

#include "wire/rd.h"

/* docs/stream.md, section 4.3: the table of all records. */
/* clang-format off */
#define ROW(name, number, connection, sender, skip, fixed, max) \
	{ #name, REC_##name, WIRE_##connection, REC_BY_##sender, fixed, max },
static const struct rec_info table[] = { REC_LIST(ROW) };
#undef ROW
/* clang-format on */

#define TABLE_COUNT (sizeof(table) / sizeof(table[0]))

const uint8_t rec_zeros[REC_ALIGN];

const struct rec_info *rec_at(unsigned int index)
{
	return index < TABLE_COUNT ? &table[index] : NULL;
}

const struct rec_info *rec_info(uint32_t type)
{
	for (size_t i = 0; i < TABLE_COUNT; i++)
		if (table[i].type == type)
			return &table[i];
	return NULL;
}

const char *rec_name(uint32_t type)
{
	const struct rec_info *info = rec_info(type);

	return info != NULL ? info->name : "?";
}

struct rec_header rec_header_decode(const uint8_t bytes[REC_HEADER_BYTES])
{
	struct rec_header header;
	struct rd rd;

	rd_init(&rd, bytes, REC_HEADER_BYTES);
	header.type = rd_u32(&rd);
	header.length = rd_u32(&rd);
	return header;
}

static int fail(int code, const char *why, const char **ret_why)
{
	if (ret_why != NULL)
		*ret_why = why;
	return code;
}

int rec_header_check(const struct rec_header *header, uint32_t connection, uint32_t direction,
		     const char **ret_why)
{
	const struct rec_info *info = rec_info(header->type);
	uint32_t sender = direction == WIRE_TO_TARGET ? REC_BY_SOURCE : REC_BY_TARGET;

	if (info == NULL) {
		if ((header->type & ~REC_SKIPPABLE) == 0)
			return fail(-EPROTO, "a record of type 0", ret_why);
		if ((header->type & REC_SKIPPABLE) == 0)
			return fail(-EPROTO, "an unknown record that may not be skipped", ret_why);
		if (header->length > REC_SKIPPED_BODY_MAX)
			return fail(-EMSGSIZE, "an unknown record that is too long to be skipped",
				    ret_why);
		return 1;
	}
	if (info->connection != connection)
		return fail(-EPROTO, "a record that belongs on another kind of connection",
			    ret_why);
	if ((info->senders & sender) == 0)
		return fail(-EPROTO, "a record that only the other side sends", ret_why);
	if (header->length < info->fixed_bytes)
		return fail(-EMSGSIZE, "a record that is too short", ret_why);
	if (header->length > info->body_bytes_max)
		return fail(-EMSGSIZE, "a record that is too long", ret_why);
	return 0;
}
