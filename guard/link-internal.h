/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the link share.
 *
 *   link.c             the link as a whole: creation, end, events, what callers ask
 *   link-keeper.c      a thread: accepts, judges greetings, watches the deadline
 *   link-connection.c  a thread for each connection: its socket, that comes and goes, its loop
 *   link-receive.c     ... frames that come
 *   link-send.c        ... frames that go
 *   link-stream.c      ... local sockets and rings of its streams
 *
 * Locks, in this order: `event_lock` (whether connections are up; held while an event is told, so
 * that events come one at a time and in order), `lock` (tables, inboxes, descriptors).
 */
#ifndef GUARD_LINK_INTERNAL_H
#define GUARD_LINK_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "guard/link-frame.h"
#include "guard/link.h"
#include "guard/socket.h"

#define LINK_US 1000000u
#define LINK_ADDRESSES_MAX 8u
#define LINK_URI_MAX 256
#define LINK_SCRATCH (64u << 10) /* octets a filter gets at a time */
#define LINK_STAGE 8192u /* octets read ahead of frames */

/* Octets from head to tail of a stream's direction, at offset modulo size. Owner: its stream. */
struct link_ring {
	uint8_t *bytes;
	size_t size;
	uint64_t head, tail, origin; /* origin: the offset that lies at bytes[0] */
};

/*
 * Owner: the thread of its connection. Immutable: link, connection, kind, index. `fd` is changed
 * under link->lock, because link_stream_fd() reads it.
 */
struct link_stream {
	struct link *link;
	struct link_connection *connection;
	uint32_t kind, index;
	struct link_stream *next, *next_active, *next_new;
	int fd;
	bool readable, writable, hung_up; /* what epoll said last, edge by edge */
	bool watches_write;
	bool opened; /* source: the target knows of it. target: always */
	bool seen; /* after a reconnection: the peer has said how far it is */
	bool local_ended; /* LINK_LOCAL_END was told */
	bool released; /* its rings are gone */
	bool shut_read, shut_write;

	/* Target: to be connected to, in turn, when its first frame is here. */
	bool connecting, first_frame;
	uint64_t retry_at_us, give_up_at_us;

	/* From the local socket to the peer. out.head: the peer has written so far. */
	struct link_ring out;
	uint64_t sent; /* put on the wire so far */
	bool out_ended, out_aborted; /* nothing more will come; FIN stands at out.tail */
	bool fin_sent, out_done; /* FIN has arrived, or the peer takes no more */
	bool out_refused;

	/* From the peer to the local socket. in.head: written to it so far. */
	struct link_ring in;
	bool in_fin, in_aborted, in_done; /* FIN is here; everything before it was written */
	bool in_refused; /* the local socket takes no more: thrown away */
	bool peer_ended; /* LINK_PEER_END was told */
	uint64_t told_written; /* what the last STATE said */
	bool state_due;
};

enum link_connection_state {
	CONNECTION_OFF, /* no socket; the source will try at wait_until_us */
	CONNECTION_CONNECTING, /* source */
	CONNECTION_GREETING, /* source: HELLO went, WELCOME has to come */
	CONNECTION_SYNC, /* WELCOME said; READY of the peer has to come */
	CONNECTION_READY, /* source: READY came, ours has to go */
	CONNECTION_UP,
	CONNECTION_ENDED, /* the link is dead */
};

/* A socket that the keeper accepted, with what its HELLO said. Under link->lock; fd -1: none. */
struct link_arrival {
	int fd;
	uint32_t attempt, window, silence_ms;
};

/* Owner: its thread, from link_connection_start() on, but for what is said. */
struct link_connection {
	struct link *link;
	uint32_t number;
	pthread_t thread;
	bool started; /* link->lock */
	int wake_fd; /* immutable: an eventfd */
	atomic_bool keep_changed; /* by link_stream_keep() */

	/* Under link->lock. */
	struct link_stream *new_first, *new_last;
	struct link_arrival arrival;
	uint32_t attempt; /* the target's: of the last HELLO taken; the source's own */

	/* Under link->event_lock. */
	bool up;
	uint64_t down_since_us;
	char why[LINK_TEXT_MAX]; /* it is down */

	int epoll_fd, fd;
	enum link_connection_state state;
	bool readable, writable, hung_up;
	uint32_t address; /* which of link->addresses is next */
	uint64_t wait_until_us, backoff_us;
	uint64_t heard_us, said_us; /* at last */
	uint64_t state_at_us; /* when STATEs that are due go at the latest; 0: none are */
	uint32_t peer_window, peer_silence_ms;
	bool progressed; /* since it is up: something came, so that backing off is over */
	struct link_stream *first, *last; /* all that ever were, in order of OPEN */
	struct link_stream *active; /* those with something left to do */
	uint32_t next_index[LINK_KINDS]; /* target: of the next OPEN */

	/* Sending: whole frames, and the payload of the last one of them. */
	uint8_t out[4096];
	size_t out_start, out_end;
	struct link_stream *out_stream, *out_last; /* out_last: whose turn was last */
	uint64_t out_at;
	size_t out_left;
	bool ready_due, opens_due, states_go, beat_due;

	/* Receiving: the payload of the last frame, then what is staged. */
	uint8_t stage[LINK_STAGE];
	size_t stage_start, stage_end;
	struct link_stream *in_stream;
	size_t in_left;

	uint8_t scratch[LINK_SCRATCH + LINK_FILTER_SPARE];
};

struct link {
	/* Immutable after link_new(). */
	bool listens;
	char uri[LINK_URI_MAX];
	char *paths[LINK_KINDS];
	uint64_t deadline_us, silence_us;
	uint32_t window;
	size_t (*filter)(void *ctx, uint32_t index, uint8_t *buf, size_t size);
	void (*event)(void *ctx, const struct link_event *event);
	void *ctx;
	struct socket_address addresses[LINK_ADDRESSES_MAX]; /* source */
	uint32_t address_count;
	uint8_t source_secret[LINK_SECRET]; /* source */
	pthread_t keeper;
	bool keeper_started;
	int keeper_wake_fd;

	/* The keeper's, until it has ended. -1: none. */
	int listen_fd, path_fds[LINK_KINDS];

	atomic_bool stopping, dead, peer_over; /* once true they stay so */
	atomic_bool keep[LINK_KINDS];
	atomic_uint_fast64_t sent, received;

	pthread_mutex_t event_lock;
	char why_dead[LINK_TEXT_MAX];
	bool been_up, all_up;
	uint64_t losses, lost_us, lost_since_us;

	pthread_mutex_t lock;
	pthread_cond_t over; /* a stream is over, or the link is dead */
	bool taken, token_shown; /* target: it has a source */
	uint8_t peer_secret[LINK_SECRET]; /* target: the source's */
	uint8_t token[LINK_SECRET];
	bool has_token; /* source */
	uint32_t connection_count; /* 0: the target does not know yet; then immutable */
	struct link_connection *connections[LINK_CONNECTIONS_MAX];
	struct link_stream *streams[LINK_KINDS][LINK_STREAMS_MAX];
	uint32_t stream_count[LINK_KINDS], live_count[LINK_KINDS];
	uint32_t connect_next[LINK_KINDS]; /* target: whose turn it is to be connected */
};

/* ---- link.c -------------------------------------------------------------------------------- */

uint64_t link_now_us(void);
int link_timeout_ms(uint64_t at_us, uint64_t now_us);
void link_wake(int fd);
int link_fail(struct hf_error *err, int code, int cause, const char *what, const char *about);
/* Takes event_lock; not to be called under a lock. */
void link_tell(struct link_stream *stream, enum link_event_kind kind, const char *text);
__attribute__((format(printf, 2, 3))) void link_die(struct link *link, const char *format, ...);
void link_is_up(struct link_connection *connection);
void link_is_down(struct link_connection *connection, const char *why);
/* Under event_lock or not; dead only. */
void link_why_dead(struct link *link, char ret[LINK_TEXT_MAX]);
bool link_same_secret(const uint8_t a[LINK_SECRET], const uint8_t b[LINK_SECRET]);

/* ---- link-keeper.c ------------------------------------------------------------------------- */

void *link_keeper_run(void *link);

/* ---- link-connection.c --------------------------------------------------------------------- */

/* Adds connection `number` to the link, without a thread. Under link->lock, or before threads. */
int link_connection_new(struct link *link, uint32_t number);
int link_connection_start(struct link_connection *connection);
void link_connection_free(struct link_connection *connection);
void link_tune(int fd);
/* The socket is gone; the source tries again. */
__attribute__((format(printf, 2, 3))) void link_connection_lost(struct link_connection *connection,
								const char *format, ...);
__attribute__((format(printf, 2, 3))) void
link_connection_breach(struct link_connection *connection, const char *format, ...);

/* ---- link-receive.c, link-send.c: whether anything happened -------------------------------- */

bool link_receive(struct link_connection *connection);
bool link_send(struct link_connection *connection);
/* Queues a frame; there is room at the beginning of a connection. */
void link_queue(struct link_connection *connection, const struct link_frame *frame);
/* Passes on what is queued. False: no more can go now, or the connection is lost. */
bool link_flush(struct link_connection *connection);

/* ---- link-stream.c ------------------------------------------------------------------------- */

size_t link_ring_room(const struct link_ring *ring);
/* The place of `size` octets from offset `at`; returns how many iovs. */
int link_ring_iov(const struct link_ring *ring, uint64_t at, size_t size, struct iovec iov[2]);

/* Adds the stream to the link's table. NULL: no memory, or too many. Under link->lock. */
struct link_stream *link_stream_new(struct link *link, uint32_t kind, uint32_t index, int fd);
void link_stream_free(struct link_stream *stream);
/* Into the lists of its connection, and its socket into the epoll. */
void link_stream_adopt(struct link_stream *stream);
/* Connects, reads, writes the local socket; whether anything happened. */
bool link_stream_pump(struct link_stream *stream, uint64_t now_us);
/* After whatever has changed: does to the local socket what follows. */
void link_stream_settle(struct link_stream *stream);
/* What the peer said of how far it is: false, and why, if that cannot be. */
bool link_stream_heard_state(struct link_stream *stream, const struct link_frame *frame, bool sync,
			     const char **ret_why);
bool link_stream_is_over(const struct link_stream *stream);
/* Ends what is not kept: the link is dead. */
void link_stream_end(struct link_stream *stream);

#endif
