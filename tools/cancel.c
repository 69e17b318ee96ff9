/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast cancel: cancel a guest's migration; until the offer it is taken back at once. */
#include "tools/ask.h"
#include "tools/commands.h"

static int run(const struct arguments *arguments)
{
	return ask_once(arguments, "migrate_cancel", NULL);
}

static const struct command_option options[] = {
	{ "via-guard", NULL, "ask the guest's guard (holdfast guard), not its own process", 0 },
	{ NULL },
};

const struct command command_cancel = {
	.name = "cancel",
	.summary = "Cancel a guest's migration; until the offer it is taken back at once",
	.operands = "GUEST",
	.operands_min = 1,
	.operands_max = 1,
	.options = options,
	.run = run,
};
