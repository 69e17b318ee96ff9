/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records of machine state and of devices' configuration, as they come: collected in the arena
 * until everything is there.
 */
#include <string.h>

#include "base/error.h"
#include "engine/actions.h"

static int collect(struct session *session, const struct arena_item *item, const void *data,
		   struct hf_error *err)
{
	struct arena *arena = &session->arena;

	if (arena->count == STATE_SECTIONS_MAX || item->length > STATE_ARENA_BYTES - arena->used)
		return error_set(err, HF_E_NO_MEMORY, 0,
				 "the source's machine state is more than %u bytes or %u sections",
				 STATE_ARENA_BYTES, STATE_SECTIONS_MAX);
	memcpy(arena->bytes + arena->used, data, item->length);
	arena->items[arena->count] = *item;
	arena->items[arena->count].offset = arena->used;
	arena->count++;
	arena->used += (item->length + 7u) & ~7u;
	if (arena->used > STATE_ARENA_BYTES)
		arena->used = STATE_ARENA_BYTES;
	return 0;
}

static int take_machine_state(struct session *session, struct hf_error *err)
{
	struct rec_machine_state state;
	struct arena_item item = { .device = UINT32_MAX };

	if (rec_machine_state_decode(session->frame.body, session->frame.record.length, &state) < 0)
		return error_set(err, HF_E_PROTOCOL, 0, "MACHINE_STATE does not decode");
	memcpy(item.section.name, state.name, sizeof(item.section.name));
	item.section.instance = state.instance;
	item.section.version = state.version;
	item.section.length = item.length = state.data_length;
	return collect(session, &item, state.data, err);
}

static int take_device_config(struct session *session, struct hf_error *err)
{
	struct rec_device_config config;
	struct arena_item item = { 0 };

	if (rec_device_config_decode(session->frame.body, session->frame.record.length, &config) <
	    0)
		return error_set(err, HF_E_PROTOCOL, 0, "DEVICE_CONFIG does not decode");
	item.device = config.device;
	item.length = config.data_length;
	return collect(session, &item, config.data, err);
}

/* The record in session->frame, a MACHINE_STATE or a DEVICE_CONFIG. */
int state_take(struct session *session, struct hf_error *err)
{
	if (session->frame.record.type == REC_DEVICE_CONFIG)
		return take_device_config(session, err);
	return take_machine_state(session, err);
}
