/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations on the ledger, one after another on the ledger's worker: read, ask ledger_next(),
 * swap, and from the beginning when somebody else was faster, until the deadline. An answer that
 * did not come is LEDGER_UNKNOWN, never a failure.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "backend/ledger.h"
#include "base/error.h"
#include "base/time.h"
#include "engine/actions.h"

/* result[0]; the record as last seen is in job->record. */
enum answer { DONE, REFUSED, UNKNOWN };

#define OP_READ LEDGER_OP_COUNT /* arg[0] of a job that only reads */
#define BACKLOG_MAX 2u /* an offer that is under way, and the revoke behind it */
#define SWAPS_MAX 64u /* lost races in one operation: somebody is writing in a loop */

static int unknown(struct job *job)
{
	job->result[0] = UNKNOWN;
	return 0;
}

static int run_read(struct session *session, struct job *job)
{
	struct hf_ledger_record record;

	if (ledger_read(&session->ledger, session->guest, &record, &job->err) < 0)
		return unknown(job);
	job->record = record;
	job->result[0] = DONE;
	return 0;
}

static int run_op(struct session *session, struct job *job)
{
	uint64_t deadline_ns = time_now_ns() + session->config.ledger_us_max * NS_PER_US;
	struct hf_ledger_record now, next, after;

	for (uint32_t i = 0; i < SWAPS_MAX && time_now_ns() < deadline_ns; i++) {
		int answer;

		error_clear(&job->err);
		if (ledger_read(&session->ledger, session->guest, &now, &job->err) < 0)
			return unknown(job);
		job->record = now;
		switch (ledger_next(&job->request, &now, &next)) {
		case LEDGER_ALREADY:
			job->result[0] = DONE;
			return 0;
		case LEDGER_REFUSE:
			job->result[0] = REFUSED;
			return 0;
		case LEDGER_WRITE:
			break;
		}
		answer = ledger_swap(&session->ledger, &next, &after, &job->err);
		if (answer == HF_LEDGER_DONE) {
			job->record = after;
			job->result[0] = DONE;
			return 0;
		}
		if (answer != HF_LEDGER_REFUSED)
			return unknown(
				job); /* it may have happened: the state machine asks again */
	}
	return unknown(job);
}

/* What an answer means to the source. */
static enum source_event source_meaning(struct session *session, const struct job *job)
{
	enum ledger_view view;

	if (job->result[0] == UNKNOWN)
		return SOURCE_E_LEDGER_UNKNOWN;
	if (job->result[0] == DONE && job->arg[0] != OP_READ)
		return SOURCE_E_LEDGER_DONE;
	if (job->arg[0] == LEDGER_OP_NOTE)
		return SOURCE_E_LEDGER_DONE; /* there is no record to note it in: nothing to wait
						for */
	view = ledger_view(&job->record, session->side, session->epoch);
	switch (view) {
	case LEDGER_VIEW_HOME:
		return SOURCE_E_LEDGER_HOME;
	case LEDGER_VIEW_OFFERED:
	case LEDGER_VIEW_CLAIMED:
		return SOURCE_E_LEDGER_CLAIMED;
	case LEDGER_VIEW_AWAY:
		return SOURCE_E_LEDGER_AWAY;
	}
	return SOURCE_E_LEDGER_UNKNOWN;
}

static enum target_event target_meaning(const struct job *job)
{
	if (job->result[0] == UNKNOWN)
		return TARGET_E_LEDGER_UNKNOWN;
	if (job->result[0] == DONE && job->arg[0] != OP_READ)
		return TARGET_E_LEDGER_DONE;
	if (job->arg[0] == LEDGER_OP_NOTE)
		return TARGET_E_LEDGER_DONE;
	/* A record that is gone says nothing: the start may have been recorded, and read. */
	if (job->arg[0] == LEDGER_OP_STARTED && !job->record.revision)
		return TARGET_E_LEDGER_UNKNOWN;
	return TARGET_E_LEDGER_HOME;
}

/* Was the record written by this side? Attempts begin with the side's id. */
static bool is_own(const struct session *session, const struct hf_ledger_record *record)
{
	size_t length = strnlen(session->side, 40); /* ledger_submit() takes no more of it */

	return strncmp(record->attempt, session->side, length) == 0 &&
	       record->attempt[length] == '/';
}

/* Do we only know that something did not come, and not why? */
static bool is_weak(const struct session *session)
{
	switch (session->error.code) {
	case 0:
	case HF_E_DEADLINE:
	case HF_E_LEDGER_UNKNOWN:
	case HF_E_IN_DOUBT:
		return true;
	default:
		return session->error_is_link;
	}
}

/* The peer left a reason in the ledger: it is better than "the connection was lost". */
static bool adopt_reason(struct session *session, const struct hf_ledger_record *record)
{
	struct hf_error err = { 0 };

	if (!record->reason_code || is_own(session, record) || !is_weak(session))
		return false;
	(void)error_set(&err, record->reason_code, 0, "%s", record->reason);
	session->error = err;
	session->error_is_peers = true;
	session->error_is_link = false;
	return true;
}

static const char *name_of(const struct job *job)
{
	return job->arg[0] == OP_READ ? "READ" : ledger_op_name((enum ledger_op)job->arg[0]);
}

/* Our own failure to get the guest, or the ledger's: said in words once. */
static void explain_refusal(struct session *session, const struct job *job)
{
	static const char *const states[] = { "?", "home", "offered", "claimed", "away" };
	const struct hf_ledger_record *record = &job->record;
	struct hf_error err = { 0 };

	if (session->error.code && !session->error_is_link)
		return;
	/* That a revoke finds the guest claimed is no failure: the target decides then. */
	if (job->result[0] != UNKNOWN &&
	    (job->arg[0] == LEDGER_OP_REVOKE || job->arg[0] == LEDGER_OP_RETURN ||
	     job->arg[0] == LEDGER_OP_TAKE_BACK || job->arg[0] == OP_READ))
		return;
	if (job->result[0] == UNKNOWN) {
		(void)error_set(&err, HF_E_LEDGER_UNKNOWN, 0, "%.80s: %s: %.120s",
				session->ledger.uri, name_of(job), job->err.text);
	} else if (job->result[0] == REFUSED) {
		(void)error_set(
			&err, HF_E_LEDGER_REFUSED, 0,
			"the ledger says that guest \"%s\" is %s, owner %s%s%s (%s asked: %s)",
			session->guest, states[record->state <= 4 ? record->state : 0],
			record->owner[0] ? record->owner : "nobody",
			record->offered_to[0] ? ", offered to " : "", record->offered_to,
			session->side, ledger_op_name((enum ledger_op)job->arg[0]));
	} else {
		return;
	}
	session->error = err;
	session->error_is_link = false;
}

static void on_ledger_done(struct session *session, const struct job *job)
{
	bool source = session_is_source(session);
	bool explaining = source ? session->source.state == SOURCE_EXPLAINING
				 : session->target.state == TARGET_EXPLAINING;

	trace(session, HF_TRACE_LEDGER, name_of(job), job->arg[0], job->result[0], session->epoch,
	      job->end_ns - job->begin_ns);
	if (job->arg[1] != session->ledger_ticket)
		return; /* superseded by a later request */
	session->ledger_busy = false;
	if (job->result[0] != UNKNOWN)
		session->record = job->record;
	else
		error_copy(&session->ledger_error, &job->err);
	if (job->arg[0] == LEDGER_OP_ENTER && job->result[0] == DONE)
		session->epoch = job->record.epoch + 1;

	if (explaining && job->arg[0] == OP_READ) {
		if (job->result[0] != UNKNOWN && adopt_reason(session, &job->record))
			session_post(session, source ? (uint32_t)SOURCE_E_LEDGER_DONE
						     : (uint32_t)TARGET_E_LEDGER_DONE);
		else
			session_post(session, source ? (uint32_t)SOURCE_E_LEDGER_HOME
						     : (uint32_t)TARGET_E_LEDGER_HOME);
		return;
	}
	/* It answers again, and the handover goes on: that is no reason any more. */
	if (job->result[0] == DONE && session->error.code == HF_E_LEDGER_UNKNOWN &&
	    (job->arg[0] == LEDGER_OP_CLAIM || job->arg[0] == LEDGER_OP_STARTED))
		error_clear(&session->error);
	/* What ENTER finds is the reason of an earlier handover. */
	if (job->arg[0] == LEDGER_OP_ENTER ||
	    (job->arg[0] != LEDGER_OP_NOTE && !adopt_reason(session, &job->record)))
		explain_refusal(session, job);
	session_post(session, source ? (uint32_t)source_meaning(session, job)
				     : (uint32_t)target_meaning(job));
}

/*
 * A ledger that hangs (a disk that does not sync, a server that does not answer) holds its worker,
 * not the session: after a while the answer counts as unknown, and what comes late is stale. While
 * it hangs, questions are not piled up behind each other.
 */
static void submit(struct session *session, struct job *job)
{
	job->done = on_ledger_done;
	job->arg[1] = ++session->ledger_ticket;
	session->ledger_busy = true;
	session->ledger_deadline_ns =
		time_now_ns() + session->config.ledger_us_max * NS_PER_US + NS_PER_S;
	session->retry_ns = NEVER;
	if (worker_backlog(&session->ledger_worker) < BACKLOG_MAX)
		worker_submit(&session->ledger_worker, job);
}

/* Without a ledger each side answers itself, at once. */
static void answer_alone(struct session *session, enum ledger_op op)
{
	bool done = op != OP_READ && no_ledger_answer(op, &session->alone);
	struct hf_error err = { 0 };

	if (op == LEDGER_OP_ENTER)
		session->epoch = 1;
	trace(session, HF_TRACE_LEDGER, op == OP_READ ? "READ" : ledger_op_name(op), op,
	      done ? DONE : UNKNOWN, session->epoch, 0);
	session->ledger_busy = false;
	session->retry_ns = NEVER;
	if (!done && (!session->error.code || session->error_is_link)) {
		(void)error_set(&err, HF_E_IN_DOUBT, 0,
				"GO was sent, and without a ledger only the target, or an "
				"operator, can say whose the guest is%s%s",
				session->error.code ? ": " : "", session->error.text);
		session->error = err;
		session->error_is_link = false;
	}
	if (session_is_source(session))
		session_post(session, done ? (uint32_t)SOURCE_E_LEDGER_DONE
					   : (uint32_t)SOURCE_E_LEDGER_UNKNOWN);
	else
		session_post(session, done ? (uint32_t)TARGET_E_LEDGER_DONE
					   : (uint32_t)TARGET_E_LEDGER_UNKNOWN);
}

void ledger_check_time(struct session *session, uint64_t now_ns)
{
	struct hf_error err = { 0 };

	if (!session->ledger_busy || now_ns < session->ledger_deadline_ns)
		return;
	session->ledger_busy = false;
	session->ledger_ticket++; /* the answer that may still come is stale */
	(void)error_set(&err, HF_E_LEDGER_UNKNOWN, 0, "%.160s: no answer for %llu ms",
			session->ledger.uri,
			(unsigned long long)(session->config.ledger_us_max / 1000 + 1000));
	if (!session->error.code || session->error_is_link) {
		session->error = err;
		session->error_is_link = false;
	}
	session_post(session, session_is_source(session) ? (uint32_t)SOURCE_E_LEDGER_UNKNOWN
							 : (uint32_t)TARGET_E_LEDGER_UNKNOWN);
}

void ledger_forget(struct session *session)
{
	if (!session->ledger_busy)
		return;
	session->ledger_busy = false;
	session->ledger_ticket++;
}

void ledger_submit(struct session *session, enum ledger_op op)
{
	struct job job = { .run = run_op, .arg = { op } };
	struct ledger_request *request = &job.request;

	if (!session->has_ledger) {
		answer_alone(session, op);
		return;
	}
	request->op = op;
	request->epoch = session->epoch;
	memcpy(request->guest, session->guest, sizeof(request->guest));
	memcpy(request->side, session->side, sizeof(request->side));
	memcpy(request->peer, session->peer_side, sizeof(request->peer));
	/* An id of its own for each attempt; the side is unique in the fleet. */
	(void)snprintf(request->attempt, sizeof(request->attempt), "%.40s/%llx.%u", session->side,
		       (unsigned long long)session->start_ns, ++session->ledger_attempts);
	if (op == LEDGER_OP_RETURN || op == LEDGER_OP_REVOKE || op == LEDGER_OP_NOTE ||
	    op == LEDGER_OP_TAKE_BACK) {
		request->reason_code = session->error.code;
		memcpy(request->reason, session->error.text, sizeof(request->reason));
	}
	submit(session, &job);
}

static int run_probe(struct session *session, struct job *job)
{
	struct hf_ledger_record record;
	int code = ledger_read(&session->ledger, session->guest, &record, &job->err);

	if (code < 0)
		return error_prepend(&job->err, "the handover is not begun");
	if (session_is_source(session))
		return 0;
	/* Two folders of one name on two hosts are two ledgers, and would decide twice. */
	if (strcmp(record.owner, session->hello.side) != 0 ||
	    record.epoch + 1 != session->hello.epoch)
		return error_set(&job->err, HF_E_LEDGER_UNEQUAL, 0,
				 "%.80s at the target does not have what the source has entered "
				 "(owner %s, epoch %llu): is it the same ledger?",
				 session->ledger.uri, record.revision ? record.owner : "nobody",
				 (unsigned long long)record.epoch);
	return 0;
}

/*
 * Does the ledger answer? Asked while the guest still runs, so that a ledger that is away costs no
 * stand-still, and what connecting to it takes is not in it.
 */
void ledger_probe(struct session *session, struct phase *phase)
{
	struct job job = { .run = run_probe, .done = phase_job_done };

	if (session->has_ledger)
		phase_submit(session, phase, &session->ledger_worker, &job);
}

void ledger_submit_read(struct session *session)
{
	struct job job = { .run = run_read, .arg = { OP_READ } };

	if (!session->has_ledger) {
		answer_alone(session, OP_READ);
		return;
	}
	submit(session, &job);
}

/*
 * Each side should learn why the other failed, also when the connection is gone: who knows the
 * reason notes it, who only knows that the connection is gone looks for one.
 */
void ledger_explain(struct session *session)
{
	uint32_t done = session_is_source(session) ? (uint32_t)SOURCE_E_LEDGER_DONE
						   : (uint32_t)TARGET_E_LEDGER_DONE;

	/* What could not be given back in time is given back now: no operator need do it. */
	if (!session_is_source(session) && session->target.claimed && session->has_ledger)
		ledger_submit(session, LEDGER_OP_RETURN);
	else if (session->error_is_peers || !session->has_ledger || !session->error.code)
		session_post(session, done);
	else if (session->error_is_link)
		ledger_submit_read(session);
	else
		ledger_submit(session, LEDGER_OP_NOTE);
}
