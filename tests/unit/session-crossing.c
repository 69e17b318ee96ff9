/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Answers that cross with news: what was asked in a state is answered in the same step in which the
 * peer turns the session back. Both are waiting when the session is stepped, the news first.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "session-fixture.h"

#define WAIT_MS 10000

static void *drive_target(void *arg)
{
	struct side *side = arg;

	(void)hf_session_run(side->session, &side->error);
	side->outcome = hf_session_outcome(side->session);
	return NULL;
}

static void start(struct side *side)
{
	struct hf_error err = { 0 };

	if (hf_session_new(&side->config, &side->session, &err) < 0)
		fail_msg("%s: %s", side->label, err.text);
	assert_int_equal(hf_session_step(side->session), HF_STEP_WAIT);
}

static void wait_for_news(struct side *side)
{
	struct pollfd ready = { .fd = hf_session_fd(side->session), .events = POLLIN };

	assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
}

/* What the source asked for has been done: its answers are waiting for the loop thread. */
static bool vcpus_stopped(const struct side *side)
{
	return !atomic_load(&side->running);
}

static bool devices_stopped(const struct side *side)
{
	for (uint32_t i = 0; i < side->device_count; i++) {
		const struct hf_device *device = &side->devices[i].device;
		uint32_t state = 0;

		if (device->ops->get_state(device->self, &state) < 0 ||
		    state != HF_DEVICE_STOP_COPY)
			return false;
	}
	return true;
}

/*
 * Steps the source until it is in a state whose answer is slow, and no further. Then the target is
 * cancelled, what the source asked for is done, and only then the source is stepped again: a VMM
 * whose own loop is busy does no other.
 */
static void cross(const char *slow, const char *transition, bool (*done)(const struct side *side))
{
	struct pair pair;
	struct pair_config config = {
		.memory_bytes = 1 << 20, .device_count = 2, .channels = 1, .source_filter = slow
	};

	pair_init(&pair, &config);
	start(&pair.target);
	assert_int_equal(pthread_create(&pair.target.thread, NULL, drive_target, &pair.target), 0);
	start(&pair.source);
	while (!side_saw(&pair.source, HF_TRACE_TRANSITION, transition)) {
		wait_for_news(&pair.source);
		assert_int_equal(hf_session_step(pair.source.session), HF_STEP_WAIT);
	}
	assert_int_equal(hf_session_cancel(pair.target.session), 0);
	assert_int_equal(pthread_join(pair.target.thread, NULL), 0);
	for (int i = 0; !done(&pair.source) && i < WAIT_MS; i++)
		(void)poll(NULL, 0, 1);
	assert_true(done(&pair.source));
	(void)poll(NULL, 0, 20); /* from the worker's last call to its answer there is no event */

	(void)hf_session_run(pair.source.session, &pair.source.error);
	pair.source.outcome = hf_session_outcome(pair.source.session);
	pair.source.session = hf_session_free(pair.source.session);
	pair.target.session = hf_session_free(pair.target.session);
	pair_assert_home(&pair);
	pair_done(&pair);
}

static void test_vcpus_that_stopped_while_the_target_aborts(void **state)
{
	(void)state;
	cross("delay:machine.stop:300", "-> QUIESCING", vcpus_stopped);
}

static void test_devices_that_stopped_while_the_target_aborts(void **state)
{
	(void)state;
	cross("delay:device.set_state=STOP_COPY:300", "-> STOPPING", devices_stopped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vcpus_that_stopped_while_the_target_aborts),
		cmocka_unit_test(test_devices_that_stopped_while_the_target_aborts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
