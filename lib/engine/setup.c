/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session's beginning and end: everything it will ever need is allocated here, so that nothing is
 * while the guest stands still.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "backend/ledger.h"
#include "base/error.h"
#include "base/export.h"
#include "base/time.h"
#include "engine/actions.h"
#include "engine/loop.h"

void *session_alloc(struct session *session, size_t size)
{
	void *memory;

	assert(!session->stepped); /* set-up only */
	memory = calloc(1, size ? size : 1);
	if (memory)
		session->own_memory_bytes += size;
	return memory;
}

static void *digest_new(struct session *session, struct hf_error *err)
{
	XXH3_state_t *digest = XXH3_createState();

	if (!digest) {
		(void)error_set(err, HF_E_NO_MEMORY, ENOMEM, "digest");
		return NULL;
	}
	session->own_memory_bytes += sizeof(void *) * 72; /* its size is not public: about 576 */
	(void)XXH3_64bits_reset(digest);
	return digest;
}

static int init_memory(struct session *session, struct hf_error *err)
{
	session->arena.bytes = session_alloc(session, STATE_ARENA_BYTES);
	session->arena.items =
		session_alloc(session, (STATE_SECTIONS_MAX + 1) * sizeof(struct arena_item));
	session->link_buffer = session_alloc(session, REC_CONTROL_BYTES_MAX);
	session->shape = session_alloc(session, HF_MACHINE_SHAPE_MAX);
	if (!session->arena.bytes || !session->arena.items || !session->link_buffer ||
	    !session->shape)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "session");
	session->control_digest = digest_new(session, err);
	return session->control_digest ? 0 : HF_E_NO_MEMORY;
}

static int init_bulks(struct session *session, struct hf_error *err)
{
	for (uint32_t i = 0; i < session->channel_count; i++) {
		struct bulk *bulk = &session->bulks[i];
		char name[16];
		int code;

		bulk->digest = digest_new(session, err);
		if (!bulk->digest)
			return HF_E_NO_MEMORY;
		(void)pthread_mutex_init(&bulk->lock, NULL);
		bulk->locked_up = true;
		(void)snprintf(name, sizeof(name), "hf-bulk-%u", i);
		code = worker_start(&bulk->worker, session, &session->completions, name, err);
		if (code < 0)
			return code;
	}
	return 0;
}

static int init_devices(struct session *session, struct hf_error *err)
{
	for (uint32_t i = 0; i < session->device_count; i++) {
		struct device_slot *slot = &session->slots[i];
		char device_name[HF_NAME_MAX], name[16];
		int code;

		memcpy(device_name, slot->device.name, sizeof(device_name));
		code = device_bind(&slot->device, slot->device.raw, i, device_name, err);
		if (code < 0)
			return code;
		if (!(slot->device.info.mig_flags & HF_MIG_STOP_COPY))
			return error_set(err, HF_E_UNSUPPORTED, 0,
					 "device %u (%s) cannot be migrated", i, device_name);
		if (session_is_source(session) &&
		    !(slot->device.info.flags & HF_DEVICE_HAS_DMA_LOGGING))
			return error_set(err, HF_E_UNSUPPORTED, 0,
					 "device %u (%s) cannot log which pages its DMA writes", i,
					 device_name);
		if (!(slot->device.info.mig_flags & HF_MIG_P2P) && session->device_count > 1)
			return error_set(
				err, HF_E_UNSUPPORTED, 0,
				"device %u (%s) has no P2P states; beside other devices it "
				"cannot be stopped safely",
				i, device_name);
		slot->digest = digest_new(session, err);
		slot->buffer = session_alloc(session, DEVICE_CHUNK_BYTES);
		if (!slot->digest || !slot->buffer)
			return error_set(err, HF_E_NO_MEMORY, ENOMEM, "device %u", i);
		(void)snprintf(name, sizeof(name), "hf-dev-%u", i);
		code = worker_start(&slot->worker, session, &session->completions, name, err);
		if (code < 0)
			return code;
	}
	return 0;
}

static int init_workers(struct session *session, struct hf_error *err)
{
	int code;

	code = completions_init(&session->completions,
				session->channel_count + session->device_count + 3, err);
	if (code < 0)
		return code;
	session->own_memory_bytes += session->completions.capacity * sizeof(struct job);
	code = loop_init(session, err);
	if (code < 0)
		return code;
	if ((code = worker_start(&session->link_worker, session, &session->completions, "hf-link",
				 err)) < 0 ||
	    (code = worker_start(&session->machine_worker, session, &session->completions,
				 "hf-machine", err)) < 0 ||
	    (code = worker_start(&session->ledger_worker, session, &session->completions,
				 "hf-ledger", err)) < 0)
		return code;
	return 0;
}

static int init_ids(struct session *session, struct hf_error *err)
{
	if (getrandom(session->session_id, sizeof(session->session_id), 0) !=
		    sizeof(session->session_id) ||
	    getrandom(session->token, sizeof(session->token), 0) != sizeof(session->token))
		return error_set(err, HF_E_SYSTEM, errno, "getrandom");
	session->session_id[0] |= 1; /* never all zero */
	session->token[0] |= 1;
	return 0;
}

static int init(struct session *session, const struct hf_config *config, struct hf_error *err)
{
	int code;

	if ((code = config_take(session, config, err)) < 0 ||
	    (code = filters_init(session, err)) < 0 || (code = init_ids(session, err)) < 0 ||
	    (code = init_memory(session, err)) < 0 || (code = init_workers(session, err)) < 0 ||
	    (code = init_devices(session, err)) < 0 || (code = init_bulks(session, err)) < 0)
		return code;
	if (session->config.keep && (code = keep_init(session, err)) < 0)
		return code;
	if (!session_is_source(session)) {
		code = recv_init(session, err);
		return code < 0 ? code : load_init(session, err);
	}
	code = memory_init(&session->memory, session->raw_memory, session->regions,
			   session->region_count, err);
	return code < 0 ? code : precopy_init(session, err);
}

HF_EXPORT int hf_session_new(const struct hf_config *config, struct hf_session **ret_session,
			     struct hf_error *err)
{
	struct hf_error local = { 0 };
	struct session *session = calloc(1, sizeof(*session));
	int code;

	if (!session)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "session");
	session->own_memory_bytes = sizeof(*session);
	session->epoll_fd = session->wake_fd = -1;
	session->keep_dir_fd = session->keep_control_fd = -1;
	session->recorder.fd = -1;
	for (uint32_t i = 0; i < HF_DEVICES_MAX; i++)
		session->slots[i].keep_fd = -1;
	session->completions.event_fd = -1;
	session->state_deadline_ns = session->retry_ns = session->give_up_ns = NEVER;
	session->grace_ns = session->keepalive_ns = session->poll_ns = NEVER;
	(void)pthread_mutex_init(&session->progress_lock, NULL);
	(void)pthread_mutex_init(&session->keep_lock, NULL);
	source_init(&session->source);
	target_init(&session->target);

	code = init(session, config, &local);
	if (code == 0)
		code = record_open(session, &local);
	if (code < 0) {
		if (err)
			*err = local;
		(void)hf_session_free((struct hf_session *)session);
		return code;
	}
	*ret_session = (struct hf_session *)session;
	return 0;
}

static void stop_workers(struct session *session)
{
	worker_stop(&session->link_worker);
	worker_stop(&session->machine_worker);
	worker_stop(&session->ledger_worker);
	for (uint32_t i = 0; i < HF_DEVICES_MAX; i++)
		worker_stop(&session->slots[i].worker);
	for (uint32_t i = 0; i < HF_CHANNELS_MAX; i++)
		worker_stop(&session->bulks[i].worker);
}

HF_EXPORT struct hf_session *hf_session_free(struct hf_session *handle)
{
	struct session *session = (struct session *)handle;

	if (!session)
		return NULL;
	/* Whoever still hangs on a connection or a queue comes back. */
	control_cut(session);
	if (session->control.ops)
		channel_shutdown(&session->control);
	stop_workers(session);

	pending_drop_all(session);
	(void)listener_free(session->listener);
	if (session->control.ops)
		channel_close(&session->control);
	for (uint32_t i = 0; i < HF_CHANNELS_MAX; i++) {
		struct bulk *bulk = &session->bulks[i];

		if (bulk->open)
			channel_close(&bulk->channel);
		(void)XXH3_freeState(bulk->digest);
		if (bulk->locked_up)
			(void)pthread_mutex_destroy(&bulk->lock);
	}
	record_close(session);
	keep_done(session);
	load_done(session);
	recv_done(session);
	precopy_done(session);
	for (uint32_t i = 0; i < HF_DEVICES_MAX; i++) {
		(void)XXH3_freeState(session->slots[i].digest);
		free(session->slots[i].buffer);
	}
	filters_done(session);
	loop_done(session);
	completions_done(&session->completions);
	(void)XXH3_freeState(session->control_digest);
	free(session->arena.bytes);
	free(session->arena.items);
	free(session->link_buffer);
	free(session->shape);
	(void)pthread_mutex_destroy(&session->progress_lock);
	(void)pthread_mutex_destroy(&session->keep_lock);
	free(session);
	return NULL;
}
