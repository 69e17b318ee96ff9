/* SPDX-License-Identifier: BSD-3-Clause */
/* Planted defects of the stream that is read, in STOP_COPY and before it. */
#include <errno.h>
#include <string.h>

#include "backend/device/sim/arcs.h"
#include "backend/device/sim/defect.h"

#define LOST 64u /* bytes */

/* ---- save ---------------------------------------------------------------------------------- */

static ssize_t reads_nothing(struct defect *d, void *buf, size_t size)
{
	return defect_state(d) == HF_DEVICE_STOP_COPY ? 0 : defect_read(d, buf, size);
}

static ssize_t reads_more(struct defect *d, void *buf, size_t size)
{
	ssize_t n = defect_read(d, buf, size);

	return n > 0 && (size_t)n == size ? n + 1 : n;
}

static ssize_t end_once(struct defect *d, void *buf, size_t size)
{
	ssize_t n = defect_read(d, buf, size);

	return n == 0 && size && d->ended ? -EIO : n;
}

static ssize_t end_enomsg(struct defect *d, void *buf, size_t size)
{
	ssize_t n = defect_read(d, buf, size);

	return n == 0 && size ? -ENOMSG : n;
}

static ssize_t short_drops(struct defect *d, void *buf, size_t size)
{
	ssize_t n = defect_read(d, buf, size);

	return n > 1 && size < 8 ? n - 1 : n;
}

static ssize_t zero_eats(struct defect *d, void *buf, size_t size)
{
	uint8_t byte;

	if (size)
		return defect_read(d, buf, size);
	(void)defect_read(d, &byte, 1);
	return 0;
}

/* The second save of a device that did not run in between is another one. */
static int save_again(struct defect *d, uint32_t from, uint32_t to)
{
	if (to == HF_DEVICE_STOP_COPY)
		d->flag = from == HF_DEVICE_STOP;
	return defect_set(d, to);
}

static ssize_t read_again(struct defect *d, void *buf, size_t size)
{
	ssize_t n = defect_read(d, buf, size);

	if (d->flag && n > 100 && d->moved == 0)
		((uint8_t *)buf)[100] ^= 1;
	return n;
}

static ssize_t reads_late(struct defect *d, void *buf, size_t size)
{
	if (defect_state(d) != d->row->arg)
		return defect_read(d, buf, size);
	memset(buf, 0, size);
	return (ssize_t)size;
}

static int reset_late(struct defect *d, uint32_t from)
{
	d->flag = sim_state_saves(from);
	return defect_reset(d);
}

static ssize_t reads_after_reset(struct defect *d, void *buf, size_t size)
{
	if (!d->flag || sim_state_saves(defect_state(d)))
		return defect_read(d, buf, size);
	memset(buf, 0, size);
	return (ssize_t)size;
}

/* A save that was given up is gone on with in the next one. */
static int goes_on(struct defect *d, uint32_t from, uint32_t to)
{
	if (from == HF_DEVICE_STOP_COPY && to == HF_DEVICE_STOP && !d->ended)
		d->value = d->moved;
	else if (to == HF_DEVICE_STOP_COPY) {
		d->skip = (size_t)d->value;
		d->value = 0;
	}
	return defect_set(d, to);
}

static int sticks(struct defect *d, uint32_t from, uint32_t to)
{
	if (from == HF_DEVICE_STOP_COPY && to == d->row->arg && !d->ended)
		return -EIO;
	return defect_set(d, to);
}

static ssize_t end_moves(struct defect *d, void *buf, size_t size)
{
	ssize_t n = defect_read(d, buf, size);

	if (n == 0 && size && defect_state(d) == HF_DEVICE_STOP_COPY)
		(void)defect_set(d, HF_DEVICE_STOP);
	return n;
}

static ssize_t writes_any(struct defect *d, const void *buf, size_t size)
{
	if (defect_state(d) == d->row->arg)
		return (ssize_t)size;
	return defect_write(d, buf, size);
}

static int save_spoils(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (r == 0 && from == HF_DEVICE_STOP_COPY)
		defect_spoil(d);
	return r;
}

/* ---- pre-copy ------------------------------------------------------------------------------ */

static int info_refused(struct defect *d, int r, uint64_t *initial, uint64_t *dirty)
{
	(void)initial, (void)dirty;
	return defect_state(d) == d->row->arg ? -EINVAL : r;
}

static int info_anywhere(struct defect *d, int r, uint64_t *initial, uint64_t *dirty)
{
	(void)d;
	if (r < 0)
		*initial = *dirty = 0;
	return 0;
}

static int initial_none(struct defect *d, int r, uint64_t *initial, uint64_t *dirty)
{
	(void)d, (void)dirty;
	*initial = 0;
	return r;
}

static int initial_stuck(struct defect *d, int r, uint64_t *initial, uint64_t *dirty)
{
	(void)d, (void)dirty;
	*initial = SIM_BLOCK_SIZE;
	return r;
}

static int dirty_for_ever(struct defect *d, int r, uint64_t *initial, uint64_t *dirty)
{
	(void)d, (void)initial;
	*dirty = SIM_BLOCK_SIZE;
	return r;
}

static int dirty_never(struct defect *d, int r, uint64_t *initial, uint64_t *dirty)
{
	(void)d, (void)initial;
	*dirty = 0;
	return r;
}

static ssize_t end_zero(struct defect *d, void *buf, size_t size)
{
	ssize_t n = defect_read(d, buf, size);

	return n == -ENOMSG ? 0 : n;
}

static ssize_t end_for_now_once(struct defect *d, void *buf, size_t size)
{
	ssize_t n = defect_read(d, buf, size);

	return n == -ENOMSG && d->ended ? -EIO : n;
}

/* Into STOP_COPY from PRE_COPY the first bytes are lost, if so much was read before (arg). */
enum { READ_NOTHING, READ_SOME, READ_ALL };

static int loses(struct defect *d, uint32_t from, uint32_t to)
{
	uint32_t read = d->ended ? READ_ALL : d->moved ? READ_SOME : READ_NOTHING;
	int r = defect_set(d, to);

	if (r == 0 && from == HF_DEVICE_PRE_COPY && to == HF_DEVICE_STOP_COPY &&
	    read == d->row->arg)
		d->skip = LOST;
	return r;
}

static int switch_loses(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (r == 0 && from == HF_DEVICE_PRE_COPY && to == HF_DEVICE_PRE_COPY_P2P)
		d->skip = LOST;
	return r;
}

/* What a driver writes in PRE_COPY is not in the stream. */
static int forgets(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	defect_lock(d);
	if (r == 0 && to == HF_DEVICE_PRE_COPY)
		d->value = d->sim->model.dst;
	if (r == 0 && from == HF_DEVICE_PRE_COPY && to == HF_DEVICE_STOP_COPY)
		d->sim->model.dst = d->value;
	defect_unlock(d);
	return r;
}

static int in_vain(struct defect *d, uint32_t from, uint32_t to)
{
	if (from == HF_DEVICE_PRE_COPY && to == HF_DEVICE_STOP_COPY)
		(void)defect_set(d, HF_DEVICE_RUNNING);
	return defect_set(d, to);
}

static int cancel_loses(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (r == 0 && from == HF_DEVICE_PRE_COPY && to == HF_DEVICE_RUNNING)
		d->flag = 1;
	if (r == 0 && to == HF_DEVICE_PRE_COPY && d->flag) {
		d->skip = LOST;
		d->flag = 0;
	}
	return r;
}

/* ---- an operation that does not return ----------------------------------------------------- */

static ssize_t hangs(struct defect *d, void *buf, size_t size)
{
	if (defect_state(d) != HF_DEVICE_STOP_COPY)
		return defect_read(d, buf, size);
	defect_lock(d);
	while (!d->sim->closing)
		(void)pthread_cond_wait(&d->sim->quit, &d->sim->lock);
	defect_unlock(d);
	return -ENODEV;
}

/* clang-format off */
const struct defect_row defect_rows_stream[] = {
	{ "save.something", .read = reads_nothing },
	{ "save.read-bounds", .read = reads_more },
	{ "save.eof-repeats", .read = end_once },
	{ "save.no-enomsg", .read = end_enomsg },
	{ "save.split", .read = short_drops },
	{ "save.read-zero", .read = zero_eats },
	{ "save.repeatable", .set = save_again, .read = read_again },
	{ "save.ends-at-stop", HF_DEVICE_STOP, .read = reads_late },
	{ "save.ends-at-running", HF_DEVICE_RUNNING, .read = reads_late },
	{ "save.ends-at-reset", .reset = reset_late, .read = reads_after_reset },
	{ "save.session-is-fresh", .set = goes_on },
	{ "save.given-up-to-stop", HF_DEVICE_STOP, .set = sticks },
	{ "save.given-up-to-running", HF_DEVICE_RUNNING, .set = sticks },
	{ "save.stays", .read = end_moves },
	{ "save.no-writing", HF_DEVICE_STOP_COPY, .write = writes_any },
	{ "save.harmless", .set = save_spoils },
	{ "precopy.info", HF_DEVICE_PRE_COPY, .precopy = info_refused },
	{ "precopy.info-p2p", HF_DEVICE_PRE_COPY_P2P, .precopy = info_refused },
	{ "precopy.info-elsewhere", .precopy = info_anywhere },
	{ "precopy.initial-bytes", .precopy = initial_none },
	{ "precopy.initial-falls", .precopy = initial_stuck },
	{ "precopy.temporary-end", .read = end_zero },
	{ "precopy.end-repeats", .read = end_for_now_once },
	{ "precopy.idle-converges", .precopy = dirty_for_ever },
	{ "precopy.busy-shows", .precopy = dirty_never },
	{ "precopy.nothing-read", READ_NOTHING, .set = loses },
	{ "precopy.some-read", READ_SOME, .set = loses },
	{ "precopy.all-read", READ_ALL, .set = loses },
	{ "precopy.p2p-keeps-session", .set = switch_loses },
	{ "precopy.changes-travel", .set = forgets },
	{ "precopy.pays", .set = in_vain },
	{ "precopy.session-is-fresh", .set = cancel_loses },
	{ "load.no-late-writing", HF_DEVICE_STOP, .write = writes_any },
	{ "load.no-reading", HF_DEVICE_RESUMING, .read = reads_late },
	{ "hang.read", .read = hangs },
};
/* clang-format on */
const uint32_t defect_count_stream = sizeof(defect_rows_stream) / sizeof(defect_rows_stream[0]);
