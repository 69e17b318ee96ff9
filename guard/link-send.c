/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What goes out on a connection. Small frames are made when there is room for them, from what the
 * streams say is due, so that there is no queue that could grow: STATEs, READY, OPENs, FINs, a
 * BEAT, and behind them one DATA, whose octets leave from the ring of its stream. Order within a
 * connection: READY before all but STATEs; OPEN of a stream before its DATA; FIN behind it.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "guard/link-internal.h"

#define STATE_EVERY (1u << 20) /* octets that are written, before the peer is told at once */
#define STATE_DELAY_US 2000u /* ... or so much later */

static bool has_room(const struct link_connection *connection)
{
	return sizeof(connection->out) - connection->out_end >= LINK_FRAME_MAX;
}

void link_queue(struct link_connection *connection, const struct link_frame *frame)
{
	assert(has_room(connection) && !connection->out_left);
	connection->out_end += link_frame_encode(frame, connection->out + connection->out_end);
}

/* ---- what is due --------------------------------------------------------------------------- */

static void queue_state(struct link_stream *stream)
{
	const struct link_frame frame = {
		.type = LINK_FRAME_STATE,
		.kind = stream->kind,
		.index = stream->index,
		.offset = stream->in.tail + stream->in_fin,
		.written = stream->in.head + stream->in_done,
		.flags = stream->in_refused ? LINK_STATE_REFUSED : 0,
	};

	link_queue(stream->connection, &frame);
	stream->told_written = stream->in.head;
	stream->state_due = false;
}

/* Octets were written that the peer does not know of: tell now, or a little later. */
static bool state_is_due(struct link_stream *stream, uint64_t now_us)
{
	struct link_connection *connection = stream->connection;
	uint64_t behind = stream->in.head - stream->told_written;

	if (stream->state_due || connection->states_go)
		return stream->state_due || behind;
	if (!behind)
		return false;
	if (behind >= STATE_EVERY || behind >= stream->link->window / 4)
		return true;
	if (!connection->state_at_us)
		connection->state_at_us = now_us + STATE_DELAY_US;
	return false;
}

/* False: some are left, for want of room. */
static bool queue_states(struct link_connection *connection, uint64_t now_us)
{
	/* After a reconnection those that are over have theirs, too: the peer may not know. */
	bool all = connection->state != CONNECTION_UP;
	struct link_stream *stream = all ? connection->first : connection->active;

	for (; stream; stream = all ? stream->next : stream->next_active) {
		if (!stream->opened || !state_is_due(stream, now_us))
			continue;
		if (!has_room(connection))
			return false;
		queue_state(stream);
		link_stream_settle(stream);
	}
	connection->states_go = false;
	return true;
}

static void queue_ready(struct link_connection *connection)
{
	const struct link_frame ready = { .type = LINK_FRAME_READY };

	if (!connection->ready_due || !has_room(connection))
		return;
	link_queue(connection, &ready);
	connection->ready_due = false;
	if (connection->state == CONNECTION_READY) {
		connection->state = CONNECTION_UP;
		link_is_up(connection);
	}
}

/* In the order in which the source accepted them, which is that of the list of all. */
static void queue_opens(struct link_connection *connection)
{
	for (struct link_stream *stream = connection->first; stream; stream = stream->next) {
		const struct link_frame frame = { .type = LINK_FRAME_OPEN,
						  .kind = stream->kind,
						  .index = stream->index };

		if (stream->opened)
			continue;
		if (!has_room(connection))
			return;
		link_queue(connection, &frame);
		stream->opened = true;
	}
	connection->opens_due = false;
}

static void queue_fins(struct link_connection *connection)
{
	for (struct link_stream *stream = connection->active; stream;
	     stream = stream->next_active) {
		const struct link_frame frame = {
			.type = LINK_FRAME_FIN,
			.kind = stream->kind,
			.index = stream->index,
			.offset = stream->out.tail,
			.flags = stream->out_aborted ? LINK_FIN_ABORTED : 0,
		};

		if (!stream->opened || !stream->out_ended || stream->fin_sent || stream->out_done ||
		    stream->sent != stream->out.tail)
			continue;
		if (!has_room(connection))
			return;
		link_queue(connection, &frame);
		stream->fin_sent = true;
	}
}

/* ---- octets of streams --------------------------------------------------------------------- */

static size_t sendable(const struct link_stream *stream)
{
	uint64_t end = stream->out.tail;

	if (!stream->opened || stream->out_refused)
		return 0;
	if (end > stream->out.head + stream->connection->peer_window)
		end = stream->out.head + stream->connection->peer_window;
	return end > stream->sent ? (size_t)(end - stream->sent) : 0;
}

/* In turn: the first one behind the last. */
static struct link_stream *next_to_send(struct link_connection *connection)
{
	struct link_stream *from = connection->out_last, *stream;

	for (stream = from ? from->next_active : NULL; stream; stream = stream->next_active)
		if (sendable(stream))
			return stream;
	for (stream = connection->active; stream; stream = stream->next_active) {
		if (sendable(stream))
			return stream;
		if (stream == from)
			break;
	}
	return NULL;
}

static void queue_data(struct link_connection *connection)
{
	struct link_stream *stream = next_to_send(connection);
	struct link_frame frame = { .type = LINK_FRAME_DATA };
	size_t size;

	if (!stream || !has_room(connection))
		return;
	size = sendable(stream);
	if (size > LINK_DATA_MAX)
		size = LINK_DATA_MAX;
	frame.kind = stream->kind;
	frame.index = stream->index;
	frame.offset = stream->sent;
	frame.payload = (uint32_t)size;
	link_queue(connection, &frame);
	connection->out_stream = connection->out_last = stream;
	connection->out_at = stream->sent;
	connection->out_left = size;
	stream->sent += size;
}

static void fill(struct link_connection *connection, uint64_t now_us)
{
	const struct link_frame beat = { .type = LINK_FRAME_BEAT };

	/* The source says how far it is of what the target has named, so after it. */
	if (connection->state == CONNECTION_SYNC && !connection->link->listens)
		return;
	if (connection->state == CONNECTION_UP) {
		if (connection->opens_due)
			queue_opens(connection);
		queue_fins(connection); /* before a STATE that would tell less of the same end */
	}
	if (queue_states(connection, now_us))
		queue_ready(connection);
	if (connection->state != CONNECTION_UP)
		return;
	if (connection->beat_due && has_room(connection)) {
		link_queue(connection, &beat);
		connection->beat_due = false;
	}
	queue_data(connection);
}

/* ---- the socket ---------------------------------------------------------------------------- */

static void sent(struct link_connection *connection, size_t size)
{
	size_t head = connection->out_end - connection->out_start;

	if (size < head) {
		connection->out_start += size;
		return;
	}
	connection->out_start = connection->out_end = 0;
	size -= head;
	connection->out_at += size;
	connection->out_left -= size;
	if (!connection->out_left && connection->out_stream) {
		struct link_stream *stream = connection->out_stream;

		connection->out_stream = NULL;
		if (stream->out_refused) /* it waited for this */
			link_stream_settle(stream);
	}
}

bool link_flush(struct link_connection *connection)
{
	struct iovec iov[3] = { { connection->out + connection->out_start,
				  connection->out_end - connection->out_start } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 1 };
	size_t size = iov[0].iov_len + connection->out_left;
	ssize_t done;

	if (!size || !connection->writable || connection->fd < 0)
		return false;
	if (connection->out_left)
		message.msg_iovlen +=
			(size_t)link_ring_iov(&connection->out_stream->out, connection->out_at,
					      connection->out_left, iov + 1);
	done = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
	if (done < 0 && errno == EINTR)
		return true;
	if (done < 0 && errno == EAGAIN) {
		connection->writable = false;
		return false;
	}
	if (done < 0) {
		link_connection_lost(connection, "send: %s", strerror(errno));
		return false;
	}
	connection->writable = (size_t)done == size;
	connection->said_us = link_now_us();
	sent(connection, (size_t)done);
	return true;
}

bool link_send(struct link_connection *connection)
{
	uint64_t now_us = link_now_us();

	if (connection->fd < 0 || connection->state <= CONNECTION_CONNECTING ||
	    !connection->writable)
		return false;
	if (connection->state_at_us && now_us >= connection->state_at_us) {
		connection->state_at_us = 0;
		connection->states_go = true;
	}
	if (!connection->out_left && connection->state > CONNECTION_GREETING)
		fill(connection, now_us);
	return link_flush(connection);
}
