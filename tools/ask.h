/* SPDX-License-Identifier: BSD-3-Clause */
/* Asking a running guest: what the small commands share. */
#ifndef TOOLS_ASK_H
#define TOOLS_ASK_H

#include "tools/command.h"
#include "guard/qmp-client.h"

#define ASK_TIMEOUT_MS 30000u

/* Connect to the guest that the first operand names. 0, or the exit status after a sentence. */
int ask_connect(const struct arguments *arguments, struct qmp_client **ret_client);

/* Execute one command; its answer is *ret_answer, or dropped if that is NULL. As above. */
int ask(const struct arguments *arguments, struct qmp_client *client, const char *command,
	json_t *given, json_t **ret_answer);

/* The whole of a command that only sends one. */
int ask_once(const struct arguments *arguments, const char *command, json_t *given);

/* Members of an answer; what is not there is 0 or "". */
uint64_t ask_number(const json_t *answer, const char *name);
const char *ask_text(const json_t *answer, const char *name);

#endif
