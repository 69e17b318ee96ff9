/* SPDX-License-Identifier: BSD-3-Clause */
#include "backend/device/vfio-user/link.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"

#define REST_MS 30000u
/* As for channels: with the default of 208 KiB both ends take turns (channel/socket.c). */
#define SEND_BUFFER_BYTES (1 << 20)

/* These cannot fail on Linux. */
void vu_link_init(struct vu_link *link, int socket, const char *peer)
{
	pthread_condattr_t attr;
	int bytes = SEND_BUFFER_BYTES;

	memset(link, 0, sizeof(*link));
	link->socket = socket;
	/* Only faster: what the host does not allow is not needed. */
	(void)setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	link->size_max = VU_SIZE_MAX(VU_XFER_DEFAULT);
	link->rest_ms = REST_MS;
	link->peer = peer;
	(void)pthread_mutex_init(&link->send_lock, NULL);
	(void)pthread_mutex_init(&link->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&link->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
}

void vu_link_done(struct vu_link *link)
{
	assert(!link->calls);
	if (link->socket >= 0)
		(void)close(link->socket);
	link->socket = -1;
	(void)pthread_cond_destroy(&link->changed);
	(void)pthread_mutex_destroy(&link->lock);
	(void)pthread_mutex_destroy(&link->send_lock);
}

void vu_link_break(struct vu_link *link, int error, const char *format, ...)
{
	va_list args;

	assert(error < 0);
	(void)pthread_mutex_lock(&link->lock);
	if (!link->broken) {
		va_start(args, format);
		(void)vsnprintf(link->why, sizeof(link->why), format, args);
		va_end(args);
		link->broken = error;
		for (struct vu_call *call = link->calls; call; call = call->next) {
			if (call->done)
				continue;
			call->result = error;
			call->done = 1;
		}
		(void)shutdown(link->socket, SHUT_RDWR);
		(void)pthread_cond_broadcast(&link->changed);
	}
	(void)pthread_mutex_unlock(&link->lock);
}

int vu_link_is_broken(struct vu_link *link)
{
	int broken;

	(void)pthread_mutex_lock(&link->lock);
	broken = link->broken;
	(void)pthread_mutex_unlock(&link->lock);
	return broken != 0;
}

void vu_link_why(struct vu_link *link, char *ret_why, size_t size)
{
	(void)pthread_mutex_lock(&link->lock);
	(void)snprintf(ret_why, size, "%s", link->broken ? link->why : "");
	(void)pthread_mutex_unlock(&link->lock);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* header and body as one message. A failure breaks the connection: half of it may be out. */
static int send_message(struct vu_link *link, struct vu_header *header, int reply,
			const struct vu_body *body, const int *fds, uint32_t fd_count,
			uint64_t deadline_ns)
{
	uint8_t head[VU_HEADER_BYTES], fixed[VU_FIXED_MAX];
	struct iovec iov[3] = { { head, sizeof(head) }, { fixed, 0 }, { NULL, 0 } };
	union {
		const uint8_t *from;
		void *base;
	} tail = { .from = body ? body->tail : NULL }; /* iovec has no const; it is only read */
	int r;

	if (body) {
		iov[1].iov_len = vu_body_encode(header->command, reply, body, fixed);
		iov[2] = (struct iovec){ tail.base, body->tail_size };
	}
	header->size = (uint32_t)(sizeof(head) + iov[1].iov_len + iov[2].iov_len);
	vu_header_encode(header, head);
	(void)pthread_mutex_lock(&link->send_lock);
	r = vu_send(link->socket, iov, 3, fds, fd_count, deadline_ns);
	(void)pthread_mutex_unlock(&link->send_lock);
	if (r < 0)
		vu_link_break(link, r == -ETIMEDOUT ? r : -ENOTCONN, "sending %s%s to %s: %s",
			      reply ? "the reply to " : "", vu_command_name(header->command),
			      link->peer, strerror(-r));
	return r;
}

static void forget(struct vu_link *link, struct vu_call *call)
{
	struct vu_call **at = &link->calls;

	while (*at && *at != call)
		at = &(*at)->next;
	assert(*at == call);
	*at = call->next;
}

int vu_call_start(struct vu_link *link, struct vu_call *call, uint32_t command,
		  const struct vu_body *body, const int *fds, uint32_t fd_count,
		  uint64_t deadline_ns)
{
	struct vu_header header = { .command = (uint16_t)command, .flags = VU_TYPE_COMMAND };
	int r = 0;

	call->result = 0;
	call->done = call->busy = 0;
	call->size = 0;
	call->command = (uint16_t)command;
	(void)pthread_mutex_lock(&link->lock);
	if (link->broken) {
		r = -ENOTCONN;
	} else {
		call->id = link->next_id++; /* 65536 calls are never open at once */
		call->next = link->calls;
		link->calls = call;
	}
	(void)pthread_mutex_unlock(&link->lock);
	if (r < 0)
		return r;
	header.id = call->id;
	r = send_message(link, &header, 0, body, fds, fd_count, deadline_ns);
	if (r < 0) {
		(void)pthread_mutex_lock(&link->lock);
		while (call->busy)
			(void)pthread_cond_wait(&link->changed, &link->lock);
		forget(link, call);
		r = link->broken;
		(void)pthread_mutex_unlock(&link->lock);
	}
	return r;
}

int vu_call_wait(struct vu_link *link, struct vu_call *call, uint64_t deadline_ns)
{
	struct timespec until = { .tv_sec = (time_t)(deadline_ns / NS_PER_S),
				  .tv_nsec = (long)(deadline_ns % NS_PER_S) };
	int late = 0;

	(void)pthread_mutex_lock(&link->lock);
	while (!call->done && !late)
		late = pthread_cond_timedwait(&link->changed, &link->lock, &until) == ETIMEDOUT;
	if (!call->done) {
		(void)pthread_mutex_unlock(&link->lock);
		vu_link_break(link, -ETIMEDOUT, "%s did not reply to %s in time", link->peer,
			      vu_command_name(call->command));
		(void)pthread_mutex_lock(&link->lock);
	}
	while (call->busy) /* its buffer is the reader's for a moment longer */
		(void)pthread_cond_wait(&link->changed, &link->lock);
	forget(link, call);
	(void)pthread_mutex_unlock(&link->lock);
	return call->result;
}

int vu_link_reply(struct vu_link *link, const struct vu_header *to, const struct vu_body *body,
		  const int *fds, uint32_t fd_count, uint64_t deadline_ns)
{
	struct vu_header header = { .id = to->id, .command = to->command, .flags = VU_TYPE_REPLY };

	return send_message(link, &header, 1, body, fds, fd_count, deadline_ns);
}

int vu_link_reply_error(struct vu_link *link, const struct vu_header *to, int error,
			uint64_t deadline_ns)
{
	struct vu_header header = { .id = to->id,
				    .command = to->command,
				    .flags = VU_TYPE_REPLY | VU_ERROR,
				    .error = (uint32_t)-error };

	assert(error < 0);
	return send_message(link, &header, 1, NULL, NULL, 0, deadline_ns);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The call that a reply answers, now busy; NULL: there is none. */
static struct vu_call *claim(struct vu_link *link, const struct vu_header *header)
{
	struct vu_call *call;

	(void)pthread_mutex_lock(&link->lock);
	for (call = link->calls; call; call = call->next)
		if (!call->done && call->id == header->id && call->command == header->command)
			break;
	if (call)
		call->busy = 1;
	(void)pthread_mutex_unlock(&link->lock);
	return call;
}

static void finish(struct vu_link *link, struct vu_call *call, int result)
{
	(void)pthread_mutex_lock(&link->lock);
	call->busy = 0;
	if (!call->done) {
		call->result = result;
		call->done = 1;
	}
	(void)pthread_cond_broadcast(&link->changed);
	(void)pthread_mutex_unlock(&link->lock);
}

/* The body: its first bytes, head of them, and those behind them. */
static int receive(struct vu_link *link, const struct vu_header *header, uint8_t *bytes,
		   uint8_t *tail, size_t head)
{
	uint64_t deadline_ns = time_now_ns() + link->rest_ms * NS_PER_MS;
	size_t size = header->size - VU_HEADER_BYTES;
	int r;

	if (!tail || size < head)
		head = size;
	r = vu_recv_body(link->socket, deadline_ns, bytes, head);
	if (r == 0 && tail)
		r = vu_recv_body(link->socket, deadline_ns, tail, size - head);
	if (r < 0)
		vu_link_break(link, -ENOTCONN, "%s %s the connection in the middle of %s%s",
			      link->peer, r == -ETIMEDOUT ? "stalled" : "closed",
			      header->flags & VU_TYPE_MASK ? "the reply to " : "",
			      vu_command_name(header->command));
	return r;
}

static int on_reply(struct vu_link *link, const struct vu_header *header, struct vu_fds *fds)
{
	size_t size = header->size - VU_HEADER_BYTES;
	struct vu_call *call = claim(link, header);
	int r = 0;

	if (!call) {
		vu_link_break(link, -EPROTO, "%s sent a reply to no request (%s, id %u)",
			      link->peer, vu_command_name(header->command), header->id);
		return -EPROTO;
	}
	if (header->flags & VU_ERROR) {
		/* An errno that is none must not look like success, or like an answer of ours. */
		r = header->error > 0 && header->error < 4096 ? -(int)header->error : -EIO;
		finish(link, call, r);
		return 0;
	}
	if (size > call->capacity) {
		vu_link_break(link, -EPROTO,
			      "%s sent a reply to %s that is too long (field size: %u)", link->peer,
			      vu_command_name(header->command), header->size);
		r = -EPROTO;
	} else {
		r = receive(link, header, call->body, call->tail, call->tail_at);
		call->size = size;
		if (call->fds) {
			*call->fds = *fds;
			fds->count = 0;
		}
	}
	finish(link, call, r);
	return r;
}

static int on_message(struct vu_link *link, struct vu_message *m,
		      int (*on_command)(void *ctx, struct vu_message *message), void *ctx)
{
	int r;

	if ((m->header.flags & VU_TYPE_MASK) == VU_TYPE_REPLY)
		return on_reply(link, &m->header, &m->fds);
	m->body = malloc(m->header.size - VU_HEADER_BYTES + 1);
	if (!m->body) {
		vu_link_break(link, -ENOMEM, "no memory for a message of %u bytes", m->header.size);
		return -ENOMEM;
	}
	r = receive(link, &m->header, m->body, NULL, 0);
	if (r == 0)
		r = on_command(ctx, m);
	free(m->body);
	m->body = NULL;
	return r;
}

int vu_link_run(struct vu_link *link, int (*on_command)(void *ctx, struct vu_message *message),
		void *ctx)
{
	int r = 0;

	while (r == 0) {
		uint8_t bytes[VU_HEADER_BYTES];
		struct vu_message m = { .body = NULL };
		const char *field = NULL;

		r = vu_recv_header(link->socket, 0, link->rest_ms, bytes, &m.fds);
		if (r != 0) {
			vu_link_break(link, -ENOTCONN, "%s %s the connection%s", link->peer,
				      r == -ETIMEDOUT ? "stalled" : "closed",
				      r < 0 ? " in the middle of a header" : "");
		} else if (vu_header_decode(bytes, link->size_max, &m.header, &field) < 0) {
			vu_link_break(link, -EPROTO, "%s sent a malformed message (%s, field %s)",
				      link->peer, vu_command_name(m.header.command), field);
			r = -EPROTO;
		} else {
			r = on_message(link, &m, on_command, ctx);
		}
		vu_fds_close(&m.fds);
	}
	return r > 0;
}
