/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/policy.h"

#include <assert.h>

#define US_PER_S 1000000ull

/* bytes / rate in microseconds, without overflow; UINT64_MAX when there is no rate. */
static uint64_t time_of(uint64_t bytes, uint64_t bytes_per_second)
{
	if (!bytes)
		return 0;
	if (!bytes_per_second)
		return UINT64_MAX;
	if (bytes > UINT64_MAX / US_PER_S)
		return UINT64_MAX;
	return bytes * US_PER_S / bytes_per_second;
}

static uint32_t next_throttle(const struct policy_input *input)
{
	uint32_t percent = input->throttle_percent ? input->throttle_percent + POLICY_THROTTLE_STEP
						   : POLICY_THROTTLE_FIRST;

	return percent < input->throttle_max_percent ? percent : input->throttle_max_percent;
}

/*
 * A round was slow if what is left again is more than half of what it sent: then the rounds shrink
 * too slowly, or not at all.
 */
static bool was_slow(const struct policy_input *input)
{
	return input->dirty_bytes > input->round_sent_bytes / 2;
}

/*
 * It would fit, but one more round makes the stand-still a good deal shorter: the rounds still
 * halve what is left, so there are few of these, and each takes less time than the limit. Devices'
 * final data does not shrink by rounds.
 */
static bool is_worth_a_round(const struct policy_input *input)
{
	return time_of(input->dirty_bytes, input->bytes_per_second) > POLICY_SHORT_US &&
	       !was_slow(input) && input->elapsed_us < input->deadline_us;
}

struct policy_output policy_decide(const struct policy_input *input)
{
	struct policy_output output = { .verdict = POLICY_AGAIN };
	uint64_t left = input->dirty_bytes + input->device_bytes;

	assert(input->round > 0);
	if (left < input->dirty_bytes)
		left = UINT64_MAX;
	output.downtime_us = time_of(left, input->bytes_per_second);

	if (output.downtime_us <= input->downtime_us_max) {
		output.verdict = input->primed ? POLICY_SWITCH : POLICY_WAIT;
		if (output.verdict == POLICY_WAIT && input->elapsed_us >= input->deadline_us)
			output.verdict = POLICY_GIVE_UP;
		else if (output.verdict == POLICY_SWITCH && is_worth_a_round(input))
			output.verdict = POLICY_AGAIN;
		return output;
	}
	if (input->elapsed_us >= input->deadline_us) {
		output.verdict = POLICY_GIVE_UP;
		return output;
	}

	output.slow_rounds = was_slow(input) ? input->slow_rounds + 1 : 0;
	if (output.slow_rounds >= POLICY_SLOW_ROUNDS && input->throttle_max_percent < 100 &&
	    input->throttle_percent < input->throttle_max_percent) {
		output.verdict = POLICY_THROTTLE;
		output.throttle_percent = next_throttle(input);
		output.slow_rounds = 0;
	}
	return output;
}
