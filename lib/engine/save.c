/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The devices' streams at the source. Each device has a worker of its own that reads the device and
 * writes DEVICE_DATA records to one bulk connection, always the same, so that the stream stays in
 * order. In pre-copy a pass is bounded, so that other work of the device is never far behind it.
 */
#include <assert.h>
#include <string.h>
#include <xxhash.h>

#include "base/bitmap.h"
#include "base/error.h"
#include "engine/actions.h"

static struct bulk *bulk_of(struct session *session, uint32_t index)
{
	return &session->bulks[index % session->channel_count];
}

/* Send what is in the slot's buffer as the next record of its stream. */
static int send_data(struct session *session, uint32_t index, uint32_t flags, uint32_t length,
		     struct hf_error *err)
{
	struct device_slot *slot = &session->slots[index];
	struct rec_device_data data = {
		.device = index, .sequence = slot->sequence, .flags = flags, .data_length = length
	};
	uint8_t head[REC_BULK_HEAD_MAX];
	struct iovec iov[3];
	int head_length = rec_device_data_encode(&data, head, sizeof(head));
	uint64_t bytes;
	int code;

	if (head_length < 0)
		return error_set(err, HF_E_BUG, -head_length, "DEVICE_DATA cannot be encoded");
	bytes = (uint64_t)head_length + length + rec_padding(length);
	iov[0] = (struct iovec){ head, (size_t)head_length };
	iov[1] = (struct iovec){ slot->buffer, length };
	iov[2] = (struct iovec){ (uint8_t *)(uintptr_t)rec_zeros, rec_padding(length) };
	(void)XXH3_64bits_update(slot->digest, slot->buffer, length);
	code = keep_device(session, index, iov, 3, err);
	if (code < 0)
		return code;
	code = send_record(session, bulk_of(session, index), iov, 3, (uint32_t)head_length,
			   rec_padding(length), bytes, err);
	if (code < 0)
		return code;
	slot->sequence++;
	slot->bytes += length;
	atomic_fetch_add(&session->totals.device_bytes, length);
	return 0;
}

/*
 * One pre-copy pass. result[0]: bytes; [1]: more is there; [2]: initial data is all sent; [3]: what
 * STOP_COPY would give now.
 */
static int run_pass(struct session *session, struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];
	uint64_t initial = 0, dirty = 0;
	uint32_t chunks = 0;
	ssize_t got = 0;
	int code;

	for (; chunks < PASS_CHUNKS && !atomic_load(&session->cut); chunks++) {
		got = device_read(&slot->device, slot->buffer, DEVICE_CHUNK_BYTES, &job->err);
		if (got < 0)
			return (int)got;
		if (got == 0)
			break;
		code = send_data(session, job->index, 0, (uint32_t)got, &job->err);
		if (code < 0)
			return code;
		job->result[0] += (uint64_t)got;
	}
	job->result[1] = got > 0;
	code = device_precopy_info(&slot->device, &initial, &dirty, &job->err);
	if (code < 0)
		return code;
	job->result[3] = initial + dirty;
	if (slot->device.info.flags & HF_DEVICE_HAS_DATA_SIZE) {
		code = device_data_size(&slot->device, &job->result[3], &job->err);
		if (code < 0)
			return code;
	}
	if (initial == 0 && !slot->initial_done) {
		code = send_data(session, job->index, REC_DEVICE_INITIAL_DONE, 0, &job->err);
		if (code < 0)
			return code;
	}
	job->result[2] = initial == 0;
	return 0;
}

static void on_pass_done(struct session *session, const struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];

	slot->pass_running = false;
	if (job->code < 0) {
		if (session->source.state < SOURCE_OFFERING)
			session_fail(session, &job->err);
		return;
	}
	slot->pass_more = job->result[1];
	slot->final_bytes = job->result[3];
	slot->initial_done |= job->result[2] != 0;
	trace(session, HF_TRACE_DEVICE_BYTES, slot->device.name, job->index, job->result[0],
	      slot->bytes, !slot->initial_done);
	if (session->source.state != SOURCE_PRECOPY)
		return;
	if (slot->pass_more)
		save_pass(session, job->index);
	else
		precopy_primed(session); /* the rounds may have waited for this pass */
}

void save_pass(struct session *session, uint32_t index)
{
	struct device_slot *slot = &session->slots[index];
	struct job job = { .run = run_pass, .done = on_pass_done, .index = index };

	if (!(slot->device.info.mig_flags & HF_MIG_PRE_COPY) || slot->pass_running)
		return;
	slot->pass_running = true;
	worker_submit(&slot->worker, &job);
}

static int run_size(struct session *session, struct job *job)
{
	return device_data_size(&session->slots[job->index].device, &job->result[0], &job->err);
}

static void on_size_done(struct session *session, const struct job *job)
{
	if (job->code == 0)
		session->slots[job->index].final_bytes = job->result[0];
	phase_job_done(session, job);
}

/* What devices without PRE_COPY will give counts for the limit from the beginning. */
void save_size(struct session *session, struct phase *phase)
{
	for (uint32_t i = 0; i < session->device_count; i++) {
		const struct hf_device_info *info = &session->slots[i].device.info;
		struct job job = { .run = run_size, .done = on_size_done, .index = i };

		if (!(info->mig_flags & HF_MIG_PRE_COPY) && info->flags & HF_DEVICE_HAS_DATA_SIZE)
			phase_submit(session, phase, &session->slots[i].worker, &job);
	}
}

/* In STOP_COPY: to the very end, then DEVICE_END. */
static int run_final(struct session *session, struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];
	struct rec_device_end end = { .device = job->index };
	uint8_t bytes[64];
	struct iovec iov = { .iov_base = bytes };
	ssize_t got;
	int code, length;

	while ((got = device_read(&slot->device, slot->buffer, DEVICE_CHUNK_BYTES, &job->err)) >
	       0) {
		if (atomic_load(&session->cut))
			return error_set(&job->err, HF_E_CONNECTION_LOST, 0,
					 "device %u: the connection was cut", job->index);
		code = send_data(session, job->index, REC_DEVICE_STOP_COPY, (uint32_t)got,
				 &job->err);
		if (code < 0)
			return code;
		job->result[0] += (uint64_t)got;
	}
	if (got < 0)
		return (int)got;
	end.records = slot->sequence;
	end.bytes = slot->bytes;
	end.digest = XXH3_64bits_digest(slot->digest);
	length = rec_device_end_encode(&end, bytes, sizeof(bytes));
	assert(length > 0);
	iov.iov_len = (size_t)length;
	code = keep_device(session, job->index, &iov, 1, &job->err);
	if (code < 0)
		return code;
	return send_record(session, bulk_of(session, job->index), &iov, 1, (uint32_t)length, 0,
			   (uint64_t)length, &job->err);
}

static void on_final_done(struct session *session, const struct job *job)
{
	if (job->code == 0)
		trace(session, HF_TRACE_DEVICE_BYTES, session->slots[job->index].device.name,
		      job->index, job->result[0], session->slots[job->index].bytes, 0);
	phase_job_done(session, job);
}

void save_final(struct session *session, struct phase *phase)
{
	for (uint32_t i = 0; i < session->device_count; i++) {
		struct job job = { .run = run_final, .done = on_final_done, .index = i };

		phase_submit(session, phase, &session->slots[i].worker, &job);
	}
}

/* Which pages the device's DMA has written since the last time, into the slot's own bitmaps. */
static int run_sync(struct session *session, struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];

	for (uint32_t i = 0; i < session->region_count; i++) {
		const struct hf_memory_region *region = &session->regions[i];
		int code;

		bitmap_zero(slot->dirty[i], region->size >> HF_PAGE_SHIFT);
		code = device_dirty_read(&slot->device, region->gpa, region->size, HF_PAGE_SIZE,
					 slot->dirty[i], &job->err);
		if (code < 0)
			return code;
	}
	return 0;
}

void save_sync(struct session *session, struct phase *phase)
{
	for (uint32_t i = 0; i < session->device_count; i++) {
		struct job job = { .run = run_sync, .done = phase_job_done, .index = i };

		phase_submit(session, phase, &session->slots[i].worker, &job);
	}
}

static int run_track(struct session *session, struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];
	struct hf_dma_range ranges[HF_REGIONS_MAX];

	if (!job->arg[0]) {
		bool was = slot->tracking;

		slot->tracking = false;
		return was ? device_dirty_stop(&slot->device, &job->err) : 0;
	}
	for (uint32_t i = 0; i < session->region_count; i++)
		ranges[i] = (struct hf_dma_range){ .iova = session->regions[i].gpa,
						   .size = session->regions[i].size };
	slot->tracking = true; /* also after a failure: what was begun is stopped */
	return device_dirty_start(&slot->device, HF_PAGE_SIZE, ranges, session->region_count,
				  &job->err);
}

void save_track(struct session *session, struct phase *phase, bool on)
{
	for (uint32_t i = 0; i < session->device_count; i++) {
		struct job job = {
			.run = run_track, .done = phase_job_done, .index = i, .arg = { on }
		};

		if (phase)
			phase_submit(session, phase, &session->slots[i].worker, &job);
		else
			worker_submit(&session->slots[i].worker, &job);
	}
}
