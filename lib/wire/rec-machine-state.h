/* SPDX-License-Identifier: BSD-3-Clause */
/* MACHINE_STATE: one section of vCPU or platform state. docs/stream.md, section 5.6. */
#ifndef WIRE_REC_MACHINE_STATE_H
#define WIRE_REC_MACHINE_STATE_H

#include "wire/rec.h"

struct rec_machine_state {
	char name[WIRE_SECTION_NAME_MAX]; /* not empty */
	uint32_t instance;
	uint32_t version;
	const void *data; /* decoded: in the body */
	uint32_t data_length; /* 0..WIRE_DATA_MAX */
};

int rec_machine_state_encode(const struct rec_machine_state *state, void *buf, size_t capacity);
int rec_machine_state_decode(const void *body, size_t length, struct rec_machine_state *ret_state);

#endif
