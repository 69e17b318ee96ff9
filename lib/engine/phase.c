/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Phases: jobs of several workers that are waited for together. All come back before the phase
 * succeeds or fails, so that nothing of it is under way when the next one begins.
 */
#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "engine/session.h"

void phase_begin(struct session *session, struct phase *phase, void (*then)(struct session *))
{
	memset(phase, 0, sizeof(*phase));
	phase->id = ++session->phase_counter;
	phase->then = then;
	phase->outstanding = 1; /* the hold of whoever begins; phase_release() ends it */
}

void phase_submit(struct session *session, struct phase *phase, struct worker *worker,
		  struct job *job)
{
	(void)session;
	assert(phase->id);
	phase->outstanding++;
	job->phase = phase->id;
	worker_submit(worker, job);
}

void phase_hold(struct phase *phase)
{
	phase->outstanding++;
}

void phase_release(struct session *session, struct phase *phase)
{
	assert(phase->outstanding > 0);
	if (--phase->outstanding > 0)
		return;
	phase->id = 0;
	if (phase->err.code)
		session_fail(session, &phase->err);
	else if (phase->then)
		phase->then(session);
}

static struct phase *phase_of(struct session *session, const struct job *job)
{
	if (job->phase && job->phase == session->main.id)
		return &session->main;
	if (job->phase && job->phase == session->side_phase.id)
		return &session->side_phase;
	return NULL;
}

bool phase_done(struct session *session, const struct job *job)
{
	return phase_of(session, job) != NULL;
}

void phase_cancel(struct phase *phase)
{
	memset(phase, 0, sizeof(*phase));
}

void phase_job_done(struct session *session, const struct job *job)
{
	struct phase *phase = phase_of(session, job);

	if (!phase)
		return;
	if (job->code < 0 && !phase->err.code)
		phase->err = job->err;
	phase_release(session, phase);
}
