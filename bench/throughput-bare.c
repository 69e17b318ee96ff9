/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bare copy: a thread for each connection at either side, writev of 2 MiB from guest memory,
 * readv into fresh memory, and nothing else.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <holdfast/types.h>

#include "throughput.h"

#define CHUNK (2u << 20) /* what a PAGES record carries */

struct lane {
	pthread_t thread;
	int fd;
	uint8_t *memory;
	uint64_t bytes;
	int send;
};

static void *run_lane(void *arg)
{
	struct lane *lane = arg;
	uint64_t done = 0;

	while (done < lane->bytes) {
		uint64_t left = lane->bytes - done, piece = CHUNK - done % CHUNK;
		struct iovec iov = { lane->memory + done, left < piece ? left : piece };
		ssize_t got = lane->send ? writev(lane->fd, &iov, 1) : readv(lane->fd, &iov, 1);

		if (got <= 0)
			die("bare copy");
		done += (uint64_t)got;
	}
	return NULL;
}

static void run_lanes(struct lane *lanes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (pthread_create(&lanes[i].thread, NULL, run_lane, &lanes[i]))
			die("thread");
	for (uint32_t i = 0; i < count; i++)
		(void)pthread_join(lanes[i].thread, NULL);
}

static void split(struct lane *lanes, uint32_t count, void *memory, uint64_t bytes, int send)
{
	uint64_t part = bytes / count / CHUNK * CHUNK;

	for (uint32_t i = 0; i < count; i++) {
		lanes[i].memory = (uint8_t *)memory + part * i;
		lanes[i].bytes = i == count - 1 ? bytes - part * i : part;
		lanes[i].send = send;
	}
}

static void set_option(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
		die("setsockopt");
}

/* As lib/backend/channel/socket.c does; the sizes of buffers are TCP's own business there, too. */
static void set_options(int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 30000);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

static void bare_target(int listener, uint64_t bytes, uint32_t channels)
{
	struct lane lanes[HF_CHANNELS_MAX] = { 0 };
	int fd;

	split(lanes, channels, fresh_memory(bytes, &fd), bytes, 0);
	for (uint32_t i = 0; i < channels; i++) {
		lanes[i].fd = accept(listener, NULL, NULL);
		if (lanes[i].fd < 0)
			die("accept");
		set_options(lanes[i].fd);
	}
	run_lanes(lanes, channels);
	_exit(0);
}

struct result bare_copy(const struct bench *bench, uint32_t channels)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	struct lane lanes[HF_CHANNELS_MAX] = { 0 };
	struct result result;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = 0;
	double begin, cpu_begin = cpu_of(RUSAGE_SELF), cpu_children = cpu_of(RUSAGE_CHILDREN);
	pid_t child;

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
	    listen(listener, (int)channels) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) < 0)
		die("listen");
	begin = now();
	child = fork_target();
	if (child == 0)
		bare_target(listener, bench->bytes, channels);
	split(lanes, channels, bench->memory, bench->bytes, 1);
	for (uint32_t i = 0; i < channels; i++) {
		lanes[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		set_options(lanes[i].fd);
		if (connect(lanes[i].fd, (struct sockaddr *)&address, length) < 0)
			die("connect");
	}
	run_lanes(lanes, channels);
	for (uint32_t i = 0; i < channels; i++)
		(void)close(lanes[i].fd);
	if (waitpid(child, &status, 0) < 0 || status)
		die("bare copy");
	result.seconds = now() - begin;
	result.cpu_seconds =
		cpu_of(RUSAGE_SELF) - cpu_begin + cpu_of(RUSAGE_CHILDREN) - cpu_children;
	(void)close(listener);
	return result;
}
