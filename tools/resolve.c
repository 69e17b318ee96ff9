/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * holdfast resolve: end a doubt. At the guest's own process, by what its session knows; or, where
 * there is no such process any more, in the ledger alone.
 */
#include <stdio.h>
#include <string.h>

#include <holdfast/session.h>

#include "tools/ask.h"
#include "tools/commands.h"

#define EVENT_MS 200u

static const char *action_of(const struct arguments *arguments)
{
	if (command_has(arguments, "take-back"))
		return "take-back";
	return command_has(arguments, "let-go") ? "let-go" : "ask";
}

/* ---- at the process -------------------------------------------------------------------------- */

static int show_end(const struct arguments *arguments, struct qmp_client *client,
		    const json_t *migration)
{
	const json_t *own = json_object_get(migration, "holdfast");
	const char *outcome = ask_text(own, "outcome");
	const char *reason = ask_text(json_object_get(own, "error"), "text");
	json_t *status = NULL;
	int result;

	if (strcmp(outcome, "away") == 0) {
		(void)printf("away: the guest is another's now, and was freed here\n");
		return EXIT_DONE;
	}
	if (strcmp(outcome, "waiting") == 0) {
		(void)printf("in doubt: the guest waits, paused and whole: %s\n", reason);
		return EXIT_DOUBT;
	}
	result = ask(arguments, client, "query-status", NULL, &status);
	if (result)
		return result;
	(void)printf("%s: the guest is here, %s: %s\n", outcome, ask_text(status, "status"),
		     reason);
	json_decref(status);
	return strcmp(outcome, "home") == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* The session's own deadlines bring it to an end. */
static int follow(const struct arguments *arguments, struct qmp_client *client)
{
	for (;;) {
		json_t *migration = NULL, *event = NULL;
		struct hf_error err = { 0 };
		int result = ask(arguments, client, "query-migrate", NULL, &migration);
		const char *outcome;

		if (result)
			return result;
		outcome = ask_text(json_object_get(migration, "holdfast"), "outcome");
		if (outcome[0] && strcmp(outcome, "none") != 0) {
			result = show_end(arguments, client, migration);
			json_decref(migration);
			return result;
		}
		json_decref(migration);
		if (qmp_client_event(client, EVENT_MS, &event, &err) < 0) {
			(void)command_failed(arguments->command, &err);
			return EXIT_UNKNOWN;
		}
		json_decref(event);
	}
}

static int resolve_guest(const struct arguments *arguments)
{
	struct qmp_client *client = NULL;
	int result = ask_connect(arguments, &client);

	if (result)
		return result;
	result = ask(arguments, client, "resolve",
		     json_pack("{s:s}", "action", action_of(arguments)), NULL);
	if (result == 0)
		result = follow(arguments, client);
	(void)qmp_client_close(client);
	return result;
}

/* ---- in the ledger alone --------------------------------------------------------------------- */

static int show_record(const struct arguments *arguments, const struct hf_ledger_record *record)
{
	const char *guest = arguments->operands[0];

	if (!record->revision) {
		(void)fprintf(stderr, "holdfast resolve: the ledger has no guest \"%s\"\n", guest);
		return EXIT_FAILED;
	}
	if (record->state == HF_LEDGER_OFFERED || record->state == HF_LEDGER_CLAIMED) {
		(void)printf("in doubt: %s has %s it to %s (handover %llu)\n", record->owner,
			     record->state == HF_LEDGER_OFFERED ? "offered" : "handed",
			     record->offered_to, (unsigned long long)record->epoch);
		return EXIT_DOUBT;
	}
	(void)printf("%s: %s%s%s\n", record->owner,
		     record->state == HF_LEDGER_AWAY ? "has started it" : "has it, or may",
		     record->reason_code ? ": " : "", record->reason);
	return EXIT_DONE;
}

static int resolve_record(const struct arguments *arguments)
{
	const char *guest = arguments->operands[0];
	struct hf_ledger ledger = { .ops = NULL };
	struct hf_ledger_record record = { .revision = 0 };
	struct hf_error err = { 0 };
	int result = hf_ledger_open(command_text(arguments, "ledger"), &ledger, &err);

	if (result == 0 && command_has(arguments, "take-back"))
		result = hf_ledger_take_back(&ledger, guest, &record, &err);
	else if (result == 0)
		result = hf_ledger_read(&ledger, guest, &record, &err);
	hf_ledger_close(&ledger);
	if (result < 0) {
		(void)command_failed(arguments->command, &err);
		return err.code == HF_E_LEDGER_UNKNOWN ? EXIT_UNKNOWN : EXIT_FAILED;
	}
	return show_record(arguments, &record);
}

static int run(const struct arguments *arguments)
{
	if (command_has(arguments, "take-back") && command_has(arguments, "let-go"))
		return command_usage(arguments->command,
				     "options --take-back and --let-go exclude each other");
	if (!command_has(arguments, "ledger"))
		return resolve_guest(arguments);
	if (command_has(arguments, "let-go"))
		return command_usage(arguments->command,
				     "option --let-go: a ledger says by itself who has the guest");
	return resolve_record(arguments);
}

/* clang-format off */
static const struct command_option options[] = {
	{ "take-back", NULL,  "the target is dead: run the guest here, unless it was started there", 0 },
	{ "let-go",    NULL,  "the target runs the guest: free it here; only with the ledger 'none'", 0 },
	{ "ledger",    "URI", "there is no process of the guest any more: look and decide in the ledger", 0 },
	{ NULL, NULL, NULL, 0 },
};
/* clang-format on */

const struct command command_resolve = {
	.name = "resolve",
	.summary = "End a doubt: whose a guest is that waits, paused and whole",
	.operands = "GUEST",
	.operands_min = 1,
	.operands_max = 1,
	.options = options,
	.run = run,
};
