/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast quit: end a guest's process, and the guest with it. */
#include "tools/ask.h"
#include "tools/commands.h"

static int run(const struct arguments *arguments)
{
	bool force = command_has(arguments, "force");

	return ask_once(arguments, "quit", force ? json_pack("{s:b}", "force", 1) : NULL);
}

static const struct command_option options[] = {
	{ "force", NULL, "also a guest in doubt, though it may be the only one", 0 },
	{ "via-guard", NULL, "end the guest's guard (holdfast guard), not the guest", 0 },
	{ NULL },
};

const struct command command_quit = {
	.name = "quit",
	.summary = "End a guest and its process; a migration is cancelled, or its outcome awaited",
	.operands = "GUEST",
	.operands_min = 1,
	.operands_max = 1,
	.options = options,
	.run = run,
};
