/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the engine says on its connections holds by every rule of docs/stream.md, in the judgement
 * of `holdfast-stream verify`, which shares no code with it: sessions are captured at both ends,
 * and both captures are judged. What becomes of the guest is not looked at here.
 */
#include "session-fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define FILES_MAX 18 /* control.out, control.in, 16 bulk files */

extern char **environ;

static char folder[64];
static bool has_xxhash;

static int run(char *const argv[])
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;

	/* What it says goes beside the TAP. */
	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	assert_int_equal(posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO),
			 0);
	assert_int_equal(posix_spawn(&pid, argv[0], &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int verify(bool allow_incomplete)
{
	char python[] = PYTHON, tool[] = HOLDFAST_STREAM, command[] = "verify";
	char option[] = "--allow-incomplete";
	char *argv[] = { python, tool, command, folder, allow_incomplete ? option : NULL, NULL };

	return run(argv);
}

static const char *file_name(unsigned i, char buf[static 32])
{
	if (i < 2)
		return i ? "control.in" : "control.out";
	(void)snprintf(buf, 32, "bulk-%u.out", i - 2);
	return buf;
}

static int setup(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/hf-session-capture-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
	char path[128], name[32];

	(void)state;
	if (getenv("HF_KEEP")) {
		print_message("# kept: %s\n", folder);
		return 0;
	}
	for (unsigned i = 0; i < FILES_MAX; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, file_name(i, name));
		(void)unlink(path); /* there may be none */
	}
	return rmdir(folder);
}

/* A session, captured at the source. */
static void capture(struct pair *pair, const struct pair_config *config, uint32_t dirty_syncs)
{
	if (!has_xxhash) {
		print_message("# python3 has no module xxhash\n");
		skip();
	}
	pair_init(pair, config);
	pair->source.config.capture = folder;
	pair->source.dirty_pages_per_sync = 300;
	pair->source.dirty_syncs_left = dirty_syncs;
	pair_run(pair);
}

static void a_session_with_devices_and_4_channels_holds(void **state)
{
	struct pair pair;

	(void)state;
	capture(&pair,
		&(struct pair_config){ .memory_bytes = 32 << 20, .device_count = 6, .channels = 4 },
		3);
	pair_assert_moved(&pair);
	pair_done(&pair);
	assert_int_equal(verify(false), 0);
}

static void a_session_without_devices_holds(void **state)
{
	struct pair pair;

	(void)state;
	capture(&pair, &(struct pair_config){ .memory_bytes = 4 << 20, .channels = 1 }, 0);
	pair_assert_moved(&pair);
	pair_done(&pair);
	assert_int_equal(verify(false), 0);
}

static void a_session_of_a_paused_guest_holds(void **state)
{
	struct pair pair;

	(void)state;
	capture(&pair,
		&(struct pair_config){ .memory_bytes = 4 << 20,
				       .device_count = 1,
				       .channels = 16,
				       .paused = true },
		0);
	pair_assert_moved(&pair);
	pair_done(&pair);
	assert_int_equal(verify(false), 0);
}

/* Says why, so that what is missing at the end of a file is explained. */
static void a_session_that_is_refused_or_given_up_holds(void **state)
{
	static const struct {
		const char *source, *target;
	} cases[] = {
		{ NULL, "fault:machine.check:1" },
		{ NULL, "fault:device[1].set_state=RESUMING:1:EIO" },
		{ NULL, "fault:device[1].set_state=STOP:1:EIO" },
		{ NULL, "fault:device[0].write_data:2:EIO" },
		{ NULL, "fault:machine.state_load:2" },
		{ "fault:device[1].set_state=PRE_COPY_P2P:1:EBUSY", NULL },
		{ "fault:device[1].set_state=STOP_COPY:1:EIO", NULL },
		{ "fault:device[0].read_data:3:EIO", NULL },
		{ "fault:machine.stop:1", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair pair;

		print_message("# %s%s\n", cases[i].source ? cases[i].source : "",
			      cases[i].target ? cases[i].target : "");
		capture(&pair,
			&(struct pair_config){ .memory_bytes = 4 << 20,
					       .device_count = 2,
					       .channels = 2,
					       .source_filter = cases[i].source,
					       .target_filter = cases[i].target },
			2);
		pair_assert_home(&pair);
		print_message("# source: %s\n# target: %s\n", pair.source.error.text,
			      pair.target.error.text);
		pair_done(&pair);
		assert_int_equal(verify(false), 0);
		(void)teardown(state);
		assert_int_equal(setup(state), 0);
	}
}

/* Nobody says why; but what was said until then was right. */
static void a_session_whose_connections_are_lost_breaks_no_rule(void **state)
{
	static const char *const cases[] = { "fault:channel[control].send:6",
					     "fault:channel[1].send:9",
					     "fault:channel[control].recv:4" };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair pair;

		print_message("# %s\n", cases[i]);
		capture(&pair,
			&(struct pair_config){ .memory_bytes = 4 << 20,
					       .device_count = 2,
					       .channels = 2,
					       .source_filter = cases[i] },
			2);
		pair_done(&pair);
		assert_int_equal(verify(true), 0);
		(void)teardown(state);
		assert_int_equal(setup(state), 0);
	}
}

int main(void)
{
	char python[] = PYTHON, option[] = "-c", import[] = "import xxhash";
	char *argv[] = { python, option, import, NULL };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_session_with_devices_and_4_channels_holds, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_session_without_devices_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(a_session_of_a_paused_guest_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(a_session_that_is_refused_or_given_up_holds, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_session_whose_connections_are_lost_breaks_no_rule,
						setup, teardown),
	};

	has_xxhash = run(argv) == 0;
	return cmocka_run_group_tests_name("session-capture", tests, NULL, NULL);
}
