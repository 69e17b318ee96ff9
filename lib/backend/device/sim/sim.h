/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device from inside; docs/sim-device.md says what it is from outside. It behaves as
 * a correct kernel driver does, and stricter than most: every arc is the kernel's, a stopped device
 * stands still, and a load that is not whole and sound is refused.
 *
 * Files: arcs.c (the states' arcs), model.c (registers, commands, beats), dma.c (maps, access,
 * logging), stream-save.c and stream-load.c (the migration stream), pci.c (regions and
 * configuration space), sim.c (the table of operations, arcs carried out, the thread); defect*.c
 * (planted defects, in front of all that).
 */
#ifndef DEVICE_SIM_SIM_H
#define DEVICE_SIM_SIM_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include <holdfast/backend.h>
#include <holdfast/sim.h>

#include "backend/device/sim/dma.h"

#define SIM_BLOCK_SIZE 4096u
#define SIM_BLOCK_WORDS (SIM_BLOCK_SIZE / 8)
#define SIM_STATE_MIN 4096ull
#define SIM_STATE_MAX (8ull << 30)
#define SIM_LENGTH_MAX (1u << 20)
#define SIM_RING_MAX 4096u
#define SIM_BEAT_MAX (1u << 20)
#define SIM_CONFIG_SIZE 256u
#define SIM_MODEL_MAX 32u /* with the NUL */

struct defect_row; /* defect.h */
#define SIM_DEFECTS_MAX 4u

/* Immutable after open. */
struct sim_config {
	uint64_t state_size; /* bytes, a power of two */
	uint64_t rate; /* bytes of the stream per second; 0: no limit */
	uint64_t seed; /* not 0: reads and writes of the stream are cut at random */
	uint32_t mig_flags;
	uint32_t device_flags; /* HF_DEVICE_HAS_* */
	uint32_t arc_ms; /* each base arc takes this long */
	uint32_t latency_us; /* each command takes this long */
	uint32_t defect_count;
	const struct defect_row *defects[SIM_DEFECTS_MAX]; /* planted, in front of each other */
	char model[SIM_MODEL_MAX];
	char name[HF_NAME_MAX];
};

/* All that the stream carries besides blocks and BAR4. Plain data. */
struct sim_model {
	uint64_t src, dst, ring, beat_ring;
	uint64_t submitted, completed, beats, errors, state_index;
	uint32_t length, ring_entries, beat_entries, beat_period_us;
	uint32_t fault; /* the last command failed */
	uint32_t irq_pending; /* bit v: vector v is due and was not delivered */
	/* The command on its way, if submitted > completed; 0 otherwise. */
	uint64_t command_src, command_dst;
	uint32_t command_op, command_length;
	/* Time that is left until the command ends and the next beat; meant while it is stopped. */
	uint64_t command_left_ns, beat_left_ns;
};

struct sim_save; /* stream-save.c */
struct sim_load; /* stream-load.c */

/* For tests: called before each base arc; a negative errno makes that arc fail there. */
struct sim_hook {
	int (*arc)(void *ctx, uint32_t from, uint32_t to);
	void *ctx;
};

struct sim {
	struct sim_config config;
	uint64_t blocks; /* of internal state */

	pthread_mutex_t lock; /* everything below, unless it says otherwise */
	pthread_cond_t work; /* the thread has something new to look at */
	pthread_cond_t quit; /* closing */
	pthread_t thread;
	int closing;

	uint32_t state; /* HF_DEVICE_*, never ERROR */
	struct sim_model model;
	uint64_t *sequences; /* of each block: the command that wrote it last, 0: none */
	uint64_t command_due_ns; /* meant while it runs */
	uint64_t beat_due_ns; /* the same */
	struct sim_dma dma;
	int eventfds[HF_SIM_VECTORS]; /* borrowed; -1: none */

	uint8_t *bar4; /* mapping of bar4_fd */
	int bar4_fd; /* immutable */
	uint8_t bar2[HF_SIM_BAR2_SIZE];
	uint8_t pci_config[SIM_CONFIG_SIZE];

	/* The migration worker's alone, except where the functions below say so. */
	struct sim_save *save;
	struct sim_load *load;
	struct sim_hook hook;
	uint64_t random;
	uint64_t pace_ns; /* when the rate allows the next byte */
};

/* -- sim.c -- */

/* keys: what stands behind "sim:" or "". */
int sim_open(const char *keys, const char *name, struct hf_device *ret_device,
	     struct hf_error *err);
/* Tests only; device is one of sim_open(), nothing runs on it. */
void sim_hook_set(struct hf_device device, struct sim_hook hook);
/* Wait, without the lock, until the rate allows n more bytes. */
void sim_pace(struct sim *sim, size_t n);
/* How many of n bytes to take at once: all, or by the seed. n > 0. */
size_t sim_portion(struct sim *sim, size_t n);

/* -- model.c; with the lock held -- */

void sim_model_reset(struct sim *sim);
uint64_t sim_model_read(struct sim *sim, uint64_t unit); /* the 8 bytes at unit, of BAR0 */
void sim_model_write(struct sim *sim, uint64_t unit, uint64_t value, uint64_t mask);
void sim_model_start(struct sim *sim, uint64_t now_ns); /* it runs from now on */
void sim_model_stop(struct sim *sim, uint64_t now_ns);
/* Do what is due. Returns when the next thing is, UINT64_MAX: no time known. */
uint64_t sim_model_step(struct sim *sim, uint64_t now_ns);
void sim_model_interrupt(struct sim *sim); /* deliver what is pending, where it can */
int sim_model_valid(const struct sim_model *model); /* could a device have come to stand so? */

/* Word w of a block is sim_block_base() + w * HF_SIM_WORD(0, 1); see sim.h. */
uint64_t sim_block_base(uint64_t index, uint64_t sequence);

/* -- stream-save.c -- */

struct sim_save *sim_save_new(uint64_t blocks);
void sim_save_free(struct sim_save *save);
void sim_save_begin(struct sim *sim); /* with the lock */
void sim_save_touch(struct sim *sim, uint64_t index); /* with the lock: a block has changed */
ssize_t sim_save_read(struct sim *sim, void *buf, size_t size); /* without */
void sim_save_left(struct sim *sim, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes);
uint64_t sim_save_stop_bytes(struct sim *sim); /* what STOP_COPY would give; with the lock */

/* -- stream-load.c -- */

struct sim_load *sim_load_free(struct sim_load *load);
int sim_load_begin(struct sim *sim); /* with the lock; -ENOMEM */
int sim_load_commit(struct sim *sim); /* with the lock; -EINVAL: not whole or not sound */
ssize_t sim_load_write(struct sim *sim, const void *buf, size_t size); /* without */

/* -- pci.c -- */

void sim_pci_reset(struct sim *sim); /* with the lock */
int sim_region_info(void *self, uint32_t index, struct hf_region_info *ret_info);
int sim_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size);
int sim_region_write(void *self, uint32_t index, uint64_t offset, const void *buf, size_t size);

#endif
