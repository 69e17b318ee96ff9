/* SPDX-License-Identifier: BSD-3-Clause */
/* How a subcommand's line is read, and its help written; see command.h. */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/command.h"

#define OPTIONS_MAX 32u
#define OPTION_BASE 256 /* getopt_long()'s value of the first option */
#define OPTION_HELP 255

int command_usage(const struct command *command, const char *format, ...)
{
	va_list args;

	(void)fprintf(stderr, "holdfast%s%s: ", command ? " " : "", command ? command->name : "");
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fprintf(stderr, " (see 'holdfast help%s%s')\n", command ? " " : "",
		      command ? command->name : "");
	return EXIT_USAGE;
}

int command_failed(const struct command *command, const struct hf_error *err)
{
	(void)fprintf(stderr, "holdfast %s: %s\n", command->name,
		      err->text[0] ? err->text : hf_error_explain(err->code));
	return EXIT_FAILED;
}

const struct command *command_find(const char *name)
{
	for (uint32_t i = 0; commands[i]; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* ---- help ---------------------------------------------------------------------------------- */

void command_help(const struct command *command)
{
	(void)printf("Usage: holdfast %s%s%s%s\n\n%s.\n", command->name,
		     command->options[0].name ? " [OPTION]..." : "",
		     command->operands[0] ? " " : "", command->operands, command->summary);
	if (command->options[0].name)
		(void)printf("\nOptions:\n");
	for (const struct command_option *option = command->options; option->name; option++) {
		char left[64];

		(void)snprintf(left, sizeof(left), "--%s%s%s", option->name,
			       option->argument ? " " : "",
			       option->argument ? option->argument : "");
		if (strlen(left) < 26)
			(void)printf("  %-26s", left);
		else
			(void)printf("  %s\n  %-26s", left, "");
		(void)printf("%s%s\n", option->help,
			     option->flags & COMMAND_REPEATS ? " (may be repeated)" : "");
	}
	(void)printf("\nThe manual: holdfast-%s(1).\n", command->name);
}

/* ---- reading ------------------------------------------------------------------------------- */

static uint32_t fill_long(const struct command *command, struct option *list)
{
	uint32_t count = 0;

	for (; command->options[count].name; count++) {
		assert(count < OPTIONS_MAX);
		list[count] = (struct option){ command->options[count].name,
					       command->options[count].argument ? required_argument
										: no_argument,
					       NULL, OPTION_BASE + (int)count };
	}
	list[count] = (struct option){ "help", no_argument, NULL, OPTION_HELP };
	list[count + 1] = (struct option){ NULL, 0, NULL, 0 };
	return count;
}

static int take_option(struct arguments *arguments, const struct command_option *option,
		       const char *value)
{
	if (!(option->flags & COMMAND_REPEATS) && command_has(arguments, option->name))
		return command_usage(arguments->command, "option --%s is given twice",
				     option->name);
	if (arguments->value_count == COMMAND_VALUES_MAX)
		return command_usage(arguments->command, "more than %u options",
				     COMMAND_VALUES_MAX);
	arguments->values[arguments->value_count].option = option;
	arguments->values[arguments->value_count++].value = value;
	return 0;
}

static int take_operands(struct arguments *arguments, int argc, char **argv)
{
	const struct command *command = arguments->command;

	for (; optind < argc; optind++) {
		if (arguments->operand_count == command->operands_max)
			return command_usage(command, "'%s' is too much", argv[optind]);
		arguments->operands[arguments->operand_count++] = argv[optind];
	}
	if (arguments->operand_count < command->operands_min)
		return command_usage(command, "too little is given; it takes %s",
				     command->operands);
	return 0;
}

int command_read(const struct command *command, int argc, char **argv,
		 struct arguments *ret_arguments)
{
	struct option list[OPTIONS_MAX + 2];
	int found, result = 0;

	assert(command->operands_max <=
	       sizeof(ret_arguments->operands) / sizeof(ret_arguments->operands[0]));
	memset(ret_arguments, 0, sizeof(*ret_arguments));
	ret_arguments->command = command;
	(void)fill_long(command, list);
	opterr = 0; /* the sentences are ours */
	optind = 1;
	while (result == 0 && (found = getopt_long(argc, argv, ":h", list, NULL)) != -1) {
		if (found == 'h' || found == OPTION_HELP) {
			command_help(command);
			exit(EXIT_DONE);
		}
		if (found == ':')
			result =
				command_usage(command, "option %s wants a value", argv[optind - 1]);
		else if (found < OPTION_BASE && optopt >= OPTION_BASE)
			result = command_usage(command, "option --%s takes no value",
					       command->options[optopt - OPTION_BASE].name);
		else if (found < OPTION_BASE && optopt)
			result = command_usage(command, "option -%c is unknown", optopt);
		else if (found < OPTION_BASE)
			result = command_usage(command, "option %s is unknown", argv[optind - 1]);
		else
			result = take_option(ret_arguments, &command->options[found - OPTION_BASE],
					     optarg);
	}
	return result ? result : take_operands(ret_arguments, argc, argv);
}

/* ---- values -------------------------------------------------------------------------------- */

const char *command_nth(const struct arguments *arguments, const char *option, uint32_t n)
{
	for (uint32_t i = 0; i < arguments->value_count; i++)
		if (strcmp(arguments->values[i].option->name, option) == 0 && n-- == 0)
			return arguments->values[i].value;
	return NULL;
}

const char *command_text(const struct arguments *arguments, const char *option)
{
	return command_nth(arguments, option, 0);
}

bool command_has(const struct arguments *arguments, const char *option)
{
	for (uint32_t i = 0; i < arguments->value_count; i++)
		if (strcmp(arguments->values[i].option->name, option) == 0)
			return true;
	return false;
}

/* Digits, and one of K, M, G, T behind them if units is set. */
static bool read_number(const char *text, bool units, uint64_t *ret_value)
{
	static const char letters[] = "KMGT";
	const char *letter;
	uint64_t value;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false; /* strtoull() would take blanks and signs */
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (units && *end && (letter = strchr(letters, *end))) {
		if (__builtin_mul_overflow(value, 1ull << (10 * (letter - letters + 1)), &value))
			return false;
		end++;
	}
	if (*end)
		return false;
	*ret_value = value;
	return true;
}

int command_number(const struct arguments *arguments, const char *option, uint64_t least,
		   uint64_t most, uint64_t *value)
{
	const char *text = command_text(arguments, option);
	uint64_t given;

	if (!text)
		return 0;
	if (!read_number(text, false, &given) || given < least || given > most)
		return command_usage(arguments->command,
				     "option --%s: '%s' is not a number from %" PRIu64
				     " to %" PRIu64,
				     option, text, least, most);
	*value = given;
	return 0;
}

int command_size(const struct arguments *arguments, const char *option, uint64_t least,
		 uint64_t most, uint64_t *value)
{
	const char *text = command_text(arguments, option);
	uint64_t given;

	if (!text)
		return 0;
	if (!read_number(text, true, &given))
		return command_usage(arguments->command,
				     "option --%s: '%s' is not a size, such as 512M or 2G", option,
				     text);
	if (given < least || given > most)
		return command_usage(arguments->command,
				     "option --%s: '%s' is not from %" PRIu64 " to %" PRIu64
				     " bytes",
				     option, text, least, most);
	*value = given;
	return 0;
}
