/* SPDX-License-Identifier: BSD-3-Clause */
#include "backend/device/vfio-user/transport.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/channel/socket.h"
#include "base/time.h"

/* Room for more than we take, so that a surplus is seen here and not by the kernel alone. */
#define CONTROL_FDS (VU_FDS_MAX + 1)

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
};

void vu_fds_close(struct vu_fds *fds)
{
	for (uint32_t i = 0; i < fds->count; i++)
		if (fds->fd[i] >= 0)
			(void)close(fds->fd[i]);
	fds->count = 0;
}

int vu_fds_take(struct vu_fds *fds, uint32_t index)
{
	int fd = -1;

	if (index < fds->count) {
		fd = fds->fd[index];
		fds->fd[index] = -1;
	}
	return fd;
}

/* ---- out ------------------------------------------------------------------------------------ */

static void advance(struct iovec **iov, uint32_t *count, size_t done)
{
	while (*count && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

static void attach(struct msghdr *msg, union control *control, const int *fds, uint32_t count)
{
	struct cmsghdr *head;

	memset(control, 0, sizeof(*control));
	msg->msg_control = control->bytes;
	msg->msg_controllen = CMSG_SPACE(count * sizeof(int));
	head = CMSG_FIRSTHDR(msg);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(head), fds, count * sizeof(int));
}

int vu_send(int socket, struct iovec *iov, uint32_t count, const int *fds, uint32_t fd_count,
	    uint64_t deadline_ns)
{
	union control control;

	assert(fd_count <= VU_FDS_MAX);
	advance(&iov, &count, 0);
	while (count) {
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };
		ssize_t n;
		int r;

		if (fd_count)
			attach(&msg, &control, fds, fd_count);
		n = sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			fd_count = 0; /* they went with the first byte */
			advance(&iov, &count, (size_t)n);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = socket_wait(socket, POLLOUT, deadline_ns);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- in ------------------------------------------------------------------------------------- */

static void keep_fds(struct msghdr *msg, struct vu_fds *fds)
{
	for (struct cmsghdr *head = CMSG_FIRSTHDR(msg); head; head = CMSG_NXTHDR(msg, head)) {
		size_t count;

		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(head) + i * sizeof(fd), sizeof(fd));
			if (fds->count < VU_FDS_MAX) {
				fds->fd[fds->count++] = fd;
			} else {
				fds->truncated = 1;
				(void)close(fd);
			}
		}
	}
	if (msg->msg_flags & MSG_CTRUNC)
		fds->truncated = 1;
}

/* Some bytes, with descriptors if fds is not NULL (else the kernel closes them). */
static ssize_t recv_some(int socket, uint8_t *buf, size_t size, struct vu_fds *fds)
{
	union control control;
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fds) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
	}
	n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	if (fds)
		keep_fds(&msg, fds);
	return n;
}

int vu_recv_header(int socket, uint64_t first_deadline_ns, uint32_t rest_ms,
		   uint8_t ret_bytes[VU_HEADER_BYTES], struct vu_fds *ret_fds)
{
	uint64_t deadline_ns = first_deadline_ns;
	size_t done = 0;

	ret_fds->count = ret_fds->truncated = 0;
	while (done < VU_HEADER_BYTES) {
		ssize_t n = recv_some(socket, ret_bytes + done, VU_HEADER_BYTES - done, ret_fds);

		if (n == 0)
			return done ? -ECONNRESET : 1;
		if (n > 0) {
			if (!done)
				deadline_ns = time_now_ns() + rest_ms * NS_PER_MS;
			done += (size_t)n;
			continue;
		}
		if (n == -EAGAIN)
			n = socket_wait(socket, POLLIN, deadline_ns);
		if (n < 0 && n != -EINTR)
			return (int)n;
	}
	return 0;
}

int vu_recv_body(int socket, uint64_t deadline_ns, uint8_t *ret_bytes, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = recv_some(socket, ret_bytes + done, size - done, NULL);

		if (n == 0)
			return -ECONNRESET;
		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n == -EAGAIN)
			n = socket_wait(socket, POLLIN, deadline_ns);
		if (n < 0 && n != -EINTR)
			return (int)n;
	}
	return 0;
}
