/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A source in doubt: what an operator can say, what a later process finds, and both without a
 * ledger. The doubt is made by a target that is slow between its claim and its start, and by a
 * source without patience.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/session.h"
#include "session-fixture.h"

#define SLOW "delay:device[0].set_state=RUNNING_P2P:1500"
#define REFUSES "fault:device[0].set_state=RUNNING:1:EIO"

static char keep_dir[64];

/* The source has no patience from the moment on at which GO is sent; until then the test has. */
static void hasten(struct side *side, const struct hf_event *event)
{
	struct session *session = (struct session *)side->session;

	if (event->id == HF_TRACE_TRANSITION && event->arg[1] == SOURCE_COMMITTING)
		session->config.wait_us_max = 300000;
}

/* A pair whose source ends WAITING while the target is still at work. */
static void doubt(struct pair *pair, const char *ledger, const char *target_filter, bool keep)
{
	struct hf_error err = { 0 };

	pair_init(pair, &(struct pair_config){ .memory_bytes = 4 << 20,
					       .device_count = 2,
					       .target_filter = SLOW,
					       .ledger_uri = ledger });
	if (target_filter)
		assert_int_equal(hf_filters_add(pair->target.filters, target_filter, &err), 0);
	pair->source.on_trace = hasten;
	pair->source.config.doubt_us_max = 200000;
	pair->source.config.keep = keep ? keep_dir : NULL;
	pair_start(pair);
	assert_int_equal(pair->source.outcome, HF_OUTCOME_WAITING);
	assert_false(atomic_load(&pair->source.running));
}

static void resolve(struct pair *pair, enum hf_resolve how)
{
	struct hf_error err = { 0 };

	if (hf_session_resolve(pair->source.session, how, &err) < 0)
		fail_msg("%s", err.text);
	side_run(&pair->source);
}

static void wait_for_target(struct pair *pair)
{
	assert_int_equal(pthread_join(pair->target.thread, NULL), 0);
}

static void finish(struct pair *pair)
{
	pair->source.session = hf_session_free(pair->source.session);
	pair->target.session = hf_session_free(pair->target.session);
	pair_done(pair);
}

/* ---- an answer that comes late --------------------------------------------------------------- */

/* As hasten(), but the target is heard: it says once a second that it lives. */
static void hasten_a_little(struct side *side, const struct hf_event *event)
{
	struct session *session = (struct session *)side->session;

	if (event->id == HF_TRACE_TRANSITION && event->arg[1] == SOURCE_COMMITTING)
		session->config.wait_us_max = 1300000;
}

/* The ledger is being read when the target gives the guest back, and answers on the way home. */
static void what_the_ledger_says_on_the_way_home_answers_nothing(void **state)
{
	struct hf_error err = { 0 };
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){
				 .memory_bytes = 4 << 20,
				 .device_count = 2,
				 .target_filter = "delay:device[0].set_state=RUNNING_P2P:3500",
				 .source_filter = "delay:ledger.read:1500" });
	assert_int_equal(hf_filters_add(pair.target.filters, REFUSES, &err), 0);
	assert_int_equal(hf_filters_add(pair.source.filters,
					"delay:device[0].set_state=RUNNING_P2P:1500", &err),
			 0);
	pair.source.on_trace = hasten_a_little;
	pair.source.config.doubt_us_max = 20000000;
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_true(side_saw(&pair.source, HF_TRACE_TRANSITION, "CLAIMED -> UNDOING (RETURNED)"));
	pair_done(&pair);
}

/* ---- an operator ----------------------------------------------------------------------------- */

static void the_ledger_asked_again_says_that_it_is_away(void **state)
{
	struct pair pair;

	(void)state;
	doubt(&pair, NULL, NULL, false);
	wait_for_target(&pair);
	assert_int_equal(pair.target.outcome, HF_OUTCOME_RUNNING);
	resolve(&pair, HF_RESOLVE_ASK);
	pair_assert_moved(&pair);
	assert_false(pair.source.was_run);
	finish(&pair);
}

static void asked_too_early_it_waits_again(void **state)
{
	struct hf_error err = { 0 };
	struct pair pair;

	(void)state;
	doubt(&pair, NULL, NULL, false);
	resolve(&pair, HF_RESOLVE_ASK);
	assert_int_equal(pair.source.outcome, HF_OUTCOME_WAITING);
	assert_int_equal(hf_session_resolve(pair.source.session, HF_RESOLVE_LET_GO, &err),
			 HF_E_UNSUPPORTED);
	assert_int_equal(hf_session_resolve(pair.source.session, 77, NULL), HF_E_INVALID);
	wait_for_target(&pair);
	resolve(&pair, HF_RESOLVE_TAKE_BACK); /* the word is wrong, and the target has won */
	pair_assert_moved(&pair);
	assert_false(pair.source.was_run);
	assert_int_equal(hf_session_resolve(pair.source.session, HF_RESOLVE_ASK, NULL),
			 HF_E_INVALID);
	finish(&pair);
}

static void taken_back_the_late_start_of_the_target_fails(void **state)
{
	struct pair pair;

	(void)state;
	doubt(&pair, NULL, NULL, false);
	resolve(&pair, HF_RESOLVE_TAKE_BACK);
	assert_int_equal(pair.source.outcome, HF_OUTCOME_HOME);
	assert_true(atomic_load(&pair.source.running));
	wait_for_target(&pair);
	pair_assert_home(&pair);
	finish(&pair);
}

/* The target's, word for word: at the source, and still in the ledger. */
static void assert_reason(const struct pair *pair)
{
	struct hf_ledger ledger = pair->source.ledger;
	struct hf_ledger_record record;

	assert_int_equal(pair->source.error.code, HF_E_DEVICE_STATE);
	assert_string_equal(pair->source.error.text, pair->target.error.text);
	assert_int_equal(ledger.ops->read(ledger.self, "fixture", &record, NULL), 0);
	assert_string_equal(record.reason, pair->target.error.text);
}

static void a_returned_guest_is_found_by_asking(void **state)
{
	struct pair pair;

	(void)state;
	doubt(&pair, NULL, REFUSES, false);
	wait_for_target(&pair);
	resolve(&pair, HF_RESOLVE_ASK);
	pair_assert_home(&pair);
	assert_reason(&pair);
	finish(&pair);
}

/* The source has long called it a missed deadline: what the target says is more than that. */
static void the_reason_of_a_late_return_replaces_the_deadline(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 4 << 20,
						.device_count = 2,
						.target_filter = SLOW });
	assert_int_equal(hf_filters_add(pair.target.filters, REFUSES, NULL), 0);
	pair.source.on_trace = hasten;
	pair.source.config.doubt_us_max = 20000000;
	pair_start(&pair);
	wait_for_target(&pair);
	pair_assert_home(&pair);
	assert_reason(&pair);
	finish(&pair);
}

/* ---- no ledger ------------------------------------------------------------------------------- */

static void without_a_ledger_go_commits(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 4 << 20,
						.device_count = 2,
						.ledger_uri = "none" });
	pair_run(&pair);
	pair_assert_moved(&pair);
	pair_done(&pair);
}

static void without_a_ledger_what_the_target_declines_is_home(void **state)
{
	static const char *const filters[] = { "fault:device[1].set_state=STOP:1:EIO", REFUSES };

	(void)state;
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		struct pair pair;

		pair_init(&pair, &(struct pair_config){ .memory_bytes = 4 << 20,
							.device_count = 2,
							.target_filter = filters[i],
							.ledger_uri = "none" });
		pair_run(&pair);
		pair_assert_home(&pair);
		assert_int_equal(pair.source.error.code, HF_E_DEVICE_STATE);
		pair_done(&pair);
	}
}

static void without_a_ledger_a_source_in_doubt_waits_for_the_operator(void **state)
{
	struct pair pair;

	(void)state;
	doubt(&pair, "none", NULL, false);
	resolve(&pair, HF_RESOLVE_ASK);
	assert_int_equal(pair.source.outcome, HF_OUTCOME_WAITING);
	wait_for_target(&pair);
	resolve(&pair, HF_RESOLVE_LET_GO);
	pair_assert_moved(&pair);
	assert_false(pair.source.was_run);
	finish(&pair);
}

static void without_a_ledger_the_operator_takes_it_back(void **state)
{
	struct pair pair;

	(void)state;
	doubt(&pair, "none", REFUSES, false);
	wait_for_target(&pair); /* it is not there, but nobody could say so */
	resolve(&pair, HF_RESOLVE_TAKE_BACK);
	pair_assert_home(&pair);
	finish(&pair);
}

static void a_ledger_on_one_side_only_is_refused(void **state)
{
	struct hf_error err = { 0 };
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20, .device_count = 1 });
	hf_ledger_close(&pair.target.ledger);
	assert_int_equal(hf_ledger_open("none", &pair.target.ledger, &err), 0);
	pair.target.config.ledger = pair.target.ledger;
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_int_equal(pair.source.error.code, HF_E_LEDGER_UNEQUAL);
	assert_false(side_saw(&pair.source, HF_TRACE_TRANSITION, "-> PRECOPY"));
	pair_done(&pair);
}

/* A folder of the same name on two hosts: equal texts, and two ledgers. */
static void two_ledgers_of_one_name_are_told_apart(void **state)
{
	struct hf_error err = { 0 };
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20, .device_count = 1 });
	hf_ledger_close(&pair.target.ledger);
	assert_int_equal(hf_ledger_open("memory:the-other", &pair.target.ledger, &err), 0);
	(void)snprintf(pair.target.ledger.uri, sizeof(pair.target.ledger.uri), "%s",
		       pair.source.ledger.uri);
	pair.target.config.ledger = pair.target.ledger;
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_int_equal(pair.source.error.code, HF_E_LEDGER_UNEQUAL);
	assert_int_equal(pair.target.error.code, HF_E_LEDGER_UNEQUAL);
	assert_false(side_saw(&pair.source, HF_TRACE_TRANSITION, "-> PRECOPY"));
	pair_done(&pair);
}

/* Found out while the guest runs, not when it stands still already. */
static void a_ledger_that_went_away_begins_no_switchover(void **state)
{
	static const char *const filters[] = { "fault:ledger.read:2+:EIO", NULL, NULL,
					       "fault:ledger.read:1+:EIO" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct pair pair;

		pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20,
							.device_count = 1,
							.source_filter = filters[2 * i],
							.target_filter = filters[2 * i + 1] });
		pair_run(&pair);
		pair_assert_home(&pair);
		assert_int_equal(pair.source.error.code, HF_E_LEDGER_UNKNOWN);
		assert_non_null(strstr(pair.source.error.text, "not begun"));
		assert_false(side_saw(&pair.source, HF_TRACE_TRANSITION, "-> QUIETING"));
		pair_done(&pair);
	}
}

/* ---- what is kept ---------------------------------------------------------------------------- */

static bool is_kept(void)
{
	struct hf_kept kept = { .size = sizeof(kept) };
	struct hf_error err = { 0 };
	int there = hf_kept_read(keep_dir, &kept, &err);

	assert_true(there >= 0);
	if (there) {
		assert_string_equal(kept.guest, "fixture");
		assert_string_equal(kept.side, "source");
		assert_int_equal(kept.epoch, 1);
		assert_int_equal(kept.paused, 0);
	}
	return there;
}

/* The source's process is gone, all but the guest's memory and what is kept. */
static void crash(struct pair *pair, struct pair *again)
{
	pair->source.session = hf_session_free(pair->source.session);
	assert_true(is_kept());
	pair_init(again, &(struct pair_config){ .memory_bytes = 4 << 20,
						.device_count = 2,
						.ledger_uri = pair->ledger_uri });
	memcpy(again->source.region.host, pair->source.region.host, 4 << 20);
	memset(again->source.state, 0, sizeof(again->source.state));
	memset(again->source.device_state, 0, sizeof(again->source.device_state));
	atomic_store(&again->source.running, false);
	again->source.config.keep = keep_dir;
	again->source.config.restart = 1;
	again->source.config.doubt_us_max = 300000;
}

static void assert_whole(const struct pair *pair, struct pair *again)
{
	assert_int_equal(again->source.outcome, HF_OUTCOME_HOME);
	assert_true(atomic_load(&again->source.running));
	assert_memory_equal(pair->source.state, again->source.state, sizeof(pair->source.state));
	assert_memory_equal(pair->source.device_state, again->source.device_state,
			    sizeof(pair->source.device_state));
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t now = 0;
		const struct hf_device *device = &again->source.devices[i].device;

		assert_int_equal(device->ops->get_state(device->self, &now), 0);
		assert_int_equal(now, HF_DEVICE_RUNNING);
	}
	assert_false(is_kept());
}

static void a_later_process_runs_the_guest_that_was_returned(void **state)
{
	struct pair pair, again;

	(void)state;
	doubt(&pair, NULL, REFUSES, true);
	crash(&pair, &again);
	wait_for_target(&pair);
	side_run(&again.source);
	assert_whole(&pair, &again);
	assert_non_null(strstr(again.source.error.text, "device 0"));
	finish(&again);
	finish(&pair);
}

static void a_later_process_finds_that_it_is_away(void **state)
{
	struct pair pair, again;

	(void)state;
	doubt(&pair, NULL, NULL, true);
	crash(&pair, &again);
	wait_for_target(&pair);
	side_run(&again.source);
	assert_int_equal(again.source.outcome, HF_OUTCOME_AWAY);
	assert_false(again.source.was_run);
	assert_int_equal(again.source.sections_loaded, 0);
	assert_false(is_kept());
	finish(&again);
	finish(&pair);
}

static void a_later_process_waits_and_is_told_to_take_it_back(void **state)
{
	struct pair pair, again;

	(void)state;
	doubt(&pair, NULL, NULL, true);
	crash(&pair, &again);
	side_run(&again.source);
	assert_int_equal(again.source.outcome, HF_OUTCOME_WAITING);
	assert_true(is_kept());
	resolve(&again, HF_RESOLVE_TAKE_BACK);
	assert_whole(&pair, &again);
	wait_for_target(&pair);
	assert_int_equal(pair.target.outcome, HF_OUTCOME_FAILED);
	finish(&again);
	finish(&pair);
}

static void without_a_ledger_a_later_process_waits_too(void **state)
{
	struct pair pair, again;

	(void)state;
	doubt(&pair, "none", REFUSES, true);
	crash(&pair, &again);
	wait_for_target(&pair);
	side_run(&again.source);
	assert_int_equal(again.source.outcome, HF_OUTCOME_WAITING);
	resolve(&again, HF_RESOLVE_TAKE_BACK);
	assert_whole(&pair, &again);
	finish(&again);
	finish(&pair);
}

static void nothing_is_kept_of_a_guest_that_is_decided(void **state)
{
	static const char *const filters[] = { NULL, "fault:device[1].set_state=STOP:1:EIO",
					       REFUSES };

	(void)state;
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		struct pair pair;

		pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20,
							.device_count = 2,
							.target_filter = filters[i] });
		pair.source.config.keep = keep_dir;
		pair_run(&pair);
		if (filters[i])
			pair_assert_home(&pair);
		else
			pair_assert_moved(&pair);
		assert_false(is_kept());
		assert_int_equal(rmdir(keep_dir), 0); /* nothing else either */
		assert_int_equal(mkdir(keep_dir, 0700), 0);
		pair_done(&pair);
	}
}

static void a_folder_with_a_guest_in_doubt_takes_no_other(void **state)
{
	struct hf_session *session = NULL;
	struct hf_error err = { 0 };
	struct pair pair, again;

	(void)state;
	doubt(&pair, NULL, REFUSES, true);
	pair_init(&again, &(struct pair_config){ .memory_bytes = 1 << 20 });
	again.source.config.keep = keep_dir;
	assert_int_equal(hf_session_new(&again.source.config, &session, NULL), HF_E_BUSY);
	wait_for_target(&pair);
	pair.source.session = hf_session_free(pair.source.session);
	assert_int_equal(hf_session_new(&again.source.config, &session, &err), HF_E_INVALID);
	assert_non_null(strstr(err.text, keep_dir));
	pair_done(&again);
	crash(&pair, &again);
	side_run(&again.source);
	assert_whole(&pair, &again);
	finish(&again);
	finish(&pair);
}

/* Change one byte of a file, a negative offset from its end; 0: cut it in the middle. */
static void damage(const char *name, off_t offset)
{
	char path[128];
	struct stat info;
	uint8_t byte;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", keep_dir, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &info), 0);
	if (offset == 0) {
		assert_int_equal(ftruncate(fd, info.st_size / 2), 0);
	} else {
		offset += offset < 0 ? info.st_size : 0;
		assert_int_equal(pread(fd, &byte, 1, offset), 1);
		byte ^= 1;
		assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
	}
	(void)close(fd);
}

static void what_is_kept_and_damaged_is_not_run(void **state)
{
	static const struct {
		const char *name;
		off_t offset;
		bool early; /* refused before the ledger is asked */
	} cases[] = {
		{ "control", 0, true },	    { "control", -200, true }, { "control", -100, true },
		{ "device-0", 0, false },   { "device-0", 70, false }, { "device-1", -1, false },
		{ "device-1", 300, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hf_error err = { 0 };
		struct pair pair, again;
		int code;

		print_message("# %s at %ld\n", cases[i].name, (long)cases[i].offset);
		doubt(&pair, NULL, REFUSES, true);
		crash(&pair, &again);
		wait_for_target(&pair);
		damage(cases[i].name, cases[i].offset);
		code = hf_session_new(&again.source.config, &again.source.session, &err);
		if (cases[i].early) {
			assert_int_equal(code, HF_E_STREAM_DAMAGED);
			assert_non_null(strstr(err.text, keep_dir));
			again.source.session = NULL;
		} else {
			assert_int_equal(code, 0);
			side_run(&again.source);
			assert_int_equal(again.source.outcome, HF_OUTCOME_LOST);
			assert_false(again.source.was_run);
			assert_non_null(strstr(again.source.error.text, cases[i].name));
		}
		finish(&again);
		finish(&pair);
		(void)snprintf(err.text, sizeof(err.text), "rm -f %s/*", keep_dir);
		assert_int_equal(system(err.text), 0);
	}
}

static void a_folder_that_is_full_leaves_the_guest_at_home(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20, .device_count = 1 });
	pair.source.config.keep = keep_dir;
	{
		/* /dev/full says ENOSPC to every write; no link is followed, so it is a node. */
		struct stat full;
		char path[128];

		(void)snprintf(path, sizeof(path), "%s/device-0", keep_dir);
		assert_int_equal(stat("/dev/full", &full), 0);
		if (mknod(path, S_IFCHR | 0600, full.st_rdev) < 0) {
			print_message("# skipped: a device node cannot be made here\n");
			pair_done(&pair);
			skip();
		}
	}
	pair_run(&pair);
	pair_assert_home(&pair);
	assert_non_null(strstr(pair.source.error.text, "device-0"));
	assert_non_null(strstr(pair.target.error.text, "device-0"));
	assert_false(is_kept());
	pair_done(&pair);
}

static int make_dir(void **state)
{
	(void)state;
	(void)snprintf(keep_dir, sizeof(keep_dir), "/tmp/hf-keep-XXXXXX");
	return mkdtemp(keep_dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(keep_dir); /* and so: nothing is left in it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_ledger_says_on_the_way_home_answers_nothing),
		cmocka_unit_test(the_ledger_asked_again_says_that_it_is_away),
		cmocka_unit_test(asked_too_early_it_waits_again),
		cmocka_unit_test(taken_back_the_late_start_of_the_target_fails),
		cmocka_unit_test(a_returned_guest_is_found_by_asking),
		cmocka_unit_test(the_reason_of_a_late_return_replaces_the_deadline),
		cmocka_unit_test(without_a_ledger_go_commits),
		cmocka_unit_test(without_a_ledger_what_the_target_declines_is_home),
		cmocka_unit_test(without_a_ledger_a_source_in_doubt_waits_for_the_operator),
		cmocka_unit_test(without_a_ledger_the_operator_takes_it_back),
		cmocka_unit_test(a_ledger_on_one_side_only_is_refused),
		cmocka_unit_test(two_ledgers_of_one_name_are_told_apart),
		cmocka_unit_test(a_ledger_that_went_away_begins_no_switchover),
		cmocka_unit_test(a_later_process_runs_the_guest_that_was_returned),
		cmocka_unit_test(a_later_process_finds_that_it_is_away),
		cmocka_unit_test(a_later_process_waits_and_is_told_to_take_it_back),
		cmocka_unit_test(without_a_ledger_a_later_process_waits_too),
		cmocka_unit_test(nothing_is_kept_of_a_guest_that_is_decided),
		cmocka_unit_test(a_folder_with_a_guest_in_doubt_takes_no_other),
		cmocka_unit_test(what_is_kept_and_damaged_is_not_run),
		cmocka_unit_test(a_folder_that_is_full_leaves_the_guest_at_home),
	};

	return cmocka_run_group_tests_name("session-doubt", tests, make_dir, remove_dir);
}
