/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "guard/link-internal.h"

#define CONNECTIONS_DEFAULT 2u
#define DEADLINE_DEFAULT_US (60u * LINK_US)
#define SILENCE_DEFAULT_US (5u * LINK_US)
#define WINDOW_DEFAULT (4u << 20)

/* ---- small things for all ------------------------------------------------------------------ */

uint64_t link_now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * LINK_US + (uint64_t)now.tv_nsec / 1000;
}

void link_wake(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		abort(); /* an eventfd takes a one, or is full and wakes already */
}

int link_fail(struct hf_error *err, int code, int cause, const char *what, const char *about)
{
	memset(err, 0, sizeof(*err));
	err->code = code;
	err->cause = cause;
	(void)snprintf(err->text, sizeof(err->text), "%.60s%s%.120s%s%s", what,
		       about[0] ? ": " : "", about, cause ? ": " : "",
		       cause ? strerror(cause) : "");
	return code;
}

/* For poll() and epoll_wait(): -1 is for ever; one that is far away is looked at again before. */
int link_timeout_ms(uint64_t at_us, uint64_t now_us)
{
	if (at_us == UINT64_MAX)
		return -1;
	if (at_us <= now_us)
		return 0;
	return at_us - now_us > 3600u * LINK_US ? 3600000 : (int)((at_us - now_us + 999) / 1000);
}

/* In constant time: how far they are equal is not to be measured. */
bool link_same_secret(const uint8_t a[LINK_SECRET], const uint8_t b[LINK_SECRET])
{
	volatile uint8_t different = 0;

	for (size_t i = 0; i < LINK_SECRET; i++)
		different = (uint8_t)(different | (a[i] ^ b[i]));
	return different == 0;
}

/* ---- events -------------------------------------------------------------------------------- */

/* Under event_lock. */
static void tell(struct link *link, const struct link_event *event)
{
	if (link->event)
		link->event(link->ctx, event);
}

static void tell_link(struct link *link, enum link_event_kind kind, const char *text)
{
	const struct link_event event = { .kind = kind, .text = text };

	tell(link, &event);
}

void link_tell(struct link_stream *stream, enum link_event_kind kind, const char *text)
{
	const struct link_event event = {
		.kind = kind,
		.stream = stream->kind * LINK_STREAMS_MAX + stream->index,
		.stream_kind = stream->kind,
		.index = stream->index,
		.text = text,
	};

	(void)pthread_mutex_lock(&stream->link->event_lock);
	tell(stream->link, &event);
	(void)pthread_mutex_unlock(&stream->link->event_lock);
}

/* All threads look at what has changed. Under the lock. */
static void wake_all(struct link *link)
{
	link_wake(link->keeper_wake_fd);
	for (uint32_t i = 0; i < link->connection_count; i++)
		link_wake(link->connections[i]->wake_fd);
}

static void note_lost(struct link *link, uint64_t now_us)
{
	if (!link->all_up)
		return;
	link->all_up = false;
	link->lost_since_us = now_us;
}

void link_die(struct link *link, const char *format, ...)
{
	va_list args;

	(void)pthread_mutex_lock(&link->event_lock);
	if (!atomic_load(&link->dead)) {
		va_start(args, format);
		(void)vsnprintf(link->why_dead, sizeof(link->why_dead), format, args);
		va_end(args);
		note_lost(link, link_now_us());
		atomic_store(&link->dead, true);
		tell_link(link, LINK_DEAD, link->why_dead);
	}
	(void)pthread_mutex_unlock(&link->event_lock);
	(void)pthread_mutex_lock(&link->lock);
	(void)pthread_cond_broadcast(&link->over);
	wake_all(link);
	(void)pthread_mutex_unlock(&link->lock);
}

void link_why_dead(struct link *link, char ret[LINK_TEXT_MAX])
{
	(void)pthread_mutex_lock(&link->event_lock);
	memcpy(ret, link->why_dead, LINK_TEXT_MAX);
	(void)pthread_mutex_unlock(&link->event_lock);
}

void link_is_up(struct link_connection *connection)
{
	struct link *link = connection->link;
	bool all = true;

	(void)pthread_mutex_lock(&link->event_lock);
	connection->up = true;
	for (uint32_t i = 0; i < link->connection_count; i++)
		all &= link->connections[i]->up;
	if (all && !atomic_load(&link->dead)) {
		if (link->been_up)
			link->lost_us += link_now_us() - link->lost_since_us;
		link->all_up = true;
		tell_link(link, link->been_up ? LINK_BACK : LINK_UP, "");
		link->been_up = true;
	}
	(void)pthread_mutex_unlock(&link->event_lock);
}

void link_is_down(struct link_connection *connection, const char *why)
{
	struct link *link = connection->link;
	char text[LINK_TEXT_MAX];

	(void)pthread_mutex_lock(&link->event_lock);
	(void)snprintf(connection->why, sizeof(connection->why), "%s", why);
	if (connection->up) {
		connection->up = false;
		connection->down_since_us = link_now_us();
		link->losses++;
		if (link->all_up && !atomic_load(&link->dead)) {
			note_lost(link, connection->down_since_us);
			(void)snprintf(text, sizeof(text), "connection %u: %.90s",
				       connection->number, why);
			tell_link(link, LINK_LOST, text);
		}
	}
	(void)pthread_mutex_unlock(&link->event_lock);
	link_wake(link->keeper_wake_fd); /* a deadline runs */
}

/* ---- creation ------------------------------------------------------------------------------ */

static int check(const struct link_config *config, struct hf_error *err)
{
	if (!config->uri || strlen(config->uri) >= LINK_URI_MAX)
		return link_fail(err, HF_E_INVALID, 0, "link", "an address is needed, and short");
	if (config->connections > LINK_CONNECTIONS_MAX)
		return link_fail(err, HF_E_INVALID, 0, config->uri, "at most 16 connections");
	if (config->window &&
	    (config->window < LINK_WINDOW_MIN || config->window > LINK_WINDOW_MAX))
		return link_fail(err, HF_E_INVALID, 0, config->uri, "a window has 4 KiB to 64 MiB");
	if (config->silence_us && (config->silence_us < LINK_SILENCE_MS_MIN * UINT64_C(1000) ||
				   config->silence_us > LINK_SILENCE_MS_MAX * UINT64_C(1000)))
		return link_fail(err, HF_E_INVALID, 0, config->uri,
				 "a silence lasts 20 ms to an hour");
	return 0;
}

static void configure(struct link *link, const struct link_config *config)
{
	pthread_condattr_t attributes;
	pthread_mutexattr_t recursive;

	link->listens = config->listens;
	(void)snprintf(link->uri, sizeof(link->uri), "%s", config->uri);
	link->deadline_us = config->deadline_us ? config->deadline_us : DEADLINE_DEFAULT_US;
	link->silence_us = config->silence_us ? config->silence_us : SILENCE_DEFAULT_US;
	link->window = config->window ? config->window : WINDOW_DEFAULT;
	link->filter = config->filter;
	link->event = config->event;
	link->ctx = config->ctx;
	link->keeper_wake_fd = link->listen_fd = -1;
	for (uint32_t kind = 0; kind < LINK_KINDS; kind++)
		link->path_fds[kind] = -1;
	/* Who hears an event may ask for the progress. */
	(void)pthread_mutexattr_init(&recursive);
	(void)pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	(void)pthread_mutex_init(&link->event_lock, &recursive);
	(void)pthread_mutexattr_destroy(&recursive);
	(void)pthread_mutex_init(&link->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&link->over, &attributes);
	(void)pthread_condattr_destroy(&attributes);
}

/* "tcp:127.0.0.1:43211", with the port that it has now. */
static int name_listener(struct link *link, struct hf_error *err)
{
	struct sockaddr_storage storage = { 0 };
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	socklen_t length = sizeof(storage);
	char host[INET6_ADDRSTRLEN];

	if (strncmp(link->uri, "tcp:", 4) != 0)
		return 0;
	if (getsockname(link->listen_fd, (struct sockaddr *)&storage, &length) < 0)
		return link_fail(err, HF_E_SYSTEM, errno, link->uri, "getsockname");
	if (storage.ss_family == AF_INET) {
		memcpy(&v4, &storage, sizeof(v4));
		(void)inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
	} else {
		memcpy(&v6, &storage, sizeof(v6));
		(void)inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
	}
	(void)snprintf(link->uri, sizeof(link->uri),
		       storage.ss_family == AF_INET ? "tcp:%s:%u" : "tcp:[%s]:%u", host,
		       socket_port(link->listen_fd));
	return 0;
}

static int nonblocking(int fd, struct hf_error *err)
{
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0)
		return 0;
	return link_fail(err, HF_E_SYSTEM, errno, "fcntl", "");
}

static int copy_path(struct link *link, uint32_t kind, const char *path, struct hf_error *err)
{
	struct socket_address ignored;
	char uri[LINK_URI_MAX];
	int r;

	if (!path)
		return 0;
	if (strlen(path) + sizeof("unix:") > sizeof(uri))
		return link_fail(err, HF_E_INVALID, 0, path, "the path of a socket is short");
	(void)snprintf(uri, sizeof(uri), "unix:%s", path);
	r = socket_resolve(uri, &ignored, 1, err);
	if (r < 0)
		return r;
	link->paths[kind] = strdup(path);
	if (!link->paths[kind])
		return link_fail(err, HF_E_NO_MEMORY, 0, "link", "");
	if (link->listens)
		return 0;
	link->path_fds[kind] = r = socket_listen(uri, err);
	return r < 0 ? r : nonblocking(r, err);
}

static int prepare_target(struct link *link, struct hf_error *err)
{
	link->listen_fd = socket_listen(link->uri, err);
	if (link->listen_fd < 0)
		return link->listen_fd;
	if (getrandom(link->token, LINK_SECRET, 0) != (ssize_t)LINK_SECRET)
		return link_fail(err, HF_E_SYSTEM, errno, "getrandom", "");
	if (nonblocking(link->listen_fd, err) < 0)
		return err->code;
	return name_listener(link, err);
}

static int prepare_source(struct link *link, uint32_t connections, struct hf_error *err)
{
	int count = socket_resolve(link->uri, link->addresses, LINK_ADDRESSES_MAX, err);

	if (count < 0)
		return count;
	link->address_count = (uint32_t)count;
	if (getrandom(link->source_secret, LINK_SECRET, 0) != (ssize_t)LINK_SECRET)
		return link_fail(err, HF_E_SYSTEM, errno, "getrandom", "");
	for (uint32_t i = 0; i < connections; i++) {
		int r = link_connection_new(link, i);

		if (r < 0)
			return link_fail(err, HF_E_SYSTEM, -r, "link", "a connection");
		link->connection_count = i + 1;
	}
	return 0;
}

/* Signals are for the threads that the program made. */
static int start(struct link *link, struct hf_error *err)
{
	sigset_t all, old;
	int r = 0;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	for (uint32_t i = 0; r == 0 && i < link->connection_count; i++)
		r = -link_connection_start(link->connections[i]);
	if (r == 0)
		r = pthread_create(&link->keeper, NULL, link_keeper_run, link);
	link->keeper_started = r == 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r ? link_fail(err, HF_E_SYSTEM, r, "link", "a thread") : 0;
}

int link_new(const struct link_config *config, struct link **ret_link, struct hf_error *err)
{
	struct link *link;
	int r = check(config, err);

	if (r < 0)
		return r;
	link = calloc(1, sizeof(*link));
	if (!link)
		return link_fail(err, HF_E_NO_MEMORY, 0, "link", "");
	configure(link, config);
	link->keeper_wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (link->keeper_wake_fd < 0)
		r = link_fail(err, HF_E_SYSTEM, errno, "eventfd", "");
	for (uint32_t kind = 1; r >= 0 && kind < LINK_KINDS; kind++)
		r = copy_path(link, kind, config->paths[kind], err);
	if (r >= 0)
		r = link->listens ? prepare_target(link, err)
				  : prepare_source(link,
						   config->connections ? config->connections
								       : CONNECTIONS_DEFAULT,
						   err);
	if (r >= 0) {
		*ret_link = link; /* before the first event can come */
		r = start(link, err);
	}
	if (r < 0)
		*ret_link = link_free(link);
	return r;
}

/* ---- the end ------------------------------------------------------------------------------- */

static void join(struct link *link)
{
	atomic_store(&link->stopping, true);
	if (link->keeper_started) {
		link_wake(link->keeper_wake_fd);
		(void)pthread_join(link->keeper, NULL);
	}
	/* No connection begins any more: only the keeper makes them. */
	for (uint32_t i = 0; i < LINK_CONNECTIONS_MAX; i++)
		if (link->connections[i] && link->connections[i]->started)
			link_wake(link->connections[i]->wake_fd);
	for (uint32_t i = 0; i < LINK_CONNECTIONS_MAX; i++)
		if (link->connections[i] && link->connections[i]->started)
			(void)pthread_join(link->connections[i]->thread, NULL);
}

static void close_listeners(struct link *link)
{
	char uri[LINK_URI_MAX];

	if (link->listen_fd >= 0)
		socket_unlisten(link->uri, link->listen_fd);
	for (uint32_t kind = 0; kind < LINK_KINDS; kind++) {
		(void)snprintf(uri, sizeof(uri), "unix:%s",
			       link->paths[kind] ? link->paths[kind] : "");
		if (link->path_fds[kind] >= 0)
			socket_unlisten(uri, link->path_fds[kind]);
		free(link->paths[kind]);
	}
	if (link->keeper_wake_fd >= 0)
		(void)close(link->keeper_wake_fd);
}

struct link *link_free(struct link *link)
{
	if (!link)
		return NULL;
	join(link);
	for (uint32_t kind = 0; kind < LINK_KINDS; kind++)
		for (uint32_t i = 0; i < LINK_STREAMS_MAX; i++)
			link_stream_free(link->streams[kind][i]);
	for (uint32_t i = 0; i < LINK_CONNECTIONS_MAX; i++)
		link_connection_free(link->connections[i]);
	close_listeners(link);
	(void)pthread_mutex_destroy(&link->event_lock);
	(void)pthread_mutex_destroy(&link->lock);
	(void)pthread_cond_destroy(&link->over);
	free(link);
	return NULL;
}

/* ---- what callers ask ---------------------------------------------------------------------- */

const char *link_uri(const struct link *link)
{
	return link->uri;
}

int link_stream_fd(struct link *link, uint32_t stream_kind, uint32_t index)
{
	const struct link_stream *stream;
	int fd = -1;

	errno = EBADF;
	if (stream_kind >= LINK_KINDS || index >= LINK_STREAMS_MAX)
		return -1;
	(void)pthread_mutex_lock(&link->lock);
	stream = link->streams[stream_kind][index];
	if (stream && stream->fd >= 0)
		fd = fcntl(stream->fd, F_DUPFD_CLOEXEC, 0);
	(void)pthread_mutex_unlock(&link->lock);
	return fd;
}

void link_stream_keep(struct link *link, uint32_t stream_kind, bool keep)
{
	if (stream_kind >= LINK_KINDS)
		return;
	atomic_store(&link->keep[stream_kind], keep);
	(void)pthread_mutex_lock(&link->lock);
	for (uint32_t i = 0; i < link->connection_count; i++)
		atomic_store(&link->connections[i]->keep_changed, true);
	wake_all(link);
	(void)pthread_mutex_unlock(&link->lock);
}

int link_finish(struct link *link, uint32_t stream_kind, uint64_t timeout_us)
{
	uint64_t until_us = link_now_us() + timeout_us;
	const struct timespec until = { .tv_sec = (time_t)(until_us / LINK_US),
					.tv_nsec = (long)(until_us % LINK_US * 1000) };
	int r = 0, code;

	if (stream_kind >= LINK_KINDS)
		return HF_E_INVALID;
	(void)pthread_mutex_lock(&link->lock);
	while (r == 0 && link->live_count[stream_kind] && !atomic_load(&link->dead))
		r = pthread_cond_timedwait(&link->over, &link->lock, &until);
	code = link->live_count[stream_kind] == 0 ? 0
	       : atomic_load(&link->dead)	  ? HF_E_CONNECTION_LOST
						  : HF_E_DEADLINE;
	(void)pthread_mutex_unlock(&link->lock);
	return code;
}

void link_progress(struct link *link, struct link_progress *ret)
{
	struct link_progress progress = {
		.sent = atomic_load_explicit(&link->sent, memory_order_relaxed),
		.received = atomic_load_explicit(&link->received, memory_order_relaxed),
	};

	(void)pthread_mutex_lock(&link->event_lock);
	progress.losses = link->losses;
	progress.up = link->all_up;
	progress.lost_us = link->lost_us;
	if (link->been_up && !link->all_up && !atomic_load(&link->dead))
		progress.lost_us += link_now_us() - link->lost_since_us;
	(void)pthread_mutex_unlock(&link->event_lock);
	*ret = progress;
}
