/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a check is written with. A check begins with a device that was just reset, and may leave it
 * as it likes. It returns early with the first thing that is not right: check_fail() and the
 * helpers that judge return false then, and have set the verdict.
 */
#ifndef CHECK_RUN_H
#define CHECK_RUN_H

#include <pthread.h>
#include <stddef.h>

#include <holdfast/device.h>

#include "check/check.h"
#include "check/list.h"

/* What a check needs; without it, it is skipped and the reason named. */
#define CHECK_NEEDS_P2P 0x1u
#define CHECK_NEEDS_PRE 0x2u
#define CHECK_NEEDS_SIZE 0x4u
#define CHECK_NEEDS_LOG 0x8u
#define CHECK_NEEDS_NOLOG 0x10u
#define CHECK_NEEDS_LESS 0x20u /* at least one optional state is missing */
#define CHECK_NEEDS_SECOND 0x40u
#define CHECK_NEEDS_CONFIG 0x80u
#define CHECK_NEEDS_DANGER 0x100u
#define CHECK_NEEDS_WORK 0x200u /* a driver that makes it work; and so on */
#define CHECK_NEEDS_DMA 0x400u
#define CHECK_NEEDS_IRQ 0x800u
#define CHECK_NEEDS_BEAT 0x1000u
#define CHECK_NEEDS_PEER 0x2000u
#define CHECK_NEEDS_PENDING 0x4000u /* it keeps interrupts that nobody takes */
#define CHECK_NEEDS_READ 0x8000u /* DMA that only reads */
#define CHECK_NEEDS_DRIVER 0xfe00u /* any of these */

#define CHECK_RAM_IOVA 0x100000ull
#define CHECK_RAM_SIZE (4u << 20)
#define CHECK_RAM_PAGES (CHECK_RAM_SIZE / HF_PAGE_SIZE)
#define CHECK_WORK_IOVA (CHECK_RAM_IOVA + 0x10000) /* below it is the driver's own */
#define CHECK_PEER_IOVA 0xe0000000ull
#define CHECK_PEER_SIZE 0x10000u
#define CHECK_MEMORY_SIZE ((size_t)CHECK_RAM_SIZE + CHECK_PEER_SIZE)
#define CHECK_VECTORS 4u
#define CHECK_STREAM_MAX (1ull << 30) /* a longer one is not kept in memory */
#define CHECK_SAMPLES_MAX 2048u
#define CHECK_QUIET_MS 20

struct check_bytes {
	uint8_t *data;
	size_t size, capacity;
};

struct check;

/*
 * How to make a device of some model work, as its driver in a guest would. Members may be NULL
 * where can says that it cannot. They return false after check_fail().
 */
struct check_driver {
	const char *name;
	uint32_t can; /* CHECK_NEEDS_* of what it can */
	bool (*probe)(struct check *c);
	/* One piece of work, to its end. With DMA: writes [iova, iova + length). */
	bool (*work)(struct check *c, uint64_t iova, uint32_t length);
	bool (*read)(struct check *c, uint64_t iova, uint32_t length); /* DMA that only reads */
	bool (*beat)(struct check *c); /* from now on it writes memory and interrupts by itself */
	bool (*start_peer)(struct check *c); /* begin work that ends in another device */
	bool (*peer_done)(struct check *c); /* is it done? Waits for it a little. */
	bool (*interrupt)(struct check *c); /* a piece of work: does its interrupt come? */
	bool (*came)(struct check *c); /* has one come? Waits for it a little. */
	/* A number made of all that a driver may rely on in the registers. */
	bool (*registers)(struct check *c, uint64_t *ret_sum);
	/* A register that others may write; what was written comes back, and resets clear it. */
	bool (*poke)(struct check *c, uint64_t value, uint64_t *ret_read);
};

struct check_samples {
	uint32_t count;
	uint64_t ns[CHECK_SAMPLES_MAX];
};

struct check {
	struct check_options options;
	struct hf_device device;
	struct hf_device_info info;
	uint32_t flags; /* HF_MIG_*, only known ones */
	const struct check_driver *driver; /* or NULL */
	uint8_t *ram, *peer; /* one mapping of memory, one behind the other; NULL: not made yet */
	int memory;
	bool mapped; /* both of them */
	int eventfds[CHECK_VECTORS];
	struct check_result *result; /* of the check at hand */
	struct check_samples *samples[HF_DEVICE_STATE_COUNT][HF_DEVICE_STATE_COUNT];
	uint64_t save_bytes, save_ns, load_bytes, load_ns;
	uint64_t random;
	/* Streams of the check at hand; emptied behind it. */
	struct check_bytes whole, other, damaged;

	/* Between the runner and who waits for it. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t current; /* row */
	uint64_t started_ns;
	bool done;
	struct check_result *results;
};

#define CHECK_DECLARE(function, name, level, needs, source, sentence)                              \
	void check_##function(struct check *c);
CHECK_LIST(CHECK_DECLARE)
#undef CHECK_DECLARE

#define OPS(c) ((c)->device.ops)
#define SELF(c) ((c)->device.self)

/* -- attach.c: the device, its memory and its interrupts -- */

bool check_attach(struct check *c, struct hf_error *err); /* open, map, connect */
void check_detach(struct check *c);
void check_memory_free(struct check *c); /* and the eventfds; also if they were not made */
bool check_map(struct check *c); /* memory and interrupts, again */
/* Eventfds of all vectors, or none: then interrupts stay pending. */
bool check_irqs(struct check *c, bool connected);
/* Reset it, or open it anew, until it runs. False: neither helps. */
bool check_fresh(struct check *c);

/* -- steps.c: what checks are made of -- */

uint64_t check_now_ns(void);
uint64_t check_random(struct check *c);
bool check_fail(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool check_skip(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *check_errno(ssize_t number); /* "EINVAL", "0", "5 bytes": for messages */

bool check_has(const struct check *c, uint32_t state);
bool check_legal(const struct check *c, uint32_t from, uint32_t to);
uint32_t check_state(struct check *c); /* GET; UINT32_MAX if it fails */
bool check_stands(struct check *c, uint32_t state, const char *when);
int check_set(struct check *c, uint32_t to); /* SET, timed; judges nothing */
bool check_go(struct check *c, uint32_t to); /* SET, and it stands there */
bool check_reset(struct check *c); /* RESET, and it runs */
/* A SET that has to be refused; the device and its state stay. */
bool check_refused(struct check *c, uint32_t to);

bool check_put(struct check_bytes *b, const void *from, size_t size);
bool check_same(struct check *c, const struct check_bytes *a, const struct check_bytes *b,
		const char *what);
/* Read until limit, or the end (for now). Pieces of chunk bytes at first, then large ones. */
bool check_read(struct check *c, struct check_bytes *to, size_t chunk, uint64_t limit);
bool check_read_nothing(struct check *c, const char *when); /* a read that has to fail */
bool check_save(struct check *c, struct check_bytes *to); /* to STOP_COPY, all of it */
/* Write all; 0, or the error of the write. Into a device in RESUMING. */
int check_write(struct check *c, const struct check_bytes *from, size_t chunk);
/* RESUMING, write, STOP: all has to succeed. */
bool check_load(struct check *c, const struct check_bytes *from, size_t chunk);
/* RESUMING, write, STOP: somewhere it has to fail; then a reset mends it. */
bool check_load_refused(struct check *c, const struct check_bytes *from, const char *what);
/* Saved from a device that has worked, if that can be done; left reset. */
bool check_sample(struct check *c, struct check_bytes *to);
/* Loaded after a reset and saved again it has to be the same; left in STOP. */
bool check_loads_same(struct check *c, const struct check_bytes *stream,
		      const struct check_bytes *wanted);
bool check_work(struct check *c); /* a few pieces of work, by the driver if there is one */
uint32_t check_open_fds(void);

/* -- drivers.c -- */

const struct check_driver *check_driver_of(struct check *c);
extern const struct check_driver check_driver_sim, check_driver_mtty, check_driver_labdma;

#endif
