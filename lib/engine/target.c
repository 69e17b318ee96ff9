/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target's engine: events in, rows of core/target.c, actions out. No decision is made here.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/bitmap.h"
#include "base/error.h"
#include "base/time.h"
#include "engine/actions.h"

static void post_devices_done(struct session *session)
{
	session_post(session, TARGET_E_DEVICES_DONE);
}

static void post_machine_done(struct session *session)
{
	session_post(session, TARGET_E_MACHINE_DONE);
}

static void post_prepared(struct session *session)
{
	session_post(session, TARGET_E_PREPARED);
}

static void on_checked(struct session *session)
{
	devices_ask(session, DEVICE_GOAL_RESUMING, post_prepared);
}

/* The machine's check and the ledger's first: they may refuse before any device is touched. */
static void prepare(struct session *session)
{
	phase_begin(session, &session->main, on_checked);
	machine_check(session, &session->main);
	ledger_probe(session, &session->main);
	phase_release(session, &session->main);
}

static void greet(struct session *session)
{
	session->arena.used = session->arena.count = 0;
	/* What follows comes through control_readable(). Our own header first. */
	control_greet_back(session);
}

static void send_loaded(struct session *session)
{
	struct rec_loaded loaded = { .verify_us =
					     (time_now_ns() - session->end_ns_seen) / NS_PER_US };
	uint8_t bytes[JOB_BYTES];

	control_send(session, bytes, rec_loaded_encode(&loaded, bytes, sizeof(bytes)));
}

static void send_started(struct session *session)
{
	struct rec_started started = {
		.epoch = session->epoch,
		.start_us = (session->resumed_ns > session->end_ns_seen
				     ? session->resumed_ns - session->end_ns_seen
				     : time_now_ns() - session->end_ns_seen) /
			    NS_PER_US,
	};
	uint8_t bytes[JOB_BYTES];

	if (!session->control_closed)
		control_send(session, bytes, rec_started_encode(&started, bytes, sizeof(bytes)));
}

static void send_returned(struct session *session)
{
	struct rec_returned returned = { .epoch = session->epoch, .error = session->error };
	uint8_t bytes[JOB_BYTES];

	if (!session->control_closed)
		control_send(session, bytes, rec_returned_encode(&returned, bytes, sizeof(bytes)));
}

static void accept_and_load(struct session *session)
{
	greet_send_accept(session);
	load_start(session);
}

static void end(struct session *session)
{
	if (session->target.state == TARGET_RUNNING)
		session_end(session, HF_OUTCOME_RUNNING);
	else if (session->target.state == TARGET_HELD)
		session_end(session, HF_OUTCOME_WAITING);
	else
		session_end(session, HF_OUTCOME_FAILED);
}

static void act(struct session *session, enum target_action action)
{
	switch (action) {
	case TARGET_A_NONE:
		return;
	case TARGET_A_LISTEN:
		accept_listen(session);
		return;
	case TARGET_A_GREET:
		greet(session);
		return;
	case TARGET_A_PREPARE:
		prepare(session);
		return;
	case TARGET_A_SEND_ACCEPT:
		accept_and_load(session);
		return;
	case TARGET_A_DEVICES_STOP:
		devices_ask(session, DEVICE_GOAL_STOP, post_devices_done);
		return;
	case TARGET_A_MACHINE_LOAD:
		machine_load(session, post_machine_done);
		return;
	case TARGET_A_SEND_LOADED:
		send_loaded(session);
		return;
	case TARGET_A_LEDGER_CLAIM:
		ledger_submit(session, LEDGER_OP_CLAIM);
		return;
	case TARGET_A_DEVICES_P2P:
		devices_ask(session, DEVICE_GOAL_RUNNING_P2P, post_devices_done);
		return;
	case TARGET_A_DEVICES_RUN:
		devices_ask(session, DEVICE_GOAL_RUNNING, post_devices_done);
		return;
	case TARGET_A_LEDGER_STARTED:
		ledger_submit(session, LEDGER_OP_STARTED);
		return;
	case TARGET_A_MACHINE_RUN:
		machine_run(session, post_machine_done);
		return;
	case TARGET_A_SEND_STARTED:
		send_started(session);
		return;
	case TARGET_A_DEVICES_HALT:
		devices_halt(session, post_devices_done);
		return;
	case TARGET_A_LEDGER_RETURN:
		ledger_submit(session, LEDGER_OP_RETURN);
		return;
	case TARGET_A_SEND_RETURNED:
		send_returned(session);
		return;
	case TARGET_A_SEND_ABORT:
		control_send_abort(session);
		return;
	case TARGET_A_CUT:
		control_cut(session);
		control_shutdown(session);
		return;
	case TARGET_A_DEVICES_RESET:
		phase_cancel(&session->side_phase);
		devices_reset(session, post_devices_done);
		return;
	case TARGET_A_LEDGER_EXPLAIN:
		ledger_explain(session);
		return;
	case TARGET_A_TOO_LATE:
		session->too_late = true;
		return;
	case TARGET_A_END:
		end(session);
		return;
	case TARGET_ACTION_COUNT:
		break;
	}
	assert(0);
}

/* How long a state may be waited in; bytes that flow renew it. 0: no limit of its own. */
static uint64_t state_us_max(const struct session *session)
{
	const struct hf_config *config = &session->config;

	switch (session->target.state) {
	case TARGET_LISTENING:
		return config->listen_us_max; /* 0: until the operator cancels */
	case TARGET_GREETING:
		return config->wait_us_max;
	case TARGET_LOADED:
		return config->wait_us_max + 2 * config->ledger_us_max;
	case TARGET_PREPARING:
	case TARGET_VERIFYING:
	case TARGET_SETTING:
	case TARGET_STARTING:
	case TARGET_REVIVING:
	case TARGET_RESUMING:
	case TARGET_HALTING:
	case TARGET_DISCARDING:
		return config->arc_us_max;
	case TARGET_LOADING: /* the source's signs of life are watched */
	case TARGET_IDLE:
	case TARGET_CLAIMING:
	case TARGET_DOUBT:
	case TARGET_RECORDING:
	case TARGET_HOLDING:
	case TARGET_RETURNING:
	case TARGET_GIVING_BACK:
	case TARGET_EXPLAINING:
	case TARGET_RUNNING:
	case TARGET_HELD:
	case TARGET_FAILED:
	case TARGET_STATE_COUNT:
		return 0;
	}
	return 0;
}

/* States in which the ledger did not answer, and is asked again. */
static bool asks_again(enum target_state state)
{
	return state == TARGET_DOUBT || state == TARGET_HOLDING || state == TARGET_GIVING_BACK;
}

static bool in_doubt(enum target_state state)
{
	return asks_again(state) || state == TARGET_CLAIMING || state == TARGET_RECORDING ||
	       state == TARGET_RETURNING;
}

static void arm(struct session *session, enum target_state before)
{
	enum target_state state = session->target.state;
	uint64_t now = time_now_ns(), us = state_us_max(session);

	if (state != before) {
		session->state_deadline_ns = us ? now + us * NS_PER_US : NEVER;
		session->watched_bytes = atomic_load(&session->totals.wire_bytes);
	}
	/* Each question has its own time: the claim, the start, the return. */
	if (state == TARGET_EXPLAINING && before != TARGET_EXPLAINING)
		session->give_up_ns = now + EXPLAIN_MAX_NS;
	else if (in_doubt(state) && (!in_doubt(before) || state == TARGET_RETURNING) &&
		 before != TARGET_GIVING_BACK)
		session->give_up_ns = now + session->config.doubt_us_max * NS_PER_US;
	else if (!in_doubt(state) && state != TARGET_EXPLAINING)
		session->give_up_ns = NEVER;

	session->retry_ns = NEVER;
	if (asks_again(state) && !session->ledger_busy) {
		session->retry_ns = now + RETRY_NS;
		if (state != before)
			trace(session, HF_TRACE_WAITING, target_state_text(state), 0, 0, 0, 0);
	}
	if (state == TARGET_EXPLAINING && !session->ledger_busy)
		session->retry_ns = now + EXPLAIN_NS;
}

void target_apply(struct session *session, enum target_event event)
{
	enum target_state before = session->target.state;
	const struct target was = session->target;
	const struct target_row *row;
	bool unexpected;

	row = target_step(&session->target, event, &unexpected);
	record_target(session, &was, event, row, unexpected);
	if (unexpected && !target_ended(before) && !session->error.code)
		(void)error_set(&session->error, HF_E_PROTOCOL, 0, "%s came while waiting for %s",
				target_event_name(event), target_state_text(before));
	if (row->next != before || event != TARGET_E_FAIL) {
		char text[128];

		(void)snprintf(text, sizeof(text), "%s -> %s (%s)", target_state_name(before),
			       target_state_name(row->next), target_event_name(event));
		trace(session, HF_TRACE_TRANSITION, text, before, row->next, event, 0);
	}
	if (row->next != before) {
		ledger_forget(session);
		session->forgiven = 0;
	}
	for (int i = 0; i < TARGET_ACTIONS_MAX && row->actions[i] != TARGET_A_NONE; i++)
		act(session, row->actions[i]);
	arm(session, before);
}

/* ---- END and what must have come with it (docs/stream.md, section 7) ------------------------ */

static int compare(const char *what, uint64_t said, uint64_t came, struct hf_error *err)
{
	if (said == came)
		return 0;
	return error_set(err, HF_E_STREAM_DAMAGED, 0, "END says %llu %s, %llu came",
			 (unsigned long long)said, what, (unsigned long long)came);
}

static int check_totals(struct session *session, struct hf_error *err)
{
	const struct rec_end *end = &session->end;
	uint32_t configs = 0;

	for (uint32_t i = 0; i < session->arena.count; i++)
		configs += session->arena.items[i].device != UINT32_MAX;
	if (compare("normal pages", end->normal_pages, atomic_load(&session->totals.normal_pages),
		    err) < 0 ||
	    compare("zero pages", end->zero_pages, atomic_load(&session->totals.zero_pages), err) <
		    0 ||
	    compare("bytes of devices", end->device_bytes,
		    atomic_load(&session->totals.device_bytes), err) < 0 ||
	    compare("devices", end->device_count, session->device_count, err) < 0 ||
	    compare("configurations", end->config_records, configs, err) < 0 ||
	    compare("configurations", end->config_records, session->device_count, err) < 0 ||
	    compare("sections of machine state", end->machine_sections,
		    session->arena.count - configs, err) < 0)
		return err->code;
	for (uint32_t i = 0; i < session->channel_count; i++)
		if (compare("rounds", end->rounds, session->barrier.reached[i], err) < 0)
			return err->code;
	for (uint32_t i = 0; i < session->region_count; i++) {
		uint64_t pages = session->regions[i].size >> HF_PAGE_SHIFT;
		uint64_t missing = bitmap_next_clear(session->seen[i], pages, 0);

		if (missing < pages)
			return error_set(err, HF_E_STREAM_DAMAGED, 0,
					 "page %llu of memory region %u (\"%s\") never came",
					 (unsigned long long)missing, i, session->regions[i].name);
	}
	return 0;
}

/* END, the end of every bulk connection and of every device's stream: then it is complete. */
void target_maybe_ended(struct session *session)
{
	struct hf_error err = { 0 };

	if (!session->end_seen || session->channels_ended < session->channel_count ||
	    session->devices_ended < session->device_count)
		return;
	if (check_totals(session, &err) < 0)
		session_fail(session, &err);
	else
		session_post(session, TARGET_E_ENDED);
}

static int take_end(struct session *session, struct hf_error *err)
{
	if (rec_end_decode(session->frame.body, session->frame.record.length, &session->end) < 0)
		return error_set(err, HF_E_PROTOCOL, 0, "END does not decode");
	if (session->end.digest != XXH3_64bits_digest(session->control_digest))
		return error_set(err, HF_E_STREAM_DAMAGED, 0,
				 "the digest of the control connection does not match");
	session->end_seen = true;
	session->end_ns_seen = time_now_ns();
	session->stopped_ns = session->end_ns_seen;
	target_maybe_ended(session);
	return 0;
}

static int take_go(struct session *session, struct hf_error *err)
{
	struct rec_go go;

	if (rec_go_decode(session->frame.body, session->frame.record.length, &go) < 0)
		return error_set(err, HF_E_PROTOCOL, 0, "GO does not decode");
	session->epoch = go.epoch;
	session_post(session, TARGET_E_GO);
	return 0;
}

static int take_hello(struct session *session, struct hf_error *err)
{
	int code = greet_check(session, err);

	if (code < 0)
		return code;
	if (session->frame.record.type == REC_HELLO) {
		memcpy(session->peer_side, session->hello.side, sizeof(session->peer_side));
		session->epoch = session->hello.epoch;
		session->config.paused = session->hello.flags & REC_HELLO_PAUSED;
		if (session->hello.channels < session->channel_count)
			session->channel_count = session->hello.channels;
		order_limits(&session->order, session->device_count, session->channel_count);
	}
	if (session->shape_seen)
		session_post(session, TARGET_E_GREETED);
	return 0;
}

static int take_abort(struct session *session, struct hf_error *err)
{
	struct rec_abort abort_;

	if (rec_abort_decode(session->frame.body, session->frame.record.length, &abort_) < 0)
		return error_set(err, HF_E_PROTOCOL, 0, "ABORT does not decode");
	session_peer_failed(session, &abort_.error);
	session_post(session, TARGET_E_ABORT);
	return 0;
}

static int take(struct session *session, struct hf_error *err)
{
	switch (session->frame.record.type) {
	case REC_HELLO:
	case REC_REGIONS:
	case REC_DEVICES:
	case REC_SHAPE:
		return take_hello(session, err);
	case REC_DEVICE_CONFIG:
	case REC_MACHINE_STATE:
		return state_take(session, err);
	case REC_END:
		return take_end(session, err);
	case REC_GO:
		return take_go(session, err);
	case REC_ABORT:
		return take_abort(session, err);
	default:
		return 0; /* KEEPALIVE, BYE: that they came is all */
	}
}

void target_control_record(struct session *session)
{
	const struct frame *frame = &session->frame;
	struct rec_keepalive keepalive = { 0 };
	struct rec_device_config config = { 0 };
	struct order_args args = { 0 };
	struct hf_error err = { 0 };
	const char *why = "does not decode";
	int code = 0;

	if (frame->record.type == REC_KEEPALIVE)
		code = rec_keepalive_decode(frame->body, frame->record.length, &keepalive);
	if (frame->record.type == REC_DEVICE_CONFIG)
		code = rec_device_config_decode(frame->body, frame->record.length, &config);
	args.counter = keepalive.counter;
	args.device = config.device;
	if (code == 0)
		code = order_record(&session->order, frame->record.type, &args, &why);
	if (code < 0)
		(void)error_set(&err, HF_E_PROTOCOL, 0, "%s: %s", rec_name(frame->record.type),
				why);
	else
		code = take(session, &err);
	if (code < 0)
		control_breach(session, &err);
}
