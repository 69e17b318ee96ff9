/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Subcommands of holdfast: each is one table entry with its options, so that parsing, help and the
 * check against the manual pages read the same list. What a command does is in its own file.
 */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include <holdfast/error.h>

/* Exit statuses; holdfast(1) has them too. */
#define EXIT_DONE 0
#define EXIT_FAILED 1 /* and after `migrate`: the guest is at home */
#define EXIT_USAGE 2
#define EXIT_DOUBT 3 /* the guest waits until the ledger or an operator has said whose it is */
#define EXIT_UNKNOWN 4 /* the guest's process went away while it was asked */

#define COMMAND_REPEATS 1u /* the option may be given several times */

struct command_option {
	const char *name; /* without the dashes; NULL ends a list */
	const char *argument; /* its name in help, or NULL: takes none */
	const char *help;
	uint32_t flags;
};

struct arguments;

struct command {
	const char *name;
	const char *summary;
	const char *operands; /* as in help: "GUEST URI", "[CODE]", "" */
	uint32_t operands_min, operands_max;
	const struct command_option *options;
	int (*run)(const struct arguments *arguments); /* returns the exit status */
};

#define COMMAND_VALUES_MAX 128u

/* A command line, read and checked against its command's list. Texts are argv's. */
struct arguments {
	const struct command *command;
	uint32_t value_count, operand_count;
	struct {
		const struct command_option *option;
		const char *value; /* NULL for an option without argument */
	} values[COMMAND_VALUES_MAX];
	const char *operands[8];
};

/* 0, or EXIT_USAGE after one sentence that names what is wrong. argv[0] is the command's name. */
int command_read(const struct command *command, int argc, char **argv,
		 struct arguments *ret_arguments);

bool command_has(const struct arguments *arguments, const char *option);
const char *command_text(const struct arguments *arguments, const char *option); /* or NULL */

/* The n-th of an option that repeats, or NULL. */
const char *command_nth(const struct arguments *arguments, const char *option, uint32_t n);

/*
 * The option's number, if it was given. 0, or EXIT_USAGE after a sentence. command_size() takes K,
 * M, G and T behind the number.
 */
int command_number(const struct arguments *arguments, const char *option, uint64_t least,
		   uint64_t most, uint64_t *value);
int command_size(const struct arguments *arguments, const char *option, uint64_t least,
		 uint64_t most, uint64_t *value);

/* "holdfast COMMAND: sentence" on stderr; returns EXIT_USAGE. */
int command_usage(const struct command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same for a failure; returns EXIT_FAILED. */
int command_failed(const struct command *command, const struct hf_error *err);

void command_help(const struct command *command);

/* All of them, ended by NULL. */
extern const struct command *const commands[];
const struct command *command_find(const char *name);

#endif
