/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests of devices share: a device with memory, interrupts and maps, driving it through its
 * registers as a guest's driver would, and saving and loading it as a session would. For devices
 * that behave as the simulated one (include/holdfast/sim.h), however they are reached.
 */
#ifndef UNIT_DEVICE_FIXTURE_H
#define UNIT_DEVICE_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <holdfast/backend.h>
#include <holdfast/sim.h>

#include "base/time.h"
#include "device-arcs.h"
#include "device-served.h"

#define RAM_SIZE (4u << 20)
#define RAM_IOVA 0x100000ull
#define RING_IOVA (RAM_IOVA + 0x1000)
#define RING_ENTRIES 64u
#define BEAT_IOVA (RAM_IOVA + 0x2000)
#define BEAT_ENTRIES 512u
#define PEER_IOVA 0xe0000000ull /* another device's BAR */
#define PEER_SIZE 0x10000u
#define WAIT_MS 60000 /* for something that has to happen, also on a host that is overloaded */
#define QUIET_MS 30 /* for something that must not */

struct bench {
	struct hf_device device;
	struct hf_filters *filters;
	uint8_t *ram, *peer;
	int fds[HF_SIM_VECTORS];
	uint32_t flags; /* HF_MIG_* */
	int memory; /* of ram and peer, for devices of other processes */
	int is_served;
	struct served served;
};

struct bytes {
	uint8_t *data;
	size_t size, capacity;
};

#define OPS(b) ((b)->device.ops)
#define SELF(b) ((b)->device.self)

/* Not NULL: simulated devices are served, and reached over vfio-user with these keys ("": none). */
static const char *bench_served;

/* What a program of tests takes: nothing, or bench_served. */
static inline void bench_arguments(int argc, char **argv)
{
	bench_served = argc > 1 ? argv[1] : NULL;
}

static inline void bench_open_device(struct bench *b, const char *uri)
{
	struct hf_error err = { 0 };
	char client[HF_URI_MAX];

	b->is_served = bench_served && strncmp(uri, "sim", 3) == 0;
	if (b->is_served) {
		served_start(&b->served, uri);
		(void)snprintf(client, sizeof(client), "vfio-user:%s%s%s", b->served.path,
			       *bench_served ? "," : "", bench_served);
		uri = client;
	}
	if (hf_device_open(uri, "dut", &b->device, &err) < 0)
		fail_msg("%s", err.text);
}

static inline void bench_open(struct bench *b, const char *uri, int filtered)
{
	struct hf_device_info info;

	memset(b, 0, sizeof(*b));
	bench_open_device(b, uri);
	if (filtered) { /* one that never strikes: only the passing through is left */
		assert_int_equal(hf_filters_new(&b->filters, NULL), 0);
		assert_int_equal(hf_filters_add(b->filters, "fault:device.info:4000000000", NULL),
				 0);
		assert_int_equal(hf_filters_device(b->filters, 0, &b->device, NULL), 0);
		assert_string_equal(b->device.ops->kind, "filter");
	}
	b->memory = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(b->memory >= 0);
	assert_int_equal(ftruncate(b->memory, RAM_SIZE + PEER_SIZE), 0);
	assert_int_equal(fcntl(b->memory, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	b->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, b->memory, 0);
	b->peer = mmap(NULL, PEER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, b->memory, RAM_SIZE);
	assert_true(b->ram != MAP_FAILED && b->peer != MAP_FAILED);
	assert_int_equal(OPS(b)->dma_map(SELF(b), RAM_IOVA, RAM_SIZE, b->ram, b->memory, 0,
					 HF_DMA_READ | HF_DMA_WRITE),
			 0);
	assert_int_equal(OPS(b)->dma_map(SELF(b), PEER_IOVA, PEER_SIZE, b->peer, b->memory,
					 RAM_SIZE, HF_DMA_READ | HF_DMA_WRITE | HF_DMA_P2P),
			 0);
	for (int v = 0; v < HF_SIM_VECTORS; v++) {
		b->fds[v] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		assert_true(b->fds[v] >= 0);
	}
	assert_int_equal(OPS(b)->irqs_set(SELF(b), 2, HF_SIM_VECTORS, b->fds), 0);
	assert_int_equal(OPS(b)->info(SELF(b), &info), 0);
	b->flags = info.mig_flags;
}

static inline void bench_close(struct bench *b)
{
	hf_device_close(&b->device);
	if (b->is_served)
		served_stop(&b->served);
	(void)hf_filters_free(b->filters);
	(void)close(b->memory);
	(void)munmap(b->ram, RAM_SIZE);
	(void)munmap(b->peer, PEER_SIZE);
	for (int v = 0; v < HF_SIM_VECTORS; v++)
		(void)close(b->fds[v]);
}

/* ---- registers ----------------------------------------------------------------------------- */

static inline uint64_t reg64(struct bench *b, uint64_t reg)
{
	uint64_t v = 0;

	assert_int_equal(OPS(b)->region_read(SELF(b), 0, reg, &v, 8), 0);
	return v;
}

static inline uint32_t reg32(struct bench *b, uint64_t reg)
{
	uint32_t v = 0;

	assert_int_equal(OPS(b)->region_read(SELF(b), 0, reg, &v, 4), 0);
	return v;
}

static inline void put_reg64(struct bench *b, uint64_t reg, uint64_t v)
{
	assert_int_equal(OPS(b)->region_write(SELF(b), 0, reg, &v, 8), 0);
}

static inline void put_reg32(struct bench *b, uint64_t reg, uint32_t v)
{
	assert_int_equal(OPS(b)->region_write(SELF(b), 0, reg, &v, 4), 0);
}

static inline uint64_t ram64(const struct bench *b, uint64_t iova)
{
	return __atomic_load_n((const uint64_t *)(const void *)(b->ram + (iova - RAM_IOVA)),
			       __ATOMIC_ACQUIRE);
}

/* The interrupts of a vector that have come, waiting ms for the first one. */
static inline uint64_t interrupts(struct bench *b, int vector, int ms)
{
	struct pollfd p = { .fd = b->fds[vector], .events = POLLIN };
	uint64_t n = 0;

	if (poll(&p, 1, ms) == 1 && read(b->fds[vector], &n, sizeof(n)) != sizeof(n))
		n = 0;
	return n;
}

static inline void ring_setup(struct bench *b)
{
	put_reg64(b, HF_SIM_RING, RING_IOVA);
	put_reg32(b, HF_SIM_RING_ENTRIES, RING_ENTRIES);
}

static inline void submit(struct bench *b, uint32_t op, uint64_t src, uint64_t dst, uint32_t length)
{
	put_reg64(b, HF_SIM_SRC, src);
	put_reg64(b, HF_SIM_DST, dst);
	put_reg32(b, HF_SIM_LENGTH, length);
	put_reg32(b, HF_SIM_COMMAND, op);
}

/* One command, to its end. Returns the value of its completion. */
static inline uint64_t command(struct bench *b, uint32_t op, uint64_t src, uint64_t dst,
			       uint32_t length)
{
	uint64_t sequence = reg64(b, HF_SIM_SUBMITTED) + 1;
	uint64_t at = RING_IOVA + 16 * ((sequence - 1) % RING_ENTRIES);

	ring_setup(b);
	submit(b, op, src, dst, length);
	assert_int_equal(interrupts(b, 0, WAIT_MS), 1);
	assert_int_equal(reg64(b, HF_SIM_COMPLETED), sequence);
	assert_int_equal(ram64(b, at), sequence);
	return ram64(b, at + 8);
}

static inline void fill(struct bench *b, uint64_t dst, uint32_t length)
{
	assert_int_equal(command(b, HF_SIM_CMD_FILL, 0, dst, length), 0);
}

/* What sim.h says a word of the internal state is after so many commands. */
static inline uint64_t expected_word(uint64_t index, uint64_t blocks, uint64_t completed)
{
	uint64_t block = index / 512, last = 0;

	for (uint64_t s = 1; s <= completed; s++)
		if (HF_SIM_BLOCK(s, blocks) == block)
			last = s;
	return last ? HF_SIM_WORD(last, index % 512) : HF_SIM_WORD(0, index);
}

/* The internal state as a guest sees it, a few words of each block. */
static inline void check_internal_state(struct bench *b)
{
	uint64_t blocks = reg64(b, HF_SIM_STATE_SIZE) / 4096;
	uint64_t completed = reg64(b, HF_SIM_COMPLETED);

	for (uint64_t i = 0; i < blocks * 512; i += 73) {
		put_reg64(b, HF_SIM_STATE_INDEX, i);
		assert_int_equal(reg64(b, HF_SIM_STATE_WORD), expected_word(i, blocks, completed));
	}
}

/* ---- states and streams -------------------------------------------------------------------- */

static inline uint32_t state_of(struct bench *b)
{
	uint32_t s = 99;

	assert_int_equal(OPS(b)->get_state(SELF(b), &s), 0);
	return s;
}

static inline void go(struct bench *b, uint32_t state)
{
	assert_int_equal(OPS(b)->set_state(SELF(b), state), 0);
	assert_int_equal(state_of(b), state);
}

static inline void put_bytes(struct bytes *s, const void *from, size_t n)
{
	if (s->size + n > s->capacity) {
		s->capacity = (s->size + n) * 2;
		s->data = realloc(s->data, s->capacity);
		assert_non_null(s->data);
	}
	memcpy(s->data + s->size, from, n);
	s->size += n;
}

static inline void free_bytes(struct bytes *s)
{
	free(s->data);
	memset(s, 0, sizeof(*s));
}

/* Read at most limit bytes, chunk by chunk, until the end (for now). Returns how many. */
static inline size_t read_some(struct bench *b, struct bytes *to, size_t chunk, size_t limit)
{
	uint8_t *buf = malloc(chunk);
	size_t done = 0;

	assert_non_null(buf);
	while (done < limit) {
		size_t want = limit - done < chunk ? limit - done : chunk;
		ssize_t n = OPS(b)->read_data(SELF(b), buf, want);

		if (n == -ENOMSG) {
			assert_int_not_equal(state_of(b), HF_DEVICE_STOP_COPY);
			break;
		}
		assert_true(n >= 0 && (size_t)n <= want);
		if (n == 0)
			break;
		put_bytes(to, buf, (size_t)n);
		done += (size_t)n;
	}
	free(buf);
	return done;
}

/* From where it stands to STOP_COPY, and all of the stream that is left. */
static inline void save_rest(struct bench *b, struct bytes *to)
{
	char byte;

	go(b, HF_DEVICE_STOP_COPY);
	(void)read_some(b, to, 1u << 16, SIZE_MAX);
	assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), 0); /* the end stays the end */
}

/* All of it, or the error. */
static inline int write_stream(struct bench *b, const uint8_t *from, size_t size, size_t chunk)
{
	size_t done = 0;

	while (done < size) {
		size_t want = size - done < chunk ? size - done : chunk;
		ssize_t n = OPS(b)->write_data(SELF(b), from + done, want);

		if (n < 0)
			return (int)n;
		assert_true(n > 0 && (size_t)n <= want);
		done += (size_t)n;
	}
	return 0;
}

/* From wherever it stands into RESUMING, and write. 0 or the error of the write. */
static inline int load(struct bench *b, const struct bytes *s, size_t chunk)
{
	go(b, HF_DEVICE_RESUMING);
	return write_stream(b, s->data, s->size, chunk);
}

static inline void assert_same(const struct bytes *a, const struct bytes *b)
{
	assert_int_equal(a->size, b->size);
	assert_memory_equal(a->data, b->data, a->size);
}

/* Bring a device that was just reset to a state, one base arc after the other. */
static inline void walk_to(struct bench *b, uint32_t state)
{
	uint32_t path[ARCS_PATH_MAX];
	int n = arcs_path(b->flags, HF_DEVICE_RUNNING, state, path);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++)
		go(b, path[i]);
}

#endif
