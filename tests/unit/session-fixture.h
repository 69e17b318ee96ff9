/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two sessions in one process, source and target, over a UNIX socket: real engine, real stream,
 * simulated devices; the machine and its memory are the fixture's own, so that a test knows what
 * they should hold.
 */
#ifndef TESTS_SESSION_FIXTURE_H
#define TESTS_SESSION_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <holdfast/session.h>

#define SIDE_SECTIONS 3u
#define SIDE_TRACE_MAX 4096u

/* What happened at one side, in order. */
struct side_trace {
	uint32_t id;
	uint64_t arg[4];
	char text[96];
};

struct side {
	const char *label; /* "source", "target" */
	struct hf_memory_region region;
	atomic_bool running; /* vCPUs run */
	bool was_run; /* ran at least once since the beginning of the session */
	uint8_t state[SIDE_SECTIONS][64]; /* the machine's */
	uint8_t device_state[HF_DEVICES_MAX][16];
	uint32_t sections_loaded, configs_loaded;
	uint32_t throttle;
	const char *shape; /* what describe() says and check() wants */
	/* dirty pages, as the tests make them: from first, for the first rounds of a sync */
	uint64_t dirty_pages_per_sync;
	uint32_t dirty_syncs_left;
	uint64_t dirty_next;
	uint64_t generation;

	struct hf_session_device devices[HF_DEVICES_MAX];
	uint32_t device_count;
	struct hf_ledger ledger;
	struct hf_filters *filters;
	struct hf_config config;
	struct hf_session *session;
	enum hf_outcome outcome;
	struct hf_error error;
	struct hf_progress progress;
	pthread_t thread;
	struct side_trace trace[SIDE_TRACE_MAX];
	uint32_t trace_count;
	/* the moment at which on_trace is called, from the driving thread */
	void (*on_trace)(struct side *side, const struct hf_event *event);
	void *on_trace_ctx;
};

struct pair {
	struct side source, target;
	char uri[128], ledger_uri[128];
};

struct pair_config {
	uint64_t memory_bytes;
	uint32_t device_count;
	const char *device_uri; /* default "sim:state=64K" */
	const char *source_filter, *target_filter; /* or NULL */
	uint32_t channels;
	bool paused;
	const char *ledger_uri; /* default: one of its own, in memory */
};

/* The vCPUs of a pair stand still: between machine.stop() and machine.run() of either side. */
extern atomic_bool fixture_frozen;

/* Everything up to, and not including, hf_session_new(): config may be changed then. */
void pair_init(struct pair *pair, const struct pair_config *config);
/* Sessions on both sides, each driven by its own thread; returns when both have ended. */
void pair_run(struct pair *pair);
/* As pair_run() in pieces: the target's thread may still be at work behind pair_start(). */
void pair_start(struct pair *pair);
void pair_finish(struct pair *pair); /* waits for the target, and frees what is left */
/* Drive a session of its own to its end, from this thread; it is not freed. */
void side_run(struct side *side);
void pair_done(struct pair *pair);

/* The target holds what the source holds: memory, machine state, configurations, devices. */
void pair_assert_moved(struct pair *pair);
/* The source runs as before, the target never did. */
void pair_assert_home(struct pair *pair);
bool side_saw(const struct side *side, uint32_t id, const char *text);
void pair_print(const struct pair *pair);

#endif
