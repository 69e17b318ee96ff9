/* SPDX-License-Identifier: BSD-3-Clause */
/* Planted defects of what a device says about itself, of its states, and of its reset. */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/device/sim/arcs.h"
#include "backend/device/sim/defect.h"

#define SLOW_TIMES 4u

/* ---- info ---------------------------------------------------------------------------------- */

static int info_flags(struct defect *d, struct hf_device_info *info)
{
	(void)d;
	info->mig_flags |= 8;
	return 0;
}

static int info_constant(struct defect *d, struct hf_device_info *info)
{
	if (defect_state(d) == HF_DEVICE_STOP_COPY)
		info->compat[0] ^= 1;
	return 0;
}

static int info_named(struct defect *d, struct hf_device_info *info)
{
	(void)d;
	memset(info->compat, 0, sizeof(info->compat));
	return 0;
}

static int info_no_reset(struct defect *d, struct hf_device_info *info)
{
	(void)d;
	info->flags &= ~HF_DEVICE_HAS_RESET;
	return 0;
}

static int opens_stopped(struct defect *d)
{
	return defect_set(d, HF_DEVICE_STOP);
}

/* Of the device that was closed last, whichever that was: a driver's memory of it. */
static _Atomic uint32_t state_at_close = HF_DEVICE_RUNNING;

static void survives_close(struct defect *d)
{
	state_at_close = defect_state(d);
}

static int survives_open(struct defect *d)
{
	return defect_set(d, state_at_close);
}

static int get_unknown(struct defect *d, uint32_t *state)
{
	if (*state == d->row->arg)
		*state = 9;
	return 0;
}

/* The time is what is wrong here: nothing is waited for. */
static int get_slow(struct defect *d, uint32_t *state)
{
	(void)state;
	(void)poll(NULL, 0, (int)d->row->arg);
	return 0;
}

/* By whichever thread; a few times, so that other checks come to an end. */
static int load_slow(struct defect *d, uint32_t index, uint64_t at, void *buf, size_t size)
{
	(void)at, (void)buf, (void)size;
	if (index == 7 && __atomic_fetch_add(&d->count, 1, __ATOMIC_RELAXED) < SLOW_TIMES)
		(void)poll(NULL, 0, (int)d->row->arg);
	return 0;
}

static int size_refused(struct defect *d, uint64_t *bytes)
{
	(void)bytes;
	return defect_state(d) == HF_DEVICE_RUNNING ? -EINVAL : 0;
}

static int size_half(struct defect *d, uint64_t *bytes)
{
	(void)d;
	*bytes /= 2;
	return 0;
}

static int region_more(struct defect *d, uint32_t index, int r, struct hf_region_info *info)
{
	(void)d;
	if (r < 0 && index == 8)
		*info = (struct hf_region_info){ .mmap_fd = -1 };
	return index == 8 ? 0 : r;
}

static int irqs_more(struct defect *d, uint32_t index, int r, uint32_t *count)
{
	(void)d;
	if (r < 0 && index == 5)
		*count = 1;
	return index == 5 ? 0 : r;
}

static int other_ids(struct defect *d, uint32_t index, uint64_t at, void *buf, size_t size)
{
	(void)d;
	if (index == 7 && at == 0 && size >= 2)
		((uint8_t *)buf)[1] ^= 1;
	return 0;
}

/* ---- requests ------------------------------------------------------------------------------ */

static int stops_short(struct defect *d, uint32_t from, uint32_t to)
{
	return defect_set(d, from == HF_DEVICE_RUNNING && to == HF_DEVICE_STOP_COPY ? HF_DEVICE_STOP
										    : to);
}

static int same_refused(struct defect *d, uint32_t from, uint32_t to)
{
	return from == to ? -EBUSY : defect_set(d, to);
}

/* Leaves the saving state and comes back: another session. */
static int begin_anew(struct defect *d)
{
	int r = defect_set(d, HF_DEVICE_STOP);

	return r < 0 ? r : defect_set(d, HF_DEVICE_STOP_COPY);
}

static int same_restarts(struct defect *d, uint32_t from, uint32_t to)
{
	return from == to && to == HF_DEVICE_STOP_COPY ? begin_anew(d) : defect_set(d, to);
}

static int refusal_restarts(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (r < 0 && from == HF_DEVICE_STOP_COPY)
		(void)begin_anew(d);
	return r;
}

static int error_accepted(struct defect *d, uint32_t from, uint32_t to)
{
	(void)from;
	return to == HF_DEVICE_ERROR ? 0 : defect_set(d, to);
}

static int unknown_accepted(struct defect *d, uint32_t from, uint32_t to)
{
	(void)from;
	return to >= HF_DEVICE_STATE_COUNT ? 0 : defect_set(d, to);
}

static int refusal_eio(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	(void)from;
	return r == -EINVAL ? -EIO : r;
}

static int optional_accepted(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	(void)from;
	return r == -EINVAL && to >= HF_DEVICE_RUNNING_P2P && to < HF_DEVICE_STATE_COUNT ? 0 : r;
}

static int blocked_accepted(struct defect *d, uint32_t from, uint32_t to)
{
	if (from == HF_DEVICE_STOP_COPY && to == d->row->arg)
		(void)defect_set(d, HF_DEVICE_RUNNING);
	return defect_set(d, to);
}

static int drifts(struct defect *d, uint32_t from, uint32_t to)
{
	(void)from;
	return ++d->count % 150 == 0 ? 0 : defect_set(d, to);
}

/* After a way from arg to RUNNING it takes no commands, until it is reset. */
static int dies_after(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (r == 0 && from == d->row->arg && to == HF_DEVICE_RUNNING)
		d->flag = 1;
	return r;
}

static int reset_revives(struct defect *d, uint32_t from)
{
	(void)from;
	__atomic_store_n(&d->flag, 0, __ATOMIC_RELAXED);
	return defect_reset(d);
}

static int stop_spoils(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	(void)from;
	if (r == 0 && to == HF_DEVICE_STOP)
		defect_spoil(d);
	return r;
}

static int stop_config(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	(void)from;
	if (r == 0 && to == HF_DEVICE_STOP) {
		defect_lock(d);
		d->sim->pci_config[0x3c] ^= 1;
		defect_unlock(d);
	}
	return r;
}

static int stop_disconnects(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	(void)from;
	if (r == 0 && to == HF_DEVICE_STOP)
		r = d->next.ops->irqs_set(d->next.self, 2, 0, NULL);
	return r;
}

static int stop_drops_pending(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	(void)from;
	if (r == 0 && to == HF_DEVICE_STOP) {
		defect_lock(d);
		d->sim->model.irq_pending = 0;
		defect_unlock(d);
	}
	return r;
}

static int drops_command(struct defect *d, uint32_t from, uint32_t to)
{
	struct sim_model *m = &d->sim->model;

	if (from == HF_DEVICE_RUNNING_P2P && to == HF_DEVICE_RUNNING) {
		defect_lock(d);
		m->submitted = m->completed;
		m->command_src = m->command_dst = 0;
		m->command_op = m->command_length = 0;
		defect_unlock(d);
	}
	return defect_set(d, to);
}

static int leaks(struct defect *d, uint32_t from, uint32_t to)
{
	(void)from;
	if (to == HF_DEVICE_RESUMING && d->fd_count < DEFECT_FDS_MAX) {
		int fd = eventfd(0, EFD_CLOEXEC);

		if (fd >= 0)
			d->fds[d->fd_count++] = fd; /* given back at close, for the test's sake */
	}
	return defect_set(d, to);
}

/* ---- what must not happen ------------------------------------------------------------------ */

/*
 * A device that is not quiet has a thread of its own. Here it does its wrong when it is asked where
 * it stands, so that a check that looks for a while always sees it.
 */
static int writes_memory(struct defect *d, uint32_t *state)
{
	if (*state != d->row->arg)
		return 0;
	defect_lock(d);
	d->count++;
	(void)sim_dma_write(&d->sim->dma, d->sim->model.beat_ring, &d->count, sizeof(d->count));
	defect_unlock(d);
	return 0;
}

static int signals(struct defect *d, uint32_t *state)
{
	const uint64_t one = 1;

	if (sim_state_runs(*state))
		return 0;
	defect_lock(d);
	if (d->sim->eventfds[1] >= 0 &&
	    write(d->sim->eventfds[1], &one, sizeof(one)) != sizeof(one))
		d->count++; /* full: it is signalled */
	defect_unlock(d);
	return 0;
}

static int writes_peer(struct defect *d, uint32_t *state)
{
	struct sim_dma *dma = &d->sim->dma;

	if (*state != HF_DEVICE_RUNNING_P2P && *state != HF_DEVICE_PRE_COPY_P2P)
		return 0;
	defect_lock(d);
	d->count++;
	for (uint32_t i = 0; i < dma->map_count; i++)
		if (dma->maps[i].flags & HF_DMA_P2P)
			(void)sim_dma_write(dma, dma->maps[i].iova, &d->count, sizeof(d->count));
	defect_unlock(d);
	return 0;
}

static int access_breaks(struct defect *d, uint32_t index, uint64_t at, void *buf, size_t size)
{
	(void)index, (void)at, (void)buf, (void)size;
	if (!sim_state_runs(defect_state(d))) /* on any thread, as accesses are */
		__atomic_store_n(&d->flag, 1, __ATOMIC_RELAXED);
	return 0;
}

static int get_broken(struct defect *d, uint32_t *state)
{
	if (__atomic_load_n(&d->flag, __ATOMIC_RELAXED))
		*state = HF_DEVICE_ERROR;
	return 0;
}

static int store_deaf(struct defect *d, uint32_t index, uint64_t at, const void *buf, size_t size)
{
	if (defect_state(d) == d->row->arg && index == 0)
		return 0;
	return d->next.ops->region_write(d->next.self, index, at, buf, size);
}

/* ---- reset --------------------------------------------------------------------------------- */

static int reset_ignored(struct defect *d, uint32_t from)
{
	return from == HF_DEVICE_STOP_COPY ? 0 : defect_reset(d);
}

static int reset_once(struct defect *d, uint32_t from)
{
	(void)from;
	if (d->flag)
		return -EBUSY;
	d->flag = 1;
	return defect_reset(d);
}

static int set_after_reset(struct defect *d, uint32_t from, uint32_t to)
{
	(void)from;
	d->flag = 0;
	return defect_set(d, to);
}

static int reset_kills(struct defect *d, uint32_t from)
{
	(void)from;
	d->flag = 1;
	return defect_reset(d);
}

static int reset_remembers(struct defect *d, uint32_t from)
{
	d->flag = from == HF_DEVICE_PRE_COPY || from == HF_DEVICE_STOP_COPY;
	return defect_reset(d);
}

static ssize_t write_remembers(struct defect *d, const void *buf, size_t size)
{
	return d->flag ? -EINVAL : defect_write(d, buf, size);
}

static int reset_keeps(struct defect *d, uint32_t from)
{
	uint64_t dst = d->sim->model.dst;
	int r = defect_reset(d);

	(void)from;
	defect_lock(d);
	d->sim->model.dst = dst;
	defect_unlock(d);
	return r;
}

static int start_honest(struct defect *d, uint64_t page_size, const struct hf_dma_range *ranges,
			uint32_t count)
{
	d->flag = 0;
	return d->next.ops->dirty_start(d->next.self, page_size, ranges, count);
}

static int report_blind(struct defect *d, uint64_t iova, uint64_t length, uint64_t page_size,
			uint64_t *bitmap)
{
	return d->flag ? 0 : d->next.ops->dirty_read(d->next.self, iova, length, page_size, bitmap);
}

/* clang-format off */
const struct defect_row defect_rows_state[] = {
	{ "info.flags", .info = info_flags },
	{ "info.constant", .info = info_constant },
	{ "info.named", .info = info_named },
	{ "info.opens-running", .open = opens_stopped },
	{ "info.reopens-running", .open = survives_open, .close = survives_close },
	{ "info.state-known", HF_DEVICE_STOP_COPY, .get = get_unknown },
	{ "info.get-cheap", 3, .get = get_slow },
	{ "info.data-size-everywhere", .size = size_refused },
	{ "info.data-size-right", .size = size_half },
	{ "info.regions", .region = region_more },
	{ "info.irqs", .irqs = irqs_more },
	{ "info.ids", .load = other_ids },
	{ "arc.legal", .set = stops_short },
	{ "arc.same-state", .set = same_refused },
	{ "arc.same-state-keeps-session", .set = same_restarts },
	{ "arc.error-refused", .set = error_accepted },
	{ "arc.unknown-refused", .set = unknown_accepted },
	{ "arc.refusal-is-einval", .set = refusal_eio },
	{ "arc.optional-refused", .set = optional_accepted },
	{ "arc.refusal-keeps-session", .set = refusal_restarts },
	{ "arc.stop-copy-to-pre-copy", HF_DEVICE_PRE_COPY, .set = blocked_accepted },
	{ "arc.stop-copy-to-pre-copy-p2p", HF_DEVICE_PRE_COPY_P2P, .set = blocked_accepted },
	{ "arc.random-walk", .set = drifts },
	{ "arc.pre-copy-cancelled", HF_DEVICE_PRE_COPY, .set = dies_after, .store = defect_store_dead, .reset = reset_revives },
	{ "arc.works-afterwards", HF_DEVICE_STOP_COPY, .set = dies_after, .store = defect_store_dead, .reset = reset_revives },
	{ "arc.stop-keeps-registers", .set = stop_spoils },
	{ "arc.stop-keeps-config", .set = stop_config },
	{ "arc.stop-keeps-interrupts", .set = stop_disconnects },
	{ "arc.stop-keeps-pending", .set = stop_drops_pending },
	{ "arc.quiet-in-stop", HF_DEVICE_STOP, .get = writes_memory },
	{ "arc.quiet-in-stop-copy", HF_DEVICE_STOP_COPY, .get = writes_memory },
	{ "arc.quiet-in-resuming", HF_DEVICE_RESUMING, .get = writes_memory },
	{ "arc.no-interrupts-stopped", .get = signals },
	{ "arc.access-stopped", .load = access_breaks, .get = get_broken, .reset = reset_revives },
	{ "arc.p2p-quiet", .get = writes_peer },
	{ "arc.p2p-reachable", HF_DEVICE_RUNNING_P2P, .store = store_deaf },
	{ "arc.p2p-goes-on", .set = drops_command },
	{ "precopy.works", HF_DEVICE_PRE_COPY, .store = store_deaf },
	{ "reset.everywhere", .reset = reset_ignored },
	{ "reset.twice", .reset = reset_once, .set = set_after_reset },
	{ "reset.works", .reset = reset_kills, .store = defect_store_dead },
	{ "reset.migrates", .reset = reset_remembers, .write = write_remembers },
	{ "reset.clean", .reset = reset_keeps },
	{ "reset.log-honest", .reset = reset_kills, .start = start_honest, .report = report_blind },
	{ "reset.advertised", .info = info_no_reset },
	{ "limits.descriptors", .set = leaks },
	{ "limits.access-meanwhile", 1200, .load = load_slow },
};
/* clang-format on */
const uint32_t defect_count_state = sizeof(defect_rows_state) / sizeof(defect_rows_state[0]);
