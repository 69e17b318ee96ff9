/* SPDX-License-Identifier: BSD-3-Clause */
/* See record-file.h. */
#include "record-file.h"

#include <stdio.h>
#include <string.h>

#include <holdfast/version.h>

#include "engine/record-names.h"

void record_file_seal(struct record_file *file)
{
	(void)record_header_encode(&file->header, file->bytes); /* tests look at the outcome */
}

void record_file_init(struct record_file *file, uint32_t role)
{
	memset(file, 0, sizeof(*file));
	file->header.role = role;
	for (uint32_t i = 0; i < RECORD_AREA_COUNT; i++) {
		file->header.first[i] = RECORD_FILE_FIRST;
		file->header.ring[i] = RECORD_FILE_RING;
	}
	file->header.start_ns = 1000000000;
	file->header.realtime_ns = 1700000000000000000ull;
	memset(file->header.session, 0xab, sizeof(file->header.session));
	(void)snprintf(file->header.software, sizeof(file->header.software), HF_VERSION_TEXT);
	(void)snprintf(file->header.guest, sizeof(file->header.guest), "guest");
	(void)snprintf(file->header.side, sizeof(file->header.side), "here");
	(void)snprintf(file->header.ledger, sizeof(file->header.ledger), "memory:x");
	(void)snprintf(file->header.uri, sizeof(file->header.uri), "unix:/x");
	record_names_of(role, &file->header.names);
	record_file_seal(file);
}

void record_file_put(struct record_file *file, size_t at, const struct record_slot *slot)
{
	record_slot_encode(slot, file->bytes + at);
}

size_t record_file_add(struct record_file *file, enum record_area area, struct record_slot slot)
{
	uint32_t place = record_place(file->numbers[area], RECORD_FILE_FIRST, RECORD_FILE_RING);
	size_t at = RECORD_HEADER_BYTES +
		    ((size_t)area * RECORD_FILE_SLOTS + place) * RECORD_SLOT_BYTES;

	slot.sequence = ++file->sequence;
	slot.number = file->numbers[area]++;
	slot.time_ns = file->header.start_ns + file->sequence * 1000000;
	record_file_put(file, at, &slot);
	return at;
}
