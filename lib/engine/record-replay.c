/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replay: what a recording says was given to the state machine is given to this version's, and each
 * decision is compared. Numbers are translated by their names, since the recorder may have been of
 * another version. Nothing of a session is here: no clock, no thread, no action is done.
 */
#include <stdio.h>
#include <string.h>

#include <holdfast/session.h>
#include <holdfast/version.h>

#include "base/error.h"
#include "base/export.h"
#include "engine/record-read.h"
#include "engine/record-names.h"

#define UNKNOWN 0xffu

/* What one step starts from, and what it comes to, in numbers of this version. */
struct stand {
	uint8_t state, flags;
};

struct decision {
	struct stand stand;
	bool unexpected;
	uint8_t actions[RECORD_ACTIONS_MAX];
};

struct replay {
	const struct hf_recording *recording;
	struct record_names names; /* of this version */
	uint8_t ours[RECORD_NAME_COUNT][RECORD_NAMES_MAX]; /* by the recording's number */
	struct stand stand;
	uint64_t next; /* number of the decision that follows without a gap */
	struct hf_replay result;
};

static void translate(struct replay *replay)
{
	const struct record_names *theirs = &replay->recording->header.names;

	record_names_of(replay->recording->header.role, &replay->names);
	memset(replay->ours, UNKNOWN, sizeof(replay->ours));
	for (uint32_t kind = 0; kind < RECORD_NAME_COUNT; kind++)
		for (uint32_t i = 0; i < theirs->count[kind]; i++)
			for (uint32_t k = 0; k < replay->names.count[kind]; k++)
				if (strcmp(theirs->text[kind][i], replay->names.text[kind][k]) == 0)
					replay->ours[kind][i] = (uint8_t)k;
}

static void step_source(struct stand stand, uint8_t event, struct decision *ret)
{
	struct source source = record_source_of((enum source_state)stand.state, stand.flags);
	const struct source_row *row =
		source_step(&source, (enum source_event)event, &ret->unexpected);

	ret->stand = (struct stand){ (uint8_t)source.state, record_source_flags(&source) };
	for (uint32_t i = 0; i < RECORD_ACTIONS_MAX && row->actions[i] != SOURCE_A_NONE; i++)
		ret->actions[i] = (uint8_t)row->actions[i];
}

static void step_target(struct stand stand, uint8_t event, struct decision *ret)
{
	struct target target = record_target_of((enum target_state)stand.state, stand.flags);
	const struct target_row *row =
		target_step(&target, (enum target_event)event, &ret->unexpected);

	ret->stand = (struct stand){ (uint8_t)target.state, record_target_flags(&target) };
	for (uint32_t i = 0; i < RECORD_ACTIONS_MAX && row->actions[i] != TARGET_A_NONE; i++)
		ret->actions[i] = (uint8_t)row->actions[i];
}

/* ---- the difference, in words -------------------------------------------------------------- */

static int differs(const struct hf_recording *recording, const char *words, struct hf_error *err)
{
	const char *software = recording->header.software;

	if (strcmp(software, HF_VERSION_TEXT) == 0)
		return error_set(err, HF_E_BUG, 0, "%s", words);
	return error_set(err, HF_E_UNSUPPORTED, 0, "%s (recorded by version %s, this is %s)", words,
			 software, HF_VERSION_TEXT);
}

static void add(char *text, size_t size, const char *word)
{
	size_t length = strlen(text);

	(void)snprintf(text + length, size - length, "%s%s", length ? " " : "", word);
}

static void words_of(const struct replay *replay, const struct decision *decision, char *text,
		     size_t size)
{
	text[0] = '\0';
	add(text, size, replay->names.text[RECORD_STATE][decision->stand.state]);
	if (decision->unexpected)
		add(text, size, "(unexpected)");
	for (uint32_t i = 0; i < RECORD_ACTIONS_MAX && decision->actions[i]; i++)
		add(text, size, replay->names.text[RECORD_ACTION][decision->actions[i]]);
	if (decision->stand.flags) {
		char flags[16];

		(void)snprintf(flags, sizeof(flags), "flags %u", decision->stand.flags);
		add(text, size, flags);
	}
}

static void recorded_words(const struct recording_entry *entry, char *text, size_t size)
{
	text[0] = '\0';
	add(text, size, entry->out.state_after);
	if (entry->slot.marks & HF_RECORDED_UNEXPECTED)
		add(text, size, "(unexpected)");
	for (uint32_t i = 0; i < RECORD_ACTIONS_MAX && entry->out.actions[i][0]; i++)
		add(text, size, entry->out.actions[i]);
	if (entry->slot.flags_after) {
		char flags[16];

		(void)snprintf(flags, sizeof(flags), "flags %u", entry->slot.flags_after);
		add(text, size, flags);
	}
}

/* ---- one decision -------------------------------------------------------------------------- */

static bool is_equal(const struct replay *replay, const struct record_slot *slot,
		     const struct decision *decision)
{
	for (uint32_t i = 0; i < RECORD_ACTIONS_MAX; i++) {
		uint8_t theirs =
			slot->actions[i] ? replay->ours[RECORD_ACTION][slot->actions[i]] : 0;

		if (theirs != decision->actions[i])
			return false;
	}
	return replay->ours[RECORD_STATE][slot->after] == decision->stand.state &&
	       slot->flags_after == decision->stand.flags &&
	       !!(slot->marks & HF_RECORDED_UNEXPECTED) == decision->unexpected;
}

static int check_names(const struct replay *replay, const struct recording_entry *entry,
		       struct hf_error *err)
{
	const struct record_slot *slot = &entry->slot;
	char words[160];

	if (replay->ours[RECORD_STATE][slot->before] == UNKNOWN)
		(void)snprintf(words, sizeof(words), "entry %llu: this version has no state %s",
			       (unsigned long long)slot->sequence, entry->out.state_before);
	else if (replay->ours[RECORD_EVENT][slot->event] == UNKNOWN)
		(void)snprintf(words, sizeof(words), "entry %llu: this version has no event %s",
			       (unsigned long long)slot->sequence, entry->out.event);
	else
		return 0;
	return differs(replay->recording, words, err);
}

static int step(struct replay *replay, const struct recording_entry *entry, struct hf_error *err)
{
	const struct record_slot *slot = &entry->slot;
	struct decision decision = { 0 };
	char words[HF_ERROR_TEXT_MAX], ours[96], theirs[96];
	struct stand before;
	uint8_t event;
	int code = check_names(replay, entry, err);

	if (code < 0)
		return code;
	before = (struct stand){ replay->ours[RECORD_STATE][slot->before], slot->flags_before };
	event = replay->ours[RECORD_EVENT][slot->event];
	if (before.state != replay->stand.state || before.flags != replay->stand.flags) {
		(void)snprintf(words, sizeof(words),
			       "entry %llu: recorded in %s, flags %u, and what was recorded before "
			       "it leads to %s, flags %u",
			       (unsigned long long)slot->sequence, entry->out.state_before,
			       before.flags, replay->names.text[RECORD_STATE][replay->stand.state],
			       replay->stand.flags);
		return differs(replay->recording, words, err);
	}
	if (replay->recording->header.role == HF_ROLE_SOURCE)
		step_source(before, event, &decision);
	else
		step_target(before, event, &decision);
	if (!is_equal(replay, slot, &decision)) {
		recorded_words(entry, theirs, sizeof(theirs));
		words_of(replay, &decision, ours, sizeof(ours));
		(void)snprintf(words, sizeof(words), "entry %llu: %s on %s: recorded: %s; now: %s",
			       (unsigned long long)slot->sequence, entry->out.state_before,
			       entry->out.event, theirs, ours);
		return differs(replay->recording, words, err);
	}
	replay->stand = decision.stand;
	return 0;
}

/* Behind a gap only the recording knows where the machine stood. */
static void resume(struct replay *replay, const struct record_slot *slot)
{
	replay->stand =
		(struct stand){ replay->ours[RECORD_STATE][slot->before], slot->flags_before };
	replay->result.resumed++;
}

static int replay_all(struct replay *replay, struct hf_error *err)
{
	const struct hf_recording *recording = replay->recording;
	bool gap = false;

	for (uint64_t i = 0; i < recording->count; i++) {
		const struct recording_entry *entry = &recording->entries[i];
		int code;

		if (entry->area != RECORD_DECISIONS)
			continue;
		gap |= entry->slot.number != replay->next;
		replay->next = entry->slot.number + 1;
		if (entry->slot.kind != HF_RECORDED_DECISION)
			continue;
		if (gap)
			resume(replay, &entry->slot);
		gap = false;
		code = step(replay, entry, err);
		if (code < 0) {
			replay->result.differs_at = i;
			return code;
		}
		replay->result.replayed++;
	}
	return 0;
}

HF_EXPORT int hf_replay(const struct hf_recording *recording, struct hf_replay *ret_replay,
			struct hf_error *err)
{
	struct replay replay = { .recording = recording, .result.differs_at = UINT64_MAX };
	struct source source;
	struct target target;
	uint32_t size = ret_replay->size;
	int code;

	if (size < sizeof(uint32_t))
		return error_set(err, HF_E_INVALID, 0, "size: it has to be set");
	translate(&replay);
	source_init(&source);
	target_init(&target);
	replay.stand =
		recording->header.role == HF_ROLE_SOURCE
			? (struct stand){ (uint8_t)source.state, record_source_flags(&source) }
			: (struct stand){ (uint8_t)target.state, record_target_flags(&target) };
	code = replay_all(&replay, err);
	memcpy(ret_replay, &replay.result,
	       size < sizeof(replay.result) ? size : sizeof(replay.result));
	ret_replay->size = size;
	return code;
}
