/* SPDX-License-Identifier: BSD-3-Clause */
/* The subcommands, each from its own file, for the table in main.c. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include "tools/command.h"

extern const struct command command_run, command_migrate, command_status, command_stop,
	command_cont, command_cancel, command_quit, command_resolve, command_ledger, command_replay,
	command_demo, command_device, command_explain, command_help_, command_inspect,
	command_guard;

/* What `holdfast help` prints. */
void help_all(void);

#endif
