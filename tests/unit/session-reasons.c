/* SPDX-License-Identifier: BSD-3-Clause */
/* Of several things that went wrong, both sides are told the one that was the cause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "session-fixture.h"

static const struct pair_config small = {
	.memory_bytes = 1 << 20,
	.device_count = 2,
	.channels = 1,
};

static void add_filter(struct side *side, const char *spec)
{
	struct hf_error err = { 0 };

	if (!side->filters)
		assert_int_equal(hf_filters_new(&side->filters, &err), 0);
	if (hf_filters_add(side->filters, spec, &err) < 0)
		fail_msg("%s: %s", spec, err.text);
	side->config.filters = side->filters;
}

/* The first thing that the target hears of it is why it ends. */
static void test_a_machine_that_is_not_described_is_the_targets_reason_too(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &small);
	add_filter(&pair.source, "fault:machine.describe:1");
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_int_equal(pair.target.error.code, pair.source.error.code);
	assert_string_equal(pair.target.error.text, pair.source.error.text);
	pair_done(&pair);
}

/* A claim whose answer was lost once, and won: what fails then is the device. */
static void test_a_ledger_that_has_answered_since_is_no_reason(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &small);
	add_filter(&pair.target, "fault:ledger.swap:1:after");
	add_filter(&pair.target, "fault:device[1].set_state=RUNNING_P2P:1+:EIO");
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_non_null(strstr(pair.target.error.text, "device 1 (sim1)"));
	assert_non_null(strstr(pair.source.error.text, "device 1 (sim1)"));
	pair_done(&pair);
}

/* The guest is somebody else's, and the record still tells why an earlier handover failed. */
static void test_the_reason_of_an_earlier_handover_is_not_ours(void **state)
{
	struct pair pair;
	struct hf_ledger_record record = { .guest = "fixture",
					   .epoch = 7,
					   .state = HF_LEDGER_HOME,
					   .owner = "elsewhere",
					   .attempt = "elsewhere/1",
					   .reason_code = HF_E_DEVICE_STATE,
					   .reason = "a device refused, long ago" };
	struct hf_ledger_record now;
	struct hf_error err = { 0 };

	(void)state;
	pair_init(&pair, &small);
	assert_int_equal(pair.source.ledger.ops->swap(pair.source.ledger.self, &record, &now, &err),
			 HF_LEDGER_DONE);
	assert_int_equal(hf_session_new(&pair.source.config, &pair.source.session, &err), 0);
	assert_int_equal(hf_session_run(pair.source.session, &err), HF_E_LEDGER_REFUSED);
	assert_non_null(strstr(err.text, "elsewhere"));
	pair.source.session = hf_session_free(pair.source.session);
	pair_done(&pair);
}

/* Not to hear once where a device stands is no reason to throw away what the guest has in it. */
static void test_a_device_that_is_not_heard_once_is_not_reset(void **state)
{
	(void)state;
	for (unsigned int n = 2; n < 16; n++) { /* the first is asked when the session is made */
		struct pair pair;
		char spec[64];

		(void)snprintf(spec, sizeof(spec), "fault:device[1].get_state:%u:EIO", n);
		pair_init(&pair, &small);
		add_filter(&pair.source, spec);
		add_filter(&pair.target, "fault:device[0].set_state=STOP:1:EIO");
		pair_run(&pair);
		pair_assert_home(&pair);
		assert_false(side_saw(&pair.source, HF_TRACE_DEVICE_RESET, NULL));
		pair_done(&pair);
	}
}

static int lost(void *self, struct hf_error *err)
{
	(void)self;
	*err = (struct hf_error){ .code = HF_E_CONNECTION_LOST, .text = "the emulator is gone" };
	return err->code;
}

/* A machine in another process may lose it; that is no word on the connection to the peer. */
static void test_a_connection_that_a_machine_lost_is_not_the_peers(void **state)
{
	struct pair_config config = small;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct hf_machine_ops ops;
		struct pair pair;

		pair_init(&pair, &config);
		ops = *pair.source.config.machine.ops;
		if (i == 0)
			ops.stop = lost;
		else
			ops.run = lost;
		pair.source.config.machine.ops = &ops;
		if (i == 1)
			add_filter(&pair.target, "fault:device[0].set_state=STOP:1:EIO");
		pair_run(&pair);
		assert_int_equal(pair.source.outcome, i == 0 ? HF_OUTCOME_HOME : HF_OUTCOME_LOST);
		assert_int_equal(pair.source.error.code, HF_E_MACHINE_STATE);
		assert_non_null(strstr(pair.source.error.text, "the emulator is gone"));
		assert_int_equal(pair.target.outcome, HF_OUTCOME_FAILED);
		pair_done(&pair);
	}
}

static atomic_int fail_state;
static struct side *failing;

/* In a state, from another thread, as one that watches an emulator would. */
static void *break_down(void *arg)
{
	struct hf_error why = { .code = HF_E_CONNECTION_LOST, .text = "the emulator died" };

	(void)arg;
	assert_int_equal(hf_session_fail(failing->session, &why), 0);
	assert_int_equal(hf_session_fail(failing->session, &why), HF_E_BUSY);
	return NULL;
}

static void on_loading(struct side *side, const struct hf_event *event)
{
	pthread_t thread;

	if (event->id != HF_TRACE_TRANSITION || !strstr(event->text, side->on_trace_ctx) ||
	    atomic_exchange(&fail_state, 1) != 0)
		return;
	failing = side;
	assert_int_equal(pthread_create(&thread, NULL, break_down, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_a_vmm_that_breaks_down_says_why(void **state)
{
	static char loading[] = "-> LOADING ", precopy[] = "-> PRECOPY ", idle[] = "-> ENTERING ";
	char *const when[] = { loading, precopy, idle };

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct pair pair;
		struct side *side;

		atomic_store(&fail_state, 0);
		pair_init(&pair, &small);
		side = i == 0 ? &pair.target : &pair.source;
		side->on_trace = on_loading;
		side->on_trace_ctx = when[i];
		pair.target.config.listen_us_max = 1000000; /* nobody may come */
		pair_run(&pair);
		assert_int_equal(pair.source.outcome, HF_OUTCOME_HOME);
		assert_int_equal(pair.target.outcome, HF_OUTCOME_FAILED);
		assert_non_null(strstr(pair.source.error.text, "the emulator died"));
		if (i < 2) {
			assert_non_null(strstr(pair.target.error.text, "the emulator died"));
			pair_assert_home(&pair);
		}
		pair_done(&pair);
	}
}

/* On the way home it is no news, and must not look as if that way had failed. */
static void test_a_breakdown_on_the_way_home_changes_nothing(void **state)
{
	static char undoing[] = "-> UNDOING ", reviving[] = "-> REVIVING ", home[] = "-> RESUMING ";
	char *const when[] = { undoing, reviving, home };

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct pair pair;

		atomic_store(&fail_state, 0);
		pair_init(&pair, &small);
		pair.source.on_trace = on_loading;
		pair.source.on_trace_ctx = when[i];
		add_filter(&pair.target, "fault:device[0].set_state=STOP:1:EIO");
		pair_run(&pair);
		assert_int_equal(atomic_load(&fail_state), 1);
		pair_assert_home(&pair);
		assert_non_null(strstr(pair.source.error.text, "device 0"));
		pair_done(&pair);
	}
}

/* ---- a device that somebody resets ---------------------------------------------------------- */

/* By the host (sysfs), by the bus (AER), by the guest (FLR): its state is RUNNING, and a new one.
 */
static void reset_it(struct side *side, const struct hf_event *event)
{
	const struct hf_device *device = &side->devices[1].device;

	if (event->id == HF_TRACE_TRANSITION && strstr(event->text, side->on_trace_ctx) &&
	    atomic_exchange(&fail_state, 1) == 0)
		assert_int_equal(device->ops->reset(device->self), 0);
}

static void reset_when(const char *uri, bool at_target, const char *when, const char *stood)
{
	struct pair_config config = small;
	struct pair pair;
	struct side *side = at_target ? &pair.target : &pair.source;
	char reason[128], before[32];

	config.device_uri = uri;
	(void)snprintf(before, sizeof(before), "-> %s ", when);
	(void)snprintf(reason, sizeof(reason),
		       "device 1 (sim1) was reset by somebody else: it stood in %s, and stands in "
		       "RUNNING",
		       stood);
	atomic_store(&fail_state, 0);
	pair_init(&pair, &config);
	side->on_trace = reset_it;
	side->on_trace_ctx = before;
	pair_run(&pair);
	assert_int_equal(atomic_load(&fail_state), 1);
	if (at_target)
		pair_assert_home(&pair);
	assert_int_equal(pair.source.outcome, HF_OUTCOME_HOME);
	assert_int_equal(pair.target.outcome, HF_OUTCOME_FAILED);
	assert_int_equal(pair.source.error.code, HF_E_DEVICE_STATE);
	if (!strstr(pair.source.error.text, reason) || !strstr(pair.target.error.text, reason))
		fail_msg("%s: %s", when, pair.source.error.text);
	pair_done(&pair);
}

/* What was loaded into it, or read out of it, is void: a blank device would pass for the guest's.
 */
static void test_a_device_that_is_reset_on_the_way_is_not_taken_for_the_guests(void **state)
{
	(void)state;
	reset_when("sim:state=64K", true, "VERIFYING", "RESUMING");
	reset_when("sim:state=64K,flags=3", true, "VERIFYING", "RESUMING");
	reset_when("sim:state=64K", true, "STARTING", "STOP");
	reset_when("sim:state=64K", true, "REVIVING", "RUNNING_P2P");
	reset_when("sim:state=64K", false, "QUIETING", "PRE_COPY");
	reset_when("sim:state=64K", false, "STOPPING", "PRE_COPY_P2P");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_machine_that_is_not_described_is_the_targets_reason_too),
		cmocka_unit_test(test_a_ledger_that_has_answered_since_is_no_reason),
		cmocka_unit_test(test_the_reason_of_an_earlier_handover_is_not_ours),
		cmocka_unit_test(test_a_device_that_is_not_heard_once_is_not_reset),
		cmocka_unit_test(test_a_connection_that_a_machine_lost_is_not_the_peers),
		cmocka_unit_test(test_a_vmm_that_breaks_down_says_why),
		cmocka_unit_test(test_a_breakdown_on_the_way_home_changes_nothing),
		cmocka_unit_test(
			test_a_device_that_is_reset_on_the_way_is_not_taken_for_the_guests),
	};

	return cmocka_run_group_tests_name("session-reasons", tests, NULL, NULL);
}
