/* SPDX-License-Identifier: BSD-3-Clause */
/* What a session tells any thread that asks: written by the loop, copied under a lock. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/export.h"
#include "base/time.h"
#include "engine/actions.h"

uint64_t progress_us(uint64_t begin_ns, uint64_t end_ns)
{
	return begin_ns && end_ns > begin_ns ? (end_ns - begin_ns) / NS_PER_US : 0;
}

void progress_update(struct session *session)
{
	struct hf_progress now = {
		.size = sizeof(now),
		.role = session->config.role,
		.outcome = session->outcome,
		.round = session->precopy.round,
		.memory_bytes = session->total_pages << HF_PAGE_SHIFT,
		.page_bytes = atomic_load(&session->totals.page_bytes),
		.normal_pages = atomic_load(&session->totals.normal_pages),
		.zero_pages = atomic_load(&session->totals.zero_pages),
		.remaining_pages = session->precopy.dirty_pages,
		.device_bytes = atomic_load(&session->totals.device_bytes),
		.wire_bytes = atomic_load(&session->totals.wire_bytes),
		.bytes_per_second = session->precopy.bytes_per_second,
		.dirty_pages_per_second = session->precopy.dirty_pages_per_second,
		.expected_downtime_us = session->precopy.expected_downtime_us,
		.throttle_percent = session->precopy.throttle_percent,
		.own_memory_bytes = session->own_memory_bytes,
	};
	const char *state = session_is_source(session) ? source_state_name(session->source.state)
						       : target_state_name(session->target.state);

	(void)snprintf(now.state, sizeof(now.state), "%s", state);
	now.total_us =
		progress_us(session->start_ns, session->end_ns ? session->end_ns : time_now_ns());
	now.downtime_us = progress_us(session->stopped_ns, session->resumed_ns);
	(void)pthread_mutex_lock(&session->progress_lock);
	session->progress = now;
	(void)pthread_mutex_unlock(&session->progress_lock);
}

HF_EXPORT int hf_session_progress(struct hf_session *handle, struct hf_progress *progress)
{
	struct session *session = (struct session *)handle;
	uint32_t size = progress->size;

	if (size < sizeof(uint32_t))
		return HF_E_INVALID;
	(void)pthread_mutex_lock(&session->progress_lock);
	memcpy(progress, &session->progress,
	       size < sizeof(session->progress) ? size : sizeof(session->progress));
	(void)pthread_mutex_unlock(&session->progress_lock);
	progress->size = size;
	return 0;
}
