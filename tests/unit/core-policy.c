/* SPDX-License-Identifier: BSD-3-Clause */
/* When to switch over, wait, throttle and give up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/policy.h"

#define MIB (1ull << 20)

/* 1 GiB/s, 100 ms allowed: 102.4 MiB fit. */
static const struct policy_input base = {
	.bytes_per_second = 1024 * MIB,
	.downtime_us_max = 100000,
	.elapsed_us = 1000000,
	.deadline_us = 60000000,
	.round_sent_bytes = 4096 * MIB,
	.round = 1,
	.throttle_max_percent = 99,
	.primed = true,
};

static enum policy_verdict verdict_of(uint64_t dirty_mib, uint64_t device_mib)
{
	struct policy_input input = base;

	input.dirty_bytes = dirty_mib * MIB;
	input.device_bytes = device_mib * MIB;
	input.round_sent_bytes = input.dirty_bytes; /* more rounds would not help */
	return policy_decide(&input).verdict;
}

static void what_fits_is_switched_over_and_one_more_is_not(void **state)
{
	struct policy_input input = base;

	(void)state;
	assert_int_equal(verdict_of(102, 0), POLICY_SWITCH);
	assert_int_equal(verdict_of(103, 0), POLICY_AGAIN);
	assert_int_equal(verdict_of(0, 0), POLICY_SWITCH);
	input.dirty_bytes = 100 * MIB;
	assert_int_equal(policy_decide(&input).downtime_us, 97656);
	input.bytes_per_second = 0; /* nothing is known: only nothing fits */
	assert_int_equal(policy_decide(&input).verdict, POLICY_AGAIN);
	input.dirty_bytes = 0;
	assert_int_equal(policy_decide(&input).verdict, POLICY_SWITCH);
}

static void what_fits_and_still_shrinks_is_worth_a_round(void **state)
{
	struct policy_input input = base;

	(void)state;
	input.dirty_bytes = 100 * MIB;
	input.round_sent_bytes = 200 * MIB;
	assert_int_equal(policy_decide(&input).verdict, POLICY_AGAIN);
	assert_int_equal(policy_decide(&input).slow_rounds, 0);
	input.round_sent_bytes = 200 * MIB - 2;
	assert_int_equal(policy_decide(&input).verdict, POLICY_SWITCH);

	input.round_sent_bytes = 4096 * MIB;
	input.elapsed_us = input.deadline_us; /* no time for it */
	assert_int_equal(policy_decide(&input).verdict, POLICY_SWITCH);
	input.elapsed_us = 0;
	input.primed = false; /* these are waited for as before */
	assert_int_equal(policy_decide(&input).verdict, POLICY_WAIT);

	input = base;
	input.dirty_bytes = 10 * MIB; /* 9.8 ms: not worth it */
	assert_int_equal(policy_decide(&input).verdict, POLICY_SWITCH);
	input.dirty_bytes = 11 * MIB;
	assert_int_equal(policy_decide(&input).verdict, POLICY_AGAIN);
	input.dirty_bytes = 0; /* rounds do not shrink what devices have */
	input.device_bytes = 100 * MIB;
	assert_int_equal(policy_decide(&input).verdict, POLICY_SWITCH);
}

static void devices_count_like_memory(void **state)
{
	(void)state;
	assert_int_equal(verdict_of(50, 52), POLICY_SWITCH);
	assert_int_equal(verdict_of(50, 53), POLICY_AGAIN);
	assert_int_equal(verdict_of(0, 1 << 20), POLICY_AGAIN);
}

static void devices_that_are_not_primed_are_waited_for_up_to_the_deadline(void **state)
{
	struct policy_input input = base;

	(void)state;
	input.primed = false;
	assert_int_equal(policy_decide(&input).verdict, POLICY_WAIT);
	input.elapsed_us = input.deadline_us;
	assert_int_equal(policy_decide(&input).verdict, POLICY_GIVE_UP);
}

static void the_deadline_never_switches_over(void **state)
{
	struct policy_input input = base;

	(void)state;
	input.dirty_bytes = 2048 * MIB;
	input.elapsed_us = input.deadline_us - 1;
	assert_int_equal(policy_decide(&input).verdict, POLICY_AGAIN);
	input.elapsed_us = input.deadline_us;
	assert_int_equal(policy_decide(&input).verdict, POLICY_GIVE_UP);
	input.dirty_bytes = 0; /* but what fits, fits */
	assert_int_equal(policy_decide(&input).verdict, POLICY_SWITCH);
}

static void slow_rounds_throttle_stepwise_up_to_the_limit(void **state)
{
	struct policy_input input = base;
	struct policy_output output;
	uint32_t steps = 0, last = 0;

	(void)state;
	input.dirty_bytes = input.round_sent_bytes; /* as much again as was sent */
	for (int i = 0; i < 40; i++) {
		output = policy_decide(&input);
		input.slow_rounds = output.slow_rounds;
		if (output.verdict != POLICY_THROTTLE)
			continue;
		assert_true(output.throttle_percent > last);
		assert_true(output.throttle_percent <= 99);
		last = input.throttle_percent = output.throttle_percent;
		steps++;
	}
	assert_int_equal(steps, 9); /* 20, 30, ... 90, 99 */
	assert_int_equal(last, 99);

	input.throttle_percent = 0;
	input.slow_rounds = POLICY_SLOW_ROUNDS;
	input.throttle_max_percent = 100; /* never */
	assert_int_equal(policy_decide(&input).verdict, POLICY_AGAIN);
}

static void rounds_that_shrink_are_not_slow(void **state)
{
	struct policy_input input = base;

	(void)state;
	input.slow_rounds = POLICY_SLOW_ROUNDS - 1;
	input.dirty_bytes = input.round_sent_bytes / 4;
	assert_int_equal(policy_decide(&input).verdict, POLICY_AGAIN);
	assert_int_equal(policy_decide(&input).slow_rounds, 0);
}

static void numbers_at_their_end_do_not_wrap(void **state)
{
	struct policy_input input = base;

	(void)state;
	input.dirty_bytes = UINT64_MAX;
	input.device_bytes = UINT64_MAX;
	assert_int_equal(policy_decide(&input).downtime_us, UINT64_MAX);
	assert_int_not_equal(policy_decide(&input).verdict, POLICY_SWITCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fits_is_switched_over_and_one_more_is_not),
		cmocka_unit_test(what_fits_and_still_shrinks_is_worth_a_round),
		cmocka_unit_test(devices_count_like_memory),
		cmocka_unit_test(devices_that_are_not_primed_are_waited_for_up_to_the_deadline),
		cmocka_unit_test(the_deadline_never_switches_over),
		cmocka_unit_test(slow_rounds_throttle_stepwise_up_to_the_limit),
		cmocka_unit_test(rounds_that_shrink_are_not_slow),
		cmocka_unit_test(numbers_at_their_end_do_not_wrap),
	};

	return cmocka_run_group_tests_name("core-policy", tests, NULL, NULL);
}
