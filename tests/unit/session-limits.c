/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions at their limits: of devices, of time, of what a stand-still may cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/session.h"
#include "session-fixture.h"

/* All are primed while the control connection is slow: what there is to say waits its turn. */
static void test_as_many_devices_as_there_may_be_are_primed_at_once(void **state)
{
	struct pair_config config = { .memory_bytes = 1 << 20,
				      .device_count = HF_DEVICES_MAX,
				      .device_uri = "sim:state=4K",
				      .channels = 2,
				      .target_filter = "delay:channel[control].send:15" };
	struct pair pair;

	(void)state;
	pair_init(&pair, &config);
	pair_run(&pair);
	pair_assert_moved(&pair);
	pair_done(&pair);
}

/* It says how large its state is, though it has none to give before it stands still. */
static void test_a_device_without_precopy_counts_for_the_stand_still(void **state)
{
	struct pair_config config = { .memory_bytes = 1 << 20,
				      .device_count = 1,
				      .device_uri = "sim:state=16M,flags=3",
				      .channels = 1 };
	struct pair pair;

	(void)state;
	pair_init(&pair, &config);
	pair.source.config.bandwidth_bytes_max = 16 << 20; /* a second for the device alone */
	pair.source.config.downtime_us_max = 200000;
	pair.source.config.deadline_us = 500000;
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_int_equal(pair.source.error.code, HF_E_NOT_CONVERGED);
	assert_false(side_saw(&pair.source, HF_TRACE_TRANSITION, "-> QUIETING"));
	pair_done(&pair);
}

/* The link is limited until it was measured for the first time. */
static void unlimit(struct side *side, const struct hf_event *event)
{
	struct session *session = (struct session *)side->session;

	if (event->id == HF_TRACE_ESTIMATE)
		session->config.bandwidth_bytes_max = 0; /* no worker sends between two rounds */
}

/* A slow moment in the only large round: the guest is idle then, and the link long fast again. */
static void test_a_link_that_was_slow_once_is_measured_again(void **state)
{
	struct pair_config config = { .memory_bytes = 64 << 20,
				      .device_count = 1,
				      .device_uri = "sim:state=16M,flags=3",
				      .channels = 1 };
	struct pair pair;
	uint32_t rounds = 0;

	(void)state;
	pair_init(&pair, &config);
	pair.source.config.bandwidth_bytes_max = 30 << 20;
	pair.source.config.downtime_us_max = 200000; /* 80 MB/s for the device alone */
	pair.source.on_trace = unlimit;
	pair_run(&pair);
	pair_assert_moved(&pair);
	for (uint32_t i = 0; i < pair.source.trace_count; i++)
		rounds += pair.source.trace[i].id == HF_TRACE_ROUND;
	assert_true(rounds < 200); /* and meanwhile it does not spin */
	pair_done(&pair);
}

static void test_a_machine_whose_table_has_a_hole_is_refused(void **state)
{
	struct hf_machine_ops ops;
	struct hf_session *session = NULL;
	struct hf_error err = { 0 };
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20 });
	ops = *pair.source.config.machine.ops;
	ops.throttle = NULL;
	pair.source.config.machine.ops = &ops;
	assert_int_equal(hf_session_new(&pair.source.config, &session, &err), HF_E_INVALID);
	assert_non_null(strstr(err.text, "machine"));
	ops = *pair.target.config.machine.ops;
	ops.size = 8; /* built with a header of long ago */
	assert_int_equal(hf_session_new(&pair.source.config, &session, &err), HF_E_INVALID);
	assert_null(session);
	pair_done(&pair);
}

/* Nobody else can run it: that it takes longer than it should is said, and no reason to stop. */
static void test_vcpus_that_are_slow_to_run_are_waited_for(void **state)
{
	struct pair_config config = { .memory_bytes = 1 << 20,
				      .channels = 1,
				      .target_filter = "delay:machine.run:900" };
	struct pair pair;

	(void)state;
	pair_init(&pair, &config);
	pair.target.config.arc_us_max = 300000;
	pair_run(&pair);
	pair_assert_moved(&pair);
	assert_true(side_saw(&pair.target, HF_TRACE_WAITING, "vCPUs to run"));
	pair_done(&pair);
}

/* The source's clock, when it has read STARTED. */
static void note_started(struct side *side, const struct hf_event *event)
{
	if (event->id == HF_TRACE_RECORD_RECV && strcmp(event->text, "STARTED") == 0)
		atomic_store((atomic_bool *)side->on_trace_ctx, true);
}

/* The target's end: it may not be before that. */
static void check_heard(struct side *side, const struct hf_event *event)
{
	atomic_bool *heard = side->on_trace_ctx;

	if (event->id == HF_TRACE_OUTCOME && !atomic_load(heard))
		side->was_run = false; /* pair_assert_moved() wants it to have been */
}

/* Whoever closes with something unread takes back what the peer has not read yet. */
static void test_a_target_has_not_ended_before_its_last_word_was_heard(void **state)
{
	struct pair_config config = { .memory_bytes = 1 << 20,
				      .channels = 1,
				      .source_filter = "delay:channel[control].recv:300" };
	struct pair pair;
	atomic_bool heard = false;

	(void)state;
	pair_init(&pair, &config);
	pair.source.on_trace = note_started;
	pair.target.on_trace = check_heard;
	pair.source.on_trace_ctx = pair.target.on_trace_ctx = &heard;
	pair_run(&pair);
	pair_assert_moved(&pair);
	assert_true(atomic_load(&heard));
	assert_true(pair.target.was_run);
	pair_done(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_many_devices_as_there_may_be_are_primed_at_once),
		cmocka_unit_test(test_a_device_without_precopy_counts_for_the_stand_still),
		cmocka_unit_test(test_a_link_that_was_slow_once_is_measured_again),
		cmocka_unit_test(test_a_machine_whose_table_has_a_hole_is_refused),
		cmocka_unit_test(test_vcpus_that_are_slow_to_run_are_waited_for),
		cmocka_unit_test(test_a_target_has_not_ended_before_its_last_word_was_heard),
	};

	return cmocka_run_group_tests_name("session-limits", tests, NULL, NULL);
}
