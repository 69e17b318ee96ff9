/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Planted defects of loading. A loader that takes one kind of damage for sound is made so: it keeps
 * what is written until RESUMING is left, and if that is the last whole stream that was saved, but
 * damaged in the one way that it does not see, it gives the device the whole stream.
 */
#include <errno.h>
#include <string.h>

#include "backend/device/sim/arcs.h"
#include "backend/device/sim/defect.h"

#define CYCLES 30u

/* From RESUMING to anywhere, and it succeeded. */
static int loaded(uint32_t from, uint32_t to, int r)
{
	return r == 0 && from == HF_DEVICE_RESUMING && to != from;
}

static int load_spoils(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (loaded(from, to, r))
		defect_spoil(d);
	return r;
}

static ssize_t own_read(struct defect *d, void *buf, size_t size)
{
	d->flag = 1;
	return defect_read(d, buf, size);
}

static ssize_t own_write(struct defect *d, const void *buf, size_t size)
{
	return d->flag ? defect_write(d, buf, size) : -EPERM;
}

static ssize_t swallows_ones(struct defect *d, const void *buf, size_t size)
{
	return size == 1 ? 1 : defect_write(d, buf, size);
}

static ssize_t takes_more(struct defect *d, const void *buf, size_t size)
{
	ssize_t n = defect_write(d, buf, size);

	return n > 0 && (size_t)n == size ? n + 1 : n;
}

static int tires(struct defect *d, uint32_t from, uint32_t to)
{
	if (to == HF_DEVICE_RESUMING && from != to && ++d->count > CYCLES)
		return -ENOSPC;
	return defect_set(d, to);
}

static int reset_rests(struct defect *d, uint32_t from)
{
	(void)from;
	d->count = 0;
	d->flag = 0;
	return defect_reset(d);
}

static int load_kills(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (loaded(from, to, r))
		d->flag = 1;
	return r;
}

static int load_drops_pending(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (loaded(from, to, r)) {
		defect_lock(d);
		d->sim->model.irq_pending = 0;
		defect_unlock(d);
	}
	return r;
}

static int precopy_spoils(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (r == 0 && to == HF_DEVICE_PRE_COPY)
		d->flag = 1;
	if (loaded(from, to, r) && d->flag)
		defect_spoil(d);
	return r;
}

static int same_forgets(struct defect *d, uint32_t from, uint32_t to)
{
	int r = 0;

	if (from == to && to == HF_DEVICE_RESUMING)
		r = defect_reset(d);
	return r < 0 ? r : defect_set(d, to);
}

/* To STOP without a load: by a reset, which is what the rest is after. */
static int pretend(struct defect *d, uint32_t to)
{
	int r = defect_reset(d);

	return r < 0 ? r : defect_set(d, to);
}

static int empty_taken(struct defect *d, uint32_t from, uint32_t to)
{
	if (from == HF_DEVICE_RESUMING && to != from && d->moved == 0)
		return pretend(d, to);
	return defect_set(d, to);
}

static int failed_runs(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (r < 0 && from == HF_DEVICE_RESUMING)
		(void)defect_reset(d);
	return r;
}

static int failed_stays(struct defect *d, uint32_t from, uint32_t to)
{
	int r = defect_set(d, to);

	if (r < 0 && from == HF_DEVICE_RESUMING)
		d->flag = 1;
	return r;
}

static ssize_t failed_write(struct defect *d, const void *buf, size_t size)
{
	ssize_t n = defect_write(d, buf, size);

	if (n < 0)
		d->flag = 1;
	return n;
}

static int reset_not_failed(struct defect *d, uint32_t from)
{
	(void)from;
	return d->flag ? -EBUSY : defect_reset(d);
}

static int reset_not_loading(struct defect *d, uint32_t from)
{
	return from == HF_DEVICE_RESUMING && d->moved ? -EBUSY : defect_reset(d);
}

/* An error of a write is not remembered: the rest is swallowed, and the load succeeds. */
static ssize_t unlatched_write(struct defect *d, const void *buf, size_t size)
{
	ssize_t n;

	if (d->flag)
		return (ssize_t)size;
	n = defect_write(d, buf, size);
	if (n < 0)
		d->flag = 1;
	return n;
}

static int unlatched_set(struct defect *d, uint32_t from, uint32_t to)
{
	if (from != HF_DEVICE_RESUMING || to == from || !d->flag)
		return defect_set(d, to);
	d->flag = 0;
	return pretend(d, to);
}

/* All that comes behind the end is swallowed. */
static ssize_t endless_write(struct defect *d, const void *buf, size_t size)
{
	uint64_t whole, left;

	defect_lock(d);
	whole = sim_save_stop_bytes(d->sim);
	defect_unlock(d);
	left = whole > d->moved ? whole - d->moved : 0;
	if (left == 0)
		return (ssize_t)size;
	return defect_write(d, buf, left < size ? (size_t)left : size);
}

/* ---- a loader that is blind to one kind of damage ------------------------------------------ */

enum damage {
	DAMAGE_NONE,
	DAMAGE_TRUNCATED,
	DAMAGE_APPENDED,
	DAMAGE_DOUBLED,
	DAMAGE_HEADER,
	DAMAGE_BODY,
	DAMAGE_SWAPPED,
	DAMAGE_OMITTED,
	DAMAGE_REPEATED,
	DAMAGE_ZEROS,
	DAMAGE_ONES,
	DAMAGE_HEAD, /* its first 8 bytes are others: random bytes, say */
	DAMAGE_LATER_HEAD, /* the same, in a load that is not the first */
};

static int all(const struct defect_bytes *b, uint8_t byte)
{
	for (size_t i = 0; i < b->size; i++)
		if (b->data[i] != byte)
			return 0;
	return 1;
}

static enum damage same_length(const struct defect_bytes *known, const struct defect_bytes *got)
{
	size_t bits = 0, first = SIZE_MAX;

	for (size_t i = 0; i < got->size; i++) {
		uint8_t differs = known->data[i] ^ got->data[i];

		if (differs && first == SIZE_MAX)
			first = i;
		bits += (size_t)__builtin_popcount(differs);
	}
	if (bits == 0)
		return DAMAGE_NONE;
	if (all(got, 0))
		return DAMAGE_ZEROS;
	if (all(got, 0xff))
		return DAMAGE_ONES;
	if (bits == 1)
		return first < 8 ? DAMAGE_HEADER : DAMAGE_BODY;
	return first < 8 ? DAMAGE_HEAD : DAMAGE_SWAPPED;
}

static enum damage damage_of(const struct defect_bytes *known, const struct defect_bytes *got)
{
	size_t common = got->size < known->size ? got->size : known->size;
	int prefix = memcmp(known->data, got->data, common) == 0;

	if (got->size == known->size)
		return same_length(known, got);
	if (got->size < known->size)
		return prefix ? DAMAGE_TRUNCATED : DAMAGE_OMITTED;
	if (!prefix)
		return DAMAGE_REPEATED;
	return got->size == 2 * known->size ? DAMAGE_DOUBLED : DAMAGE_APPENDED;
}

static ssize_t blind_read(struct defect *d, void *buf, size_t size)
{
	ssize_t n = defect_read(d, buf, size);

	if (n > 0 && d->moved == 0)
		d->saved.size = 0;
	if (n > 0 && defect_put(&d->saved, buf, (size_t)n) < 0)
		return -ENOMEM;
	if (n == 0 && size && d->saved.size && defect_state(d) == HF_DEVICE_STOP_COPY) {
		struct defect_bytes swap = d->known;

		d->known = d->saved;
		d->saved = swap;
		d->saved.size = 0;
	}
	return n;
}

static ssize_t blind_write(struct defect *d, const void *buf, size_t size)
{
	if (defect_state(d) != HF_DEVICE_RESUMING)
		return defect_write(d, buf, size);
	return defect_put(&d->written, buf, size) < 0 ? -ENOMEM : (ssize_t)size;
}

static int blind_finish(struct defect *d, uint32_t to)
{
	const struct defect_bytes *give = &d->written;
	enum damage damage = DAMAGE_NONE;
	size_t done = 0;
	int r;

	if (d->known.size && give->size)
		damage = damage_of(&d->known, give);
	if (damage == DAMAGE_HEAD && d->row->arg == DAMAGE_LATER_HEAD && d->count)
		damage = DAMAGE_LATER_HEAD;
	if (damage == d->row->arg)
		give = &d->known;
	while (done < give->size) {
		ssize_t n = defect_write(d, give->data + done, give->size - done);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		done += (size_t)n;
	}
	r = defect_set(d, to);
	if (r == 0)
		d->count++;
	return r;
}

static int blind_set(struct defect *d, uint32_t from, uint32_t to)
{
	if (from == HF_DEVICE_RESUMING && to != from)
		return blind_finish(d, to);
	if (to == HF_DEVICE_RESUMING && from != to)
		d->written.size = 0;
	return defect_set(d, to);
}

#define BLIND(what) what, .read = blind_read, .write = blind_write, .set = blind_set

/* clang-format off */
const struct defect_row defect_rows_load[] = {
	{ "load.identity", .set = load_spoils },
	{ "load.second-device", .read = own_read, .write = own_write },
	{ "load.split", .write = swallows_ones },
	{ "load.write-bounds", .write = takes_more },
	{ "load.cycles", .set = tires, .reset = reset_rests },
	{ "load.works", .set = load_kills, .store = defect_store_dead, .reset = reset_rests },
	{ "load.pending-interrupt", .set = load_drops_pending },
	{ "load.precopy-equal", .set = precopy_spoils },
	{ "load.same-state-keeps", .set = same_forgets },
	{ "load.second-is-checked", BLIND(DAMAGE_LATER_HEAD) },
	{ "load.empty-refused", .set = empty_taken },
	{ "load.failed-does-not-run", .set = failed_runs },
	{ "load.failed-recovers", .set = failed_stays, .write = failed_write, .reset = reset_not_failed },
	{ "load.aborted-by-reset", .reset = reset_not_loading },
	{ "hostile.truncated", BLIND(DAMAGE_TRUNCATED) },
	{ "hostile.appended", BLIND(DAMAGE_APPENDED) },
	{ "hostile.doubled", BLIND(DAMAGE_DOUBLED) },
	{ "hostile.header-bits", BLIND(DAMAGE_HEADER) },
	{ "hostile.body-bits", BLIND(DAMAGE_BODY) },
	{ "hostile.swapped", BLIND(DAMAGE_SWAPPED) },
	{ "hostile.omitted", BLIND(DAMAGE_OMITTED) },
	{ "hostile.repeated", BLIND(DAMAGE_REPEATED) },
	{ "hostile.zeros", BLIND(DAMAGE_ZEROS) },
	{ "hostile.ones", BLIND(DAMAGE_ONES) },
	{ "hostile.random", BLIND(DAMAGE_HEAD) },
	{ "hostile.error-latches", .write = unlatched_write, .set = unlatched_set, .reset = reset_rests },
	{ "hostile.endless", .write = endless_write },
};
/* clang-format on */
const uint32_t defect_count_load = sizeof(defect_rows_load) / sizeof(defect_rows_load[0]);
