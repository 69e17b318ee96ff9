/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast: finds the subcommand and lets it run. */
#include <stdio.h>
#include <string.h>

#include <holdfast/version.h>

#include "tools/command.h"
#include "tools/commands.h"

/* clang-format off */
const struct command *const commands[] = {
	&command_run,
	&command_migrate,
	&command_status,
	&command_stop,
	&command_cont,
	&command_cancel,
	&command_quit,
	&command_resolve,
	&command_ledger,
	&command_device,
	&command_inspect,
	&command_guard,
	&command_replay,
	&command_demo,
	&command_explain,
	&command_help_,
	NULL,
};
/* clang-format on */

int main(int argc, char **argv)
{
	const struct command *command;
	struct arguments arguments;
	int result;

	if (argc < 2)
		return command_usage(NULL, "a command is missing");
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("holdfast %s\n", hf_version());
		return EXIT_DONE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help_all();
		return EXIT_DONE;
	}
	command = command_find(argv[1]);
	if (!command)
		return command_usage(NULL, "there is no command '%s'", argv[1]);
	result = command_read(command, argc - 1, argv + 1, &arguments);
	return result ? result : command->run(&arguments);
}
