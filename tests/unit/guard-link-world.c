/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard-link-world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "guard/socket.h"

/* ---- what is left behind ------------------------------------------------------------------- */

static int entries(const char *folder)
{
	DIR *dir = opendir(folder);
	int count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	(void)closedir(dir);
	return count;
}

static int open_fds(void)
{
	return entries("/proc/self/fd");
}

static int threads(void)
{
	return entries("/proc/self/task");
}

static void *nothing(void *arg)
{
	return arg;
}

/* A sanitizer may have a thread of its own, from the first other one on. */
static int threads_of_others(void)
{
	static bool warm;
	pthread_t thread;

	if (!warm && pthread_create(&thread, NULL, nothing, NULL) == 0)
		(void)pthread_join(thread, NULL);
	warm = true;
	return threads();
}

/* The kernel forgets a thread a moment after it was joined. */
static void wait_threads(int count)
{
	for (int i = 0; threads() > count && i < 10000; i++)
		(void)poll(NULL, 0, 1);
	assert_int_equal(threads(), count);
}

/* ---- events -------------------------------------------------------------------------------- */

void teller_init(struct teller *teller)
{
	(void)pthread_mutex_init(&teller->lock, NULL);
	(void)pthread_cond_init(&teller->more, NULL);
	teller->count = 0;
}

void teller_hear(void *self, const struct link_event *event)
{
	struct teller *teller = self;
	struct told *told;

	(void)pthread_mutex_lock(&teller->lock);
	if (teller->count == WORLD_EVENTS)
		abort();
	told = &teller->told[teller->count++];
	told->kind = event->kind;
	told->stream_kind = event->stream_kind;
	told->index = event->index;
	(void)snprintf(told->text, sizeof(told->text), "%s", event->text);
	(void)pthread_cond_broadcast(&teller->more);
	(void)pthread_mutex_unlock(&teller->lock);
}

static const struct told *find(struct teller *teller, const struct told *like, uint32_t n)
{
	for (uint32_t i = 0; i < teller->count; i++) {
		const struct told *told = &teller->told[i];

		if (told->kind == like->kind &&
		    (!like->stream_kind ||
		     (told->stream_kind == like->stream_kind && told->index == like->index)) &&
		    n-- == 0)
			return told;
	}
	return NULL;
}

static const struct told *wait_for(struct teller *teller, const struct told *like, uint32_t n)
{
	const struct told *found;
	struct timespec until;
	int r = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_MS / 1000;
	(void)pthread_mutex_lock(&teller->lock);
	while (!(found = find(teller, like, n)) && r == 0)
		r = pthread_cond_timedwait(&teller->more, &teller->lock, &until);
	(void)pthread_mutex_unlock(&teller->lock);
	if (!found) {
		for (uint32_t i = 0; i < teller->count; i++)
			print_message("told: %d of %u:%u: %s\n", (int)teller->told[i].kind,
				      teller->told[i].stream_kind, teller->told[i].index,
				      teller->told[i].text);
		fail_msg("event %d (%u) did not come", (int)like->kind, n);
	}
	return found;
}

const struct told *teller_wait(struct teller *teller, enum link_event_kind kind, uint32_t n)
{
	const struct told like = { .kind = kind };

	return wait_for(teller, &like, n);
}

const struct told *teller_wait_stream(struct teller *teller, enum link_event_kind kind,
				      uint32_t stream_kind, uint32_t index)
{
	const struct told like = { .kind = kind, .stream_kind = stream_kind, .index = index };

	return wait_for(teller, &like, 0);
}

uint32_t teller_count(struct teller *teller, enum link_event_kind kind)
{
	uint32_t count = 0;

	(void)pthread_mutex_lock(&teller->lock);
	for (uint32_t i = 0; i < teller->count; i++)
		count += teller->told[i].kind == kind;
	(void)pthread_mutex_unlock(&teller->lock);
	return count;
}

/* ---- the world ----------------------------------------------------------------------------- */

static int unix_listen(const char *path, int backlog)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

void world_prepare(struct world *world)
{
	static const char *const names[] = { "none", "session", "qemu" };

	memset(world, 0, sizeof(*world));
	world->fds_before = open_fds();
	world->threads_before = threads_of_others();
	teller_init(&world->source_told);
	teller_init(&world->target_told);
	(void)snprintf(world->folder, sizeof(world->folder), "/tmp/hf-link-XXXXXX");
	assert_non_null(mkdtemp(world->folder));
	world->source_config.event = world->target_config.event = teller_hear;
	world->source_config.ctx = &world->source_told;
	world->target_config.ctx = &world->target_told;
	world->target_config.listens = true;
	world->target_config.uri = "tcp:127.0.0.1:0";
	for (uint32_t kind = 1; kind < LINK_KINDS; kind++) {
		for (int side = 0; side < 2; side++)
			(void)snprintf(world->paths[side][kind], sizeof(world->paths[side][kind]),
				       "%s/%s-%s", world->folder, side ? "target" : "source",
				       names[kind]);
		world->source_config.paths[kind] = world->paths[0][kind];
		world->target_config.paths[kind] = world->paths[1][kind];
		world->listeners[kind] = unix_listen(world->paths[1][kind], 64);
	}
}

void world_start_target(struct world *world)
{
	struct hf_error err;

	if (link_new(&world->target_config, &world->target, &err) < 0)
		fail_msg("target: %s", err.text);
	(void)snprintf(world->uri, sizeof(world->uri), "%s", link_uri(world->target));
}

void world_start_proxy(struct world *world)
{
	world->proxy = proxy_new(world->uri);
}

void world_start_source(struct world *world)
{
	struct hf_error err;

	if (!world->source_config.uri)
		world->source_config.uri = world->proxy ? proxy_uri(world->proxy) : world->uri;
	if (link_new(&world->source_config, &world->source, &err) < 0)
		fail_msg("source: %s", err.text);
}

void world_start(struct world *world)
{
	world_start_target(world);
	world_start_source(world);
}

void world_end(struct world *world)
{
	world->source = link_free(world->source);
	world->target = link_free(world->target);
	proxy_free(world->proxy);
	for (uint32_t kind = 1; kind < LINK_KINDS; kind++) {
		assert_int_not_equal(access(world->paths[0][kind], F_OK), 0);
		if (world->listeners[kind] >= 0)
			(void)close(world->listeners[kind]);
		(void)unlink(world->paths[1][kind]);
	}
	assert_int_equal(rmdir(world->folder), 0);
	assert_int_equal(open_fds(), world->fds_before);
	wait_threads(world->threads_before);
}

/* ---- local sockets ------------------------------------------------------------------------- */

void patient(int fd)
{
	const struct timeval time = { .tv_sec = PATIENCE_MS / 1000 };

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time)), 0);
}

int world_connect(const struct world *world, uint32_t kind)
{
	char uri[160];
	struct hf_error err;
	int fd;

	(void)snprintf(uri, sizeof(uri), "unix:%s", world->paths[0][kind]);
	fd = socket_connect(uri, &err);
	if (fd < 0)
		fail_msg("%s", err.text);
	patient(fd);
	return fd;
}

int accept_patiently(int listener)
{
	struct pollfd poll_fd = { .fd = listener, .events = POLLIN };
	int fd;

	assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	patient(fd);
	return fd;
}

int world_accept(const struct world *world, uint32_t kind)
{
	return accept_patiently(world->listeners[kind]);
}

bool is_quiet(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN | POLLRDHUP };

	return poll(&poll_fd, 1, 0) == 0;
}

void say(int fd, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	while (size) {
		ssize_t done = send(fd, at, size, MSG_NOSIGNAL);

		if (done <= 0)
			fail_msg("send: %s", strerror(errno));
		at += done;
		size -= (size_t)done;
	}
}

void hear(int fd, const void *bytes, size_t size)
{
	uint8_t buf[4096];
	ssize_t got;

	assert_true(size <= sizeof(buf));
	got = recv(fd, buf, size, MSG_WAITALL);
	if (got != (ssize_t)size)
		fail_msg("received %zd of %zu: %s", got, size, strerror(errno));
	assert_memory_equal(buf, bytes, size);
}

void hear_end(int fd)
{
	uint8_t byte;
	ssize_t got = recv(fd, &byte, 1, 0);

	if (got != 0 && !(got < 0 && errno == ECONNRESET))
		fail_msg("no end, but %zd", got);
}

/* ---- flows --------------------------------------------------------------------------------- */

/* The octet at an offset, by seed. */
static void pattern(uint64_t seed, uint64_t at, uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint64_t x = (at + i) / 8 * UINT64_C(0x9e3779b97f4a7c15) + seed;

		x ^= x >> 29;
		x *= UINT64_C(0xbf58476d1ce4e5b9);
		bytes[i] = (uint8_t)(x >> ((at + i) % 8 * 8));
	}
}

static ssize_t step(struct flow *flow, uint8_t *bytes, uint8_t *expected, size_t size)
{
	ssize_t done;

	pattern(flow->seed, flow->done, expected, size);
	if (flow->sends)
		return send(flow->fd, expected, size, MSG_NOSIGNAL);
	done = recv(flow->fd, bytes, size, 0);
	if (done > 0 && memcmp(bytes, expected, (size_t)done) != 0)
		return -1;
	return done;
}

static void *flow_run(void *arg)
{
	static const size_t size_max = 65536;
	struct flow *flow = arg;
	uint8_t *bytes = malloc(2 * size_max), byte;

	while (bytes && flow->done < flow->size) {
		uint64_t left = flow->size - flow->done;
		ssize_t done = step(flow, bytes, bytes + size_max,
				    left < size_max ? (size_t)left : size_max);

		if (done <= 0)
			break;
		flow->done += (uint64_t)done;
	}
	free(bytes);
	flow->wrong = flow->done != flow->size;
	if (flow->ends && flow->sends)
		flow->wrong |= shutdown(flow->fd, SHUT_WR) != 0;
	else if (flow->ends)
		flow->wrong |= recv(flow->fd, &byte, 1, 0) != 0;
	return NULL;
}

void flow_start(struct flow *flow)
{
	flow->done = 0;
	flow->wrong = false;
	assert_int_equal(pthread_create(&flow->thread, NULL, flow_run, flow), 0);
}

void flow_join(struct flow *flow)
{
	(void)pthread_join(flow->thread, NULL);
	if (flow->wrong)
		fail_msg("a flow that %s went wrong after %llu of %llu octets",
			 flow->sends ? "sends" : "receives", (unsigned long long)flow->done,
			 (unsigned long long)flow->size);
}

void open_pair(const struct world *world, uint32_t kind, int *ret_near, int *ret_far)
{
	*ret_near = world_connect(world, kind);
	say(*ret_near, "!", 1);
	*ret_far = world_accept(world, kind);
	hear(*ret_far, "!", 1);
	say(*ret_far, "?", 1);
	hear(*ret_near, "?", 1);
}

void close_both(int a, int b)
{
	(void)close(a);
	(void)close(b);
}
