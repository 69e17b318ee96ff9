/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests of the link between guards: both ends in one process, what they have told, local
 * sockets, a proxy between them that cuts, and a peer that says what the test wants.
 */
#ifndef GUARD_LINK_WORLD_H
#define GUARD_LINK_WORLD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "guard/link-frame.h"
#include "guard/link.h"

#define WORLD_EVENTS 8192
#define PATIENCE_MS 60000 /* for what comes; a test that waits so long has failed */

struct told {
	enum link_event_kind kind;
	uint32_t stream_kind, index;
	char text[LINK_TEXT_MAX];
};

/* What one end has told. */
struct teller {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct told told[WORLD_EVENTS];
	uint32_t count;
};

struct world {
	char folder[64];
	char uri[256]; /* the target's; where the source connects to, if there is no proxy */
	char paths[2][LINK_KINDS][128]; /* of source and target */
	int listeners[LINK_KINDS]; /* the target's local sockets: the test is what listens */
	struct link_config source_config, target_config;
	struct link *source, *target;
	struct teller source_told, target_told;
	struct proxy *proxy;
	int fds_before, threads_before;
};

/* Folder, listeners, configurations to be changed; then both ends. */
void world_prepare(struct world *world);
void world_start(struct world *world);
void world_start_target(struct world *world);
void world_start_proxy(struct world *world); /* in front of the target */
void world_start_source(struct world *world); /* connects to the proxy, if there is one */
/* Both kinds of one end and all else are gone, and no thread or descriptor is left. */
void world_end(struct world *world);

void teller_init(struct teller *teller);
void teller_hear(void *teller, const struct link_event *event);
/* Waits for the n-th (from 0) event of a kind, and fails the test if it does not come. */
const struct told *teller_wait(struct teller *teller, enum link_event_kind kind, uint32_t n);
const struct told *teller_wait_stream(struct teller *teller, enum link_event_kind kind,
				      uint32_t stream_kind, uint32_t index);
uint32_t teller_count(struct teller *teller, enum link_event_kind kind);

/* Local sockets; all reading and writing has PATIENCE_MS. */
int world_connect(const struct world *world, uint32_t kind);
int world_accept(const struct world *world, uint32_t kind);
void patient(int fd);
bool is_quiet(int fd); /* neither octets nor an end */
void say(int fd, const void *bytes, size_t size);
void hear(int fd, const void *bytes, size_t size); /* exactly these */
void hear_end(int fd);

/* One stream of a kind, with an octet each way: its ends at the source and at the target. */
void open_pair(const struct world *world, uint32_t kind, int *ret_near, int *ret_far);
void close_both(int a, int b);

/* A stream of octets by seed, sent or checked by a thread; then the end of that direction. */
struct flow {
	pthread_t thread;
	int fd;
	uint64_t seed, size, done;
	bool sends, ends; /* ends: says it, or expects it */
	bool wrong;
};
void flow_start(struct flow *flow);
void flow_join(struct flow *flow); /* fails the test if it was not as it should be */

/* ---- a proxy ------------------------------------------------------------------------------- */

enum proxy_way { TO_TARGET, TO_SOURCE };
struct proxy;

struct proxy *proxy_new(const char *to_uri);
void proxy_free(struct proxy *proxy);
const char *proxy_uri(const struct proxy *proxy);
/* After so many octets of a way from now, on all connections together: cuts one, or all of them. */
void proxy_cut_after(struct proxy *proxy, enum proxy_way way, uint64_t octets, bool all);
/* ... or passes nothing on any more on the connections that are there, and says nothing of it. */
void proxy_silence_after(struct proxy *proxy, enum proxy_way way, uint64_t octets);
bool proxy_has_struck(struct proxy *proxy);
/* Who connects from now on is dropped, and those that are there as well; or no more. */
void proxy_close(struct proxy *proxy, bool closed);
uint32_t proxy_connections(struct proxy *proxy); /* so far */

/* ---- by hand ------------------------------------------------------------------------------- */

#define HAND_WINDOW 65536u

int tcp_listen(char uri[256]);
int accept_patiently(int listener);
int tcp_connect(const char *uri);
void say_frame(int fd, const struct link_frame *frame);
/* The next frame, without payload; its type has to be this; 0: any. */
void hear_frame(int fd, uint32_t type, struct link_frame *ret);
struct link_frame hello(uint32_t connections, uint32_t connection);
struct link_frame welcome(uint32_t attempt);
/* A frame that may well be in order, with small numbers; false: nobody listens any more. */
bool say_anything(int fd, uint64_t *seed);

#define HAND_OPEN(index_)                                                                          \
	{                                                                                          \
		.type = LINK_FRAME_OPEN, .kind = LINK_QEMU, .index = index_                        \
	}
#define HAND_DATA(offset_, payload_)                                                               \
	{                                                                                          \
		.type = LINK_FRAME_DATA, .kind = LINK_QEMU, .offset = offset_, .payload = payload_ \
	}
#define HAND_FIN(offset_)                                                                          \
	{                                                                                          \
		.type = LINK_FRAME_FIN, .kind = LINK_QEMU, .offset = offset_                       \
	}
#define HAND_STATE(received_, written_)                                                            \
	{                                                                                          \
		.type = LINK_FRAME_STATE, .kind = LINK_QEMU, .offset = received_,                  \
		.written = written_                                                                \
	}

#endif
