/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard/socket.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 256 /* as many as QEMU has multifd channels */

static int failed(struct hf_error *err, int code, int cause, const char *uri, const char *what)
{
	memset(err, 0, sizeof(*err));
	err->code = code;
	err->cause = cause;
	(void)snprintf(err->text, sizeof(err->text), "%.120s: %.80s%s%s", uri, what,
		       cause ? ": " : "", cause ? strerror(cause) : "");
	return code;
}

bool socket_is_address(const char *text)
{
	return strncmp(text, "unix:", 5) == 0 || strncmp(text, "tcp:", 4) == 0;
}

/* ---- UNIX ---------------------------------------------------------------------------------- */

static int unix_address(const char *uri, struct sockaddr_un *ret, struct hf_error *err)
{
	const char *path = uri + 5;

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	if (!path[0] || strlen(path) >= sizeof(ret->sun_path))
		return failed(err, HF_E_INVALID, 0, uri, "the path of a socket is short");
	memcpy(ret->sun_path, path, strlen(path));
	return 0;
}

static int unix_connect(const char *uri, struct hf_error *err)
{
	struct sockaddr_un address;
	int fd, r = unix_address(uri, &address, err);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return failed(err, HF_E_SYSTEM, errno, uri, "socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	r = failed(err, HF_E_CONNECT, errno, uri, "connect");
	(void)close(fd);
	return r;
}

static int unix_listen(const char *uri, struct hf_error *err)
{
	struct sockaddr_un address;
	struct hf_error ignored;
	int fd, r = unix_address(uri, &address, err);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return failed(err, HF_E_SYSTEM, errno, uri, "socket");
	r = bind(fd, (struct sockaddr *)&address, sizeof(address));
	if (r < 0 && errno == EADDRINUSE) {
		int other = unix_connect(uri, &ignored);

		if (other >= 0)
			(void)close(other);
		else if (ignored.cause == ECONNREFUSED && unlink(address.sun_path) == 0)
			r = bind(fd, (struct sockaddr *)&address, sizeof(address));
		errno = r < 0 ? EADDRINUSE : errno;
	}
	if (r == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	r = failed(err, HF_E_SYSTEM, errno, uri, "listen");
	(void)close(fd);
	return r;
}

/* ---- TCP ----------------------------------------------------------------------------------- */

static int tcp_addresses(const char *uri, bool passive, struct addrinfo **ret, struct hf_error *err)
{
	const struct addrinfo hints = { .ai_flags = passive ? AI_PASSIVE : 0,
					.ai_family = AF_UNSPEC,
					.ai_socktype = SOCK_STREAM };
	char host[256];
	const char *start = uri + 4, *colon = strrchr(start, ':');
	size_t length = colon ? (size_t)(colon - start) : 0;
	int r;

	if (!colon || !colon[1] || length >= sizeof(host))
		return failed(err, HF_E_INVALID, 0, uri, "an address is tcp:HOST:PORT");
	if (length >= 2 && start[0] == '[' && start[length - 1] == ']') {
		start++;
		length -= 2;
	}
	memcpy(host, start, length);
	host[length] = 0;
	r = getaddrinfo(length ? host : NULL, colon + 1, &hints, ret);
	return r ? failed(err, HF_E_INVALID, 0, uri, gai_strerror(r)) : 0;
}

static int tcp_open(const char *uri, bool passive, struct hf_error *err)
{
	const int on = 1;
	struct addrinfo *all;
	int r = tcp_addresses(uri, passive, &all, err), last = 0;

	if (r < 0)
		return r;
	for (const struct addrinfo *at = all; at; at = at->ai_next) {
		int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0) {
			last = errno;
			continue;
		}
		/* Both only make things better: a port in TIME_WAIT, and small packets at once. */
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (passive ? bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0
			    : connect(fd, at->ai_addr, at->ai_addrlen) == 0) {
			freeaddrinfo(all);
			return fd;
		}
		last = errno;
		(void)close(fd);
	}
	freeaddrinfo(all);
	return failed(err, passive ? HF_E_SYSTEM : HF_E_CONNECT, last, uri,
		      passive ? "listen" : "connect");
}

unsigned int socket_port(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_storage room;
	} address;
	socklen_t length = sizeof(address);

	memset(&address, 0, sizeof(address));
	if (getsockname(fd, &address.any, &length) < 0)
		return 0;
	if (address.any.sa_family == AF_INET)
		return ntohs(address.v4.sin_port);
	return address.any.sa_family == AF_INET6 ? ntohs(address.v6.sin6_port) : 0;
}

/* ---- both ---------------------------------------------------------------------------------- */

int socket_listen(const char *uri, struct hf_error *err)
{
	if (strncmp(uri, "unix:", 5) == 0)
		return unix_listen(uri, err);
	if (strncmp(uri, "tcp:", 4) == 0)
		return tcp_open(uri, true, err);
	return failed(err, HF_E_INVALID, 0, uri, "an address is unix:PATH or tcp:HOST:PORT");
}

int socket_connect(const char *uri, struct hf_error *err)
{
	if (strncmp(uri, "unix:", 5) == 0)
		return unix_connect(uri, err);
	if (strncmp(uri, "tcp:", 4) == 0)
		return tcp_open(uri, false, err);
	return failed(err, HF_E_INVALID, 0, uri, "an address is unix:PATH or tcp:HOST:PORT");
}

static int tcp_resolve(const char *uri, struct socket_address *ret, uint32_t max,
		       struct hf_error *err)
{
	struct addrinfo *all;
	int r = tcp_addresses(uri, false, &all, err), count = 0;

	if (r < 0)
		return r;
	for (const struct addrinfo *at = all; at && (uint32_t)count < max; at = at->ai_next) {
		memset(&ret[count], 0, sizeof(ret[count]));
		memcpy(&ret[count].storage, at->ai_addr, at->ai_addrlen);
		ret[count++].length = at->ai_addrlen;
	}
	freeaddrinfo(all);
	return count;
}

int socket_resolve(const char *uri, struct socket_address *ret, uint32_t max, struct hf_error *err)
{
	struct sockaddr_un address;
	int r;

	if (strncmp(uri, "tcp:", 4) == 0)
		return tcp_resolve(uri, ret, max, err);
	if (strncmp(uri, "unix:", 5) != 0)
		return failed(err, HF_E_INVALID, 0, uri,
			      "an address is unix:PATH or tcp:HOST:PORT");
	r = unix_address(uri, &address, err);
	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	memcpy(&ret->storage, &address, sizeof(address));
	ret->length = sizeof(address);
	return 1;
}

void socket_unlisten(const char *uri, int fd)
{
	(void)close(fd);
	if (strncmp(uri, "unix:", 5) == 0)
		(void)unlink(uri + 5); /* it may be gone */
}
