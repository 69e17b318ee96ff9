/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The link between two guards: streams of octets between UNIX sockets at the source and UNIX
 * sockets at the target, over a few connections. A connection that is lost is made again, and the
 * streams go on from the last octet that arrived; who reads and writes them does not notice, until
 * a deadline. docs/guard-link.md has the protocol.
 *
 * All functions may be called from any thread, also from the event callback, except link_free() and
 * link_finish() from there. Only one call of link_free(), and nothing after it.
 */
#ifndef GUARD_LINK_H
#define GUARD_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holdfast/error.h>

/* What a stream is for. */
enum link_kind { LINK_SESSION = 1, LINK_QEMU = 2 };
#define LINK_KINDS 3

#define LINK_CONNECTIONS_MAX 16u
#define LINK_STREAMS_MAX 4096u /* of a kind, in the life of a link */
#define LINK_LIVE_MAX 320u /* of all kinds at a time; more are closed when they are accepted */
#define LINK_FILTER_SPARE 16u

enum link_event_kind {
	LINK_UP, /* all connections are there for the first time */
	LINK_LOST, /* one of them is not any more; text: why */
	LINK_BACK, /* all of them are there again */
	LINK_DEAD, /* final; text: why. No stream moves any more */
	LINK_OPENED, /* a stream, whose local socket is there; also before LINK_UP */
	LINK_LOCAL_END, /* the local socket of the stream ended or failed; text: how */
	LINK_PEER_END, /* the peer's; all octets before it were given to the local one; text: how */
};

struct link_event {
	enum link_event_kind kind;
	uint32_t stream; /* its number in the link, the same at both ends */
	uint32_t stream_kind, index; /* the n-th of its kind, from 0, as the source accepted them */
	const char *text; /* never NULL; until the callback returns */
};

struct link_config {
	const char *uri; /* tcp:HOST:PORT or unix:PATH; the source connects, the target listens */
	bool listens; /* the target */
	uint32_t connections; /* the source's wish, 1 to 16; 0: 2 */
	uint64_t deadline_us; /* a connection lost for so long: dead; 0: 60 s */
	uint64_t silence_us; /* nothing heard on a connection for so long: lost; 0: 5 s */
	uint32_t window; /* octets in flight, by stream and direction; 0: 4 MiB */
	/*
	 * Source: UNIX sockets to listen on; each connection that is accepted becomes a stream.
	 * Target: UNIX sockets to connect to, in the same order for each kind, each when the first
	 * octets of its stream are here. NULL: no streams of this kind.
	 */
	const char *paths[LINK_KINDS];
	/*
	 * Target, or NULL: sees and may change what the local end of a LINK_QEMU stream sends. In
	 * place; returns the new size, 0 to size + LINK_FILTER_SPARE. Streams of different
	 * connections are filtered at the same time, by different threads; one stream by one.
	 */
	size_t (*filter)(void *ctx, uint32_t index, uint8_t *buf, size_t size);
	/* One at a time, from the link's threads, which wait for it: must not block. */
	void (*event)(void *ctx, const struct link_event *event);
	void *ctx;
};

struct link_progress {
	uint64_t sent, received; /* octets taken from, and given to, local sockets */
	uint64_t losses; /* of connections */
	uint64_t lost_us; /* how long not all connections were there, since LINK_UP */
	bool up; /* all are there */
};

struct link;

/*
 * 0, or a negative HF_E_ code, and no link then. Listening sockets exist on return; *ret_link is
 * set before the first event is told, which may be before. The source tries to connect until the
 * deadline; the target waits for its source as long as it lives.
 */
int link_new(const struct link_config *config, struct link **ret_link, struct hf_error *err);

/*
 * Tells the peer that the link is over, ends threads, closes and unlinks everything; NULL is fine.
 * What was not yet given to the peer's sockets may be lost: link_finish() waits for that.
 * Takes half a second at most if the peer does not listen. Returns NULL.
 */
struct link *link_free(struct link *link);

/* What it listens on, with the port that it has ("tcp:127.0.0.1:43211"); the source: its uri. */
const char *link_uri(const struct link *link);

/*
 * After LINK_OPENED: a duplicate of the stream's local socket, for the caller to write into and to
 * close. It is O_NONBLOCK, and what is written is not in order with what the link writes. -1 with
 * errno: there is none (any more).
 */
int link_stream_fd(struct link *link, uint32_t stream_kind, uint32_t index);

/*
 * Keep: neither the peer's end nor the death of the link ends a local socket of this kind, not even
 * half of it; only link_free() does, and then who has a duplicate of it keeps the connection.
 * Without it again, what was put off happens.
 */
void link_stream_keep(struct link *link, uint32_t stream_kind, bool keep);

/*
 * Waits until all streams of a kind have ended in both directions and the peer has confirmed it.
 * 0; HF_E_DEADLINE, or HF_E_CONNECTION_LOST if the link is dead.
 */
int link_finish(struct link *link, uint32_t stream_kind, uint64_t timeout_us);

void link_progress(struct link *link, struct link_progress *ret);

#endif
