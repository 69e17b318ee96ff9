/* SPDX-License-Identifier: BSD-3-Clause */
/* Where filters take effect: counting calls, being late. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "backend/filter/filter.h"
#include "base/time.h"

static int names(const struct filter_spec *spec, enum filter_object object, uint32_t index,
		 const char *role)
{
	if (spec->object != object)
		return 0;
	if (spec->has_index && spec->index != index)
		return 0;
	return !spec->role[0] || (role && strcmp(spec->role, role) == 0);
}

void filter_point_init(struct filter_point *point, const struct hf_filters *filters,
		       enum filter_object object, uint32_t index, const char *role)
{
	memset(point, 0, sizeof(*point));
	for (uint32_t i = 0; i < filters->count; i++)
		if (names(&filters->specs[i], object, index, role))
			point->specs[point->count++] = &filters->specs[i];
}

/* This is the delay that was asked for, not a wait for something to happen. */
static void be_late(uint32_t ms)
{
	uint64_t until_ns = time_now_ns() + ms * NS_PER_MS;
	struct timespec until = { .tv_sec = (time_t)(until_ns / NS_PER_S),
				  .tv_nsec = (long)(until_ns % NS_PER_S) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

const struct filter_spec *filter_strike(struct filter_point *point, uint32_t op, uint32_t state)
{
	const struct filter_spec *strikes = NULL;

	for (uint32_t i = 0; i < point->count; i++) {
		const struct filter_spec *spec = point->specs[i];
		uint64_t call;

		if (spec->op != op || (spec->has_state && spec->state != state))
			continue;
		if (spec->is_delay) {
			be_late(spec->delay_ms);
			continue;
		}
		call = __atomic_add_fetch(&point->calls[i], 1, __ATOMIC_RELAXED);
		if (!strikes && call >= spec->first && call <= spec->last)
			strikes = spec;
	}
	return strikes;
}

int filter_wants_state(const struct filter_point *point, uint32_t op)
{
	for (uint32_t i = 0; i < point->count; i++)
		if (point->specs[i]->op == op && point->specs[i]->has_state)
			return 1;
	return 0;
}
