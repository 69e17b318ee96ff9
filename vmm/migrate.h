/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between a guest (vmm/guest.h) and a session (holdfast/session.h): what is given to the session,
 * what is kept of it, and how people read it. When to start one and what its end means for the
 * guest is vmm/control.c's business.
 *
 * The main loop's thread owns everything here, except for struct migrate_machine (below).
 */
#ifndef VMM_MIGRATE_H
#define VMM_MIGRATE_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <holdfast/session.h>

#include "vmm/guest.h"

/* ---- parameters ---------------------------------------------------------------------------- */

#define MIGRATE_FILTERS_MAX 32u
#define MIGRATE_FILTER_MAX 128u /* with the NUL */

struct migrate_parameters {
	uint64_t downtime_us, bandwidth_bytes, deadline_us, peer_us, device_us, ledger_us, doubt_us;
	uint64_t channels, throttle_percent;
	bool on_device_lost_resume;
	char ledger[HF_URI_MAX];
	char capture[PATH_MAX]; /* "": none */
	char record[PATH_MAX]; /* the folder; "": none */
	char filters[MIGRATE_FILTERS_MAX][MIGRATE_FILTER_MAX];
	uint32_t filter_count;
};

/*
 * The numbers, by their names in QMP: X(name, member, units in one of QMP's, least, most, default).
 * Least, most and default are in QMP's unit, which the comment behind says. The names that QEMU has
 * mean what they mean there.
 */
/* clang-format off */
#define MIGRATE_NUMBERS(X) \
	X("downtime-limit",   downtime_us,      1000,    1, 2000000, 300)           /* ms */ \
	X("max-bandwidth",    bandwidth_bytes,  1,       0, INT64_MAX, 0)           /* bytes/s; 0: all */ \
	X("multifd-channels", channels,         1,       1, HF_CHANNELS_MAX, 2)     /* connections */ \
	X("max-cpu-throttle", throttle_percent, 1,       0, 99, 99)                 /* %; 0: never */ \
	X("deadline",         deadline_us,      1000000, 1, 31536000, 3600)         /* s */ \
	X("peer-timeout",     peer_us,          1000,    1, 86400000, 30000)        /* ms */ \
	X("device-timeout",   device_us,        1000,    1, 86400000, 60000)        /* ms */ \
	X("ledger-timeout",   ledger_us,        1000,    1, 86400000, 10000)        /* ms */ \
	X("doubt-timeout",    doubt_us,         1000,    1, 86400000, 60000)        /* ms */

/* The rest: X(name, enum qmp_type). */
#define MIGRATE_TEXTS(X) \
	X("on-device-lost",   QMP_STRING)  /* "pause" or "resume" */ \
	X("ledger",           QMP_STRING)  /* its URI */ \
	X("capture",          QMP_STRING)  /* a folder; "": none */ \
	X("record",           QMP_STRING)  /* a folder; "": none */ \
	X("filters",          QMP_STRINGS) /* holdfast-filters(7) */
/* clang-format on */

void migrate_parameters_init(struct migrate_parameters *parameters);

/*
 * Take what arguments (an object; checked for types) has of the names above; "channels" is another
 * name for "multifd-channels"; other names are left to the caller. All or nothing: on HF_E_INVALID,
 * which names the parameter, nothing has changed.
 */
int migrate_parameters_set(struct migrate_parameters *parameters, const json_t *arguments,
			   struct hf_error *err);

/* Add one filter; HF_E_INVALID when it is too long or there are too many. */
int migrate_parameters_add_filter(struct migrate_parameters *parameters, const char *spec,
				  struct hf_error *err);

/* The file for the next recording in a folder. HF_E_INVALID, HF_E_SYSTEM. */
int migrate_record_path(const char *folder, const char *guest, uint32_t role,
			char ret_path[PATH_MAX], struct hf_error *err);

/* All of them, by name. NULL: no memory. */
json_t *migrate_parameters_json(const struct migrate_parameters *parameters);

/* ---- the machine, watched ------------------------------------------------------------------ */

/*
 * The guest's machine with one more fact: whether it runs. Sessions stop and run it on a worker, so
 * the fact is atomic; everything else is immutable after migrate_machine_init().
 */
struct migrate_machine {
	struct hf_machine inner;
	atomic_bool running;
};

void migrate_machine_init(struct migrate_machine *machine, struct hf_machine inner);
struct hf_machine migrate_machine_handle(struct migrate_machine *machine);

/* ---- the trace ----------------------------------------------------------------------------- */

#define MIGRATE_TRACE_EVENTS 4096u
#define MIGRATE_TRACE_TEXT_MAX 256u

struct migrate_trace_entry {
	struct hf_event event; /* event.text is not used */
	char text[MIGRATE_TRACE_TEXT_MAX];
};

/* The last MIGRATE_TRACE_EVENTS events; count also counts those that were pushed out. */
struct migrate_trace {
	struct migrate_trace_entry *entries;
	uint64_t count;
};

/* -ENOMEM, or 0. */
int migrate_trace_init(struct migrate_trace *trace);
void migrate_trace_add(struct migrate_trace *trace, const struct hf_event *event);
/* Number n (0..count-1), or NULL if it was pushed out. Valid until the next add. */
const struct migrate_trace_entry *migrate_trace_at(const struct migrate_trace *trace, uint64_t n);
void migrate_trace_done(struct migrate_trace *trace);

/* One event in words, without its time: "sim0: RUNNING -> PRE_COPY in 0.3 ms". */
void migrate_trace_line(const struct migrate_trace_entry *entry, char *buf, size_t size);

/* ---- one migration ------------------------------------------------------------------------- */

struct migration_config {
	uint32_t role; /* enum hf_role */
	struct guest *guest;
	struct migrate_machine *machine; /* the guest's */
	const struct migrate_parameters *parameters; /* copied */
	const char *uri;
	const char *side;
	bool paused;
	const char *keep; /* source: keep the guest there for a later process; or NULL */
	bool restart; /* source: take up the guest that is kept there */
	/* Called by migration_step() for each event, after it was kept. */
	void (*event)(void *ctx, const struct migrate_trace_entry *entry);
	void *ctx;
};

/* One attempt. Its story outlives its session, for queries. */
struct migration {
	uint32_t role;
	struct guest *guest; /* NULL when the session is gone */
	struct hf_session *session; /* NULL when it has ended; but in doubt it may live again */
	bool broken; /* it stopped working: never freed, and the guest must not be either */
	struct migrate_parameters parameters;
	char uri_asked[HF_URI_MAX]; /* as it was given; the session reads it */
	char uri[HF_URI_MAX]; /* the one to tell: with the port that was chosen */
	bool listening; /* target: uri can be connected to, or could */
	bool cancel_asked;
	char warning[HF_ERROR_TEXT_MAX]; /* what speaks against it from the beginning, or "" */
	enum hf_outcome outcome; /* NONE while it goes on */
	struct hf_error error;
	struct hf_progress progress; /* the last snapshot */
	struct migrate_trace trace;
	char ledger_operation[32]; /* the last, as the trace had it; "": none yet */
	uint32_t ledger_answer; /* HF_LEDGER_* */
	uint64_t ledger_epoch;
	uint64_t started_ns;

	struct hf_filters *filters;
	struct hf_memory memory;
	struct hf_ledger ledger;
	void (*event)(void *ctx, const struct migrate_trace_entry *entry);
	void *ctx;
};

/* Set up; the guest is not touched yet. On failure nothing is left behind. */
int migration_start(const struct migration_config *config, struct migration **ret_migration,
		    struct hf_error *err);

/*
 * It has ended and left the guest here, but whether it may be run is not known. Not so for a target
 * that says WAITING: there the guest is ours, and only its vCPUs could not be run.
 */
bool migration_in_doubt(const struct migration *migration);

/* Not ended yet. NULL has. */
bool migration_active(const struct migration *migration);

/*
 * Let the session work. HF_STEP_DONE: it has ended, outcome and error are set, and (unless it is
 * broken) everything that it stood on is released, so that the guest may be freed.
 */
enum hf_step migration_step(struct migration *migration);

/* As hf_session_fd() and hf_session_deadline(); only while it goes on. */
int migration_fd(const struct migration *migration);
uint64_t migration_deadline(const struct migration *migration);

/*
 * As hf_session_resolve(), for a source that is in doubt, also while it goes on. If it had ended it
 * goes on now: it is to be stepped again.
 */
int migration_resolve(struct migration *migration, enum hf_resolve how, struct hf_error *err);

/* What its session has told goes into its story. */
void migration_trace(struct migration *migration, const struct hf_event *event);

/* As hf_session_cancel(). Nothing to cancel is no failure. */
int migration_cancel(struct migration *migration);

/* As hf_session_fail(), for a device that broke, in words. Nothing to fail is fine. */
void migration_break(struct migration *migration, const char *why);

/* The session must have ended; one in doubt is given up. Takes NULL, returns NULL. */
struct migration *migration_free(struct migration *migration);

/* "none" (for NULL), "setup", "active", "device", "completed", ...: QEMU's name of the status. */
const char *migration_status(const struct migration *migration);

/* The answer of query-migrate; migration may be NULL. NULL: no memory. */
json_t *migration_query(struct migration *migration);

/* A failure as an object: code, name, class, cause, text; explanation. NULL: no memory. */
json_t *migration_error_json(const struct hf_error *error);

/*
 * The answer of query-ledger, read by a handle of its own: a session's worker may be using another.
 * NULL: failed.
 */
json_t *migration_ledger_query(const char *uri, const char *guest, struct hf_error *err);

/* The data of the event VFIO_MIGRATION for an entry with HF_TRACE_DEVICE_ARC. */
json_t *migrate_device_event(const struct migrate_trace_entry *entry);

/* The answer of query-timeline: events from number first on. NULL: no memory. */
json_t *migration_timeline(const struct migration *migration, uint64_t first);

#endif
