/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A proxy for tests of the link: passes octets on between the source and the target, until it cuts
 * connections, or falls silent, behind exactly the octet it was told. One thread.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "guard-link-world.h"
#include "guard/socket.h"

#define PAIRS 64

struct pair {
	int fds[2]; /* of source and target; -1: not used */
	bool silent;
	bool ended[2];
};

enum what { NOTHING, CUT_ONE, CUT_ALL, SILENCE };

/* Under the lock: plan. The rest is the thread's. */
struct proxy {
	pthread_t thread;
	pthread_mutex_t lock;
	int listen_fd, wake_fd;
	char uri[256], to[256];
	atomic_bool stop;
	atomic_uint connections;
	enum what what;
	enum proxy_way way;
	uint64_t left;
	bool struck, closed;
	struct pair pairs[PAIRS];
};

static void close_pair(struct pair *pair)
{
	for (int i = 0; i < 2; i++) {
		if (pair->fds[i] >= 0)
			(void)close(pair->fds[i]);
		pair->fds[i] = -1;
	}
}

static void close_all(struct proxy *proxy)
{
	for (int i = 0; i < PAIRS; i++)
		close_pair(&proxy->pairs[i]);
}

/* Behind the octet: under the lock. */
static void strike(struct proxy *proxy, struct pair *pair)
{
	proxy->struck = true;
	if (proxy->what == CUT_ONE)
		close_pair(pair);
	else if (proxy->what == CUT_ALL)
		close_all(proxy);
	else
		for (int i = 0; i < PAIRS; i++)
			proxy->pairs[i].silent = true;
	proxy->what = NOTHING;
}

static bool send_all(int fd, const uint8_t *bytes, size_t size)
{
	while (size) {
		ssize_t done = send(fd, bytes, size, MSG_NOSIGNAL);

		if (done <= 0)
			return false;
		bytes += done;
		size -= (size_t)done;
	}
	return true;
}

/* Passes on what is there, up to where it shall strike. */
static void pass(struct proxy *proxy, struct pair *pair, enum proxy_way way)
{
	uint8_t bytes[16384];
	size_t size = sizeof(bytes);
	bool counts, strikes = false;
	ssize_t got;

	(void)pthread_mutex_lock(&proxy->lock);
	counts = proxy->what != NOTHING && proxy->way == way;
	if (counts && proxy->left < size)
		size = (size_t)proxy->left;
	(void)pthread_mutex_unlock(&proxy->lock);
	got = size ? recv(pair->fds[way], bytes, size, 0) : 0;
	if (size && got <= 0) {
		pair->ended[way] = true;
		(void)shutdown(pair->fds[!way], SHUT_WR);
		if (got < 0 || pair->ended[!way])
			close_pair(pair);
		return;
	}
	if (got > 0 && !send_all(pair->fds[!way], bytes, (size_t)got)) {
		close_pair(pair);
		return;
	}
	(void)pthread_mutex_lock(&proxy->lock);
	if (counts && proxy->what != NOTHING) {
		proxy->left -= (uint64_t)got;
		strikes = proxy->left == 0;
	}
	if (strikes)
		strike(proxy, pair);
	(void)pthread_mutex_unlock(&proxy->lock);
}

static void come_in(struct proxy *proxy)
{
	int fd = accept4(proxy->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct hf_error err;
	bool closed;

	(void)pthread_mutex_lock(&proxy->lock);
	closed = proxy->closed;
	(void)pthread_mutex_unlock(&proxy->lock);
	if (fd >= 0 && !closed)
		(void)atomic_fetch_add(&proxy->connections, 1);
	for (int i = 0; i < PAIRS && fd >= 0 && !closed; i++) {
		struct pair *pair = &proxy->pairs[i];
		int to;

		if (pair->fds[0] >= 0 || pair->fds[1] >= 0)
			continue;
		to = socket_connect(proxy->to, &err);
		if (to < 0)
			break;
		*pair = (struct pair){ .fds = { fd, to } };
		return;
	}
	if (fd >= 0)
		(void)close(fd);
}

static void *proxy_run(void *arg)
{
	struct proxy *proxy = arg;
	struct pollfd fds[2 + 2 * PAIRS];
	uint64_t count;

	while (!atomic_load(&proxy->stop)) {
		fds[0] = (struct pollfd){ .fd = proxy->wake_fd, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = proxy->listen_fd, .events = POLLIN };
		for (int i = 0; i < 2 * PAIRS; i++) {
			const struct pair *pair = &proxy->pairs[i / 2];
			bool wanted = !pair->silent && !pair->ended[i % 2];

			fds[2 + i] = (struct pollfd){ .fd = wanted ? pair->fds[i % 2] : -1,
						      .events = POLLIN };
		}
		if (poll(fds, 2 + 2 * PAIRS, -1) < 0)
			continue;
		if (fds[0].revents)
			(void)!read(proxy->wake_fd, &count, sizeof(count));
		(void)pthread_mutex_lock(&proxy->lock);
		if (proxy->closed)
			close_all(proxy);
		(void)pthread_mutex_unlock(&proxy->lock);
		for (int i = 0; i < 2 * PAIRS; i++) {
			struct pair *pair = &proxy->pairs[i / 2];

			if (fds[2 + i].revents && pair->fds[0] >= 0 && !pair->silent)
				pass(proxy, pair, i % 2 ? TO_SOURCE : TO_TARGET);
		}
		if (fds[1].revents)
			come_in(proxy);
	}
	close_all(proxy);
	return NULL;
}

struct proxy *proxy_new(const char *to_uri)
{
	struct proxy *proxy = calloc(1, sizeof(*proxy));

	assert_non_null(proxy);
	(void)pthread_mutex_init(&proxy->lock, NULL);
	(void)snprintf(proxy->to, sizeof(proxy->to), "%s", to_uri);
	proxy->listen_fd = tcp_listen(proxy->uri);
	proxy->wake_fd = eventfd(0, EFD_CLOEXEC);
	for (int i = 0; i < PAIRS; i++)
		proxy->pairs[i].fds[0] = proxy->pairs[i].fds[1] = -1;
	assert_int_equal(pthread_create(&proxy->thread, NULL, proxy_run, proxy), 0);
	return proxy;
}

static void wake(struct proxy *proxy)
{
	const uint64_t one = 1;

	assert_int_equal(write(proxy->wake_fd, &one, sizeof(one)), sizeof(one));
}

void proxy_free(struct proxy *proxy)
{
	if (!proxy)
		return;
	atomic_store(&proxy->stop, true);
	wake(proxy);
	(void)pthread_join(proxy->thread, NULL);
	(void)close(proxy->listen_fd);
	(void)close(proxy->wake_fd);
	(void)pthread_mutex_destroy(&proxy->lock);
	free(proxy);
}

const char *proxy_uri(const struct proxy *proxy)
{
	return proxy->uri;
}

static void plan(struct proxy *proxy, enum what what, enum proxy_way way, uint64_t octets)
{
	(void)pthread_mutex_lock(&proxy->lock);
	proxy->what = what;
	proxy->way = way;
	proxy->left = octets;
	proxy->struck = false;
	(void)pthread_mutex_unlock(&proxy->lock);
}

void proxy_cut_after(struct proxy *proxy, enum proxy_way way, uint64_t octets, bool all)
{
	plan(proxy, all ? CUT_ALL : CUT_ONE, way, octets);
}

void proxy_silence_after(struct proxy *proxy, enum proxy_way way, uint64_t octets)
{
	plan(proxy, SILENCE, way, octets);
}

bool proxy_has_struck(struct proxy *proxy)
{
	bool struck;

	(void)pthread_mutex_lock(&proxy->lock);
	struck = proxy->struck;
	(void)pthread_mutex_unlock(&proxy->lock);
	return struck;
}

void proxy_close(struct proxy *proxy, bool closed)
{
	(void)pthread_mutex_lock(&proxy->lock);
	proxy->closed = closed;
	(void)pthread_mutex_unlock(&proxy->lock);
	wake(proxy);
}

uint32_t proxy_connections(struct proxy *proxy)
{
	return atomic_load(&proxy->connections);
}
