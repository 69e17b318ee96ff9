/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stream at one end: its local socket, and a ring for each direction. The ring of what goes to
 * the peer keeps it until the peer has written it to its own local socket; the ring of what comes
 * keeps it until we have. So a local socket that nobody reads stops its own stream, when a window
 * is full, and nothing else. Decides what an end on either side does to the local socket.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard/link-internal.h"

#define READ_MAX (512u << 10) /* of one stream, before others have their turn */
#define RETRY_US 5000u /* a local socket whose backlog is full: no event tells when it is not */
#define LOCAL_BUFFER (1 << 20) /* UNIX sockets do not tune themselves; the default is small */

/* ---- rings --------------------------------------------------------------------------------- */

/* Its pages come when they are used. */
static int ring_new(struct link_ring *ring, size_t size)
{
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (bytes == MAP_FAILED)
		return -ENOMEM;
	ring->bytes = bytes;
	ring->size = size;
	return 0;
}

static void ring_done(struct link_ring *ring)
{
	if (ring->bytes)
		(void)munmap(ring->bytes, ring->size); /* ours, so it cannot fail */
	ring->bytes = NULL;
}

size_t link_ring_room(const struct link_ring *ring)
{
	return ring->size - (size_t)(ring->tail - ring->head);
}

int link_ring_iov(const struct link_ring *ring, uint64_t at, size_t size, struct iovec iov[2])
{
	size_t begin = (size_t)((at - ring->origin) % ring->size), first = ring->size - begin;

	assert(at >= ring->origin && size <= ring->size);
	iov[0].iov_base = ring->bytes + begin;
	iov[0].iov_len = size < first ? size : first;
	if (size <= first)
		return 1;
	iov[1].iov_base = ring->bytes;
	iov[1].iov_len = size - first;
	return 2;
}

static void ring_drop(struct link_ring *ring, uint64_t to)
{
	assert(to >= ring->head && to <= ring->tail);
	ring->head = to;
	if (ring->head == ring->tail)
		ring->origin = ring->head; /* the same few pages again: they are in the cache */
}

/* ---- life ---------------------------------------------------------------------------------- */

struct link_stream *link_stream_new(struct link *link, uint32_t kind, uint32_t index, int fd)
{
	struct link_stream *stream;

	/* The target may hear of an end later than of the next stream, on another connection. */
	uint32_t live_max = link->listens ? 2 * LINK_LIVE_MAX : LINK_LIVE_MAX;

	if (index >= LINK_STREAMS_MAX || link->streams[kind][index] ||
	    link->live_count[LINK_SESSION] + link->live_count[LINK_QEMU] >= live_max)
		return NULL;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return NULL;
	if (ring_new(&stream->out, link->window) < 0 || ring_new(&stream->in, link->window) < 0) {
		ring_done(&stream->out);
		free(stream);
		return NULL;
	}
	stream->link = link;
	stream->connection = link->connections[index % link->connection_count];
	stream->kind = kind;
	stream->index = index;
	stream->fd = fd;
	stream->connecting = stream->opened = link->listens;
	link->streams[kind][index] = stream;
	if (link->stream_count[kind] <= index)
		link->stream_count[kind] = index + 1;
	link->live_count[kind]++;
	return stream;
}

void link_stream_free(struct link_stream *stream)
{
	if (!stream)
		return;
	if (stream->fd >= 0) {
		/* A duplicate may be open somewhere. Of one to be kept that is what keeps it. */
		if (!atomic_load(&stream->link->keep[stream->kind]))
			(void)shutdown(stream->fd, SHUT_RDWR);
		(void)close(stream->fd);
	}
	ring_done(&stream->out);
	ring_done(&stream->in);
	free(stream);
}

static void watch_for(struct link_stream *stream, int operation, bool write)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = stream };

	if (write)
		event.events |= EPOLLOUT;
	stream->watches_write = write;
	if (epoll_ctl(stream->connection->epoll_fd, operation, stream->fd, &event) < 0)
		link_die(stream->link, "epoll: %s", strerror(errno));
}

static void watch(struct link_stream *stream)
{
	const int size = LOCAL_BUFFER;

	/* Best effort: the host may allow less. */
	(void)setsockopt(stream->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	watch_for(stream, EPOLL_CTL_ADD, false);
	stream->readable = stream->writable = true; /* to be found out */
}

void link_stream_adopt(struct link_stream *stream)
{
	struct link_connection *connection = stream->connection;

	if (connection->last)
		connection->last->next = stream;
	else
		connection->first = stream;
	connection->last = stream;
	stream->next_active = connection->active;
	connection->active = stream;
	connection->next_index[stream->kind] = stream->index + stream->link->connection_count;
	connection->opens_due |= !stream->opened;
	if (stream->fd >= 0)
		watch(stream);
}

bool link_stream_is_over(const struct link_stream *stream)
{
	return stream->out_done && (stream->in_done || stream->in_refused) && !stream->connecting;
}

/* ---- ends ---------------------------------------------------------------------------------- */

static void tell_local_end(struct link_stream *stream, const char *what, int cause)
{
	char text[LINK_TEXT_MAX];

	if (stream->local_ended)
		return;
	stream->local_ended = true;
	(void)snprintf(text, sizeof(text), "%s%s%s", what, cause ? ": " : "",
		       cause ? strerror(cause) : "");
	link_tell(stream, LINK_LOCAL_END, text);
}

static void tell_peer_end(struct link_stream *stream, const char *text)
{
	if (stream->peer_ended)
		return;
	stream->peer_ended = true;
	link_tell(stream, LINK_PEER_END, text);
}

/* What comes for it is thrown away from now on. */
static void refuse(struct link_stream *stream)
{
	stream->in_refused = true;
	ring_drop(&stream->in, stream->in.tail);
	stream->state_due = true;
}

static void local_failed(struct link_stream *stream, const char *what, int cause)
{
	if (!stream->in_refused)
		refuse(stream);
	if (!stream->out_ended) {
		stream->out_ended = stream->out_aborted = true;
		stream->readable = false;
	}
	tell_local_end(stream, what, cause);
}

static void close_local(struct link_stream *stream)
{
	struct link *link = stream->link;
	int fd;

	if (stream->fd < 0)
		return;
	(void)epoll_ctl(stream->connection->epoll_fd, EPOLL_CTL_DEL, stream->fd, NULL);
	(void)shutdown(stream->fd, SHUT_RDWR); /* a duplicate may be open somewhere */
	(void)pthread_mutex_lock(&link->lock);
	fd = stream->fd;
	stream->fd = -1;
	(void)pthread_mutex_unlock(&link->lock);
	(void)close(fd);
}

/* Our half of what the peer's end means for the local socket. */
static void shut_local(struct link_stream *stream)
{
	if (stream->fd < 0)
		return;
	if (stream->in_done && !stream->shut_write) {
		stream->shut_write = true;
		(void)shutdown(stream->fd, stream->in_aborted ? SHUT_RDWR : SHUT_WR);
	}
	if (stream->out_refused && !stream->shut_read) {
		stream->shut_read = true;
		(void)shutdown(stream->fd, SHUT_RD); /* who writes there learns it */
	}
}

static void release(struct link_stream *stream)
{
	struct link *link = stream->link;

	if (stream->released || stream->state_due || stream->connection->out_stream == stream ||
	    stream->connection->in_stream == stream)
		return;
	stream->released = true;
	ring_done(&stream->out);
	ring_done(&stream->in);
	(void)pthread_mutex_lock(&link->lock);
	link->live_count[stream->kind]--;
	(void)pthread_cond_broadcast(&link->over);
	(void)pthread_mutex_unlock(&link->lock);
}

void link_stream_settle(struct link_stream *stream)
{
	if (stream->in_fin && !stream->in_done && !stream->connecting &&
	    (stream->in_refused || stream->in.head == stream->in.tail)) {
		stream->in_done = stream->state_due = true;
		tell_peer_end(stream, stream->in_aborted ? "aborted" : "ended");
	}
	if (stream->out_refused)
		tell_peer_end(stream, "the peer's local socket takes no more");
	if (!atomic_load(&stream->link->keep[stream->kind])) {
		shut_local(stream);
		if (link_stream_is_over(stream))
			close_local(stream);
	}
	if (link_stream_is_over(stream))
		release(stream);
}

void link_stream_end(struct link_stream *stream)
{
	if (!atomic_load(&stream->link->keep[stream->kind]))
		close_local(stream);
}

/* ---- target: connecting -------------------------------------------------------------------- */

static int connect_local(const char *path)
{
	struct socket_address address;
	struct hf_error err;
	char uri[LINK_URI_MAX];
	int fd, r;

	(void)snprintf(uri, sizeof(uri), "unix:%s", path);
	if (socket_resolve(uri, &address, 1, &err) < 0)
		return -EINVAL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address.storage, address.length) == 0)
		return fd;
	r = -errno;
	(void)close(fd);
	return r;
}

/* The next one of the kind may be connected, perhaps by another thread. */
static void pass_turn(struct link_stream *stream)
{
	struct link *link = stream->link;
	uint32_t next = stream->index + 1;

	stream->connecting = false;
	(void)pthread_mutex_lock(&link->lock);
	link->connect_next[stream->kind] = next;
	(void)pthread_mutex_unlock(&link->lock);
	link_wake(link->connections[next % link->connection_count]->wake_fd);
}

static bool has_turn(struct link_stream *stream)
{
	struct link *link = stream->link;
	bool turn;

	(void)pthread_mutex_lock(&link->lock);
	turn = link->connect_next[stream->kind] == stream->index;
	(void)pthread_mutex_unlock(&link->lock);
	return turn;
}

static bool try_connect(struct link_stream *stream, uint64_t now_us)
{
	struct link *link = stream->link;
	const char *path = link->paths[stream->kind];
	int fd;

	if (now_us < stream->retry_at_us || !(stream->first_frame || stream->in_fin) ||
	    !has_turn(stream))
		return false;
	stream->retry_at_us = 0;
	if (!stream->give_up_at_us)
		stream->give_up_at_us = now_us + link->deadline_us;
	fd = path ? connect_local(path) : -EOPNOTSUPP;
	if (fd == -EAGAIN && now_us < stream->give_up_at_us) {
		stream->retry_at_us = now_us + RETRY_US;
		return false;
	}
	if (fd < 0) {
		local_failed(stream, path ? path : "no streams of this kind here", -fd);
		pass_turn(stream);
		return true;
	}
	(void)pthread_mutex_lock(&link->lock);
	stream->fd = fd;
	(void)pthread_mutex_unlock(&link->lock);
	watch(stream);
	link_tell(stream, LINK_OPENED, "");
	pass_turn(stream);
	return true;
}

/* ---- reading and writing ------------------------------------------------------------------- */

/* Reads aside, since a filter wants its octets in one piece and may add to them. */
static ssize_t read_filtered(struct link_stream *stream, size_t room)
{
	struct link *link = stream->link;
	uint8_t *scratch = stream->connection->scratch;
	size_t size =
		room - LINK_FILTER_SPARE < LINK_SCRATCH ? room - LINK_FILTER_SPARE : LINK_SCRATCH;
	struct iovec iov[2];
	ssize_t got = recv(stream->fd, scratch, size, 0);
	int count;

	if (got <= 0)
		return got;
	stream->readable = stream->hung_up || (size_t)got == size;
	size = link->filter(link->ctx, stream->index, scratch, (size_t)got);
	assert(size <= (size_t)got + LINK_FILTER_SPARE);
	count = link_ring_iov(&stream->out, stream->out.tail, size, iov);
	memcpy(iov[0].iov_base, scratch, iov[0].iov_len);
	if (count > 1)
		memcpy(iov[1].iov_base, scratch + iov[0].iov_len, iov[1].iov_len);
	stream->out.tail += size;
	return got;
}

static ssize_t read_plain(struct link_stream *stream, size_t room)
{
	size_t size = room < READ_MAX ? room : READ_MAX;
	struct iovec iov[2];
	ssize_t got =
		readv(stream->fd, iov, link_ring_iov(&stream->out, stream->out.tail, size, iov));

	if (got <= 0)
		return got;
	/* Fewer than asked for: it is empty, and the next octet is another edge. */
	stream->readable = stream->hung_up || (size_t)got == size;
	stream->out.tail += (uint64_t)got;
	return got;
}

static bool read_local(struct link_stream *stream)
{
	bool filtered = stream->link->filter && stream->link->listens && stream->kind == LINK_QEMU;
	size_t room = link_ring_room(&stream->out);
	ssize_t got;

	if (stream->out_ended || stream->out_refused || room <= (filtered ? LINK_FILTER_SPARE : 0))
		return false;
	got = filtered ? read_filtered(stream, room) : read_plain(stream, room);
	if (got < 0 && errno == EINTR)
		return true;
	if (got < 0 && errno == EAGAIN) {
		stream->readable = false;
		return false;
	}
	if (got > 0) {
		(void)atomic_fetch_add_explicit(&stream->link->sent, (uint64_t)got,
						memory_order_relaxed);
	} else if (got == 0) {
		stream->out_ended = true;
		stream->readable = false;
		tell_local_end(stream, "ended", 0);
	} else {
		local_failed(stream, "read", errno);
	}
	return true;
}

/*
 * A UNIX socket tells that it can be written to whenever its reader has taken something: that is
 * listened to only while it is full.
 */
static void is_full(struct link_stream *stream)
{
	stream->writable = false;
	if (!stream->watches_write)
		watch_for(stream, EPOLL_CTL_MOD,
			  true); /* tells at once if it is not full any more */
}

static bool write_local(struct link_stream *stream)
{
	size_t size = (size_t)(stream->in.tail - stream->in.head);
	struct iovec iov[2];
	struct msghdr message = { .msg_iov = iov };
	ssize_t done;

	if (!size || stream->in_refused)
		return false;
	message.msg_iovlen = (size_t)link_ring_iov(&stream->in, stream->in.head, size, iov);
	done = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
	if (done < 0 && errno == EINTR)
		return true;
	if (done < 0 && errno == EAGAIN) {
		is_full(stream);
		return false;
	}
	if (done < 0) { /* it may have something to say all the same: reading goes on */
		int cause = errno;

		refuse(stream);
		tell_local_end(stream, "write", cause);
		return true;
	}
	if ((size_t)done < size)
		is_full(stream);
	else if (stream->watches_write)
		watch_for(stream, EPOLL_CTL_MOD, false);
	ring_drop(&stream->in, stream->in.head + (uint64_t)done);
	(void)atomic_fetch_add_explicit(&stream->link->received, (uint64_t)done,
					memory_order_relaxed);
	return true;
}

bool link_stream_pump(struct link_stream *stream, uint64_t now_us)
{
	bool moved = false;

	if (atomic_load_explicit(&stream->link->dead, memory_order_relaxed))
		return false;
	if (stream->connecting)
		moved = try_connect(stream, now_us);
	if (stream->fd >= 0 && stream->writable)
		moved |= write_local(stream);
	if (stream->fd >= 0 && stream->readable)
		moved |= read_local(stream);
	if (moved || stream->in_fin || stream->out_done)
		link_stream_settle(stream);
	return moved;
}

/* ---- what the peer has --------------------------------------------------------------------- */

/* Why it cannot be so; NULL: it can. What is on the wire only in part is no more than that. */
static const char *impossible(const struct link_stream *stream, const struct link_frame *frame)
{
	bool under_way = stream->connection->out_stream == stream;
	uint64_t sent = (under_way ? stream->connection->out_at : stream->sent) + stream->fin_sent;

	if (frame->offset > sent)
		return "more received than was sent";
	if (!stream->out_refused && frame->written < stream->out.head + stream->out_done)
		return "less written than before";
	return NULL;
}

bool link_stream_heard_state(struct link_stream *stream, const struct link_frame *frame, bool sync,
			     const char **ret_why)
{
	*ret_why = impossible(stream, frame);
	if (*ret_why)
		return false;
	stream->seen = true;
	if (frame->flags & LINK_STATE_REFUSED)
		stream->out_refused = stream->out_done = true;
	if (stream->out_refused)
		return true;
	if (frame->written > stream->out.head && !stream->out_done)
		ring_drop(&stream->out,
			  frame->written < stream->out.tail ? frame->written : stream->out.tail);
	if (stream->fin_sent && frame->written > stream->out.tail)
		stream->out_done = true;
	if (sync) {
		stream->fin_sent = stream->fin_sent && frame->offset > stream->out.tail;
		stream->sent = frame->offset < stream->out.tail ? frame->offset : stream->out.tail;
	}
	return true;
}
