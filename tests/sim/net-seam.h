/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the library meets what blocks, tells the time or fails: the functions of net-wrap.txt are
 * replaced at link time. A thread becomes a task of net-sched.h, a clock its clock; descriptors and
 * memory remember whose they are, so that a side can die in the middle and leave nothing behind.
 *
 * Everything that can fail is counted here, and fails when the scenario says so.
 */
#ifndef TESTS_SIM_NET_SEAM_H
#define TESTS_SIM_NET_SEAM_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define SEAM_LIST(X) \
	X(ALLOC,   "memory") X(THREAD, "thread") X(FD, "descriptor") X(WATCH, "epoll_ctl") \
	X(CONNECT, "connect") X(ACCEPT, "accept") X(SEND, "send") X(RECV, "receive") \
	X(RANDOM,  "random") X(FILE, "file") X(DEVICE, "device") X(MACHINE, "machine") \
	X(MEMORY,  "dirty pages") X(LEDGER, "ledger")
/* clang-format on */
#define SEAM_ENUM_(name, text) SEAM_##name,
enum seam { SEAM_LIST(SEAM_ENUM_) SEAM_COUNT };
#undef SEAM_ENUM_

/* One direction of one connection, as far as its windows go. */
struct flow {
	uint64_t sent, taken; /* bytes */
	uint32_t pieces; /* sent since everything was taken */
	uint64_t window;
};

bool flow_open(const struct flow *flow);
void flow_put(struct flow *flow, uint64_t bytes);
void flow_take(struct flow *flow, uint64_t bytes);

void seam_begin(void);

/* One more thing that can fail. true: it does. */
bool seam_fails(enum seam seam, const char *op);
uint64_t seam_count(void); /* so far */
const char *seam_name(enum seam seam);

/* Descriptors. side: whose they are; SCHED_SIDES_MAX: nobody's that dies. */
short seam_events(int fd, short events);
int seam_poll_now(struct pollfd *fds, nfds_t count);
void seam_flows(int fd, struct flow *send, struct flow *recv);

/* A side died: what it had open is closed, what it had allocated is gone. */
void seam_bury(uint32_t side);
/* What a side that ended still has: descriptors and pieces of memory. */
uint32_t seam_left(uint32_t side, char *text, uint32_t size);

#endif
