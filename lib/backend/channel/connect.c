/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses become connections: the side that calls. No repeating: whoever wants that, does it. */
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#include "backend/channel.h"
#include "backend/channel/socket.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/time.h"

/* The judgement of an errno of connect(). */
static int judge(int cause)
{
	switch (cause) {
	case ETIMEDOUT:
		return HF_E_DEADLINE;
	case ENOMEM:
	case ENOBUFS:
		return HF_E_NO_MEMORY;
	case EMFILE:
	case ENFILE:
	case EACCES:
	case EPERM:
		return HF_E_SYSTEM;
	default:
		return HF_E_CONNECT;
	}
}

/* One attempt; a descriptor or a negative errno. */
static int try_inet(const struct sockaddr_storage *addr, socklen_t length, uint64_t deadline_ns)
{
	_cleanup_close_ int fd = -1;
	int cause = 0, r;
	socklen_t size = sizeof(cause);

	fd = socket(addr->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	socket_tune(fd);
	if (connect(fd, (const struct sockaddr *)addr, length) < 0) {
		if (errno != EINPROGRESS && errno != EINTR)
			return -errno;
		r = socket_wait(fd, POLLOUT, deadline_ns);
		if (r < 0)
			return r;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &cause, &size) < 0)
			return -errno;
		if (cause)
			return -cause;
	}
	return TAKE_FD(fd);
}

/* All addresses of the name in turn; each gets its share of the time that is left. */
static int connect_tcp(const struct address *address, const char *uri, uint64_t deadline_ns,
		       struct hf_error *err)
{
	struct resolved resolved = { 0 };
	uint64_t now, until = 0;
	int fd = -ECONNREFUSED, r;

	r = address_resolve(address, 0, deadline_ns, &resolved, err);
	if (r < 0)
		return error_prepend(err, "connect to %s", uri), r;
	assert(resolved.count > 0);
	for (unsigned int i = 0; i < resolved.count; i++) {
		now = time_now_ns();
		if (deadline_ns)
			until = deadline_ns > now ? now + (deadline_ns - now) / (resolved.count - i)
						  : deadline_ns;
		fd = try_inet(&resolved.at[i].addr, resolved.at[i].length, until);
		if (fd >= 0)
			return fd;
	}
	return error_set(err, judge(-fd), -fd, "connect to %s", uri);
}

/*
 * UNIX sockets connect at once, unless the listener's queue is full; a non-blocking connect() would
 * say EAGAIN then, and nothing to poll for. A blocking one keeps to SO_SNDTIMEO.
 */
static int connect_unix(const struct address *address, const char *uri, uint64_t deadline_ns,
			struct hf_error *err)
{
	_cleanup_close_ int fd = -1;
	struct timeval timeout = { 0 };
	uint64_t now, left_us;
	int r, listening;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, HF_E_SYSTEM, errno, "connect to %s: socket", uri);
	do {
		if (deadline_ns) {
			now = time_now_ns();
			left_us = deadline_ns > now ? (deadline_ns - now) / NS_PER_US : 0;
			left_us += left_us == 0; /* 0 would be: for ever */
			timeout.tv_sec = (time_t)(left_us / 1000000);
			timeout.tv_usec = (suseconds_t)(left_us % 1000000);
			(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
		}
		r = connect(fd, (const struct sockaddr *)&address->un, sizeof(address->un));
	} while (r < 0 && errno == EINTR);
	if (r < 0 && errno == EAGAIN)
		return error_set(err, HF_E_DEADLINE, 0,
				 "connect to %s: the listener's queue stayed full", uri);
	if (r < 0)
		return error_set(err, judge(errno), errno, "connect to %s", uri);
	timeout = (struct timeval){ 0 };
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	r = address_take_fd(fd, &listening, err); /* non-blocking from here on */
	if (r < 0)
		return r;
	socket_tune(fd);
	return TAKE_FD(fd);
}

static int connect_fd(int fd, struct hf_error *err)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int listening, r;

	r = address_take_fd(fd, &listening, err);
	if (r < 0)
		return r;
	if (listening)
		return error_set(err, HF_E_INVALID, 0,
				 "address fd:%d: the socket listens; connect needs a connected one",
				 fd);
	if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0)
		return error_set(err, HF_E_INVALID, errno, "address fd:%d", fd);
	socket_tune(fd);
	return fd;
}

int channel_from_fd(int fd, struct hf_channel *ret, struct hf_error *err)
{
	struct hf_channel channel = { 0 };
	int r;

	r = connect_fd(fd, err);
	if (r >= 0 && socket_channel(fd, &channel) < 0)
		r = error_set(err, HF_E_NO_MEMORY, ENOMEM, "make a channel");
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	*ret = channel;
	return 0;
}

int channel_connect(const char *uri, uint64_t deadline_ns, struct hf_channel *ret,
		    struct hf_error *err)
{
	struct address address;
	int fd = -1, r;

	r = address_parse(uri, 0, &address, err);
	if (r < 0)
		return r;
	switch (address.kind) {
	case ADDRESS_TCP:
		fd = connect_tcp(&address, uri, deadline_ns, err);
		break;
	case ADDRESS_UNIX:
		fd = connect_unix(&address, uri, deadline_ns, err);
		break;
	case ADDRESS_FD:
		fd = connect_fd(address.fd, err);
		break;
	}
	if (fd < 0)
		return fd;
	r = socket_channel(fd, ret);
	if (r < 0) {
		if (address.kind != ADDRESS_FD) /* a given one stays the caller's on failure */
			(void)close(fd);
		return error_set(err, HF_E_NO_MEMORY, -r, "connect to %s", uri);
	}
	return 0;
}
