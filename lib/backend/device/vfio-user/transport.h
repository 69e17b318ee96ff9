/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages through a UNIX stream socket: whole ones out, and in whatever pieces they come. Every
 * wait has a deadline, on CLOCK_MONOTONIC; 0: none.
 */
#ifndef BACKEND_DEVICE_VFIO_USER_TRANSPORT_H
#define BACKEND_DEVICE_VFIO_USER_TRANSPORT_H

#include <stdint.h>
#include <sys/uio.h>

#include "backend/device/vfio-user/message.h"
#include "backend/device/vfio-user/version.h"

/* Descriptors that came with a message. Whoever has the struct owns them; -1: taken. */
struct vu_fds {
	uint32_t count;
	uint32_t truncated; /* there were more than VU_FDS_MAX; the kernel has closed those */
	int fd[VU_FDS_MAX];
};

void vu_fds_close(struct vu_fds *fds);
int vu_fds_take(struct vu_fds *fds, uint32_t index); /* -1 if there is none */

/* All of iov, fds with its first byte. May change iov. 0 or a negative errno. */
int vu_send(int socket, struct iovec *iov, uint32_t count, const int *fds, uint32_t fd_count,
	    uint64_t deadline_ns);

/*
 * A header. first_deadline_ns is for its first byte, rest_ms for all of the others. 0; 1: the peer
 * closed, and no byte had come; -ECONNRESET: it closed in the middle; another negative errno.
 * Descriptors that came are the caller's also after a failure.
 */
int vu_recv_header(int socket, uint64_t first_deadline_ns, uint32_t rest_ms,
		   uint8_t ret_bytes[VU_HEADER_BYTES], struct vu_fds *ret_fds);

/* size bytes. 0, -ECONNRESET, or another negative errno. */
int vu_recv_body(int socket, uint64_t deadline_ns, uint8_t *ret_bytes, size_t size);

#endif
