/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast inspect: what is in a migration stream, from a file or as it passes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guard/live.h"
#include "guard/socket.h"
#include "guard/source-file.h"
#include "tools/commands.h"

static void say(const char *name, const struct inspect_result *result)
{
	(void)fflush(stdout);
	if (result->verdict == INSPECT_FAILED)
		(void)fprintf(stderr, "holdfast inspect: %s: offset %" PRIu64 ": %s\n", name,
			      result->offset, strerror(result->error));
	else if (result->verdict == INSPECT_ODD)
		(void)fprintf(stderr,
			      "holdfast inspect: %s: the stream contradicts its description\n",
			      name);
	else
		(void)fprintf(stderr,
			      "holdfast inspect: %s: offset %" PRIu64 ": %s%s"
			      "expected %s; there was %s\n",
			      name, result->offset, result->where, result->where[0] ? ": " : "",
			      result->expected, result->found);
}

/* ---- a file -------------------------------------------------------------------------------- */

static int run_file(const struct arguments *arguments, const struct inspect_options *options,
		    struct printer *printer)
{
	const char *path = arguments->operands[0];
	struct print_sink sink = { .printer = printer };
	const struct inspect_sink to = { .item = print_item, .self = &sink };
	struct reader *reader = malloc(sizeof(*reader));
	struct inspect_result result;
	struct reader_source source;
	struct source_file file;
	int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || !reader) {
		(void)fprintf(stderr, "holdfast inspect: %s: %s\n", path, strerror(errno));
		free(reader);
		return EXIT_FAILED;
	}
	source_file_init(&file, fd, -1);
	source = source_file(&file);
	reader_init(reader, &source);
	inspect_run(reader, options, &to, &result);
	if (result.verdict != INSPECT_WHOLE)
		say(path, &result);
	free(reader);
	if (fd != STDIN_FILENO)
		(void)close(fd);
	return result.verdict == INSPECT_WHOLE ? EXIT_DONE : EXIT_FAILED;
}

/* ---- live ---------------------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void listening(unsigned int port)
{
	if (port)
		(void)fprintf(stderr, "holdfast inspect: listening, port %u\n", port);
	else
		(void)fprintf(stderr, "holdfast inspect: listening\n");
}

static void unanswered(void)
{
	(void)fprintf(stderr, "holdfast inspect: the source wants answers and will wait for them; "
			      "without --forward nobody gives them\n");
}

static int run_live(const struct arguments *arguments, const struct inspect_options *inspect,
		    struct printer *printer)
{
	struct live_options options = { .listen = arguments->operands[0],
					.forward = command_text(arguments, "forward"),
					.inspect = *inspect,
					.printer = printer,
					.listening = listening,
					.result = say,
					.unanswered = unanswered };
	struct hf_error err = { 0 };
	int r;

	options.inspect.now_ns = now_ns;
	r = live_run(&options, &err);
	if (r < 0)
		return command_failed(arguments->command, &err);
	return r ? EXIT_FAILED : EXIT_DONE;
}

/* ---- the command --------------------------------------------------------------------------- */

static int read_options(const struct arguments *arguments, bool live, struct inspect_options *to)
{
	const char *kind = command_text(arguments, "kind");
	uint64_t page_size = 0;

	if (kind) {
		to->kind = inspect_kind_of(kind);
		if (to->kind == INSPECT_KINDS)
			return command_usage(arguments->command, "option --kind: '%s' is no kind",
					     kind);
	}
	if (live && kind)
		return command_usage(arguments->command,
				     "--kind is for files: connections say what they are");
	if (!live && command_has(arguments, "forward"))
		return command_usage(arguments->command, "--forward is for unix: and tcp:");
	if (command_size(arguments, "page-size", INSPECT_PAGE_MIN, INSPECT_PAGE_MAX, &page_size))
		return EXIT_USAGE;
	if (page_size & (page_size - 1))
		return command_usage(arguments->command,
				     "option --page-size: it is a power of two");
	to->page_size = (uint32_t)page_size;
	to->records = command_has(arguments, "records");
	return 0;
}

static int run(const struct arguments *arguments)
{
	struct inspect_options options = { .kind = INSPECT_AUTO };
	const bool live = socket_is_address(arguments->operands[0]);
	struct printer printer;
	int status = read_options(arguments, live, &options);

	if (status)
		return status;
	(void)setvbuf(stdout, NULL, live ? _IOLBF : _IOFBF, 0);
	printer_init(&printer, stdout, command_has(arguments, "json"), live);
	status = live ? run_live(arguments, &options, &printer)
		      : run_file(arguments, &options, &printer);
	printer_done(&printer);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		(void)fprintf(stderr, "holdfast inspect: standard output: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	return status;
}

static const struct command_option options[] = {
	{ "json", NULL, "one JSON object a line", 0 },
	{ "records", NULL, "also each page and packet", 0 },
	{ "kind", "KIND", "main, recovery, multifd, preempt, return or holdfast", 0 },
	{ "page-size", "BYTES", "of the guest's architecture (default: 4096)", 0 },
	{ "forward", "URI", "pass everything on to this target, and decode its answers", 0 },
	{ NULL },
};

const struct command command_inspect = {
	.name = "inspect",
	.summary = "Show what is in a migration stream of QEMU, or of Holdfast",
	.operands = "FILE | - | URI",
	.operands_min = 1,
	.operands_max = 1,
	.options = options,
	.run = run,
};
