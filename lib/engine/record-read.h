/* SPDX-License-Identifier: BSD-3-Clause */
/* A recording in memory, as record-read.c made it from bytes and record-replay.c replays it. */
#ifndef ENGINE_RECORD_READ_H
#define ENGINE_RECORD_READ_H

#include <holdfast/record.h>

#include "engine/record-format.h"

struct recording_entry {
	struct record_slot slot;
	struct hf_recorded out;
	enum record_area area;
};

struct hf_recording {
	struct hf_recording_info info;
	struct record_header header;
	struct recording_entry *entries; /* by sequence */
	uint64_t count;
};

/* From bytes, which may be anything; errors as hf_recording_open(). */
int recording_parse(const uint8_t *bytes, size_t size, struct hf_recording **ret_recording,
		    struct hf_error *err);

#endif
