/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Workers do what blocks. A worker is one thread with a bounded mailbox; a job goes in, and comes
 * back through the completion queue that all workers of a session share, to be finished by the
 * session's loop thread. Jobs of one worker run one after another, in the order they came.
 *
 * Workers share nothing but these two queues, and what the jobs' own comments name.
 */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <holdfast/error.h>

#include "core/ledger.h"

#define JOB_BYTES 384u /* the longest record that is sent without a buffer of its own */

struct session;
struct job;

typedef int (*job_run_fn)(struct session *session, struct job *job);
typedef void (*job_done_fn)(struct session *session, const struct job *job);

/* Owner: the loop thread, then the worker, then (as a copy) the loop thread again. */
struct job {
	job_run_fn run; /* on the worker; returns 0 or a negative HF_E_ code, story in err */
	job_done_fn done; /* on the loop thread */
	uint32_t index; /* of a device or a bulk connection */
	uint32_t phase; /* the phase it was submitted in: completions of older ones are stale */
	uint64_t arg[4]; /* for run */
	union {
		uint8_t bytes[JOB_BYTES]; /* a record to send; arg[0] is its length */
		struct ledger_request request; /* of the ledger's worker */
	};
	struct hf_ledger_record record; /* the ledger's worker's answer */
	uint64_t result[4]; /* of run */
	uint64_t begin_ns, end_ns;
	int code;
	struct hf_error err;
};

/* The link's worker may have to say PRIMED for each device at once, and a few words more. */
#define MAILBOX_SLOTS (HF_DEVICES_MAX + 16u)

struct completions {
	pthread_mutex_t lock; /* protects the rest; held for a copy only */
	struct job *slots; /* room for every job that can be under way */
	uint32_t capacity, head, count;
	int event_fd;
};

struct worker {
	struct session *session;
	struct completions *completions;
	pthread_t thread;
	pthread_mutex_t lock; /* protects the mailbox; held for a copy only */
	pthread_cond_t wake;
	struct job slots[MAILBOX_SLOTS];
	uint32_t head, count;
	bool quit;
	bool busy;
	bool started;
	char name[16]; /* the thread's, for debuggers */
};

int completions_init(struct completions *completions, uint32_t worker_count, struct hf_error *err);
void completions_done(struct completions *completions);
/* Take the oldest completion; false if there is none. Loop thread. */
bool completions_take(struct completions *completions, struct job *ret_job);

int worker_start(struct worker *worker, struct session *session, struct completions *completions,
		 const char *name, struct hf_error *err);
/* Put a job into the mailbox. The loop thread; a full mailbox is a bug. */
void worker_submit(struct worker *worker, const struct job *job);
/* Nothing in the mailbox and nothing running. */
bool worker_idle(struct worker *worker);
/* Jobs that wait behind the running one. */
uint32_t worker_backlog(struct worker *worker);
/* Wait for the running job, drop the others, end the thread. Takes one that never started. */
void worker_stop(struct worker *worker);

#endif
