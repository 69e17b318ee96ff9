/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session's loop: completions, the control connection, passed deadlines and the operator's
 * cancel become events; events are applied one at a time. Creation and end are in setup.c.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/error.h"
#include "base/export.h"
#include "base/time.h"
#include "engine/actions.h"
#include "engine/loop.h"

#define EVENTS_MAX (sizeof(((struct session *)0)->events) / sizeof(uint32_t))
#define FORGIVEN_MAX 8u /* absences in one state */
#define LAST_WORDS_NS (2 * NS_PER_S) /* for what is still to be sent when everything has ended */

bool session_is_source(const struct session *session)
{
	return session->config.role == HF_ROLE_SOURCE;
}

static uint32_t state_of(const struct session *session)
{
	return session_is_source(session) ? (uint32_t)session->source.state
					  : (uint32_t)session->target.state;
}

void session_post(struct session *session, uint32_t event)
{
	uint32_t slot = (session->event_head + session->event_count) % EVENTS_MAX;

	assert(session->event_count < EVENTS_MAX);
	session->events[slot] = event;
	session->event_states[slot] = state_of(session);
	session->event_count++;
}

/*
 * One mishap shows in several places: a lost connection fails a record under way as well. When the
 * first of these events has turned the session back, the others are no failure of the way back.
 */
static bool is_echo(const struct session *session, uint32_t event, uint32_t happened_in)
{
	if (session_is_source(session))
		return event == SOURCE_E_FAIL && happened_in < SOURCE_UNDOING &&
		       session->source.state >= SOURCE_UNDOING;
	return event == TARGET_E_FAIL && happened_in < TARGET_HALTING &&
	       session->target.state >= TARGET_HALTING;
}

/* Is it an answer to what a state asked for, or a timer of that state? */
static bool source_is_answer(enum source_event event)
{
	switch (event) {
	case SOURCE_E_ACCEPTED:
	case SOURCE_E_CONVERGED:
	case SOURCE_E_DEVICES_DONE:
	case SOURCE_E_DEVICES_LOST:
	case SOURCE_E_MACHINE_DONE:
	case SOURCE_E_DRAINED:
	case SOURCE_E_LEDGER_DONE:
	case SOURCE_E_LEDGER_HOME:
	case SOURCE_E_LEDGER_CLAIMED:
	case SOURCE_E_LEDGER_AWAY:
	case SOURCE_E_LEDGER_UNKNOWN:
	case SOURCE_E_RETRY:
	case SOURCE_E_GIVE_UP:
		return true;
	case SOURCE_E_START:
	case SOURCE_E_RESTART:
	case SOURCE_E_LOADED:
	case SOURCE_E_STARTED:
	case SOURCE_E_RETURNED:
	case SOURCE_E_ASK:
	case SOURCE_E_TAKE_BACK:
	case SOURCE_E_LET_GO:
	case SOURCE_E_CANCEL:
	case SOURCE_E_ABORT:
	case SOURCE_E_LOST:
	case SOURCE_E_FAIL:
	case SOURCE_EVENT_COUNT:
		return false;
	}
	return false;
}

static bool target_is_answer(enum target_event event)
{
	switch (event) {
	case TARGET_E_PREPARED:
	case TARGET_E_DEVICES_DONE:
	case TARGET_E_MACHINE_DONE:
	case TARGET_E_LEDGER_DONE:
	case TARGET_E_LEDGER_HOME:
	case TARGET_E_LEDGER_UNKNOWN:
	case TARGET_E_RETRY:
	case TARGET_E_GIVE_UP:
		return true;
	case TARGET_E_START:
	case TARGET_E_CONNECTED:
	case TARGET_E_GREETED:
	case TARGET_E_ENDED:
	case TARGET_E_GO:
	case TARGET_E_CANCEL:
	case TARGET_E_ABORT:
	case TARGET_E_LOST:
	case TARGET_E_FAIL:
	case TARGET_EVENT_COUNT:
		return false;
	}
	return false;
}

/*
 * An answer that was queued behind the event that left its state answers nothing any more: taken
 * for the answer to what the new state asked, the end of an offer would be the end of a revoke
 * (docs/invariants.md, "What the tables ask of the engine").
 */
static bool is_stale(struct session *session, uint32_t event, uint32_t happened_in)
{
	if (happened_in == state_of(session))
		return false;
	if (!(session_is_source(session) ? source_is_answer((enum source_event)event)
					 : target_is_answer((enum target_event)event)))
		return false;
	/* The time to give up was that of several states; it has not gone by unheard. */
	if ((event == (session_is_source(session) ? (uint32_t)SOURCE_E_GIVE_UP
						  : (uint32_t)TARGET_E_GIVE_UP)) &&
	    session->give_up_ns == NEVER)
		session->give_up_ns = time_now_ns() + RETRY_NS;
	return true;
}

/* On the way back, and once it has claimed, a broken connection is no failure of what is done. */
static bool is_beyond_links(const struct session *session)
{
	return session_is_source(session) ? session->source.state >= SOURCE_REVOKING
					  : session->target.state >= TARGET_CLAIMING;
}

static bool has_ended(const struct session *session)
{
	return session_is_source(session) ? source_ended(session->source.state)
					  : target_ended(session->target.state);
}

static void post_fail(struct session *session)
{
	session_post(session, session_is_source(session) ? (uint32_t)SOURCE_E_FAIL
							 : (uint32_t)TARGET_E_FAIL);
}

/* The first failure wins; but "the connection is gone" yields to any better reason. */
static void keep(struct session *session, const struct hf_error *err, bool link)
{
	if (session->error.code && (link || !session->error_is_link))
		return;
	error_copy(&session->error, err);
	session->error_is_link = link;
	session->error_is_peers = false;
	trace(session, HF_TRACE_FAILED, session->error.text, (uint64_t)-session->error.code,
	      (uint64_t)session->error.cause, 0, 0);
}

#define HOME_FAILURE_MAX 120 /* characters of it; as many are left for what turned it back */

/* On the way home a failure is another one than the one that turned it back: both are told. */
static bool fails_at_home(const struct session *session)
{
	enum source_state state = session->source.state;

	return session_is_source(session) &&
	       (state == SOURCE_UNDOING || state == SOURCE_REVIVING || state == SOURCE_RESUMING ||
		state == SOURCE_PAUSING || state == SOURCE_LOSING);
}

static void add_failure(struct session *session, const struct hf_error *err)
{
	struct hf_error both = { 0 };

	/* The same device fails the same way in each step home: the first reason is not pushed out.
	 */
	if (strncmp(session->error.text, err->text, HOME_FAILURE_MAX) == 0)
		return;
	(void)error_set(&both, err->code, 0, "%.*s%s%.120s", HOME_FAILURE_MAX, err->text,
			session->error.code ? "; it came home because of: " : "",
			session->error.text);
	both.cause = err->cause;
	session->error = both;
	session->error_is_link = session->error_is_peers = false;
	trace(session, HF_TRACE_FAILED, session->error.text, (uint64_t)-err->code,
	      (uint64_t)err->cause, 0, 0);
}

void session_fail(struct session *session, const struct hf_error *err)
{
	bool link = err->code == HF_E_CONNECTION_LOST;

	if (has_ended(session))
		return;
	if (fails_at_home(session) && !link) {
		add_failure(session, err);
		post_fail(session);
		return;
	}
	if (link && is_beyond_links(session)) {
		keep(session, err, link);
		return;
	}
	if (link && session->grace_ns != NEVER)
		return; /* the same again, while we wait for a better reason */
	keep(session, err, link);
	if (link && session->control_open && !session->control_closed && !session->control_deaf) {
		/* The peer's ABORT may be on its way on the control connection. */
		session->grace_ns = time_now_ns() + GRACE_NS;
		return;
	}
	post_fail(session);
}

void session_lost(struct session *session, const struct hf_error *err)
{
	session->grace_ns = NEVER;
	if (has_ended(session))
		return;
	keep(session, err, true);
	session_post(session, session_is_source(session) ? (uint32_t)SOURCE_E_LOST
							 : (uint32_t)TARGET_E_LOST);
}

void session_peer_failed(struct session *session, const struct hf_error *err)
{
	session->grace_ns = NEVER;
	if (has_ended(session) || (session->error.code && !session->error_is_link))
		return;
	session->error = *err;
	session->error_is_peers = true;
	session->error_is_link = false;
	trace(session, HF_TRACE_FAILED, session->error.text, (uint64_t)-session->error.code,
	      (uint64_t)session->error.cause, 1, 0);
}

void session_end(struct session *session, enum hf_outcome outcome)
{
	session->outcome = outcome;
	session->ending = true;
	session->end_ns = time_now_ns();
	session->last_words_ns = session->end_ns + LAST_WORDS_NS;
	session->ending_ns = session->last_words_ns + session->config.arc_us_max * NS_PER_US;
	if (outcome == HF_OUTCOME_AWAY || outcome == HF_OUTCOME_RUNNING)
		error_clear(&session->error);
	else if (!session->error.code)
		(void)error_set(&session->error, HF_E_BUG, 0, "ended without a reason");
	control_shutdown(session);
}

/* ---- time ---------------------------------------------------------------------------------- */

static bool is_connected(const struct session *session)
{
	return session->control_open && !session->control_closed && !session->control_deaf &&
	       !session->bye_sent;
}

/* Is a peer expected to give signs of life? */
static bool peer_matters(const struct session *session)
{
	if (!is_connected(session))
		return false;
	if (session_is_source(session))
		return session->source.state >= SOURCE_HELLO &&
		       session->source.state < SOURCE_REVOKING;
	return session->target.state >= TARGET_GREETING && session->target.state <= TARGET_LOADED;
}

/*
 * Is the peer to be told that this side lives? A source's silence means nothing to a target that
 * has begun to claim, but the target's own would make a slow start look like a lost connection.
 */
static bool peer_is_told(const struct session *session)
{
	return peer_matters(session) ||
	       (!session_is_source(session) && is_connected(session) &&
		session->target.state > TARGET_LOADED && !target_ended(session->target.state));
}

static uint64_t silence_ns(const struct session *session)
{
	return atomic_load(&session->heard_ns) + session->config.wait_us_max * NS_PER_US;
}

static uint64_t content_bytes(struct session *session)
{
	return atomic_load(&session->totals.page_bytes) +
	       atomic_load(&session->totals.device_bytes) +
	       atomic_load(&session->totals.zero_pages);
}

static const char *waited_for(const struct session *session)
{
	return session_is_source(session) ? source_state_text(session->source.state)
					  : target_state_text(session->target.state);
}

static void state_deadline_passed(struct session *session, uint64_t now)
{
	struct hf_error err = { 0 };
	uint64_t bytes = content_bytes(session);

	if (session_is_source(session) && bytes != session->watched_bytes &&
	    (session->source.state == SOURCE_PRECOPY || session->source.state == SOURCE_DRAINING)) {
		session->watched_bytes = bytes;
		session->state_deadline_ns = now + session->config.wait_us_max * NS_PER_US;
		return;
	}
	if (session_is_source(session) && session->source.state == SOURCE_PRECOPY &&
	    now < session->precopy.begin_ns + session->config.deadline_us * NS_PER_US) {
		session->state_deadline_ns =
			session->precopy.begin_ns + session->config.deadline_us * NS_PER_US;
		return; /* it waits for devices: precopy's own deadline counts */
	}
	/* Nobody else can run the guest: to give it up would not help it. So this is only said. */
	if (session_is_source(session) ? session->source.state == SOURCE_RESUMING
				       : session->target.state == TARGET_RESUMING) {
		trace(session, HF_TRACE_WAITING, waited_for(session), 0, 0, 0, 0);
		session->state_deadline_ns = now + session->config.arc_us_max * NS_PER_US;
		return;
	}
	session->state_deadline_ns = NEVER;
	if (session_is_source(session) && precopy_waits_for(session)[0])
		(void)error_set(
			&err, HF_E_DEADLINE, 0,
			"device \"%s\" was not primed in time: its initial data does not end",
			precopy_waits_for(session));
	else
		(void)error_set(&err, HF_E_DEADLINE, 0, "waited too long for %s",
				waited_for(session));
	/* Patience that ended is no reason yet: the ledger, or the target, may have one. */
	keep(session, &err,
	     session_is_source(session) && session->source.state == SOURCE_COMMITTING);
	/* What still comes of it answers nothing in the state that follows. */
	phase_cancel(&session->main);
	post_fail(session);
}

static void peer_is_silent(struct session *session)
{
	struct hf_error err = { 0 };

	(void)error_set(&err, HF_E_DEADLINE, 0, "no sign of life from the %s for %llu ms",
			session_is_source(session) ? "target" : "source",
			(unsigned long long)(session->config.wait_us_max / 1000));
	session->control_closed = true; /* no more is expected from there */
	loop_unwatch(session, channel_fd(&session->control));
	channel_shutdown(&session->control);
	session_lost(session, &err);
}

static bool passed(uint64_t *deadline_ns, uint64_t now)
{
	if (*deadline_ns > now)
		return false;
	*deadline_ns = NEVER;
	return true;
}

static void give_up(struct session *session)
{
	bool has_row = session_is_source(session)
			       ? source_row(session->source.state, SOURCE_E_GIVE_UP) != NULL
			       : target_row(session->target.state, TARGET_E_GIVE_UP) != NULL;
	struct hf_error err = { 0 };

	if (!has_row) {
		session->give_up_ns = time_now_ns() + RETRY_NS; /* a question is under way */
		return;
	}
	if (session_is_source(session) && session->source.state != SOURCE_EXPLAINING) {
		if (session->error.code != HF_E_IN_DOUBT || !session->began_error.code)
			session->began_error = session->error;
		/* What it waits for now is what an operator has to know first. */
		(void)error_set(&err, HF_E_IN_DOUBT, 0, "waited too long for %s%s%.90s%s%.90s",
				waited_for(session), session->ledger_error.code ? ": " : "",
				session->ledger_error.text,
				session->began_error.code ? "; it began with: " : "",
				session->began_error.text);
		session->error = err;
		session->error_is_link = session->error_is_peers = false;
	} else if (!session_is_source(session) && session->target.state != TARGET_EXPLAINING) {
		(void)error_set(&err, HF_E_IN_DOUBT, 0, "waited too long for %s",
				waited_for(session));
		keep(session, &err, false);
	}
	session_post(session, session_is_source(session) ? (uint32_t)SOURCE_E_GIVE_UP
							 : (uint32_t)TARGET_E_GIVE_UP);
}

static void postpone(uint64_t *deadline_ns, uint64_t by_ns)
{
	if (*deadline_ns != NEVER)
		*deadline_ns += by_ns;
}

/*
 * A loop that wakes much later than it asked to was stopped itself, perhaps with all of its host:
 * it cannot say then that the other side was silent, or anybody late, and what is under way gets a
 * moment. Not for ever: on a host that never wakes it in time, deadlines pass all the same.
 */
static void forgive_absence(struct session *session, uint64_t now)
{
	uint64_t heard = atomic_load(&session->heard_ns), wake = session->wake_ns, away;

	if (!wake || wake > now)
		return;
	session->wake_ns = now;
	if (now - wake < KEEPALIVE_NS || session->forgiven == FORGIVEN_MAX)
		return;
	session->forgiven++;
	away = now - wake + KEEPALIVE_NS;
	/* If it fails, the peer was heard just now. */
	(void)atomic_compare_exchange_strong(&session->heard_ns, &heard,
					     heard + away < now ? heard + away : now);
	postpone(&session->state_deadline_ns, away);
	postpone(&session->give_up_ns, away);
	postpone(&session->ledger_deadline_ns, away);
	postpone(&session->last_words_ns, away);
	postpone(&session->ending_ns, away);
	for (uint32_t i = 0; i < PENDING_MAX; i++)
		postpone(&session->pending[i].deadline_ns, away);
}

static void check_time(struct session *session)
{
	uint64_t now = time_now_ns();

	forgive_absence(session, now);
	pending_expire(session, now);
	/* What has happened already comes first: it may be what was waited for. */
	if (session->state_deadline_ns <= now && !session->event_count)
		state_deadline_passed(session, now);
	if (passed(&session->grace_ns, now) && !is_beyond_links(session))
		post_fail(session);
	if (passed(&session->poll_ns, now))
		precopy_poll(session);
	ledger_check_time(session, now);
	/* Not both at once: a question that is asked again would put off giving up, for ever. */
	if (passed(&session->give_up_ns, now))
		give_up(session);
	else if (passed(&session->retry_ns, now))
		session_post(session, session_is_source(session) ? (uint32_t)SOURCE_E_RETRY
								 : (uint32_t)TARGET_E_RETRY);
	if (peer_matters(session) && silence_ns(session) <= now)
		peer_is_silent(session);
	if (session->keepalive_ns <= now) {
		session->keepalive_ns = now + KEEPALIVE_NS;
		if (peer_is_told(session))
			control_keepalive(session);
	}
}

HF_EXPORT uint64_t hf_session_deadline(const struct hf_session *handle)
{
	const struct session *session = (const struct session *)handle;
	const uint64_t all[] = {
		session->state_deadline_ns,
		session->retry_ns,
		session->give_up_ns,
		session->grace_ns,
		session->poll_ns,
		session->ledger_busy ? session->ledger_deadline_ns : NEVER,
		session->control_open && !session->ending ? session->keepalive_ns : NEVER,
		peer_matters(session) ? silence_ns(session) : NEVER,
		session->ending ? session->ending_ns : NEVER,
		session->ending && session->last_words_ns > time_now_ns() ? session->last_words_ns
									  : NEVER,
	};
	uint64_t deadline = session->stepped ? NEVER : 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] < deadline)
			deadline = all[i];
	for (uint32_t i = 0; i < PENDING_MAX; i++)
		if (session->pending[i].used && session->pending[i].deadline_ns < deadline)
			deadline = session->pending[i].deadline_ns;
	return deadline;
}

/* ---- the loop ------------------------------------------------------------------------------ */

static void dispatch(struct session *session, uint32_t tag)
{
	uint64_t count;

	switch (tag) {
	case LOOP_WAKE:
		(void)!read(session->wake_fd, &count, sizeof(count));
		return;
	case LOOP_COMPLETIONS:
		(void)!read(session->completions.event_fd, &count, sizeof(count));
		return;
	case LOOP_CONTROL:
		if (control_lingers(session))
			control_drain(session);
		else if (is_connected(session))
			control_readable(session);
		return;
	case LOOP_LISTENER:
		accept_ready(session);
		return;
	default:
		pending_ready(session, tag - LOOP_PENDING);
		return;
	}
}

static bool take_ready(struct session *session)
{
	struct epoll_event ready[16];
	int count = epoll_wait(session->epoll_fd, ready, 16, 0);

	for (int i = 0; i < count; i++)
		dispatch(session, ready[i].data.u32);
	return count > 0;
}

static bool take_completions(struct session *session)
{
	struct job job;
	bool any = false;

	while (completions_take(&session->completions, &job)) {
		any = true;
		job.done(session, &job);
	}
	return any;
}

/* The guest is the source's, and on its way to the target. */
static bool can_cancel(const struct session *session)
{
	return session_is_source(session) ? source_can_cancel(session->source.state)
					  : target_can_cancel(session->target.state);
}

static void take_cancel(struct session *session)
{
	struct hf_error err = { 0 };

	if (!atomic_load(&session->cancel_asked) || session->cancel_seen)
		return;
	session->cancel_seen = true;
	if (has_ended(session))
		return;
	if (can_cancel(session)) {
		(void)error_set(&err, HF_E_CANCELLED, 0, "cancelled");
		keep(session, &err, false);
	}
	session_post(session, session_is_source(session) ? (uint32_t)SOURCE_E_CANCEL
							 : (uint32_t)TARGET_E_CANCEL);
}

static bool apply_events(struct session *session)
{
	bool any = false;

	while (session->event_count) {
		uint32_t event = session->events[session->event_head];
		uint32_t happened_in = session->event_states[session->event_head];
		bool echo = is_echo(session, event, happened_in);
		bool stale = !echo && is_stale(session, event, happened_in);

		session->event_head = (session->event_head + 1) % EVENTS_MAX;
		session->event_count--;
		any = true;
		if (echo || stale) {
			record_dropped(session, event, happened_in, stale);
			continue;
		}
		if (session_is_source(session))
			source_apply(session, (enum source_event)event);
		else
			target_apply(session, (enum target_event)event);
		atomic_store(&session->state_now, session_is_source(session)
							  ? (uint32_t)session->source.state
							  : (uint32_t)session->target.state);
	}
	return any;
}

/* Jobs that nobody waits for any more, such as the end of dirty tracking: hf_session_free() would.
 */
static bool all_idle(struct session *session)
{
	bool idle = worker_idle(&session->machine_worker);

	for (uint32_t i = 0; idle && i < session->device_count; i++)
		idle = worker_idle(&session->slots[i].worker);
	return idle;
}

static void maybe_done(struct session *session)
{
	uint64_t now = time_now_ns();

	if (!session->ending || session->ended)
		return;
	if (!worker_idle(&session->link_worker) && now < session->last_words_ns)
		return;
	if (control_lingers(session) && now < session->last_words_ns)
		return;
	if (!all_idle(session) && now < session->ending_ns)
		return;
	if (session->control_open)
		channel_shutdown(&session->control); /* whoever still hangs on it comes back */
	session->ended = true;
	trace(session, HF_TRACE_OUTCOME, hf_outcome_name(session->outcome), session->outcome,
	      progress_us(session->stopped_ns, session->resumed_ns),
	      progress_us(session->start_ns, session->end_ns), 0);
}

/* Behind the offer, and on the way home, it changes nothing: no operation of ours has failed. */
static void take_failure(struct session *session)
{
	if (atomic_load(&session->failure_asked) != 2 || session->failure_seen)
		return;
	session->failure_seen = true;
	if (can_cancel(session))
		session_fail(session, &session->failure);
}

HF_EXPORT int hf_session_step(struct hf_session *handle)
{
	struct session *session = (struct session *)handle;
	bool any = true;

	if (session->ended)
		return HF_STEP_DONE;
	if (!session->stepped) {
		session->stepped = true;
		session->start_ns = time_now_ns();
		if (session->config.restart)
			session_post(session, SOURCE_E_RESTART);
		else
			session_post(session, session_is_source(session)
						      ? (uint32_t)SOURCE_E_START
						      : (uint32_t)TARGET_E_START);
	}
	while (any) {
		any = take_ready(session);
		any |= take_completions(session);
		take_cancel(session);
		take_failure(session);
		check_time(session);
		any |= apply_events(session);
	}
	maybe_done(session);
	progress_update(session);
	session->wake_ns = hf_session_deadline(handle);
	return session->ended ? HF_STEP_DONE : HF_STEP_WAIT;
}

HF_EXPORT int hf_session_run(struct hf_session *handle, struct hf_error *err)
{
	struct pollfd ready = { .fd = hf_session_fd(handle), .events = POLLIN };
	int step;

	while ((step = hf_session_step(handle)) == HF_STEP_WAIT) {
		uint64_t deadline = hf_session_deadline(handle), now = time_now_ns();
		uint64_t wait = deadline > now ? deadline - now : 0;
		struct timespec timeout = { .tv_sec = (time_t)(wait / NS_PER_S),
					    .tv_nsec = (long)(wait % NS_PER_S) };

		(void)ppoll(&ready, 1, deadline == NEVER ? NULL : &timeout, NULL);
	}
	if (step < 0)
		return error_set(err, step, 0, "a step of the session failed");
	if (hf_session_outcome(handle) == HF_OUTCOME_AWAY ||
	    hf_session_outcome(handle) == HF_OUTCOME_RUNNING)
		return 0;
	if (err)
		*err = *hf_session_error(handle);
	return hf_session_error(handle)->code;
}
