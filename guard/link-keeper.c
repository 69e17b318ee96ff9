/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper: a thread that accepts. At the source, connections to the local sockets, each of which
 * becomes a stream; at the target, the link's own connections, whose first frame it judges before
 * anybody else hears of them: a stranger changes nothing. It also watches the deadline.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard/link-internal.h"

#define GUESTS_MAX 16u /* connections that have not shown who they are; the oldest one goes */
#define HELLO_SIZE (LINK_HEAD + 64u)
#define HELLO_US 5000000u
#define PAUSE_US                                                                                   \
	100000u /* no descriptor for who would come in: no event tells when there is one           \
		 */

/* A connection that was accepted, until its HELLO is here. fd -1: none. */
struct guest {
	int fd;
	uint64_t since_us;
	uint8_t bytes[HELLO_SIZE];
	size_t size;
};

struct keeper {
	struct link *link;
	struct guest guests[GUESTS_MAX];
	uint64_t pause_until_us;
};

static void nonblocking_accept(struct keeper *keeper, int listen_fd, int *ret_fd)
{
	*ret_fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (*ret_fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		keeper->pause_until_us = link_now_us() + PAUSE_US;
}

/* ---- source: streams ----------------------------------------------------------------------- */

static void accept_stream(struct keeper *keeper, uint32_t kind)
{
	struct link *link = keeper->link;
	struct link_connection *connection;
	struct link_stream *stream;
	int fd;

	nonblocking_accept(keeper, link->path_fds[kind], &fd);
	if (fd < 0)
		return;
	(void)pthread_mutex_lock(&link->lock);
	stream = link_stream_new(link, kind, link->stream_count[kind], fd);
	(void)pthread_mutex_unlock(&link->lock);
	if (!stream) {
		(void)close(fd);
		return;
	}
	link_tell(stream, LINK_OPENED, "");
	connection = stream->connection;
	(void)pthread_mutex_lock(&link->lock);
	if (connection->new_last)
		connection->new_last->next_new = stream;
	else
		connection->new_first = stream;
	connection->new_last = stream;
	(void)pthread_mutex_unlock(&link->lock);
	link_wake(connection->wake_fd);
}

/* ---- target: greetings --------------------------------------------------------------------- */

static void drop(struct guest *guest)
{
	(void)close(guest->fd);
	guest->fd = -1;
}

/* One that reads nothing does not get it: the answer fits into any buffer. */
static void turn_away(struct guest *guest, int code, const char *why)
{
	struct link_frame frame = { .type = LINK_FRAME_OVER, .code = code };
	uint8_t bytes[LINK_FRAME_MAX];
	size_t size;

	(void)snprintf(frame.text, sizeof(frame.text), "%s", why);
	size = link_frame_encode(&frame, bytes);
	(void)send(guest->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)shutdown(guest->fd, SHUT_WR);
	drop(guest);
}

static bool is_zero(const uint8_t secret[LINK_SECRET])
{
	static const uint8_t zero[LINK_SECRET];

	return link_same_secret(secret, zero);
}

/* All connections of the first source, and their threads. Under the lock. */
static const char *take_source(struct link *link, const struct link_frame *hello)
{
	for (uint32_t i = 0; i < hello->connections; i++)
		if (link_connection_new(link, i) < 0)
			return "the target has no memory or descriptors";
	link->connection_count = hello->connections;
	memcpy(link->peer_secret, hello->source, LINK_SECRET);
	link->taken = true;
	for (uint32_t i = 0; i < hello->connections; i++)
		if (link_connection_start(link->connections[i]) < 0)
			return "the target has no threads";
	return NULL;
}

/*
 * NULL: it is our source. Without a token: the first one, or the same again, whose WELCOME was lost
 * before it could show the token. Under the lock.
 */
static const char *judge(struct link *link, const struct link_frame *hello)
{
	if (atomic_load(&link->dead))
		return "the link is over";
	if (!is_zero(hello->token)) {
		if (!link->taken)
			return "a token that is not known here: was the target started anew?";
		if (!link_same_secret(hello->token, link->token))
			return "a wrong token";
		link->token_shown = true;
	} else if (link->taken) {
		if (link->token_shown || !link_same_secret(hello->source, link->peer_secret))
			return "there is a source already";
	} else if (hello->connection != 0 || is_zero(hello->source)) {
		return "the first connection is number 0, with a secret of its own";
	}
	if (link->taken && hello->connections != link->connection_count)
		return "another number of connections than before";
	return NULL;
}

/* Hands the socket to its connection; one that was overtaken is dropped. Under the lock. */
static int hand_over(struct link *link, const struct guest *guest, const struct link_frame *hello)
{
	struct link_connection *connection = link->connections[hello->connection];
	struct link_arrival arrival = { .fd = guest->fd,
					.attempt = hello->attempt,
					.window = hello->window,
					.silence_ms = hello->silence_ms };
	int old = connection->arrival.fd;

	if (hello->attempt <= connection->attempt)
		return guest->fd;
	connection->attempt = hello->attempt;
	connection->arrival = arrival;
	link_wake(connection->wake_fd);
	return old;
}

static void greeted(struct keeper *keeper, struct guest *guest, const struct link_frame *hello)
{
	struct link *link = keeper->link;
	const char *why, *failed = NULL;
	int unwanted = -1;

	(void)pthread_mutex_lock(&link->lock);
	why = judge(link, hello);
	if (!why && !link->taken)
		why = failed = take_source(link, hello);
	if (!why)
		unwanted = hand_over(link, guest, hello);
	(void)pthread_mutex_unlock(&link->lock);
	if (why)
		turn_away(guest, HF_E_REFUSED, why);
	guest->fd = -1;
	if (unwanted >= 0)
		(void)close(unwanted);
	if (failed)
		link_die(link, "%s", failed);
}

static void hear(struct keeper *keeper, struct guest *guest)
{
	ssize_t got = read(guest->fd, guest->bytes + guest->size, HELLO_SIZE - guest->size);
	struct link_frame hello;
	char why[LINK_WHY_MAX];
	int r;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		drop(guest);
		return;
	}
	guest->size += (size_t)got;
	r = link_frame_decode(guest->bytes, guest->size, &hello, why);
	if (r == 0)
		return;
	if (r < 0)
		turn_away(guest, r, why);
	else if (hello.type != LINK_FRAME_HELLO)
		turn_away(guest, HF_E_PROTOCOL, "the first frame is HELLO");
	else
		greeted(keeper, guest, &hello);
}

static void accept_guest(struct keeper *keeper)
{
	struct guest *place = NULL;
	int fd;

	nonblocking_accept(keeper, keeper->link->listen_fd, &fd);
	if (fd < 0)
		return;
	link_tune(fd);
	for (uint32_t i = 0; i < GUESTS_MAX; i++) {
		struct guest *guest = &keeper->guests[i];

		if (!place || (guest->fd < 0 && place->fd >= 0) ||
		    (guest->fd >= 0 && place->fd >= 0 && guest->since_us < place->since_us))
			place = guest;
	}
	/* Without a word: it may be our source, whose HELLO is still under way, and comes again. */
	if (place->fd >= 0)
		drop(place);
	place->fd = fd;
	place->since_us = link_now_us();
	place->size = 0;
}

/* ---- time ---------------------------------------------------------------------------------- */

/* Until when some connection may stay lost, and which; UINT64_MAX: none is. */
static uint64_t deadline_of(struct link *link, char why[LINK_TEXT_MAX])
{
	uint64_t at_us = UINT64_MAX;
	uint32_t count;

	(void)pthread_mutex_lock(&link->lock);
	count = link->connection_count;
	(void)pthread_mutex_unlock(&link->lock);
	(void)pthread_mutex_lock(&link->event_lock);
	for (uint32_t i = 0; i < count; i++) {
		const struct link_connection *connection = link->connections[i];

		if (connection->up || connection->down_since_us + link->deadline_us >= at_us)
			continue;
		at_us = connection->down_since_us + link->deadline_us;
		(void)snprintf(why, LINK_TEXT_MAX, "connection %u lost for %.1f s: %.80s", i,
			       (double)link->deadline_us / LINK_US, connection->why);
	}
	(void)pthread_mutex_unlock(&link->event_lock);
	return at_us;
}

static void sooner(uint64_t *at_us, uint64_t than_us)
{
	if (than_us < *at_us)
		*at_us = than_us;
}

static int look_at_clock(struct keeper *keeper)
{
	struct link *link = keeper->link;
	uint64_t now_us = link_now_us(), at_us = UINT64_MAX;
	char why[LINK_TEXT_MAX];

	if (!atomic_load(&link->dead))
		at_us = deadline_of(link, why);
	if (now_us >= at_us) {
		link_die(link, "%s", why);
		at_us = UINT64_MAX;
	}
	for (uint32_t i = 0; i < GUESTS_MAX; i++) {
		struct guest *guest = &keeper->guests[i];

		if (guest->fd >= 0 && now_us >= guest->since_us + HELLO_US)
			drop(guest);
		if (guest->fd >= 0)
			sooner(&at_us, guest->since_us + HELLO_US);
	}
	if (now_us < keeper->pause_until_us)
		sooner(&at_us, keeper->pause_until_us);
	return link_timeout_ms(at_us, now_us);
}

/* ---- the loop ------------------------------------------------------------------------------ */

/* Who has gone from a dead link's source comes back to nobody. */
static void close_paths(struct link *link)
{
	char uri[LINK_URI_MAX];

	for (uint32_t kind = 1; kind < LINK_KINDS; kind++) {
		if (link->path_fds[kind] < 0)
			continue;
		(void)snprintf(uri, sizeof(uri), "unix:%s", link->paths[kind]);
		socket_unlisten(uri, link->path_fds[kind]);
		link->path_fds[kind] = -1;
	}
}

enum { WAKE, LISTEN, PATHS, GUESTS = PATHS + LINK_KINDS, FDS = GUESTS + GUESTS_MAX };

static void wait_fds(struct keeper *keeper, struct pollfd fds[FDS])
{
	struct link *link = keeper->link;
	int timeout_ms = look_at_clock(keeper);
	bool paused = link_now_us() < keeper->pause_until_us;

	for (int i = 0; i < FDS; i++)
		fds[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	fds[WAKE].fd = link->keeper_wake_fd;
	fds[LISTEN].fd = paused ? -1 : link->listen_fd;
	for (uint32_t kind = 1; kind < LINK_KINDS; kind++)
		fds[PATHS + kind].fd = paused ? -1 : link->path_fds[kind];
	for (uint32_t i = 0; i < GUESTS_MAX; i++)
		fds[GUESTS + i].fd = keeper->guests[i].fd;
	if (poll(fds, FDS, timeout_ms) < 0)
		memset(fds, 0, sizeof(*fds) * FDS); /* a signal; nothing else can be wrong */
}

void *link_keeper_run(void *arg)
{
	struct keeper keeper = { .link = arg };
	struct link *link = arg;
	struct pollfd fds[FDS];
	uint64_t count;

	for (uint32_t i = 0; i < GUESTS_MAX; i++)
		keeper.guests[i].fd = -1;
	while (!atomic_load(&link->stopping)) {
		if (atomic_load(&link->dead))
			close_paths(link);
		wait_fds(&keeper, fds);
		if (fds[WAKE].revents)
			(void)!read(link->keeper_wake_fd, &count, sizeof(count)); /* it woke */
		for (uint32_t i = 0; i < GUESTS_MAX; i++)
			if (fds[GUESTS + i].revents && keeper.guests[i].fd >= 0)
				hear(&keeper, &keeper.guests[i]);
		if (fds[LISTEN].revents)
			accept_guest(&keeper);
		for (uint32_t kind = 1; kind < LINK_KINDS; kind++)
			if (fds[PATHS + kind].revents)
				accept_stream(&keeper, kind);
	}
	for (uint32_t i = 0; i < GUESTS_MAX; i++)
		if (keeper.guests[i].fd >= 0)
			drop(&keeper.guests[i]);
	close_paths(link);
	return NULL;
}
