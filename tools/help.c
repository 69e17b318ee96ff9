/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast help: the commands, or one of them. */
#include <stdio.h>

#include "tools/command.h"
#include "tools/commands.h"

void help_all(void)
{
	(void)printf("Usage: holdfast COMMAND [OPTION]...\n"
		     "       holdfast --version\n\n"
		     "Live migration for virtual machines with VFIO devices that never loses the "
		     "guest.\n\nCommands:\n");
	for (uint32_t i = 0; commands[i]; i++)
		(void)printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	(void)printf("\n'holdfast help COMMAND' explains one. The manual: holdfast(1), "
		     "holdfast(7).\n");
}

static int run(const struct arguments *arguments)
{
	const struct command *command;

	if (arguments->operand_count == 0) {
		help_all();
		return EXIT_DONE;
	}
	command = command_find(arguments->operands[0]);
	if (!command)
		return command_usage(arguments->command, "there is no command '%s'",
				     arguments->operands[0]);
	command_help(command);
	return EXIT_DONE;
}

static const struct command_option options[] = { { NULL } };

const struct command command_help_ = {
	.name = "help",
	.summary = "List the commands, or explain one",
	.operands = "[COMMAND]",
	.operands_max = 1,
	.options = options,
	.run = run,
};
