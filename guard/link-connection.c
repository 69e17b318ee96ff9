/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection: a number, a thread, and a socket that comes and goes. At the source the thread
 * connects, and again when the socket is lost: at once, then with growing pauses up to half a
 * second. At the target it gets sockets from the keeper. Everything waits in one epoll, edge by
 * edge, and is tried until it says EAGAIN.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard/link-internal.h"

#define BACKOFF_FIRST_US 10000u
#define BACKOFF_MAX_US 500000u
#define GOODBYE_US 500000u
/* Octets that the kernel takes before it can send them: others of the connection wait behind. */
#define UNSENT_MAX (256 << 10)
#define ROUNDS 64 /* of the pump, before the epoll is asked again */
#define EVENTS 64
#define NEVER UINT64_MAX

/* ---- life ---------------------------------------------------------------------------------- */

int link_connection_new(struct link *link, uint32_t number)
{
	struct link_connection *connection = calloc(1, sizeof(*connection));
	struct epoll_event event = { .events = EPOLLIN };

	if (!connection)
		return -ENOMEM;
	connection->link = link;
	connection->number = number;
	connection->fd = connection->arrival.fd = -1;
	connection->next_index[LINK_SESSION] = connection->next_index[LINK_QEMU] = number;
	connection->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	connection->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	event.data.ptr = &connection->wake_fd;
	connection->down_since_us = link_now_us();
	(void)snprintf(connection->why, sizeof(connection->why), "not connected yet");
	if (connection->wake_fd >= 0 && connection->epoll_fd >= 0 &&
	    epoll_ctl(connection->epoll_fd, EPOLL_CTL_ADD, connection->wake_fd, &event) == 0) {
		link->connections[number] = connection;
		return 0;
	}
	link_connection_free(connection);
	return -EMFILE;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

void link_connection_free(struct link_connection *connection)
{
	if (!connection)
		return;
	close_fd(connection->fd);
	close_fd(connection->arrival.fd);
	close_fd(connection->wake_fd);
	close_fd(connection->epoll_fd);
	free(connection);
}

/* ---- sockets ------------------------------------------------------------------------------- */

/* Best effort: a UNIX socket has none of it. */
void link_tune(int fd)
{
	const int on = 1, unsent = UNSENT_MAX;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
}

static void drop_socket(struct link_connection *connection)
{
	close_fd(connection->fd); /* the last of it, so it leaves the epoll as well */
	connection->fd = -1;
	connection->state = CONNECTION_OFF;
	connection->out_start = connection->out_end = connection->out_left = 0;
	connection->stage_start = connection->stage_end = connection->in_left = 0;
	connection->out_stream = connection->in_stream = NULL;
	connection->ready_due = connection->beat_due = connection->hung_up = false;
}

static void take_socket(struct link_connection *connection, int fd,
			enum link_connection_state state)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				     .data.ptr = connection };

	assert(connection->fd < 0);
	connection->fd = fd;
	connection->state = state;
	connection->readable = connection->writable = state != CONNECTION_CONNECTING;
	connection->heard_us = connection->said_us = link_now_us();
	connection->progressed = false;
	if (epoll_ctl(connection->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		link_die(connection->link, "epoll: %s", strerror(errno));
}

void link_connection_lost(struct link_connection *connection, const char *format, ...)
{
	char why[LINK_TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	drop_socket(connection);
	link_is_down(connection, why);
	if (connection->progressed)
		connection->backoff_us = 0;
	connection->wait_until_us = link_now_us() + connection->backoff_us;
	connection->backoff_us =
		connection->backoff_us ? connection->backoff_us * 2 : BACKOFF_FIRST_US;
	if (connection->backoff_us > BACKOFF_MAX_US)
		connection->backoff_us = BACKOFF_MAX_US;
}

void link_connection_breach(struct link_connection *connection, const char *format, ...)
{
	char why[LINK_TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	link_die(connection->link, "connection %u: %s", connection->number, why);
}

/* ---- source: connecting -------------------------------------------------------------------- */

static void say_hello(struct link_connection *connection)
{
	struct link *link = connection->link;
	struct link_frame frame = {
		.type = LINK_FRAME_HELLO,
		.silence_ms = (uint32_t)(link->silence_us / 1000),
		.connection = connection->number,
		.connections = link->connection_count,
		.attempt = connection->attempt,
		.window = link->window,
	};

	(void)pthread_mutex_lock(&link->lock);
	if (link->has_token)
		memcpy(frame.token, link->token, LINK_SECRET);
	else
		memcpy(frame.source, link->source_secret, LINK_SECRET);
	(void)pthread_mutex_unlock(&link->lock);
	link_queue(connection, &frame);
	connection->state = CONNECTION_GREETING;
}

static void connected(struct link_connection *connection)
{
	int cause = 0;
	socklen_t length = sizeof(cause);

	if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &cause, &length) < 0)
		cause = errno;
	if (cause) {
		link_connection_lost(connection, "connect: %s", strerror(cause));
		return;
	}
	link_tune(connection->fd);
	connection->readable = connection->writable = true;
	say_hello(connection);
}

/* The first connection of the link asks for the token; the others wait until it is here. */
static bool may_connect(struct link_connection *connection)
{
	struct link *link = connection->link;
	bool may;

	(void)pthread_mutex_lock(&link->lock);
	may = connection->number == 0 || link->has_token;
	(void)pthread_mutex_unlock(&link->lock);
	return may;
}

static void begin_connect(struct link_connection *connection)
{
	struct link *link = connection->link;
	const struct socket_address *address =
		&link->addresses[connection->address++ % link->address_count];
	int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	connection->attempt++;
	if (fd < 0) {
		link_connection_lost(connection, "socket: %s", strerror(errno));
		return;
	}
	take_socket(connection, fd, CONNECTION_CONNECTING);
	if (connect(fd, (const struct sockaddr *)&address->storage, address->length) == 0)
		connected(connection);
	else if (errno != EINPROGRESS)
		link_connection_lost(connection, "connect: %s", strerror(errno));
}

/* ---- target: sockets from the keeper, with a HELLO that was judged ------------------------- */

static void arrive(struct link_connection *connection, const struct link_arrival *arrival)
{
	struct link *link = connection->link;
	struct link_frame frame = {
		.type = LINK_FRAME_WELCOME,
		.silence_ms = (uint32_t)(link->silence_us / 1000),
		.connection = connection->number,
		.attempt = arrival->attempt,
		.window = link->window,
	};

	if (connection->fd >= 0)
		link_connection_lost(connection, "the source has connected again");
	take_socket(connection, arrival->fd, CONNECTION_SYNC);
	connection->peer_window = arrival->window;
	connection->peer_silence_ms = arrival->silence_ms;
	memcpy(frame.token, link->token, LINK_SECRET);
	link_queue(connection, &frame);
	connection->ready_due = true;
	for (struct link_stream *stream = connection->first; stream; stream = stream->next) {
		stream->seen = false;
		stream->state_due = true;
	}
}

/* ---- what other threads have left ---------------------------------------------------------- */

static void take_inbox(struct link_connection *connection)
{
	struct link *link = connection->link;
	struct link_arrival arrival;
	struct link_stream *stream;

	(void)pthread_mutex_lock(&link->lock);
	stream = connection->new_first;
	connection->new_first = connection->new_last = NULL;
	arrival = connection->arrival;
	connection->arrival.fd = -1;
	(void)pthread_mutex_unlock(&link->lock);
	while (stream) {
		struct link_stream *next = stream->next_new;

		link_stream_adopt(stream);
		stream = next;
	}
	if (arrival.fd >= 0 && connection->state != CONNECTION_ENDED)
		arrive(connection, &arrival);
	else
		close_fd(arrival.fd);
}

/* ---- the end ------------------------------------------------------------------------------- */

/* Waits for the socket; false: the time is over. */
static bool wait_socket(struct link_connection *connection, short events, uint64_t until_us)
{
	struct pollfd poll_fd = { .fd = connection->fd, .events = events };
	uint64_t now_us = link_now_us();

	if (now_us >= until_us)
		return false;
	return poll(&poll_fd, 1, (int)((until_us - now_us) / 1000) + 1) > 0;
}

/*
 * The peer learns why, so that it does not wait for us. The frame under way comes first. What the
 * peer still sends is read until it ends: closing with octets unread would take our last words away
 * from it again.
 */
static void say_goodbye(struct link_connection *connection, const char *text)
{
	struct link_frame frame = { .type = LINK_FRAME_OVER, .code = HF_E_CANCELLED };
	uint64_t until_us = link_now_us() + GOODBYE_US;
	bool said = false;

	while (connection->fd >= 0) {
		if (!said && !connection->out_left &&
		    connection->out_start == connection->out_end) {
			(void)snprintf(frame.text, sizeof(frame.text), "%s", text);
			link_queue(connection, &frame);
			said = true;
		}
		if (link_flush(connection))
			continue;
		if (connection->fd < 0 || connection->writable)
			break; /* lost, or all of it is said */
		if (!wait_socket(connection, POLLOUT, until_us))
			return;
		connection->writable = true;
	}
	if (connection->fd < 0 || shutdown(connection->fd, SHUT_WR) < 0)
		return;
	while (wait_socket(connection, POLLIN, until_us)) {
		ssize_t got = read(connection->fd, connection->scratch, LINK_SCRATCH);

		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			break;
	}
}

static void end(struct link_connection *connection, const char *text)
{
	if (connection->state == CONNECTION_ENDED)
		return;
	if (connection->state >= CONNECTION_SYNC && !atomic_load(&connection->link->peer_over))
		say_goodbye(connection, text);
	drop_socket(connection);
	connection->state = CONNECTION_ENDED;
}

static void end_dead(struct link_connection *connection)
{
	char text[LINK_TEXT_MAX];

	link_why_dead(connection->link, text);
	end(connection, text);
	for (struct link_stream *stream = connection->first; stream; stream = stream->next)
		link_stream_end(stream);
}

/* ---- time ---------------------------------------------------------------------------------- */

/* Often enough for the peer as well. */
static uint64_t beat_us(const struct link_connection *connection)
{
	uint64_t silence_us = connection->link->silence_us;

	if (silence_us > connection->peer_silence_ms * UINT64_C(1000))
		silence_us = connection->peer_silence_ms * UINT64_C(1000);
	return silence_us / 4;
}

static void sooner(uint64_t *at_us, uint64_t than_us)
{
	if (than_us < *at_us)
		*at_us = than_us;
}

static uint64_t next_time(struct link_connection *connection)
{
	uint64_t at_us = NEVER;

	if (connection->state == CONNECTION_ENDED)
		return NEVER;
	if (connection->state == CONNECTION_OFF && !connection->link->listens &&
	    may_connect(connection))
		sooner(&at_us, connection->wait_until_us);
	if (connection->state > CONNECTION_OFF)
		sooner(&at_us, connection->heard_us + connection->link->silence_us);
	if (connection->state == CONNECTION_UP) {
		if (!connection->beat_due)
			sooner(&at_us, connection->said_us + beat_us(connection));
		if (connection->state_at_us && connection->writable)
			sooner(&at_us, connection->state_at_us);
	}
	for (struct link_stream *stream = connection->active; stream; stream = stream->next_active)
		if (stream->retry_at_us)
			sooner(&at_us, stream->retry_at_us);
	return at_us;
}

/* Whether there is something to do now. */
static bool look_at_clock(struct link_connection *connection)
{
	uint64_t now_us = link_now_us();
	bool due = false;

	if (connection->state == CONNECTION_OFF && !connection->link->listens &&
	    now_us >= connection->wait_until_us && may_connect(connection))
		begin_connect(connection);
	if (connection->state > CONNECTION_OFF && connection->state != CONNECTION_ENDED &&
	    now_us >= connection->heard_us + connection->link->silence_us)
		link_connection_lost(connection, "nothing was heard for %.1f s",
				     (double)connection->link->silence_us / LINK_US);
	if (connection->state == CONNECTION_UP && !connection->beat_due &&
	    now_us >= connection->said_us + beat_us(connection))
		connection->beat_due = due = true;
	return due;
}

/* ---- the loop ------------------------------------------------------------------------------ */

static bool pump(struct link_connection *connection)
{
	uint64_t now_us = link_now_us();
	struct link_stream **at = &connection->active;
	bool moved = link_receive(connection);

	while (*at) {
		moved |= link_stream_pump(*at, now_us);
		if ((*at)->released) {
			if (connection->out_last == *at)
				connection->out_last = NULL;
			*at = (*at)->next_active;
		} else {
			at = &(*at)->next_active;
		}
	}
	moved |= link_send(connection);
	return moved;
}

static void note(struct link_connection *connection, const struct epoll_event *event)
{
	uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR, bits = event->events;
	struct link_stream *stream = event->data.ptr;
	uint64_t count;

	if (event->data.ptr == &connection->wake_fd) {
		(void)!read(connection->wake_fd, &count, sizeof(count)); /* that it woke is all */
	} else if (event->data.ptr == connection) {
		if (connection->fd < 0)
			return;
		if (connection->state == CONNECTION_CONNECTING && (bits & (EPOLLOUT | ended)))
			connected(connection);
		connection->readable |= (bits & (EPOLLIN | ended)) != 0;
		connection->writable |= (bits & (EPOLLOUT | ended)) != 0;
		connection->hung_up |= (bits & ended) != 0;
	} else {
		stream->readable |= (bits & (EPOLLIN | ended)) != 0;
		stream->writable |= (bits & (EPOLLOUT | ended)) != 0;
		stream->hung_up |= (bits & ended) != 0;
	}
}

static void wait_events(struct link_connection *connection, bool busy)
{
	struct epoll_event events[EVENTS];
	uint64_t at_us = busy ? 0 : next_time(connection);
	int count = epoll_wait(connection->epoll_fd, events, EVENTS,
			       link_timeout_ms(at_us, link_now_us()));

	for (int i = 0; i < count; i++)
		note(connection, &events[i]);
}

static void settle_all(struct link_connection *connection)
{
	for (struct link_stream *stream = connection->first; stream; stream = stream->next)
		link_stream_settle(stream);
}

static void *run(void *arg)
{
	struct link_connection *connection = arg;
	struct link *link = connection->link;
	bool busy = false;

	while (!atomic_load(&link->stopping)) {
		take_inbox(connection);
		if (atomic_exchange(&connection->keep_changed, false))
			settle_all(connection);
		if (atomic_load(&link->dead))
			end_dead(connection);
		busy = true;
		for (int i = 0; busy && i < ROUNDS; i++)
			busy = pump(connection);
		busy |= look_at_clock(connection);
		wait_events(connection, busy && !atomic_load(&link->dead));
	}
	end(connection, "the link was closed");
	return NULL;
}

int link_connection_start(struct link_connection *connection)
{
	int r = pthread_create(&connection->thread, NULL, run, connection);

	connection->started = r == 0;
	return -r;
}
