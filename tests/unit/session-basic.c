/* SPDX-License-Identifier: BSD-3-Clause */
/* Two sessions hand a guest over: it arrives whole, or it stays whole, with the reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "session-fixture.h"

static void a_guest_arrives_whole(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 16 << 20, .device_count = 2 });
	pair.source.dirty_pages_per_sync = 300;
	pair.source.dirty_syncs_left = 3;
	pair_run(&pair);
	pair_assert_moved(&pair);
	pair_done(&pair);
}

static void a_guest_without_devices_arrives_whole(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 4 << 20, .channels = 1 });
	pair_run(&pair);
	pair_assert_moved(&pair);
	pair_done(&pair);
}

static void a_paused_guest_arrives_paused(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 4 << 20,
						.device_count = 1,
						.channels = 4,
						.paused = true });
	pair_run(&pair);
	pair_assert_moved(&pair);
	pair_done(&pair);
}

static void refusals_keep_the_guest_at_home_and_tell_why(void **state)
{
	static const struct {
		const char *source, *target, *expected;
	} cases[] = {
		{ NULL, "fault:device[1].set_state=RESUMING:1:EIO", "device 1 (sim1)" },
		{ NULL, "fault:device[1].set_state=STOP:1:EIO", "device 1 (sim1)" },
		{ NULL, "fault:device[0].set_state=RUNNING_P2P:1:EBUSY", "device 0 (sim0)" },
		{ NULL, "fault:device[1].set_state=RUNNING:1:EIO", "device 1 (sim1)" },
		{ "fault:device[0].set_state=PRE_COPY:1:EBUSY", NULL, "device 0 (sim0)" },
		{ "fault:device[1].set_state=PRE_COPY_P2P:1:EBUSY", NULL, "device 1 (sim1)" },
		{ "fault:device[1].set_state=STOP_COPY:1:EIO", NULL, "device 1 (sim1)" },
		{ "fault:machine.stop:1", NULL, "" },
		{ NULL, "fault:machine.state_load:2", "" },
		{ NULL, "fault:machine.run:1", NULL }, /* after started: the target's business */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair pair;

		print_message("# %s %s\n", cases[i].source ? cases[i].source : "",
			      cases[i].target ? cases[i].target : "");
		pair_init(&pair, &(struct pair_config){ .memory_bytes = 4 << 20,
							.device_count = 2,
							.source_filter = cases[i].source,
							.target_filter = cases[i].target });
		pair_run(&pair);
		if (cases[i].expected) {
			pair_assert_home(&pair);
			assert_non_null(strstr(pair.source.error.text, cases[i].expected));
			assert_non_null(strstr(pair.target.error.text, cases[i].expected));
			assert_int_equal(pair.source.error.code, pair.target.error.code);
		} else {
			assert_int_equal(pair.source.outcome, HF_OUTCOME_AWAY);
			assert_int_equal(pair.target.outcome, HF_OUTCOME_WAITING);
			assert_false(pair.source.was_run);
		}
		pair_done(&pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_arrives_whole),
		cmocka_unit_test(a_guest_without_devices_arrives_whole),
		cmocka_unit_test(a_paused_guest_arrives_paused),
		cmocka_unit_test(refusals_keep_the_guest_at_home_and_tell_why),
	};

	return cmocka_run_group_tests_name("session-basic", tests, NULL, NULL);
}
