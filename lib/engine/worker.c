/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/worker.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/time.h"

int completions_init(struct completions *completions, uint32_t worker_count, struct hf_error *err)
{
	*completions = (struct completions){ .event_fd = -1 };
	completions->capacity = worker_count * (MAILBOX_SLOTS + 1);
	completions->slots = calloc(completions->capacity, sizeof(completions->slots[0]));
	if (!completions->slots)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "completion queue");
	completions->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (completions->event_fd < 0) {
		int code = error_set(err, HF_E_SYSTEM, errno, "eventfd");

		free(completions->slots);
		completions->slots = NULL;
		return code;
	}
	(void)pthread_mutex_init(&completions->lock, NULL); /* cannot fail on Linux */
	return 0;
}

void completions_done(struct completions *completions)
{
	if (!completions->slots)
		return;
	free(completions->slots);
	completions->slots = NULL;
	(void)close(completions->event_fd);
	(void)pthread_mutex_destroy(&completions->lock);
}

static void completions_put(struct completions *completions, const struct job *job)
{
	uint64_t one = 1;

	(void)pthread_mutex_lock(&completions->lock);
	/* Every worker holds at most MAILBOX_SLOTS jobs and runs one: there is room. */
	assert(completions->count < completions->capacity);
	completions->slots[(completions->head + completions->count) % completions->capacity] = *job;
	completions->count++;
	(void)pthread_mutex_unlock(&completions->lock);
	/* The counter cannot overflow: the loop thread resets it. */
	(void)!write(completions->event_fd, &one, sizeof(one));
}

bool completions_take(struct completions *completions, struct job *ret_job)
{
	bool taken = false;

	(void)pthread_mutex_lock(&completions->lock);
	if (completions->count) {
		*ret_job = completions->slots[completions->head];
		completions->head = (completions->head + 1) % completions->capacity;
		completions->count--;
		taken = true;
	}
	(void)pthread_mutex_unlock(&completions->lock);
	return taken;
}

/* Wait for a job; false: quit. */
static bool next_job(struct worker *worker, struct job *ret_job)
{
	bool got = false;

	(void)pthread_mutex_lock(&worker->lock);
	while (!worker->quit && !worker->count)
		(void)pthread_cond_wait(&worker->wake, &worker->lock);
	if (!worker->quit) {
		*ret_job = worker->slots[worker->head];
		worker->head = (worker->head + 1) % MAILBOX_SLOTS;
		worker->count--;
		worker->busy = true;
		got = true;
	}
	(void)pthread_mutex_unlock(&worker->lock);
	return got;
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct job job;

	(void)pthread_setname_np(pthread_self(), worker->name); /* for debuggers only */
	while (next_job(worker, &job)) {
		job.begin_ns = time_now_ns();
		job.code = job.run(worker->session, &job);
		job.end_ns = time_now_ns();
		if (job.code < 0 && !job.err.code)
			(void)error_set(&job.err, job.code, 0, "%s", hf_error_explain(job.code));
		/* Idle first: whoever takes the completion may ask, and is not woken again. */
		(void)pthread_mutex_lock(&worker->lock);
		worker->busy = false;
		(void)pthread_mutex_unlock(&worker->lock);
		completions_put(worker->completions, &job);
	}
	return NULL;
}

int worker_start(struct worker *worker, struct session *session, struct completions *completions,
		 const char *name, struct hf_error *err)
{
	sigset_t all, before;
	int rc;

	worker->session = session;
	worker->completions = completions;
	(void)snprintf(worker->name, sizeof(worker->name), "%s", name);
	(void)pthread_mutex_init(&worker->lock, NULL);
	(void)pthread_cond_init(&worker->wake, NULL);

	/* The program's signals are for its own threads. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&worker->thread, NULL, worker_main, worker);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		return error_set(err, HF_E_SYSTEM, rc, "worker thread %s", name);
	worker->started = true;
	return 0;
}

void worker_submit(struct worker *worker, const struct job *job)
{
	(void)pthread_mutex_lock(&worker->lock);
	assert(worker->count < MAILBOX_SLOTS);
	worker->slots[(worker->head + worker->count) % MAILBOX_SLOTS] = *job;
	worker->count++;
	(void)pthread_cond_signal(&worker->wake);
	(void)pthread_mutex_unlock(&worker->lock);
}

bool worker_idle(struct worker *worker)
{
	bool idle;

	(void)pthread_mutex_lock(&worker->lock);
	idle = !worker->busy && !worker->count;
	(void)pthread_mutex_unlock(&worker->lock);
	return idle;
}

uint32_t worker_backlog(struct worker *worker)
{
	uint32_t count;

	(void)pthread_mutex_lock(&worker->lock);
	count = worker->count;
	(void)pthread_mutex_unlock(&worker->lock);
	return count;
}

void worker_stop(struct worker *worker)
{
	if (!worker->started)
		return;
	(void)pthread_mutex_lock(&worker->lock);
	worker->quit = true;
	(void)pthread_cond_signal(&worker->wake);
	(void)pthread_mutex_unlock(&worker->lock);
	(void)pthread_join(worker->thread, NULL);
	(void)pthread_mutex_destroy(&worker->lock);
	(void)pthread_cond_destroy(&worker->wake);
	worker->started = false;
}
