/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast explain: what a code means, whose failure it is and what to do. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/command.h"
#include "tools/commands.h"

static void print(int code)
{
	(void)printf("%-16s %d  %-6s  %s\n", hf_error_name(code), -code,
		     hf_error_class_name(hf_error_class(code)), hf_error_explain(code));
}

/* The code that text names: by name, or by number with or without the minus; 0: none. */
static int code_of(const char *text)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (end == text || *end || errno)
		return hf_error_from_name(text);
	if (number < 0)
		number = -number;
	for (unsigned int i = 0; hf_error_at(i); i++)
		if (hf_error_at(i) == -number)
			return hf_error_at(i);
	return 0;
}

static int run(const struct arguments *arguments)
{
	int code;

	if (arguments->operand_count == 0) {
		for (unsigned int i = 0; hf_error_at(i); i++)
			print(hf_error_at(i));
		return EXIT_DONE;
	}
	code = code_of(arguments->operands[0]);
	if (!code)
		return command_usage(arguments->command, "'%s' is no code of Holdfast",
				     arguments->operands[0]);
	print(code);
	return EXIT_DONE;
}

static const struct command_option options[] = { { NULL } };

const struct command command_explain = {
	.name = "explain",
	.summary = "Say what an error code means; without one, list all",
	.operands = "[CODE]",
	.operands_max = 1,
	.options = options,
	.run = run,
};
