/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * holdfast ledger: what stands in a ledger, for people who have to know whose a guest is. It only
 * reads.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <holdfast/backend.h>

#include "tools/commands.h"
#include "tools/paths.h"
#include "vmm/qmp.h"

static const char *state_name(const struct hf_ledger_record *record)
{
	static const char *const names[] = { "none", "home", "offered", "claimed", "away" };
	uint32_t state = record->revision ? record->state : 0;

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

/* Texts of the record were written elsewhere: nothing in them may steer a terminal. */
static const char *clean(const char *text, char ret_text[HF_LEDGER_REASON_MAX])
{
	(void)snprintf(ret_text, HF_LEDGER_REASON_MAX, "%s", text);
	for (char *at = ret_text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
	return ret_text;
}

static void print_line(const char *name, const char *text)
{
	char cleaned[HF_LEDGER_REASON_MAX];

	if (text[0])
		(void)printf("%-10s %s\n", name, clean(text, cleaned));
}

static void print_record(const char *uri, const struct hf_ledger_record *record)
{
	print_line("guest", record->guest);
	print_line("ledger", uri);
	print_line("state", state_name(record));
	print_line("owner", record->owner);
	print_line("offered-to", record->offered_to);
	(void)printf("epoch      %" PRIu64 "\n", record->epoch);
	(void)printf("revision   %" PRIu64 "\n", record->revision);
	print_line("attempt", record->attempt);
	if (record->reason_code)
		print_line("reason", hf_error_name(record->reason_code));
	print_line(record->reason_code ? "" : "reason", record->reason);
}

/* The members of query-ledger (holdfast-run(1)), and the two that name what it is about. */
static json_t *record_json(const char *uri, const struct hf_ledger_record *record)
{
	json_t *all = json_pack("{s:o,s:o,s:s,s:I,s:I}", "guest", qmp_text(record->guest), "uri",
				qmp_text(uri), "state", state_name(record), "revision",
				(json_int_t)record->revision, "epoch", (json_int_t)record->epoch);

	(void)json_object_set_new(all, "owner", qmp_text(record->owner));
	(void)json_object_set_new(all, "offered-to", qmp_text(record->offered_to));
	(void)json_object_set_new(all, "attempt", qmp_text(record->attempt));
	(void)json_object_set_new(all, "reason", qmp_text(record->reason));
	(void)json_object_set_new(all, "reason-code", json_integer(record->reason_code));
	return all;
}

static void print_json(json_t *value)
{
	(void)json_dumpf(value, stdout, JSON_COMPACT);
	(void)putchar('\n');
	json_decref(value);
}

/* ---- show ------------------------------------------------------------------------------------ */

static int show(const struct arguments *arguments, struct hf_ledger *ledger, const char *guest)
{
	struct hf_ledger_record record;
	struct hf_error err = { 0 };

	memset(&record, 0, sizeof(record));
	if (hf_ledger_read(ledger, guest, &record, &err) < 0)
		return command_failed(arguments->command, &err);
	if (!record.revision) {
		(void)fprintf(stderr, "holdfast ledger: %s has no record of %s\n", ledger->uri,
			      guest);
		return EXIT_FAILED;
	}
	if (command_has(arguments, "json"))
		print_json(record_json(ledger->uri, &record));
	else
		print_record(ledger->uri, &record);
	return EXIT_DONE;
}

/* ---- list ------------------------------------------------------------------------------------ */

struct list {
	const char *uri;
	json_t *all; /* NULL: as text */
	uint32_t count;
};

static void list_one(void *ctx, const struct hf_ledger_record *record)
{
	struct list *list = ctx;
	char cleaned[3][HF_LEDGER_REASON_MAX];

	if (list->all) {
		(void)json_array_append_new(list->all, record_json(list->uri, record));
		return;
	}
	if (list->count++ == 0)
		(void)printf("%-20s %-8s %8s %10s  %-24s %-24s %s\n", "GUEST", "STATE", "EPOCH",
			     "REVISION", "OWNER", "OFFERED-TO", "REASON");
	(void)printf("%-20s %-8s %8" PRIu64 " %10" PRIu64 "  %-24s %-24s %s%s%s\n", record->guest,
		     state_name(record), record->epoch, record->revision,
		     clean(record->owner, cleaned[0]),
		     record->offered_to[0] ? clean(record->offered_to, cleaned[1]) : "-",
		     record->reason_code ? hf_error_name(record->reason_code) : "",
		     record->reason_code && record->reason[0] ? ": " : "",
		     clean(record->reason, cleaned[2]));
}

static int list_all(const struct arguments *arguments, struct hf_ledger *ledger)
{
	struct list list = { .uri = ledger->uri };
	struct hf_error err = { 0 };
	int result;

	if (command_has(arguments, "json"))
		list.all = json_array();
	result = hf_ledger_list(ledger, list_one, &list, &err);
	if (list.all)
		print_json(list.all);
	return result < 0 ? command_failed(arguments->command, &err) : EXIT_DONE;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int run(const struct arguments *arguments)
{
	const bool is_list = strcmp(arguments->operands[0], "list") == 0;
	const char *uri = command_text(arguments, "ledger");
	struct hf_ledger ledger = { .ops = NULL };
	char found[HF_URI_MAX];
	struct hf_error err = { 0 };
	int result;

	if (!is_list && strcmp(arguments->operands[0], "show") != 0)
		return command_usage(arguments->command, "'%s' is neither show nor list",
				     arguments->operands[0]);
	if (arguments->operand_count != (is_list ? 1u : 2u))
		return command_usage(arguments->command, "it takes %s",
				     is_list ? "nothing behind list" : "one GUEST behind show");
	if (!is_list && !path_is_name(arguments->operands[1]))
		return command_usage(arguments->command, "'%s' is no guest's name",
				     arguments->operands[1]);
	if (!uri && path_default_ledger(found, &err) < 0)
		return command_failed(arguments->command, &err);
	if (hf_ledger_open(uri ? uri : found, &ledger, &err) < 0)
		return command_failed(arguments->command, &err);
	result = is_list ? list_all(arguments, &ledger)
			 : show(arguments, &ledger, arguments->operands[1]);
	hf_ledger_close(&ledger);
	return result;
}

static const struct command_option options[] = {
	{ "ledger", "URI", "which one: file:DIR or etcd:URL[,URL...]", 0 },
	{ "json", NULL, "one JSON object for show, an array of them for list", 0 },
	{ NULL },
};

const struct command command_ledger = {
	.name = "ledger",
	.summary = "Show a guest's record in a ledger, or list all records",
	.operands = "show GUEST | list",
	.operands_min = 1,
	.operands_max = 2,
	.options = options,
	.run = run,
};
