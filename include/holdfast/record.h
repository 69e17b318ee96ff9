/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recordings of sessions (hf_config.record), read back: what the state machine was fed, what it
 * decided and why, and what happened around it; and replay, which feeds the same events to the step
 * functions of this version. The file is specified in docs/recorder.md.
 */
#ifndef HOLDFAST_RECORD_H
#define HOLDFAST_RECORD_H

#include <stdint.h>

#include <holdfast/error.h>
#include <holdfast/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hf_recording;

enum hf_recorded_kind {
	HF_RECORDED_DECISION = 1, /* an event was given to the state machine, and what it decided */
	HF_RECORDED_DROPPED = 2, /* an event was not: it was an echo, or stale (marks say which) */
	HF_RECORDED_EVENT = 3, /* something happened: as the trace tells it (docs/trace.md) */
	HF_RECORDED_PEER = 4, /* the other side said who it is: text is its side id */
};

/* Marks. */
#define HF_RECORDED_UNEXPECTED 1u /* no row for it: taken as FAIL, or ignored after the end */
#define HF_RECORDED_STALE 2u /* an answer to what a state asked for that is left; else an echo */
#define HF_RECORDED_CUT 4u /* the text was longer */

#define HF_RECORDED_ACTIONS_MAX 4

/* One entry. Texts are never NULL, and live as long as the recording. */
struct hf_recorded {
	uint32_t size;
	uint32_t kind; /* enum hf_recorded_kind */
	uint64_t sequence; /* 1..; a gap: entries were pushed out, or could not be written */
	uint64_t time_ns; /* CLOCK_MONOTONIC of the host */
	/* Of a decision; of a dropped event: state_before is the one it happened in. */
	const char *state_before, *state_after, *event;
	const char *actions[HF_RECORDED_ACTIONS_MAX]; /* "" ends them */
	uint32_t marks; /* HF_RECORDED_* */
	uint32_t trace_id; /* of an event: enum hf_trace_id */
	uint64_t arg[4]; /* of an event */
	const char *text;
};

struct hf_recording_info {
	uint32_t size;
	uint32_t role; /* enum hf_role */
	uint32_t paused, restart; /* as in hf_config */
	char software[32]; /* the version that recorded it */
	char guest[HF_NAME_MAX], side[HF_NAME_MAX], peer_side[HF_NAME_MAX]; /* "": not known */
	char ledger[HF_URI_MAX], uri[HF_URI_MAX];
	uint8_t session[16]; /* equal in both sides' recordings; zero: not known */
	uint64_t start_ns, realtime_ns; /* the same moment by both clocks of the host */
	uint64_t entries; /* that can be read */
	uint64_t decisions; /* of these */
	uint64_t missing_decisions, missing_events; /* pushed out, or not written */
	uint32_t torn; /* the last entry was being written when the process or the host died */
	uint32_t reserved;
};

/*
 * Read a whole recording; its session may still be writing it. Errors: HF_E_SYSTEM, HF_E_NO_MEMORY,
 * HF_E_INVALID (it is none), HF_E_UNSUPPORTED (of another version of the format),
 * HF_E_STREAM_DAMAGED; the text names offset and field.
 */
int hf_recording_open(const char *path, struct hf_recording **ret_recording, struct hf_error *err);

/* Takes NULL, returns NULL. */
struct hf_recording *hf_recording_close(struct hf_recording *recording);

/* Whose it is, and how much of it is there. Lives as long as the recording. */
const struct hf_recording_info *hf_recording_info(const struct hf_recording *recording);

/* The index-th entry in the order in which they were written, or NULL behind the last. */
const struct hf_recorded *hf_recording_entry(const struct hf_recording *recording, uint64_t index);

struct hf_replay {
	uint32_t size;
	uint32_t resumed; /* so often it went on with what is recorded behind missing decisions */
	uint64_t replayed; /* decisions that are as recorded */
	uint64_t differs_at; /* index of the entry that is not; UINT64_MAX: none */
};

/*
 * Feed what was recorded to this version's state machine. 0: it decides as recorded. Errors:
 * HF_E_BUG (it decides otherwise, or the recording contradicts itself; the text names sequence,
 * state, event, and both decisions), HF_E_UNSUPPORTED (the same, and another version recorded it).
 * ret_replay, its size set by the caller, is also written then.
 */
int hf_replay(const struct hf_recording *recording, struct hf_replay *ret_replay,
	      struct hf_error *err);

#ifdef __cplusplus
}
#endif

#endif
