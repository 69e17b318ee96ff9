/* SPDX-License-Identifier: BSD-3-Clause */
/* The wrapper of device.h. The seam where a device's errno becomes a code with a story. */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <holdfast/device.h>

#include "backend/device.h"
#include "backend/device/ops.h"
#include "base/error.h"

static const char *state_name(uint32_t state)
{
	return hf_device_state_name(state);
}

/*
 * One story: "device 1 (nic0): WORDS: Device or resource busy (errno 16); stands in RUNNING_P2P".
 * number is what the operation returned, a negative errno, or 0 if it has none. What the device has
 * to say itself comes last.
 */
static int fail(const struct device *d, struct hf_error *err, int code, int number,
		const char *format, ...) __attribute__((format(printf, 5, 6)));

static int fail(const struct device *d, struct hf_error *err, int code, int number,
		const char *format, ...)
{
	char words[HF_ERROR_TEXT_MAX];
	char reason[64] = "", why[160];
	va_list args;
	int fresh = err && !err->code;

	va_start(args, format);
	(void)vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	if (number < 0)
		(void)snprintf(reason, sizeof(reason), ": %s (errno %d)", strerror(-number),
			       -number);
	device_ops_why(d->raw, why, sizeof(why));
	code = error_set(err, code, 0, "device %u (%s): %s%s; stands in %s%s%s", d->index, d->name,
			 words, reason, state_name(d->state), why[0] ? "; " : "", why);
	if (fresh && number < 0)
		err->cause = -number;
	return code;
}

/* Its data is one stream from PRE_COPY* to STOP_COPY, and another in RESUMING. */
static uint32_t stream_of(uint32_t state)
{
	switch (state) {
	case HF_DEVICE_PRE_COPY:
	case HF_DEVICE_PRE_COPY_P2P:
	case HF_DEVICE_STOP_COPY:
		return HF_DEVICE_STOP_COPY;
	case HF_DEVICE_RESUMING:
		return HF_DEVICE_RESUMING;
	default:
		return HF_DEVICE_ERROR; /* none */
	}
}

/* Ask where it stands, and keep it. A negative errno if there is no such answer. */
static int ask_state(struct device *d)
{
	uint32_t state = HF_DEVICE_ERROR;
	int r = d->raw.ops->get_state(d->raw.self, &state);

	if (r >= 0 && state >= HF_DEVICE_STATE_COUNT)
		r = -EPROTO;
	if (r < 0)
		state = HF_DEVICE_ERROR;
	if (stream_of(state) != stream_of(d->state))
		d->data_bytes = 0;
	d->state = state;
	return r < 0 ? r : 0;
}

/*
 * After a failure of anything: does the device still stand somewhere? Gives the code that a failure
 * has: the one of the operation, or DEVICE_LOST.
 */
static int code_after_failure(struct device *d, int code)
{
	if (ask_state(d) < 0 || d->state == HF_DEVICE_ERROR)
		return HF_E_DEVICE_LOST;
	return code;
}

/* Not a number that the operation may return: a positive one from those that give 0. */
static int negative(int r)
{
	return r > 0 ? -EPROTO : r;
}

static int ops_complete(const struct hf_device_ops *o)
{
	return o && o->size >= DEVICE_OPS_SIZE_MIN && o->kind && o->info && o->get_state &&
	       o->set_state && o->read_data && o->write_data && o->precopy_info && o->data_size &&
	       o->dirty_start && o->dirty_read && o->dirty_stop && o->reset && o->region_info &&
	       o->region_read && o->region_write && o->irq_count && o->irqs_set && o->dma_map &&
	       o->dma_unmap && o->close;
}

static int flags_sane(uint32_t flags)
{
	return (flags & HF_MIG_STOP_COPY) &&
	       !(flags & ~(HF_MIG_STOP_COPY | HF_MIG_P2P | HF_MIG_PRE_COPY));
}

static int in_pre_copy(const struct device *d)
{
	return d->state == HF_DEVICE_PRE_COPY || d->state == HF_DEVICE_PRE_COPY_P2P;
}

int device_bind(struct device *d, struct hf_device raw, uint32_t index, const char *name,
		struct hf_error *err)
{
	int r;

	assert(d && name);
	memset(d, 0, sizeof(*d));
	d->raw = raw;
	d->index = index;
	(void)snprintf(d->name, sizeof(d->name), "%s", name);
	d->state = HF_DEVICE_ERROR;

	if (!ops_complete(raw.ops))
		return error_set(err, HF_E_INVALID, 0,
				 "device %u (%s): its table of operations is not complete", index,
				 d->name);
	r = negative(raw.ops->info(raw.self, &d->info));
	if (r < 0)
		return error_set(err, HF_E_DEVICE_LOST, -r,
				 "device %u (%s): it does not say what it is", index, d->name);
	d->info.kind[sizeof(d->info.kind) - 1] = 0;
	d->info.name[sizeof(d->info.name) - 1] = 0;
	d->info.compat[sizeof(d->info.compat) - 1] = 0;
	if (!d->info.mig_flags)
		return error_set(err, HF_E_UNSUPPORTED, 0, "device %u (%s) cannot be migrated",
				 index, d->name);
	if (!flags_sane(d->info.mig_flags))
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "device %u (%s): migration flags 0x%x make no sense", index,
				 d->name, d->info.mig_flags);
	return device_state(d, &d->state, err);
}

int device_state(struct device *d, uint32_t *ret_state, struct hf_error *err)
{
	int r;

	assert(d->raw.ops && ret_state);
	r = negative(ask_state(d));
	if (r == -EPROTO)
		return fail(d, err, HF_E_DEVICE_STATE, r, "says it stands in no known state");
	if (r < 0)
		return fail(d, err, HF_E_DEVICE_LOST, r, "does not say where it stands");
	assert(d->state < HF_DEVICE_STATE_COUNT);
	*ret_state = d->state;
	return 0;
}

int device_set_state(struct device *d, uint32_t state, struct hf_error *err)
{
	uint32_t from = d->state;
	int r, asked;

	assert(hf_device_has_state(d->info.mig_flags, state));
	assert(!(from == HF_DEVICE_STOP_COPY &&
		 (state == HF_DEVICE_PRE_COPY || state == HF_DEVICE_PRE_COPY_P2P)));

	r = negative(d->raw.ops->set_state(d->raw.self, state));
	asked = ask_state(d);
	if (r == 0 && asked == 0 && d->state == state)
		return 0;
	if (r == 0 && asked < 0)
		return fail(d, err, HF_E_DEVICE_LOST, asked,
			    "%s -> %s succeeded, but it does not say where it stands now",
			    state_name(from), state_name(state));
	return fail(d, err,
		    asked < 0 || d->state == HF_DEVICE_ERROR ? HF_E_DEVICE_LOST : HF_E_DEVICE_STATE,
		    r, "%s -> %s%s", state_name(from), state_name(state),
		    r == 0 ? " succeeded, but it is not there" : "");
}

/*
 * It does not stand where the caller had brought it: another operation has failed meanwhile, and
 * the device was found elsewhere then. That is its doing, and no bug of ours.
 */
static int fell_out(const struct device *d, struct hf_error *err, const char *what)
{
	return fail(d, err, d->state == HF_DEVICE_ERROR ? HF_E_DEVICE_LOST : HF_E_DEVICE_STATE, 0,
		    "%s: it has left the state for that", what);
}

ssize_t device_read(struct device *d, void *buf, size_t size, struct hf_error *err)
{
	const char *in = state_name(d->state);
	uintmax_t behind = d->data_bytes;
	ssize_t n;

	assert(buf && size > 0 && size <= SSIZE_MAX);
	if (!in_pre_copy(d) && d->state != HF_DEVICE_STOP_COPY)
		return fell_out(d, err, "reading its state");

	n = d->raw.ops->read_data(d->raw.self, buf, size);
	if (n == -ENOMSG && in_pre_copy(d))
		return 0;
	if (n < 0)
		return fail(d, err, code_after_failure(d, HF_E_DEVICE_DATA), (int)n,
			    "reading its state in %s, behind %ju bytes", in, behind);
	if ((size_t)n > size)
		return fail(d, err, code_after_failure(d, HF_E_DEVICE_DATA), 0,
			    "reading its state in %s, behind %ju bytes: it gave %zd bytes where "
			    "%zu were asked for",
			    in, behind, n, size);
	d->data_bytes += (size_t)n;
	return n;
}

int device_write(struct device *d, const void *buf, size_t size, struct hf_error *err)
{
	size_t done = 0;
	ssize_t n;

	assert(buf && size > 0 && size <= SSIZE_MAX);
	if (d->state != HF_DEVICE_RESUMING)
		return fell_out(d, err, "writing its state");

	while (done < size) {
		uintmax_t behind = d->data_bytes;

		n = d->raw.ops->write_data(d->raw.self, (const char *)buf + done, size - done);
		if (n < 0)
			return fail(d, err, code_after_failure(d, HF_E_DEVICE_DATA), (int)n,
				    "writing its state in RESUMING, behind %ju bytes", behind);
		if (n == 0 || (size_t)n > size - done)
			return fail(d, err, code_after_failure(d, HF_E_DEVICE_DATA), 0,
				    "writing its state in RESUMING, behind %ju bytes: it took %zd "
				    "of %zu bytes",
				    behind, n, size - done);
		done += (size_t)n;
		d->data_bytes += (size_t)n;
	}
	assert(done == size);
	return 0;
}

int device_precopy_info(struct device *d, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes,
			struct hf_error *err)
{
	uint64_t initial = 0, dirty = 0;
	int r;

	assert(ret_initial_bytes && ret_dirty_bytes);
	if (!in_pre_copy(d))
		return fell_out(d, err, "asking how much there is to read");

	r = negative(d->raw.ops->precopy_info(d->raw.self, &initial, &dirty));
	if (r < 0)
		return fail(d, err, code_after_failure(d, HF_E_DEVICE_DATA), r,
			    "asking how much there is to read");
	*ret_initial_bytes = initial;
	*ret_dirty_bytes = dirty;
	return 0;
}

int device_data_size(struct device *d, uint64_t *ret_bytes, struct hf_error *err)
{
	uint64_t bytes = 0;
	int r;

	assert(ret_bytes);
	assert(d->info.flags & HF_DEVICE_HAS_DATA_SIZE);

	r = negative(d->raw.ops->data_size(d->raw.self, &bytes));
	if (r < 0)
		return fail(d, err, code_after_failure(d, HF_E_DEVICE_DATA), r,
			    "asking how large its state is");
	*ret_bytes = bytes;
	return 0;
}

static int page_size_valid(uint64_t page_size)
{
	return page_size >= HF_PAGE_SIZE && (page_size & (page_size - 1)) == 0;
}

int device_dirty_start(struct device *d, uint64_t page_size, const struct hf_dma_range *ranges,
		       uint32_t count, struct hf_error *err)
{
	int r;

	assert(d->info.flags & HF_DEVICE_HAS_DMA_LOGGING);
	assert(page_size_valid(page_size));
	assert(ranges && count >= 1 && count <= 256);
	for (uint32_t i = 0; i < count; i++) {
		assert(ranges[i].size > 0 && ranges[i].size <= UINT64_MAX - ranges[i].iova);
		assert(((ranges[i].iova | ranges[i].size) & (page_size - 1)) == 0);
	}

	r = negative(d->raw.ops->dirty_start(d->raw.self, page_size, ranges, count));
	if (r < 0)
		return fail(d, err, code_after_failure(d, HF_E_DEVICE_TRACKING), r,
			    "starting to track its DMA");
	return 0;
}

int device_dirty_read(struct device *d, uint64_t iova, uint64_t length, uint64_t page_size,
		      uint64_t *bitmap, struct hf_error *err)
{
	int r;

	assert(d->info.flags & HF_DEVICE_HAS_DMA_LOGGING);
	assert(bitmap && page_size_valid(page_size));
	assert(length > 0 && length <= UINT64_MAX - iova);
	assert(((iova | length) & (page_size - 1)) == 0);

	r = negative(d->raw.ops->dirty_read(d->raw.self, iova, length, page_size, bitmap));
	if (r < 0)
		return fail(d, err, code_after_failure(d, HF_E_DEVICE_TRACKING), r,
			    "asking which pages its DMA has written");
	return 0;
}

int device_dirty_stop(struct device *d, struct hf_error *err)
{
	int r;

	assert(d->info.flags & HF_DEVICE_HAS_DMA_LOGGING);
	r = negative(d->raw.ops->dirty_stop(d->raw.self));
	if (r < 0)
		return fail(d, err, code_after_failure(d, HF_E_DEVICE_TRACKING), r,
			    "ending to track its DMA");
	return 0;
}

int device_reset(struct device *d, struct hf_error *err)
{
	uint32_t from = d->state;
	int r, asked;

	assert(d->raw.ops);
	r = negative(d->raw.ops->reset(d->raw.self));
	asked = ask_state(d);
	if (r == 0 && asked == 0 && d->state == HF_DEVICE_RUNNING)
		return 0;
	return fail(d, err,
		    asked < 0 || d->state == HF_DEVICE_ERROR ? HF_E_DEVICE_LOST : HF_E_DEVICE_STATE,
		    r < 0 ? r : asked, "reset in %s%s", state_name(from),
		    r == 0 ? " succeeded, but it does not run" : "");
}
