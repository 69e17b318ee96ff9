/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a session is inside. The loop thread (whoever calls hf_session_step()) owns everything here
 * but what a member's comment gives to a worker.
 *
 * How it works: hf_session_step() takes completions of jobs, bytes of the control connection and
 * passed deadlines, makes events of them, asks source_step() or target_step(), and starts the jobs
 * of the row's actions. Nothing in the loop thread blocks.
 */
#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <holdfast/session.h>

#include "backend/channel.h"
#include "backend/device.h"
#include "backend/memory.h"
#include "core/device-plan.h"
#include "core/ledger.h"
#include "core/no-ledger.h"
#include "core/policy.h"
#include "core/source.h"
#include "core/target.h"
#include "engine/record.h"
#include "engine/worker.h"
#include "wire/frame.h"
#include "wire/order.h"
#include "wire/records.h"

#define CHUNK_PAGES 512u /* one PAGES record covers at most this: 2 MiB */
#define CHUNK_BYTES ((uint64_t)CHUNK_PAGES << HF_PAGE_SHIFT)
#define DEVICE_CHUNK_BYTES (256u << 10) /* one DEVICE_DATA record carries at most this */
#define DEVICE_QUEUE_SLOTS 4u /* chunks that wait for a device at the target */
#define PASS_CHUNKS 64u /* chunks of one pre-copy pass of a device */
#define STATE_ARENA_BYTES (4u << 20) /* machine state and configurations of a guest */
#define STATE_SECTIONS_MAX 1024u
#define KEEPALIVE_NS 1000000000ull
#define GRACE_NS 400000000ull /* for a reason to arrive behind a lost connection */
#define RETRY_NS 200000000ull /* between two questions to a silent ledger */
#define EXPLAIN_NS 20000000ull /* between two looks for a reason in the ledger */
#define EXPLAIN_MAX_NS 400000000ull
#define PENDING_MAX (HF_CHANNELS_MAX + 2u) /* connections that have not said what they are */
#define NEVER UINT64_MAX

/* Several jobs that are waited for together. Owner: the loop thread. */
struct phase {
	uint32_t id; /* 0: none is under way */
	uint32_t outstanding;
	struct hf_error err; /* the first failure */
	void (*then)(struct session *session); /* when all have succeeded */
};

/* One bulk connection. */
struct bulk {
	struct worker worker;
	struct hf_channel channel; /* set by the loop thread or the worker before open is */
	atomic_bool open; /* atomic: the loop thread cuts what the worker is about to attach */
	/*
	 * Source: pages (its worker) and device data (devices' workers) share the connection; a
	 * record is sent whole under the lock, which also protects the rest of this part.
	 */
	pthread_mutex_t lock;
	void *digest; /* XXH3_state_t: what CHANNEL_END covers */
	uint64_t records, bytes;
	bool locked_up; /* init of the lock was done */
};

/* One piece of a device's stream on its way to the device's worker, at the target. */
struct device_chunk {
	uint8_t *data; /* DEVICE_CHUNK_BYTES, allocated at set-up */
	uint32_t length;
	bool initial_done;
	bool end; /* DEVICE_END: what follows is set, and there is no data */
	uint32_t end_records;
	uint64_t end_bytes, end_digest;
};

struct device_queue {
	pthread_mutex_t lock; /* protects the rest */
	pthread_cond_t changed;
	struct device_chunk slots[DEVICE_QUEUE_SLOTS];
	uint32_t head, count;
	uint32_t sequence; /* of the next DEVICE_DATA */
	bool closed; /* nobody takes any more: pushing succeeds and does nothing */
	bool ended; /* DEVICE_END was pushed */
	bool ready; /* init was done */
};

struct device_slot {
	struct worker worker;
	struct device device; /* the worker's while a job of it is under way */
	void *digest; /* XXH3_state_t over the stream's data; the worker's */
	uint32_t sequence; /* source: records sent; the worker's */
	uint64_t bytes; /* of the stream; the worker's */
	uint8_t *buffer; /* source: DEVICE_CHUNK_BYTES; the worker's */
	uint64_t *dirty[HF_REGIONS_MAX]; /* source: what its DMA wrote; the worker's in a sync */
	bool tracking; /* its DMA is logged; the worker's */
	bool pass_running; /* source: a pre-copy pass is under way */
	bool pass_more; /* the last pass did not reach the end */
	bool initial_done; /* source: all initial data was sent */
	bool primed; /* source: the target's PRIMED came */
	bool was_reset; /* source: it had to be reset while undoing */
	uint64_t final_bytes; /* source: estimate of what STOP_COPY will give */
	int keep_fd; /* source: where its stream is kept, or -1; the worker's */
	struct device_queue queue; /* target */
};

/* A record of machine state or of a device's configuration in the arena. */
struct arena_item {
	uint32_t device; /* of a configuration; UINT32_MAX: a section of machine state */
	struct hf_state_section section;
	uint32_t offset, length;
};

/* Owner: the loop thread, or the machine's worker while it saves or loads. */
struct arena {
	uint8_t *bytes; /* STATE_ARENA_BYTES */
	struct arena_item *items;
	uint32_t used, count;
};

/* The source's rounds. */
struct precopy {
	uint64_t *dirty[HF_REGIONS_MAX]; /* to be sent; read by bulk workers in a round */
	uint64_t region_chunks[HF_REGIONS_MAX];
	uint64_t chunk_count;
	atomic_uint_fast64_t cursor; /* next chunk of the round; atomic: workers take from it */
	uint32_t round;
	uint64_t begin_ns, round_begin_ns;
	uint64_t round_begin_bytes;
	uint64_t bytes_per_second;
	uint64_t dirty_pages; /* in dirty[] */
	uint64_t sync_end_ns;
	uint64_t expected_downtime_us, dirty_pages_per_second;
	uint32_t throttle_percent, slow_rounds;
	bool waiting; /* for devices to be primed */
	bool resting; /* hardly anything is dirty, and it does not fit all the same */
	uint64_t measured_ns; /* when bytes_per_second was */
	uint64_t probe_page; /* of all regions' pages: where the next probe begins */
	bool tracking; /* memory's */
	bool final_pages; /* DRAINING: the last round is under way */
};

/* The target's barrier between rounds: all bulk workers meet at each ROUND. */
struct barrier {
	pthread_mutex_t lock; /* protects the rest */
	pthread_cond_t changed;
	uint32_t reached[HF_CHANNELS_MAX];
	bool broken; /* nobody waits any more */
	bool ready;
};

/* A connection that has not said yet what it is (target). */
struct pending {
	struct hf_channel channel;
	uint8_t bytes[256];
	uint32_t length;
	uint64_t deadline_ns;
	bool used;
};

struct totals {
	atomic_uint_fast64_t normal_pages, zero_pages, page_bytes, device_bytes, wire_bytes;
};

struct session {
	struct hf_config config; /* a copy; strings below */
	char guest[HF_NAME_MAX], side[HF_NAME_MAX], peer_side[HF_NAME_MAX];
	char uri[HF_URI_MAX], capture[4096];
	struct hf_ledger ledger; /* the caller's, or filters in front of it */
	struct hf_machine machine;
	struct hf_memory raw_memory; /* the caller's, or a filter in front of it */
	struct memory memory;
	struct filtered *filtered; /* filters.c */
	struct hf_memory_region regions[HF_REGIONS_MAX];
	uint32_t region_count, device_count, channel_count;
	uint64_t total_pages;

	/* the state machine */
	struct source source;
	struct target target;
	uint32_t events[64], event_head, event_count; /* enum source_event or target_event */
	uint32_t event_states[64]; /* the state it happened in */
	struct phase main, side_phase;
	uint32_t phase_counter;
	struct hf_error error; /* why it fails; the first failure wins, the peer's is taken whole */
	bool error_is_peers;
	bool error_is_link; /* only that the connection is gone: a better reason may be found */
	enum hf_outcome outcome;
	bool ending, ended, unexpected;
	atomic_bool cancel_asked;
	bool cancel_seen;
	atomic_int failure_asked; /* 0; 1: being written; 2: failure is there */
	bool failure_seen;
	struct hf_error failure; /* the VMM's own: hf_session_fail() */
	uint32_t ledger_ticket; /* of the last request: answers to earlier ones are stale */
	bool ledger_busy;
	uint64_t ledger_deadline_ns; /* of the request under way */
	uint64_t keepalives;
	bool too_late;

	/* time; on CLOCK_MONOTONIC */
	uint64_t start_ns, end_ns;
	uint64_t poll_ns; /* source: when to ask devices again that had nothing to read */
	uint64_t state_deadline_ns, retry_ns, give_up_ns, grace_ns, keepalive_ns;
	uint64_t wake_ns; /* when the loop asked to be woken, the last time; 0: it is not to be */
	uint32_t forgiven; /* absences in this state */
	uint64_t stopped_ns, resumed_ns; /* the stand-still, as this side sees it */
	uint64_t watched_bytes; /* progress that the state's deadline has seen */
	atomic_uint_fast64_t heard_ns; /* the last sign of life of the peer; atomic: receivers */

	/* links */
	int epoll_fd, wake_fd;
	struct completions completions;
	struct worker link_worker, machine_worker, ledger_worker;
	struct listener *listener;
	struct pending pending[PENDING_MAX];
	struct hf_channel control;
	bool control_open, control_closed, bye_sent;
	bool control_deaf; /* the peer broke the rules: it may be told why, and is not heard */
	bool stepped;
	uint64_t last_words_ns; /* ending: until then for what is to be sent, and to arrive */
	uint64_t ending_ns; /* ... and until then for what workers still do */
	struct frame frame;
	struct order order;
	uint8_t *link_buffer; /* the link worker's: what it encodes into */
	void *control_digest; /* XXH3_state_t over the control bytes source -> target */
	uint8_t session_id[16], token[16];
	struct bulk bulks[HF_CHANNELS_MAX];
	atomic_bool cut; /* the connections were shut down on purpose; atomic: workers look */
	atomic_uint_fast64_t pace_ns; /* when the next bytes may go, with a bandwidth limit */

	struct device_slot slots[HF_DEVICES_MAX];
	struct arena arena;
	struct precopy precopy;
	struct barrier barrier;
	struct totals totals;

	/* the peer, as it says (target: HELLO...; source: ACCEPT) */
	struct rec_hello hello;
	uint8_t *shape;
	uint32_t shape_length;
	bool regions_seen, devices_seen, shape_seen, end_seen;
	struct rec_end end;
	uint64_t end_ns_seen;
	uint32_t channels_ended, devices_ended;
	uint64_t *touched[HF_REGIONS_MAX], *seen[HF_REGIONS_MAX]; /* target; see recv.c */

	/* the ledger */
	uint64_t epoch;
	struct hf_ledger_record record; /* as last seen */
	struct hf_error began_error; /* what a doubt began with */
	struct hf_error ledger_error; /* why it did not answer, the last time that it did not */
	uint32_t ledger_attempts;
	bool has_ledger; /* not "none" */
	struct no_ledger alone; /* what a source without one knows */

	/* what is kept of the guest (keep.c) */
	char keep[4096];
	void (*restored)(struct session *session); /* what follows keep_restore() */
	struct hf_error restored_error; /* why it came home; what fails meanwhile comes first */
	int keep_dir_fd; /* or -1 */
	int keep_control_fd; /* until everything was kept; the link worker's */
	bool keep_failed; /* a part of it could not be written; the link worker's */
	bool keep_decided; /* nothing is to be left in the folder */
	pthread_mutex_t keep_lock; /* protects the rest */
	bool keep_whole; /* the folder holds the guest */
	bool keep_dropped; /* the guest goes on: it must not hold it any more */

	struct recorder recorder;
	uint64_t own_memory_bytes;
	atomic_uint_fast32_t state_now; /* for hf_session_cancel(), from any thread */
	pthread_mutex_t progress_lock; /* protects progress */
	struct hf_progress progress;
};

/* session.c */
void session_post(struct session *session, uint32_t event);
/* Something failed: keep the reason if it is the first, and post FAIL (or wait for a better
 * reason). */
void session_fail(struct session *session, const struct hf_error *err);
/* The control connection is gone: a reason that came before it stands, else this one. */
void session_lost(struct session *session, const struct hf_error *err);
/* The peer's own reason, taken word for word. */
void session_peer_failed(struct session *session, const struct hf_error *err);
void session_end(struct session *session, enum hf_outcome outcome);
bool session_is_source(const struct session *session);
uint64_t session_wait_deadline(const struct session *session);
void *session_alloc(struct session *session, size_t size);

/* phase.c */
void phase_begin(struct session *session, struct phase *phase, void (*then)(struct session *));
void phase_submit(struct session *session, struct phase *phase, struct worker *worker,
		  struct job *job);
/* For work that will be submitted later: the phase does not end before phase_release(). */
void phase_hold(struct phase *phase);
void phase_release(struct session *session, struct phase *phase);
/* The job's done() calls this first; false: stale, do nothing more. */
bool phase_done(struct session *session, const struct job *job);
void phase_cancel(struct phase *phase);
void phase_job_done(struct session *session, const struct job *job);

/* trace.c */
void trace(struct session *session, enum hf_trace_id id, const char *text, uint64_t a, uint64_t b,
	   uint64_t c, uint64_t d);

#endif
