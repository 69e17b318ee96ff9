/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The source's bulk connections: rounds of pages. Each bulk worker takes the next chunk of the
 * round from a shared cursor until there is none, so that a slow connection holds up nobody, and
 * closes the round on its connection by a ROUND record.
 *
 * Header and pages leave by one writev from guest memory; nothing is copied here.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <xxhash.h>

#include "base/bitmap.h"
#include "base/error.h"
#include "base/time.h"
#include "engine/actions.h"
#include "engine/loop.h"
#include "engine/zero.h"

/*
 * Keep to the bandwidth limit: each record reserves its time on a clock that all connections share,
 * and waits until it has come, or until the connections are cut.
 */
static void pace(struct session *session, uint64_t bytes)
{
	uint64_t limit = session->config.bandwidth_bytes_max, now, begin, next;
	struct pollfd wake = { .fd = session->wake_fd, .events = POLLIN };

	if (!limit || session->precopy.final_pages)
		return;
	now = time_now_ns();
	begin = atomic_load(&session->pace_ns);
	do {
		next = (begin > now ? begin : now) + bytes * NS_PER_S / limit;
	} while (!atomic_compare_exchange_weak(&session->pace_ns, &begin, next));

	while (begin > now && !atomic_load(&session->cut)) {
		uint64_t wait = begin - now < 100 * NS_PER_MS ? begin - now : 100 * NS_PER_MS;
		struct timespec timeout = { .tv_sec = 0, .tv_nsec = (long)wait };

		(void)ppoll(&wake, 1, &timeout, NULL);
		now = time_now_ns();
	}
}

/*
 * Send one whole record. CHANNEL_END's digest covers iov[0] (covered bytes of it) and padding zeros
 * behind the content; bytes is the whole length, with both. On whichever worker has a record for
 * this connection.
 */
int send_record(struct session *session, struct bulk *bulk, struct iovec *iov, uint32_t count,
		uint32_t covered, uint32_t padding, uint64_t bytes, struct hf_error *err)
{
	const void *head = iov[0].iov_base;
	int code;

	pace(session, bytes);
	(void)pthread_mutex_lock(&bulk->lock);
	(void)XXH3_64bits_update(bulk->digest, head, covered);
	(void)XXH3_64bits_update(bulk->digest, rec_zeros, padding);
	code = channel_sendv(&bulk->channel, iov, count, session_wait_deadline(session), err);
	if (code == 0) {
		bulk->records++;
		bulk->bytes += bytes;
	} else {
		/* Half a record may be out: the next one behind it would be a breach. */
		channel_shutdown(&bulk->channel);
	}
	(void)pthread_mutex_unlock(&bulk->lock);
	if (code < 0)
		return error_prepend(err, "bulk connection %u",
				     (unsigned int)(bulk - session->bulks));
	atomic_fetch_add(&session->totals.wire_bytes, bytes);
	return 0;
}

int send_attach(struct session *session, struct bulk *bulk, uint32_t index, struct hf_error *err)
{
	struct stream_header header = { .major = WIRE_MAJOR,
					.minor = WIRE_MINOR,
					.kind = WIRE_BULK,
					.direction = WIRE_TO_TARGET,
					.channel = (uint16_t)index };
	struct rec_attach attach = { .channel = index };
	uint8_t bytes[STREAM_HEADER_BYTES + 64];
	struct iovec iov = { .iov_base = bytes };
	int length = stream_header_encode(&header, bytes, STREAM_HEADER_BYTES);

	assert(length == STREAM_HEADER_BYTES);
	memcpy(attach.session, session->session_id, sizeof(attach.session));
	memcpy(attach.token, session->token, sizeof(attach.token));
	length = rec_attach_encode(&attach, bytes + STREAM_HEADER_BYTES, 64);
	assert(length > 0);
	iov.iov_len = STREAM_HEADER_BYTES + (size_t)length;
	return send_record(session, bulk, &iov, 1, (uint32_t)iov.iov_len, 0, iov.iov_len, err);
}

/* What one PAGES record needs: its head, and a piece of memory for each run of pages. */
struct pages_iov {
	struct rec_pages pages;
	uint8_t head[REC_BULK_HEAD_MAX];
	struct iovec iov[1 + REC_PAGES_MAX];
	uint32_t iov_count, normal, zero;
};

/* Find runs of pages with content in the chunk's dirty pages, and which pages are zero. */
static void gather(const struct hf_memory_region *region, const uint64_t *dirty,
		   struct pages_iov *out)
{
	const uint8_t *host = region->host;
	uint64_t first = out->pages.first_page;
	uint64_t limit = first + out->pages.count;
	const uint8_t *run_end = NULL;

	out->iov_count = 1;
	out->normal = out->zero = 0;
	for (uint64_t page = bitmap_next_set(dirty, limit, first); page < limit;
	     page = bitmap_next_set(dirty, limit, page + 1)) {
		uint8_t *content = (uint8_t *)(uintptr_t)host + (page << HF_PAGE_SHIFT);
		uint64_t bit = page - first;

		bitmap_set(out->pages.present, bit);
		if (page_is_zero(content)) {
			bitmap_set(out->pages.zero, bit);
			out->zero++;
			continue;
		}
		out->normal++;
		if (content == run_end) {
			out->iov[out->iov_count - 1].iov_len += HF_PAGE_SIZE;
		} else {
			out->iov[out->iov_count++] =
				(struct iovec){ .iov_base = content, .iov_len = HF_PAGE_SIZE };
		}
		run_end = content + HF_PAGE_SIZE;
	}
}

/* Which region and which page the round's chunk of this number begins at. */
static const struct hf_memory_region *chunk_place(const struct session *session, uint64_t chunk,
						  uint32_t *ret_region, uint64_t *ret_page)
{
	for (uint32_t i = 0; i < session->region_count; i++) {
		if (chunk < session->precopy.region_chunks[i]) {
			*ret_region = i;
			*ret_page = chunk * CHUNK_PAGES;
			return &session->regions[i];
		}
		chunk -= session->precopy.region_chunks[i];
	}
	assert(0);
	return NULL;
}

static int send_chunk(struct session *session, struct bulk *bulk, uint64_t chunk,
		      struct pages_iov *out, uint64_t *inout_pages, struct hf_error *err)
{
	const struct hf_memory_region *region;
	uint64_t region_pages, content;
	uint32_t index;
	int length;

	memset(&out->pages, 0, sizeof(out->pages));
	region = chunk_place(session, chunk, &index, &out->pages.first_page);
	region_pages = region->size >> HF_PAGE_SHIFT;
	out->pages.region = index;
	out->pages.count = region_pages - out->pages.first_page < CHUNK_PAGES
				   ? (uint32_t)(region_pages - out->pages.first_page)
				   : CHUNK_PAGES;
	gather(region, session->precopy.dirty[index], out);
	if (out->normal + out->zero == 0)
		return 0;

	length = rec_pages_encode(&out->pages, out->head, sizeof(out->head));
	if (length < 0)
		return error_set(err, HF_E_BUG, -length, "PAGES cannot be encoded");
	out->iov[0] = (struct iovec){ .iov_base = out->head, .iov_len = (size_t)length };
	content = (uint64_t)out->normal << HF_PAGE_SHIFT;
	atomic_fetch_add(&session->totals.normal_pages, out->normal);
	atomic_fetch_add(&session->totals.zero_pages, out->zero);
	atomic_fetch_add(&session->totals.page_bytes, content);
	*inout_pages += out->normal + out->zero;
	return send_record(session, bulk, out->iov, out->iov_count, (uint32_t)length, 0,
			   (uint64_t)length + content, err);
}

static int run_round(struct session *session, struct job *job)
{
	struct bulk *bulk = &session->bulks[job->index];
	struct pages_iov out;
	struct rec_round round = { .round = (uint32_t)job->arg[0] };
	uint64_t chunk;
	int code, length;

	while ((chunk = atomic_fetch_add(&session->precopy.cursor, 1)) <
	       session->precopy.chunk_count) {
		if (atomic_load(&session->cut))
			return error_set(&job->err, HF_E_CONNECTION_LOST, 0,
					 "bulk connection %u was cut", job->index);
		code = send_chunk(session, bulk, chunk, &out, &round.pages, &job->err);
		if (code < 0)
			return code;
	}
	length = rec_round_encode(&round, out.head, sizeof(out.head));
	assert(length > 0);
	out.iov[0] = (struct iovec){ .iov_base = out.head, .iov_len = (size_t)length };
	return send_record(session, bulk, out.iov, 1, (uint32_t)length, 0, (uint64_t)length,
			   &job->err);
}

void send_round(struct session *session, struct phase *phase)
{
	atomic_store(&session->precopy.cursor, 0);
	for (uint32_t i = 0; i < session->channel_count; i++) {
		struct job job = { .run = run_round,
				   .done = phase_job_done,
				   .index = i,
				   .arg = { session->precopy.round } };

		phase_submit(session, phase, &session->bulks[i].worker, &job);
	}
}

static int run_channel_end(struct session *session, struct job *job)
{
	struct bulk *bulk = &session->bulks[job->index];
	struct rec_channel_end end = { .channel = job->index };
	uint8_t bytes[64];
	struct iovec iov = { .iov_base = bytes };
	int length;

	/* Nobody else sends on this connection any more: all devices have ended. */
	end.records = bulk->records;
	end.bytes = bulk->bytes;
	end.digest = XXH3_64bits_digest(bulk->digest);
	length = rec_channel_end_encode(&end, bytes, sizeof(bytes));
	assert(length > 0);
	iov.iov_len = (size_t)length;
	return send_record(session, bulk, &iov, 1, (uint32_t)length, 0, (uint64_t)length,
			   &job->err);
}

void send_channel_end(struct session *session, struct phase *phase)
{
	for (uint32_t i = 0; i < session->channel_count; i++) {
		struct job job = { .run = run_channel_end, .done = phase_job_done, .index = i };

		phase_submit(session, phase, &session->bulks[i].worker, &job);
	}
}
