/* SPDX-License-Identifier: BSD-3-Clause */
/* What the recorder and replay know of this version's state machines (record-names.c). */
#ifndef ENGINE_RECORD_NAMES_H
#define ENGINE_RECORD_NAMES_H

#include <stdint.h>

#include "core/source.h"
#include "core/target.h"
#include "engine/record-format.h"

/* What a state machine remembers beside its state, as a slot has it; and back. */
uint8_t record_source_flags(const struct source *source);
uint8_t record_target_flags(const struct target *target);
struct source record_source_of(enum source_state state, uint8_t flags);
struct target record_target_of(enum target_state state, uint8_t flags);

/* The names of this version. */
void record_names_of(uint32_t role, struct record_names *ret_names);

#endif
