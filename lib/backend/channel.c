/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checking wrapper around channels: what goes in is asserted, an errno that comes out becomes a
 * code that says whose failure it is, and a kind that breaks its contract is named.
 */
#include "backend/channel.h"

#include <assert.h>
#include <errno.h>

#include "backend/channel/capture.h"
#include "base/error.h"

static int judge(const struct hf_channel *channel, const char *what, int r, struct hf_error *err)
{
	int cause = -r;

	assert(r < 0);
	if (capture_failed(channel))
		return error_set(err, HF_E_SYSTEM, cause, "%s: write the capture", what);
	switch (cause) {
	case ETIMEDOUT:
		return error_set(err, HF_E_DEADLINE, 0, "%s: the peer took too long", what);
	case ECONNABORTED:
		return error_set(err, HF_E_CONNECTION_LOST, cause,
				 "%s: the peer's host stopped answering", what);
	case EPIPE:
		return error_set(err, HF_E_CONNECTION_LOST, cause,
				 "%s: the peer closed the connection", what);
	case ENOMEM:
	case ENOBUFS:
		return error_set(err, HF_E_NO_MEMORY, cause, "%s", what);
	case EFAULT:
	case EINVAL:
	case EBADF:
	case EMSGSIZE:
		return error_set(err, HF_E_BUG, cause, "%s", what);
	case EOPNOTSUPP:
		return error_set(err, HF_E_UNSUPPORTED, cause, "%s", what);
	default:
		return error_set(err, HF_E_CONNECTION_LOST, cause, "%s", what);
	}
}

static size_t total(const struct iovec *iov, uint32_t count)
{
	size_t size = 0;

	for (uint32_t i = 0; i < count; i++)
		size += iov[i].iov_len;
	return size;
}

int channel_sendv(struct hf_channel *channel, struct iovec *iov, uint32_t count,
		  uint64_t deadline_ns, struct hf_error *err)
{
	int r;

	assert(channel->ops);
	assert(iov || count == 0);
	r = channel->ops->sendv(channel->self, iov, count, deadline_ns);
	if (r < 0)
		return judge(channel, "send", r, err);
	if (r > 0)
		return error_set(err, HF_E_BUG, 0, "channel %s: sendv returned %d",
				 channel->ops->kind, r);
	return 0;
}

ssize_t channel_recvv(struct hf_channel *channel, struct iovec *iov, uint32_t count,
		      uint64_t deadline_ns, struct hf_error *err)
{
	size_t size = total(iov, count);
	ssize_t n;

	assert(channel->ops);
	assert(size > 0);
	n = channel->ops->recvv(channel->self, iov, count, deadline_ns);
	if (n < 0)
		return judge(channel, "receive", (int)n, err);
	if ((size_t)n > size)
		return error_set(err, HF_E_BUG, 0, "channel %s: recvv returned more than asked for",
				 channel->ops->kind);
	return n;
}

int channel_send(struct hf_channel *channel, const void *buf, size_t size, uint64_t deadline_ns,
		 struct hf_error *err)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = size };

	return channel_sendv(channel, &iov, 1, deadline_ns, err);
}

int channel_recv_all(struct hf_channel *channel, void *buf, size_t size, uint64_t deadline_ns,
		     struct hf_error *err)
{
	size_t done = 0;
	ssize_t n;

	while (done < size) {
		struct iovec iov = { .iov_base = (char *)buf + done, .iov_len = size - done };

		n = channel_recvv(channel, &iov, 1, deadline_ns, err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return error_set(err, HF_E_CONNECTION_LOST, 0,
					 "receive: the peer closed the connection");
		done += (size_t)n;
	}
	return 0;
}

int channel_fd(const struct hf_channel *channel)
{
	assert(channel->ops);
	return channel->ops->fd(channel->self);
}

void channel_shutdown(struct hf_channel *channel)
{
	if (channel->ops)
		channel->ops->shutdown(channel->self);
}

void channel_finish(struct hf_channel *channel)
{
	if (channel->ops)
		channel->ops->finish(channel->self);
}

void channel_close(struct hf_channel *channel)
{
	if (!channel->ops)
		return;
	channel->ops->close(channel->self);
	channel->ops = NULL;
	channel->self = NULL;
}
