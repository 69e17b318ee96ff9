/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels as the engine uses them: addresses become connections, and every operation of a channel
 * goes through its wrapper here, which judges the errno. What goes over a channel is not known
 * here.
 *
 * Addresses: "tcp:HOST:PORT" (a name, IPv4, or IPv6 in brackets; listening on port 0 takes any free
 * one), "unix:PATH", "fd:N" (a descriptor this process has already; it becomes the channel's).
 *
 * Deadlines are on CLOCK_MONOTONIC; 0: none.
 */
#ifndef BACKEND_CHANNEL_H
#define BACKEND_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <holdfast/backend.h>

/* A deadline that has always passed: take what is there, do not wait. */
#define CHANNEL_NOW 1ull

/*
 * Connect. HF_E_INVALID names the part of the address that is wrong, HF_E_CONNECT says why the peer
 * could not be reached, HF_E_DEADLINE that it did not answer in time.
 */
int channel_connect(const char *uri, uint64_t deadline_ns, struct hf_channel *ret,
		    struct hf_error *err);

struct listener;

/*
 * Listen. A unix socket file that nobody listens on any more is replaced; one in use is refused
 * (HF_E_SYSTEM, EADDRINUSE). "fd:N" is a listening socket, or a connected one that is accepted
 * once.
 */
int listener_open(const char *uri, struct listener **ret, struct hf_error *err);
int listener_fd(const struct listener *listener); /* readable when accept would not wait */
const char *listener_uri(const struct listener *listener); /* with the port it really has */

/*
 * Accept one connection: 0; HF_E_DEADLINE when none came in time, or 1 when the deadline is
 * CHANNEL_NOW and nobody waits.
 */
int listener_accept(struct listener *listener, uint64_t deadline_ns, struct hf_channel *ret,
		    struct hf_error *err);
/* Removes the unix socket file it made. Takes NULL, returns NULL. */
struct listener *listener_free(struct listener *listener);

/* Two ends of one connection inside this process. */
int channel_pair(struct hf_channel *ret_a, struct hf_channel *ret_b, struct hf_error *err);

/* A channel from a connected stream socket; fd is the channel's, also on failure. */
int channel_from_fd(int fd, struct hf_channel *ret, struct hf_error *err);

/*
 * Put a copy of every byte that is sent into out_fd, and of every byte received into in_fd (-1:
 * not). *inout becomes the wrapper, which owns the channel and the two descriptors; on failure they
 * are as they were. A capture that cannot be written fails the call.
 */
int channel_capture(struct hf_channel *inout, int out_fd, int in_fd, struct hf_error *err);

/*
 * All bytes of iov, or an error: HF_E_CONNECTION_LOST, HF_E_DEADLINE. After an error an unknown
 * part was sent, and the channel is of no use but to be closed. Changes iov.
 */
int channel_sendv(struct hf_channel *channel, struct iovec *iov, uint32_t count,
		  uint64_t deadline_ns, struct hf_error *err);
/* 1..n bytes; 0 when the peer has closed; or an error as above. Changes iov. */
ssize_t channel_recvv(struct hf_channel *channel, struct iovec *iov, uint32_t count,
		      uint64_t deadline_ns, struct hf_error *err);
/* One buffer of them. recv_all() takes the peer's closing inside of it as HF_E_CONNECTION_LOST. */
int channel_send(struct hf_channel *channel, const void *buf, size_t size, uint64_t deadline_ns,
		 struct hf_error *err);
int channel_recv_all(struct hf_channel *channel, void *buf, size_t size, uint64_t deadline_ns,
		     struct hf_error *err);
int channel_fd(const struct hf_channel *channel);
/* Both directions end, in every thread that is in a call. Any thread; an empty channel is fine. */
void channel_shutdown(struct hf_channel *channel);
/* Nothing more is sent; what comes can still be received. An empty channel is fine. */
void channel_finish(struct hf_channel *channel);
/* Closed, and *channel is empty afterwards. An empty one is fine. */
void channel_close(struct hf_channel *channel);

#endif
