/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whatever fails, and whenever: exactly one side has the guest at the end, whole, and both sides
 * can say why. Faults come from the shipped filters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "session-fixture.h"

static const struct pair_config small = {
	.memory_bytes = 4 << 20,
	.device_count = 2,
	.channels = 2,
};

static void run_with(struct pair *pair, const char *source, const char *target)
{
	struct pair_config config = small;

	config.source_filter = source;
	config.target_filter = target;
	pair_init(pair, &config);
	pair->source.config.wait_us_max = pair->target.config.wait_us_max = 3 * 1000000;
	pair->target.config.listen_us_max = 1000000; /* some never call */
	pair_run(pair);
}

/* One of the promised ends: P1 and P2. Returns whether the guest moved. */
static bool assert_promised(struct pair *pair, const char *what)
{
	const struct side *source = &pair->source, *target = &pair->target;
	bool moved = source->outcome == HF_OUTCOME_AWAY;

	if (moved ? target->outcome != HF_OUTCOME_RUNNING
		  : source->outcome != HF_OUTCOME_HOME || target->outcome != HF_OUTCOME_FAILED) {
		pair_print(pair);
		fail_msg("%s: source %s, target %s", what, hf_outcome_name(source->outcome),
			 hf_outcome_name(target->outcome));
	}
	if (moved) {
		pair_assert_moved(pair);
		assert_false(source->was_run);
	} else {
		pair_assert_home(pair);
		assert_true(source->error.code < 0 && source->error.text[0]);
		assert_true(target->error.code < 0 && target->error.text[0]);
	}
	return moved;
}

static void damaged_device_data_never_reaches_stop(void **state)
{
	static const char *const actions[] = { "cut", "flip", "repeat", "extra", "foreign" };
	struct pair_config config = small;

	(void)state;
	config.device_uri = "sim:state=64K,flags=3";
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		for (int at = 0; at < 2; at++) {
			struct pair pair;
			char spec[80];

			/* At the target, between the stream and the device; the stream is whole. */
			(void)snprintf(spec, sizeof(spec), "fault:device[%d].write_data:%d:%s", at,
				       1 + at, actions[i]);
			if (strcmp(actions[i], "cut") == 0)
				continue; /* a write has no end to pretend */
			run_with(&pair, NULL, spec);
			assert_false(assert_promised(&pair, spec));
			pair_done(&pair);
		}
	}
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		struct pair pair;
		char spec[80];

		/* At the source, between the device and the stream. In PRE_COPY an early end is
		 * only one for now; so it is for a device that has none. */
		(void)snprintf(spec, sizeof(spec), "fault:device[1].read_data:1:%s", actions[i]);
		config.source_filter = spec;
		pair_init(&pair, &config);
		pair_run(&pair);
		assert_false(assert_promised(&pair, spec));
		assert_non_null(strstr(pair.source.error.text, "device 1 (sim1)"));
		pair_done(&pair);
	}
}

/* The n-th operation fails, for each n up to the limit; "%u" in the specification is the n. */
static unsigned int sweep(const char *format, bool at_source, unsigned int limit)
{
	const char *hole = strstr(format, "%u");
	unsigned int failed = 0;

	assert_non_null(hole);

	for (unsigned int n = 1; n <= limit; n++) {
		struct pair pair;
		char spec[96];

		(void)snprintf(spec, sizeof(spec), "%.*s%u%s", (int)(hole - format), format, n,
			       hole + 2);
		run_with(&pair, at_source ? spec : NULL, at_source ? NULL : spec);
		if (!assert_promised(&pair, spec))
			failed++;
		pair_done(&pair);
	}
	return failed;
}

static void a_connection_lost_anywhere_leaves_one_owner(void **state)
{
	(void)state;
	/* A session of this size sends 12 records on each control connection at most. */
	assert_true(sweep("fault:channel[control].send:%u:close", true, 13) >= 10);
	assert_true(sweep("fault:channel[control].send:%u:close", false, 7) >= 4);
	(void)sweep("fault:channel[control].send:%u:after", true, 13);
	(void)sweep("fault:channel[control].send:%u:after", false, 7);
	/* How many records one recv brings is the host's business. */
	assert_true(sweep("fault:channel[control].recv:%u:close", true, 6) >= 1);
	assert_true(sweep("fault:channel[control].recv:%u:close", false, 6) >= 1);
	assert_true(sweep("fault:channel[bulk].send:%u:close", true, 8) == 8);
	assert_true(sweep("fault:channel[bulk].recv:%u:close", false, 8) == 8);
}

static void each_device_operation_may_fail(void **state)
{
	static const char *const operations[] = {
		"set_state",   "read_data",  "write_data", "precopy_info",
		"dirty_start", "dirty_read", "data_size",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		char format[64];

		(void)snprintf(format, sizeof(format), "fault:device[1].%s:%%u:EIO", operations[i]);
		(void)sweep(format, true, 4);
		(void)sweep(format, false, 4);
	}
	/* The first look at its state is the session's creation, which refuses. */
	(void)sweep("fault:device[1].get_state:1%u:EIO", true, 9);
}

static void each_operation_of_machine_and_memory_may_fail(void **state)
{
	(void)state;
	assert_int_equal(sweep("fault:machine.describe:%u", true, 2), 1);
	assert_int_equal(sweep("fault:machine.check:%u", false, 2), 1);
	assert_int_equal(sweep("fault:machine.stop:%u", true, 2), 1);
	assert_int_equal(sweep("fault:machine.state_save:%u", true, 6), 4);
	assert_int_equal(sweep("fault:machine.state_load:%u", false, 5), 3);
	assert_int_equal(sweep("fault:machine.state_check:%u", false, 2), 1);
	assert_int_equal(sweep("fault:machine.device_save:%u", true, 4), 2);
	assert_int_equal(sweep("fault:machine.device_load:%u", false, 4), 2);
	assert_int_equal(sweep("fault:memory.dirty_start:%u:ENOMEM", true, 2), 1);
	assert_true(sweep("fault:memory.dirty_sync:%u:EIO", true, 4) >= 2);
	assert_true(sweep("fault:memory.dirty_read:%u:EIO", true, 4) >= 2);
}

static void a_ledger_that_fails_once_changes_no_end(void **state)
{
	(void)state;
	(void)sweep("fault:ledger.read:%u:EIO", true, 4);
	(void)sweep("fault:ledger.swap:%u:EIO", true, 4);
	(void)sweep("fault:ledger.read:%u:EIO", false, 4);
	(void)sweep("fault:ledger.swap:%u:EIO", false, 4);
	(void)sweep("fault:ledger.swap:%u:after", true, 4);
	(void)sweep("fault:ledger.swap:%u:after", false, 4);
}

static void cancel_at(struct side *side, const struct hf_event *event)
{
	if (event->id == HF_TRACE_TRANSITION && event->arg[1] == (uintptr_t)side->on_trace_ctx)
		(void)hf_session_cancel(side->session);
}

/* In each state of the source, and of the target: taken back, or too late and moved. */
static void cancel_in_each_state_ends_as_promised(void **state)
{
	(void)state;
	for (int target = 0; target < 2; target++) {
		for (uintptr_t at = 1; at < 16; at++) {
			struct pair pair;
			struct side *side;
			char what[32];

			if (target && at == 1)
				continue; /* it listens before it is driven */
			pair_init(&pair, &small);
			pair.target.config.listen_us_max = 4000000;
			side = target ? &pair.target : &pair.source;
			side->on_trace = cancel_at;
			side->on_trace_ctx = (void *)at;
			pair_run(&pair);
			(void)snprintf(what, sizeof(what), "%s cancelled in state %u", side->label,
				       (unsigned int)at);
			if (!assert_promised(&pair, what)) {
				bool met = side_saw(&pair.target, HF_TRACE_TRANSITION, "GREETING");

				assert_int_equal(pair.source.error.code, HF_E_CANCELLED);
				assert_int_equal(pair.target.error.code,
						 met ? HF_E_CANCELLED : HF_E_DEADLINE);
			}
			pair_done(&pair);
		}
	}
}

static void a_refusal_before_the_guest_is_touched_names_the_culprit(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &small);
	pair.target.shape = "another machine";
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_int_equal(pair.source.error.code, HF_E_MISMATCH);
	assert_non_null(strstr(pair.source.error.text, "the shape is a machine"));
	assert_false(side_saw(&pair.source, HF_TRACE_DEVICE_ARC, NULL));
	pair_done(&pair);

	pair_init(&pair, &small);
	pair.target.config.device_count = 1;
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_non_null(strstr(pair.source.error.text, "2 devices"));
	pair_done(&pair);

	pair_init(&pair, &small);
	(void)snprintf(pair.target.config.ledger.uri, sizeof(pair.target.config.ledger.uri),
		       "memory:another");
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_int_equal(pair.source.error.code, HF_E_LEDGER_UNEQUAL);
	pair_done(&pair);
}

static void a_device_that_must_be_reset_leaves_the_guest_paused(void **state)
{
	struct pair pair;

	(void)state;
	/* It reaches STOP_COPY, the next device refuses, and then it falls into ERROR. */
	run_with(&pair, "fault:device[1].set_state=STOP_COPY:1:error", NULL);
	assert_int_equal(pair.source.outcome, HF_OUTCOME_LOST);
	assert_int_equal(pair.target.outcome, HF_OUTCOME_FAILED);
	assert_false(atomic_load(&pair.source.running));
	assert_non_null(strstr(pair.source.error.text, "had to be reset"));
	assert_non_null(strstr(pair.source.error.text, "sim1"));
	pair_done(&pair);

	/* The same while its vCPUs still run: without what it had in the device they must not. */
	run_with(&pair, "fault:device[1].set_state=PRE_COPY_P2P:1:error", NULL);
	assert_int_equal(pair.source.outcome, HF_OUTCOME_LOST);
	assert_true(side_saw(&pair.source, HF_TRACE_TRANSITION, "-> PAUSING"));
	assert_false(atomic_load(&pair.source.running));
	pair_done(&pair);
}

/* Jobs that were given to its worker with the one that failed find it in ERROR. */
static void a_device_that_dies_while_it_is_saved_is_lost_and_nothing_else(void **state)
{
	static const char *const operations[] = { "dirty_read", "read_data", "precopy_info",
						  "data_size" };

	(void)state;
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]) * 4; i++) {
		struct pair pair;
		char spec[64];

		(void)snprintf(spec, sizeof(spec), "fault:device[1].%s:%zu:error",
			       operations[i / 4], i % 4 + 1);
		run_with(&pair, spec, NULL);
		if (pair.source.outcome == HF_OUTCOME_AWAY) { /* there were fewer calls */
			pair_assert_moved(&pair);
		} else if (pair.source.outcome != HF_OUTCOME_LOST ||
			   pair.target.outcome != HF_OUTCOME_FAILED ||
			   !strstr(pair.source.error.text, "device 1 (sim1)")) {
			pair_print(&pair);
			fail_msg("%s: source %s: %s", spec, hf_outcome_name(pair.source.outcome),
				 pair.source.error.text);
		}
		pair_done(&pair);
	}
}

static void a_guest_that_does_not_converge_is_throttled_and_stays(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &small);
	pair.source.dirty_pages_per_sync = 1024; /* all of it, each time */
	pair.source.dirty_syncs_left = ~0u;
	pair.source.config.bandwidth_bytes_max = 64 << 20;
	pair.source.config.downtime_us_max = 1000;
	pair.source.config.deadline_us = 1500000;
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_int_equal(pair.source.error.code, HF_E_NOT_CONVERGED);
	assert_int_equal(pair.target.error.code, HF_E_NOT_CONVERGED);
	assert_true(side_saw(&pair.source, HF_TRACE_THROTTLE, NULL));
	pair_done(&pair);
}

static void nobody_there_is_said_so(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &small);
	pair.source.config.wait_us_max = 300000;
	{
		struct hf_error err = { 0 };

		assert_int_equal(hf_session_new(&pair.source.config, &pair.source.session, &err),
				 0);
		assert_true(hf_session_run(pair.source.session, &err) < 0);
		assert_int_equal(hf_session_outcome(pair.source.session), HF_OUTCOME_HOME);
		assert_non_null(strstr(err.text, pair.uri));
		pair.source.session = hf_session_free(pair.source.session);
	}
	assert_true(atomic_load(&pair.source.running));
	pair_done(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damaged_device_data_never_reaches_stop),
		cmocka_unit_test(a_connection_lost_anywhere_leaves_one_owner),
		cmocka_unit_test(each_device_operation_may_fail),
		cmocka_unit_test(each_operation_of_machine_and_memory_may_fail),
		cmocka_unit_test(a_ledger_that_fails_once_changes_no_end),
		cmocka_unit_test(cancel_in_each_state_ends_as_promised),
		cmocka_unit_test(a_refusal_before_the_guest_is_touched_names_the_culprit),
		cmocka_unit_test(a_device_that_must_be_reset_leaves_the_guest_paused),
		cmocka_unit_test(a_device_that_dies_while_it_is_saved_is_lost_and_nothing_else),
		cmocka_unit_test(a_guest_that_does_not_converge_is_throttled_and_stays),
		cmocka_unit_test(nobody_there_is_said_so),
	};

	return cmocka_run_group_tests_name("session-faults", tests, NULL, NULL);
}
