/* SPDX-License-Identifier: BSD-3-Clause */
/* Recordings made by hand, with areas of a few slots: what a test or a fuzzer begins with. */
#ifndef TESTS_RECORD_FILE_H
#define TESTS_RECORD_FILE_H

#include "engine/record-format.h"

#define RECORD_FILE_FIRST 4u
#define RECORD_FILE_RING 4u
#define RECORD_FILE_SLOTS (RECORD_FILE_FIRST + RECORD_FILE_RING) /* of one area */
#define RECORD_FILE_BYTES                                                                          \
	(RECORD_HEADER_BYTES + RECORD_AREA_COUNT * RECORD_FILE_SLOTS * RECORD_SLOT_BYTES)

struct record_file {
	struct record_header header;
	uint64_t sequence, numbers[RECORD_AREA_COUNT];
	uint8_t bytes[RECORD_FILE_BYTES];
};

/* The header, by this version's names. */
void record_file_init(struct record_file *file, uint32_t role);
void record_file_seal(struct record_file *file); /* after a change of file->header */

/* One more entry: sequence and number are set here. Returns where it lies. */
size_t record_file_add(struct record_file *file, enum record_area area, struct record_slot slot);

/* Encode again what lies at an offset, changed. */
void record_file_put(struct record_file *file, size_t at, const struct record_slot *slot);

#endif
