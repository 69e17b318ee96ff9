/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The devices' streams at the target. A bulk worker receives a piece into a slot of the device's
 * bounded queue; the device's worker takes it from there, adds it to the digest and writes it to
 * the device. A device that is slow holds up its connection, never memory.
 *
 * A stream counts as loaded when DEVICE_END has come and matched: sequence, length and digest.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"
#include "engine/actions.h"

int load_init(struct session *session, struct hf_error *err)
{
	for (uint32_t i = 0; i < session->device_count; i++) {
		struct device_queue *queue = &session->slots[i].queue;

		(void)pthread_mutex_init(&queue->lock, NULL);
		(void)pthread_cond_init(&queue->changed, NULL);
		queue->ready = true;
		for (uint32_t k = 0; k < DEVICE_QUEUE_SLOTS; k++) {
			queue->slots[k].data = session_alloc(session, DEVICE_CHUNK_BYTES);
			if (!queue->slots[k].data)
				return error_set(err, HF_E_NO_MEMORY, 0, "buffers of device %u", i);
		}
	}
	return 0;
}

void load_done(struct session *session)
{
	for (uint32_t i = 0; i < session->device_count; i++) {
		struct device_queue *queue = &session->slots[i].queue;

		if (!queue->ready)
			continue;
		for (uint32_t k = 0; k < DEVICE_QUEUE_SLOTS; k++)
			free(queue->slots[k].data);
		(void)pthread_mutex_destroy(&queue->lock);
		(void)pthread_cond_destroy(&queue->changed);
	}
}

/* Wait for a piece; NULL: the queue was closed. The slot stays taken until drop_chunk(). */
static struct device_chunk *take_chunk(struct device_queue *queue)
{
	struct device_chunk *chunk = NULL;

	(void)pthread_mutex_lock(&queue->lock);
	while (!queue->closed && !queue->count)
		(void)pthread_cond_wait(&queue->changed, &queue->lock);
	if (!queue->closed)
		chunk = &queue->slots[queue->head];
	(void)pthread_mutex_unlock(&queue->lock);
	return chunk;
}

static void drop_chunk(struct device_queue *queue)
{
	(void)pthread_mutex_lock(&queue->lock);
	queue->head = (queue->head + 1) % DEVICE_QUEUE_SLOTS;
	queue->count--;
	(void)pthread_cond_broadcast(&queue->changed);
	(void)pthread_mutex_unlock(&queue->lock);
}

static void close_queue(struct device_queue *queue)
{
	(void)pthread_mutex_lock(&queue->lock);
	queue->closed = true;
	(void)pthread_cond_broadcast(&queue->changed);
	(void)pthread_mutex_unlock(&queue->lock);
}

void load_close(struct session *session)
{
	for (uint32_t i = 0; i < session->device_count; i++)
		if (session->slots[i].queue.ready)
			close_queue(&session->slots[i].queue);
}

static int check_end(const struct device_slot *slot, const struct device_chunk *chunk,
		     struct hf_error *err)
{
	if (chunk->end_records != slot->sequence || chunk->end_bytes != slot->bytes)
		return error_set(err, HF_E_STREAM_DAMAGED, 0,
				 "device %u (%s): its stream ends with %llu bytes in %u records, "
				 "%llu in %u have come",
				 slot->device.index, slot->device.name,
				 (unsigned long long)chunk->end_bytes, chunk->end_records,
				 (unsigned long long)slot->bytes, slot->sequence);
	if (chunk->end_digest != XXH3_64bits_digest(slot->digest))
		return error_set(err, HF_E_STREAM_DAMAGED, 0,
				 "device %u (%s): the digest of its stream does not match",
				 slot->device.index, slot->device.name);
	return 0;
}

/* One step of the load: until the initial data is in, or to the end. result[0]: at the end. */
static int run_load(struct session *session, struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];
	struct device_chunk *chunk;
	bool primed = false;
	int code = 0;

	while (!primed && (chunk = take_chunk(&slot->queue)) != NULL) {
		if (chunk->end) {
			code = check_end(slot, chunk, &job->err);
			job->result[0] = 1;
			drop_chunk(&slot->queue);
			return code;
		}
		(void)XXH3_64bits_update(slot->digest, chunk->data, chunk->length);
		slot->sequence++;
		slot->bytes += chunk->length;
		primed = chunk->initial_done;
		if (chunk->length)
			code = device_write(&slot->device, chunk->data, chunk->length, &job->err);
		drop_chunk(&slot->queue);
		if (code < 0)
			return code;
	}
	if (!primed)
		return error_set(&job->err, HF_E_CONNECTION_LOST, 0,
				 "device %u: its load was cut short", job->index);
	return 0;
}

static void submit_load(struct session *session, uint32_t index);

static void on_load_done(struct session *session, const struct job *job)
{
	struct device_slot *slot = &session->slots[job->index];
	struct rec_primed primed = { .device = job->index };
	uint8_t bytes[JOB_BYTES];

	if (session->target.state != TARGET_LOADING)
		return;
	if (job->code < 0) {
		close_queue(&slot->queue); /* nobody takes from it any more */
		session_fail(session, &job->err);
		return;
	}
	if (job->result[0]) {
		trace(session, HF_TRACE_DEVICE_BYTES, slot->device.name, job->index, 0, slot->bytes,
		      0);
		session->devices_ended++;
		target_maybe_ended(session);
		return;
	}
	trace(session, HF_TRACE_PRIMED, slot->device.name, job->index, 0, 0, 0);
	control_send(session, bytes, rec_primed_encode(&primed, bytes, sizeof(bytes)));
	submit_load(session, job->index);
}

static void submit_load(struct session *session, uint32_t index)
{
	struct job job = { .run = run_load, .done = on_load_done, .index = index };

	worker_submit(&session->slots[index].worker, &job);
}

void load_start(struct session *session)
{
	for (uint32_t i = 0; i < session->device_count; i++)
		submit_load(session, i);
}

/* Wait for a free slot and fill it straight from the connection. */
int load_push(struct session *session, uint32_t device, const struct device_chunk *chunk,
	      struct bulk *bulk, struct hf_error *err)
{
	struct device_queue *queue = &session->slots[device].queue;
	struct device_chunk *slot;
	bool closed;
	int code = 0;

	(void)pthread_mutex_lock(&queue->lock);
	while (!queue->closed && queue->count == DEVICE_QUEUE_SLOTS)
		(void)pthread_cond_wait(&queue->changed, &queue->lock);
	closed = queue->closed;
	slot = &queue->slots[(queue->head + queue->count) % DEVICE_QUEUE_SLOTS];
	(void)pthread_mutex_unlock(&queue->lock);
	if (closed)
		return error_set(err, HF_E_CONNECTION_LOST, 0, "device %u takes no more data",
				 device);

	/* The slot is free, and only this connection fills this device's queue. */
	if (chunk->length) {
		uint8_t padding[REC_ALIGN] = { 0 };

		code = channel_recv_all(&bulk->channel, slot->data, chunk->length,
					session_wait_deadline(session), err);
		if (code == 0 && rec_padding(chunk->length))
			code = channel_recv_all(&bulk->channel, padding, rec_padding(chunk->length),
						session_wait_deadline(session), err);
		for (uint32_t i = 0; code == 0 && i < rec_padding(chunk->length); i++)
			if (padding[i])
				code = error_set(err, HF_E_PROTOCOL, 0,
						 "padding of DEVICE_DATA is not zero");
		if (code == 0)
			(void)XXH3_64bits_update(bulk->digest, padding, rec_padding(chunk->length));
	}
	if (code < 0)
		return code;
	slot->length = chunk->length;
	slot->initial_done = chunk->initial_done;
	slot->end = chunk->end;
	slot->end_records = chunk->end_records;
	slot->end_bytes = chunk->end_bytes;
	slot->end_digest = chunk->end_digest;

	(void)pthread_mutex_lock(&queue->lock);
	queue->count++;
	(void)pthread_cond_broadcast(&queue->changed);
	(void)pthread_mutex_unlock(&queue->lock);
	return 0;
}
