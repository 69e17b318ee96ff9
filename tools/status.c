/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast status: what a guest is doing, its last migration, its record in the ledger. */
#include <inttypes.h>
#include <stdio.h>

#include "tools/ask.h"
#include "tools/commands.h"

static void print_guest(const json_t *status, const json_t *guest)
{
	const json_t *device;
	size_t i;

	(void)printf("guest      %s\n", ask_text(guest, "name"));
	(void)printf("status     %s\n", ask_text(status, "status"));
	if (ask_text(guest, "description")[0])
		(void)printf("machine    %s, %" PRIu64 " MiB of memory\n",
			     ask_text(guest, "description"), ask_number(guest, "memory") >> 20);
	json_array_foreach(json_object_get(guest, "devices"), i, device)
	{
		(void)printf("device %-3zu %s, %s, %s%s\n", i, ask_text(device, "id"),
			     ask_text(device, "compat"), ask_text(device, "state"),
			     json_is_true(json_object_get(device, "wanted"))
				     ? ", the host wants it back"
				     : "");
	}
}

static void print_migration(const json_t *migration)
{
	const json_t *own = json_object_get(migration, "holdfast");
	const json_t *error = json_object_get(own, "error");

	if (!own) {
		(void)printf("migration  none\n");
		return;
	}
	(void)printf("migration  %s, %s (%s), outcome %s, %s\n", ask_text(migration, "status"),
		     ask_text(own, "state"), ask_text(own, "role"), ask_text(own, "outcome"),
		     ask_text(own, "uri"));
	(void)printf("           round %" PRIu64 ", %" PRIu64 " MiB sent, total %.1f s, downtime "
		     "%.1f ms\n",
		     ask_number(own, "round"), ask_number(own, "wire-bytes") >> 20,
		     (double)ask_number(own, "total-us") / 1e6,
		     (double)ask_number(own, "downtime-us") / 1e3);
	if (ask_text(own, "warning")[0])
		(void)printf("warning    %s\n", ask_text(own, "warning"));
	if (error)
		(void)printf("reason     %s: %s\n", ask_text(error, "name"),
			     ask_text(error, "text"));
}

static void print_ledger(const json_t *ledger)
{
	(void)printf("ledger     %s: %s, epoch %" PRIu64 "\n", ask_text(ledger, "uri"),
		     ask_text(ledger, "state"), ask_number(ledger, "epoch"));
	if (ask_text(ledger, "owner")[0])
		(void)printf("owner      %s\n", ask_text(ledger, "owner"));
	if (ask_text(ledger, "reason")[0])
		(void)printf("last       %s\n", ask_text(ledger, "reason"));
}

static void print_json(json_t *status, json_t *guest, json_t *migration, json_t *ledger)
{
	json_t *all = json_pack("{s:O,s:O,s:O,s:O}", "status", status, "guest", guest, "migration",
				migration, "ledger", ledger ? ledger : json_null());

	(void)json_dumpf(all, stdout, JSON_COMPACT);
	(void)putchar('\n');
	json_decref(all);
}

static int run(const struct arguments *arguments)
{
	json_t *status = NULL, *guest = NULL, *migration = NULL, *ledger = NULL;
	struct qmp_client *client = NULL;
	struct hf_error err = { 0 };
	int result = ask_connect(arguments, &client);

	if (result == 0)
		result = ask(arguments, client, "query-status", NULL, &status);
	if (result == 0)
		result = ask(arguments, client, "query-guest", NULL, &guest);
	if (result == 0)
		result = ask(arguments, client, "query-migrate", NULL, &migration);
	if (result == 0) {
		/* A ledger that does not answer must not hide the rest. */
		ledger = qmp_client_call(client, "query-ledger", NULL, ASK_TIMEOUT_MS, &err);
		if (command_has(arguments, "json")) {
			print_json(status, guest, migration, ledger);
		} else {
			print_guest(status, guest);
			print_migration(migration);
			if (ledger)
				print_ledger(ledger);
			else
				(void)printf("ledger     %s\n", err.text);
		}
	}
	json_decref(status);
	json_decref(guest);
	json_decref(migration);
	json_decref(ledger);
	(void)qmp_client_close(client);
	return result;
}

static const struct command_option options[] = {
	{ "json", NULL, "one JSON object: status, guest, migration, ledger", 0 },
	{ "via-guard", NULL, "ask the guest's guard (holdfast guard), not its own process", 0 },
	{ NULL },
};

const struct command command_status = {
	.name = "status",
	.summary = "Say what a guest is doing",
	.operands = "GUEST",
	.operands_min = 1,
	.operands_max = 1,
	.options = options,
	.run = run,
};
