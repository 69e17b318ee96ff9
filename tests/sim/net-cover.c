/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which rows of the two tables were taken. The tables' own step functions are called through here
 * (--wrap), so that every row counts, and so that an event without a row is seen: between two
 * honest sides there is none.
 */
#include "net-cover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net-saboteur.h"
#include "net-world.h"

#define ROWS_MAX 512u

static uint32_t source_taken[ROWS_MAX], target_taken[ROWS_MAX];
static enum source_state source_state_now;

static uint32_t source_index(const struct source_row *row)
{
	uint32_t i = 0;

	while (source_row_at(i) && source_row_at(i) != row)
		i++;
	return i;
}

static uint32_t target_index(const struct target_row *row)
{
	uint32_t i = 0;

	while (target_row_at(i) && target_row_at(i) != row)
		i++;
	return i;
}

enum source_state cover_source_state(void)
{
	return source_state_now;
}

const struct source_row *__real_source_step(struct source *source, enum source_event event,
					    bool *ret_unexpected);
const struct source_row *__wrap_source_step(struct source *source, enum source_event event,
					    bool *ret_unexpected);

const struct source_row *__wrap_source_step(struct source *source, enum source_event event,
					    bool *ret_unexpected)
{
	enum source_state before = source->state;
	const struct source_row *row;

	event = saboteur_source(source, event);
	row = __real_source_step(source, event, ret_unexpected);
	if (*ret_unexpected && !source_ended(before))
		referee_fail("I10", "the source has no row for %s in %s", source_event_name(event),
			     source_state_name(before));
	if (source_index(row) < ROWS_MAX)
		source_taken[source_index(row)]++;
	source_state_now = row->next;
	if (row->next != before)
		run_came_to(SOURCE, row->next);
	return row;
}

const struct target_row *__real_target_step(struct target *target, enum target_event event,
					    bool *ret_unexpected);
const struct target_row *__wrap_target_step(struct target *target, enum target_event event,
					    bool *ret_unexpected);

const struct target_row *__wrap_target_step(struct target *target, enum target_event event,
					    bool *ret_unexpected)
{
	enum target_state before = target->state;
	const struct target_row *row;

	row = __real_target_step(target, event, ret_unexpected);
	if (*ret_unexpected && !target_ended(before))
		referee_fail("I10", "the target has no row for %s in %s", target_event_name(event),
			     target_state_name(before));
	if (target_index(row) < ROWS_MAX)
		target_taken[target_index(row)]++;
	world.target_has_it |= row->next == TARGET_RESUMING;
	if (row->next != before)
		run_came_to(TARGET, row->next);
	if (row->next == TARGET_LOADED && before != TARGET_LOADED)
		referee_loaded();
	return row;
}

/* ---- the sum ------------------------------------------------------------------------------- */

uint32_t cover_rows(uint32_t *ret_taken)
{
	uint32_t rows = 0;

	*ret_taken = 0;
	for (uint32_t i = 0; source_row_at(i); i++, rows++)
		*ret_taken += source_taken[i] != 0;
	for (uint32_t i = 0; target_row_at(i); i++, rows++)
		*ret_taken += target_taken[i] != 0;
	return rows;
}

void cover_missing(void (*each)(const char *name))
{
	char name[128];

	for (uint32_t i = 0; source_row_at(i); i++) {
		const struct source_row *row = source_row_at(i);

		(void)snprintf(name, sizeof(name), "source %s %s", source_state_name(row->state),
			       source_event_name(row->event));
		if (!source_taken[i])
			each(name);
	}
	for (uint32_t i = 0; target_row_at(i); i++) {
		const struct target_row *row = target_row_at(i);

		(void)snprintf(name, sizeof(name), "target %s %s", target_state_name(row->state),
			       target_event_name(row->event));
		if (!target_taken[i])
			each(name);
	}
}
