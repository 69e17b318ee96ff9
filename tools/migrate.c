/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * holdfast migrate: tells a guest's process to migrate it, shows how far it is, and says at the end
 * whose the guest is. The migration itself is the guest's process': ending this program changes
 * nothing about it.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <holdfast/types.h>

#include "tools/ask.h"
#include "tools/commands.h"

#define TERMINAL_MS 250u /* between two looks at the progress */
#define PLAIN_MS 1000u

/* How and to whom it is told. */
struct show {
	bool json, terminal;
	uint64_t next_ms; /* of the next look; on CLOCK_MONOTONIC */
	int signal_fd; /* Ctrl-C: cancels, the second time leaves */
	bool cancelled;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- what is asked for --------------------------------------------------------------------- */

static int put_number(const struct arguments *arguments, json_t *request, const char *option,
		      const char *parameter, uint64_t least, uint64_t most, bool size)
{
	uint64_t value;
	int result;

	if (!command_has(arguments, option))
		return 0;
	result = size ? command_size(arguments, option, least, most, &value)
		      : command_number(arguments, option, least, most, &value);
	if (result == 0)
		(void)json_object_set_new(request, parameter, json_integer((json_int_t)value));
	return result;
}

static int put_texts(const struct arguments *arguments, json_t *request)
{
	json_t *filters = json_array();
	const char *text;

	for (uint32_t i = 0; (text = command_nth(arguments, "filter", i)); i++)
		if (json_array_append_new(filters, json_string(text)))
			return command_usage(arguments->command,
					     "option --filter: '%s' is no UTF-8", text);
	if (json_array_size(filters) > 0)
		(void)json_object_set(request, "filters", filters);
	json_decref(filters);
	text = command_text(arguments, "capture");
	if (text && json_object_set_new(request, "capture", json_string(text)))
		return command_usage(arguments->command, "option --capture: '%s' is no UTF-8",
				     text);
	text = command_text(arguments, "ledger");
	if (text && json_object_set_new(request, "ledger", json_string(text)))
		return command_usage(arguments->command, "option --ledger: '%s' is no UTF-8", text);
	return 0;
}

/* The request's arguments; NULL after a sentence. */
static json_t *request_of(const struct arguments *arguments)
{
	json_t *request = json_pack("{s:s}", "uri", arguments->operands[1]);

	if (!request) {
		(void)command_usage(arguments->command, "the URI is no UTF-8");
		return NULL;
	}
	if (put_number(arguments, request, "channels", "channels", 1, HF_CHANNELS_MAX, false) ||
	    put_number(arguments, request, "downtime", "downtime-limit", 1, 2000000, false) ||
	    put_number(arguments, request, "bandwidth", "max-bandwidth", 0, INT64_MAX, true) ||
	    put_number(arguments, request, "deadline", "deadline", 1, 31536000, false) ||
	    put_texts(arguments, request)) {
		json_decref(request);
		return NULL;
	}
	return request;
}

/* ---- what is shown ------------------------------------------------------------------------- */

static void print_progress(const struct show *show, const json_t *migration)
{
	const json_t *own = json_object_get(migration, "holdfast");
	const json_t *ram = json_object_get(migration, "ram");
	char line[256];

	(void)snprintf(line, sizeof(line),
		       "%-10s round %-3" PRIu64 " %7.2f GiB sent %8.1f MiB left %7.1f MiB/s  "
		       "throttle %2" PRIu64 " %%  downtime %.0f ms",
		       ask_text(own, "state"), ask_number(own, "round"),
		       (double)ask_number(own, "wire-bytes") / (1 << 30),
		       (double)ask_number(ram, "remaining") / (1 << 20),
		       (double)ask_number(own, "bytes-per-second") / (1 << 20),
		       ask_number(own, "throttle"),
		       (double)ask_number(own, "expected-downtime-us") / 1000);
	(void)printf(show->terminal ? "\r\033[K%s" : "%s\n", line);
	(void)fflush(stdout);
}

static void print_json(const json_t *object)
{
	(void)json_dumpf(object, stdout, JSON_COMPACT);
	(void)putchar('\n');
	(void)fflush(stdout);
}

static void show_progress(const struct show *show, const json_t *migration)
{
	const json_t *own = json_object_get(migration, "holdfast");
	const json_t *ram = json_object_get(migration, "ram");
	json_t *object;

	if (!show->json) {
		print_progress(show, migration);
		return;
	}
	object = json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "status",
			   ask_text(migration, "status"), "state", ask_text(own, "state"), "round",
			   (json_int_t)ask_number(own, "round"), "bytes",
			   (json_int_t)ask_number(own, "wire-bytes"), "remaining",
			   (json_int_t)ask_number(ram, "remaining"), "bytes_per_second",
			   (json_int_t)ask_number(own, "bytes-per-second"), "throttle",
			   (json_int_t)ask_number(own, "throttle"), "expected_downtime_us",
			   (json_int_t)ask_number(own, "expected-downtime-us"));
	print_json(object);
	json_decref(object);
}

static void show_end_json(const json_t *migration)
{
	const json_t *own = json_object_get(migration, "holdfast");
	const json_t *error = json_object_get(own, "error");
	json_t *object;

	object = json_pack("{s:s,s:I,s:I,s:I}", "outcome", ask_text(own, "outcome"), "downtime_us",
			   (json_int_t)ask_number(own, "downtime-us"), "total_us",
			   (json_int_t)ask_number(own, "total-us"), "bytes",
			   (json_int_t)ask_number(own, "wire-bytes"));
	if (error)
		(void)json_object_set_new(object, "error",
					  json_pack("{s:O,s:O,s:O,s:O,s:O}", "code",
						    json_object_get(error, "code"), "name",
						    json_object_get(error, "name"), "class",
						    json_object_get(error, "class"), "cause",
						    json_object_get(error, "cause"), "text",
						    json_object_get(error, "text")));
	print_json(object);
	json_decref(object);
}

static void show_end_text(const struct arguments *arguments, const json_t *migration)
{
	const json_t *own = json_object_get(migration, "holdfast");
	const json_t *error = json_object_get(own, "error");
	const char *outcome = ask_text(own, "outcome");

	if (strcmp(outcome, "away") == 0) {
		(void)printf("The guest is away: it runs at %s. Downtime %.1f ms, total %.2f s, "
			     "%.2f GiB sent in %" PRIu64 " rounds.\n",
			     ask_text(own, "uri"), (double)ask_number(own, "downtime-us") / 1000,
			     (double)ask_number(own, "total-us") / 1e6,
			     (double)ask_number(own, "wire-bytes") / (1 << 30),
			     ask_number(own, "round"));
		return;
	}
	(void)fprintf(stderr, "holdfast migrate: %s\n", ask_text(error, "text"));
	if (strcmp(outcome, "waiting") == 0)
		(void)fprintf(stderr, "In doubt: the guest waits here, paused and whole, until the "
				      "ledger or an operator has said whose it is.\n");
	else if (strcmp(outcome, "lost") == 0)
		(void)fprintf(stderr,
			      "The guest is here and paused: a device had to be reset, and what "
			      "the guest had in it is gone. 'holdfast cont %s' runs it on.\n",
			      arguments->operands[0]);
	else
		(void)fprintf(stderr, "The guest is here, as it was before (%s, %s).\n",
			      ask_text(error, "name"), ask_text(error, "explanation"));
}

static int show_end(const struct arguments *arguments, const struct show *show,
		    const json_t *migration)
{
	const char *outcome = ask_text(json_object_get(migration, "holdfast"), "outcome");

	if (show->terminal)
		(void)printf("\r\033[K");
	if (show->json)
		show_end_json(migration);
	else
		show_end_text(arguments, migration);
	if (strcmp(outcome, "away") == 0)
		return EXIT_DONE;
	return strcmp(outcome, "waiting") == 0 ? EXIT_DOUBT : EXIT_FAILED;
}

/* ---- waiting ------------------------------------------------------------------------------- */

/* The first Ctrl-C cancels. -1: go on; else the exit status. */
static int on_signal(struct show *show, struct qmp_client *client)
{
	struct signalfd_siginfo info;
	struct hf_error err = { 0 };
	json_t *answer;

	if (read(show->signal_fd, &info, sizeof(info)) != sizeof(info))
		return -1;
	if (show->cancelled) {
		(void)fprintf(stderr, "\nholdfast migrate: leaving; the migration goes on\n");
		return EXIT_UNKNOWN;
	}
	show->cancelled = true;
	answer = qmp_client_call(client, "migrate_cancel", NULL, ASK_TIMEOUT_MS, &err);
	if (!answer)
		(void)fprintf(stderr, "\nholdfast migrate: %s\n", err.text);
	json_decref(answer);
	return -1;
}

/* Until an event, a signal, or the next look is due. -1: go on; else the exit status. */
static int wait_for_something(const struct arguments *arguments, struct show *show,
			      struct qmp_client *client)
{
	struct pollfd fds[2] = { { .fd = qmp_client_fd(client), .events = POLLIN },
				 { .fd = show->signal_fd, .events = POLLIN } };
	struct hf_error err = { 0 };
	uint64_t now = now_ms();
	json_t *event = NULL;
	int n;

	n = poll(fds, 2, show->next_ms > now ? (int)(show->next_ms - now) : 0);
	if (n < 0 && errno != EINTR) {
		(void)fprintf(stderr, "holdfast migrate: poll: %s\n", strerror(errno));
		return EXIT_UNKNOWN;
	}
	if (n > 0 && fds[1].revents)
		return on_signal(show, client);
	/* What an event says, query-migrate says in full. */
	do {
		json_decref(event);
		if (qmp_client_event(client, 0, &event, &err) < 0) {
			(void)command_failed(arguments->command, &err);
			(void)fprintf(stderr, "It is not known how the migration ended: ask the "
					      "ledger, or 'holdfast status' at the target.\n");
			return EXIT_UNKNOWN;
		}
	} while (event);
	return -1;
}

static bool ended(const json_t *migration)
{
	const char *outcome = ask_text(json_object_get(migration, "holdfast"), "outcome");

	return outcome[0] && strcmp(outcome, "none") != 0;
}

static int follow(const struct arguments *arguments, struct show *show, struct qmp_client *client)
{
	for (;;) {
		json_t *migration = NULL;
		int status = ask(arguments, client, "query-migrate", NULL, &migration);
		uint64_t now = now_ms();

		if (status)
			return EXIT_UNKNOWN;
		if (ended(migration)) {
			status = show_end(arguments, show, migration);
			json_decref(migration);
			return status;
		}
		if (now >= show->next_ms) {
			show_progress(show, migration);
			show->next_ms = now + (show->terminal ? TERMINAL_MS : PLAIN_MS);
		}
		json_decref(migration);
		status = wait_for_something(arguments, show, client);
		if (status >= 0)
			return status;
	}
}

static int open_signals(struct show *show)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	show->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return show->signal_fd < 0 ? -errno : 0;
}

static int run(const struct arguments *arguments)
{
	struct show show = { .json = command_has(arguments, "json"), .signal_fd = -1 };
	struct qmp_client *client = NULL;
	json_t *request;
	int status;

	if (command_has(arguments, "wait") && command_has(arguments, "no-wait"))
		return command_usage(arguments->command, "options --wait and --no-wait exclude "
							 "each other");
	request = request_of(arguments);
	if (!request)
		return EXIT_USAGE;
	show.terminal = !show.json && isatty(STDOUT_FILENO);
	status = ask_connect(arguments, &client);
	if (status) {
		json_decref(request);
		return status;
	}
	status = ask(arguments, client, "migrate", request, NULL);
	if (status == 0 && !command_has(arguments, "no-wait")) {
		status = open_signals(&show);
		if (status < 0) {
			(void)fprintf(stderr, "holdfast migrate: signalfd: %s\n",
				      strerror(-status));
			status = EXIT_UNKNOWN;
		} else {
			status = follow(arguments, &show, client);
			(void)close(show.signal_fd);
		}
	}
	(void)qmp_client_close(client);
	return status;
}

/* clang-format off */
static const struct command_option options[] = {
	{ "channels",  "N",    "connections for bulk data; default: 2", 0 },
	{ "downtime",  "MS",   "switch over when the guest would stand still this long at most; default: 300", 0 },
	{ "bandwidth", "RATE", "bytes per second at most, such as 100M; default: no limit", 0 },
	{ "deadline",  "S",    "give up when it has not switched over by then; default: 3600", 0 },
	{ "ledger",    "URI",  "another ledger than the guest was started with", 0 },
	{ "filter",    "SPEC", "rehearse a failure on this side: holdfast-filters(7)", COMMAND_REPEATS },
	{ "capture",   "DIR",  "keep a copy of what every connection carried", 0 },
	{ "via-guard", NULL,   "ask the guest's guard (holdfast guard), which stands beside its QEMU", 0 },
	{ "json",      NULL,   "progress and outcome as JSON, an object a line", 0 },
	{ "wait",      NULL,   "stay until the outcome is known (the default)", 0 },
	{ "no-wait",   NULL,   "return as soon as the migration has begun", 0 },
	{ NULL, NULL, NULL, 0 },
};
/* clang-format on */

const struct command command_migrate = {
	.name = "migrate",
	.summary = "Migrate a running guest, and say whose it is afterwards",
	.operands = "GUEST URI",
	.operands_min = 2,
	.operands_max = 2,
	.options = options,
	.run = run,
};
