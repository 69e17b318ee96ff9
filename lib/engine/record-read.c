/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading a recording: all of it at once, each number checked before it is used. What a process
 * that was killed leaves behind is no damage: one torn slot where the next entry would have come,
 * and slots that were never written.
 */
#include "engine/record-read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/export.h"

#define FILE_BYTES_MAX                                                                             \
	(RECORD_HEADER_BYTES +                                                                     \
	 (size_t)RECORD_AREA_COUNT * 2u * RECORD_AREA_SLOTS_MAX * RECORD_SLOT_BYTES)

/* One area of the file. */
struct area {
	enum record_area area;
	const uint8_t *bytes;
	size_t at; /* in the file */
	uint32_t first, ring, slots;
	bool any;
	uint64_t newest; /* the highest number, if there is any */
};

static const uint8_t *slot_at(const struct area *area, uint32_t place)
{
	return area->bytes + (size_t)place * RECORD_SLOT_BYTES;
}

static size_t offset_of(const struct area *area, uint32_t place)
{
	return area->at + (size_t)place * RECORD_SLOT_BYTES;
}

/* Slots that can be read become entries; which of them are too old is found out later. */
static int take_slots(struct hf_recording *recording, struct area *area, struct hf_error *err)
{
	for (uint32_t place = 0; place < area->slots; place++) {
		struct recording_entry *entry = &recording->entries[recording->count];
		int code;

		if (record_slot_look(slot_at(area, place)) <= 0)
			continue;
		code = record_slot_decode(slot_at(area, place), &recording->header.names,
					  offset_of(area, place), &entry->slot, err);
		if (code < 0)
			return code;
		if (record_place(entry->slot.number, area->first, area->ring) != place)
			return error_set(err, HF_E_STREAM_DAMAGED, 0,
					 "offset %zu, number: %llu does not belong here",
					 offset_of(area, place) + 8,
					 (unsigned long long)entry->slot.number);
		entry->area = area->area;
		if (!area->any || entry->slot.number > area->newest)
			area->newest = entry->slot.number;
		area->any = true;
		recording->count++;
	}
	return 0;
}

/* A slot without its checksum may only lie where the next entry would have been written. */
static int check_torn(struct hf_recording *recording, const struct area *area, struct hf_error *err)
{
	uint32_t next = record_place(area->any ? area->newest + 1 : 0, area->first, area->ring);

	for (uint32_t place = 0; place < area->slots; place++) {
		if (record_slot_look(slot_at(area, place)) >= 0)
			continue;
		if (place != next)
			return error_set(err, HF_E_STREAM_DAMAGED, 0,
					 "offset %zu, checksum: it does not match",
					 offset_of(area, place) + RECORD_SLOT_BYTES - 8);
		recording->info.torn = 1;
	}
	return 0;
}

static bool is_too_old(const struct recording_entry *entry, const struct area *area)
{
	return entry->slot.number >= area->first && area->newest - entry->slot.number >= area->ring;
}

/* A stale slot in the ring: the entry that should have gone over it could not be written. */
static void drop_too_old(struct hf_recording *recording, const struct area *area, uint64_t from)
{
	uint64_t kept = from;

	for (uint64_t i = from; i < recording->count; i++)
		if (!is_too_old(&recording->entries[i], area))
			recording->entries[kept++] = recording->entries[i];
	recording->count = kept;
}

static int read_area(struct hf_recording *recording, struct area *area, uint64_t *ret_missing,
		     struct hf_error *err)
{
	uint64_t from = recording->count;
	int code = take_slots(recording, area, err);

	if (code == 0)
		code = check_torn(recording, area, err);
	if (code < 0)
		return code;
	drop_too_old(recording, area, from);
	*ret_missing = area->any ? area->newest + 1 - (recording->count - from) : 0;
	return 0;
}

/* ---- entries ------------------------------------------------------------------------------- */

static int by_sequence(const void *a, const void *b)
{
	const struct recording_entry *left = (const struct recording_entry *)a;
	const struct recording_entry *right = (const struct recording_entry *)b;

	return left->slot.sequence < right->slot.sequence   ? -1
	       : left->slot.sequence > right->slot.sequence ? 1
							    : 0;
}

static int check_order(const struct hf_recording *recording, struct hf_error *err)
{
	uint64_t next[RECORD_AREA_COUNT] = { 0 };

	for (uint64_t i = 0; i < recording->count; i++) {
		const struct recording_entry *entry = &recording->entries[i];

		if (i && entry->slot.sequence == entry[-1].slot.sequence)
			return error_set(err, HF_E_STREAM_DAMAGED, 0,
					 "sequence: there are two entries %llu",
					 (unsigned long long)entry->slot.sequence);
		if (entry->slot.number < next[entry->area])
			return error_set(err, HF_E_STREAM_DAMAGED, 0,
					 "sequence: entry %llu is out of order",
					 (unsigned long long)entry->slot.sequence);
		next[entry->area] = entry->slot.number + 1;
	}
	return 0;
}

static void take_peer(struct hf_recording_info *info, const struct record_slot *slot)
{
	(void)snprintf(info->peer_side, sizeof(info->peer_side), "%.*s", HF_NAME_MAX - 1,
		       slot->text);
	for (uint32_t i = 0; i < sizeof(info->session); i++)
		info->session[i] = (uint8_t)(slot->arg[i / 8] >> (8 * (i % 8)));
}

static void show_entry(struct hf_recording *recording, struct recording_entry *entry)
{
	const struct record_names *names = &recording->header.names;
	const struct record_slot *slot = &entry->slot;
	struct hf_recorded *out = &entry->out;
	bool is_step = slot->kind == HF_RECORDED_DECISION || slot->kind == HF_RECORDED_DROPPED;

	*out = (struct hf_recorded){
		.size = sizeof(*out),
		.kind = slot->kind,
		.sequence = slot->sequence,
		.time_ns = slot->time_ns,
		.state_before = is_step ? names->text[RECORD_STATE][slot->before] : "",
		.state_after = is_step ? names->text[RECORD_STATE][slot->after] : "",
		.event = is_step ? names->text[RECORD_EVENT][slot->event] : "",
		.marks = slot->marks,
		.trace_id = slot->id,
		.text = slot->text,
	};
	memcpy(out->arg, slot->arg, sizeof(out->arg));
	for (uint32_t i = 0; i < HF_RECORDED_ACTIONS_MAX; i++)
		out->actions[i] =
			slot->actions[i] ? names->text[RECORD_ACTION][slot->actions[i]] : "";
	if (slot->kind == HF_RECORDED_PEER)
		take_peer(&recording->info, slot);
	if (slot->kind == HF_RECORDED_DECISION)
		recording->info.decisions++;
}

static void show_info(struct hf_recording *recording)
{
	const struct record_header *header = &recording->header;
	struct hf_recording_info *info = &recording->info;

	info->size = sizeof(*info);
	info->role = header->role;
	info->paused = header->flags & RECORD_PAUSED ? 1 : 0;
	info->restart = header->flags & RECORD_RESTART ? 1 : 0;
	memcpy(info->software, header->software, sizeof(info->software));
	memcpy(info->guest, header->guest, sizeof(info->guest));
	memcpy(info->side, header->side, sizeof(info->side));
	memcpy(info->ledger, header->ledger, sizeof(info->ledger));
	memcpy(info->uri, header->uri, sizeof(info->uri));
	memcpy(info->session, header->session, sizeof(info->session));
	info->start_ns = header->start_ns;
	info->realtime_ns = header->realtime_ns;
	info->entries = recording->count;
	for (uint64_t i = 0; i < recording->count; i++)
		show_entry(recording, &recording->entries[i]);
}

/* ---- the whole ----------------------------------------------------------------------------- */

static int parse(struct hf_recording *recording, const uint8_t *bytes, size_t size,
		 struct hf_error *err)
{
	struct hf_recording_info *info = &recording->info;
	const struct record_header *header = &recording->header;
	struct area areas[RECORD_AREA_COUNT];
	size_t at = RECORD_HEADER_BYTES;
	int code;

	if (size < RECORD_HEADER_BYTES)
		return error_set(err,
				 size >= 8 && memcmp(bytes, RECORD_MAGIC, 8) == 0
					 ? HF_E_STREAM_DAMAGED
					 : HF_E_INVALID,
				 0, "offset %zu: the file ends, and the header has %u bytes", size,
				 RECORD_HEADER_BYTES);
	code = record_header_decode(bytes, &recording->header, err);
	if (code < 0)
		return code;
	for (uint32_t i = 0; i < RECORD_AREA_COUNT; i++) {
		areas[i] = (struct area){ .area = (enum record_area)i,
					  .bytes = bytes + at,
					  .at = at,
					  .first = header->first[i],
					  .ring = header->ring[i],
					  .slots = header->first[i] + header->ring[i] };
		if ((size - at) / RECORD_SLOT_BYTES < areas[i].slots)
			return error_set(err, HF_E_STREAM_DAMAGED, 0,
					 "offset %zu: the file ends, and there should be %u slots "
					 "of %u bytes from %zu on",
					 size, areas[i].slots, RECORD_SLOT_BYTES, at);
		at += (size_t)areas[i].slots * RECORD_SLOT_BYTES;
	}
	if (at != size)
		return error_set(err, HF_E_STREAM_DAMAGED, 0,
				 "offset %zu: the file should end, and has %zu bytes", at, size);
	/* No more than the file has bytes for. */
	recording->entries = calloc(areas[0].slots + areas[1].slots, sizeof(*recording->entries));
	if (!recording->entries)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "%u slots",
				 areas[0].slots + areas[1].slots);
	if ((code = read_area(recording, &areas[RECORD_DECISIONS], &info->missing_decisions, err)) <
		    0 ||
	    (code = read_area(recording, &areas[RECORD_CHATTER], &info->missing_events, err)) < 0)
		return code;
	qsort(recording->entries, recording->count, sizeof(*recording->entries), by_sequence);
	return check_order(recording, err);
}

int recording_parse(const uint8_t *bytes, size_t size, struct hf_recording **ret_recording,
		    struct hf_error *err)
{
	struct hf_recording *recording = calloc(1, sizeof(*recording));
	int code;

	if (!recording)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "a recording");
	code = parse(recording, bytes, size, err);
	if (code < 0) {
		(void)hf_recording_close(recording);
		return code;
	}
	show_info(recording);
	*ret_recording = recording;
	return 0;
}

static int read_file(int fd, uint8_t *bytes, size_t size, size_t *ret_got)
{
	size_t got = 0;

	while (got < size) {
		ssize_t part = pread(fd, bytes + got, size - got, (off_t)got);

		if (part < 0 && errno != EINTR)
			return -errno;
		if (part == 0)
			break; /* it has become shorter since it was measured */
		if (part > 0)
			got += (size_t)part;
	}
	*ret_got = got;
	return 0;
}

HF_EXPORT int hf_recording_open(const char *path, struct hf_recording **ret_recording,
				struct hf_error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_free_ uint8_t *bytes = NULL;
	struct hf_error local = { 0 };
	struct stat status;
	size_t size;
	int code;

	if (fd < 0 || fstat(fd, &status) < 0)
		return error_set(err, HF_E_SYSTEM, errno, "%.180s", path);
	if (!S_ISREG(status.st_mode))
		return error_set(err, HF_E_INVALID, 0, "%.180s is no file", path);
	if (status.st_size < 0 || (uint64_t)status.st_size > FILE_BYTES_MAX)
		return error_set(err, HF_E_INVALID, 0,
				 "%.100s: %lld bytes are more than a recording can have", path,
				 (long long)status.st_size);
	size = (size_t)status.st_size;
	bytes = malloc(size ? size : 1);
	if (!bytes)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "%.180s", path);
	code = read_file(fd, bytes, size, &size);
	if (code < 0)
		return error_set(err, HF_E_SYSTEM, -code, "%.180s", path);
	code = recording_parse(bytes, size, ret_recording, &local);
	if (code < 0) {
		(void)error_prepend(&local, "%.120s", path);
		if (err)
			*err = local;
	}
	return code;
}

HF_EXPORT struct hf_recording *hf_recording_close(struct hf_recording *recording)
{
	if (recording)
		free(recording->entries);
	free(recording);
	return NULL;
}

HF_EXPORT const struct hf_recording_info *hf_recording_info(const struct hf_recording *recording)
{
	return &recording->info;
}

HF_EXPORT const struct hf_recorded *hf_recording_entry(const struct hf_recording *recording,
						       uint64_t index)
{
	return index < recording->count ? &recording->entries[index].out : NULL;
}
