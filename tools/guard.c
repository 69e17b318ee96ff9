/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * holdfast guard: hands the guest of one QEMU over to another, neither of which knows of it. This
 * process is one side of the handover, or with `local` both, and ends with it.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <holdfast/types.h>

#include "tools/commands.h"
#include "tools/guard-side.h"
#include "tools/paths.h"

#define URI_LOCAL "link" /* between the two of `local`, in their folder */

/* ---- options ------------------------------------------------------------------------------- */

static int read_numbers(const struct arguments *arguments, struct guard_options *options)
{
	uint64_t downtime = 300, channels = 2, multifd = 0, deadline = 0, link = 0, device = 0,
		 doubt = 0, pid = 0;

	if (command_number(arguments, "downtime", 1, 2000000, &downtime) ||
	    command_number(arguments, "channels", 1, 16, &channels) ||
	    command_number(arguments, "multifd", 1, 255, &multifd) ||
	    command_number(arguments, "deadline", 1, 31536000, &deadline) ||
	    command_number(arguments, "link-deadline", 1, 86400, &link) ||
	    command_number(arguments, "device-deadline", 1, 86400, &device) ||
	    command_number(arguments, "doubt", 1, 86400, &doubt) ||
	    command_number(arguments, "qemu-pid", 1, INT_MAX, &pid) ||
	    command_size(arguments, "bandwidth", 1, INT64_MAX, &options->bandwidth))
		return EXIT_USAGE;
	options->downtime_us = downtime * 1000;
	options->connections = (uint32_t)channels;
	options->multifd = (uint32_t)multifd;
	options->deadline_us = deadline * 1000000;
	options->link_us = link * 1000000;
	options->device_us = device * 1000000;
	options->doubt_us = doubt * 1000000;
	options->pid = (pid_t)pid;
	return 0;
}

static int read_filters(const struct arguments *arguments, struct guard_options *options)
{
	const char *text;

	while ((text = command_nth(arguments, "filter", options->filter_count)) != NULL) {
		if (options->filter_count == GUARD_FILTERS_MAX - 1)
			return command_usage(arguments->command, "option --filter: %u at most",
					     GUARD_FILTERS_MAX - 1);
		options->filters[options->filter_count++] = text;
	}
	return 0;
}

static int read_options(const struct arguments *arguments, struct guard_options *options)
{
	static char ledger[HF_URI_MAX];
	struct hf_error err = { 0 };

	options->guest = command_text(arguments, "guest");
	if (!options->guest)
		return command_usage(arguments->command,
				     "option --guest is missing: the guest's name in the ledger");
	if (!path_is_name(options->guest))
		return command_usage(arguments->command, "option --guest: '%s' is no name",
				     options->guest);
	options->ledger = command_text(arguments, "ledger");
	if (!options->ledger) {
		if (path_default_ledger(ledger, &err) < 0)
			return command_failed(arguments->command, &err);
		options->ledger = ledger;
	}
	options->dir = command_text(arguments, "dir");
	options->auto_converge = command_has(arguments, "auto-converge");
	options->stay = command_has(arguments, "stay");
	options->restart = command_has(arguments, "restart");
	options->register_ = command_has(arguments, "register");
	options->trust = command_has(arguments, "trust-target");
	options->record = command_text(arguments, "record");
	if (options->restart && !options->dir)
		return command_usage(arguments->command,
				     "option --restart needs --dir: where the guest was kept");
	if (options->restart && options->register_)
		return command_usage(arguments->command,
				     "options --restart and --register exclude each other: the "
				     "guest may be somebody else's by now");
	if (read_numbers(arguments, options))
		return EXIT_USAGE;
	return read_filters(arguments, options);
}

/* ---- running ------------------------------------------------------------------------------- */

static int signals(void)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN); /* who listens to us decides nothing */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int run_one(struct side *side)
{
	int status = side_listen(side);

	if (status == 0 && !side->options.uri) {
		status = side_stand(side);
	} else if (status == 0) {
		if (side_open(side) < 0) {
			side->outcome = HF_OUTCOME_HOME;
			status = command_failed(side->command, &side->err);
		} else {
			(void)side_run(side);
			status = side_tell(side);
		}
		side_close(side);
	}
	side_done(side);
	return status;
}

static int open_both(struct side *source, struct side *target)
{
	if (side_open(target) < 0)
		return command_failed(target->command, &target->err);
	if (side_open(source) < 0)
		return command_failed(source->command, &source->err);
	return 0;
}

/* Both sides in this process. The source's end is the command's. */
static int run_both(struct side *source, struct side *target)
{
	pthread_t thread;
	int status = open_both(source, target);

	if (status == 0 && pthread_create(&thread, NULL, side_run, target))
		status = command_usage(source->command, "a thread cannot be made");
	if (status == 0) {
		(void)side_run(source);
		/* A source that never reached it leaves a target that waits for one. */
		(void)eventfd_write(target->cancel_fd, 1);
		(void)pthread_join(thread, NULL);
		(void)side_tell(target);
		status = side_tell(source);
	} else {
		source->outcome = HF_OUTCOME_HOME;
		target->outcome = HF_OUTCOME_FAILED;
	}
	side_close(source);
	side_close(target);
	return status;
}

/* A folder of this process' own, when none was given. */
static int own_folder(const struct arguments *arguments, char folder[PATH_MAX])
{
	const char *base = getenv("TMPDIR");

	(void)snprintf(folder, PATH_MAX, "%s/holdfast-guard.XXXXXX", base ? base : "/tmp");
	if (mkdtemp(folder))
		return 0;
	(void)fprintf(stderr, "holdfast %s: a folder %s: %s\n", arguments->command->name, folder,
		      strerror(errno));
	return EXIT_FAILED;
}

static int sub_folder(const struct arguments *arguments, const char *folder, const char *name,
		      char path[PATH_MAX])
{
	if (snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX &&
	    (mkdir(path, 0700) == 0 || errno == EEXIST))
		return 0;
	(void)fprintf(stderr, "holdfast %s: a folder %s: %s\n", arguments->command->name, path,
		      strerror(errno));
	return EXIT_FAILED;
}

static int run_local_checked(const struct arguments *arguments, struct guard_options *options)
{
	static char folders[2][PATH_MAX], uri[HF_URI_MAX];
	const bool json = command_has(arguments, "json");
	struct side source = {
		.command = arguments->command, .name = "source", .options = *options, .json = json
	};
	struct side target = {
		.command = arguments->command, .name = "target", .options = *options, .json = json
	};
	int status = sub_folder(arguments, options->dir, "source", folders[0]);

	if (status == 0)
		status = sub_folder(arguments, options->dir, "target", folders[1]);
	if (status)
		return status;
	if (snprintf(uri, sizeof(uri), "unix:%s/" URI_LOCAL, options->dir) >= (int)sizeof(uri))
		return command_usage(arguments->command, "option --dir: too long");
	source.options.role = HF_ROLE_SOURCE;
	source.options.qmp = arguments->operands[1];
	source.options.dir = folders[0];
	source.options.uri = uri;
	source.cancel_fd = signals();
	target.options.role = HF_ROLE_TARGET;
	target.options.qmp = arguments->operands[2];
	target.options.dir = folders[1];
	target.options.uri = uri;
	target.options.record = NULL;
	target.options.filter_count = 0;
	target.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	status = side_listen(&source);
	if (status == 0)
		status = side_listen(&target);
	if (status == 0)
		status = run_both(&source, &target);
	side_done(&source);
	side_done(&target);
	(void)close(target.cancel_fd);
	(void)rmdir(folders[0]);
	(void)rmdir(folders[1]);
	return status;
}

static int run_local(const struct arguments *arguments, struct guard_options *options)
{
	if (options->restart)
		return command_usage(
			arguments->command,
			"local has no --restart: 'guard target' and 'guard source' have, "
			"with DIR/target and DIR/source");
	if (options->pid)
		return command_usage(arguments->command,
				     "option --qemu-pid: with local it is not clear whose");
	return run_local_checked(arguments, options);
}

/* The source's guard may stand, and be told later where to go. */
static bool is_target_or_local(const char *role)
{
	return strcmp(role, "source") != 0;
}

static int run(const struct arguments *arguments)
{
	static char folder[PATH_MAX];
	struct guard_options options = { 0 };
	const char *role = arguments->operands[0];
	int status;

	if (strcmp(role, "source") != 0 && strcmp(role, "target") != 0 &&
	    strcmp(role, "local") != 0)
		return command_usage(arguments->command, "'%s' is no side: source, target or local",
				     role);
	if (arguments->operand_count < (is_target_or_local(role) ? 3 : 2))
		return command_usage(
			arguments->command, "%s needs QEMU's control socket and %s", role,
			strcmp(role, "local") == 0 ? "the other QEMU's" : "the link's address");
	status = read_options(arguments, &options);
	if (status)
		return status;
	if (!options.dir) {
		status = own_folder(arguments, folder);
		if (status)
			return status;
		options.dir = folder;
	}
	if (strcmp(role, "local") == 0) {
		status = run_local(arguments, &options);
	} else {
		struct side side = { .command = arguments->command,
				     .name = role,
				     .options = options,
				     .json = command_has(arguments, "json"),
				     .cancel_fd = signals() };

		side.options.role = strcmp(role, "source") == 0 ? HF_ROLE_SOURCE : HF_ROLE_TARGET;
		side.options.qmp = arguments->operands[1];
		side.options.uri = arguments->operand_count == 3 ? arguments->operands[2] : NULL;
		if (!side.options.uri && options.restart)
			side.options.uri = ""; /* not used */
		status = run_one(&side);
	}
	if (folder[0])
		(void)rmdir(folder);
	return status;
}

/* clang-format off */
static const struct command_option options[] = {
	{ "guest",           "NAME", "the guest's name in the ledger; equal on both sides", 0 },
	{ "ledger",          "URI",  "where it is written whose the guest is: file:DIR, etcd:URL, none", 0 },
	{ "downtime",        "MS",   "source: QEMU's downtime-limit; default: 300", 0 },
	{ "bandwidth",       "RATE", "source: bytes per second at most, such as 100M; default: no limit", 0 },
	{ "deadline",        "S",    "source: give up when QEMU has not switched over by then; default: 3600", 0 },
	{ "multifd",         "N",    "source: QEMU's multifd channels; default: none", 0 },
	{ "auto-converge",   NULL,   "source: let QEMU throttle a guest that writes too much", 0 },
	{ "channels",        "N",    "source: connections of the link; default: 2", 0 },
	{ "link-deadline",   "S",    "give up when the link is lost for so long; default: 60", 0 },
	{ "device-deadline", "S",    "the longest change of state of a device, or of QEMU; default: 60", 0 },
	{ "doubt",           "S",    "source: ask a silent ledger for so long; default: 60", 0 },
	{ "stay",            NULL,   "source: leave QEMU's process when its guest is away", 0 },
	{ "register",        NULL,   "source: the guest was booted here; first tell the ledger so", 0 },
	{ "qemu-pid",        "PID",  "QEMU's process, if its control socket cannot tell", 0 },
	{ "trust-target",    NULL,   "target: VFIO devices that cannot be seen are not proved", 0 },
	{ "dir",             "DIR",  "for sockets, and what a restart needs", 0 },
	{ "restart",         NULL,   "the guard before this one died: find out whose the guest is, and act on it", 0 },
	{ "filter",          "SPEC", "rehearse a failure on this side: holdfast-filters(7)", COMMAND_REPEATS },
	{ "record",          "FILE", "leave a recording there", 0 },
	{ "json",            NULL,   "what happens as JSON, an object a line", 0 },
	{ NULL, NULL, NULL, 0 },
};
/* clang-format on */

const struct command command_guard = {
	.name = "guard",
	.summary = "Hand the guest of one unmodified QEMU over to another",
	.operands = "source QMP [URI] | target QMP URI | local QMP QMP",
	.operands_min = 1,
	.operands_max = 3,
	.options = options,
	.run = run,
};
