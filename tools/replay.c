/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * holdfast replay: the story that a session's recording tells, or the two of one migration as one;
 * then every decision again, by this version's state machines. It only reads.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <holdfast/record.h>
#include <holdfast/session.h>

#include "tools/commands.h"
#include "vmm/migrate.h"
#include "vmm/qmp.h"

#define STORIES_MAX 2u

/* One recording, and how far it was told. */
struct story {
	const char *path;
	struct hf_recording *recording;
	const struct hf_recording_info *info;
	const char *role; /* "source", "target" */
	uint64_t next;
};

static const char *role_name(uint32_t role)
{
	return role == HF_ROLE_SOURCE ? "source" : "target";
}

/* On the host's CLOCK_REALTIME, as it was when the session was made. */
static uint64_t real_ns(const struct story *story, const struct hf_recorded *entry)
{
	return story->info->realtime_ns + (entry->time_ns - story->info->start_ns);
}

/* ---- in words ------------------------------------------------------------------------------ */

static void hex_of(const uint8_t id[16], char text[33])
{
	for (uint32_t i = 0; i < 16; i++)
		(void)snprintf(text + (size_t)2 * i, 3, "%02x", id[i]);
}

static void print_info(const struct story *story)
{
	const struct hf_recording_info *info = story->info;
	time_t seconds = (time_t)(info->realtime_ns / 1000000000u);
	char when[32] = "?", id[33];
	struct tm parts;

	if (gmtime_r(&seconds, &parts))
		(void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &parts);
	hex_of(info->session, id);
	/* Whether it is paused is the source's to say. */
	(void)printf("%s: guest %s, side %s%s%s\n", story->role, info->guest, info->side,
		     info->paused && info->role == HF_ROLE_SOURCE ? ", paused" : "",
		     info->restart ? ", taken up again" : "");
	(void)printf("    begun %s.%03u UTC, at %s, ledger %s\n", when,
		     (unsigned int)(info->realtime_ns / 1000000u % 1000u), info->uri, info->ledger);
	(void)printf("    session %s, peer %s, recorded by version %s\n", id,
		     info->peer_side[0] ? info->peer_side : "not known", info->software);
	if (info->missing_decisions || info->missing_events)
		(void)printf("    %" PRIu64 " decisions and what explains them, and %" PRIu64
			     " other events, are not there any more, or could not be written\n",
			     info->missing_decisions, info->missing_events);
	if (info->torn)
		(void)printf("    the last entry is torn: its writer died in the middle of it\n");
}

static void print_decision(const struct hf_recorded *entry)
{
	(void)printf("%s: %s -> %s", entry->state_before, entry->event, entry->state_after);
	for (uint32_t i = 0; i < HF_RECORDED_ACTIONS_MAX && entry->actions[i][0]; i++)
		(void)printf("%s %s", i ? "," : ";", entry->actions[i]);
	if (entry->marks & HF_RECORDED_UNEXPECTED)
		(void)printf(" (there is no row for it)");
}

static void print_event(const struct hf_recorded *entry)
{
	struct migrate_trace_entry trace = { .event.id = entry->trace_id };
	char line[HF_ERROR_TEXT_MAX + MIGRATE_TRACE_TEXT_MAX];

	memcpy(trace.event.arg, entry->arg, sizeof(trace.event.arg));
	(void)snprintf(trace.text, sizeof(trace.text), "%.*s", (int)sizeof(trace.text) - 1,
		       entry->text);
	if (entry->trace_id == HF_TRACE_RECORD_SENT || entry->trace_id == HF_TRACE_RECORD_RECV) {
		(void)printf("  %s %s, %" PRIu64 " bytes",
			     entry->trace_id == HF_TRACE_RECORD_SENT ? "sent" : "received",
			     entry->text, entry->arg[1]);
		return;
	}
	if (entry->trace_id == HF_TRACE_FAILED) /* a code, whatever the file says */
		trace.event.arg[0] &= 0xffff;
	migrate_trace_line(&trace, line, sizeof(line));
	(void)printf("  %s %s", hf_trace_name(entry->trace_id), line);
}

static void print_entry(const struct story *story, const struct hf_recorded *entry, uint64_t since,
			bool both)
{
	(void)printf("%12.3f  ", (double)(int64_t)(real_ns(story, entry) - since) / 1e6);
	if (both)
		(void)printf("%s  ", story->role);
	switch (entry->kind) {
	case HF_RECORDED_DECISION:
		print_decision(entry);
		break;
	case HF_RECORDED_DROPPED:
		(void)printf("%s: %s of %s is not taken: %s", entry->state_after, entry->event,
			     entry->state_before,
			     entry->marks & HF_RECORDED_STALE
				     ? "what asked for it is left"
				     : "it is the echo of a failure that was taken");
		break;
	case HF_RECORDED_PEER:
		(void)printf("  the peer is %s", entry->text);
		break;
	default:
		print_event(entry);
	}
	(void)putchar('\n');
}

/* ---- as JSON ------------------------------------------------------------------------------- */

static void print_json(json_t *object)
{
	(void)json_dumpf(object, stdout, JSON_COMPACT);
	(void)putchar('\n');
	json_decref(object);
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value); /* beyond 2^63: negative, as JSON readers want it */
}

static void print_info_json(const struct story *story)
{
	const struct hf_recording_info *info = story->info;
	char id[33];

	hex_of(info->session, id);
	print_json(json_pack(
		"{s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:b,s:b,s:o,s:o,s:o,s:o,s:o,s:b}", "kind",
		"recording", "role", story->role, "file", qmp_text(story->path), "guest",
		qmp_text(info->guest), "side", qmp_text(info->side), "peer",
		qmp_text(info->peer_side), "ledger", qmp_text(info->ledger), "uri",
		qmp_text(info->uri), "session", id, "paused", (int)info->paused, "restart",
		(int)info->restart, "version", qmp_text(info->software), "realtime_ns",
		number(info->realtime_ns), "entries", number(info->entries), "missing_decisions",
		number(info->missing_decisions), "missing_events", number(info->missing_events),
		"torn", (int)info->torn));
}

static const char *kind_name(uint32_t kind)
{
	static const char *const names[] = { "?", "decision", "dropped", "event", "peer" };

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

static json_t *step_json(const struct hf_recorded *entry)
{
	json_t *object, *actions = json_array();

	for (uint32_t i = 0; i < HF_RECORDED_ACTIONS_MAX && entry->actions[i][0]; i++)
		(void)json_array_append_new(actions, json_string(entry->actions[i]));
	object = json_pack("{s:s,s:s,s:s,s:o}", "before", entry->state_before, "event",
			   entry->event, "after", entry->state_after, "actions", actions);
	if (entry->kind == HF_RECORDED_DROPPED)
		(void)json_object_set_new(
			object, "why",
			json_string(entry->marks & HF_RECORDED_STALE ? "stale" : "echo"));
	else
		(void)json_object_set_new(object, "unexpected",
					  json_boolean(entry->marks & HF_RECORDED_UNEXPECTED));
	return object;
}

static json_t *event_json(const struct hf_recorded *entry)
{
	json_t *arg = json_array();

	for (uint32_t i = 0; i < 4; i++)
		(void)json_array_append_new(arg, number(entry->arg[i]));
	return json_pack("{s:s,s:o,s:o}", "id", hf_trace_name(entry->trace_id), "arg", arg, "text",
			 qmp_text(entry->text));
}

static void print_entry_json(const struct story *story, const struct hf_recorded *entry)
{
	json_t *object, *more;

	object = json_pack("{s:s,s:s,s:o,s:o}", "kind", kind_name(entry->kind), "role", story->role,
			   "sequence", number(entry->sequence), "realtime_ns",
			   number(real_ns(story, entry)));
	if (entry->kind == HF_RECORDED_DECISION || entry->kind == HF_RECORDED_DROPPED)
		more = step_json(entry);
	else if (entry->kind == HF_RECORDED_EVENT)
		more = event_json(entry);
	else
		more = json_pack("{s:o}", "side", qmp_text(entry->text));
	(void)json_object_update(object, more);
	json_decref(more);
	print_json(object);
}

/* ---- the story ----------------------------------------------------------------------------- */

/* Whose entry comes next; NULL: all are told. */
static struct story *earliest(struct story *stories, uint32_t count)
{
	struct story *first = NULL;
	uint64_t first_ns = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct hf_recorded *entry =
			hf_recording_entry(stories[i].recording, stories[i].next);
		uint64_t ns = entry ? real_ns(&stories[i], entry) : 0;

		if (!entry || (first && first_ns <= ns))
			continue;
		first = &stories[i];
		first_ns = ns;
	}
	return first;
}

static void tell(struct story *stories, uint32_t count, bool json)
{
	uint64_t since = stories[0].info->realtime_ns;
	struct story *story;

	for (uint32_t i = 0; i < count; i++) {
		if (stories[i].info->realtime_ns < since)
			since = stories[i].info->realtime_ns;
		if (json)
			print_info_json(&stories[i]);
		else
			print_info(&stories[i]);
	}
	if (!json)
		(void)printf("%12s\n", "ms");
	while ((story = earliest(stories, count))) {
		const struct hf_recorded *entry =
			hf_recording_entry(story->recording, story->next++);

		if (json)
			print_entry_json(story, entry);
		else
			print_entry(story, entry, since, count > 1);
	}
}

/* ---- the decisions again ------------------------------------------------------------------- */

static int replay_one(const struct arguments *arguments, const struct story *story, bool json)
{
	struct hf_replay replay = { .size = sizeof(replay) };
	struct hf_error err = { 0 };
	int code = hf_replay(story->recording, &replay, &err);

	if (json) {
		json_t *object = json_pack("{s:s,s:s,s:o,s:o,s:b}", "kind", "replay", "role",
					   story->role, "replayed", number(replay.replayed),
					   "resumed", number(replay.resumed), "equal", code == 0);

		if (code < 0)
			(void)json_object_set_new(object, "difference", qmp_text(err.text));
		print_json(object);
		return code < 0 ? EXIT_FAILED : EXIT_DONE;
	}
	if (code < 0) {
		(void)printf("%s: replayed %" PRIu64 " decisions as recorded, then one is not\n",
			     story->role, replay.replayed);
		(void)fflush(stdout);
		return command_failed(arguments->command, &err);
	}
	(void)printf("%s: replayed %" PRIu64 " decisions: all as recorded", story->role,
		     replay.replayed);
	if (replay.resumed)
		(void)printf(" (%u times from where the recording goes on behind a gap)",
			     replay.resumed);
	(void)putchar('\n');
	return EXIT_DONE;
}

/* ---- the command --------------------------------------------------------------------------- */

static int open_story(const struct arguments *arguments, const char *path, struct story *story)
{
	struct hf_error err = { 0 };

	story->path = path;
	if (hf_recording_open(path, &story->recording, &err) < 0)
		return command_failed(arguments->command, &err);
	story->info = hf_recording_info(story->recording);
	story->role = role_name(story->info->role);
	return 0;
}

/* Are they of one migration? A target that was never greeted does not know of which. */
static int check_pair(const struct arguments *arguments, const struct story *stories)
{
	static const uint8_t unknown[16];
	const struct hf_recording_info *one = stories[0].info, *other = stories[1].info;

	if (one->role == other->role)
		return command_usage(arguments->command,
				     "both are recordings of a %s: one of each side is wanted",
				     stories[0].role);
	if (memcmp(one->session, unknown, 16) != 0 && memcmp(other->session, unknown, 16) != 0 &&
	    memcmp(one->session, other->session, 16) != 0)
		return command_usage(arguments->command,
				     "the two recordings are not of one migration: their sessions "
				     "differ");
	return 0;
}

static int run(const struct arguments *arguments)
{
	struct story stories[STORIES_MAX] = { 0 };
	const char *with = command_text(arguments, "with");
	bool json = command_has(arguments, "json");
	uint32_t count = with ? 2 : 1;
	int result = open_story(arguments, arguments->operands[0], &stories[0]);

	if (result == 0 && with)
		result = open_story(arguments, with, &stories[1]);
	if (result == 0 && with)
		result = check_pair(arguments, stories);
	if (result == 0) {
		tell(stories, count, json);
		for (uint32_t i = 0; i < count; i++)
			if (replay_one(arguments, &stories[i], json))
				result = EXIT_FAILED;
	}
	for (uint32_t i = 0; i < STORIES_MAX; i++)
		(void)hf_recording_close(stories[i].recording); /* NULL */
	return result;
}

/* clang-format off */
static const struct command_option options[] = {
	{ "with", "FILE", "the other side's recording: one story of both", 0 },
	{ "json", NULL,   "an object a line", 0 },
	{ NULL, NULL, NULL, 0 },
};
/* clang-format on */

const struct command command_replay = {
	.name = "replay",
	.summary = "Show what a session recorded, and decide it again",
	.operands = "FILE",
	.operands_min = 1,
	.operands_max = 1,
	.options = options,
	.run = run,
};
