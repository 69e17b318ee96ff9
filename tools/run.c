/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * holdfast run: a guest, in this process, until it ends or is told to. Reads the options, makes the
 * guest of the kind that this host can run, and leaves the rest to vmm/control.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tools/command.h"
#include "tools/commands.h"
#include "tools/paths.h"
#include "vmm/control.h"
#include "vmm/witness.h"

#define MEMORY_MIN (2ull << 20)
#define MEMORY_MAX (1ull << 42)

/* Everything that the options become; lives as long as the guest. */
struct run {
	const struct arguments *arguments;
	struct guest_config guest;
	struct control_config control;
	struct migrate_parameters parameters;
	const char *devices[HF_DEVICES_MAX];
	char kernel[PATH_MAX], socket[PATH_MAX], side[HF_NAME_MAX];
	struct hf_kept kept;
	enum { KIND_AUTO, KIND_KVM, KIND_THREAD } kind;
};

static void say(void *ctx, const char *sentence)
{
	const struct run *run = ctx;

	(void)fprintf(stderr, "holdfast: %s: %s\n", run->guest.name, sentence);
}

/* ---- options ------------------------------------------------------------------------------- */

static int read_guest(struct run *run, const struct arguments *arguments)
{
	uint64_t vcpus = 2;
	const char *name = command_text(arguments, "name");

	run->guest.name = name ? name : "guest";
	run->guest.memory_bytes = 1ull << 30;
	run->guest.serial = command_text(arguments, "serial");
	if (!run->guest.serial)
		run->guest.serial = "stdio";
	run->guest.initrd = command_text(arguments, "initrd");
	run->guest.command_line = command_text(arguments, "append");
	run->guest.no_dirty_ring = command_has(arguments, "no-dirty-ring");
	if (!path_is_name(run->guest.name))
		return command_usage(arguments->command,
				     "option --name: '%s' is no name: 1 to 63 of A-Z a-z 0-9 . _ -",
				     run->guest.name);
	if (command_size(arguments, "memory", MEMORY_MIN, MEMORY_MAX, &run->guest.memory_bytes) ||
	    command_number(arguments, "vcpus", 1, HF_VCPUS_MAX, &vcpus))
		return EXIT_USAGE;
	if (run->guest.memory_bytes % HF_PAGE_SIZE)
		return command_usage(arguments->command,
				     "option --memory: '%s' is no multiple of %u bytes",
				     command_text(arguments, "memory"), HF_PAGE_SIZE);
	run->guest.vcpu_count = (uint32_t)vcpus;
	if (strcmp(run->guest.serial, "stdio") != 0 && strcmp(run->guest.serial, "none") != 0 &&
	    strncmp(run->guest.serial, "file:", 5) != 0)
		return command_usage(arguments->command,
				     "option --serial: '%s' is none of stdio, file:PATH, none",
				     run->guest.serial);
	return 0;
}

static int read_devices(struct run *run, const struct arguments *arguments)
{
	const char *device;

	while ((device = command_nth(arguments, "device", run->guest.device_count))) {
		if (run->guest.device_count == HF_DEVICES_MAX)
			return command_usage(arguments->command,
					     "option --device: more than %d devices",
					     HF_DEVICES_MAX);
		run->devices[run->guest.device_count++] = device;
	}
	run->guest.devices = run->devices;
	return 0;
}

static int read_kind(struct run *run, const struct arguments *arguments)
{
	const char *kind = command_text(arguments, "guest");

	if (!kind || strcmp(kind, "auto") == 0)
		run->kind = KIND_AUTO;
	else if (strcmp(kind, "kvm") == 0)
		run->kind = KIND_KVM;
	else if (strcmp(kind, "thread") == 0)
		run->kind = KIND_THREAD;
	else
		return command_usage(arguments->command,
				     "option --guest: '%s' is none of auto, kvm, thread", kind);
	return 0;
}

/* Kept as words, and read again for each migration; what cannot be read is said now. */
static int read_filters(struct run *run, const struct arguments *arguments)
{
	struct hf_filters *filters = NULL;
	struct hf_error err = { 0 };
	const char *filter;
	int result = hf_filters_new(&filters, &err);

	for (uint32_t i = 0; result == 0 && (filter = command_nth(arguments, "filter", i)); i++) {
		result = hf_filters_add(filters, filter, &err);
		if (result == 0)
			result = migrate_parameters_add_filter(&run->parameters, filter, &err);
	}
	(void)hf_filters_free(filters); /* NULL */
	return result == 0 ? 0 : command_usage(arguments->command, "option --filter: %s", err.text);
}

static int read_migration(struct run *run, const struct arguments *arguments)
{
	const char *lost = command_text(arguments, "on-device-lost");
	const char *record = command_text(arguments, "record");

	migrate_parameters_init(&run->parameters);
	if (lost && strcmp(lost, "pause") != 0 && strcmp(lost, "resume") != 0)
		return command_usage(arguments->command,
				     "option --on-device-lost: '%s' is none of pause, resume",
				     lost);
	if (record && strlen(record) >= sizeof(run->parameters.record))
		return command_usage(arguments->command, "option --record: the path is too long");
	if (record)
		memcpy(run->parameters.record, record, strlen(record) + 1);
	run->parameters.on_device_lost_resume = lost && strcmp(lost, "resume") == 0;
	if (read_filters(run, arguments))
		return EXIT_USAGE;
	if (command_has(arguments, "incoming") && command_has(arguments, "paused"))
		return command_usage(arguments->command,
				     "option --paused: with --incoming the guest is paused on "
				     "arrival if it was paused at the source");
	run->guest.incoming = command_has(arguments, "incoming");
	run->control.incoming = command_text(arguments, "incoming");
	run->control.paused = command_has(arguments, "paused");
	return 0;
}

/* ---- what they name ------------------------------------------------------------------------ */

static int find_kernel(struct run *run, struct hf_error *err)
{
	const char *kernel = command_text(run->arguments, "kernel");

	if (!kernel)
		return 0;
	if (strcmp(kernel, "checker") == 0) {
		int result = path_checker(run->kernel, err);

		run->guest.kernel = run->kernel;
		return result;
	}
	run->guest.kernel = kernel;
	return 0;
}

static int find_ledger(struct run *run, struct hf_error *err)
{
	const char *ledger = command_text(run->arguments, "ledger");

	if (!ledger)
		return path_default_ledger(run->parameters.ledger, err);
	if (strlen(ledger) >= sizeof(run->parameters.ledger)) {
		err->code = HF_E_INVALID;
		(void)snprintf(err->text, sizeof(err->text),
			       "option --ledger: longer than %zu characters",
			       sizeof(run->parameters.ledger) - 1);
		return err->code;
	}
	memcpy(run->parameters.ledger, ledger, strlen(ledger) + 1);
	return 0;
}

/* One process for each folder, for as long as it lives: nobody else makes or unlinks files there.
 */
static int lock_keep(const char *keep, struct hf_error *err)
{
	char path[PATH_MAX];
	int fd = -1;

	errno = ENAMETOOLONG;
	if (snprintf(path, sizeof(path), "%s/lock", keep) < (int)sizeof(path))
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0; /* held, and the descriptor with it, until the process ends */
	err->code = fd >= 0 && errno == EWOULDBLOCK ? HF_E_BUSY : HF_E_SYSTEM;
	(void)snprintf(err->text, sizeof(err->text), "option --keep: %.150s: %s", keep,
		       err->code == HF_E_BUSY ? "another process keeps its guest there"
					      : strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return err->code;
}

/* Does the folder of --keep hold a guest in doubt? Then that is the one to be run, as it was. */
static int find_kept(struct run *run, struct hf_error *err)
{
	const char *keep = command_text(run->arguments, "keep");
	char sentence[HF_ERROR_TEXT_MAX];
	int there;

	run->kept.size = sizeof(run->kept);
	run->guest.keep = run->control.keep = keep;
	if (keep && lock_keep(keep, err) < 0)
		return err->code;
	there = keep ? hf_kept_read(keep, &run->kept, err) : 0;
	if (there <= 0)
		return there;
	err->code = HF_E_INVALID;
	if (strcmp(run->kept.guest, run->guest.name) != 0 || run->guest.incoming) {
		(void)snprintf(err->text, sizeof(err->text),
			       "option --keep: %.120s holds guest \"%.63s\" in doubt, and that "
			       "comes first",
			       keep, run->kept.guest);
		return err->code;
	}
	err->code = 0;
	run->guest.kept = run->guest.incoming = run->control.restart = true;
	run->guest.kernel = NULL;
	memcpy(run->side, run->kept.side, sizeof(run->side));
	(void)snprintf(sentence, sizeof(sentence),
		       "%.120s holds this guest, in doubt since handover %llu: asking whose it is",
		       keep, (unsigned long long)run->kept.epoch);
	say(run, sentence);
	return 0;
}

static int open_witness(const struct run *run, struct hf_error *err)
{
	const char *where = command_text(run->arguments, "witness");

	return where ? witness_open(where, err) : 0;
}

static int open_trace(struct run *run, struct hf_error *err)
{
	const char *path = command_text(run->arguments, "trace");

	run->control.trace_fd = -1;
	if (!path)
		return 0;
	run->control.trace_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (run->control.trace_fd >= 0)
		return 0;
	err->code = HF_E_SYSTEM;
	err->cause = errno;
	(void)snprintf(err->text, sizeof(err->text), "option --trace: %.150s: %s", path,
		       strerror(errno));
	return err->code;
}

/* Before the guest's threads exist, so that they inherit the mask. */
static int take_signals(struct run *run, struct hf_error *err)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	run->control.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (run->control.signal_fd >= 0)
		return 0;
	err->code = HF_E_SYSTEM;
	(void)snprintf(err->text, sizeof(err->text), "signalfd: %s", strerror(errno));
	return err->code;
}

static int new_guest(struct run *run, struct hf_error *err)
{
	struct hf_error why = { 0 };

	if (run->kind == KIND_AUTO && kvm_guest_possible(&why) < 0) {
		char sentence[HF_ERROR_TEXT_MAX + 80];

		(void)snprintf(sentence, sizeof(sentence),
			       "no KVM (%s): the vCPUs are threads of this process", why.text);
		say(run, sentence);
		run->kind = KIND_THREAD;
	}
	if (run->kind == KIND_THREAD)
		return thread_guest_new(&run->guest, &run->control.guest, err);
	return kvm_guest_new(&run->guest, &run->control.guest, err);
}

static int prepare(struct run *run, struct hf_error *err)
{
	const char *path = command_text(run->arguments, "control");
	int result;

	result = path ? (strchr(path, '/') ? path_control(path, false, run->socket, err)
					   : path_control(path, true, run->socket, err))
		      : path_control(run->guest.name, true, run->socket, err);
	if (result == 0)
		result = find_kernel(run, err);
	if (result == 0)
		result = find_ledger(run, err);
	if (result == 0)
		result = hf_side_default(run->side, err);
	if (result == 0)
		result = find_kept(run, err);
	if (result == 0)
		result = open_trace(run, err);
	if (result == 0)
		result = open_witness(run, err);
	if (result == 0)
		result = take_signals(run, err);
	return result == 0 ? new_guest(run, err) : result;
}

static int run_(const struct arguments *arguments)
{
	static struct run run; /* large, and there is one */
	struct hf_error err = { 0 };

	run.arguments = arguments;
	if (read_guest(&run, arguments) || read_devices(&run, arguments) ||
	    read_kind(&run, arguments) || read_migration(&run, arguments))
		return EXIT_USAGE;
	if (!run.guest.incoming && run.kind != KIND_THREAD && !command_has(arguments, "kernel"))
		return command_usage(arguments->command,
				     "option --kernel is missing: an ELF file, or 'checker'");
	if (prepare(&run, &err) < 0)
		return command_failed(arguments->command, &err);

	run.control.side = run.side;
	run.control.guest_name = run.guest.name;
	run.control.socket_path = run.socket;
	run.control.parameters = &run.parameters;
	run.control.say = say;
	run.control.ctx = &run;
	say(&run, run.control.guest->ops->describe(run.control.guest));
	return control_run(&run.control);
}

/* clang-format off */
static const struct command_option options[] = {
	{ "name",           "NAME",   "the guest's name, equal on both sides; default: guest", 0 },
	{ "memory",         "SIZE",   "guest memory, such as 512M or 2G; default: 1G", 0 },
	{ "vcpus",          "N",      "virtual CPUs; default: 2", 0 },
	{ "kernel",         "FILE",   "an ELF kernel with a PVH entry, or 'checker': the guest that proves itself", 0 },
	{ "initrd",         "FILE",   "the kernel's initial RAM disk", 0 },
	{ "append",         "TEXT",   "the kernel's command line", 0 },
	{ "device",         "URI",    "a device: sim:state=1M, or a kernel's: vfio=0000:17:00.1", COMMAND_REPEATS },
	{ "serial",         "WHERE",  "the serial console: stdio, file:PATH or none; default: stdio", 0 },
	{ "control",        "PATH",   "the QMP socket; default: NAME.qmp in the runtime directory", 0 },
	{ "incoming",       "URI",    "await the guest at tcp:HOST:PORT, unix:PATH or fd:N; 'defer': when asked", 0 },
	{ "paused",         NULL,     "do not run the guest before `holdfast cont`", 0 },
	{ "ledger",         "URI",    "where it is written whose the guest is: file:DIR, etcd:URL, none", 0 },
	{ "keep",           "DIR",    "keep the guest there (tmpfs) while it is in doubt, and take it up again", 0 },
	{ "guest",          "KIND",   "kvm, thread, or auto: KVM if this host has it; default: auto", 0 },
	{ "filter",         "SPEC",   "rehearse a failure in every migration: holdfast-filters(7)", COMMAND_REPEATS },
	{ "on-device-lost", "WHAT",   "pause or resume a guest whose device had to be reset; default: pause", 0 },
	{ "no-dirty-ring",  NULL,     "track dirty pages by KVM's dirty log", 0 },
	{ "trace",          "FILE",   "append every event of every migration to FILE", 0 },
	{ "record",         "DIR",    "leave a recording of every migration there, for `holdfast replay`", 0 },
	{ "witness",        "N:FILE", "append to FILE, as side N, what the checker says while it executes", 0 },
	{ NULL, NULL, NULL, 0 },
};
/* clang-format on */

const struct command command_run = {
	.name = "run",
	.summary = "Run a guest, or await one",
	.operands = "",
	.options = options,
	.run = run_,
};
