/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The source's engine: events in, rows of core/source.c, actions out. No decision is made here.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/time.h"
#include "engine/actions.h"

static void post_devices_done(struct session *session)
{
	bool lost = false;

	for (uint32_t i = 0; i < session->device_count; i++)
		lost |= session->slots[i].was_reset;
	if (lost && session->config.on_device_lost != HF_DEVICE_LOST_RESUME)
		session_post(session, SOURCE_E_DEVICES_LOST);
	else
		session_post(session, SOURCE_E_DEVICES_DONE);
}

static void post_machine_done(struct session *session)
{
	session_post(session, SOURCE_E_MACHINE_DONE);
}

static void send_go(struct session *session)
{
	struct rec_go go = { .epoch = session->epoch };
	uint8_t bytes[JOB_BYTES];

	session->alone.go_sent = true;
	control_send(session, bytes, rec_go_encode(&go, bytes, sizeof(bytes)));
}

static void end(struct session *session)
{
	enum source_state state = session->source.state;

	/* What could not be set is still kept, and so is what is in doubt. */
	if (state != SOURCE_WAITING &&
	    !(state == SOURCE_LOST && session->config.restart && keep_is_whole(session)))
		keep_end(session);
	if (state == SOURCE_AWAY)
		session_end(session, HF_OUTCOME_AWAY);
	else if (state == SOURCE_LOST)
		session_end(session, HF_OUTCOME_LOST);
	else if (state == SOURCE_WAITING)
		session_end(session, HF_OUTCOME_WAITING);
	else
		session_end(session, HF_OUTCOME_HOME);
}

static void undo_devices(struct session *session)
{
	devices_undo(session, DEVICE_GOAL_RUNNING_P2P, post_devices_done);
}

static void act(struct session *session, enum source_action action)
{
	switch (action) {
	case SOURCE_A_NONE:
	case SOURCE_A_RELEASE: /* the VMM's, when it reads HF_OUTCOME_AWAY */
		return;
	case SOURCE_A_LEDGER_ENTER:
		ledger_submit(session, LEDGER_OP_ENTER);
		return;
	case SOURCE_A_CONNECT:
		control_connect(session);
		return;
	case SOURCE_A_PRECOPY:
		precopy_start(session);
		return;
	case SOURCE_A_DEVICES_QUIET:
		devices_ask(session, DEVICE_GOAL_QUIET, post_devices_done);
		return;
	case SOURCE_A_MACHINE_STOP:
		machine_stop(session, post_machine_done);
		return;
	case SOURCE_A_DEVICES_STOP_COPY:
		devices_ask(session, DEVICE_GOAL_STOP_COPY, post_devices_done);
		return;
	case SOURCE_A_DRAIN:
		precopy_drain(session);
		return;
	case SOURCE_A_SEND_END:
		control_send_end(session);
		return;
	case SOURCE_A_LEDGER_OFFER:
		ledger_submit(session, LEDGER_OP_OFFER);
		return;
	case SOURCE_A_SEND_GO:
		send_go(session);
		return;
	case SOURCE_A_LEDGER_REVOKE:
		ledger_submit(session, LEDGER_OP_REVOKE);
		return;
	case SOURCE_A_LEDGER_TAKE_BACK:
		ledger_submit(session, LEDGER_OP_TAKE_BACK);
		return;
	case SOURCE_A_LEDGER_READ:
		ledger_submit_read(session);
		return;
	case SOURCE_A_LEDGER_EXPLAIN:
		ledger_explain(session);
		return;
	case SOURCE_A_SEND_ABORT:
		control_send_abort(session);
		return;
	case SOURCE_A_CUT:
		control_cut(session);
		control_shutdown(session);
		return;
	case SOURCE_A_UNTRACK:
		precopy_untrack(session);
		return;
	case SOURCE_A_DEVICES_UNDO:
		if (session->config.restart)
			keep_restore(session, post_devices_done);
		else
			keep_drop_then(session, undo_devices);
		return;
	case SOURCE_A_DEVICES_RUN:
		/* What could not be taken up is still kept: its devices must not touch its memory.
		 */
		if (session->config.restart && keep_is_whole(session))
			devices_reset(session, post_devices_done);
		else
			devices_undo(session, DEVICE_GOAL_RUNNING, post_devices_done);
		return;
	case SOURCE_A_MACHINE_RUN:
		machine_run(session, post_machine_done);
		return;
	case SOURCE_A_TOO_LATE:
		session->too_late = true;
		return;
	case SOURCE_A_END:
		end(session);
		return;
	case SOURCE_ACTION_COUNT:
		break;
	}
	assert(0);
}

/* How long a state may be waited in; bytes that flow renew it. 0: its own jobs have deadlines. */
static uint64_t state_us_max(const struct session *session)
{
	const struct hf_config *config = &session->config;

	switch (session->source.state) {
	case SOURCE_HELLO:
		return config->wait_us_max + config->arc_us_max;
	case SOURCE_PRECOPY:
	case SOURCE_DRAINING:
	case SOURCE_COMMITTING:
		return config->wait_us_max;
	case SOURCE_PROVING:
		return config->wait_us_max + config->arc_us_max;
	case SOURCE_QUIETING:
	case SOURCE_QUIESCING:
	case SOURCE_STOPPING:
		return config->arc_us_max;
	case SOURCE_UNDOING: /* the way home is worth more patience: its end is a paused guest */
	case SOURCE_REVIVING:
	case SOURCE_RESUMING:
	case SOURCE_PAUSING:
	case SOURCE_LOSING:
		return 4 * config->arc_us_max;
	case SOURCE_ENTERING:
	case SOURCE_OFFERING:
		return 2 * config->ledger_us_max;
	case SOURCE_IDLE:
	case SOURCE_REVOKING:
	case SOURCE_DOUBT:
	case SOURCE_CLAIMED:
	case SOURCE_TAKING_BACK:
	case SOURCE_EXPLAINING:
	case SOURCE_HOME:
	case SOURCE_AWAY:
	case SOURCE_LOST:
	case SOURCE_WAITING:
	case SOURCE_STATE_COUNT:
		return 0;
	}
	return 0;
}

static bool in_doubt(enum source_state state)
{
	return state == SOURCE_REVOKING || state == SOURCE_DOUBT || state == SOURCE_CLAIMED ||
	       state == SOURCE_TAKING_BACK;
}

/* Set the clocks of the state we have come to. */
static void arm(struct session *session, enum source_state before)
{
	enum source_state state = session->source.state;
	uint64_t now = time_now_ns(), us = state_us_max(session);

	if (state != before) {
		session->state_deadline_ns = us ? now + us * NS_PER_US : NEVER;
		session->watched_bytes = atomic_load(&session->totals.wire_bytes);
	}
	if (in_doubt(state) && !in_doubt(before))
		session->give_up_ns = now + session->config.doubt_us_max * NS_PER_US;
	else if (state == SOURCE_EXPLAINING && before != SOURCE_EXPLAINING)
		session->give_up_ns = now + EXPLAIN_MAX_NS;
	else if (!in_doubt(state) && state != SOURCE_EXPLAINING)
		session->give_up_ns = NEVER;

	session->retry_ns = NEVER;
	if ((state == SOURCE_DOUBT || state == SOURCE_CLAIMED) && !session->ledger_busy) {
		session->retry_ns = now + RETRY_NS;
		if (state != before)
			trace(session, HF_TRACE_WAITING, source_state_text(state), 0, 0, 0, 0);
	}
	if (state == SOURCE_EXPLAINING && !session->ledger_busy)
		session->retry_ns = now + EXPLAIN_NS;
}

void source_apply(struct session *session, enum source_event event)
{
	enum source_state before = session->source.state;
	const struct source was = session->source;
	const struct source_row *row;
	bool unexpected;

	row = source_step(&session->source, event, &unexpected);
	record_source(session, &was, event, row, unexpected);
	if (unexpected && !source_ended(before)) {
		struct hf_error err = { 0 };

		(void)error_set(&err, HF_E_PROTOCOL, 0, "%s came while waiting for %s",
				source_event_name(event), source_state_text(before));
		if (!session->error.code)
			session->error = err;
	}
	if (row->next != before || event != SOURCE_E_FAIL) {
		char text[128];

		(void)snprintf(text, sizeof(text), "%s -> %s (%s)", source_state_name(before),
			       source_state_name(row->next), source_event_name(event));
		trace(session, HF_TRACE_TRANSITION, text, before, row->next, event, 0);
	}
	if (row->next != before) {
		ledger_forget(session);
		session->forgiven = 0;
	}
	for (int i = 0; i < SOURCE_ACTIONS_MAX && row->actions[i] != SOURCE_A_NONE; i++)
		act(session, row->actions[i]);
	arm(session, before);
}

static void take_accept(struct session *session)
{
	struct rec_accept accept;
	struct hf_error err = { 0 };

	if (rec_accept_decode(session->frame.body, session->frame.record.length, &accept) < 0)
		(void)error_set(&err, HF_E_PROTOCOL, 0, "ACCEPT does not decode");
	else if (strcmp(accept.ledger, session->ledger.uri) != 0)
		(void)error_set(&err, HF_E_LEDGER_UNEQUAL, 0,
				"the target's ledger is %.90s, this side's is %.90s", accept.ledger,
				session->ledger.uri);
	else if (accept.channels > session->channel_count)
		(void)error_set(&err, HF_E_PROTOCOL, 0, "ACCEPT grants %u channels, %u were wanted",
				accept.channels, session->channel_count);
	else if (accept.chunk_bytes_max < WIRE_CHUNK_BYTES_MAX)
		(void)error_set(&err, HF_E_UNSUPPORTED, 0,
				"the target takes records of %u bytes only",
				accept.chunk_bytes_max);
	if (err.code) {
		session_fail(session, &err);
		return;
	}
	session->channel_count = accept.channels;
	memcpy(session->token, accept.token, sizeof(session->token));
	memcpy(session->peer_side, accept.side, sizeof(session->peer_side));
	record_peer(session, session->session_id, accept.side);
	control_attach(session);
}

static void take_returned(struct session *session)
{
	struct rec_returned returned;
	struct hf_error err = { 0 };

	if (rec_returned_decode(session->frame.body, session->frame.record.length, &returned) < 0 ||
	    returned.epoch != session->epoch) {
		(void)error_set(&err, HF_E_PROTOCOL, 0, "RETURNED does not decode");
		session_fail(session, &err);
		return;
	}
	session_peer_failed(session, &returned.error);
	session->alone.declined = true;
	session_post(session, SOURCE_E_RETURNED);
}

static void take_started(struct session *session)
{
	struct rec_started started;
	struct hf_error err = { 0 };

	if (rec_started_decode(session->frame.body, session->frame.record.length, &started) < 0 ||
	    started.epoch != session->epoch) {
		(void)error_set(&err, HF_E_PROTOCOL, 0, "STARTED does not decode");
		session_fail(session, &err);
		return;
	}
	session->resumed_ns = time_now_ns();
	session_post(session, SOURCE_E_STARTED);
}

static void take_abort(struct session *session)
{
	struct rec_abort abort_;
	struct hf_error err = { 0 };

	if (rec_abort_decode(session->frame.body, session->frame.record.length, &abort_) < 0) {
		(void)error_set(&err, HF_E_PROTOCOL, 0, "ABORT does not decode");
		session_fail(session, &err);
		return;
	}
	session_peer_failed(session, &abort_.error);
	session->alone.declined = true;
	session_post(session, SOURCE_E_ABORT);
}

static void take_primed(struct session *session, uint32_t device)
{
	if (device >= session->device_count)
		return; /* order_record() has refused it */
	session->slots[device].primed = true;
	trace(session, HF_TRACE_PRIMED, session->slots[device].device.name, device, 0, 0, 0);
	precopy_primed(session);
}

void source_control_record(struct session *session)
{
	const struct frame *frame = &session->frame;
	struct rec_primed primed = { 0 };
	struct rec_keepalive keepalive = { 0 };
	struct order_args args = { 0 };
	struct hf_error err = { 0 };
	const char *why = "does not decode";
	int code = 0;

	if (frame->record.type == REC_PRIMED)
		code = rec_primed_decode(frame->body, frame->record.length, &primed);
	if (frame->record.type == REC_KEEPALIVE)
		code = rec_keepalive_decode(frame->body, frame->record.length, &keepalive);
	args.device = primed.device;
	args.counter = keepalive.counter;
	if (code == 0)
		code = order_record(&session->order, frame->record.type, &args, &why);
	if (code < 0) {
		(void)error_set(&err, HF_E_PROTOCOL, 0, "%s: %s", rec_name(frame->record.type),
				why);
		control_breach(session, &err);
		return;
	}
	switch (frame->record.type) {
	case REC_ACCEPT:
		take_accept(session);
		return;
	case REC_PRIMED:
		take_primed(session, primed.device);
		return;
	case REC_LOADED:
		session_post(session, SOURCE_E_LOADED);
		return;
	case REC_STARTED:
		take_started(session);
		return;
	case REC_RETURNED:
		take_returned(session);
		return;
	case REC_ABORT:
		take_abort(session);
		return;
	default:
		return; /* KEEPALIVE, BYE: that they came is all */
	}
}
