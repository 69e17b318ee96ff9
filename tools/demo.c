/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * holdfast demo: a guest that proves itself is moved, refused, returned and moved again, on this
 * host, with the shipped command and nothing else. What is claimed here is what the guest itself
 * reports: passes that it began after the handover, all clean.
 */
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <holdfast/types.h>

#include "tools/ask.h"
#include "tools/commands.h"
#include "tools/demo-guest.h"
#include "vmm/control-loop.h"

#define START_MS 30000u
#define PASS_MS 180000u /* a pass over all memory, on a slow host under load */
#define MIGRATE_MS 300000u
#define GUESTS_MAX 8u

#define REFUSES_STOP "fault:device[1].set_state=STOP:1:EIO"
#define REFUSES_RUNNING "fault:device[1].set_state=RUNNING_P2P:1:EIO"

struct demo {
	const struct arguments *arguments;
	char folder[64];
	struct demo_guest guests[GUESTS_MAX];
	uint32_t guest_count;
	bool verbose;
};

/* ---- starting ------------------------------------------------------------------------------ */

static const char *option_or(const struct demo *demo, const char *option, const char *otherwise)
{
	const char *text = command_text(demo->arguments, option);

	return text ? text : otherwise;
}

/* Another process; filter NULL: the guest is booted in it, or awaited without faults. */
static int start(struct demo *demo, const char *name, bool incoming, const char *filter,
		 struct demo_guest **ret_guest, struct hf_error *err)
{
	struct demo_guest *guest = &demo->guests[demo->guest_count];
	const char *line[DEMO_ARGUMENTS_MAX];
	char serial[128], ledger[128];
	size_t n = 0;
	int result;

	(void)snprintf(serial, sizeof(serial), "file:%s/%s.serial", demo->folder, name);
	(void)snprintf(ledger, sizeof(ledger), "file:%s/ledger", demo->folder);
	line[n++] = "--name";
	line[n++] = "demo";
	line[n++] = "--memory";
	line[n++] = option_or(demo, "memory", "1G");
	line[n++] = "--vcpus";
	line[n++] = option_or(demo, "vcpus", "2");
	line[n++] = "--guest";
	line[n++] = option_or(demo, "guest", "auto");
	line[n++] = "--device";
	line[n++] = "sim";
	line[n++] = "--device";
	line[n++] = "sim";
	line[n++] = "--serial";
	line[n++] = serial;
	line[n++] = "--ledger";
	line[n++] = ledger;
	line[n++] = "--append";
	line[n++] = option_or(demo, "append", "rate=20000");
	if (incoming) {
		line[n++] = "--incoming";
		line[n++] = "tcp:127.0.0.1:0";
	} else {
		line[n++] = "--kernel";
		line[n++] = option_or(demo, "kernel", "checker");
	}
	if (filter) {
		line[n++] = "--filter";
		line[n++] = filter;
	}
	line[n] = NULL;
	demo->guest_count++;
	result = demo_guest_start(guest, demo->folder, name, line, START_MS, err);
	*ret_guest = guest;
	return result;
}

/* Where an awaiting process listens; it says so by an event, which may have been before us. */
static int listening_at(struct demo_guest *target, char ret_uri[static HF_URI_MAX],
			struct hf_error *err)
{
	for (;;) {
		json_t *answer;
		const json_t *own;
		bool listens;
		int result = demo_guest_call(target, "query-migrate", NULL, &answer, err);

		if (result < 0)
			return result;
		own = json_object_get(answer, "holdfast");
		listens = json_is_true(json_object_get(own, "listening"));
		(void)snprintf(ret_uri, HF_URI_MAX, "%.*s", HF_URI_MAX - 1, ask_text(own, "uri"));
		json_decref(answer);
		if (listens)
			return 0;
		result = demo_guest_event(target, "MIGRATION", "uri", NULL, START_MS, err);
		if (result < 0)
			return result;
	}
}

/* ---- telling ------------------------------------------------------------------------------- */

static bool is_worth_telling(const struct demo *demo, const char *event)
{
	static const char *const events[] = { "ROUND",	"THROTTLE", "DEVICE_FAIL", "DEVICE_RESET",
					      "LEDGER", "FAILED",   "WAITING",	   "OUTCOME" };

	if (demo->verbose)
		return true;
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (strcmp(events[i], event) == 0)
			return true;
	return false;
}

static int tell_timeline(const struct demo *demo, struct demo_guest *guest, struct hf_error *err)
{
	json_t *list, *entry;
	size_t i;
	int result = demo_guest_call(guest, "query-timeline", NULL, &list, err);

	if (result < 0)
		return result;
	json_array_foreach(list, i, entry)
	{
		if (is_worth_telling(demo, ask_text(entry, "event")))
			(void)printf("  %9.1f ms  %-12s %s\n",
				     (double)ask_number(entry, "time-us") / 1000,
				     ask_text(entry, "event"), ask_text(entry, "text"));
	}
	json_decref(list);
	return 0;
}

static void tell_sums(const json_t *migration)
{
	const json_t *own = json_object_get(migration, "holdfast");

	(void)printf("  %" PRIu64
		     " rounds, %.1f MiB sent, total %.2f s; downtime %.1f ms as the host "
		     "measured it\n",
		     ask_number(own, "round"), (double)ask_number(own, "wire-bytes") / (1 << 20),
		     (double)ask_number(own, "total-us") / 1e6,
		     (double)ask_number(own, "downtime-us") / 1e3);
}

/* The guest's own word: a pass that it has begun after the handover. */
static int confirm(struct demo_guest *guest, struct hf_error *err)
{
	int result = demo_guest_passes(guest, 1, PASS_MS, err);

	if (result < 0)
		return result;
	(void)printf("  the guest, in process %s: pass %" PRIu64
		     " clean, begun after the handover; longest stand-still as the guest measured "
		     "it: %.1f ms\n",
		     guest->name, guest->report.pass, (double)guest->report.gap_us / 1e3);
	return 0;
}

/* ---- moving -------------------------------------------------------------------------------- */

/* Migrate, wait for the end, tell it. *ret_migration is query-migrate's answer. */
static int migrate(const struct demo *demo, struct demo_guest *source, struct demo_guest *target,
		   json_t **ret_migration, struct hf_error *err)
{
	char uri[HF_URI_MAX];
	const char *outcome;
	int result = listening_at(target, uri, err);

	if (result == 0)
		result = demo_guest_mark(source, err);
	if (result == 0)
		result = demo_guest_call(source, "migrate", json_pack("{s:s}", "uri", uri), NULL,
					 err);
	/* "setup" comes first: what an earlier migration ended with is behind it. */
	if (result == 0)
		result = demo_guest_event(source, "MIGRATION", "status", "setup", START_MS, err);
	while (result == 0) {
		result = demo_guest_call(source, "query-migrate", NULL, ret_migration, err);
		if (result < 0)
			break;
		outcome = ask_text(json_object_get(*ret_migration, "holdfast"), "outcome");
		if (strcmp(outcome, "none") != 0)
			return tell_timeline(demo, source, err);
		json_decref(*ret_migration);
		result = demo_guest_event(source, "MIGRATION", "status", NULL, MIGRATE_MS, err);
	}
	return result;
}

static int expect_outcome(const json_t *migration, const char *wanted, struct hf_error *err)
{
	const json_t *own = json_object_get(migration, "holdfast");

	if (strcmp(ask_text(own, "outcome"), wanted) == 0)
		return 0;
	return control_error(err, HF_E_PEER_FAILED, 0, "the outcome is '%s' and not '%s': %.150s",
			     ask_text(own, "outcome"), wanted, ask_text(migration, "error-desc"));
}

/* The guest goes from source to a new process, and the old one leaves. */
static int move(struct demo *demo, struct demo_guest *source, const char *name,
		struct demo_guest **ret_target, struct hf_error *err)
{
	json_t *migration = NULL;
	int exit_status, result = start(demo, name, true, NULL, ret_target, err);

	if (result == 0)
		result = migrate(demo, source, *ret_target, &migration, err);
	if (result == 0)
		result = expect_outcome(migration, "away", err);
	if (result == 0) {
		tell_sums(migration);
		result = confirm(*ret_target, err);
	}
	json_decref(migration);
	if (result == 0)
		result = demo_guest_call(source, "quit", NULL, NULL, err);
	return result ? result : demo_guest_ended(source, START_MS, &exit_status, err);
}

/* The target refuses: the guest stays, the source knows why, and the target's process fails. */
static int refuse(struct demo *demo, struct demo_guest *source, const char *name,
		  const char *filter, struct hf_error *err)
{
	struct demo_guest *target = NULL;
	json_t *migration = NULL;
	const json_t *error;
	int exit_status = 0, result = start(demo, name, true, filter, &target, err);

	if (result == 0)
		result = migrate(demo, source, target, &migration, err);
	if (result == 0)
		result = expect_outcome(migration, "home", err);
	if (result == 0) {
		error = json_object_get(json_object_get(migration, "holdfast"), "error");
		(void)printf("  the source reports: %s (%s, class %s, errno %" PRIu64 ")\n",
			     ask_text(error, "text"), ask_text(error, "name"),
			     ask_text(error, "class"), ask_number(error, "cause"));
		if (!strstr(ask_text(error, "text"), "sim1"))
			result = control_error(err, HF_E_PEER_FAILED, 0,
					       "the reason does not name the device sim1: %.150s",
					       ask_text(error, "text"));
	}
	json_decref(migration);
	if (result == 0)
		result = confirm(source, err);
	if (result == 0)
		result = demo_guest_ended(target, START_MS, &exit_status, err);
	if (result == 0 && exit_status != 1)
		return control_error(err, HF_E_PEER_FAILED, 0,
				     "the target's process ended with %d and not with 1",
				     exit_status);
	return result;
}

/* ---- the story ----------------------------------------------------------------------------- */

static void headline(const char *text)
{
	(void)printf("\n%s\n", text);
	(void)fflush(stdout);
}

static int boot(struct demo *demo, struct demo_guest **ret_guest, struct hf_error *err)
{
	json_t *answer = NULL;
	int result;

	headline("A guest is started, and works: it writes its memory, drives its two devices and "
		 "checks both.");
	result = start(demo, "a", false, NULL, ret_guest, err);
	if (result == 0)
		result = demo_guest_call(*ret_guest, "query-guest", NULL, &answer, err);
	if (result < 0)
		return result;
	(void)printf("  process a: %s, %" PRIu64 " MiB\n", ask_text(answer, "description"),
		     ask_number(answer, "memory") >> 20);
	if (strcmp(ask_text(answer, "kind"), "thread") == 0)
		(void)printf(
			"  (this host has no KVM for it, or --guest thread was given: the vCPUs "
			"are threads)\n");
	json_decref(answer);
	result = demo_guest_passes(*ret_guest, 1, PASS_MS, err);
	if (result == 0)
		(void)printf("  the guest: %s\n", (*ret_guest)->report.line);
	return result;
}

static int play(struct demo *demo, struct hf_error *err)
{
	struct demo_guest *first = NULL, *second = NULL, *last = NULL;
	int exit_status, result = boot(demo, &first, err);

	if (result == 0) {
		headline("1. It is migrated, from process a to process b.");
		result = move(demo, first, "b", &second, err);
	}
	if (result == 0) {
		headline("2. It is migrated again, and the target's second device refuses "
			 "RESUMING -> STOP.");
		result = refuse(demo, second, "c", REFUSES_STOP, err);
	}
	if (result == 0) {
		headline(
			"3. And again: the target proves it, claims it, and then its second device "
			"refuses to run.");
		result = refuse(demo, second, "d", REFUSES_RUNNING, err);
	}
	if (result == 0) {
		headline("4. After both failures the guest is as good as before: it is migrated "
			 "once "
			 "more.");
		result = move(demo, second, "e", &last, err);
	}
	if (result == 0)
		result = demo_guest_call(last, "quit", NULL, NULL, err);
	return result ? result : demo_guest_ended(last, START_MS, &exit_status, err);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
	(void)st;
	(void)type;
	(void)place;
	(void)remove(path); /* what cannot be removed stays in a temporary folder */
	return 0;
}

static int run(const struct arguments *arguments)
{
	static struct demo demo; /* large, and there is one */
	struct hf_error err = { 0 };
	char ledger[128];
	int result;

	demo.arguments = arguments;
	demo.verbose = command_has(arguments, "verbose");
	(void)snprintf(demo.folder, sizeof(demo.folder), "/tmp/holdfast-demo.XXXXXX");
	if (!mkdtemp(demo.folder)) {
		(void)fprintf(stderr, "holdfast demo: no temporary folder in /tmp\n");
		return EXIT_FAILED;
	}
	(void)snprintf(ledger, sizeof(ledger), "%s/ledger", demo.folder);
	(void)mkdir(ledger, 0700); /* if this fails, the first guest says so */

	result = play(&demo, &err);
	for (uint32_t i = 0; i < demo.guest_count; i++)
		demo_guest_done(&demo.guests[i]);
	if (result == 0)
		(void)printf("\nFour handovers, two of them refused; the guest never noticed, and "
			     "says so itself.\n");
	else
		(void)fprintf(stderr, "\nholdfast demo: %s\n", err.text);
	if (result == 0 && !command_has(arguments, "keep"))
		(void)nftw(demo.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	else
		(void)printf("Consoles and logs are in %s\n", demo.folder);
	return result == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* clang-format off */
static const struct command_option options[] = {
	{ "memory",  "SIZE", "the guest's memory; default: 1G", 0 },
	{ "vcpus",   "N",    "its virtual CPUs; default: 2", 0 },
	{ "guest",   "KIND", "kvm, thread or auto; default: auto", 0 },
	{ "kernel",  "FILE", "another kernel than the checker; it must report as that does", 0 },
	{ "append",  "TEXT", "the checker's knobs; default: rate=20000", 0 },
	{ "verbose", NULL,   "tell every event of the migrations", 0 },
	{ "keep",    NULL,   "keep the consoles and logs", 0 },
	{ NULL, NULL, NULL, 0 },
};
/* clang-format on */

const struct command command_demo = {
	.name = "demo",
	.summary = "Show on this host that a guest survives failing migrations, by the guest's own "
		   "word",
	.operands = "",
	.options = options,
	.run = run,
};
