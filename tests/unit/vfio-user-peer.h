/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer that speaks vfio-user by hand, byte by byte if need be, for tests of both ends. Messages
 * are made by the codec and can then be spoilt.
 */
#ifndef UNIT_VFIO_USER_PEER_H
#define UNIT_VFIO_USER_PEER_H

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend/device/vfio-user/transport.h"
#include "base/time.h"

#define PEER_DEADLINE_S 60u /* for what has to happen */

struct message {
	struct vu_header header;
	uint8_t bytes[VU_SIZE_MAX(VU_XFER_DEFAULT)]; /* header and body */
	struct vu_body body;
	struct vu_fds fds;
};

static inline uint64_t peer_deadline(void)
{
	return time_now_ns() + PEER_DEADLINE_S * NS_PER_S;
}

static inline int peer_dial(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(s >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(connect(s, (const struct sockaddr *)&address, sizeof(address)), 0);
	return s;
}

/* The bytes of a command or reply; returns how many. */
static inline size_t peer_make(uint8_t *to, uint16_t id, uint16_t command, uint32_t flags,
			       const struct vu_body *body)
{
	struct vu_header header = { .id = id, .command = command, .flags = flags };
	uint8_t fixed[VU_FIXED_MAX];
	size_t n = vu_body_encode(command, (flags & VU_TYPE_MASK) == VU_TYPE_REPLY, body, fixed);

	memcpy(to + VU_HEADER_BYTES, fixed, n);
	if (body->tail_size)
		memcpy(to + VU_HEADER_BYTES + n, body->tail, body->tail_size);
	header.size = (uint32_t)(VU_HEADER_BYTES + n + body->tail_size);
	vu_header_encode(&header, to);
	return header.size;
}

static inline void peer_send_bytes(int s, const uint8_t *bytes, size_t size, const int *fds,
				   uint32_t fd_count)
{
	union {
		const uint8_t *from;
		void *base;
	} u = { .from = bytes };
	struct iovec iov = { u.base, size };

	assert_int_equal(vu_send(s, &iov, 1, fds, fd_count, peer_deadline()), 0);
}

static inline void peer_send(int s, uint16_t id, uint16_t command, uint32_t flags,
			     const struct vu_body *body, const int *fds, uint32_t fd_count)
{
	uint8_t *bytes = malloc(VU_HEADER_BYTES + VU_FIXED_MAX + body->tail_size);

	assert_non_null(bytes);
	peer_send_bytes(s, bytes, peer_make(bytes, id, command, flags, body), fds, fd_count);
	free(bytes);
}

/* The next message, decoded as what its header says. 0; 1: the other end is closed. */
static inline int peer_recv(int s, struct message *m)
{
	const char *field = NULL;
	int r = vu_recv_header(s, peer_deadline(), 30000, m->bytes, &m->fds);

	if (r == 1 || r == -ECONNRESET)
		return 1;
	assert_int_equal(r, 0);
	assert_int_equal(vu_header_decode(m->bytes, sizeof(m->bytes), &m->header, &field), 0);
	assert_int_equal(vu_recv_body(s, peer_deadline(), m->bytes + VU_HEADER_BYTES,
				      m->header.size - VU_HEADER_BYTES),
			 0);
	memset(&m->body, 0, sizeof(m->body));
	if (!(m->header.flags & VU_ERROR))
		(void)vu_body_decode(m->header.command, (int)(m->header.flags & VU_TYPE_MASK),
				     m->bytes + VU_HEADER_BYTES, m->header.size - VU_HEADER_BYTES,
				     &m->body, &field);
	return 0;
}

/* A command and its reply: 0, or the errno of an error reply, negative. */
static inline int peer_ask(int s, struct message *m, uint16_t command, const struct vu_body *body,
			   const int *fds, uint32_t fd_count)
{
	static uint16_t id = 100;

	id++;
	peer_send(s, id, command, VU_TYPE_COMMAND, body, fds, fd_count);
	assert_int_equal(peer_recv(s, m), 0);
	assert_int_equal(m->header.id, id);
	assert_int_equal(m->header.command, command);
	assert_int_equal(m->header.flags & VU_TYPE_MASK, VU_TYPE_REPLY);
	return m->header.flags & VU_ERROR ? -(int)m->header.error : 0;
}

static inline int peer_version(int s, struct message *m, uint16_t minor, const char *json)
{
	struct vu_body b = { .tail = (const uint8_t *)json,
			     .tail_size = json ? strlen(json) + 1 : 0 };

	b.v[VU_MINOR] = minor;
	return peer_ask(s, m, VU_VERSION, &b, NULL, 0);
}

/* Descriptors that this process has. */
static inline uint32_t peer_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	(void)closedir(dir);
	return count;
}

#endif
