/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any octets as a recording: refused, or read and replayed without a fault. A fuzzer does not find
 * checksums, so the octets are tried again with all of them made right.
 */
#include <stdlib.h>
#include <string.h>

#include <holdfast/record.h>

#include "engine/record-read.h"

#define BYTES_MAX (256u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const struct hf_recording *recording)
{
	struct hf_replay replay = { .size = sizeof(replay) };
	const struct hf_recorded *entry;
	struct hf_error err = { 0 };
	uint64_t count = 0;

	for (; (entry = hf_recording_entry(recording, count)); count++)
		if (!memchr(entry->text, 0, RECORD_TEXT_MAX) || !entry->event ||
		    entry->sequence == 0)
			abort();
	if (count != hf_recording_info(recording)->entries)
		abort();
	if (hf_replay(recording, &replay, &err) < 0 && (!err.text[0] || replay.differs_at >= count))
		abort();
	if (replay.replayed > hf_recording_info(recording)->decisions)
		abort();
}

static void try(const uint8_t *data, size_t size)
{
	struct hf_recording *recording = NULL;
	struct hf_error err = { 0 };

	if (recording_parse(data, size, &recording, &err) < 0) {
		if (recording || !err.text[0])
			abort();
		return;
	}
	read_all(recording);
	(void)hf_recording_close(recording);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[RECORD_SLOT_BYTES];
	uint8_t *sealed;

	try(data, size);
	if (size < RECORD_HEADER_BYTES || size > BYTES_MAX)
		return 0;
	sealed = malloc(size);
	if (!sealed)
		return 0;
	memcpy(sealed, data, size);
	record_seal(sealed, RECORD_HEADER_BYTES);
	for (size_t at = RECORD_HEADER_BYTES; at + RECORD_SLOT_BYTES <= size;
	     at += RECORD_SLOT_BYTES)
		if (memcmp(sealed + at, nothing, RECORD_SLOT_BYTES) != 0)
			record_seal(sealed + at, RECORD_SLOT_BYTES);
	try(sealed, size);
	free(sealed);
	return 0;
}
