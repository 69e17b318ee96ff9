/* SPDX-License-Identifier: BSD-3-Clause */
/* holdfast device: what a device is, whether it behaves, and its state to a file and back. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include <holdfast/backend.h>
#include <holdfast/device.h>

#include "check/check.h"
#include "tools/commands.h"
#include "tools/device-file.h"
#include "tools/device-serve.h"

#define EXIT_NO_DEVICE 4 /* the device cannot be opened */

static const char *const region_names[] = { "BAR0", "BAR1", "BAR2",   "BAR3", "BAR4",
					    "BAR5", "ROM",  "config", "VGA" };
static const char *const irq_names[] = { "INTx", "MSI", "MSI-X", "ERR", "REQ" };

static int no_device(const struct command *command, const struct hf_error *err)
{
	(void)command_failed(command, err);
	return EXIT_NO_DEVICE;
}

/* ---- info ---------------------------------------------------------------------------------- */

static json_t *text(const char *from)
{
	json_t *value = json_string(from);

	return value ? value : json_string("?"); /* a device may say anything */
}

static json_t *regions_json(struct hf_device *device, uint32_t count)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < count; i++) {
		struct hf_region_info info = { 0 };

		if (device->ops->region_info(device->self, i, &info) < 0 || !info.size)
			continue;
		(void)json_array_append_new(
			all,
			json_pack("{s:I,s:s,s:I,s:b,s:b,s:b}", "index", (json_int_t)i, "name",
				  i < 9 ? region_names[i] : "device", "size", (json_int_t)info.size,
				  "read", (int)(info.flags & HF_REGION_READ), "write",
				  (int)(info.flags & HF_REGION_WRITE), "mmap",
				  (int)(info.flags & HF_REGION_MMAP)));
	}
	return all;
}

static json_t *irqs_json(struct hf_device *device, uint32_t indexes)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < indexes; i++) {
		uint32_t count = 0;

		if (device->ops->irq_count(device->self, i, &count) < 0 || !count)
			continue;
		(void)json_array_append_new(all, json_pack("{s:I,s:s,s:I}", "index", (json_int_t)i,
							   "name", i < 5 ? irq_names[i] : "device",
							   "count", (json_int_t)count));
	}
	return all;
}

static const char *state_of(struct hf_device *device)
{
	uint32_t state = HF_DEVICE_ERROR;

	return device->ops->get_state(device->self, &state) < 0 ? "?" : hf_device_state_name(state);
}

static void info_json(struct hf_device *device, const struct hf_device_info *info)
{
	json_t *all = json_pack("{s:o,s:o,s:o,s:s}", "name", text(info->name), "kind",
				text(info->kind), "compat", text(info->compat), "state",
				info->mig_flags ? state_of(device) : "?");
	json_t *states = json_array();
	uint64_t bytes = 0;

	for (uint32_t s = 1; s < HF_DEVICE_STATE_COUNT; s++)
		if (info->mig_flags && hf_device_has_state(info->mig_flags, s))
			(void)json_array_append_new(states, json_string(hf_device_state_name(s)));
	(void)json_object_set_new(all, "vendor", json_integer(info->vendor_id));
	(void)json_object_set_new(all, "device", json_integer(info->device_id));
	(void)json_object_set_new(all, "subsystem-vendor", json_integer(info->subsystem_vendor_id));
	(void)json_object_set_new(all, "subsystem", json_integer(info->subsystem_id));
	(void)json_object_set_new(all, "revision", json_integer(info->revision));
	(void)json_object_set_new(all, "flags", json_integer(info->mig_flags));
	(void)json_object_set_new(all, "states", states);
	(void)json_object_set_new(all, "dma-logging",
				  json_boolean(info->flags & HF_DEVICE_HAS_DMA_LOGGING));
	(void)json_object_set_new(all, "precopy-info",
				  json_boolean((info->mig_flags & HF_MIG_PRE_COPY) &&
					       !(info->flags & HF_DEVICE_GUESSES_PRECOPY)));
	(void)json_object_set_new(all, "dirty-all",
				  json_boolean(info->flags & HF_DEVICE_DIRTY_ALL));
	(void)json_object_set_new(all, "reset", json_boolean(info->flags & HF_DEVICE_HAS_RESET));
	if ((info->flags & HF_DEVICE_HAS_DATA_SIZE) &&
	    device->ops->data_size(device->self, &bytes) == 0)
		(void)json_object_set_new(all, "data-size", json_integer((json_int_t)bytes));
	(void)json_object_set_new(all, "regions", regions_json(device, info->region_count));
	(void)json_object_set_new(all, "interrupts", irqs_json(device, info->irq_count));
	(void)json_dumpf(all, stdout, JSON_COMPACT);
	(void)putchar('\n');
	json_decref(all);
}

static void print_migration(struct hf_device *device, const struct hf_device_info *info)
{
	uint64_t bytes = 0;

	if (!info->mig_flags) {
		(void)printf("migration  none: it cannot be migrated\n");
		return;
	}
	(void)printf("migration  STOP_COPY%s%s (flags %" PRIu32 ")\n",
		     info->mig_flags & HF_MIG_P2P ? ", P2P" : "",
		     info->mig_flags & HF_MIG_PRE_COPY ? ", PRE_COPY" : "", info->mig_flags);
	(void)printf("states    ");
	for (uint32_t s = 1; s < HF_DEVICE_STATE_COUNT; s++)
		if (hf_device_has_state(info->mig_flags, s))
			(void)printf(" %s", hf_device_state_name(s));
	(void)printf("\nstate      %s\n", state_of(device));
	if (!(info->mig_flags & HF_MIG_P2P))
		(void)printf("lacks      P2P: devices cannot be kept from each other one by one\n");
	if (!(info->mig_flags & HF_MIG_PRE_COPY))
		(void)printf(
			"lacks      PRE_COPY: all of its state is read while it stands still\n");
	if (info->flags & HF_DEVICE_GUESSES_PRECOPY)
		(void)printf("lacks      what pre-copy has left: it is guessed by what was read\n");
	if (!(info->flags & HF_DEVICE_HAS_DMA_LOGGING))
		(void)printf("lacks      DMA logging: what it writes must be found otherwise\n");
	else if (info->flags & HF_DEVICE_DIRTY_ALL)
		(void)printf("lacks      DMA logging: all that it may write counts as written\n");
	else
		(void)printf("has        DMA logging\n");
	if (!(info->flags & HF_DEVICE_HAS_DATA_SIZE))
		(void)printf("lacks      the size of its stream: the downtime is guessed\n");
	else if (device->ops->data_size(device->self, &bytes) == 0)
		(void)printf("has        the size of its stream: %" PRIu64 " bytes now\n", bytes);
	(void)printf("%s\n", info->flags & HF_DEVICE_HAS_RESET ? "has        reset"
							       : "lacks      a word of its reset");
}

static void info_text(struct hf_device *device, const struct hf_device_info *info)
{
	(void)printf("name       %s\nkind       %s\nmodel      %s\n", info->name, info->kind,
		     info->compat);
	(void)printf("ids        %04x:%04x, subsystem %04x:%04x, revision %u\n", info->vendor_id,
		     info->device_id, info->subsystem_vendor_id, info->subsystem_id,
		     info->revision);
	print_migration(device, info);
	for (uint32_t i = 0; i < info->region_count; i++) {
		struct hf_region_info region = { 0 };

		if (device->ops->region_info(device->self, i, &region) < 0 || !region.size)
			continue;
		(void)printf("region     %" PRIu32 " %s, %" PRIu64 " bytes%s%s%s\n", i,
			     i < 9 ? region_names[i] : "of the device's own", region.size,
			     region.flags & HF_REGION_READ ? ", read" : "",
			     region.flags & HF_REGION_WRITE ? ", write" : "",
			     region.flags & HF_REGION_MMAP ? ", mmap" : "");
	}
	for (uint32_t i = 0; i < info->irq_count; i++) {
		uint32_t count = 0;

		if (device->ops->irq_count(device->self, i, &count) == 0 && count)
			(void)printf("interrupt  %" PRIu32 " %s, %" PRIu32 "\n", i,
				     i < 5 ? irq_names[i] : "of the device's own", count);
	}
}

static int run_info(const struct arguments *arguments, struct hf_device *device)
{
	struct hf_device_info info;

	memset(&info, 0, sizeof(info));
	if (device->ops->info(device->self, &info) < 0) {
		(void)fprintf(stderr, "holdfast device: the device does not say what it is\n");
		return EXIT_FAILED;
	}
	info.kind[sizeof(info.kind) - 1] = 0;
	info.name[sizeof(info.name) - 1] = 0;
	info.compat[sizeof(info.compat) - 1] = 0;
	if (command_has(arguments, "json"))
		info_json(device, &info);
	else
		info_text(device, &info);
	return EXIT_DONE;
}

/* ---- check --------------------------------------------------------------------------------- */

static int run_check(const struct arguments *arguments)
{
	struct check_options options = { .uri = arguments->operands[1],
					 .second_uri = command_text(arguments, "second"),
					 .dangerous = command_has(arguments, "dangerous") };
	struct check_report report;
	struct hf_error err = { 0 };
	uint64_t deadline_s = CHECK_DEADLINE_MS / 1000;
	int status;

	if (command_has(arguments, "json") && command_has(arguments, "tap"))
		return command_usage(arguments->command, "--json and --tap exclude each other");
	if (command_number(arguments, "deadline", 1, 3600, &deadline_s))
		return EXIT_USAGE;
	options.deadline_ms = (uint32_t)deadline_s * 1000;
	for (const char *name; options.only_count < CHECK_ONLY_MAX &&
			       (name = command_nth(arguments, "only", options.only_count));) {
		if (!check_is_name(name))
			return command_usage(arguments->command,
					     "option --only: '%s' is no check and no group", name);
		options.only[options.only_count++] = name;
	}
	if (check_run(&options, &report, &err) < 0)
		return no_device(arguments->command, &err);
	if (command_has(arguments, "json"))
		check_print_json(stdout, &report);
	else if (command_has(arguments, "tap"))
		check_print_tap(stdout, &report);
	else
		check_print_text(stdout, &report);
	status = report.verdicts[CHECK_FAIL] ? EXIT_FAILED : EXIT_DONE;
	if (report.hung) { /* a thread is stuck in the device, and may never leave it */
		(void)fflush(stdout);
		_exit(EXIT_FAILED);
	}
	check_report_done(&report);
	return status;
}

/* ---- save and load ------------------------------------------------------------------------- */

static int run_file(const struct arguments *arguments, struct hf_device *device, bool save)
{
	const char *path = arguments->operands[2];
	const bool force = command_has(arguments, "force");
	struct device_file_result result = { 0 };
	struct hf_error err = { 0 };
	int r = save ? device_file_save(device, path, force, &result, &err)
		     : device_file_load(device, path, force, &result, &err);

	if (r < 0)
		return command_failed(arguments->command, &err);
	if (command_has(arguments, "json"))
		(void)printf("{\"bytes\":%" PRIu64 ",\"digest\":\"%016" PRIx64 "\",\"ns\":%" PRIu64
			     "}\n",
			     result.bytes, result.digest, result.took_ns);
	else
		(void)printf("%s %" PRIu64 " bytes, digest %016" PRIx64 ", %.1f ms\n",
			     save ? "saved" : "loaded", result.bytes, result.digest,
			     (double)result.took_ns / 1e6);
	return EXIT_DONE;
}

/* ---- the command --------------------------------------------------------------------------- */

/* Options that only some of the four have. */
static int misplaced(const struct arguments *arguments, const char *verb)
{
	static const struct {
		const char *option, *verbs;
	} where[] = { { "json", "info check save load" },
		      { "tap", "check" },
		      { "only", "check" },
		      { "list", "check" },
		      { "second", "check" },
		      { "dangerous", "check" },
		      { "deadline", "check" },
		      { "force", "save load" },
		      { "socket", "serve" },
		      { "filter", "serve" } };

	for (uint32_t i = 0; i < sizeof(where) / sizeof(where[0]); i++)
		if (command_has(arguments, where[i].option) && !strstr(where[i].verbs, verb))
			return command_usage(arguments->command, "'%s' has no option --%s", verb,
					     where[i].option);
	return 0;
}

static int run(const struct arguments *arguments)
{
	static const char *const verbs[] = { "info", "check", "save", "load", "serve" };
	const char *verb = arguments->operands[0];
	struct hf_device device = { .ops = NULL };
	struct hf_error err = { 0 };
	uint32_t which = 0, wanted;
	int result;

	while (which < 5 && strcmp(verb, verbs[which]) != 0)
		which++;
	if (which == 5)
		return command_usage(arguments->command,
				     "'%s' is none of info, check, save, load, serve", verb);
	if (misplaced(arguments, verb))
		return EXIT_USAGE;
	if (which == 4)
		return device_serve(arguments);
	wanted = which >= 2 ? 3 : command_has(arguments, "list") ? 1 : 2;
	if (arguments->operand_count != wanted)
		return command_usage(arguments->command, "'%s' takes %s", verb,
				     wanted == 1   ? "no device with --list"
				     : wanted == 2 ? "DEVICE"
						   : "DEVICE FILE");
	if (command_has(arguments, "list")) {
		check_print_list(stdout);
		return EXIT_DONE;
	}
	if (which == 1)
		return run_check(arguments);
	if (hf_device_open(arguments->operands[1], NULL, &device, &err) < 0)
		return no_device(arguments->command, &err);
	result = which == 0 ? run_info(arguments, &device)
			    : run_file(arguments, &device, which == 2);
	hf_device_close(&device);
	return result;
}

static const struct command_option options[] = {
	{ "json", NULL, "one JSON object", 0 },
	{ "tap", NULL, "check: in the form of the Test Anything Protocol", 0 },
	{ "list", NULL, "check: list the checks and what they stand on", 0 },
	{ "only", "NAME", "check: this check, or this group of checks", COMMAND_REPEATS },
	{ "second", "DEVICE", "check: another device of the model, to load into", 0 },
	{ "dangerous", NULL, "check: also what locks up kernels that are not mended", 0 },
	{ "deadline", "SECONDS", "check: for each check (default: 120)", 0 },
	{ "force", NULL, "save: replace the file; load: from another model", 0 },
	{ "socket", "PATH", "serve: where the next device is served", COMMAND_REPEATS },
	{ "filter", "SPEC", "serve: rehearse a failure: holdfast-filters(7)", COMMAND_REPEATS },
	{ NULL },
};

const struct command command_device = {
	.name = "device",
	.summary = "Show a device, check it, save and load its state, or serve it",
	.operands = "info DEVICE | check DEVICE | save DEVICE FILE | load DEVICE FILE | "
		    "serve DEVICE...",
	.operands_min = 1,
	.operands_max = 8,
	.options = options,
	.run = run,
};
