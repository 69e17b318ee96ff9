/* SPDX-License-Identifier: BSD-3-Clause */
/* See ask.h. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/ask.h"
#include "tools/paths.h"

/* The guest's process, or with --via-guard its guard: the source's, or else the target's. */
static int find(const struct arguments *arguments, char path[static PATH_MAX], struct hf_error *err)
{
	const char *guest = arguments->operands[0];
	int result;

	if (!command_has(arguments, "via-guard") || strchr(guest, '/'))
		return path_control(guest, false, path, err);
	result = path_guard_control(guest, "source", false, path, err);
	if (result == 0 && access(path, F_OK) != 0)
		result = path_guard_control(guest, "target", false, path, err);
	return result;
}

int ask_connect(const struct arguments *arguments, struct qmp_client **ret_client)
{
	const char *guest = arguments->operands[0];
	char path[PATH_MAX];
	struct hf_error err = { 0 };

	if (find(arguments, path, &err) < 0)
		return command_usage(arguments->command, "%s", err.text);
	if (qmp_client_open(path, ASK_TIMEOUT_MS, ret_client, &err) < 0) {
		(void)fprintf(stderr, "holdfast %s: guest %s is not reached: %s\n",
			      arguments->command->name, guest, err.text);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

int ask(const struct arguments *arguments, struct qmp_client *client, const char *command,
	json_t *given, json_t **ret_answer)
{
	struct hf_error err = { 0 };
	json_t *answer = qmp_client_call(client, command, given, ASK_TIMEOUT_MS, &err);

	if (!answer) {
		(void)command_failed(arguments->command, &err);
		return err.code == HF_E_REFUSED ? EXIT_FAILED : EXIT_UNKNOWN;
	}
	if (ret_answer)
		*ret_answer = answer;
	else
		json_decref(answer);
	return EXIT_DONE;
}

int ask_once(const struct arguments *arguments, const char *command, json_t *given)
{
	struct qmp_client *client = NULL;
	int status = ask_connect(arguments, &client);

	if (status) {
		json_decref(given);
		return status;
	}
	status = ask(arguments, client, command, given, NULL);
	(void)qmp_client_close(client);
	return status;
}

uint64_t ask_number(const json_t *answer, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(answer, name));
}

const char *ask_text(const json_t *answer, const char *name)
{
	const char *text = json_string_value(json_object_get(answer, name));

	return text ? text : "";
}
