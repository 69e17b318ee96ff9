/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The flight recorder: every session with config.record writes what its state machine was fed, what
 * it decided, and what it told its trace into a file of a fixed size. Called by the loop thread;
 * all of it does nothing in a session without a recording.
 */
#ifndef ENGINE_RECORD_H
#define ENGINE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include <holdfast/session.h>

#include "core/source.h"
#include "core/target.h"
#include "engine/record-format.h"

struct session;

struct recorder {
	int fd; /* or -1 */
	uint64_t sequence; /* of the last entry */
	uint64_t numbers[RECORD_AREA_COUNT]; /* of the next one in each area */
	bool failed; /* an entry could not be written; that was told */
	uint8_t bytes[RECORD_SLOT_BYTES];
};

/* Create the file, which must not exist, and take all the room that it will ever need. */
int record_open(struct session *session, struct hf_error *err);
void record_close(struct session *session);

/* Before any action of the row is done. was: the machine before its step. */
void record_source(struct session *session, const struct source *was, enum source_event event,
		   const struct source_row *row, bool unexpected);
void record_target(struct session *session, const struct target *was, enum target_event event,
		   const struct target_row *row, bool unexpected);

/* An event that was not given to the state machine. */
void record_dropped(struct session *session, uint32_t event, uint32_t happened_in, bool stale);

void record_event(struct session *session, const struct hf_event *event);

/* HELLO or ACCEPT came. */
void record_peer(struct session *session, const uint8_t id[16], const char *side);

#endif
