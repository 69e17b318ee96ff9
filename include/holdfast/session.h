/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session: one attempt to hand one guest over, seen from one side.
 *
 * The VMM creates it with what it stands on (backend.h), then drives it by one of two faces:
 *
 *   hf_session_run()          blocks until the session has ended; or
 *   hf_session_fd(), _deadline(), _step()   for a VMM with its own loop: wait until the fd is
 *                             readable or the deadline has passed, call step(), until it says
 *                             HF_STEP_DONE.
 *
 * One thread at a time drives a session. hf_session_cancel() and hf_session_progress() may come
 * from any thread.
 */
#ifndef HOLDFAST_SESSION_H
#define HOLDFAST_SESSION_H

#include <stdint.h>
#include <sys/types.h>

#include <holdfast/backend.h>
#include <holdfast/error.h>
#include <holdfast/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hf_session;

enum hf_role {
	HF_ROLE_SOURCE = 1,
	HF_ROLE_TARGET = 2,
};

/* How a session ended; hf_session_outcome(). */
enum hf_outcome {
	HF_OUTCOME_NONE = 0, /* it has not ended */
	HF_OUTCOME_AWAY = 1, /* source: the guest runs at the target. Free it here. */
	HF_OUTCOME_HOME = 2, /* source: the guest is here, as it was before; error() says why */
	HF_OUTCOME_WAITING = 3, /* source: in doubt; the guest is here, paused and whole, not to be
				 * run before hf_session_resolve() has found whose it is */
	HF_OUTCOME_LOST = 4, /* source: here and paused: a device had to be reset, and what the
			      * guest had in it is gone (config.on_device_lost) */
	HF_OUTCOME_RUNNING = 5, /* target: the guest runs here (or is paused here, if it was) */
	HF_OUTCOME_FAILED = 6, /* target: not here; what was loaded is to be thrown away */
};

/* What step() wants next. */
enum hf_step {
	HF_STEP_WAIT = 0, /* wait for the fd or the deadline */
	HF_STEP_DONE = 1, /* ended: see hf_session_outcome() */
};

/* One thing that happened; docs/trace.md lists the ids and what the arguments mean. */
struct hf_event {
	uint32_t size;
	uint32_t id;
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint64_t arg[4];
	const char *text; /* a state, a device or a reason, if the id has one; valid in the call */
};

/* Trace ids: X(name, number, what text is, what the arguments are). */
/* clang-format off */
#define HF_TRACE_LIST(X) \
	X(TRANSITION,    1, "from -> to (event)", "from, to, event, 0") \
	X(ROUND,         2, "",                   "round, pages sent, zero pages, dirty pages left") \
	X(RECORD_SENT,   3, "record",             "type, length, channel, 0") \
	X(RECORD_RECV,   4, "record",             "type, length, channel, 0") \
	X(DEVICE_ARC,    5, "device",             "device, from, to, duration_ns") \
	X(DEVICE_FAIL,   6, "reason",             "device, asked for, stands in, errno") \
	X(DEVICE_RESET,  7, "device",             "device, 0, 0, errno") \
	X(DEVICE_BYTES,  8, "device",             "device, bytes in this pass, total bytes, initial left") \
	X(LEDGER,        9, "operation",          "operation, answer, epoch, duration_ns") \
	X(MACHINE,      10, "operation",          "operation, result, duration_ns, 0") \
	X(THROTTLE,     11, "",                   "percent, 0, 0, 0") \
	X(ESTIMATE,     12, "",                   "downtime_us, bytes left, bytes/s, limit_us") \
	X(PRIMED,       13, "device",             "device, 0, 0, 0") \
	X(FAILED,       14, "reason",             "code, cause, 0, 0") \
	X(WAITING,      15, "what for",           "0, 0, 0, 0") \
	X(OUTCOME,      16, "outcome",            "outcome, downtime_us, total_us, 0") \
	X(UNRECORDED,   17, "",                   "errno, 0, 0, 0")
/* clang-format on */

#define HF_TRACE_ENUM_(name, number, text, args) HF_TRACE_##name = number,
enum hf_trace_id { HF_TRACE_LIST(HF_TRACE_ENUM_) };
#undef HF_TRACE_ENUM_

/* Policy of config.on_device_lost. */
#define HF_DEVICE_LOST_PAUSE 0u /* the guest stays paused (HF_OUTCOME_LOST) */
#define HF_DEVICE_LOST_RESUME 1u /* the guest runs on without what it had in the device */

/* One device of the guest. Both sides list theirs in the same order. */
struct hf_session_device {
	struct hf_device device;
	char name[HF_NAME_MAX]; /* unique in the guest; equal on both sides */
};

/*
 * Everything a session needs to know. All pointers stay the caller's and must stay valid until
 * hf_session_free(); arrays are copied. Zero means the default that stands at the member.
 */
struct hf_config {
	uint32_t size; /* sizeof(struct hf_config): HF_CONFIG_INIT sets it */
	uint32_t role; /* enum hf_role */

	const char *guest; /* the guest's name in the ledger: 1..63 of [A-Za-z0-9._-] */
	const char *side; /* this side's id in the ledger, unique in the fleet and for each start of
			   * the VMM; default: HOSTNAME.PID.random */
	const char *uri; /* source: where to connect; target: where to listen:
			  * tcp:HOST:PORT, unix:PATH, fd:N (a connected or listening socket) */

	struct hf_machine machine;
	struct hf_memory memory; /* source: who tracks dirty pages; target: {NULL, NULL} */
	/* On the target: fresh memory, which reads as zeros; a page of zeros is not written again.
	 */
	const struct hf_memory_region *regions;
	const struct hf_session_device *devices;
	uint32_t region_count;
	uint32_t device_count;
	struct hf_ledger ledger;
	struct hf_filters *filters; /* or NULL: faults and delays in front of everything */

	uint32_t paused; /* source: the guest is paused: it stays so, on either side */
	uint32_t channels; /* bulk connections; source's wish, default 2 */
	uint32_t on_device_lost; /* HF_DEVICE_LOST_*; default: PAUSE */
	uint32_t throttle_max_percent; /* default 99; 100 or more: never throttle */
	uint64_t downtime_us_max; /* switch over at this estimate or less; default 300 ms */
	uint64_t bandwidth_bytes_max; /* per second, all connections, 0: no limit */
	uint64_t deadline_us; /* precopy may take this long in all; default 3600 s */
	uint64_t wait_us_max; /* any single wait for the peer; default 30 s */
	uint64_t arc_us_max; /* any single operation of a device or of the machine; default 60 s */
	uint64_t ledger_us_max; /* any single wait for the ledger; default 10 s; in doubt it is
				 * asked again until doubt_us_max */
	uint64_t doubt_us_max; /* in doubt this long: HF_OUTCOME_WAITING; default 60 s */

	const char *capture; /* source: a directory for a copy of what every connection carried; or
			      * NULL (docs/stream.md, section 11) */

	/* Or NULL; called from the driving thread. */
	void (*trace)(void *ctx, const struct hf_event *event);
	void *trace_ctx;

	uint64_t listen_us_max; /* target: wait this long for a source; 0: until it is cancelled */

	/*
	 * Source, or NULL: a folder, best on tmpfs, in which the stopped guest's devices and
	 * machine state are kept from before the offer until it is known whose the guest is, so
	 * that a later process of this host can go on (restart). The guest's memory is the caller's
	 * to keep, in files that its regions map. One guest for each folder; it must not hold a
	 * kept one.
	 */
	const char *keep;
	/*
	 * Source: begin with what keep holds. The session asks the ledger and ends as AWAY, WAITING
	 * or HOME; with HOME the guest runs here again (or is paused, if it was). side must be the
	 * side that kept it (hf_kept_read()), machine and devices are fresh, and the regions hold
	 * the guest's memory. uri is not used. LOST: what was kept could not be set, and is kept
	 * still (hf_kept_read() says so); or it was set, and devices or vCPUs could not be run.
	 */
	uint32_t restart;
	uint32_t reserved; /* 0 */

	/*
	 * Or NULL: a file, best on tmpfs, in which the session leaves what it was told, what it
	 * decided and why, readable also when the process is killed (holdfast/record.h). It must
	 * not exist: what an earlier session has left is not written over. About 1.5 MiB, taken at
	 * set-up. The path is read by hf_session_new() only.
	 */
	const char *record;

	/* -- new members come here -- */
};

#define HF_CONFIG_INIT                                                                             \
	{                                                                                          \
		.size = sizeof(struct hf_config)                                                   \
	}

/* Where a session stands; a snapshot. Bytes and pages count what went over the connections. */
struct hf_progress {
	uint32_t size;
	uint32_t role;
	uint32_t outcome; /* enum hf_outcome */
	uint32_t round; /* 1.. */
	char state[32]; /* the state's name: "PRECOPY", "VERIFYING", ... */
	uint64_t total_us; /* since start */
	uint64_t downtime_us; /* source: vCPUs stopped until STARTED was read (or until they ran
			       * again here); target: END read until the vCPUs ran. 0: not yet */
	uint64_t expected_downtime_us; /* the last estimate */
	uint64_t memory_bytes; /* of the guest */
	uint64_t page_bytes; /* pages' content */
	uint64_t normal_pages, zero_pages;
	uint64_t remaining_pages; /* known dirty */
	uint64_t device_bytes; /* devices' streams */
	uint64_t wire_bytes; /* everything, all connections */
	uint64_t bytes_per_second; /* the last round's rate */
	uint64_t dirty_pages_per_second;
	uint32_t throttle_percent;
	uint32_t reserved;
	uint64_t own_memory_bytes; /* allocated by the session at set-up */
};

/*
 * The side id a process has by default: HOSTNAME.PID.START. Register a guest under the same one
 * that its sessions use. Errors: HF_E_SYSTEM.
 */
int hf_side_default(char ret_side[HF_NAME_MAX], struct hf_error *err);

/*
 * The same of another process of this host, for who acts for the VMM that has the guest. Errors:
 * HF_E_SYSTEM (there is no such process).
 */
int hf_side_of(pid_t pid, char ret_side[HF_NAME_MAX], struct hf_error *err);

/*
 * A guest was booted here, not migrated: from now on the ledger's record says that it is side's.
 * Without it the first migration makes the record. Errors: HF_E_LEDGER_REFUSED (a handover of a
 * guest of that name is undecided: booting another one could be the second execution),
 * HF_E_LEDGER_UNKNOWN (the ledger does not answer), HF_E_LEDGER_DAMAGED.
 */
int hf_ledger_register(struct hf_ledger *ledger, const char *guest, const char *side,
		       struct hf_error *err);

/*
 * An operator's word, where no VMM is left to be asked (hf_session_resolve()): the target of the
 * guest's handover is dead. The record says then that the guest is its former owner's, and a target
 * that starts it too late is refused. ret_now: the record as it stands. Errors:
 * HF_E_LEDGER_REFUSED (it is not in doubt, or has been started), HF_E_LEDGER_UNKNOWN,
 * HF_E_LEDGER_DAMAGED, HF_E_INVALID.
 */
int hf_ledger_take_back(struct hf_ledger *ledger, const char *guest,
			struct hf_ledger_record *ret_now, struct hf_error *err);

/*
 * Check the configuration, allocate everything. Nothing is connected and the guest is not touched.
 * Errors: HF_E_INVALID (the text names the member), HF_E_NO_MEMORY, HF_E_UNSUPPORTED.
 */
int hf_session_new(const struct hf_config *config, struct hf_session **ret_session,
		   struct hf_error *err);

/*
 * The session is gone. It must have ended or never been stepped. Takes NULL, returns NULL.
 * It waits for calls to the caller's tables that are still under way: a ledger on a disk that hangs
 * keeps it (the guest's fate was decided without that answer). Who cannot wait leaves the session
 * alone, and its tables with it.
 */
struct hf_session *hf_session_free(struct hf_session *session);

/* A descriptor to poll() for readability; the session's. */
int hf_session_fd(const struct hf_session *session);

/* When step() wants to be called at the latest, on CLOCK_MONOTONIC; UINT64_MAX: no need. */
uint64_t hf_session_deadline(const struct hf_session *session);

/* Handle what has happened; never blocks. Returns enum hf_step or a negative HF_E_ code (a bug). */
int hf_session_step(struct hf_session *session);

/* Step until the end. Returns 0 for AWAY and RUNNING, else the code of hf_session_error(). */
int hf_session_run(struct hf_session *session, struct hf_error *err);

/* How it ended; HF_OUTCOME_NONE until step() said HF_STEP_DONE. The name is static text. */
enum hf_outcome hf_session_outcome(const struct hf_session *session);
const char *hf_outcome_name(enum hf_outcome outcome);

/* Why it ended as it did: this side's or the peer's reason, word for word. Valid until free. */
const struct hf_error *hf_session_error(const struct hf_session *session);

/* progress->size must be set. */
int hf_session_progress(struct hf_session *session, struct hf_progress *progress);

/*
 * Ask to cancel; from any thread. Until the offer the guest is taken back at once; later the answer
 * is HF_E_TOO_LATE, and the session ends as it ends. Idempotent.
 */
int hf_session_cancel(struct hf_session *session);

/*
 * The VMM has found that this side cannot go on: its emulator died, its disk is gone. From any
 * thread; why is copied, and becomes the reason on both sides. While the handover could be
 * cancelled the guest stays, or goes, home, as when an operation of the machine fails; later, and
 * on the way home, it ends as it ends. The first one counts; HF_E_BUSY: there was one. why->code is
 * not 0.
 */
int hf_session_fail(struct hf_session *session, const struct hf_error *why);

/* What an operator, or an agent that fences hosts, may say of a guest in doubt. */
enum hf_resolve {
	HF_RESOLVE_ASK = 1, /* nothing: ask the ledger again */
	HF_RESOLVE_TAKE_BACK = 2, /* the target is dead: take the guest back, by compare-and-swap
				   * on the record; a target that did start it has won */
	HF_RESOLVE_LET_GO = 3, /* the target runs the guest: it may be freed here. Only without a
				* ledger, where nothing else can say so */
};

/*
 * End a source's doubt: in the states DOUBT and CLAIMED, and after HF_OUTCOME_WAITING, from which
 * the session comes back to life: step it again until it has ended. From the driving thread.
 * Without a ledger ("none") nothing guards against a wrong word. Errors: HF_E_INVALID (the word, or
 * nothing is in doubt), HF_E_UNSUPPORTED (LET_GO with a ledger).
 */
int hf_session_resolve(struct hf_session *session, enum hf_resolve how, struct hf_error *err);

/* What a folder (config.keep) holds. */
struct hf_kept {
	uint32_t size;
	uint32_t paused; /* the guest was paused before the handover */
	uint64_t epoch; /* of the handover */
	char guest[HF_NAME_MAX], side[HF_NAME_MAX]; /* the side that kept it */
	char ledger[HF_URI_MAX];
};

/*
 * 1: the folder holds a guest in doubt, and kept (its size set by the caller) says which; 0: it
 * holds none. Errors: HF_E_SYSTEM, HF_E_STREAM_DAMAGED.
 */
int hf_kept_read(const char *dir, struct hf_kept *kept, struct hf_error *err);

/* What the target listens on, once it does: "tcp:127.0.0.1:43211". Valid until free. */
const char *hf_session_uri(const struct hf_session *session);

/* The name of a trace id; "?" if it is none. Static text. */
const char *hf_trace_name(uint32_t id);

#ifdef __cplusplus
}
#endif

#endif
