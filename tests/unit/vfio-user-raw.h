/* SPDX-License-Identifier: BSD-3-Clause */
/* A served simulated device and a client that speaks to it by hand, for tests of the server. */
#ifndef UNIT_VFIO_USER_RAW_H
#define UNIT_VFIO_USER_RAW_H

#include "device-served.h"
#include "vfio-user-peer.h"

#define RAM_IOVA 0x100000ull
#define RAM_SIZE 0x10000u

struct fixture {
	struct served served;
	int s;
	struct message m;
	uint32_t left; /* clients that have left, as the test counts */
};

static inline void join(struct fixture *f)
{
	f->s = peer_dial(f->served.path);
	assert_int_equal(peer_version(f->s, &f->m, 2, "{\"capabilities\":{\"max_msg_fds\":8}}"), 0);
}

static inline void leave(struct fixture *f)
{
	(void)close(f->s);
	f->s = -1;
	served_await_left(&f->served, ++f->left);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	served_start(&f->served, "sim:state=64K");
	join(f);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->s >= 0)
		(void)close(f->s);
	served_stop(&f->served);
	free(f);
	return 0;
}

/* The server cut us off, and its reason has these words; then it serves the next one. */
static inline void was_cut_off(struct fixture *f, const char *words)
{
	while (peer_recv(f->s, &f->m) == 0)
		vu_fds_close(&f->m.fds); /* what it had answered before */
	leave(f);
	if (!strstr(f->served.why, words))
		fail_msg("the reason is \"%s\", not \"%s\"", f->served.why, words);
	join(f);
}

static inline int ask(struct fixture *f, uint16_t command, struct vu_body b)
{
	return peer_ask(f->s, &f->m, command, &b, NULL, 0);
}

/* It answers, and nothing of what came before is in the way. */
static inline void still_serves(struct fixture *f)
{
	struct vu_body b = { .tail = NULL };

	b.v[VU_ARGSZ] = 16;
	assert_int_equal(ask(f, VU_DEVICE_GET_INFO, b), 0);
	assert_int_equal(f->m.body.v[VU_REGIONS], 8);
}

static inline struct vu_body access_body(uint64_t region, uint64_t offset, uint64_t count,
					 const uint8_t *data, size_t size)
{
	struct vu_body b = { .tail = data, .tail_size = size };

	b.v[VU_INDEX] = region;
	b.v[VU_OFFSET] = offset;
	b.v[VU_COUNT] = count;
	return b;
}

static inline struct vu_body map_body(uint64_t flags, uint64_t offset, uint64_t iova, uint64_t size)
{
	struct vu_body b = { .tail = NULL };

	b.v[VU_ARGSZ] = 32;
	b.v[VU_FLAGS] = flags;
	b.v[VU_OFFSET] = offset;
	b.v[VU_ADDRESS] = iova;
	b.v[VU_SIZE] = size;
	return b;
}

static inline int map(struct fixture *f, struct vu_body b, const int *fds, uint32_t count)
{
	return peer_ask(f->s, &f->m, VU_DMA_MAP, &b, fds, count);
}

#endif
