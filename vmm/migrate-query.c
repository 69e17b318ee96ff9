/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a migration is told: query-migrate in QEMU's shape with Holdfast's own facts under
 * "holdfast", and the time line. Reads only.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/migrate.h"
#include "vmm/qmp.h"

/* The session's states (docs/source-matrix.txt), as QEMU's clients know them. */
static const char *status_of_state(const char *state)
{
	static const struct {
		const char *state, *status;
	} table[] = {
		{ "IDLE", "setup" },	  { "ENTERING", "setup" },  { "HELLO", "setup" },
		{ "LISTENING", "setup" }, { "GREETING", "setup" },  { "PREPARING", "setup" },
		{ "PRECOPY", "active" },  { "QUIETING", "active" }, { "LOADING", "active" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].state, state) == 0)
			return table[i].status;
	return "device";
}

const char *migration_status(const struct migration *migration)
{
	if (!migration)
		return "none";
	switch (migration->outcome) {
	case HF_OUTCOME_NONE:
		break;
	case HF_OUTCOME_AWAY:
	case HF_OUTCOME_RUNNING:
		return "completed";
	case HF_OUTCOME_WAITING:
		/* Not decided: no client may take it for an end. */
		return migration_in_doubt(migration) ? "device" : "completed";
	case HF_OUTCOME_HOME:
	case HF_OUTCOME_LOST:
	case HF_OUTCOME_FAILED:
		return migration->error.code == HF_E_CANCELLED ? "cancelled" : "failed";
	}
	if (migration->cancel_asked)
		return "cancelling";
	return status_of_state(migration->progress.state[0] ? migration->progress.state : "IDLE");
}

json_t *migration_error_json(const struct hf_error *error)
{
	return json_pack("{s:i,s:s,s:s,s:i,s:o,s:s}", "code", error->code, "name",
			 hf_error_name(error->code), "class",
			 hf_error_class_name(hf_error_class(error->code)), "cause", error->cause,
			 "text", qmp_text(error->text), "explanation",
			 hf_error_explain(error->code));
}

static void put(json_t *object, const char *name, uint64_t value)
{
	(void)json_object_set_new(object, name, json_integer((json_int_t)value));
}

static void put_text(json_t *object, const char *name, const char *text)
{
	(void)json_object_set_new(object, name, qmp_text(text));
}

static json_t *ram(const struct hf_progress *progress)
{
	json_t *ram = json_object();
	uint64_t pages_per_second = progress->bytes_per_second >> HF_PAGE_SHIFT;

	put(ram, "transferred", progress->page_bytes);
	put(ram, "remaining", progress->remaining_pages << HF_PAGE_SHIFT);
	put(ram, "total", progress->memory_bytes);
	put(ram, "duplicate", progress->zero_pages);
	put(ram, "normal", progress->normal_pages);
	put(ram, "normal-bytes", progress->normal_pages << HF_PAGE_SHIFT);
	put(ram, "skipped", 0);
	put(ram, "page-size", HF_PAGE_SIZE);
	put(ram, "dirty-pages-rate", progress->dirty_pages_per_second);
	put(ram, "dirty-sync-count", progress->round);
	put(ram, "pages-per-second", pages_per_second);
	put(ram, "multifd-bytes", progress->wire_bytes);
	put(ram, "postcopy-requests", 0);
	(void)json_object_set_new(ram, "mbps",
				  json_real((double)progress->bytes_per_second * 8 / 1e6));
	return ram;
}

static const char *answer_name(uint32_t answer)
{
	switch (answer) {
	case HF_LEDGER_DONE:
		return "done";
	case HF_LEDGER_REFUSED:
		return "refused";
	default:
		return "unknown";
	}
}

static json_t *ledger(const struct migration *migration)
{
	json_t *ledger = json_object();

	put_text(ledger, "uri", migration->parameters.ledger);
	if (migration->ledger_operation[0]) {
		put_text(ledger, "operation", migration->ledger_operation);
		put_text(ledger, "answer", answer_name(migration->ledger_answer));
		put(ledger, "epoch", migration->ledger_epoch);
	}
	return ledger;
}

/* What QEMU's shape has no place for. */
static json_t *own_part(const struct migration *migration)
{
	const struct hf_progress *progress = &migration->progress;
	json_t *own = json_object();

	put_text(own, "role", migration->role == HF_ROLE_SOURCE ? "source" : "target");
	put_text(own, "uri", migration->uri);
	if (migration->role == HF_ROLE_TARGET)
		(void)json_object_set_new(own, "listening", json_boolean(migration->listening));
	put_text(own, "state", progress->state[0] ? progress->state : "IDLE");
	put_text(own, "outcome", hf_outcome_name(migration->outcome));
	put(own, "round", progress->round);
	put(own, "throttle", progress->throttle_percent);
	put(own, "wire-bytes", progress->wire_bytes);
	put(own, "bytes-per-second", progress->bytes_per_second);
	put(own, "downtime-us", progress->downtime_us);
	put(own, "expected-downtime-us", progress->expected_downtime_us);
	put(own, "total-us", progress->total_us);
	put(own, "own-memory", progress->own_memory_bytes);
	put(own, "events", migration->trace.count);
	if (migration->warning[0])
		put_text(own, "warning", migration->warning);
	(void)json_object_set_new(own, "ledger", ledger(migration));
	if (migration->error.code)
		(void)json_object_set_new(own, "error", migration_error_json(&migration->error));
	return own;
}

json_t *migration_query(struct migration *migration)
{
	const struct hf_progress *progress;
	json_t *answer = json_object();

	put_text(answer, "status", migration_status(migration));
	if (!migration)
		return answer;
	if (migration_active(migration) && migration->session) {
		struct hf_progress now = { .size = sizeof(now) };

		if (hf_session_progress(migration->session, &now) == 0)
			migration->progress = now;
	}
	progress = &migration->progress;
	put(answer, "total-time", progress->total_us / 1000);
	put(answer, "expected-downtime", progress->expected_downtime_us / 1000);
	if (progress->downtime_us)
		put(answer, "downtime", (progress->downtime_us + 999) / 1000);
	put(answer, "cpu-throttle-percentage", progress->throttle_percent);
	(void)json_object_set_new(answer, "ram", ram(progress));
	(void)json_object_set_new(
		answer, "vfio",
		json_pack("{s:I}", "transferred", (json_int_t)progress->device_bytes));
	if (migration->error.code)
		put_text(answer, "error-desc", migration->error.text);
	(void)json_object_set_new(answer, "holdfast", own_part(migration));
	return answer;
}

static const char *ledger_state_name(uint32_t state)
{
	static const char *const names[] = { "none", "home", "offered", "claimed", "away" };

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

static json_t *record_json(const char *uri, const struct hf_ledger_record *record)
{
	json_t *answer =
		json_pack("{s:o,s:s,s:I,s:I}", "uri", qmp_text(uri), "state",
			  ledger_state_name(record->revision ? record->state : 0), "revision",
			  (json_int_t)record->revision, "epoch", (json_int_t)record->epoch);

	put_text(answer, "owner", record->owner);
	put_text(answer, "offered-to", record->offered_to);
	put_text(answer, "reason", record->reason);
	(void)json_object_set_new(answer, "reason-code", json_integer(record->reason_code));
	return answer;
}

json_t *migration_ledger_query(const char *uri, const char *guest, struct hf_error *err)
{
	struct hf_ledger ledger = { .ops = NULL };
	struct hf_ledger_record record;
	int result = hf_ledger_open(uri, &ledger, err);

	if (result < 0)
		return NULL;
	memset(&record, 0, sizeof(record));
	result = hf_ledger_read(&ledger, guest, &record, err);
	hf_ledger_close(&ledger);
	return result < 0 ? NULL : record_json(uri, &record);
}

/* "PRE_COPY_P2P" is "pre-copy-p2p" to QEMU's clients. */
json_t *migrate_device_event(const struct migrate_trace_entry *entry)
{
	const char *name = hf_device_state_name((uint32_t)entry->event.arg[2]);
	char state[32];
	size_t i;

	for (i = 0; i < sizeof(state) - 1 && name[i]; i++)
		state[i] = name[i] == '_'		      ? '-'
			   : name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a')
							      : name[i];
	state[i] = 0;
	return json_pack("{s:o,s:s,s:s}", "device-id", qmp_text(entry->text), "qom-path", "",
			 "device-state", state);
}

json_t *migration_timeline(const struct migration *migration, uint64_t first)
{
	json_t *list = json_array();

	if (migration && first + MIGRATE_TRACE_EVENTS < migration->trace.count)
		first = migration->trace.count - MIGRATE_TRACE_EVENTS; /* the rest was pushed out */
	for (uint64_t n = first; migration && n < migration->trace.count; n++) {
		const struct migrate_trace_entry *entry = migrate_trace_at(&migration->trace, n);
		char line[MIGRATE_TRACE_TEXT_MAX * 2];
		uint64_t at;

		at = entry->event.time_ns > migration->started_ns
			     ? entry->event.time_ns - migration->started_ns
			     : 0;
		migrate_trace_line(entry, line, sizeof(line));
		(void)json_array_append_new(
			list, json_pack("{s:I,s:I,s:s,s:o}", "number", (json_int_t)n, "time-us",
					(json_int_t)(at / 1000), "event",
					hf_trace_name(entry->event.id), "text", qmp_text(line)));
	}
	return list;
}
