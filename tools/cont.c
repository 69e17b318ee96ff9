/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast cont: let a paused guest run. */
#include "tools/ask.h"
#include "tools/commands.h"

static int run(const struct arguments *arguments)
{
	return ask_once(arguments, "cont", NULL);
}

static const struct command_option options[] = { { NULL } };

const struct command command_cont = {
	.name = "cont",
	.summary = "Let a paused guest run",
	.operands = "GUEST",
	.operands_min = 1,
	.operands_max = 1,
	.options = options,
	.run = run,
};
