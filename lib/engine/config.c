/* SPDX-License-Identifier: BSD-3-Clause */
/* The caller's configuration: checked member by member, defaults filled in, copied. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/error.h"
#include "base/export.h"
#include "engine/actions.h"

#define DEFAULT(member, value)                                                                     \
	do {                                                                                       \
		if (!(member))                                                                     \
			(member) = (value);                                                        \
	} while (0)

static void fill_defaults(struct hf_config *config)
{
	DEFAULT(config->channels, 2);
	DEFAULT(config->throttle_max_percent, 99);
	DEFAULT(config->downtime_us_max, 300000);
	DEFAULT(config->deadline_us, 3600ull * 1000000);
	DEFAULT(config->wait_us_max, 30ull * 1000000);
	DEFAULT(config->arc_us_max, 60ull * 1000000);
	DEFAULT(config->ledger_us_max, 10ull * 1000000);
	DEFAULT(config->doubt_us_max, 60ull * 1000000);
}

/* HOSTNAME.PID.START: the same for all sessions of a process, and no other's. */
HF_EXPORT int hf_side_of(pid_t pid, char ret_side[HF_NAME_MAX], struct hf_error *err)
{
	char side[HF_NAME_MAX] = { 0 }, path[32];
	struct utsname host;
	unsigned long long start = 0;
	char line[1024], *close;
	FILE *stat;

	if (uname(&host) < 0)
		return error_set(err, HF_E_SYSTEM, errno, "uname");
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat = fopen(path, "re");
	if (!stat || !fgets(line, sizeof(line), stat)) {
		if (stat)
			(void)fclose(stat);
		return error_set(err, HF_E_SYSTEM, errno, "%s", path);
	}
	(void)fclose(stat);
	close = strrchr(line, ')'); /* the name may hold anything; 20 fields behind it: start */
	if (!close || sscanf(close + 1,
			     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			     "%*d %*d %llu",
			     &start) != 1)
		return error_set(err, HF_E_SYSTEM, 0, "%s cannot be read", path);
	(void)snprintf(side, HF_NAME_MAX, "%.32s.%d.%llu", host.nodename, (int)pid, start);
	memcpy(ret_side, side, HF_NAME_MAX);
	return 0;
}

HF_EXPORT int hf_side_default(char ret_side[HF_NAME_MAX], struct hf_error *err)
{
	return hf_side_of(getpid(), ret_side, err);
}

static bool name_ok(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length >= HF_NAME_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

static int take_strings(struct session *session, const struct hf_config *config,
			struct hf_error *err)
{
	if (!config->guest || !name_ok(config->guest))
		return error_set(err, HF_E_INVALID, 0,
				 "guest name \"%s\": 1 to 63 of A-Z a-z 0-9 . _ - are valid, the "
				 "first not a dot",
				 config->guest ? config->guest : "");
	memcpy(session->guest, config->guest, strlen(config->guest));
	if (config->side && !name_ok(config->side))
		return error_set(err, HF_E_INVALID, 0, "side id \"%s\" is not valid", config->side);
	if (config->side)
		memcpy(session->side, config->side, strlen(config->side));
	else if (hf_side_default(session->side, err) < 0)
		return err ? err->code : HF_E_SYSTEM;
	if (!config->uri || !config->uri[0] || strlen(config->uri) >= sizeof(session->uri))
		return error_set(err, HF_E_INVALID, 0, "uri: 1 to %zu characters are valid",
				 sizeof(session->uri) - 1);
	(void)snprintf(session->uri, sizeof(session->uri), "%s", config->uri);
	if (config->keep) {
		if (strlen(config->keep) >= sizeof(session->keep))
			return error_set(err, HF_E_INVALID, 0, "keep: the path is too long");
		(void)snprintf(session->keep, sizeof(session->keep), "%s", config->keep);
	}
	if (config->capture) {
		if (config->role == HF_ROLE_TARGET)
			return error_set(err, HF_E_INVALID, 0,
					 "capture: the source's; it sees all that is carried");
		if (strlen(config->capture) >= sizeof(session->capture))
			return error_set(err, HF_E_INVALID, 0, "capture: the path is too long");
		(void)snprintf(session->capture, sizeof(session->capture), "%s", config->capture);
	}
	return 0;
}

static int take_regions(struct session *session, const struct hf_config *config,
			struct hf_error *err)
{
	uint64_t end = 0;

	if (config->region_count < 1 || config->region_count > HF_REGIONS_MAX || !config->regions)
		return error_set(err, HF_E_INVALID, 0, "region_count: 1 to %d are valid",
				 HF_REGIONS_MAX);
	for (uint32_t i = 0; i < config->region_count; i++) {
		const struct hf_memory_region *region = &config->regions[i];
		uint64_t after;

		if (!region->host || !region->size || region->size % HF_PAGE_SIZE ||
		    region->gpa % HF_PAGE_SIZE || region->gpa < end ||
		    __builtin_add_overflow(region->gpa, region->size, &after) ||
		    after > 1ull << WIRE_ADDRESS_BITS)
			return error_set(err, HF_E_INVALID, 0,
					 "region %u: it must be mapped, page-aligned, not empty, "
					 "below 2^52 and behind the one before it",
					 i);
		end = after;
		session->regions[i] = *region;
		session->total_pages += region->size >> HF_PAGE_SHIFT;
	}
	session->region_count = config->region_count;
	return 0;
}

static int take_devices(struct session *session, const struct hf_config *config,
			struct hf_error *err)
{
	if (config->device_count > HF_DEVICES_MAX || (config->device_count && !config->devices))
		return error_set(err, HF_E_INVALID, 0, "device_count: 0 to %d are valid",
				 HF_DEVICES_MAX);
	for (uint32_t i = 0; i < config->device_count; i++) {
		const struct hf_session_device *device = &config->devices[i];

		if (!device->device.ops)
			return error_set(err, HF_E_INVALID, 0, "device %u: no device", i);
		if (!device->name[0] || strnlen(device->name, HF_NAME_MAX) == HF_NAME_MAX)
			return error_set(err, HF_E_INVALID, 0, "device %u: no name, or too long",
					 i);
		for (uint32_t k = 0; k < i; k++)
			if (strcmp(config->devices[k].name, device->name) == 0)
				return error_set(err, HF_E_INVALID, 0,
						 "devices %u and %u are both named \"%s\"", k, i,
						 device->name);
		session->slots[i].device.raw = device->device;
		memcpy(session->slots[i].device.name, device->name, HF_NAME_MAX);
	}
	session->device_count = config->device_count;
	return 0;
}

/*
 * Is a table of operations as long as this version's, and without a hole? All of them begin with
 * their size; from the first operation on there are only pointers.
 */
static bool is_complete(const void *table, size_t size, size_t first)
{
	uint32_t given;

	memcpy(&given, table, sizeof(given));
	if (given < size)
		return false;
	for (size_t at = first; at + sizeof(void (*)(void)) <= size; at += sizeof(void (*)(void))) {
		void (*operation)(void);

		memcpy(&operation, (const char *)table + at, sizeof(operation));
		if (!operation)
			return false;
	}
	return true;
}

int config_take(struct session *session, const struct hf_config *config, struct hf_error *err)
{
	int code;

	/* A caller that was built with an older header gives less: the rest is zero, the default.
	 */
	if (config->size < offsetof(struct hf_config, capture) || config->size > 1u << 16)
		return error_set(err, HF_E_INVALID, 0, "size: use HF_CONFIG_INIT");
	memcpy(&session->config, config,
	       config->size < sizeof(*config) ? config->size : sizeof(*config));
	fill_defaults(&session->config);

	if (config->role != HF_ROLE_SOURCE && config->role != HF_ROLE_TARGET)
		return error_set(err, HF_E_INVALID, 0, "role %u is neither source nor target",
				 config->role);
	if (session->config.channels > HF_CHANNELS_MAX)
		return error_set(err, HF_E_INVALID, 0, "channels: %u, 1 to %d are valid",
				 session->config.channels, HF_CHANNELS_MAX);
	if (!config->machine.ops)
		return error_set(err, HF_E_INVALID, 0, "machine: none");
	if (!is_complete(config->machine.ops, sizeof(*config->machine.ops),
			 offsetof(struct hf_machine_ops, describe)))
		return error_set(err, HF_E_INVALID, 0,
				 "machine: its table is not complete (size, or an operation)");
	if (config->role == HF_ROLE_SOURCE && !config->memory.ops)
		return error_set(err, HF_E_INVALID, 0,
				 "memory: the source needs one that tracks dirty pages");
	if (!config->ledger.ops)
		return error_set(err, HF_E_INVALID, 0, "ledger: none");
	if (session->config.restart && !session->config.keep)
		return error_set(err, HF_E_INVALID, 0, "restart: it needs the folder keep");
	if (session->config.keep && config->role == HF_ROLE_TARGET)
		return error_set(err, HF_E_INVALID, 0, "keep: only a source keeps the guest");
	code = take_strings(session, &session->config, err);
	if (code < 0 || (code = take_regions(session, &session->config, err)) < 0 ||
	    (code = take_devices(session, &session->config, err)) < 0)
		return code;
	session->machine = config->machine;
	session->ledger = config->ledger;
	session->has_ledger = strcmp(config->ledger.ops->kind, "none") != 0;
	session->raw_memory = config->memory;
	/* A target grants what is asked for, up to the most: HELLO says what the source wants. */
	session->channel_count =
		config->role == HF_ROLE_SOURCE ? session->config.channels : HF_CHANNELS_MAX;
	return 0;
}
