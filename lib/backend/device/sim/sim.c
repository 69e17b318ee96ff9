/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device: how it is opened, its thread, the arcs carried out, and its table of
 * operations.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/device/sim/arcs.h"
#include "backend/device/sim/defect.h"
#include "backend/device/sim/sim.h"
#include "backend/device/sim/uri.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/time.h"

#define MSIX_INDEX 2u
#define IRQ_INDEXES 5u
#define PACED_MAX (1u << 20) /* bytes at once, when there is a rate */

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S),
				  .tv_nsec = (long)(ns % NS_PER_S) };
}

/* ---- the thread ---------------------------------------------------------------------------- */

static void *run(void *arg)
{
	struct sim *sim = arg;

	(void)pthread_mutex_lock(&sim->lock);
	while (!sim->closing) {
		uint64_t next_ns = sim_model_step(sim, time_now_ns());
		struct timespec next = timespec_of(next_ns);

		if (next_ns == UINT64_MAX)
			(void)pthread_cond_wait(&sim->work, &sim->lock);
		else
			(void)pthread_cond_timedwait(&sim->work, &sim->lock, &next);
	}
	(void)pthread_mutex_unlock(&sim->lock);
	return NULL;
}

/* Wait with the lock, which is free meanwhile; ends early when the device is closed. */
static void wait_until(struct sim *sim, uint64_t until_ns)
{
	struct timespec until = timespec_of(until_ns);

	while (!sim->closing && time_now_ns() < until_ns)
		(void)pthread_cond_timedwait(&sim->quit, &sim->lock, &until);
}

void sim_pace(struct sim *sim, size_t n)
{
	uint64_t now = time_now_ns();

	if (!sim->config.rate)
		return;
	assert(n <= PACED_MAX);
	if (sim->pace_ns < now)
		sim->pace_ns = now;
	sim->pace_ns += n * NS_PER_S / sim->config.rate;
	(void)pthread_mutex_lock(&sim->lock);
	wait_until(sim, sim->pace_ns);
	(void)pthread_mutex_unlock(&sim->lock);
}

size_t sim_portion(struct sim *sim, size_t n)
{
	if (sim->config.rate && n > PACED_MAX)
		n = PACED_MAX;
	if (!sim->config.seed)
		return n;
	sim->random = sim->random * 6364136223846793005ull + 1442695040888963407ull;
	return 1 + (size_t)((sim->random >> 20) % n);
}

/* ---- arcs ---------------------------------------------------------------------------------- */

static int saves_from(uint32_t from, uint32_t to)
{
	return sim_state_saves(to) && !sim_state_saves(from);
}

/* One base arc, with the lock. On failure nothing has changed. */
static int arc(struct sim *sim, uint32_t to)
{
	uint32_t from = sim->state;
	uint64_t now;
	int r = 0;

	if (sim->config.arc_ms)
		wait_until(sim, time_now_ns() + sim->config.arc_ms * NS_PER_MS);
	if (sim->hook.arc)
		r = sim->hook.arc(sim->hook.ctx, from, to);
	if (r == 0 && to == HF_DEVICE_RESUMING)
		r = sim_load_begin(sim);
	else if (r == 0 && from == HF_DEVICE_RESUMING)
		r = sim_load_commit(sim);
	if (r < 0)
		return r;

	now = time_now_ns();
	sim->state = to;
	if (saves_from(from, to))
		sim_save_begin(sim);
	if (sim_state_runs(from) && !sim_state_runs(to))
		sim_model_stop(sim, now);
	if (!sim_state_runs(from) && sim_state_runs(to))
		sim_model_start(sim, now);
	/* Its thread looks again: a command that had to wait may go on now. */
	(void)pthread_cond_signal(&sim->work);
	return 0;
}

static int op_set_state(void *self, uint32_t state)
{
	struct sim *sim = self;
	uint32_t next = 0;
	int r = 0;

	(void)pthread_mutex_lock(&sim->lock);
	do {
		r = sim_arc_next(sim->config.mig_flags, sim->state, state, &next);
		if (r == 0 && next != sim->state)
			r = arc(sim, next);
	} while (r == 0 && sim->state != state);
	(void)pthread_mutex_unlock(&sim->lock);
	return r;
}

static int op_get_state(void *self, uint32_t *ret_state)
{
	struct sim *sim = self;

	(void)pthread_mutex_lock(&sim->lock);
	*ret_state = sim->state;
	(void)pthread_mutex_unlock(&sim->lock);
	return 0;
}

static int op_reset(void *self)
{
	struct sim *sim = self;

	(void)pthread_mutex_lock(&sim->lock);
	sim->load = sim_load_free(sim->load);
	sim_model_reset(sim);
	sim_pci_reset(sim);
	sim->state = HF_DEVICE_RUNNING;
	(void)pthread_cond_signal(&sim->work);
	(void)pthread_mutex_unlock(&sim->lock);
	return 0;
}

/* ---- data ---------------------------------------------------------------------------------- */

static ssize_t op_read_data(void *self, void *buf, size_t size)
{
	struct sim *sim = self;

	if (!sim_state_saves(sim->state))
		return -ENODEV;
	return size ? sim_save_read(sim, buf, size) : 0;
}

static ssize_t op_write_data(void *self, const void *buf, size_t size)
{
	struct sim *sim = self;

	if (sim->state != HF_DEVICE_RESUMING)
		return -ENODEV;
	return size ? sim_load_write(sim, buf, size) : 0;
}

static int op_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes)
{
	struct sim *sim = self;
	int r = -EINVAL;

	(void)pthread_mutex_lock(&sim->lock);
	if (sim->state == HF_DEVICE_PRE_COPY || sim->state == HF_DEVICE_PRE_COPY_P2P) {
		sim_save_left(sim, ret_initial_bytes, ret_dirty_bytes);
		r = 0;
	}
	(void)pthread_mutex_unlock(&sim->lock);
	return r;
}

static int op_data_size(void *self, uint64_t *ret_bytes)
{
	struct sim *sim = self;

	if (!(sim->config.device_flags & HF_DEVICE_HAS_DATA_SIZE))
		return -EOPNOTSUPP;
	(void)pthread_mutex_lock(&sim->lock);
	*ret_bytes = sim_save_stop_bytes(sim);
	(void)pthread_mutex_unlock(&sim->lock);
	return 0;
}

/* ---- DMA and its log ----------------------------------------------------------------------- */

static int op_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
			  uint32_t count)
{
	struct sim *sim = self;
	int r = -EOPNOTSUPP;

	(void)pthread_mutex_lock(&sim->lock);
	if (sim->config.device_flags & HF_DEVICE_HAS_DMA_LOGGING)
		r = sim_log_start(&sim->dma, page_size, ranges, count);
	(void)pthread_mutex_unlock(&sim->lock);
	return r;
}

static int op_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
			 uint64_t *bitmap)
{
	struct sim *sim = self;
	int r = -EOPNOTSUPP;

	(void)pthread_mutex_lock(&sim->lock);
	if (sim->config.device_flags & HF_DEVICE_HAS_DMA_LOGGING)
		r = sim_log_read(&sim->dma, iova, length, page_size, bitmap);
	(void)pthread_mutex_unlock(&sim->lock);
	return r;
}

static int op_dirty_stop(void *self)
{
	struct sim *sim = self;
	int r = -EOPNOTSUPP;

	(void)pthread_mutex_lock(&sim->lock);
	if (sim->config.device_flags & HF_DEVICE_HAS_DMA_LOGGING)
		r = sim_log_stop(&sim->dma);
	(void)pthread_mutex_unlock(&sim->lock);
	return r;
}

static int op_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd,
		      uint64_t fd_offset, uint32_t flags)
{
	struct sim *sim = self;
	int r;

	(void)fd, (void)fd_offset; /* for devices in other processes */
	(void)pthread_mutex_lock(&sim->lock);
	r = sim_dma_map(&sim->dma, iova, size, vaddr, flags);
	(void)pthread_mutex_unlock(&sim->lock);
	return r;
}

static int op_dma_map_calls(void *self, uint64_t iova, uint64_t size,
			    const struct hf_dma_calls *calls, uint32_t flags)
{
	struct sim *sim = self;
	int r;

	(void)pthread_mutex_lock(&sim->lock);
	r = sim_dma_map_calls(&sim->dma, iova, size, calls, flags);
	(void)pthread_mutex_unlock(&sim->lock);
	return r;
}

/* After this no DMA is under way there: a command is one step under the lock. */
static int op_dma_unmap(void *self, uint64_t iova, uint64_t size)
{
	struct sim *sim = self;
	int r;

	(void)pthread_mutex_lock(&sim->lock);
	r = sim_dma_unmap(&sim->dma, iova, size);
	(void)pthread_mutex_unlock(&sim->lock);
	return r;
}

/* ---- interrupts ---------------------------------------------------------------------------- */

static int op_irq_count(void *self, uint32_t index, uint32_t *ret_count)
{
	(void)self;
	if (index >= IRQ_INDEXES)
		return -EINVAL;
	*ret_count = index == MSIX_INDEX ? HF_SIM_VECTORS : 0;
	return 0;
}

static int op_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds)
{
	struct sim *sim = self;

	if (index >= IRQ_INDEXES || count > (index == MSIX_INDEX ? HF_SIM_VECTORS : 0))
		return -EINVAL;
	(void)pthread_mutex_lock(&sim->lock);
	for (uint32_t v = 0; index == MSIX_INDEX && v < HF_SIM_VECTORS; v++)
		sim->eventfds[v] = v < count ? eventfds[v] : -1;
	sim_model_interrupt(sim);
	(void)pthread_mutex_unlock(&sim->lock);
	return 0;
}

/* ---- the object ---------------------------------------------------------------------------- */

static int op_info(void *self, struct hf_device_info *ret_info)
{
	const struct sim *sim = self;
	const struct sim_config *c = &sim->config;
	struct hf_device_info info = {
		.mig_flags = c->mig_flags,
		.flags = c->device_flags | HF_DEVICE_TAKES_P2P,
		.region_count = 8,
		.irq_count = IRQ_INDEXES,
		.vendor_id = HF_SIM_VENDOR_ID,
		.device_id = HF_SIM_DEVICE_ID,
		.subsystem_vendor_id = HF_SIM_VENDOR_ID,
		.subsystem_id = 1,
		.revision = HF_SIM_REVISION,
		.kind = "sim",
	};

	memcpy(info.name, c->name, sizeof(info.name));
	(void)snprintf(info.compat, sizeof(info.compat), "sim-1/%s/%" PRIu64, c->model,
		       c->state_size);
	*ret_info = info;
	return 0;
}

/* It is in this process, and cannot be lost. */
static void op_why(void *self, char *ret_text, size_t size)
{
	(void)self;
	if (size)
		ret_text[0] = 0;
}

static void sim_free(struct sim *sim)
{
	if (sim->bar4)
		(void)munmap(sim->bar4, HF_SIM_BAR4_SIZE);
	if (sim->bar4_fd >= 0)
		(void)close(sim->bar4_fd);
	sim_dma_done(&sim->dma);
	sim_save_free(sim->save);
	(void)sim_load_free(sim->load);
	free(sim->sequences);
	(void)pthread_cond_destroy(&sim->quit);
	(void)pthread_cond_destroy(&sim->work);
	(void)pthread_mutex_destroy(&sim->lock);
	free(sim);
}

static void op_close(void *self)
{
	struct sim *sim = self;

	if (!sim)
		return;
	(void)pthread_mutex_lock(&sim->lock);
	sim->closing = 1;
	(void)pthread_cond_broadcast(&sim->work);
	(void)pthread_cond_broadcast(&sim->quit);
	(void)pthread_mutex_unlock(&sim->lock);
	(void)pthread_join(sim->thread, NULL);
	sim_free(sim);
}

static const struct hf_device_ops sim_ops = {
	.size = sizeof(struct hf_device_ops),
	.kind = "sim",
	.info = op_info,
	.get_state = op_get_state,
	.set_state = op_set_state,
	.read_data = op_read_data,
	.write_data = op_write_data,
	.precopy_info = op_precopy_info,
	.data_size = op_data_size,
	.dirty_start = op_dirty_start,
	.dirty_read = op_dirty_read,
	.dirty_stop = op_dirty_stop,
	.reset = op_reset,
	.region_info = sim_region_info,
	.region_read = sim_region_read,
	.region_write = sim_region_write,
	.irq_count = op_irq_count,
	.irqs_set = op_irqs_set,
	.dma_map = op_dma_map,
	.dma_unmap = op_dma_unmap,
	.close = op_close,
	.dma_map_calls = op_dma_map_calls,
	.why = op_why,
};

/* These cannot fail on Linux. */
static void init_locks(struct sim *sim)
{
	pthread_condattr_t attr;

	(void)pthread_mutex_init(&sim->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&sim->work, &attr);
	(void)pthread_cond_init(&sim->quit, &attr);
	(void)pthread_condattr_destroy(&attr);
}

/* All but its locks and its thread. 0 or a negative errno; then the parts are the caller's. */
static int build(struct sim *sim)
{
	sim->save = sim_save_new(sim->blocks);
	sim->sequences = calloc(sim->blocks, sizeof(sim->sequences[0]));
	if (!sim->save || !sim->sequences)
		return -ENOMEM;
	sim->bar4_fd = memfd_create("holdfast-sim-bar4", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* Whoever is given it cannot shorten what we have mapped. */
	if (sim->bar4_fd < 0 || ftruncate(sim->bar4_fd, HF_SIM_BAR4_SIZE) < 0 ||
	    fcntl(sim->bar4_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	sim->bar4 =
		mmap(NULL, HF_SIM_BAR4_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, sim->bar4_fd, 0);
	if (sim->bar4 == MAP_FAILED) {
		sim->bar4 = NULL;
		return -errno;
	}
	sim->state = HF_DEVICE_RUNNING;
	sim_model_reset(sim);
	sim_pci_reset(sim);
	return 0;
}

static int with_defects(struct sim *sim, struct hf_device *ret_device, struct hf_error *err)
{
	struct hf_device device = { .ops = &sim_ops, .self = sim };

	for (uint32_t i = 0; i < sim->config.defect_count; i++) {
		int r = sim_defect_wrap(sim->config.defects[i], sim, &device);

		if (r < 0) {
			hf_device_close(&device);
			return error_set(err, HF_E_NO_MEMORY, -r, "simulated device");
		}
	}
	*ret_device = device;
	return 0;
}

int sim_open(const char *keys, const char *name, struct hf_device *ret_device, struct hf_error *err)
{
	struct sim_config config;
	struct sim *sim;
	int r = sim_uri_parse(keys, name, &config, err);

	if (r < 0)
		return r;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "simulated device");
	sim->config = config;
	sim->blocks = config.state_size / SIM_BLOCK_SIZE;
	sim->random = config.seed;
	sim->bar4_fd = -1;
	for (uint32_t v = 0; v < HF_SIM_VECTORS; v++)
		sim->eventfds[v] = -1;
	init_locks(sim);
	r = build(sim);
	if (r == 0)
		r = -pthread_create(&sim->thread, NULL, run, sim);
	if (r < 0) {
		sim_free(sim);
		return error_set(err, r == -ENOMEM ? HF_E_NO_MEMORY : HF_E_SYSTEM, -r,
				 "simulated device");
	}
	return with_defects(sim, ret_device, err);
}

void sim_hook_set(struct hf_device device, struct sim_hook hook)
{
	struct sim *sim = device.self;

	assert(device.ops == &sim_ops);
	(void)pthread_mutex_lock(&sim->lock);
	sim->hook = hook;
	(void)pthread_mutex_unlock(&sim->lock);
}
