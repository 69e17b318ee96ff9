/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One migration of one guest: what a session stands on is opened, the session is stepped, and what
 * it leaves behind is kept. See migrate.h.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/control-loop.h"
#include "vmm/migrate.h"

void migration_trace(struct migration *migration, const struct hf_event *event)
{
	migrate_trace_add(&migration->trace, event);
	if (event->id == HF_TRACE_LEDGER) {
		(void)snprintf(migration->ledger_operation, sizeof(migration->ledger_operation),
			       "%.31s", event->text ? event->text : "");
		migration->ledger_answer = (uint32_t)event->arg[1];
		migration->ledger_epoch = event->arg[2];
	}
	if (migration->event)
		migration->event(migration->ctx,
				 migrate_trace_at(&migration->trace, migration->trace.count - 1));
}

static void on_trace(void *ctx, const struct hf_event *event)
{
	migration_trace(ctx, event);
}

static struct hf_config config_of(struct migration *migration,
				  const struct migration_config *config)
{
	const struct migrate_parameters *parameters = &migration->parameters;
	struct hf_config hf = HF_CONFIG_INIT;

	hf.role = config->role;
	hf.guest = config->guest->name;
	hf.side = config->side;
	hf.uri = migration->uri_asked;
	hf.machine = migrate_machine_handle(config->machine);
	hf.memory = migration->memory;
	hf.regions = config->guest->regions;
	hf.region_count = config->guest->region_count;
	hf.devices = config->guest->devices;
	hf.device_count = config->guest->device_count;
	hf.ledger = migration->ledger;
	hf.filters = migration->filters;
	hf.paused = config->paused;
	hf.channels = (uint32_t)parameters->channels;
	hf.on_device_lost =
		parameters->on_device_lost_resume ? HF_DEVICE_LOST_RESUME : HF_DEVICE_LOST_PAUSE;
	hf.throttle_max_percent =
		parameters->throttle_percent ? (uint32_t)parameters->throttle_percent : 100;
	hf.downtime_us_max = parameters->downtime_us;
	hf.bandwidth_bytes_max = parameters->bandwidth_bytes;
	hf.deadline_us = parameters->deadline_us;
	hf.wait_us_max = parameters->peer_us;
	hf.arc_us_max = parameters->device_us;
	hf.ledger_us_max = parameters->ledger_us;
	hf.doubt_us_max = parameters->doubt_us;
	hf.keep = hf.role == HF_ROLE_SOURCE ? config->keep : NULL;
	hf.restart = config->restart;
	hf.capture =
		hf.role == HF_ROLE_SOURCE && parameters->capture[0] ? parameters->capture : NULL;
	hf.trace = on_trace;
	hf.trace_ctx = migration;
	return hf;
}

static int open_filters(struct migration *migration, struct hf_error *err)
{
	const struct migrate_parameters *parameters = &migration->parameters;
	int result;

	if (parameters->filter_count == 0)
		return 0;
	result = hf_filters_new(&migration->filters, err);
	for (uint32_t i = 0; i < parameters->filter_count && result == 0; i++)
		result = hf_filters_add(migration->filters, parameters->filters[i], err);
	return result;
}

static int open_all(struct migration *migration, const struct migration_config *config,
		    struct hf_error *err)
{
	char record[PATH_MAX]; /* read by hf_session_new() only */
	struct hf_config hf;
	int result;

	if (migrate_trace_init(&migration->trace) < 0)
		return control_error(err, HF_E_NO_MEMORY, ENOMEM, "the trace of a migration");
	result = open_filters(migration, err);
	if (result < 0)
		return result;
	result = hf_ledger_open(migration->parameters.ledger, &migration->ledger, err);
	if (result < 0)
		return result;
	if (config->role == HF_ROLE_SOURCE) {
		result = config->guest->ops->memory_open(config->guest, &migration->memory, err);
		if (result < 0)
			return result;
	}
	hf = config_of(migration, config);
	if (migration->parameters.record[0]) {
		result = migrate_record_path(migration->parameters.record, hf.guest, hf.role,
					     record, err);
		if (result < 0)
			return result;
		hf.record = record;
	}
	return hf_session_new(&hf, &migration->session, err);
}

/* What the session stood on. The story stays. */
static void close_all(struct migration *migration)
{
	migration->session = hf_session_free(migration->session);
	if (migration->memory.ops)
		hf_memory_close(&migration->memory);
	if (migration->ledger.ops)
		hf_ledger_close(&migration->ledger);
	migration->filters = hf_filters_free(migration->filters);
	migration->guest = NULL;
}

static void add_warning(struct migration *migration, const char *text)
{
	size_t used = strlen(migration->warning);

	(void)snprintf(migration->warning + used, sizeof(migration->warning) - used, "%s", text);
}

/* Devices of which nobody knows what they write (HF_DEVICE_DIRTY_ALL): rounds are of no use. */
static void warn_of_devices(struct migration *migration)
{
	const struct guest *guest = migration->guest;
	uint32_t count = 0;

	for (uint32_t i = 0; i < guest->device_count; i++) {
		const struct hf_session_device *device = &guest->devices[i];
		struct hf_device_info info;

		if (device->device.ops->info(device->device.self, &info) < 0 ||
		    !(info.flags & HF_DEVICE_DIRTY_ALL))
			continue;
		if (count++ == 0)
			add_warning(migration, "all memory is sent again in each round, and while "
					       "the guest stands still, since nobody knows what "
					       "is written by ");
		else
			add_warning(migration, ", ");
		add_warning(migration, device->name);
	}
}

int migration_start(const struct migration_config *config, struct migration **ret_migration,
		    struct hf_error *err)
{
	struct migration *migration;
	struct timespec now;
	int result;

	if (strlen(config->uri) >= sizeof(migration->uri))
		return control_error(err, HF_E_INVALID, 0,
				     "URI %.60s...: longer than %zu characters", config->uri,
				     sizeof(migration->uri) - 1);
	migration = calloc(1, sizeof(*migration));
	if (!migration)
		return control_error(err, HF_E_NO_MEMORY, ENOMEM, "a migration");
	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	migration->started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	migration->role = config->role;
	migration->guest = config->guest;
	migration->parameters = *config->parameters;
	migration->event = config->event;
	migration->ctx = config->ctx;
	memcpy(migration->uri_asked, config->uri, strlen(config->uri) + 1);
	memcpy(migration->uri, config->uri, strlen(config->uri) + 1);
	migration->progress.size = sizeof(migration->progress);

	if (config->role == HF_ROLE_SOURCE)
		warn_of_devices(migration);
	result = open_all(migration, config, err);
	if (result < 0) {
		close_all(migration);
		(void)migration_free(migration);
		return result;
	}
	*ret_migration = migration;
	return 0;
}

static void take_progress(struct migration *migration)
{
	struct hf_progress now = { .size = sizeof(now) };

	if (hf_session_progress(migration->session, &now) == 0)
		migration->progress = now;
}

enum hf_step migration_step(struct migration *migration)
{
	int result = hf_session_step(migration->session);
	const char *uri = hf_session_uri(migration->session);

	if (uri && migration->role == HF_ROLE_TARGET && !migration->listening) {
		migration->listening = true;
		(void)snprintf(migration->uri, sizeof(migration->uri), "%.*s", HF_URI_MAX - 1, uri);
	}
	take_progress(migration);
	if (result == HF_STEP_WAIT)
		return HF_STEP_WAIT;

	if (result < 0) {
		/*
		 * A fault of Holdfast itself, and the session may not be stepped again. How far it
		 * came is not known: so the guest is nobody's to run, and what the session may
		 * still use is left to it.
		 */
		migration->broken = true;
		migration->outcome =
			migration->role == HF_ROLE_SOURCE ? HF_OUTCOME_WAITING : HF_OUTCOME_FAILED;
		(void)control_error(&migration->error, result, 0, "the session stopped working");
		return HF_STEP_DONE;
	}
	migration->outcome = hf_session_outcome(migration->session);
	migration->error = *hf_session_error(migration->session);
	assert(migration->outcome != HF_OUTCOME_NONE);
	/* The devices stand in STOP_COPY: only the session knows the way back. */
	if (!migration_in_doubt(migration))
		close_all(migration);
	return HF_STEP_DONE;
}

bool migration_in_doubt(const struct migration *migration)
{
	if (!migration || migration->outcome != HF_OUTCOME_WAITING)
		return false;
	return migration->role == HF_ROLE_SOURCE || migration->broken;
}

bool migration_active(const struct migration *migration)
{
	return migration && migration->outcome == HF_OUTCOME_NONE;
}

int migration_fd(const struct migration *migration)
{
	return hf_session_fd(migration->session);
}

uint64_t migration_deadline(const struct migration *migration)
{
	return hf_session_deadline(migration->session);
}

int migration_resolve(struct migration *migration, enum hf_resolve how, struct hf_error *err)
{
	int result;

	if (!migration || !migration->session || migration->broken)
		return control_error(err, HF_E_INVALID, 0, "nothing is in doubt");
	result = hf_session_resolve(migration->session, how, err);
	if (result == 0)
		migration->outcome = HF_OUTCOME_NONE;
	return result;
}

int migration_cancel(struct migration *migration)
{
	if (!migration_active(migration))
		return 0;
	migration->cancel_asked = true;
	return hf_session_cancel(migration->session);
}

void migration_break(struct migration *migration, const char *why)
{
	struct hf_error err = { .code = HF_E_DEVICE_STATE };

	if (!migration_active(migration))
		return;
	(void)snprintf(err.text, sizeof(err.text), "%s", why);
	(void)hf_session_fail(migration->session, &err); /* one reason is enough */
}

struct migration *migration_free(struct migration *migration)
{
	if (!migration)
		return NULL;
	assert(!migration->session || migration->broken || migration_in_doubt(migration));
	if (migration->session && !migration->broken)
		close_all(migration);
	migrate_trace_done(&migration->trace);
	free(migration);
	return NULL;
}
