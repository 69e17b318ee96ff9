/* SPDX-License-Identifier: BSD-3-Clause */
/* Two ends of one connection inside this process: for tests, and for a session with itself. */
#include <errno.h>
#include <unistd.h>

#include "backend/channel.h"
#include "backend/channel/socket.h"
#include "base/cleanup.h"
#include "base/error.h"

int channel_pair(struct hf_channel *ret_a, struct hf_channel *ret_b, struct hf_error *err)
{
	struct hf_channel a = { 0 }, b = { 0 };
	int fds[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return error_set(err, HF_E_SYSTEM, errno, "make a pair of sockets");
	r = channel_from_fd(fds[0], &a, err);
	if (r < 0) {
		(void)close(fds[1]);
		return r;
	}
	r = channel_from_fd(fds[1], &b, err);
	if (r < 0) {
		channel_close(&a);
		return r;
	}
	*ret_a = a;
	*ret_b = b;
	return 0;
}
