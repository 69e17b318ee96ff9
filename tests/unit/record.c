/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recordings of sessions, as bytes: what is written can be read, each kind of damage is named, and
 * replay finds every decision that this version would not make. Recordings of real sessions are in
 * session-record.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <holdfast/record.h>
#include <holdfast/session.h>

#include "engine/record-read.h"
#include "engine/record-names.h"
#include "record-file.h"

static struct record_file file;

static struct hf_recording *opened(void)
{
	struct hf_recording *recording = NULL;
	struct hf_error err = { 0 };

	if (recording_parse(file.bytes, sizeof(file.bytes), &recording, &err) < 0)
		fail_msg("%s", err.text);
	return recording;
}

/* It is refused with this code, and the text has these words. */
static void assert_refused(size_t size, int code, const char *words)
{
	struct hf_recording *recording = NULL;
	struct hf_error err = { 0 };

	if (recording_parse(file.bytes, size, &recording, &err) == 0)
		fail_msg("it was taken, and should be refused: %s", words);
	if (err.code != code || !strstr(err.text, words))
		fail_msg("%d %s, wanted: %d %s", err.code, err.text, code, words);
	assert_null(recording);
}

/* A session of a source that cannot connect, as its table decides; returns where the last lies. */
static size_t add_steps(const enum source_event *events, size_t count)
{
	struct source source;
	size_t at = 0;

	source_init(&source);
	for (size_t i = 0; i < count; i++) {
		struct record_slot slot = {
			.kind = HF_RECORDED_DECISION,
			.before = (uint8_t)source.state,
			.event = (uint8_t)events[i],
			.flags_before = record_source_flags(&source),
		};
		bool unexpected;
		const struct source_row *row = source_step(&source, events[i], &unexpected);

		slot.after = (uint8_t)source.state;
		slot.flags_after = record_source_flags(&source);
		slot.marks = unexpected ? HF_RECORDED_UNEXPECTED : 0;
		for (uint32_t k = 0; k < SOURCE_ACTIONS_MAX && row->actions[k]; k++)
			slot.actions[k] = (uint8_t)row->actions[k];
		at = record_file_add(&file, RECORD_DECISIONS, slot);
	}
	return at;
}

static const enum source_event beginning[] = { SOURCE_E_START, SOURCE_E_LEDGER_DONE,
					       SOURCE_E_ACCEPTED, SOURCE_E_CONVERGED };

static int replay_code(struct hf_replay *replay, struct hf_error *err)
{
	struct hf_recording *recording = opened();
	int code;

	*replay = (struct hf_replay){ .size = sizeof(*replay) };
	memset(err, 0, sizeof(*err));
	code = hf_replay(recording, replay, err);
	(void)hf_recording_close(recording);
	return code;
}

/* ---- what was written can be read ---------------------------------------------------------- */

static void an_empty_recording_says_whose_it_is(void **state)
{
	const struct hf_recording_info *info;
	struct hf_recording *recording;

	(void)state;
	record_file_init(&file, HF_ROLE_TARGET);
	recording = opened();
	info = hf_recording_info(recording);
	assert_int_equal(info->role, HF_ROLE_TARGET);
	assert_string_equal(info->guest, "guest");
	assert_string_equal(info->side, "here");
	assert_string_equal(info->ledger, "memory:x");
	assert_int_equal(info->entries, 0);
	assert_int_equal(info->torn, 0);
	assert_int_equal(info->missing_decisions, 0);
	assert_null(hf_recording_entry(recording, 0));
	(void)hf_recording_close(recording);
}

static void entries_come_back_in_the_order_of_both_areas(void **state)
{
	struct record_slot event = { .kind = HF_RECORDED_EVENT,
				     .id = HF_TRACE_ROUND,
				     .arg = { 1, 2, 3, UINT64_MAX },
				     .text = "words" };
	struct hf_recording *recording;
	const struct hf_recorded *entry;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	(void)add_steps(beginning, 2);
	(void)record_file_add(&file, RECORD_CHATTER, event);
	(void)record_file_add(&file, RECORD_DECISIONS,
			      (struct record_slot){ .kind = HF_RECORDED_DROPPED,
						    .before = SOURCE_HELLO,
						    .after = SOURCE_UNDOING,
						    .event = SOURCE_E_FAIL,
						    .marks = HF_RECORDED_STALE });
	recording = opened();
	assert_int_equal(hf_recording_info(recording)->entries, 4);
	assert_int_equal(hf_recording_info(recording)->decisions, 2);
	entry = hf_recording_entry(recording, 0);
	assert_string_equal(entry->state_before, "IDLE");
	assert_string_equal(entry->event, "START");
	assert_string_equal(entry->state_after, "ENTERING");
	assert_string_equal(entry->actions[0], "LEDGER_ENTER");
	assert_string_equal(entry->actions[1], "");
	entry = hf_recording_entry(recording, 2);
	assert_int_equal(entry->kind, HF_RECORDED_EVENT);
	assert_int_equal(entry->trace_id, HF_TRACE_ROUND);
	assert_true(entry->arg[3] == UINT64_MAX);
	assert_string_equal(entry->text, "words");
	assert_string_equal(entry->state_before, "");
	entry = hf_recording_entry(recording, 3);
	assert_int_equal(entry->kind, HF_RECORDED_DROPPED);
	assert_string_equal(entry->state_before, "HELLO");
	assert_int_equal(entry->marks, HF_RECORDED_STALE);
	assert_null(hf_recording_entry(recording, 4));
	(void)hf_recording_close(recording);
}

static void the_peer_is_known_once_it_has_said_who_it_is(void **state)
{
	struct record_slot slot = { .kind = HF_RECORDED_PEER,
				    .arg = { 0x0807060504030201, 0x100f0e0d0c0b0a09 },
				    .text = "there" };
	struct hf_recording *recording;

	(void)state;
	record_file_init(&file, HF_ROLE_TARGET);
	memset(file.header.session, 0, sizeof(file.header.session));
	record_file_seal(&file);
	(void)record_file_add(&file, RECORD_DECISIONS, slot);
	recording = opened();
	assert_string_equal(hf_recording_info(recording)->peer_side, "there");
	for (uint8_t i = 0; i < 16; i++)
		assert_int_equal(hf_recording_info(recording)->session[i], i + 1);
	(void)hf_recording_close(recording);
}

static void a_text_that_is_too_long_is_cut_and_marked(void **state)
{
	struct record_slot slot = { .kind = HF_RECORDED_EVENT, .id = HF_TRACE_FAILED };
	struct hf_recording *recording;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	memset(slot.text, 'x', RECORD_TEXT_MAX - 1);
	slot.text[7] = '\x1b'; /* for a terminal, this is a command */
	(void)record_file_add(&file, RECORD_CHATTER, slot);
	slot.text[RECORD_TEXT_MAX - 1] = 'x';
	(void)record_file_add(&file, RECORD_CHATTER, slot);
	recording = opened();
	for (uint64_t i = 0; i < 2; i++) {
		const struct hf_recorded *entry = hf_recording_entry(recording, i);

		assert_int_equal(strlen(entry->text), RECORD_TEXT_MAX - 1);
		assert_int_equal(entry->text[7], '?');
		assert_int_equal(entry->marks, i ? HF_RECORDED_CUT : 0);
	}
	(void)hf_recording_close(recording);
}

static void the_beginning_and_the_end_outlive_a_ring_that_goes_round(void **state)
{
	/* slots: 4 kept, 4 in the ring; so 0..3 and the last four of 23 */
	const uint64_t wanted[] = { 0, 1, 2, 3, 19, 20, 21, 22 };
	struct hf_recording *recording;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	for (uint64_t i = 0; i < 23; i++)
		(void)record_file_add(&file, RECORD_CHATTER,
				      (struct record_slot){ .kind = HF_RECORDED_EVENT,
							    .id = HF_TRACE_ROUND,
							    .arg = { i } });
	recording = opened();
	assert_int_equal(hf_recording_info(recording)->entries, 8);
	assert_int_equal(hf_recording_info(recording)->missing_events, 15);
	assert_int_equal(hf_recording_info(recording)->missing_decisions, 0);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(hf_recording_entry(recording, i)->arg[0], wanted[i]);
	(void)hf_recording_close(recording);
}

static void chatter_pushes_no_decision_out(void **state)
{
	struct hf_replay replay;
	struct hf_error err;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	(void)add_steps(beginning, 4);
	for (uint32_t i = 0; i < 1000; i++)
		(void)record_file_add(&file, RECORD_CHATTER,
				      (struct record_slot){ .kind = HF_RECORDED_EVENT });
	assert_int_equal(replay_code(&replay, &err), 0);
	assert_int_equal(replay.replayed, 4);
	assert_int_equal(replay.resumed, 0);
}

/* ---- what a killed process leaves ---------------------------------------------------------- */

static void a_torn_last_entry_is_told_and_hides_nothing_else(void **state)
{
	struct hf_recording *recording;
	size_t at;

	(void)state;
	for (size_t torn = 1; torn <= 4; torn++) {
		record_file_init(&file, HF_ROLE_SOURCE);
		at = add_steps(beginning, torn);
		memset(file.bytes + at + 16, 0, RECORD_SLOT_BYTES - 16);
		recording = opened();
		assert_int_equal(hf_recording_info(recording)->torn, 1);
		assert_int_equal(hf_recording_info(recording)->entries, torn - 1);
		(void)hf_recording_close(recording);
	}
}

static void a_torn_entry_in_the_ring_is_told_too(void **state)
{
	struct hf_recording *recording;
	size_t at = 0;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	for (uint32_t i = 0; i < 10; i++)
		at = record_file_add(&file, RECORD_CHATTER,
				     (struct record_slot){ .kind = HF_RECORDED_EVENT });
	file.bytes[at + 30] ^= 1;
	recording = opened();
	assert_int_equal(hf_recording_info(recording)->torn, 1);
	assert_int_equal(hf_recording_info(recording)->entries, 7);
	(void)hf_recording_close(recording);
}

static void damage_elsewhere_is_refused_with_its_offset(void **state)
{
	char words[64];
	size_t at;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	(void)add_steps(beginning, 1);
	at = RECORD_HEADER_BYTES; /* the first; one more follows it */
	(void)record_file_add(&file, RECORD_DECISIONS,
			      (struct record_slot){ .kind = HF_RECORDED_PEER });
	file.bytes[at + 100] ^= 1;
	(void)snprintf(words, sizeof(words), "offset %zu, checksum", at + RECORD_SLOT_BYTES - 8);
	assert_refused(sizeof(file.bytes), HF_E_STREAM_DAMAGED, words);
}

static void an_entry_that_was_never_written_is_missing(void **state)
{
	struct hf_recording *recording;
	struct hf_replay replay;
	struct hf_error err;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	(void)add_steps(beginning, 4);
	memset(file.bytes + RECORD_HEADER_BYTES + RECORD_SLOT_BYTES, 0, RECORD_SLOT_BYTES);
	recording = opened();
	assert_int_equal(hf_recording_info(recording)->missing_decisions, 1);
	assert_int_equal(hf_recording_info(recording)->torn, 0);
	(void)hf_recording_close(recording);
	/* What is left is replayed; where it goes on, the recording is believed. */
	assert_int_equal(replay_code(&replay, &err), 0);
	assert_int_equal(replay.replayed, 3);
	assert_int_equal(replay.resumed, 1);
}

static void an_old_entry_that_was_not_gone_over_is_not_taken_for_a_new_one(void **state)
{
	uint8_t old[RECORD_SLOT_BYTES];
	struct hf_recording *recording;
	size_t at = 0;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	for (uint32_t i = 0; i < 12; i++) {
		at = record_file_add(
			&file, RECORD_CHATTER,
			(struct record_slot){ .kind = HF_RECORDED_EVENT, .arg = { i } });
		if (i == 5)
			memcpy(old, file.bytes + at, sizeof(old));
	}
	/* Number 9 could not be written: 5 is still there. */
	memcpy(file.bytes + at - 2 * RECORD_SLOT_BYTES, old, sizeof(old));
	recording = opened();
	assert_int_equal(hf_recording_info(recording)->entries, 7);
	assert_int_equal(hf_recording_info(recording)->missing_events, 5);
	for (uint64_t i = 0; i < 7; i++)
		assert_int_not_equal(hf_recording_entry(recording, i)->arg[0], 5);
	(void)hf_recording_close(recording);
}

/* ---- what is no recording ------------------------------------------------------------------ */

static void no_beginning_of_a_recording_is_taken_for_one(void **state)
{
	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	(void)add_steps(beginning, 4);
	for (size_t size = 0; size < sizeof(file.bytes); size += size < 64 ? 1 : 61)
		assert_refused(size, size < 8 ? HF_E_INVALID : HF_E_STREAM_DAMAGED, "offset");
}

static void every_octet_of_the_header_is_guarded(void **state)
{
	(void)state;
	for (size_t at = 0; at < RECORD_HEADER_BYTES; at++) {
		struct hf_recording *recording = NULL;
		struct hf_error err = { 0 };

		record_file_init(&file, HF_ROLE_SOURCE);
		file.bytes[at] ^= 0x40;
		assert_true(recording_parse(file.bytes, sizeof(file.bytes), &recording, &err) < 0);
		assert_int_equal(err.code, at < 8    ? HF_E_INVALID
					   : at < 12 ? HF_E_UNSUPPORTED
						     : HF_E_STREAM_DAMAGED);
	}
}

static void numbers_of_the_header_have_limits(void **state)
{
	static const struct {
		size_t at;
		uint8_t value, width;
		const char *words;
	} cases[] = {
		{ 13, 0xff, 1, "header's size" },
		{ 17, 0xff, 1, "slots' size" },
		{ 20, 0xff, 4, "slots of an area" },
		{ 24, 0xff, 4, "slots of an area" },
		{ 24, 0, 4, "slots of an area" },
		{ 28, 0xff, 4, "slots of an area" },
		{ 29, 0xff, 1, "the file ends" },
		{ 32, 3, 1, "the file should end" },
		{ 36, 0, 4, "role" },
		{ 36, 3, 1, "role" },
		{ 80, 0xff, 32, "software" },
		{ 112, 'x', 64, "guest" },
		{ 176, 'x', 64, "side" },
		{ 240, 'x', 255, "ledger" },
		{ 496, 0x7f, 1, "uri" },
		{ 752, 0, 2, "count of names" },
		{ 754, 65, 1, "count of names" },
		{ 756, 0xff, 2, "count of names" },
		{ 760, 0, 1, "name" },
		{ 760, 'a', 1, "name" },
		{ 760, 'A', 33, "name" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		record_file_init(&file, HF_ROLE_SOURCE);
		memset(file.bytes + cases[i].at, cases[i].value, cases[i].width);
		if (cases[i].at == 240)
			file.bytes[495] = 'x'; /* 256 without an end */
		record_seal(file.bytes, RECORD_HEADER_BYTES);
		assert_refused(sizeof(file.bytes), HF_E_STREAM_DAMAGED, cases[i].words);
	}
}

static void names_that_run_to_the_end_of_the_header_are_refused(void **state)
{
	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	/* Three times 64 names of 23 letters are more than there is room for. */
	file.bytes[752] = file.bytes[754] = file.bytes[756] = 64;
	for (size_t at = 760; at + 24 <= RECORD_HEADER_BYTES; at += 24) {
		memset(file.bytes + at, 'A', 23);
		file.bytes[at + 23] = 0;
	}
	record_seal(file.bytes, RECORD_HEADER_BYTES);
	assert_refused(sizeof(file.bytes), HF_E_STREAM_DAMAGED, "name");
}

static void numbers_of_an_entry_have_limits(void **state)
{
	static const struct {
		size_t at;
		uint8_t value, width;
		const char *words;
	} cases[] = {
		{ 0, 0, 8, "sequence" },	{ 8, 5, 1, "number" },
		{ 8, 0xff, 8, "number" },	{ 24, 0, 1, "kind" },
		{ 24, 5, 1, "kind" },		{ 25, SOURCE_STATE_COUNT, 1, "state before" },
		{ 26, 0xff, 1, "state after" }, { 27, SOURCE_EVENT_COUNT, 1, "event" },
		{ 35, 0xff, 1, "action" },	{ 72, 'x', 255, "text" },
		{ 72, '\n', 1, "text" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t at = RECORD_HEADER_BYTES;

		record_file_init(&file, HF_ROLE_SOURCE);
		(void)add_steps(beginning, 1);
		memset(file.bytes + at + cases[i].at, cases[i].value, cases[i].width);
		if (cases[i].width == 255) /* all of the text */
			memset(file.bytes + at + 72, 'x', RECORD_TEXT_MAX);
		record_seal(file.bytes + at, RECORD_SLOT_BYTES);
		assert_refused(sizeof(file.bytes), HF_E_STREAM_DAMAGED, cases[i].words);
	}
}

static void two_entries_of_one_sequence_or_out_of_order_are_refused(void **state)
{
	struct record_slot slot = { .kind = HF_RECORDED_PEER, .number = 1 };
	size_t at = RECORD_HEADER_BYTES + RECORD_SLOT_BYTES;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	(void)add_steps(beginning, 3);
	slot.sequence = 3;
	record_file_put(&file, at, &slot);
	assert_refused(sizeof(file.bytes), HF_E_STREAM_DAMAGED, "two entries 3");
	slot.sequence = 9;
	record_file_put(&file, at, &slot);
	assert_refused(sizeof(file.bytes), HF_E_STREAM_DAMAGED, "out of order");
}

/* ---- replay -------------------------------------------------------------------------------- */

static void replay_finds_what_is_recorded_otherwise(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} changes[] = {
		{ 25, SOURCE_PRECOPY },
		{ 26, SOURCE_AWAY },
		{ 27, SOURCE_E_CONVERGED },
		{ 28, 1 },
		{ 29, 2 },
		{ 30, HF_RECORDED_UNEXPECTED },
		{ 32, SOURCE_A_SEND_GO },
		{ 33, SOURCE_A_SEND_GO },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct hf_replay replay;
		struct hf_error err;
		size_t at;

		record_file_init(&file, HF_ROLE_SOURCE);
		at = add_steps(beginning, 3);
		assert_int_equal(replay_code(&replay, &err), 0);
		assert_int_equal(replay.replayed, 3);
		assert_true(replay.differs_at == UINT64_MAX);
		file.bytes[at + changes[i].at] = changes[i].value;
		record_seal(file.bytes + at, RECORD_SLOT_BYTES);
		assert_int_equal(replay_code(&replay, &err), HF_E_BUG);
		assert_int_equal(replay.replayed, 2);
		assert_int_equal(replay.differs_at, 2);
		assert_non_null(strstr(err.text, "entry 3: "));
	}
}

static void the_difference_is_told_in_words(void **state)
{
	struct hf_replay replay;
	struct hf_error err;
	size_t at;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	at = add_steps(beginning, 3);
	file.bytes[at + 32] = SOURCE_A_SEND_GO;
	record_seal(file.bytes + at, RECORD_SLOT_BYTES);
	assert_int_equal(replay_code(&replay, &err), HF_E_BUG);
	assert_string_equal(err.text, "entry 3: HELLO on ACCEPTED: recorded: PRECOPY SEND_GO; now: "
				      "PRECOPY PRECOPY");
}

static void another_versions_numbers_are_read_by_their_names(void **state)
{
	struct record_names *names = &file.header.names;
	struct hf_replay replay;
	struct hf_error err;
	char swapped[RECORD_NAME_MAX];
	size_t at;

	(void)state;
	/* A version in which PRECOPY and AWAY have each other's number. */
	record_file_init(&file, HF_ROLE_SOURCE);
	memcpy(swapped, names->text[RECORD_STATE][SOURCE_PRECOPY], sizeof(swapped));
	memcpy(names->text[RECORD_STATE][SOURCE_PRECOPY], names->text[RECORD_STATE][SOURCE_AWAY],
	       sizeof(swapped));
	memcpy(names->text[RECORD_STATE][SOURCE_AWAY], swapped, sizeof(swapped));
	record_file_seal(&file);
	at = add_steps(beginning, 3);
	file.bytes[at + 26] = SOURCE_AWAY;
	record_seal(file.bytes + at, RECORD_SLOT_BYTES);
	assert_int_equal(replay_code(&replay, &err), 0);
	assert_int_equal(replay.replayed, 3);
}

static void a_name_that_this_version_has_not_is_told_with_both_versions(void **state)
{
	struct hf_replay replay;
	struct hf_error err;

	(void)state;
	record_file_init(&file, HF_ROLE_SOURCE);
	(void)snprintf(file.header.software, sizeof(file.header.software), "0.0.7");
	(void)snprintf(file.header.names.text[RECORD_STATE][SOURCE_HELLO], RECORD_NAME_MAX,
		       "SHAKING");
	record_file_seal(&file);
	(void)add_steps(beginning, 3);
	assert_int_equal(replay_code(&replay, &err), HF_E_UNSUPPORTED);
	assert_int_equal(replay.replayed, 1);
	assert_non_null(strstr(err.text, "SHAKING"));
	assert_non_null(strstr(err.text, "0.0.7"));
}

static void both_tables_names_fit_into_a_header(void **state)
{
	(void)state;
	for (uint32_t role = HF_ROLE_SOURCE; role <= HF_ROLE_TARGET; role++) {
		struct hf_recording *recording;

		record_file_init(&file, role);
		assert_true(record_header_encode(&file.header, file.bytes));
		recording = opened();
		assert_memory_equal(&recording->header, &file.header, sizeof(file.header));
		(void)hf_recording_close(recording);
	}
}

static void what_the_machines_remember_comes_back(void **state)
{
	(void)state;
	for (uint8_t flags = 0; flags < 8; flags++) {
		struct target target = record_target_of(TARGET_LOADED, flags);

		assert_int_equal(record_target_flags(&target), flags);
		if (flags < 4) {
			struct source source = record_source_of(SOURCE_DOUBT, flags);

			assert_int_equal(record_source_flags(&source), flags);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_recording_says_whose_it_is),
		cmocka_unit_test(entries_come_back_in_the_order_of_both_areas),
		cmocka_unit_test(the_peer_is_known_once_it_has_said_who_it_is),
		cmocka_unit_test(a_text_that_is_too_long_is_cut_and_marked),
		cmocka_unit_test(the_beginning_and_the_end_outlive_a_ring_that_goes_round),
		cmocka_unit_test(chatter_pushes_no_decision_out),
		cmocka_unit_test(a_torn_last_entry_is_told_and_hides_nothing_else),
		cmocka_unit_test(a_torn_entry_in_the_ring_is_told_too),
		cmocka_unit_test(damage_elsewhere_is_refused_with_its_offset),
		cmocka_unit_test(an_entry_that_was_never_written_is_missing),
		cmocka_unit_test(an_old_entry_that_was_not_gone_over_is_not_taken_for_a_new_one),
		cmocka_unit_test(no_beginning_of_a_recording_is_taken_for_one),
		cmocka_unit_test(every_octet_of_the_header_is_guarded),
		cmocka_unit_test(numbers_of_the_header_have_limits),
		cmocka_unit_test(names_that_run_to_the_end_of_the_header_are_refused),
		cmocka_unit_test(numbers_of_an_entry_have_limits),
		cmocka_unit_test(two_entries_of_one_sequence_or_out_of_order_are_refused),
		cmocka_unit_test(replay_finds_what_is_recorded_otherwise),
		cmocka_unit_test(the_difference_is_told_in_words),
		cmocka_unit_test(another_versions_numbers_are_read_by_their_names),
		cmocka_unit_test(a_name_that_this_version_has_not_is_told_with_both_versions),
		cmocka_unit_test(both_tables_names_fit_into_a_header),
		cmocka_unit_test(what_the_machines_remember_comes_back),
	};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
