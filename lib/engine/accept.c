/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target's listener. A connection that was accepted first has to say what it is: the stream
 * header, and for a bulk connection ATTACH with the session's id and the token of ACCEPT. Until
 * then it is one of few pending ones, with a deadline; a stranger's is closed and changes nothing.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/time.h"
#include "engine/actions.h"
#include "engine/loop.h"

#define PENDING_NS (5 * NS_PER_S)
#define ATTACH_BODY 40u
#define ATTACH_BYTES (STREAM_HEADER_BYTES + REC_HEADER_BYTES + ATTACH_BODY)

void accept_listen(struct session *session)
{
	struct hf_error err = { 0 };

	if (listener_open(session->uri, &session->listener, &err) < 0) {
		session_fail(session, &err);
		return;
	}
	(void)snprintf(session->uri, sizeof(session->uri), "%s", listener_uri(session->listener));
	loop_watch(session, listener_fd(session->listener), LOOP_LISTENER);
}

static void drop(struct session *session, struct pending *pending)
{
	loop_unwatch(session, channel_fd(&pending->channel));
	channel_close(&pending->channel);
	pending->used = false;
}

void pending_drop_all(struct session *session)
{
	for (uint32_t i = 0; i < PENDING_MAX; i++)
		if (session->pending[i].used)
			drop(session, &session->pending[i]);
}

void pending_expire(struct session *session, uint64_t now_ns)
{
	for (uint32_t i = 0; i < PENDING_MAX; i++)
		if (session->pending[i].used && session->pending[i].deadline_ns <= now_ns)
			drop(session, &session->pending[i]);
}

void accept_ready(struct session *session)
{
	struct hf_channel channel;
	struct hf_error err = { 0 };

	if (listener_accept(session->listener, CHANNEL_NOW, &channel, &err) != 0)
		return; /* a false alarm, or one that has gone again */
	for (uint32_t i = 0; i < PENDING_MAX; i++) {
		struct pending *pending = &session->pending[i];

		if (pending->used)
			continue;
		*pending = (struct pending){ .channel = channel,
					     .deadline_ns = time_now_ns() + PENDING_NS,
					     .used = true };
		loop_watch(session, channel_fd(&pending->channel), LOOP_PENDING + i);
		return;
	}
	channel_close(&channel); /* too many strangers */
}

/* How much more the pending connection has to say. */
static uint32_t wanted(const struct pending *pending)
{
	struct stream_header header;

	if (pending->length < STREAM_HEADER_BYTES)
		return STREAM_HEADER_BYTES - pending->length;
	if (stream_header_decode(pending->bytes, STREAM_HEADER_BYTES, &header, NULL, NULL) < 0 ||
	    header.kind != WIRE_BULK)
		return 0;
	return ATTACH_BYTES - pending->length;
}

/* The first control connection is the source's. */
static void become_control(struct session *session, struct pending *pending)
{
	struct hf_channel channel = pending->channel;
	struct hf_error err = { 0 };
	size_t consumed;

	if (session->target.state != TARGET_LISTENING) {
		drop(session, pending); /* one session, one source */
		return;
	}
	loop_unwatch(session, channel_fd(&channel));
	pending->used = false;
	if (session->config.filters &&
	    hf_filters_channel(session->config.filters, &channel, "control", 0, &err) < 0) {
		channel_close(&channel);
		session_fail(session, &err);
		return;
	}
	control_open(session, channel);
	(void)frame_push(&session->frame, pending->bytes, pending->length, &consumed);
	(void)XXH3_64bits_update(session->control_digest, pending->bytes, pending->length);
	session_post(session, TARGET_E_CONNECTED);
}

/* A header of another version is answered in words: the peer shall know why. */
static void refuse_version(struct session *session, struct pending *pending, uint16_t major,
			   uint16_t minor)
{
	struct hf_error err = { 0 };
	size_t consumed;

	if (session->target.state != TARGET_LISTENING) {
		drop(session, pending);
		return;
	}
	loop_unwatch(session, channel_fd(&pending->channel));
	pending->used = false;
	control_open(session, pending->channel);
	(void)frame_push(&session->frame, pending->bytes, pending->length, &consumed);
	session_post(session, TARGET_E_CONNECTED);
	(void)error_set(&err, HF_E_VERSION, 0,
			"the source speaks version %u.%u of the stream, this side %u.%u", major,
			minor, WIRE_MAJOR, WIRE_MINOR);
	session_fail(session, &err);
}

static bool attach_fits(struct session *session, const struct pending *pending,
			struct rec_attach *ret_attach)
{
	const uint8_t *record = pending->bytes + STREAM_HEADER_BYTES;
	struct rec_header header = rec_header_decode(record);
	struct stream_header stream;

	return header.type == REC_ATTACH && header.length == ATTACH_BODY &&
	       stream_header_decode(pending->bytes, STREAM_HEADER_BYTES, &stream, NULL, NULL) ==
		       0 &&
	       rec_attach_decode(record + REC_HEADER_BYTES, header.length, ret_attach) == 0 &&
	       memcmp(ret_attach->session, session->hello.session, WIRE_ID_BYTES) == 0 &&
	       memcmp(ret_attach->token, session->token, WIRE_ID_BYTES) == 0 &&
	       ret_attach->channel == stream.channel &&
	       ret_attach->channel < session->channel_count &&
	       !session->bulks[ret_attach->channel].open;
}

static void become_bulk(struct session *session, struct pending *pending)
{
	struct rec_attach attach;
	struct bulk *bulk;
	struct hf_error err = { 0 };

	if (session->target.state != TARGET_LOADING || !attach_fits(session, pending, &attach)) {
		drop(session, pending);
		return;
	}
	bulk = &session->bulks[attach.channel];
	loop_unwatch(session, channel_fd(&pending->channel));
	pending->used = false;
	bulk->channel = pending->channel;
	bulk->open = true;
	if (session->config.filters && hf_filters_channel(session->config.filters, &bulk->channel,
							  "bulk", attach.channel + 1, &err) < 0) {
		session_fail(session, &err);
		return;
	}
	(void)XXH3_64bits_update(bulk->digest, pending->bytes, pending->length);
	bulk->records = 1;
	bulk->bytes = pending->length;
	atomic_fetch_add(&session->totals.wire_bytes, pending->length);
	recv_start(session, attach.channel);
}

void pending_ready(struct session *session, uint32_t index)
{
	struct pending *pending = &session->pending[index];
	struct stream_header header;
	uint16_t major = 0, minor = 0;
	uint32_t want = wanted(pending);
	struct iovec iov = { pending->bytes + pending->length, want };
	ssize_t got;
	int code;

	if (!pending->used)
		return;
	assert(want > 0 && pending->length + want <= sizeof(pending->bytes));
	got = channel_recvv(&pending->channel, &iov, 1, CHANNEL_NOW, NULL);
	if (got == HF_E_DEADLINE)
		return;
	if (got <= 0) {
		drop(session, pending);
		return;
	}
	pending->length += (uint32_t)got;
	if (pending->length < STREAM_HEADER_BYTES)
		return;
	code = stream_header_decode(pending->bytes, STREAM_HEADER_BYTES, &header, &major, &minor);
	if (code == -EPROTONOSUPPORT)
		refuse_version(session, pending, major, minor);
	else if (code < 0 || header.direction != WIRE_TO_TARGET)
		drop(session, pending); /* not one of us */
	else if (header.kind == WIRE_CONTROL)
		become_control(session, pending);
	else if (pending->length == ATTACH_BYTES)
		become_bulk(session, pending);
}
