/* SPDX-License-Identifier: BSD-3-Clause */
/* Header and slots of a recording, to and from bytes: docs/recorder.md, "The file". */
#include "engine/record-format.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>

#include <holdfast/record.h>
#include <holdfast/session.h>

#include "base/error.h"
#include "wire/rd.h"
#include "wire/wr.h"

#define CHECKSUM_BYTES 8u
#define NAMES_AT 752u

uint32_t record_place(uint64_t number, uint32_t first, uint32_t ring)
{
	return number < first ? (uint32_t)number : first + (uint32_t)((number - first) % ring);
}

void record_seal(uint8_t *bytes, size_t length)
{
	struct wr wr;

	wr_init(&wr, bytes + length - CHECKSUM_BYTES, CHECKSUM_BYTES);
	wr_u64(&wr, XXH3_64bits(bytes, length - CHECKSUM_BYTES));
}

static bool is_sealed(const uint8_t *bytes, size_t length)
{
	struct rd rd;

	rd_init(&rd, bytes + length - CHECKSUM_BYTES, CHECKSUM_BYTES);
	return rd_u64(&rd) == XXH3_64bits(bytes, length - CHECKSUM_BYTES);
}

static int damaged(struct hf_error *err, size_t at, const char *field, const char *why)
{
	return error_set(err, HF_E_STREAM_DAMAGED, 0, "offset %zu, %s: %s", at, field, why);
}

/* ---- the header ---------------------------------------------------------------------------- */

static void encode_names(struct wr *wr, const struct record_names *names)
{
	for (uint32_t kind = 0; kind < RECORD_NAME_COUNT; kind++)
		wr_u16(wr, (uint16_t)names->count[kind]);
	wr_zero(wr, 2);
	for (uint32_t kind = 0; kind < RECORD_NAME_COUNT; kind++)
		for (uint32_t i = 0; i < names->count[kind]; i++)
			wr_bytes(wr, names->text[kind][i], strlen(names->text[kind][i]) + 1);
}

bool record_header_encode(const struct record_header *header, uint8_t bytes[RECORD_HEADER_BYTES])
{
	struct wr wr;

	wr_init(&wr, bytes, RECORD_HEADER_BYTES - CHECKSUM_BYTES);
	wr_bytes(&wr, RECORD_MAGIC, 8);
	wr_u32(&wr, RECORD_VERSION);
	wr_u32(&wr, RECORD_HEADER_BYTES);
	wr_u32(&wr, RECORD_SLOT_BYTES);
	for (uint32_t area = 0; area < RECORD_AREA_COUNT; area++) {
		wr_u32(&wr, header->first[area]);
		wr_u32(&wr, header->ring[area]);
	}
	wr_u32(&wr, header->role);
	wr_u32(&wr, header->flags);
	wr_zero(&wr, 4);
	wr_u64(&wr, header->start_ns);
	wr_u64(&wr, header->realtime_ns);
	wr_bytes(&wr, header->session, sizeof(header->session));
	wr_text(&wr, header->software, sizeof(header->software));
	wr_text(&wr, header->guest, sizeof(header->guest));
	wr_text(&wr, header->side, sizeof(header->side));
	wr_text(&wr, header->ledger, sizeof(header->ledger));
	wr_text(&wr, header->uri, sizeof(header->uri));
	assert(wr.bad || wr.used == NAMES_AT);
	encode_names(&wr, &header->names);
	if (wr.bad)
		return false;
	wr_zero(&wr, wr.capacity - wr.used);
	record_seal(bytes, RECORD_HEADER_BYTES);
	return true;
}

static bool is_name(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!(text[i] >= 'A' && text[i] <= 'Z') && !(text[i] >= '0' && text[i] <= '9') &&
		    text[i] != '_')
			return false;
	return length > 0;
}

static int decode_names(struct rd *rd, struct record_names *names, struct hf_error *err)
{
	const size_t end = RECORD_HEADER_BYTES - CHECKSUM_BYTES;

	for (uint32_t kind = 0; kind < RECORD_NAME_COUNT; kind++) {
		names->count[kind] = rd_u16(rd);
		if (names->count[kind] < 1 || names->count[kind] > RECORD_NAMES_MAX)
			return damaged(err, end - rd->left - 2, "count of names",
				       "1 to 64 are valid");
	}
	(void)rd_u16(rd);
	for (uint32_t kind = 0; kind < RECORD_NAME_COUNT; kind++) {
		for (uint32_t i = 0; i < names->count[kind]; i++) {
			size_t at = end - rd->left;
			const char *text = (const char *)rd->at;
			size_t length = strnlen(text, rd->left < RECORD_NAME_MAX ? rd->left
										 : RECORD_NAME_MAX);

			if (length == rd->left || length == RECORD_NAME_MAX ||
			    !is_name(text, length))
				return damaged(err, at, "name", "1 to 31 of A-Z 0-9 _ are valid");
			rd_bytes(rd, names->text[kind][i], length + 1);
		}
	}
	return 0;
}

/* One text field: where it is comes from what is left. */
static int decode_text(struct rd *rd, char *to, size_t size, const char *field,
		       struct hf_error *err)
{
	size_t at = RECORD_HEADER_BYTES - CHECKSUM_BYTES - rd->left;

	rd_text(rd, to, size);
	return rd->bad ? damaged(err, at, field, "not printable, or without its end") : 0;
}

static int decode_sizes(struct rd *rd, struct record_header *header, struct hf_error *err)
{
	if (rd_u32(rd) != RECORD_HEADER_BYTES)
		return damaged(err, 12, "header's size", "4096 is valid");
	if (rd_u32(rd) != RECORD_SLOT_BYTES)
		return damaged(err, 16, "slots' size", "512 is valid");
	for (uint32_t area = 0; area < RECORD_AREA_COUNT; area++) {
		header->first[area] = rd_u32(rd);
		header->ring[area] = rd_u32(rd);
		if (header->first[area] > RECORD_AREA_SLOTS_MAX || header->ring[area] < 1 ||
		    header->ring[area] > RECORD_AREA_SLOTS_MAX)
			return error_set(err, HF_E_STREAM_DAMAGED, 0,
					 "offset %u, slots of an area: %u and %u; at most %u "
					 "are valid",
					 20 + 8 * area, header->first[area], header->ring[area],
					 RECORD_AREA_SLOTS_MAX);
	}
	header->role = rd_u32(rd);
	header->flags = rd_u32(rd);
	(void)rd_u32(rd);
	if (header->role != HF_ROLE_SOURCE && header->role != HF_ROLE_TARGET)
		return damaged(err, 36, "role", "neither source nor target");
	return 0;
}

int record_header_decode(const uint8_t bytes[RECORD_HEADER_BYTES], struct record_header *ret_header,
			 struct hf_error *err)
{
	struct record_header *header = ret_header;
	struct rd rd;
	uint32_t version;
	int code;

	memset(header, 0, sizeof(*header));
	rd_init(&rd, bytes, RECORD_HEADER_BYTES - CHECKSUM_BYTES);
	if (memcmp(rd_take(&rd, 8), RECORD_MAGIC, 8) != 0)
		return error_set(err, HF_E_INVALID, 0,
				 "offset 0, magic: this is no recording of Holdfast");
	version = rd_u32(&rd);
	if (version != RECORD_VERSION)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "offset 8, version: %u, and this program reads %u", version,
				 RECORD_VERSION);
	if (!is_sealed(bytes, RECORD_HEADER_BYTES))
		return damaged(err, RECORD_HEADER_BYTES - CHECKSUM_BYTES, "header's checksum",
			       "it does not match");
	code = decode_sizes(&rd, header, err);
	if (code < 0)
		return code;
	header->start_ns = rd_u64(&rd);
	header->realtime_ns = rd_u64(&rd);
	rd_bytes(&rd, header->session, sizeof(header->session));
	if ((code = decode_text(&rd, header->software, sizeof(header->software), "software", err)) <
		    0 ||
	    (code = decode_text(&rd, header->guest, sizeof(header->guest), "guest", err)) < 0 ||
	    (code = decode_text(&rd, header->side, sizeof(header->side), "side", err)) < 0 ||
	    (code = decode_text(&rd, header->ledger, sizeof(header->ledger), "ledger", err)) < 0 ||
	    (code = decode_text(&rd, header->uri, sizeof(header->uri), "uri", err)) < 0)
		return code;
	return decode_names(&rd, &header->names, err);
}

/* ---- slots --------------------------------------------------------------------------------- */

static bool is_printable(char c)
{
	return (unsigned char)c >= 0x20 && c != 0x7f;
}

void record_slot_encode(const struct record_slot *slot, uint8_t bytes[RECORD_SLOT_BYTES])
{
	size_t length = strnlen(slot->text, RECORD_TEXT_MAX);
	uint8_t marks = slot->marks;
	struct wr wr;
	uint8_t *text;

	if (length == RECORD_TEXT_MAX) {
		length--;
		marks |= HF_RECORDED_CUT;
	}
	wr_init(&wr, bytes, RECORD_SLOT_BYTES - CHECKSUM_BYTES);
	wr_u64(&wr, slot->sequence);
	wr_u64(&wr, slot->number);
	wr_u64(&wr, slot->time_ns);
	wr_u8(&wr, slot->kind);
	wr_u8(&wr, slot->before);
	wr_u8(&wr, slot->after);
	wr_u8(&wr, slot->event);
	wr_u8(&wr, slot->flags_before);
	wr_u8(&wr, slot->flags_after);
	wr_u8(&wr, marks);
	wr_zero(&wr, 1);
	wr_bytes(&wr, slot->actions, RECORD_ACTIONS_MAX);
	wr_u32(&wr, slot->id);
	for (uint32_t i = 0; i < 4; i++)
		wr_u64(&wr, slot->arg[i]);
	text = wr_take(&wr, RECORD_TEXT_MAX);
	assert(text && wr.used == wr.capacity);
	memset(text, 0, RECORD_TEXT_MAX);
	for (size_t i = 0; i < length; i++)
		text[i] = (uint8_t)(is_printable(slot->text[i]) ? slot->text[i] : '?');
	record_seal(bytes, RECORD_SLOT_BYTES);
}

int record_slot_look(const uint8_t bytes[RECORD_SLOT_BYTES])
{
	static const uint8_t zeros[RECORD_SLOT_BYTES];

	if (memcmp(bytes, zeros, RECORD_SLOT_BYTES) == 0)
		return 0;
	return is_sealed(bytes, RECORD_SLOT_BYTES) ? 1 : -1;
}

static bool is_step(const struct record_slot *slot)
{
	return slot->kind == HF_RECORDED_DECISION || slot->kind == HF_RECORDED_DROPPED;
}

static int check_slot(const struct record_slot *slot, const struct record_names *names, size_t at,
		      struct hf_error *err)
{
	size_t length = strnlen(slot->text, RECORD_TEXT_MAX);

	if (slot->sequence == 0)
		return damaged(err, at, "sequence", "0 is not valid");
	if (slot->kind < HF_RECORDED_DECISION || slot->kind > HF_RECORDED_PEER)
		return damaged(err, at + 24, "kind", "1 to 4 are valid");
	if (is_step(slot) && slot->before >= names->count[RECORD_STATE])
		return damaged(err, at + 25, "state before", "it has no name");
	if (is_step(slot) && slot->after >= names->count[RECORD_STATE])
		return damaged(err, at + 26, "state after", "it has no name");
	if (is_step(slot) && slot->event >= names->count[RECORD_EVENT])
		return damaged(err, at + 27, "event", "it has no name");
	for (uint32_t i = 0; i < RECORD_ACTIONS_MAX; i++)
		if (slot->actions[i] >= names->count[RECORD_ACTION])
			return damaged(err, at + 32 + i, "action", "it has no name");
	if (length == RECORD_TEXT_MAX)
		return damaged(err, at + 72, "text", "it has no end");
	for (size_t i = 0; i < length; i++)
		if (!is_printable(slot->text[i]))
			return damaged(err, at + 72 + i, "text", "not printable");
	return 0;
}

int record_slot_decode(const uint8_t bytes[RECORD_SLOT_BYTES], const struct record_names *names,
		       size_t at, struct record_slot *ret_slot, struct hf_error *err)
{
	struct record_slot *slot = ret_slot;
	struct rd rd;

	rd_init(&rd, bytes, RECORD_SLOT_BYTES - CHECKSUM_BYTES);
	slot->sequence = rd_u64(&rd);
	slot->number = rd_u64(&rd);
	slot->time_ns = rd_u64(&rd);
	slot->kind = rd_u8(&rd);
	slot->before = rd_u8(&rd);
	slot->after = rd_u8(&rd);
	slot->event = rd_u8(&rd);
	slot->flags_before = rd_u8(&rd);
	slot->flags_after = rd_u8(&rd);
	slot->marks = rd_u8(&rd);
	(void)rd_u8(&rd);
	rd_bytes(&rd, slot->actions, RECORD_ACTIONS_MAX);
	slot->id = rd_u32(&rd);
	for (uint32_t i = 0; i < 4; i++)
		slot->arg[i] = rd_u64(&rd);
	rd_bytes(&rd, slot->text, RECORD_TEXT_MAX);
	assert(rd_done(&rd)); /* the sizes are constants */
	return check_slot(slot, names, at, err);
}
