/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This version's state machines, as recordings tell of them: the names of what slots have as
 * numbers, and what a machine remembers beside its state.
 */
#include "engine/record-names.h"

#include <stdio.h>
#include <string.h>

#include <holdfast/session.h>

_Static_assert(sizeof(struct source) == sizeof(enum source_state) + 4 &&
		       sizeof(struct target) == sizeof(enum target_state) + 4,
	       "a new member of the state machines has to be recorded: the flags below");

uint8_t record_source_flags(const struct source *source)
{
	return (uint8_t)((source->stopped ? 1u : 0u) | (source->exposed ? 2u : 0u));
}

uint8_t record_target_flags(const struct target *target)
{
	return (uint8_t)((target->proved ? 1u : 0u) | (target->claimed ? 2u : 0u) |
			 (target->started ? 4u : 0u));
}

struct source record_source_of(enum source_state state, uint8_t flags)
{
	return (struct source){ .state = state, .stopped = flags & 1u, .exposed = flags & 2u };
}

struct target record_target_of(enum target_state state, uint8_t flags)
{
	return (struct target){
		.state = state, .proved = flags & 1u, .claimed = flags & 2u, .started = flags & 4u
	};
}

static void add_name(struct record_names *names, enum record_name kind, const char *name)
{
	uint32_t index = names->count[kind]++;

	(void)snprintf(names->text[kind][index], RECORD_NAME_MAX, "%s", name);
}

_Static_assert(SOURCE_STATE_COUNT <= RECORD_NAMES_MAX && SOURCE_EVENT_COUNT <= RECORD_NAMES_MAX &&
		       SOURCE_ACTION_COUNT <= RECORD_NAMES_MAX &&
		       TARGET_STATE_COUNT <= RECORD_NAMES_MAX &&
		       TARGET_EVENT_COUNT <= RECORD_NAMES_MAX &&
		       TARGET_ACTION_COUNT <= RECORD_NAMES_MAX,
	       "the header of a recording holds 64 names of a kind");
_Static_assert(SOURCE_ACTIONS_MAX == RECORD_ACTIONS_MAX && TARGET_ACTIONS_MAX == RECORD_ACTIONS_MAX,
	       "a slot holds the actions of a row");

void record_names_of(uint32_t role, struct record_names *ret_names)
{
	memset(ret_names, 0, sizeof(*ret_names));
	if (role == HF_ROLE_SOURCE) {
		for (uint32_t i = 0; i < SOURCE_STATE_COUNT; i++)
			add_name(ret_names, RECORD_STATE, source_state_name((enum source_state)i));
		for (uint32_t i = 0; i < SOURCE_EVENT_COUNT; i++)
			add_name(ret_names, RECORD_EVENT, source_event_name((enum source_event)i));
		for (uint32_t i = 0; i < SOURCE_ACTION_COUNT; i++)
			add_name(ret_names, RECORD_ACTION,
				 source_action_name((enum source_action)i));
		return;
	}
	for (uint32_t i = 0; i < TARGET_STATE_COUNT; i++)
		add_name(ret_names, RECORD_STATE, target_state_name((enum target_state)i));
	for (uint32_t i = 0; i < TARGET_EVENT_COUNT; i++)
		add_name(ret_names, RECORD_EVENT, target_event_name((enum target_event)i));
	for (uint32_t i = 0; i < TARGET_ACTION_COUNT; i++)
		add_name(ret_names, RECORD_ACTION, target_action_name((enum target_action)i));
}
