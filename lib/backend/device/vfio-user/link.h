/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection with requests in both directions: who waits for which reply, and why the
 * connection ended. Both ends use it: the client for its commands, the server for DMA by messages.
 *
 * One thread reads (vu_link_run()); any thread may send and wait. A connection on which anything
 * goes wrong that leaves its state unclear (a malformed message, a reply to no request, a reply
 * that does not come in time) is broken for good: all who wait are told, with the reason.
 */
#ifndef BACKEND_DEVICE_VFIO_USER_LINK_H
#define BACKEND_DEVICE_VFIO_USER_LINK_H

#include <pthread.h>

#include "backend/device/vfio-user/transport.h"

#define VU_WHY_MAX 200

struct vu_call {
	/* The caller's: where the reply's body goes. */
	uint8_t *body;
	size_t capacity;
	uint8_t *tail; /* not NULL: bytes of it from tail_at on go here instead */
	size_t tail_at;
	/* Filled when it is done. */
	size_t size;
	struct vu_fds *fds; /* NULL: descriptors in the reply are closed */
	int result; /* 0, or a negative errno: the peer's, or of a connection that broke */
	/* The link's. */
	int done, busy; /* busy: the reader is writing into it */
	uint16_t id, command;
	struct vu_call *next;
};

/* A command that came. Whoever takes body or descriptors leaves NULL and -1. */
struct vu_message {
	struct vu_header header;
	uint8_t *body; /* header.size - VU_HEADER_BYTES bytes */
	struct vu_fds fds;
};

struct vu_link {
	int socket; /* owned */
	uint32_t size_max; /* of a message that is taken */
	uint32_t rest_ms; /* for the rest of a message that has begun */
	const char *peer; /* "the server", "the client" */

	pthread_mutex_t send_lock; /* one message at a time */
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	struct vu_call *calls; /* that wait for replies */
	uint16_t next_id;
	int broken; /* 0, or the negative errno that those got who waited then */
	char why[VU_WHY_MAX];
};

void vu_link_init(struct vu_link *link, int socket, const char *peer);
void vu_link_done(struct vu_link *link); /* nobody reads or waits any more */

/* The first reason counts. All who wait, and the reader, are woken. */
void vu_link_break(struct vu_link *link, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int vu_link_is_broken(struct vu_link *link);
void vu_link_why(struct vu_link *link, char *ret_why, size_t size); /* "" while it stands */

/*
 * Send a command, and await its reply by vu_call_wait(). A negative errno: it was not sent, and
 * must not be waited for. The call stays where it is until it was waited for.
 */
int vu_call_start(struct vu_link *link, struct vu_call *call, uint32_t command,
		  const struct vu_body *body, const int *fds, uint32_t fd_count,
		  uint64_t deadline_ns);
/* The peer's answer, 0 or a negative errno. A deadline that passes breaks the connection. */
int vu_call_wait(struct vu_link *link, struct vu_call *call, uint64_t deadline_ns);

/* Answer a command. */
int vu_link_reply(struct vu_link *link, const struct vu_header *to, const struct vu_body *body,
		  const int *fds, uint32_t fd_count, uint64_t deadline_ns);
int vu_link_reply_error(struct vu_link *link, const struct vu_header *to, int error,
			uint64_t deadline_ns);

/*
 * Read until the connection breaks, which this says by vu_link_break() as well. on_command is
 * called for each command, and may block; it returns 0, or a negative errno after it has broken the
 * link itself. Returns 1 if the peer closed the connection behind a whole message, else 0.
 */
int vu_link_run(struct vu_link *link, int (*on_command)(void *ctx, struct vu_message *message),
		void *ctx);

#endif
