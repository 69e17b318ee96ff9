/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a session told about itself: the last events, and each of them in words. docs/trace.md has
 * the ids and their arguments.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/migrate.h"

int migrate_trace_init(struct migrate_trace *trace)
{
	trace->count = 0;
	trace->entries = calloc(MIGRATE_TRACE_EVENTS, sizeof(*trace->entries));
	return trace->entries ? 0 : -ENOMEM;
}

void migrate_trace_add(struct migrate_trace *trace, const struct hf_event *event)
{
	struct migrate_trace_entry *entry;

	entry = &trace->entries[trace->count % MIGRATE_TRACE_EVENTS];
	entry->event = *event;
	entry->event.text = NULL; /* valid in the call only */
	(void)snprintf(entry->text, sizeof(entry->text), "%s", event->text ? event->text : "");
	trace->count++;
}

const struct migrate_trace_entry *migrate_trace_at(const struct migrate_trace *trace, uint64_t n)
{
	if (n >= trace->count || n + MIGRATE_TRACE_EVENTS < trace->count)
		return NULL;
	return &trace->entries[n % MIGRATE_TRACE_EVENTS];
}

void migrate_trace_done(struct migrate_trace *trace)
{
	free(trace->entries);
	memset(trace, 0, sizeof(*trace));
}

static const char *state_name(uint64_t state)
{
	return state < HF_DEVICE_STATE_COUNT ? hf_device_state_name((uint32_t)state) : "?";
}

static const char *answer_name(uint64_t answer)
{
	switch (answer) {
	case HF_LEDGER_DONE:
		return "done";
	case HF_LEDGER_REFUSED:
		return "refused";
	default:
		return "no answer";
	}
}

static double milliseconds(uint64_t ns)
{
	return (double)ns / 1e6;
}

static double mebibytes(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

/* What DEVICE_* say. */
static void device_line(const struct migrate_trace_entry *entry, char *buf, size_t size)
{
	const uint64_t *arg = entry->event.arg;
	const char *text = entry->text;

	if (entry->event.id == HF_TRACE_DEVICE_ARC)
		(void)snprintf(buf, size, "%s: %s -> %s in %.1f ms", text, state_name(arg[1]),
			       state_name(arg[2]), milliseconds(arg[3]));
	else if (entry->event.id == HF_TRACE_DEVICE_FAIL)
		(void)snprintf(buf, size,
			       "device %" PRIu64 " did not go to %s and stands in %s: %s", arg[0],
			       state_name(arg[1]), state_name(arg[2]), text);
	else if (entry->event.id == HF_TRACE_DEVICE_RESET)
		(void)snprintf(buf, size, "%s: reset%s%s", text, arg[3] ? " failed: " : "",
			       arg[3] ? strerror((int)arg[3]) : "");
	else
		(void)snprintf(buf, size, "%s: %.2f MiB of state in this pass, %.2f MiB in all",
			       text, mebibytes(arg[1]), mebibytes(arg[2]));
}

static void plain_line(const struct migrate_trace_entry *entry, char *buf, size_t size)
{
	const uint64_t *arg = entry->event.arg;

	(void)snprintf(buf, size, "%s%s%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, entry->text,
		       entry->text[0] ? ": " : "", arg[0], arg[1], arg[2], arg[3]);
}

void migrate_trace_line(const struct migrate_trace_entry *entry, char *buf, size_t size)
{
	const uint64_t *arg = entry->event.arg;
	const char *text = entry->text;

	switch (entry->event.id) {
	case HF_TRACE_TRANSITION:
		(void)snprintf(buf, size, "%s", text);
		break;
	case HF_TRACE_ROUND:
		(void)snprintf(buf, size,
			       "round %" PRIu64 ", of %" PRIu64
			       " dirty pages; sent in all: %" PRIu64
			       " pages (%.1f MiB) and %" PRIu64 " zero pages",
			       arg[0], arg[3], arg[1], mebibytes(arg[1] << HF_PAGE_SHIFT), arg[2]);
		break;
	case HF_TRACE_DEVICE_ARC:
	case HF_TRACE_DEVICE_FAIL:
	case HF_TRACE_DEVICE_RESET:
	case HF_TRACE_DEVICE_BYTES:
		device_line(entry, buf, size);
		break;
	case HF_TRACE_LEDGER:
		(void)snprintf(buf, size, "%s: %s, epoch %" PRIu64 ", in %.1f ms", text,
			       answer_name(arg[1]), arg[2], milliseconds(arg[3]));
		break;
	case HF_TRACE_MACHINE:
		(void)snprintf(buf, size, "%s: %s in %.1f ms", text,
			       arg[1] ? hf_error_name((int)(int64_t)arg[1]) : "done",
			       milliseconds(arg[2]));
		break;
	case HF_TRACE_THROTTLE:
		(void)snprintf(buf, size, "vCPUs are kept off the CPU for %" PRIu64 " %%", arg[0]);
		break;
	case HF_TRACE_ESTIMATE:
		(void)snprintf(buf, size,
			       "downtime would be %.1f ms (limit %.1f ms): %.1f MiB left at "
			       "%.1f MiB/s",
			       (double)arg[0] / 1e3, (double)arg[3] / 1e3, mebibytes(arg[1]),
			       mebibytes(arg[2]));
		break;
	case HF_TRACE_PRIMED:
	case HF_TRACE_WAITING:
		(void)snprintf(buf, size, "%s", text);
		break;
	case HF_TRACE_FAILED:
		(void)snprintf(buf, size, "%s: %s", hf_error_name(-(int)arg[0]), text);
		break;
	case HF_TRACE_OUTCOME:
		(void)snprintf(buf, size, "%s, downtime %.1f ms, total %.1f ms", text,
			       (double)arg[1] / 1e3, (double)arg[2] / 1e3);
		break;
	case HF_TRACE_UNRECORDED:
		(void)snprintf(buf, size, "the recording has a gap: %s", strerror((int)arg[0]));
		break;
	default:
		plain_line(entry, buf, size);
	}
}
