/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control connection. All sending is done by the link's worker, in order; receiving by the loop
 * thread, which only takes what is there.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/time.h"
#include "engine/actions.h"
#include "engine/loop.h"

uint64_t session_wait_deadline(const struct session *session)
{
	return time_now_ns() + session->config.wait_us_max * NS_PER_US;
}

/* Copies of a connection's bytes go to NAME.out and NAME.in of the capture directory. */
int control_capture(struct session *session, struct hf_channel *channel, const char *name,
		    struct hf_error *err)
{
	char path[sizeof(session->capture) + 32];
	int fds[2] = { -1, -1 };
	int code;

	if (!session->capture[0])
		return 0;
	for (int i = 0; i < 2; i++) {
		if (i == 1 && strcmp(name, "control") != 0)
			break; /* bulk connections carry nothing towards the source */
		(void)snprintf(path, sizeof(path), "%s/%s.%s", session->capture, name,
			       i ? "in" : "out");
		fds[i] = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fds[i] < 0) {
			code = error_set(err, HF_E_SYSTEM, errno, "capture: %s", path);
			if (fds[0] >= 0)
				(void)close(fds[0]);
			return code;
		}
	}
	code = channel_capture(channel, fds[0], fds[1], err);
	if (code < 0)
		for (int i = 0; i < 2; i++)
			if (fds[i] >= 0)
				(void)close(fds[i]);
	return code;
}

int control_send_raw(struct session *session, const void *bytes, size_t length,
		     struct hf_error *err)
{
	int code = keep_control(session, bytes, length, err);

	if (code < 0)
		return code;
	if (session_is_source(session)) /* of what is kept, too: also if it is not sent */
		(void)XXH3_64bits_update(session->control_digest, bytes, length);
	code = channel_send(&session->control, bytes, length, session_wait_deadline(session), err);
	if (code < 0) {
		/* Half a record may be out: last words behind it would be a breach. */
		channel_shutdown(&session->control);
		return code;
	}
	atomic_fetch_add(&session->totals.wire_bytes, length);
	return 0;
}

int control_send_header(struct session *session, struct hf_error *err)
{
	struct stream_header header = {
		.major = WIRE_MAJOR,
		.minor = WIRE_MINOR,
		.kind = WIRE_CONTROL,
		.direction = session_is_source(session) ? WIRE_TO_TARGET : WIRE_TO_SOURCE,
	};
	uint8_t bytes[STREAM_HEADER_BYTES];
	int length = stream_header_encode(&header, bytes, sizeof(bytes));

	assert(length > 0);
	return control_send_raw(session, bytes, (size_t)length, err);
}

/* Whether it still matters that something could not be sent: later the ledger decides. */
static bool link_matters(const struct session *session)
{
	if (session_is_source(session))
		return session->source.state < SOURCE_UNDOING;
	return session->target.state < TARGET_CLAIMING;
}

static void on_link_done(struct session *session, const struct job *job)
{
	if (job->code < 0 && link_matters(session))
		session_fail(session, &job->err);
}

static int run_send(struct session *session, struct job *job)
{
	return control_send_raw(session, job->bytes, job->arg[0], &job->err);
}

/* Once the session fails or ends, a send that fails says nothing new. */
static void on_last_words_done(struct session *session, const struct job *job)
{
	(void)session;
	(void)job;
}

static void submit_record(struct session *session, const void *record, int length, job_done_fn done)
{
	struct job job = { .run = run_send, .done = done };

	assert(length > 0 && (size_t)length <= sizeof(job.bytes));
	if (!session->control_open)
		return;
	memcpy(job.bytes, record, (size_t)length);
	job.arg[0] = (uint64_t)length;
	trace(session, HF_TRACE_RECORD_SENT, rec_name(rec_header_decode(record).type),
	      rec_header_decode(record).type, (uint64_t)length, 0, 0);
	worker_submit(&session->link_worker, &job);
}

void control_send(struct session *session, const void *record, int length)
{
	submit_record(session, record, length, on_link_done);
}

void control_send_abort(struct session *session)
{
	struct rec_abort abort_ = { .error = session->error };
	uint8_t bytes[JOB_BYTES];

	if (session->control_closed || session->error_is_peers)
		return;
	submit_record(session, bytes, rec_abort_encode(&abort_, bytes, sizeof(bytes)),
		      on_last_words_done);
}

void control_keepalive(struct session *session)
{
	struct rec_keepalive keepalive = { .counter = session->keepalives + 1 };
	uint8_t bytes[JOB_BYTES];

	if (session->control_closed || !worker_idle(&session->link_worker))
		return;
	session->keepalives++;
	submit_record(session, bytes, rec_keepalive_encode(&keepalive, bytes, sizeof(bytes)),
		      on_last_words_done);
}

static int run_send_end(struct session *session, struct job *job)
{
	struct rec_end end = session->end;
	uint8_t bytes[JOB_BYTES];
	int length;

	end.digest = XXH3_64bits_digest(session->control_digest);
	length = rec_end_encode(&end, bytes, sizeof(bytes));
	if (length < 0)
		return error_set(&job->err, HF_E_BUG, -length, "END cannot be encoded");
	/* Before END, so before the offer: whoever comes after us finds the guest, or nothing. */
	if (keep_complete(session, bytes, (size_t)length, &job->err) < 0)
		return job->err.code;
	return control_send_raw(session, bytes, (size_t)length, &job->err);
}

void control_send_end(struct session *session)
{
	struct job job = { .run = run_send_end, .done = on_link_done };
	struct rec_end *end = &session->end;

	*end = (struct rec_end){
		.rounds = session->precopy.round,
		.device_count = session->device_count,
		.config_records = session->device_count,
		.machine_sections = session->arena.count - session->device_count,
		.normal_pages = atomic_load(&session->totals.normal_pages),
		.zero_pages = atomic_load(&session->totals.zero_pages),
		.device_bytes = atomic_load(&session->totals.device_bytes),
	};
	trace(session, HF_TRACE_RECORD_SENT, "END", REC_END, 0, 0, 0);
	worker_submit(&session->link_worker, &job);
}

static int send_item(struct session *session, const struct arena_item *item, struct hf_error *err)
{
	const void *data = session->arena.bytes + item->offset;
	int length;

	if (item->device != UINT32_MAX) {
		struct rec_device_config config = { .device = item->device,
						    .data = data,
						    .data_length = item->length };
		length = rec_device_config_encode(&config, session->link_buffer,
						  REC_CONTROL_BYTES_MAX);
	} else {
		struct rec_machine_state state = { .instance = item->section.instance,
						   .version = item->section.version,
						   .data = data,
						   .data_length = item->length };
		memcpy(state.name, item->section.name, sizeof(state.name));
		length = rec_machine_state_encode(&state, session->link_buffer,
						  REC_CONTROL_BYTES_MAX);
	}
	if (length < 0)
		return error_set(err, HF_E_MACHINE_STATE, -length, "section \"%s\" cannot be sent",
				 item->section.name);
	return control_send_raw(session, session->link_buffer, (size_t)length, err);
}

static int run_send_state(struct session *session, struct job *job)
{
	for (uint32_t i = 0; i < session->arena.count; i++) {
		int code = send_item(session, &session->arena.items[i], &job->err);

		if (code < 0)
			return code;
	}
	return 0;
}

void control_send_state(struct session *session)
{
	struct job job = { .run = run_send_state, .done = phase_job_done };

	phase_submit(session, &session->main, &session->link_worker, &job);
}

/* The connection is there: listen to it. */
void control_open(struct session *session, struct hf_channel channel)
{
	session->control = channel;
	session->control_open = true;
	frame_init(&session->frame, session_is_source(session) ? WIRE_TO_SOURCE : WIRE_TO_TARGET);
	order_init(&session->order, WIRE_CONTROL,
		   session_is_source(session) ? WIRE_TO_SOURCE : WIRE_TO_TARGET, 0);
	if (session_is_source(session)) /* the target learns them from HELLO */
		order_limits(&session->order, session->device_count, session->channel_count);
	atomic_store(&session->heard_ns, time_now_ns());
	session->keepalive_ns = time_now_ns() + KEEPALIVE_NS;
	loop_watch(session, channel_fd(&session->control), LOOP_CONTROL);
}

static int run_connect(struct session *session, struct job *job)
{
	struct hf_channel channel;
	int code;

	code = channel_connect(session->uri, session_wait_deadline(session), &channel, &job->err);
	if (code < 0)
		return code;
	code = control_capture(session, &channel, "control", &job->err);
	if (code == 0 && session->config.filters)
		code = hf_filters_channel(session->config.filters, &channel, "control", 0,
					  &job->err);
	if (code < 0) {
		channel_close(&channel);
		return code;
	}
	session->control = channel; /* the loop thread takes it over in done() */
	code = control_send_header(session, &job->err);
	if (code == 0)
		code = greet_send(session, &job->err);
	if (code < 0) {
		channel_shutdown(&session->control); /* nothing may come before HELLO, not ABORT */
		(void)error_prepend(&job->err, "%s", session->uri);
	}
	return code;
}

static void on_connect_done(struct session *session, const struct job *job)
{
	if (session->control.ops && session->source.state == SOURCE_HELLO)
		control_open(session, session->control);
	if (job->code < 0 && session->source.state == SOURCE_HELLO)
		session_fail(session, &job->err);
}

void control_connect(struct session *session)
{
	struct job job = { .run = run_connect, .done = on_connect_done };

	worker_submit(&session->link_worker, &job);
}

static int run_greet_back(struct session *session, struct job *job)
{
	return control_send_header(session, &job->err);
}

void control_greet_back(struct session *session)
{
	struct job job = { .run = run_greet_back, .done = on_link_done };

	worker_submit(&session->link_worker, &job);
}

static int run_attach(struct session *session, struct job *job)
{
	struct bulk *bulk = &session->bulks[job->index];
	char name[16];
	int code;

	code = channel_connect(session->uri, session_wait_deadline(session), &bulk->channel,
			       &job->err);
	if (code < 0)
		return code;
	(void)snprintf(name, sizeof(name), "bulk-%u", job->index);
	code = control_capture(session, &bulk->channel, name, &job->err);
	if (code == 0 && session->config.filters)
		code = hf_filters_channel(session->config.filters, &bulk->channel, "bulk",
					  job->index + 1, &job->err);
	/* control_cut() stores cut and then looks at open: one of us sees the other's. */
	atomic_store(&bulk->open, true);
	if (atomic_load(&session->cut))
		channel_shutdown(&bulk->channel);
	if (code == 0)
		code = send_attach(session, bulk, job->index, &job->err);
	return code;
}

static void on_attached(struct session *session)
{
	session_post(session, SOURCE_E_ACCEPTED);
}

void control_attach(struct session *session)
{
	phase_begin(session, &session->main, on_attached);
	for (uint32_t i = 0; i < session->channel_count; i++) {
		struct job job = { .run = run_attach, .done = phase_job_done, .index = i };

		phase_submit(session, &session->main, &session->bulks[i].worker, &job);
	}
	phase_release(session, &session->main);
}

/* A record has come whole. */
static void take_record(struct session *session)
{
	const struct frame *frame = &session->frame;

	trace(session, HF_TRACE_RECORD_RECV, rec_name(frame->record.type), frame->record.type,
	      frame->record.length, 0, 0);
	if (session_is_source(session))
		source_control_record(session);
	else
		target_control_record(session);
}

/*
 * The peer broke the rules: nothing more of what it says counts, however much of it is there
 * already. The connection stands, since the peer shall be told (docs/stream.md, section 8).
 */
void control_breach(struct session *session, const struct hf_error *err)
{
	session->control_deaf = true;
	loop_unwatch(session, channel_fd(&session->control));
	session_fail(session, err);
}

static void take_skipped(struct session *session)
{
	struct hf_error err = { 0 };
	const char *why = "?";

	if (order_skipped(&session->order, &why) == 0)
		return;
	(void)error_set(&err, HF_E_PROTOCOL, 0, "record 0x%x: %s", session->frame.record.type, why);
	control_breach(session, &err);
}

static void protocol_failed(struct session *session)
{
	const struct frame *frame = &session->frame;
	struct hf_error err = { 0 };

	if (frame->failed == -EPROTONOSUPPORT)
		(void)error_set(&err, HF_E_VERSION, 0,
				"the peer speaks version %u.%u of the stream, this side %u.%u",
				frame->peer_major, frame->peer_minor, WIRE_MAJOR, WIRE_MINOR);
	else
		(void)error_set(&err, HF_E_PROTOCOL, 0, "control connection: %s%s%s",
				frame->started ? rec_name(frame->record.type) : "",
				frame->started ? ": " : "", frame->why ? frame->why : "broken");
	control_breach(session, &err);
}

static void closed(struct session *session, const struct hf_error *why)
{
	struct hf_error err = { 0 };

	if (why && why->code)
		err = *why;
	else
		(void)error_set(&err, HF_E_CONNECTION_LOST, 0,
				"the peer closed the control connection");
	loop_unwatch(session, channel_fd(&session->control));
	session->control_closed = true;
	session_lost(session, &err);
}

/* Feed what came to the framing; returns false when no more of it counts. */
static bool take_bytes(struct session *session, const uint8_t *bytes, size_t length)
{
	while (length > 0 && !session->control_closed && !session->control_deaf) {
		size_t consumed = 0;
		int got = frame_push(&session->frame, bytes, length, &consumed);

		if (got < 0) {
			protocol_failed(session);
			return false;
		}
		bytes += consumed;
		length -= consumed;
		if (!session_is_source(session) && got != FRAME_MORE && !session->end_seen &&
		    !(got == FRAME_RECORD && session->frame.record.type == REC_END))
			(void)XXH3_64bits_update(session->control_digest, session->frame.raw,
						 session->frame.raw_length);
		if (got == FRAME_RECORD)
			take_record(session);
		else if (got == FRAME_SKIPPED)
			take_skipped(session);
	}
	return !session->control_closed && !session->control_deaf;
}

void control_readable(struct session *session)
{
	uint8_t bytes[16384];
	struct hf_error err = { 0 };
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	ssize_t got;

	got = channel_recvv(&session->control, &iov, 1, CHANNEL_NOW, &err);
	if (got == HF_E_DEADLINE)
		return; /* a false alarm */
	if (got <= 0) {
		closed(session, got < 0 ? &err : NULL);
		return;
	}
	atomic_store(&session->heard_ns, time_now_ns());
	(void)take_bytes(session, bytes, (size_t)got);
}

void control_cut(struct session *session)
{
	atomic_store(&session->cut, true);
	for (uint32_t i = 0; i < session->channel_count; i++)
		if (atomic_load(&session->bulks[i].open))
			channel_shutdown(&session->bulks[i].channel);
	recv_break(session);
	load_close(session);
	loop_wake(session);
}

static int run_shutdown(struct session *session, struct job *job)
{
	uint8_t bytes[REC_HEADER_BYTES + REC_ALIGN];
	int length = rec_bye_encode(bytes, sizeof(bytes));

	(void)job;
	/* A courtesy: whether the peer hears it changes nothing. */
	(void)control_send_raw(session, bytes, (size_t)length, NULL);
	if (session_is_source(session))
		channel_shutdown(&session->control);
	else
		channel_finish(&session->control);
	return 0;
}

/*
 * Nothing depends on the source's last words, and it closes. The target's decide: a socket that is
 * closed with something unread resets the connection, and what was sent may be lost with it. So the
 * target reads on, and throws away, until the source has closed.
 */
void control_shutdown(struct session *session)
{
	struct job job = { .run = run_shutdown, .done = on_last_words_done };

	if (!session->control_open || session->bye_sent)
		return;
	session->bye_sent = true;
	if (session_is_source(session))
		loop_unwatch(session, channel_fd(&session->control));
	else if (session->control_deaf && !session->control_closed)
		loop_watch(session, channel_fd(&session->control), LOOP_CONTROL);
	worker_submit(&session->link_worker, &job);
}

bool control_lingers(const struct session *session)
{
	return !session_is_source(session) && session->bye_sent && !session->control_closed;
}

void control_drain(struct session *session)
{
	uint8_t bytes[16384];
	struct hf_error err = { 0 };
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	ssize_t got = channel_recvv(&session->control, &iov, 1, CHANNEL_NOW, &err);

	if (got > 0 || got == HF_E_DEADLINE)
		return;
	loop_unwatch(session, channel_fd(&session->control));
	session->control_closed = true;
}
