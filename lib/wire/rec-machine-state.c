/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-machine-state.h"

#include "wire/rec-body.h"

static bool valid(const struct rec_machine_state *state)
{
	return rec_name_valid(state->name, WIRE_SECTION_NAME_MAX);
}

/* docs/stream.md, section 5.6. */
int rec_machine_state_encode(const struct rec_machine_state *state, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(state) || state->data_length > WIRE_DATA_MAX)
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_MACHINE_STATE);
	wr_text(&wr, state->name, WIRE_SECTION_NAME_MAX);
	wr_u32(&wr, state->instance);
	wr_u32(&wr, state->version);
	wr_bytes(&wr, state->data, state->data_length);
	return rec_finish(&wr);
}

int rec_machine_state_decode(const void *body, size_t length, struct rec_machine_state *ret_state)
{
	struct rec_machine_state state;
	struct rd rd;

	rd_init(&rd, body, length);
	rd_text(&rd, state.name, WIRE_SECTION_NAME_MAX);
	state.instance = rd_u32(&rd);
	state.version = rd_u32(&rd);
	if (rd.left > WIRE_DATA_MAX)
		return -EMSGSIZE;
	state.data_length = (uint32_t)rd.left;
	state.data = rd_take(&rd, rd.left);
	if (!rd_done(&rd) || !valid(&state))
		return -EPROTO;
	*ret_state = state;
	return 0;
}
