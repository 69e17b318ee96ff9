/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan against the base arcs themselves (vfio uAPI, per flag set): a search over them, written
 * here and nowhere else, says what the kernel would walk for each request.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <holdfast/device.h>
#include <holdfast/error.h>

#include "core/device-plan.h"
#include "device-arcs.h"

static const uint32_t flag_sets[] = { 1, 3, 5, 7 };

static int runs(uint32_t s)
{
	return s == HF_DEVICE_RUNNING || s == HF_DEVICE_RUNNING_P2P || s == HF_DEVICE_PRE_COPY ||
	       s == HF_DEVICE_PRE_COPY_P2P;
}

static int may_start_p2p(uint32_t s)
{
	return s == HF_DEVICE_RUNNING || s == HF_DEVICE_PRE_COPY;
}

/* What a goal means, in words of its own. */
static int reached(uint32_t flags, uint32_t s, enum device_goal goal)
{
	switch (goal) {
	case DEVICE_GOAL_PRE_COPY:
		return flags & HF_MIG_PRE_COPY ? s == HF_DEVICE_PRE_COPY || s == HF_DEVICE_STOP
					       : runs(s) || s == HF_DEVICE_STOP;
	case DEVICE_GOAL_QUIET:
		return flags & HF_MIG_P2P ? !may_start_p2p(s) : 1;
	case DEVICE_GOAL_STOP_COPY:
		return s == HF_DEVICE_STOP_COPY;
	case DEVICE_GOAL_RESUMING:
		return s == HF_DEVICE_RESUMING;
	case DEVICE_GOAL_STOP:
		return s == HF_DEVICE_STOP;
	case DEVICE_GOAL_RUNNING_P2P:
		return flags & HF_MIG_P2P ? runs(s) && s != HF_DEVICE_PRE_COPY_P2P
					  : runs(s) || s == HF_DEVICE_STOP;
	case DEVICE_GOAL_RUNNING:
		return s == HF_DEVICE_RUNNING;
	}
	return 0;
}

/* Goals that have a way from a state, other than by reset. */
static int reachable(uint32_t from, enum device_goal goal)
{
	int saves = from == HF_DEVICE_STOP_COPY || from == HF_DEVICE_PRE_COPY ||
		    from == HF_DEVICE_PRE_COPY_P2P;

	if (from == HF_DEVICE_RESUMING)
		return goal == DEVICE_GOAL_RESUMING || goal == DEVICE_GOAL_STOP;
	if (goal == DEVICE_GOAL_RESUMING)
		return !saves;
	if (goal == DEVICE_GOAL_PRE_COPY)
		return from != HF_DEVICE_STOP_COPY;
	return 1;
}

/* A goal on the way down never lets a device run that did not; all walk only legal arcs. */
static void check_walk(uint32_t flags, uint32_t from, uint32_t to, enum device_goal goal)
{
	uint32_t path[ARCS_PATH_MAX];
	int n = arcs_path(flags, from, to, path);
	int down = goal == DEVICE_GOAL_QUIET || goal == DEVICE_GOAL_STOP_COPY ||
		   goal == DEVICE_GOAL_STOP || goal == DEVICE_GOAL_RESUMING;
	uint32_t at = from;

	assert_true(n > 0);
	assert_false(from == HF_DEVICE_STOP_COPY &&
		     (to == HF_DEVICE_PRE_COPY || to == HF_DEVICE_PRE_COPY_P2P));
	if (from == HF_DEVICE_RESUMING)
		assert_int_equal(to, HF_DEVICE_STOP); /* the arc that checks, by itself */
	for (int i = 0; i < n; i++) {
		if (down) {
			assert_false(!runs(at) && runs(path[i]));
			assert_false(!may_start_p2p(at) && may_start_p2p(path[i]));
		}
		if (i + 1 < n) /* what is passed without asking never runs the device */
			assert_false(path[i] == HF_DEVICE_RUNNING);
		at = path[i];
	}
	/* One arc at a time, but where no other device and no check can be in between. */
	if (goal != DEVICE_GOAL_STOP_COPY && goal != DEVICE_GOAL_RESUMING)
		assert_int_equal(n, 1);
	if (down && !arcs_saves(from)) /* no detour: what would be saved there is not wanted */
		assert_true(to != HF_DEVICE_PRE_COPY && to != HF_DEVICE_PRE_COPY_P2P);
	if (goal == DEVICE_GOAL_RUNNING_P2P && (flags & HF_MIG_P2P) && !runs(from))
		assert_true(to == HF_DEVICE_STOP || to == HF_DEVICE_RUNNING_P2P);
}

static void every_goal_is_reached_by_legal_arcs_that_run_nothing_by_accident(void **state)
{
	(void)state;
	for (size_t f = 0; f < sizeof(flag_sets) / sizeof(flag_sets[0]); f++) {
		for (uint32_t s = 1; s < HF_DEVICE_STATE_COUNT; s++) {
			if (!hf_device_has_state(flag_sets[f], s))
				continue;
			for (unsigned int g = 0; g < DEVICE_GOAL_COUNT; g++) {
				uint32_t at = s, request = 0;
				int r = 0;

				for (int i = 0; i < 5; i++) {
					r = device_plan(flag_sets[f], at, (enum device_goal)g,
							&request);
					if (r != 1)
						break;
					assert_true(hf_device_has_state(flag_sets[f], request));
					check_walk(flag_sets[f], at, request, (enum device_goal)g);
					at = request;
				}
				if (!reachable(s, (enum device_goal)g)) {
					assert_int_equal(r, HF_E_DEVICE_STATE);
					assert_int_equal(at, s);
					continue;
				}
				assert_int_equal(r, 0);
				assert_true(reached(flag_sets[f], at, (enum device_goal)g));
			}
		}
	}
}

static void a_goal_that_is_reached_is_left_alone(void **state)
{
	(void)state;
	for (size_t f = 0; f < sizeof(flag_sets) / sizeof(flag_sets[0]); f++)
		for (uint32_t s = 1; s < HF_DEVICE_STATE_COUNT; s++)
			for (unsigned int g = 0; g < DEVICE_GOAL_COUNT; g++) {
				uint32_t request = 99;

				/* On the way up and for PRE_COPY, running P2P devices move on. */
				if (!hf_device_has_state(flag_sets[f], s) ||
				    !reachable(s, (enum device_goal)g) ||
				    !reached(flag_sets[f], s, (enum device_goal)g) ||
				    (g == DEVICE_GOAL_PRE_COPY && s == HF_DEVICE_RUNNING_P2P))
					continue;
				assert_int_equal(
					device_plan(flag_sets[f], s, (enum device_goal)g, &request),
					0);
				assert_int_equal(request, 99);
			}
}

static void a_device_in_error_is_lost_and_foreign_states_are_refused(void **state)
{
	uint32_t request = 99;

	(void)state;
	for (unsigned int g = 0; g < DEVICE_GOAL_COUNT; g++) {
		assert_int_equal(device_plan(7, HF_DEVICE_ERROR, (enum device_goal)g, &request),
				 HF_E_DEVICE_LOST);
		assert_int_equal(device_plan(7, 8, (enum device_goal)g, &request),
				 HF_E_DEVICE_STATE);
		assert_int_equal(device_plan(7, UINT32_MAX, (enum device_goal)g, &request),
				 HF_E_DEVICE_STATE);
		assert_int_equal(
			device_plan(1, HF_DEVICE_RUNNING_P2P, (enum device_goal)g, &request),
			HF_E_DEVICE_STATE);
		assert_int_equal(device_plan(3, HF_DEVICE_PRE_COPY, (enum device_goal)g, &request),
				 HF_E_DEVICE_STATE);
	}
	assert_int_equal(request, 99);
}

static void undo_stops_at_the_barrier_between_its_two_goals(void **state)
{
	uint32_t request = 0;

	(void)state;
	assert_int_equal(device_plan(7, HF_DEVICE_STOP_COPY, DEVICE_GOAL_RUNNING_P2P, &request), 1);
	assert_int_equal(request, HF_DEVICE_STOP);
	assert_int_equal(device_plan(7, HF_DEVICE_STOP, DEVICE_GOAL_RUNNING_P2P, &request), 1);
	assert_int_equal(request, HF_DEVICE_RUNNING_P2P);
	assert_int_equal(device_plan(7, request, DEVICE_GOAL_RUNNING_P2P, &request), 0);
	assert_int_equal(device_plan(7, request, DEVICE_GOAL_RUNNING, &request), 1);
	assert_int_equal(request, HF_DEVICE_RUNNING);
	/* Without P2P states it waits in STOP until the others are ready. */
	assert_int_equal(device_plan(5, HF_DEVICE_STOP, DEVICE_GOAL_RUNNING_P2P, &request), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_goal_is_reached_by_legal_arcs_that_run_nothing_by_accident),
		cmocka_unit_test(a_goal_that_is_reached_is_left_alone),
		cmocka_unit_test(a_device_in_error_is_lost_and_foreign_states_are_refused),
		cmocka_unit_test(undo_stops_at_the_barrier_between_its_two_goals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
