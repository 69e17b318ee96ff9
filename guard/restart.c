/* SPDX-License-Identifier: BSD-3-Clause */
/* See restart.h. */
#include "guard/restart.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guard/clock.h"
#include "guard/fail.h"
#include "guard/source.h"

#define QUIT_NS (30 * GUARD_NS_PER_S)
#define NOTE_VERSION 1

/* ---- the note ------------------------------------------------------------------------------ */

static int write_whole(const char *path, const char *text, struct hf_error *err)
{
	char part[PATH_MAX];
	size_t length = strlen(text);
	int fd, r = 0;

	if (snprintf(part, sizeof(part), "%s.part", path) >= (int)sizeof(part))
		return guard_fail(err, HF_E_INVALID, ENAMETOOLONG, "%.120s", path);
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return guard_fail(err, HF_E_SYSTEM, errno, "%.160s", part);
	errno = EIO;
	if (write(fd, text, length) != (ssize_t)length || fsync(fd) < 0)
		r = guard_fail(err, HF_E_SYSTEM, errno, "%.160s", part);
	(void)close(fd);
	if (r == 0 && rename(part, path) < 0)
		r = guard_fail(err, HF_E_SYSTEM, errno, "%.160s", path);
	return r;
}

int guard_note_write(const char *path, const struct guard_note *note, struct hf_error *err)
{
	json_t *object = json_pack("{s:i,s:s,s:s,s:s,s:i,s:b}", "version", NOTE_VERSION, "side",
				   note->side, "guest", note->guest, "ledger", note->ledger,
				   "multifd", (int)note->plan.multifd, "runs", note->plan.runs);
	char text[1024];
	size_t length = json_dumpb(object, text, sizeof(text) - 1, JSON_SORT_KEYS);

	json_decref(object);
	if (length == 0 || length >= sizeof(text))
		return guard_fail(err, HF_E_NO_MEMORY, ENOMEM, "a note for %.120s", path);
	text[length] = 0;
	return write_whole(path, text, err);
}

static bool copy(char *to, size_t size, const char *from)
{
	return snprintf(to, size, "%s", from) < (int)size && from[0];
}

int guard_note_read(const char *path, struct guard_note *ret_note, struct hf_error *err)
{
	json_error_t bad = { 0 };
	json_t *object = json_load_file(path, 0, &bad);
	const char *side, *guest, *ledger;
	int version = 0, multifd = 0, runs = 0, r = 0;

	if (!object && access(path, F_OK) < 0)
		return guard_fail(err, HF_E_INVALID, errno, "%.120s: nothing to go on from", path);
	memset(ret_note, 0, sizeof(*ret_note));
	if (json_unpack(object, "{s:i,s:s,s:s,s:s,s:i,s:b}", "version", &version, "side", &side,
			"guest", &guest, "ledger", &ledger, "multifd", &multifd, "runs",
			&runs) < 0 ||
	    version != NOTE_VERSION || multifd < 0 ||
	    !copy(ret_note->side, sizeof(ret_note->side), side) ||
	    !copy(ret_note->guest, sizeof(ret_note->guest), guest) ||
	    !copy(ret_note->ledger, sizeof(ret_note->ledger), ledger))
		r = guard_fail(err, HF_E_STREAM_DAMAGED, 0, "%.120s makes no sense: %.80s", path,
			       bad.text);
	ret_note->plan = (struct facade_plan){ .multifd = (uint32_t)multifd, .runs = runs != 0 };
	json_decref(object);
	return r;
}

/* ---- what was before ----------------------------------------------------------------------- */

static int run_it(struct qemu *qemu, const struct guard_note *note, struct hf_error *err)
{
	char state[QEMU_NAME_MAX];
	int r = qemu_run_state(qemu, state, err);

	if (r == 0 && note->plan.runs && strcmp(state, "running") != 0)
		r = qemu_do(qemu, "cont", NULL, err);
	return r;
}

static int give_back(struct qemu *qemu, struct hf_ledger *ledger, const struct guard_note *note,
		     const struct hf_ledger_record *record, struct hf_error *err)
{
	struct hf_ledger_record now;
	bool claimed =
		record->state == HF_LEDGER_CLAIMED && strcmp(record->offered_to, note->side) == 0;
	char state[QEMU_NAME_MAX];
	int r = qemu_run_state(qemu, state, err);

	/* Whoever has run it: a guest that runs is not ended by a guard. */
	if (r == 0 && strcmp(state, "running") == 0)
		r = guard_fail(err, HF_E_LEDGER_REFUSED, 0,
			       "%.80s says that the guest \"%s\" is %.63s's, and QEMU runs it: "
			       "nothing is done",
			       note->ledger, note->guest, record->owner);
	if (r == 0)
		r = qemu_quit(qemu, guard_now_ns() + QUIT_NS, err);
	/* Nothing is left of the guest here: the owner may have it back. */
	if (r == 0 && claimed)
		r = hf_ledger_take_back(ledger, note->guest, &now, err);
	if (r == 0)
		(void)guard_fail(err, HF_E_CANCELLED, 0, "the target's guard died %s: the guest %s",
				 claimed ? "while it was starting the guest"
					 : "before it had claimed the guest",
				 claimed ? "was given back" : "was never this side's");
	return r;
}

int guard_restart_target(struct qemu *qemu, struct hf_ledger *ledger, const struct guard_note *note,
			 enum hf_outcome *ret_outcome, struct hf_error *err)
{
	struct hf_ledger_record record;
	int r = hf_ledger_read(ledger, note->guest, &record, err);

	*ret_outcome = HF_OUTCOME_NONE;
	if (r < 0)
		return r;
	if (record.revision == 0)
		return guard_fail(err, HF_E_LEDGER_REFUSED, 0,
				  "%.120s knows no guest \"%s\": nothing is done", note->ledger,
				  note->guest);
	/* Started here, whatever has become of it since: it may have been offered on. */
	if (strcmp(record.owner, note->side) == 0) {
		r = record.state == HF_LEDGER_AWAY ? run_it(qemu, note, err) : 0;
		if (r == 0)
			*ret_outcome = HF_OUTCOME_RUNNING;
		return r;
	}
	r = give_back(qemu, ledger, note, &record, err);
	if (r == 0)
		*ret_outcome = HF_OUTCOME_FAILED;
	return r;
}

/* It waits for its last word, or has had it. (A guest whose way failed can be postmigrate, too.) */
static bool was_handed_over(const char *state, const struct qemu_migration *migration)
{
	return strcmp(state, "finish-migrate") == 0 ||
	       (strcmp(state, "postmigrate") == 0 && strcmp(migration->status, "completed") == 0);
}

/*
 * The guest is somebody else's. If it was not handed over from here, the record is about another
 * guest of that name, and this one is none of its business.
 */
static int end_away(struct guard_source *source, const struct guard_note *note,
		    const struct hf_ledger_record *record, bool quit, enum hf_outcome *ret_outcome,
		    struct hf_error *err)
{
	struct qemu_migration migration = { 0 };
	char state[QEMU_NAME_MAX];
	int r = qemu_run_state(source->side.qemu, state, err);

	if (r == 0)
		r = qemu_migration(source->side.qemu, &migration, err);
	if (r == 0 && !was_handed_over(state, &migration))
		r = guard_fail(err, HF_E_LEDGER_REFUSED, 0,
			       "%.80s says that the guest \"%s\" is %.63s's, and QEMU is in the "
			       "state %s: nothing is done",
			       note->ledger, note->guest, record->owner, state);
	if (r == 0)
		r = guard_source_release(source, quit, err);
	if (r == 0)
		*ret_outcome = HF_OUTCOME_AWAY;
	return r;
}

int guard_restart_source(struct guard_source *source, struct hf_ledger *ledger,
			 const struct guard_note *note, bool quit, enum hf_outcome *ret_outcome,
			 struct hf_error *err)
{
	struct hf_ledger_record record;
	int r = hf_ledger_read(ledger, note->guest, &record, err);

	*ret_outcome = HF_OUTCOME_NONE;
	if (r < 0)
		return r;
	source->ran = note->plan.runs;
	if (record.revision && strcmp(record.owner, note->side) != 0)
		return end_away(source, note, &record, quit, ret_outcome, err);
	if (record.revision && record.state != HF_LEDGER_HOME && record.state != HF_LEDGER_AWAY) {
		*ret_outcome = HF_OUTCOME_WAITING;
		(void)guard_fail(err, HF_E_IN_DOUBT, 0,
				 "the guest is offered to %.63s, and nothing of it was kept here",
				 record.offered_to);
		return 0;
	}
	r = guard_source_take_home(source, err);
	if (r == 0) {
		*ret_outcome = HF_OUTCOME_HOME;
		(void)guard_fail(err, HF_E_CANCELLED, 0,
				 "the source's guard died before the guest was away");
	}
	return r;
}
