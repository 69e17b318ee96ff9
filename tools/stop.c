/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast stop: pause a guest. */
#include "tools/ask.h"
#include "tools/commands.h"

static int run(const struct arguments *arguments)
{
	return ask_once(arguments, "stop", NULL);
}

static const struct command_option options[] = { { NULL } };

const struct command command_stop = {
	.name = "stop",
	.summary = "Pause a guest",
	.operands = "GUEST",
	.operands_min = 1,
	.operands_max = 1,
	.options = options,
	.run = run,
};
