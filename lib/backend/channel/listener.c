/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The side that is called. Whoever connects is accepted: who it is, the stream finds out
 * (docs/stream.md).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/channel.h"
#include "backend/channel/socket.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/time.h"

#define BACKLOG 128
#define LOCK_WAIT_NS (2 * NS_PER_S)
#define LOCK_POLL_NS (5 * NS_PER_MS)

/* Owner: one thread at a time. */
struct listener {
	int fd; /* listens; -1 with once_fd */
	int once_fd; /* a connected socket that is accepted once; -1 otherwise, and afterwards */
	int event_fd; /* with once_fd: readable until it is accepted */
	int made_file; /* path is ours, and is this inode: */
	dev_t dev;
	ino_t ino;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char uri[HF_URI_MAX];
};

static int format_tcp(struct listener *listener, struct hf_error *err)
{
	struct sockaddr_storage addr;
	socklen_t length = sizeof(addr);
	char host[NI_MAXHOST], port[NI_MAXSERV];
	int status;

	if (getsockname(listener->fd, (struct sockaddr *)&addr, &length) < 0)
		return error_set(err, HF_E_SYSTEM, errno, "name of the listening socket");
	status = getnameinfo((const struct sockaddr *)&addr, length, host, sizeof(host), port,
			     sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	if (status)
		return error_set(err, HF_E_SYSTEM, 0, "name of the listening socket: %s",
				 gai_strerror(status));
	if (snprintf(listener->uri, sizeof(listener->uri),
		     addr.ss_family == AF_INET6 ? "tcp:[%s]:%s" : "tcp:%s:%s", host,
		     port) >= (int)sizeof(listener->uri))
		return error_set(err, HF_E_SYSTEM, ENAMETOOLONG, "name of the listening socket");
	return 0;
}

static int try_listen(const struct sockaddr *addr, socklen_t length)
{
	_cleanup_close_ int fd = -1;
	int one = 1;

	fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (addr->sa_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	socket_tune(fd); /* what is accepted inherits it */
	if (bind(fd, addr, length) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int open_tcp(struct listener *listener, const struct address *address, const char *uri,
		    struct hf_error *err)
{
	struct resolved resolved = { 0 };
	int fd = -EADDRNOTAVAIL, r;

	r = address_resolve(address, 1, time_now_ns() + 10 * NS_PER_S, &resolved, err);
	if (r < 0)
		return error_prepend(err, "listen on %s", uri), r;
	for (unsigned int i = 0; i < resolved.count && fd < 0; i++)
		fd = try_listen((const struct sockaddr *)&resolved.at[i].addr,
				resolved.at[i].length);
	if (fd < 0)
		return error_set(err, HF_E_SYSTEM, -fd, "listen on %s", uri);
	listener->fd = fd;
	return format_tcp(listener, err);
}

/*
 * The lock of the socket's directory: between our looking whether somebody listens there and our
 * taking the name, nobody else of us does the same.
 */
static int lock_directory(const char *path, const char *uri, struct hf_error *err)
{
	_cleanup_close_ int fd = -1;
	char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
	uint64_t until = time_now_ns() + LOCK_WAIT_NS;
	const struct timespec pause = { .tv_nsec = (long)LOCK_POLL_NS };

	(void)snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, HF_E_SYSTEM, errno, "listen on %s: its directory", uri);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_set(err, HF_E_SYSTEM, errno, "listen on %s: lock directory",
					 uri);
		if (time_now_ns() >= until)
			return error_set(err, HF_E_SYSTEM, EBUSY,
					 "listen on %s: the directory is locked by another process",
					 uri);
		(void)nanosleep(&pause, NULL); /* a lock of another process cannot be polled */
	}
	return TAKE_FD(fd);
}

/* A name that is taken: 0 when nobody listens there any more and it is gone now. */
static int remove_stale(const struct address *address, const char *uri, struct hf_error *err)
{
	_cleanup_close_ int probe = -1;
	struct stat st;

	if (lstat(address->un.sun_path, &st) < 0)
		return errno == ENOENT ? 0
				       : error_set(err, HF_E_SYSTEM, errno, "listen on %s", uri);
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, HF_E_SYSTEM, EADDRINUSE,
				 "listen on %s: there is a file of that name, not a socket", uri);
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return error_set(err, HF_E_SYSTEM, errno, "listen on %s", uri);
	if (connect(probe, (const struct sockaddr *)&address->un, sizeof(address->un)) == 0 ||
	    errno != ECONNREFUSED)
		return error_set(err, HF_E_SYSTEM, EADDRINUSE,
				 "listen on %s: in use, another process listens there", uri);
	if (unlink(address->un.sun_path) < 0)
		return error_set(err, HF_E_SYSTEM, errno, "listen on %s: remove a stale socket",
				 uri);
	return 0;
}

static int open_unix(struct listener *listener, const struct address *address, const char *uri,
		     struct hf_error *err)
{
	const struct sockaddr *addr = (const struct sockaddr *)&address->un;
	_cleanup_close_ int lock = -1;
	struct stat st;
	int r;

	lock = lock_directory(address->un.sun_path, uri, err);
	if (lock < 0)
		return lock;
	r = try_listen(addr, sizeof(address->un));
	if (r == -EADDRINUSE) {
		r = remove_stale(address, uri, err);
		if (r < 0)
			return r;
		r = try_listen(addr, sizeof(address->un));
	}
	if (r < 0)
		return error_set(err, HF_E_SYSTEM, -r, "listen on %s", uri);
	listener->fd = r;
	if (lstat(address->un.sun_path, &st) == 0) {
		listener->made_file = 1;
		listener->dev = st.st_dev;
		listener->ino = st.st_ino;
		memcpy(listener->path, address->un.sun_path, sizeof(listener->path));
	}
	return 0;
}

static int open_fd(struct listener *listener, int fd, struct hf_error *err)
{
	int listening, event_fd, r;

	r = address_take_fd(fd, &listening, err);
	if (r < 0)
		return r;
	if (listening) {
		listener->fd = fd;
		return 0;
	}
	event_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (event_fd < 0)
		return error_set(err, HF_E_SYSTEM, errno, "address fd:%d", fd);
	listener->event_fd = event_fd;
	listener->once_fd = fd;
	return 0;
}

int listener_open(const char *uri, struct listener **ret, struct hf_error *err)
{
	struct listener *listener;
	struct address address;
	int r;

	r = address_parse(uri, 1, &address, err);
	if (r < 0)
		return r;
	listener = calloc(1, sizeof(*listener));
	if (!listener)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "listen on %s", uri);
	listener->fd = listener->once_fd = listener->event_fd = -1;
	(void)snprintf(listener->uri, sizeof(listener->uri), "%s", uri); /* parse saw it fits */
	switch (address.kind) {
	case ADDRESS_TCP:
		r = open_tcp(listener, &address, uri, err);
		break;
	case ADDRESS_UNIX:
		r = open_unix(listener, &address, uri, err);
		break;
	case ADDRESS_FD:
		r = open_fd(listener, address.fd, err);
		break;
	}
	if (r < 0) {
		(void)listener_free(listener);
		return r;
	}
	*ret = listener;
	return 0;
}

int listener_fd(const struct listener *listener)
{
	return listener->event_fd >= 0 ? listener->event_fd : listener->fd;
}

const char *listener_uri(const struct listener *listener)
{
	return listener->uri;
}

static int accept_once(struct listener *listener, struct hf_channel *ret, struct hf_error *err)
{
	struct hf_channel channel = { 0 };
	eventfd_t value;
	int r;

	if (listener->once_fd < 0)
		return error_set(err, HF_E_CONNECT, 0,
				 "%s is one connection, and was accepted already", listener->uri);
	r = channel_from_fd(TAKE_FD(listener->once_fd), &channel, err);
	if (r < 0)
		return r;
	(void)eventfd_read(listener->event_fd, &value); /* the 1 in it: not readable now */
	*ret = channel;
	return 0;
}

/* The caller went away before we took it, or its network did (accept(2)): wait for the next. */
static int is_callers(int cause)
{
	switch (cause) {
	case EINTR:
	case ECONNABORTED:
	case ENETDOWN:
	case EPROTO:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return 1;
	default:
		return 0;
	}
}

int listener_accept(struct listener *listener, uint64_t deadline_ns, struct hf_channel *ret,
		    struct hf_error *err)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (listener->fd < 0)
		return accept_once(listener, ret, err);
	for (;;) {
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			break;
		if (is_callers(errno))
			continue;
		if (errno != EAGAIN)
			return error_set(err, HF_E_SYSTEM, errno, "accept on %s", listener->uri);
		if (deadline_ns == CHANNEL_NOW)
			return 1;
		r = socket_wait(listener->fd, POLLIN, deadline_ns);
		if (r == -ETIMEDOUT)
			return error_set(err, HF_E_DEADLINE, 0, "accept on %s: nobody came in time",
					 listener->uri);
		if (r < 0)
			return error_set(err, HF_E_SYSTEM, -r, "accept on %s", listener->uri);
	}
	socket_tune(fd); /* UNIX sockets do not inherit */
	r = socket_channel(fd, ret);
	if (r < 0)
		return error_set(err, HF_E_NO_MEMORY, -r, "accept on %s", listener->uri);
	(void)TAKE_FD(fd);
	return 0;
}

static void remove_file(const struct listener *listener)
{
	struct stat st;

	/* Somebody may have replaced it after we were thought dead: theirs stays. */
	if (lstat(listener->path, &st) == 0 && st.st_dev == listener->dev &&
	    st.st_ino == listener->ino)
		(void)unlink(listener->path);
}

struct listener *listener_free(struct listener *listener)
{
	if (!listener)
		return NULL;
	if (listener->made_file)
		remove_file(listener);
	if (listener->fd >= 0)
		(void)close(listener->fd);
	if (listener->once_fd >= 0)
		(void)close(listener->once_fd);
	if (listener->event_fd >= 0)
		(void)close(listener->event_fd);
	free(listener);
	return NULL;
}
