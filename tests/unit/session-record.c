/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What sessions leave in their recordings: both sides of handovers that succeed and fail are
 * recorded, read back, and replayed; a recording that goes bad harms no guest.
 */
#include "session-fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <holdfast/record.h>

static char folder[64], source_path[96], target_path[96];

static int setup(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/hf-session-record-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(source_path, sizeof(source_path), "%s/source", folder);
	(void)snprintf(target_path, sizeof(target_path), "%s/target", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(source_path); /* not every test makes both */
	(void)unlink(target_path);
	return rmdir(folder);
}

static void record_pair(struct pair *pair, const struct pair_config *config)
{
	pair_init(pair, config);
	pair->source.config.record = source_path;
	pair->target.config.record = target_path;
	pair_run(pair);
}

static struct hf_recording *opened(const char *path)
{
	struct hf_recording *recording = NULL;
	struct hf_error err = { 0 };

	if (hf_recording_open(path, &recording, &err) < 0)
		fail_msg("%s", err.text);
	return recording;
}

/* Every TRANSITION that the trace told is a decision in the recording, in the same order. */
static void assert_same_story(const struct side *side, const struct hf_recording *recording)
{
	uint64_t index = 0;

	for (uint32_t i = 0; i < side->trace_count; i++) {
		const struct hf_recorded *entry;
		char text[128];

		if (side->trace[i].id != HF_TRACE_TRANSITION)
			continue;
		do {
			entry = hf_recording_entry(recording, index++);
			if (!entry)
				fail_msg("%s is not recorded", side->trace[i].text);
			(void)snprintf(text, sizeof(text), "%s -> %s (%s)", entry->state_before,
				       entry->state_after, entry->event);
		} while (entry->kind != HF_RECORDED_DECISION ||
			 strcmp(text, side->trace[i].text) != 0);
	}
}

/* Every other event of the trace is there, too. */
static void assert_same_events(const struct side *side, const struct hf_recording *recording)
{
	const struct hf_recorded *entry;
	uint32_t seen = 0;

	for (uint64_t i = 0; (entry = hf_recording_entry(recording, i)); i++) {
		if (entry->kind != HF_RECORDED_EVENT)
			continue;
		while (seen < side->trace_count && side->trace[seen].id == HF_TRACE_TRANSITION)
			seen++;
		assert_true(seen < side->trace_count);
		assert_int_equal(entry->trace_id, side->trace[seen].id);
		assert_memory_equal(entry->arg, side->trace[seen].arg, sizeof(entry->arg));
		assert_int_equal(strncmp(entry->text, side->trace[seen].text,
					 sizeof(side->trace[seen].text) - 1),
				 0);
		seen++;
	}
	for (; seen < side->trace_count; seen++)
		assert_int_equal(side->trace[seen].id, HF_TRACE_TRANSITION);
}

static void assert_replays(const struct side *side, const char *path, const char *end)
{
	struct hf_recording *recording = opened(path);
	const struct hf_recording_info *info = hf_recording_info(recording);
	struct hf_replay replay = { .size = sizeof(replay) };
	const char *state = "";
	struct hf_error err = { 0 };

	if (hf_replay(recording, &replay, &err) < 0)
		fail_msg("%s: %s", path, err.text);
	assert_int_equal(replay.replayed, info->decisions);
	assert_true(replay.replayed >= 5);
	assert_int_equal(replay.resumed, 0);
	assert_int_equal(info->torn, 0);
	assert_int_equal(info->missing_decisions, 0);
	assert_string_equal(info->side, side->label);
	assert_same_story(side, recording);
	assert_same_events(side, recording);
	for (uint64_t i = 0; i < info->entries; i++)
		if (hf_recording_entry(recording, i)->kind == HF_RECORDED_DECISION)
			state = hf_recording_entry(recording, i)->state_after;
	assert_string_equal(state, end);
	(void)hf_recording_close(recording);
}

/* Did the event come in this state? */
static bool came_in(const struct hf_recording *recording, const char *event, const char *state)
{
	const struct hf_recorded *entry;

	for (uint64_t i = 0; (entry = hf_recording_entry(recording, i)); i++)
		if (entry->kind == HF_RECORDED_DECISION && strcmp(entry->event, event) == 0 &&
		    strcmp(entry->state_before, state) == 0)
			return true;
	return false;
}

static void a_handover_is_recorded_and_replayed_on_both_sides(void **state)
{
	struct hf_recording *source, *target;
	struct pair pair;

	(void)state;
	record_pair(&pair, &(struct pair_config){ .memory_bytes = 4 << 20, .device_count = 2 });
	pair_assert_moved(&pair);
	assert_replays(&pair.source, source_path, "AWAY");
	assert_replays(&pair.target, target_path, "RUNNING");
	source = opened(source_path);
	target = opened(target_path);
	assert_memory_equal(hf_recording_info(source)->session, hf_recording_info(target)->session,
			    16);
	assert_string_equal(hf_recording_info(source)->peer_side, "target");
	assert_string_equal(hf_recording_info(target)->peer_side, "source");
	(void)hf_recording_close(source);
	(void)hf_recording_close(target);
	pair_done(&pair);
}

static void a_handover_that_fails_is_recorded_with_its_reason(void **state)
{
	static const char *const filters[] = {
		"fault:device[0].set_state=STOP:1:EIO", /* refused: proving fails */
		"fault:device[1].set_state=RUNNING:1:EIO", /* returned: the start fails */
		"fault:ledger.swap:1:EIO",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		struct pair pair;

		record_pair(&pair, &(struct pair_config){ .memory_bytes = 1 << 20,
							  .device_count = 2,
							  .target_filter = filters[i] });
		assert_replays(&pair.source, source_path,
			       pair.source.outcome == HF_OUTCOME_HOME ? "HOME" : "AWAY");
		assert_replays(&pair.target, target_path,
			       pair.source.outcome == HF_OUTCOME_HOME ? "FAILED" : "RUNNING");
		if (i < 2)
			assert_int_equal(pair.source.outcome, HF_OUTCOME_HOME);
		pair_done(&pair);
		assert_int_equal(unlink(source_path), 0);
		assert_int_equal(unlink(target_path), 0);
	}
}

static void doubt_is_recorded_and_what_an_operator_says_of_it(void **state)
{
	struct hf_error err = { 0 };
	struct hf_recording *recording;
	struct pair pair;

	(void)state;
	/* The ledger does not answer to the offer, nor to what comes behind it: the source waits.
	 */
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20,
						.device_count = 1,
						.source_filter = "fault:ledger.swap:2+:EIO" });
	pair.source.config.record = source_path;
	pair_start(&pair);
	assert_int_equal(pair.source.outcome, HF_OUTCOME_WAITING);
	assert_replays(&pair.source, source_path, "WAITING");
	assert_int_equal(hf_session_resolve(pair.source.session, HF_RESOLVE_ASK, &err), 0);
	side_run(&pair.source);
	pair_finish(&pair);
	assert_replays(&pair.source, source_path, "WAITING");
	recording = opened(source_path);
	assert_true(came_in(recording, "ASK", "WAITING"));
	(void)hf_recording_close(recording);
	pair_done(&pair);
}

/* ---- what recording must not do ------------------------------------------------------------ */

static void what_is_there_is_not_written_over(void **state)
{
	struct hf_error err = { 0 };
	struct pair pair;
	struct stat before, after;

	(void)state;
	record_pair(&pair, &(struct pair_config){ .memory_bytes = 1 << 20 });
	pair_done(&pair);
	assert_int_equal(stat(source_path, &before), 0);
	assert_int_equal(before.st_mode & 0777, 0600); /* it names hosts, paths and devices */

	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20 });
	pair.source.config.record = source_path;
	assert_int_equal(hf_session_new(&pair.source.config, &pair.source.session, &err),
			 HF_E_SYSTEM);
	assert_int_equal(err.cause, EEXIST);
	assert_non_null(strstr(err.text, source_path));
	assert_int_equal(stat(source_path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	pair_done(&pair);
}

static void without_room_there_is_no_session_and_no_file(void **state)
{
	struct rlimit old, low;
	struct hf_error err = { 0 };
	struct pair pair;
	int code;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20 });
	pair.source.config.record = source_path;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = (struct rlimit){ .rlim_cur = 1 << 20, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	code = hf_session_new(&pair.source.config, &pair.source.session, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(code, HF_E_SYSTEM);
	assert_int_equal(err.cause, EFBIG);
	assert_int_equal(access(source_path, F_OK), -1);
	pair_done(&pair);
}

static void truncate_it(struct side *side, const struct hf_event *event)
{
	(void)side;
	if (event->id == HF_TRACE_TRANSITION && strstr(event->text, "QUIESCING"))
		assert_int_equal(truncate(source_path, 0), 0);
}

/* As tools that rotate logs do. A mapping would now be the end of the process. */
static void a_recording_that_is_truncated_harms_no_guest(void **state)
{
	struct hf_recording *recording = NULL;
	struct hf_error err = { 0 };
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20, .device_count = 1 });
	pair.source.config.record = source_path;
	pair.source.on_trace = truncate_it;
	pair_run(&pair);
	pair_assert_moved(&pair);
	assert_true(hf_recording_open(source_path, &recording, &err) < 0);
	assert_int_equal(err.code, HF_E_INVALID);
	assert_non_null(strstr(err.text, source_path));
	pair_done(&pair);
}

static struct rlimit usual;

/* No write succeeds between the switch-over and GO. */
static void fill_the_disk(struct side *side, const struct hf_event *event)
{
	struct rlimit low = { .rlim_cur = 8192, .rlim_max = usual.rlim_max };

	(void)side;
	if (event->id == HF_TRACE_TRANSITION && strstr(event->text, "-> QUIETING"))
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	if (event->id == HF_TRACE_TRANSITION && strstr(event->text, "-> COMMITTING"))
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &usual), 0);
}

static void what_cannot_be_written_is_a_gap_that_the_trace_tells(void **state)
{
	struct hf_replay replay = { .size = sizeof(replay) };
	struct hf_recording *recording;
	struct hf_error err = { 0 };
	struct pair pair;

	(void)state;
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &usual), 0);
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20, .device_count = 1 });
	pair.source.config.record = source_path;
	pair.source.on_trace = fill_the_disk;
	pair_run(&pair);
	pair_assert_moved(&pair);
	assert_true(side_saw(&pair.source, HF_TRACE_UNRECORDED, ""));
	recording = opened(source_path);
	assert_true(hf_recording_info(recording)->missing_decisions > 3);
	assert_int_equal(hf_recording_info(recording)->torn, 0);
	assert_int_equal(hf_replay(recording, &replay, &err), 0);
	assert_int_equal(replay.resumed, 1);
	(void)hf_recording_close(recording);
	pair_done(&pair);
}

static void a_recording_can_be_read_while_it_is_written(void **state)
{
	struct hf_replay replay = { .size = sizeof(replay) };
	struct hf_recording *recording;
	struct hf_error err = { 0 };
	struct pair pair;

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20 });
	pair.target.config.record = target_path;
	assert_int_equal(hf_session_new(&pair.target.config, &pair.target.session, &err), 0);
	assert_int_equal(hf_session_step(pair.target.session), HF_STEP_WAIT);
	recording = opened(target_path);
	assert_int_equal(hf_replay(recording, &replay, &err), 0);
	assert_int_equal(replay.replayed, 1); /* START */
	(void)hf_recording_close(recording);
	assert_int_equal(hf_session_cancel(pair.target.session), 0);
	side_run(&pair.target);
	pair.target.session = hf_session_free(pair.target.session);
	recording = opened(target_path);
	assert_true(hf_recording_info(recording)->decisions > 1);
	(void)hf_recording_close(recording);
	pair_done(&pair);
}

static void what_is_no_recording_is_refused_by_name(void **state)
{
	struct hf_recording *recording = NULL;
	struct hf_error err = { 0 };

	(void)state;
	assert_int_equal(hf_recording_open("/tmp/hf-no-such-file", &recording, &err), HF_E_SYSTEM);
	memset(&err, 0, sizeof(err));
	assert_int_equal(hf_recording_open(folder, &recording, &err), HF_E_INVALID);
	memset(&err, 0, sizeof(err));
	assert_int_equal(hf_recording_open("/proc/self/exe", &recording, &err), HF_E_INVALID);
	assert_null(hf_recording_close(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_handover_is_recorded_and_replayed_on_both_sides),
		TEST(a_handover_that_fails_is_recorded_with_its_reason),
		TEST(doubt_is_recorded_and_what_an_operator_says_of_it),
		TEST(what_is_there_is_not_written_over),
		TEST(without_room_there_is_no_session_and_no_file),
		TEST(a_recording_that_is_truncated_harms_no_guest),
		TEST(what_cannot_be_written_is_a_gap_that_the_trace_tells),
		TEST(a_recording_can_be_read_while_it_is_written),
		TEST(what_is_no_recording_is_refused_by_name),
#undef TEST
	};

	return cmocka_run_group_tests_name("session-record", tests, NULL, NULL);
}
