/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses: what "tcp:HOST:PORT", "unix:PATH" and "fd:N" say. Nothing is connected here. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/channel/socket.h"
#include "base/error.h"

/* Decimal digits only, at most max; -1 for anything else. */
static long number(const char *text, long max)
{
	long value = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (*text - '0');
		if (value > max)
			return -1;
	}
	return value;
}

static int parse_tcp(const char *uri, const char *rest, int listening, struct address *ret,
		     struct hf_error *err)
{
	const char *host = rest, *end, *colon;
	size_t length;
	long port;

	if (*rest == '[') {
		host = rest + 1;
		end = strchr(host, ']');
		if (!end)
			return error_set(err, HF_E_INVALID, 0, "address %s: no ']' behind '['",
					 uri);
		colon = end + 1;
		if (*colon != ':')
			return error_set(err, HF_E_INVALID, 0, "address %s: no port", uri);
	} else {
		colon = strrchr(rest, ':');
		if (!colon)
			return error_set(err, HF_E_INVALID, 0, "address %s: no port", uri);
		end = colon;
		if (memchr(host, ':', (size_t)(end - host)))
			return error_set(err, HF_E_INVALID, 0,
					 "address %s: an IPv6 host goes into brackets", uri);
	}
	length = (size_t)(end - host);
	if (length == 0 && (!listening || *rest == '['))
		return error_set(err, HF_E_INVALID, 0, "address %s: no host", uri);
	port = number(colon + 1, UINT16_MAX);
	if (port < 0 || (port == 0 && !listening))
		return error_set(err, HF_E_INVALID, 0,
				 "address %s: port \"%s\" is none of 1..65535", uri, colon + 1);
	assert(length < sizeof(ret->host));
	memcpy(ret->host, host, length);
	ret->port = (uint16_t)port;
	ret->kind = ADDRESS_TCP;
	return 0;
}

static int parse_unix(const char *uri, const char *path, struct address *ret, struct hf_error *err)
{
	size_t length = strlen(path);

	if (length == 0)
		return error_set(err, HF_E_INVALID, 0, "address %s: no path", uri);
	if (length >= sizeof(ret->un.sun_path))
		return error_set(err, HF_E_INVALID, 0,
				 "address %s: the path has %zu bytes, a socket's at most %zu", uri,
				 length, sizeof(ret->un.sun_path) - 1);
	ret->un.sun_family = AF_UNIX;
	memcpy(ret->un.sun_path, path, length);
	ret->kind = ADDRESS_UNIX;
	return 0;
}

int address_parse(const char *uri, int listening, struct address *ret, struct hf_error *err)
{
	struct address address;
	long fd;
	int r = 0;

	memset(&address, 0, sizeof(address));
	if (strnlen(uri, HF_URI_MAX) == HF_URI_MAX)
		return error_set(err, HF_E_INVALID, 0, "an address has at most %d bytes",
				 HF_URI_MAX - 1);
	if (strncmp(uri, "tcp:", 4) == 0) {
		r = parse_tcp(uri, uri + 4, listening, &address, err);
	} else if (strncmp(uri, "unix:", 5) == 0) {
		r = parse_unix(uri, uri + 5, &address, err);
	} else if (strncmp(uri, "fd:", 3) == 0) {
		fd = number(uri + 3, INT32_MAX);
		if (fd < 0)
			return error_set(err, HF_E_INVALID, 0,
					 "address %s: \"%s\" is no descriptor", uri, uri + 3);
		address.fd = (int)fd;
		address.kind = ADDRESS_FD;
	} else {
		return error_set(err, HF_E_INVALID, 0,
				 "address %s: begins with none of tcp:, unix:, fd:", uri);
	}
	if (r < 0)
		return r;
	*ret = address;
	return 0;
}

int address_take_fd(int fd, int *ret_listening, struct hf_error *err)
{
	int type = 0, listening = 0, flags;
	socklen_t length = sizeof(type);

	flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return error_set(err, HF_E_INVALID, errno, "address fd:%d", fd);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_STREAM)
		return error_set(err, HF_E_INVALID, 0, "address fd:%d: not a stream socket", fd);
	length = sizeof(listening);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0)
		return error_set(err, HF_E_SYSTEM, errno, "address fd:%d", fd);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_set(err, HF_E_SYSTEM, errno, "address fd:%d", fd);
	*ret_listening = listening != 0;
	return 0;
}
