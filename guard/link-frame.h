/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames of the link between guards: octets to structs and back (docs/guard-link.md, "Frames").
 * Pure. Decoding checks all that can be known without the state of the link.
 */
#ifndef GUARD_LINK_FRAME_H
#define GUARD_LINK_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define LINK_VERSION 1u
#define LINK_SECRET 16u
#define LINK_HEAD 8u /* type, length */
#define LINK_DATA_MAX (256u << 10) /* octets that one DATA carries */
#define LINK_FRAME_MAX 144u /* the longest frame, the octets of DATA not counted */
#define LINK_WINDOW_MIN 4096u
#define LINK_WINDOW_MAX (64u << 20)
#define LINK_SILENCE_MS_MIN 20u
#define LINK_SILENCE_MS_MAX 3600000u
#define LINK_OFFSET_MAX (UINT64_C(1) << 62)
#define LINK_TEXT_MAX 120
#define LINK_WHY_MAX 120 /* why a frame was refused */

enum link_frame_type {
	LINK_FRAME_HELLO = 1,
	LINK_FRAME_WELCOME = 2,
	LINK_FRAME_OVER = 3,
	LINK_FRAME_READY = 4,
	LINK_FRAME_OPEN = 5,
	LINK_FRAME_DATA = 6,
	LINK_FRAME_FIN = 7,
	LINK_FRAME_STATE = 8,
	LINK_FRAME_BEAT = 9,
	LINK_FRAME_TYPES = 10,
};

#define LINK_FIN_ABORTED 1u /* flags of FIN: the socket failed, it was not closed */
#define LINK_STATE_REFUSED 1u /* flags of STATE: what comes is thrown away */

/* What a type does not have is zero. */
struct link_frame {
	uint32_t type;
	uint32_t payload; /* DATA: so many octets come behind the frame */
	uint32_t kind, index, flags; /* OPEN, DATA, FIN, STATE */
	uint64_t offset; /* DATA, FIN; STATE: what has been received */
	uint64_t written; /* STATE */
	uint32_t silence_ms, connection, connections, attempt, window; /* HELLO, WELCOME */
	uint8_t source[LINK_SECRET], token[LINK_SECRET];
	int32_t code; /* OVER */
	char text[LINK_TEXT_MAX];
};

const char *link_frame_name(uint32_t type);

/* Returns the octets written to out, without those of DATA's payload. */
size_t link_frame_encode(const struct link_frame *frame, uint8_t out[LINK_FRAME_MAX]);

/*
 * Returns the octets of the frame without those of DATA's payload; 0: more are needed;
 * HF_E_PROTOCOL or HF_E_VERSION, and why. *ret is written on success only.
 */
int link_frame_decode(const uint8_t *bytes, size_t size, struct link_frame *ret,
		      char why[LINK_WHY_MAX]);

#endif
