/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel that keeps a copy of what it carries, for `holdfast-stream` and for post-mortems. Sent
 * data goes through a buffer here, since the guest may write to a page between its being sent and
 * its being copied, and the copy must be what the peer got. That costs speed: it is not for daily
 * use.
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/channel.h"
#include "backend/channel/capture.h"
#include "base/error.h"

#define BUFFER_BYTES (1u << 20)
#define RECV_IOVS_MAX 64u

/*
 * out_* belongs to the sending thread, in_* to the receiving one. failed is atomic because either
 * may set it and the other read it.
 */
struct capture {
	struct hf_channel next; /* owned */
	int out_fd, in_fd; /* owned; -1: not captured */
	atomic_bool failed;
	char out_buf[BUFFER_BYTES];
};

static int write_all(struct capture *capture, int fd, const char *buf, size_t size)
{
	ssize_t n;

	while (size) {
		n = write(fd, buf, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			atomic_store(&capture->failed, true);
			return n < 0 ? -errno : -EIO;
		}
		buf += n;
		size -= (size_t)n;
	}
	return 0;
}

static int send_buffer(struct capture *capture, size_t size, uint64_t deadline_ns)
{
	struct iovec iov = { .iov_base = capture->out_buf, .iov_len = size };
	int r;

	r = capture->next.ops->sendv(capture->next.self, &iov, 1, deadline_ns);
	if (r < 0)
		return r;
	return write_all(capture, capture->out_fd, capture->out_buf, size);
}

static int cap_sendv(void *self, struct iovec *iov, uint32_t count, uint64_t deadline_ns)
{
	struct capture *capture = self;
	size_t used = 0, take, done;
	int r;

	if (capture->out_fd < 0)
		return capture->next.ops->sendv(capture->next.self, iov, count, deadline_ns);
	for (uint32_t i = 0; i < count; i++) {
		for (done = 0; done < iov[i].iov_len; done += take) {
			take = iov[i].iov_len - done;
			if (take > BUFFER_BYTES - used)
				take = BUFFER_BYTES - used;
			memcpy(capture->out_buf + used, (const char *)iov[i].iov_base + done, take);
			used += take;
			if (used < BUFFER_BYTES)
				continue;
			r = send_buffer(capture, used, deadline_ns);
			if (r < 0)
				return r;
			used = 0;
		}
	}
	return used ? send_buffer(capture, used, deadline_ns) : 0;
}

static ssize_t cap_recvv(void *self, struct iovec *iov, uint32_t count, uint64_t deadline_ns)
{
	struct capture *capture = self;
	struct iovec mine[RECV_IOVS_MAX];
	size_t left, take;
	ssize_t n;
	int r;

	if (capture->in_fd < 0)
		return capture->next.ops->recvv(capture->next.self, iov, count, deadline_ns);
	if (count > RECV_IOVS_MAX)
		count = RECV_IOVS_MAX; /* fewer bytes than asked for are fine */
	memcpy(mine, iov, count * sizeof(mine[0]));
	n = capture->next.ops->recvv(capture->next.self, mine, count, deadline_ns);
	if (n <= 0)
		return n;
	left = (size_t)n;
	for (uint32_t i = 0; i < count && left; i++, left -= take) {
		take = left < iov[i].iov_len ? left : iov[i].iov_len;
		r = write_all(capture, capture->in_fd, iov[i].iov_base, take);
		if (r < 0)
			return r;
	}
	return n;
}

static int cap_fd(void *self)
{
	const struct capture *capture = self;

	return channel_fd(&capture->next);
}

static void cap_shutdown(void *self)
{
	struct capture *capture = self;

	channel_shutdown(&capture->next);
}

static void cap_finish(void *self)
{
	struct capture *capture = self;

	channel_finish(&capture->next);
}

static void cap_close(void *self)
{
	struct capture *capture = self;

	if (!capture)
		return;
	channel_close(&capture->next);
	if (capture->out_fd >= 0)
		(void)close(capture->out_fd); /* each write was checked */
	if (capture->in_fd >= 0)
		(void)close(capture->in_fd);
	free(capture);
}

static const struct hf_channel_ops cap_ops = {
	.size = sizeof(cap_ops),
	.kind = "capture",
	.sendv = cap_sendv,
	.recvv = cap_recvv,
	.fd = cap_fd,
	.shutdown = cap_shutdown,
	.close = cap_close,
	.finish = cap_finish,
};

bool capture_failed(const struct hf_channel *channel)
{
	const struct capture *capture = channel->self;

	return channel->ops == &cap_ops && atomic_load(&capture->failed);
}

int channel_capture(struct hf_channel *inout, int out_fd, int in_fd, struct hf_error *err)
{
	struct capture *capture = malloc(sizeof(*capture));

	assert(inout->ops);
	if (!capture)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "capture a connection");
	capture->next = *inout;
	capture->out_fd = out_fd;
	capture->in_fd = in_fd;
	atomic_init(&capture->failed, false);
	inout->ops = &cap_ops;
	inout->self = capture;
	return 0;
}
