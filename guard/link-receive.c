/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What comes on a connection. Payload goes from the socket into the ring of its stream, and
 * whatever is behind it in the same call into a small stage, where frames are looked at. Octets
 * count when they are here, not when their frame is whole: a connection that breaks in the middle
 * of a frame costs nothing. There is always room for what the peer may send, so this never waits
 * for a local socket.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "guard/link-internal.h"

/* ---- payload ------------------------------------------------------------------------------- */

/* Where the octets of the frame under way go to. */
static int payload_iov(struct link_connection *connection, struct iovec iov[2])
{
	struct link_stream *stream = connection->in_stream;
	size_t size = connection->in_left;

	if (!size)
		return 0;
	if (!stream->in_refused)
		return link_ring_iov(&stream->in, stream->in.tail, size, iov);
	iov[0].iov_base = connection->scratch;
	iov[0].iov_len = size < LINK_SCRATCH ? size : LINK_SCRATCH;
	return 1;
}

static void payload_came(struct link_connection *connection, size_t size)
{
	struct link_stream *stream = connection->in_stream;

	assert(size <= connection->in_left);
	stream->in.tail += size;
	if (stream->in_refused)
		stream->in.head = stream->in.origin = stream->in.tail;
	connection->in_left -= size;
	if (connection->in_left)
		return;
	stream->first_frame = true;
	connection->in_stream = NULL;
	link_stream_settle(stream);
}

/* ---- frames -------------------------------------------------------------------------------- */

static struct link_stream *find(struct link_connection *connection, const struct link_frame *frame)
{
	struct link *link = connection->link;

	/* Those of other connections are other threads' business. */
	if (frame->index % link->connection_count != connection->number ||
	    frame->index >= connection->next_index[frame->kind])
		return NULL;
	return link->streams[frame->kind][frame->index];
}

static void on_welcome(struct link_connection *connection, const struct link_frame *frame)
{
	struct link *link = connection->link;
	bool first = false, same = true;

	if (frame->connection != connection->number || frame->attempt != connection->attempt) {
		link_connection_breach(connection, "WELCOME to another connection");
		return;
	}
	(void)pthread_mutex_lock(&link->lock);
	if (link->has_token) {
		same = link_same_secret(link->token, frame->token);
	} else {
		memcpy(link->token, frame->token, LINK_SECRET);
		link->has_token = first = true;
	}
	(void)pthread_mutex_unlock(&link->lock);
	if (!same) {
		link_connection_breach(connection, "WELCOME with another token");
		return;
	}
	connection->peer_window = frame->window;
	connection->peer_silence_ms = frame->silence_ms;
	connection->state = CONNECTION_SYNC;
	for (struct link_stream *stream = connection->first; stream; stream = stream->next)
		stream->seen = false;
	for (uint32_t i = 0; first && i < link->connection_count; i++)
		link_wake(link->connections[i]->wake_fd); /* the others have waited for the token */
}

static void on_over(struct link_connection *connection, const struct link_frame *frame)
{
	struct link *link = connection->link;

	atomic_store(&link->peer_over, true);
	link_die(link, "the peer: %s", frame->text);
}

/* All that the peer did not name: the target, if it never had it; the source forgets none. */
static bool all_seen(struct link_connection *connection)
{
	for (struct link_stream *stream = connection->first; stream; stream = stream->next) {
		if (stream->seen || !stream->opened)
			continue;
		if (connection->link->listens || stream->out.head || stream->out_done ||
		    stream->in.tail || stream->in_fin)
			return false;
		stream->opened = stream->fin_sent = false;
		stream->sent = 0;
		connection->opens_due = true;
	}
	return true;
}

static void on_ready(struct link_connection *connection)
{
	bool listens = connection->link->listens;

	if (connection->state != CONNECTION_SYNC || (listens && connection->ready_due)) {
		link_connection_breach(connection, "READY out of turn");
		return;
	}
	if (!all_seen(connection)) {
		link_connection_breach(connection, "a stream was forgotten");
		return;
	}
	if (listens) {
		connection->state = CONNECTION_UP;
		link_is_up(connection);
		return;
	}
	connection->state = CONNECTION_READY;
	connection->ready_due = true;
	for (struct link_stream *stream = connection->first; stream; stream = stream->next)
		stream->state_due = stream->opened;
}

static void on_open(struct link_connection *connection, const struct link_frame *frame)
{
	struct link *link = connection->link;
	struct link_stream *stream;

	if (!link->listens || frame->index != connection->next_index[frame->kind]) {
		link_connection_breach(connection, "OPEN of stream %u, out of order", frame->index);
		return;
	}
	(void)pthread_mutex_lock(&link->lock);
	stream = link_stream_new(link, frame->kind, frame->index, -1);
	(void)pthread_mutex_unlock(&link->lock);
	if (!stream) {
		link_connection_breach(connection, "OPEN of stream %u: no memory, or too many",
				       frame->index);
		return;
	}
	link_stream_adopt(stream);
}

static void on_data(struct link_connection *connection, struct link_stream *stream,
		    const struct link_frame *frame)
{
	if (stream->in_fin || frame->offset != stream->in.tail)
		link_connection_breach(connection, "DATA of stream %u at %llu, which is at %llu%s",
				       frame->index, (unsigned long long)frame->offset,
				       (unsigned long long)stream->in.tail,
				       stream->in_fin ? ", its end" : "");
	else if (frame->payload > link_ring_room(&stream->in))
		link_connection_breach(connection, "DATA of stream %u overruns its window",
				       frame->index);
	else {
		connection->in_stream = stream;
		connection->in_left = frame->payload;
	}
}

static void on_fin(struct link_connection *connection, struct link_stream *stream,
		   const struct link_frame *frame)
{
	if (stream->in_fin || frame->offset != stream->in.tail) {
		link_connection_breach(connection, "FIN of stream %u at %llu, which is at %llu%s",
				       frame->index, (unsigned long long)frame->offset,
				       (unsigned long long)stream->in.tail,
				       stream->in_fin ? ", its end" : "");
		return;
	}
	stream->in_fin = true;
	stream->in_aborted = frame->flags & LINK_FIN_ABORTED;
	link_stream_settle(stream);
}

static void on_state(struct link_connection *connection, struct link_stream *stream,
		     const struct link_frame *frame)
{
	const char *why;

	if (!link_stream_heard_state(stream, frame, connection->state == CONNECTION_SYNC, &why))
		link_connection_breach(connection, "STATE of stream %u: %s", frame->index, why);
	else
		link_stream_settle(stream);
}

static void on_stream_frame(struct link_connection *connection, const struct link_frame *frame)
{
	struct link_stream *stream = find(connection, frame);

	connection->progressed = true;
	if (!stream || !stream->opened)
		link_connection_breach(connection, "%s of stream %u, which is not open",
				       link_frame_name(frame->type), frame->index);
	else if (frame->type == LINK_FRAME_DATA)
		on_data(connection, stream, frame);
	else if (frame->type == LINK_FRAME_FIN)
		on_fin(connection, stream, frame);
	else
		on_state(connection, stream, frame);
}

/* In which states a type may come: bits of enum link_connection_state. */
static bool is_in_turn(uint32_t type, enum link_connection_state state)
{
	static const uint32_t when[LINK_FRAME_TYPES] = {
		[LINK_FRAME_WELCOME] = 1u << CONNECTION_GREETING,
		[LINK_FRAME_OVER] = ~0u,
		[LINK_FRAME_READY] = 1u << CONNECTION_SYNC,
		[LINK_FRAME_OPEN] = 1u << CONNECTION_UP,
		[LINK_FRAME_DATA] = 1u << CONNECTION_UP,
		[LINK_FRAME_FIN] = 1u << CONNECTION_UP,
		[LINK_FRAME_STATE] =
			1u << CONNECTION_SYNC | 1u << CONNECTION_READY | 1u << CONNECTION_UP,
		[LINK_FRAME_BEAT] = 1u << CONNECTION_UP,
	};

	return when[type] & 1u << state;
}

static void on_frame(struct link_connection *connection, const struct link_frame *frame)
{
	if (!is_in_turn(frame->type, connection->state))
		link_connection_breach(connection, "%s out of turn", link_frame_name(frame->type));
	else if (frame->type == LINK_FRAME_WELCOME)
		on_welcome(connection, frame);
	else if (frame->type == LINK_FRAME_OVER)
		on_over(connection, frame);
	else if (frame->type == LINK_FRAME_READY)
		on_ready(connection);
	else if (frame->type == LINK_FRAME_OPEN)
		on_open(connection, frame);
	else if (frame->type != LINK_FRAME_BEAT)
		on_stream_frame(connection, frame);
}

/* ---- the socket ---------------------------------------------------------------------------- */

/* Payload that came into the stage, behind its frame. */
static void unstage_payload(struct link_connection *connection)
{
	size_t size = connection->stage_end - connection->stage_start, done = 0;
	struct iovec iov[2];
	int count;

	if (size > connection->in_left)
		size = connection->in_left;
	count = payload_iov(connection, iov);
	for (int i = 0; i < count && done < size; i++) {
		size_t part = iov[i].iov_len < size - done ? iov[i].iov_len : size - done;

		memcpy(iov[i].iov_base, connection->stage + connection->stage_start + done, part);
		done += part;
	}
	connection->stage_start += done;
	payload_came(connection, done);
}

static void unstage(struct link_connection *connection)
{
	struct link_frame frame;
	char why[LINK_WHY_MAX];

	while (connection->fd >= 0 && connection->stage_start < connection->stage_end &&
	       !atomic_load_explicit(&connection->link->dead, memory_order_relaxed)) {
		int r;

		if (connection->in_left) {
			unstage_payload(connection);
			continue;
		}
		r = link_frame_decode(connection->stage + connection->stage_start,
				      connection->stage_end - connection->stage_start, &frame, why);
		if (r < 0)
			link_connection_breach(connection, "%s", why);
		if (r <= 0)
			break;
		connection->stage_start += (size_t)r;
		on_frame(connection, &frame);
	}
	if (connection->stage_start == connection->stage_end) {
		connection->stage_start = connection->stage_end = 0;
	} else if (connection->stage_start) {
		connection->stage_end -= connection->stage_start;
		memmove(connection->stage, connection->stage + connection->stage_start,
			connection->stage_end);
		connection->stage_start = 0;
	}
}

static void came(struct link_connection *connection, size_t size)
{
	size_t payload = connection->in_left;

	connection->heard_us = link_now_us();
	if (payload && connection->in_stream->in_refused && payload > LINK_SCRATCH)
		payload = LINK_SCRATCH;
	if (payload > size)
		payload = size;
	if (payload)
		payload_came(connection, payload);
	connection->stage_end += size - payload;
	unstage(connection);
}

/* One call of readv(); how much came, or what it said. */
static ssize_t receive_once(struct link_connection *connection)
{
	struct iovec iov[3];
	int count = payload_iov(connection, iov);
	size_t size = 0;
	ssize_t got;

	iov[count].iov_base = connection->stage + connection->stage_end;
	iov[count].iov_len = LINK_STAGE - connection->stage_end;
	count++;
	for (int i = 0; i < count; i++)
		size += iov[i].iov_len;
	got = readv(connection->fd, iov, count);
	if (got <= 0)
		return got;
	connection->readable = connection->hung_up || (size_t)got == size;
	came(connection, (size_t)got);
	return got;
}

/*
 * When the head of a DATA came alone, with what little of it fits into the stage, the rest is read
 * at once: a local socket gets one large piece then, and its reader is woken once.
 */
bool link_receive(struct link_connection *connection)
{
	bool moved = false;
	ssize_t got;

	do {
		if (connection->fd < 0 || !connection->readable ||
		    connection->state <= CONNECTION_CONNECTING ||
		    atomic_load_explicit(&connection->link->dead, memory_order_relaxed))
			return moved;
		got = receive_once(connection);
		if (got < 0 && errno == EINTR)
			return true;
		if (got < 0 && errno == EAGAIN) {
			connection->readable = false;
			return moved;
		}
		if (got <= 0) {
			link_connection_lost(connection,
					     got < 0 ? "receive: %s" : "the connection ended",
					     strerror(errno));
			return true;
		}
		moved = true;
	} while (connection->in_left && (size_t)got <= LINK_STAGE);
	return true;
}
