/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel over a connected stream socket (TCP or UNIX). Calls first try and wait only on EAGAIN,
 * so that a busy connection costs one system call per call. How it came to be connected is not
 * known here.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/channel/socket.h"
#include "base/time.h"

/*
 * UNIX sockets have no autotuning, and their default of 208 KiB makes a bulk sender and its
 * receiver take turns; more than this no longer fits into a cache. TCP tunes itself up to
 * net.ipv4.tcp_wmem and tcp_rmem; a fixed size would switch that off, and is capped by
 * net.core.wmem_max, which is smaller on most hosts.
 */
#define UNIX_BUFFER_BYTES (1 << 20)

/* Unacknowledged for this long, or silent to keep-alive probes: the connection is lost. */
#define TCP_SILENCE_MS 30000
#define TCP_PROBE_AFTER_S 10
#define TCP_PROBE_EVERY_S 5

/* Immutable after creation; the socket itself may be used by one sender and one receiver. */
struct socket_self {
	int fd;
};

int socket_wait(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	struct timespec timeout;
	uint64_t left = 0;
	int r;

	for (;;) {
		if (deadline_ns) {
			uint64_t now = time_now_ns();

			left = deadline_ns > now ? deadline_ns - now : 0;
			timeout.tv_sec = (time_t)(left / NS_PER_S);
			timeout.tv_nsec = (long)(left % NS_PER_S);
		}
		r = ppoll(&poll_fd, 1, deadline_ns ? &timeout : NULL, NULL);
		if (r > 0)
			return 0; /* also POLLERR and POLLHUP: the next call on fd says what */
		/* Who slept much longer than that was stopped, and perhaps its host: one moment. */
		if (r == 0 && left && time_now_ns() > deadline_ns + NS_PER_S) {
			deadline_ns = time_now_ns() + NS_PER_S;
			continue;
		}
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

/* Our kernel's giving up is not the caller's deadline, which is what -ETIMEDOUT says here. */
static int lost(int cause)
{
	return cause == ETIMEDOUT ? -ECONNABORTED : -cause;
}

/* Drop the first done bytes from iov. */
static void advance(struct iovec **iov, uint32_t *count, size_t done)
{
	while (*count && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (!*count) {
		assert(done == 0);
		return;
	}
	(*iov)->iov_base = (char *)(*iov)->iov_base + done;
	(*iov)->iov_len -= done;
}

static int sock_sendv(void *self, struct iovec *iov, uint32_t count, uint64_t deadline_ns)
{
	const struct socket_self *sock = self;
	struct msghdr msg = { 0 };
	ssize_t n;
	int r;

	advance(&iov, &count, 0); /* empty ones in front */
	while (count) {
		msg.msg_iov = iov;
		msg.msg_iovlen = count < IOV_MAX ? count : IOV_MAX;
		n = sendmsg(sock->fd, &msg, MSG_NOSIGNAL);
		if (n >= 0) {
			advance(&iov, &count, (size_t)n);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return lost(errno);
		r = socket_wait(sock->fd, POLLOUT, deadline_ns);
		if (r < 0)
			return r;
	}
	return 0;
}

static ssize_t sock_recvv(void *self, struct iovec *iov, uint32_t count, uint64_t deadline_ns)
{
	const struct socket_self *sock = self;
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count < IOV_MAX ? count : IOV_MAX };
	ssize_t n;
	int r;

	for (;;) {
		n = recvmsg(sock->fd, &msg, 0);
		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return lost(errno);
		r = socket_wait(sock->fd, POLLIN, deadline_ns);
		if (r < 0)
			return r;
	}
}

static int sock_fd(void *self)
{
	const struct socket_self *sock = self;

	return sock->fd;
}

static void sock_shutdown(void *self)
{
	const struct socket_self *sock = self;

	(void)shutdown(sock->fd, SHUT_RDWR); /* ENOTCONN: it has ended already */
}

static void sock_finish(void *self)
{
	const struct socket_self *sock = self;

	(void)shutdown(sock->fd, SHUT_WR); /* ENOTCONN: it has ended already */
}

static void sock_close(void *self)
{
	struct socket_self *sock = self;

	if (!sock)
		return;
	(void)close(sock->fd); /* whether all arrived is the protocol's business */
	free(sock);
}

static const struct hf_channel_ops sock_ops = {
	.size = sizeof(sock_ops),
	.kind = "socket",
	.sendv = sock_sendv,
	.recvv = sock_recvv,
	.fd = sock_fd,
	.shutdown = sock_shutdown,
	.close = sock_close,
	.finish = sock_finish,
};

static void set(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value)); /* best effort */
}

void socket_tune(int fd)
{
	int domain = 0;
	socklen_t length = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0)
		return;
	if (domain == AF_UNIX) {
		set(fd, SOL_SOCKET, SO_SNDBUF, UNIX_BUFFER_BYTES);
		set(fd, SOL_SOCKET, SO_RCVBUF, UNIX_BUFFER_BYTES);
		return;
	}
	if (domain != AF_INET && domain != AF_INET6)
		return;
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, TCP_SILENCE_MS);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, TCP_PROBE_AFTER_S);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, TCP_PROBE_EVERY_S);
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

int socket_channel(int fd, struct hf_channel *ret)
{
	struct socket_self *sock = malloc(sizeof(*sock));

	assert(fd >= 0);
	if (!sock)
		return -ENOMEM;
	sock->fd = fd;
	ret->ops = &sock_ops;
	ret->self = sock;
	return 0;
}
