/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of a recording (docs/recorder.md): a header, and slots of one size. Only bytes here:
 * who writes them is in record.c, who reads a whole file in record-read.c.
 */
#ifndef ENGINE_RECORD_FORMAT_H
#define ENGINE_RECORD_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holdfast/error.h>
#include <holdfast/types.h>

#define RECORD_MAGIC "HFRECORD"
#define RECORD_VERSION 1u
#define RECORD_HEADER_BYTES 4096u
#define RECORD_SLOT_BYTES 512u /* a divisor of a page: no slot lies in two */
#define RECORD_TEXT_MAX 432u /* with the NUL */
#define RECORD_ACTIONS_MAX 4u
#define RECORD_AREA_SLOTS_MAX 65536u /* what a reader takes */

/* What a decision says must not be pushed out by how often a device was read. */
enum record_area { RECORD_DECISIONS = 0, RECORD_CHATTER = 1, RECORD_AREA_COUNT = 2 };

/* The names that numbers in slots stand for: the reader may be of another version. */
enum record_name { RECORD_STATE = 0, RECORD_EVENT = 1, RECORD_ACTION = 2, RECORD_NAME_COUNT = 3 };
#define RECORD_NAMES_MAX 64u
#define RECORD_NAME_MAX 32u /* with the NUL */

struct record_names {
	uint32_t count[RECORD_NAME_COUNT];
	char text[RECORD_NAME_COUNT][RECORD_NAMES_MAX][RECORD_NAME_MAX];
};

#define RECORD_PAUSED 1u
#define RECORD_RESTART 2u

struct record_header {
	uint32_t role, flags;
	uint32_t first[RECORD_AREA_COUNT]; /* slots that are written once, and kept */
	uint32_t ring[RECORD_AREA_COUNT]; /* slots that later entries go round in */
	uint64_t start_ns, realtime_ns; /* the same moment on CLOCK_MONOTONIC and CLOCK_REALTIME */
	uint8_t session[16]; /* a target's is zero: it comes with HELLO */
	char software[32], guest[HF_NAME_MAX], side[HF_NAME_MAX];
	char ledger[HF_URI_MAX], uri[HF_URI_MAX];
	struct record_names names;
};

struct record_slot {
	uint64_t sequence; /* 1.. over both areas */
	uint64_t number; /* 0.. in its area */
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint8_t kind; /* enum hf_recorded_kind */
	uint8_t before, after, event; /* numbers of names */
	uint8_t flags_before, flags_after; /* what the state machine remembers beside its state */
	uint8_t marks; /* HF_RECORDED_* */
	uint8_t actions[RECORD_ACTIONS_MAX]; /* 0 ends them */
	uint32_t id; /* enum hf_trace_id */
	uint64_t arg[4];
	char text[RECORD_TEXT_MAX];
};

/* Where an entry with this number lies in its area. */
uint32_t record_place(uint64_t number, uint32_t first, uint32_t ring);

/* False: the names do not fit. */
bool record_header_encode(const struct record_header *header, uint8_t bytes[RECORD_HEADER_BYTES]);
/* HF_E_INVALID: no recording; HF_E_UNSUPPORTED: another version; HF_E_STREAM_DAMAGED. */
int record_header_decode(const uint8_t bytes[RECORD_HEADER_BYTES], struct record_header *ret_header,
			 struct hf_error *err);

/* Text that is too long is cut, and marked; what could not be printed becomes '?'. */
void record_slot_encode(const struct record_slot *slot, uint8_t bytes[RECORD_SLOT_BYTES]);

/* 1: a slot; 0: never written; negative: its checksum does not match. */
int record_slot_look(const uint8_t bytes[RECORD_SLOT_BYTES]);
/* Of a slot that looks good; at is where it lies, for the error. HF_E_STREAM_DAMAGED. */
int record_slot_decode(const uint8_t bytes[RECORD_SLOT_BYTES], const struct record_names *names,
		       size_t at, struct record_slot *ret_slot, struct hf_error *err);

/* Make the checksums of a header or a slot right, whatever it holds: for tests and fuzzers. */
void record_seal(uint8_t *bytes, size_t length);

#endif
