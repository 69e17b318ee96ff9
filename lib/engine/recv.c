/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target's bulk connections: each has a worker that reads record after record until
 * CHANNEL_END. Pages land by readv in guest memory; device data in the device's queue.
 *
 * At each ROUND the workers meet, so that an older page never overwrites a newer one that came on
 * another connection.
 *
 * Fresh guest memory reads as zeros without being there. So that zero pages cost nothing, a page
 * that never got content is not written; touched[] knows. seen[] knows which pages have come at
 * all. Both are set by all workers, bit by bit, with atomic operations.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bitmap.h"
#include "base/error.h"
#include "base/time.h"
#include "engine/actions.h"

static void set_shared(uint64_t *map, uint64_t bit)
{
	(void)__atomic_fetch_or(&map[bit / 64], 1ull << (bit % 64), __ATOMIC_RELAXED);
}

int recv_init(struct session *session, struct hf_error *err)
{
	(void)pthread_mutex_init(&session->barrier.lock, NULL);
	(void)pthread_cond_init(&session->barrier.changed, NULL);
	session->barrier.ready = true;
	for (uint32_t i = 0; i < session->region_count; i++) {
		uint64_t pages = session->regions[i].size >> HF_PAGE_SHIFT;

		session->touched[i] = session_alloc(session, bitmap_bytes(pages));
		session->seen[i] = session_alloc(session, bitmap_bytes(pages));
		if (!session->touched[i] || !session->seen[i])
			return error_set(err, HF_E_NO_MEMORY, ENOMEM, "bitmap of region %u", i);
	}
	return 0;
}

void recv_done(struct session *session)
{
	for (uint32_t i = 0; i < HF_REGIONS_MAX; i++) {
		free(session->touched[i]);
		free(session->seen[i]);
	}
	if (!session->barrier.ready)
		return;
	(void)pthread_mutex_destroy(&session->barrier.lock);
	(void)pthread_cond_destroy(&session->barrier.changed);
}

void recv_break(struct session *session)
{
	struct barrier *barrier = &session->barrier;

	if (!barrier->ready)
		return;
	(void)pthread_mutex_lock(&barrier->lock);
	barrier->broken = true;
	(void)pthread_cond_broadcast(&barrier->changed);
	(void)pthread_mutex_unlock(&barrier->lock);
}

static bool all_reached(const struct barrier *barrier, uint32_t channels, uint32_t round)
{
	for (uint32_t i = 0; i < channels; i++)
		if (barrier->reached[i] < round)
			return false;
	return true;
}

/* Say that this connection's round is in, and wait for the others'. */
static int meet(struct session *session, uint32_t channel, uint32_t round, struct hf_error *err)
{
	struct barrier *barrier = &session->barrier;
	bool broken;

	(void)pthread_mutex_lock(&barrier->lock);
	barrier->reached[channel] = round;
	(void)pthread_cond_broadcast(&barrier->changed);
	while (!barrier->broken && !all_reached(barrier, session->channel_count, round))
		(void)pthread_cond_wait(&barrier->changed, &barrier->lock);
	broken = barrier->broken;
	(void)pthread_mutex_unlock(&barrier->lock);
	if (broken)
		return error_set(err, HF_E_CONNECTION_LOST, 0, "round %u was cut short", round);
	return 0;
}

/* The worker's own view of its connection. */
struct receiver {
	struct session *session;
	struct bulk *bulk;
	uint32_t index;
	struct order order;
	struct hf_error *err;
	uint8_t head[REC_BULK_HEAD_MAX];
	struct iovec iov[REC_PAGES_MAX];
};

static int bad(struct receiver *receiver, const char *record, const char *why)
{
	return error_set(receiver->err, HF_E_PROTOCOL, 0, "bulk connection %u: %s: %s",
			 receiver->index, record, why);
}

static int get(struct receiver *receiver, void *buf, size_t size, uint64_t deadline_ns)
{
	int code =
		channel_recv_all(&receiver->bulk->channel, buf, size, deadline_ns, receiver->err);

	if (code < 0)
		return error_prepend(receiver->err, "bulk connection %u", receiver->index);
	atomic_store(&receiver->session->heard_ns, time_now_ns());
	return 0;
}

/* Count what the digest of CHANNEL_END covers. */
static void cover(struct receiver *receiver, uint32_t length, uint64_t content)
{
	(void)XXH3_64bits_update(receiver->bulk->digest, receiver->head, length);
	receiver->bulk->records++;
	receiver->bulk->bytes += length + content;
	atomic_fetch_add(&receiver->session->totals.wire_bytes, length + content);
}

static int check_order(struct receiver *receiver, uint32_t type, const struct order_args *args)
{
	const char *why = "?";

	if (order_record(&receiver->order, type, args, &why) < 0)
		return bad(receiver, rec_name(type), why);
	return 0;
}

/* Where the pages of the record go: a piece of memory for each run. Zero pages are made here. */
static uint32_t scatter(struct receiver *receiver, const struct rec_pages *pages)
{
	const struct hf_memory_region *region = &receiver->session->regions[pages->region];
	uint64_t *touched = receiver->session->touched[pages->region];
	uint8_t *run_end = NULL;
	uint32_t count = 0;

	for (uint64_t bit = bitmap_next_set(pages->present, pages->count, 0); bit < pages->count;
	     bit = bitmap_next_set(pages->present, pages->count, bit + 1)) {
		uint64_t page = pages->first_page + bit;
		uint8_t *host = (uint8_t *)region->host + (page << HF_PAGE_SHIFT);

		set_shared(receiver->session->seen[pages->region], page);
		if (bitmap_test(pages->zero, bit)) {
			if (bitmap_test(touched, page))
				memset(host, 0, HF_PAGE_SIZE);
			continue;
		}
		set_shared(touched, page);
		if (host == run_end)
			receiver->iov[count - 1].iov_len += HF_PAGE_SIZE;
		else
			receiver->iov[count++] = (struct iovec){ host, HF_PAGE_SIZE };
		run_end = host + HF_PAGE_SIZE;
	}
	return count;
}

static int get_scattered(struct receiver *receiver, uint32_t count, uint64_t bytes)
{
	struct iovec *iov = receiver->iov;

	while (bytes > 0) {
		ssize_t got =
			channel_recvv(&receiver->bulk->channel, iov, count,
				      session_wait_deadline(receiver->session), receiver->err);

		if (got == 0)
			return error_set(receiver->err, HF_E_CONNECTION_LOST, 0,
					 "bulk connection %u was closed inside PAGES",
					 receiver->index);
		if (got < 0)
			return error_prepend(receiver->err, "bulk connection %u", receiver->index);
		bytes -= (uint64_t)got;
		while (count > 0 && (size_t)got >= iov->iov_len) {
			got -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + got;
			iov->iov_len -= (size_t)got;
		}
		atomic_store(&receiver->session->heard_ns, time_now_ns());
	}
	return 0;
}

static int take_pages(struct receiver *receiver, uint32_t body_length)
{
	struct session *session = receiver->session;
	struct rec_pages pages;
	struct order_args args = { 0 };
	uint64_t region_pages;
	uint32_t content, count, zero;
	int code;

	if (rec_pages_decode(receiver->head + REC_HEADER_BYTES, REC_PAGES_FIXED, body_length,
			     &pages) < 0)
		return bad(receiver, "PAGES", "does not decode");
	if (pages.region >= session->region_count)
		return bad(receiver, "PAGES", "no such region");
	region_pages = session->regions[pages.region].size >> HF_PAGE_SHIFT;
	if (pages.first_page >= region_pages || pages.count > region_pages - pages.first_page)
		return bad(receiver, "PAGES", "outside of its region");
	args.pages = rec_pages_present(&pages);
	code = check_order(receiver, REC_PAGES, &args);
	if (code < 0)
		return code;

	content = rec_pages_content_bytes(&pages);
	zero = rec_pages_zero(&pages);
	cover(receiver, REC_HEADER_BYTES + REC_PAGES_FIXED, content);
	count = scatter(receiver, &pages);
	code = get_scattered(receiver, count, content);
	atomic_fetch_add(&session->totals.zero_pages, zero);
	atomic_fetch_add(&session->totals.normal_pages, content >> HF_PAGE_SHIFT);
	atomic_fetch_add(&session->totals.page_bytes, content);
	return code;
}

static int take_device_data(struct receiver *receiver, uint32_t body_length)
{
	struct session *session = receiver->session;
	struct rec_device_data data;
	struct device_chunk chunk = { 0 };
	struct order_args args;
	int code;

	if (rec_device_data_decode(receiver->head + REC_HEADER_BYTES, REC_DEVICE_DATA_FIXED,
				   body_length, &data) < 0)
		return bad(receiver, "DEVICE_DATA", "does not decode");
	args = (struct order_args){ .device = data.device,
				    .sequence = data.sequence,
				    .flags = data.flags };
	code = check_order(receiver, REC_DEVICE_DATA, &args);
	if (code < 0)
		return code;
	if (data.device % session->channel_count != receiver->index)
		return bad(receiver, "DEVICE_DATA", "on another connection than its device's");
	cover(receiver, REC_HEADER_BYTES + REC_DEVICE_DATA_FIXED,
	      data.data_length + rec_padding(data.data_length));
	atomic_fetch_add(&session->totals.device_bytes, data.data_length);
	chunk.length = data.data_length;
	chunk.initial_done = data.flags & REC_DEVICE_INITIAL_DONE;
	return load_push(session, data.device, &chunk, receiver->bulk, receiver->err);
}

static int take_device_end(struct receiver *receiver, uint32_t body_length)
{
	struct session *session = receiver->session;
	struct rec_device_end end;
	struct device_chunk chunk = { .end = true };
	struct order_args args;
	int code;

	if (rec_device_end_decode(receiver->head + REC_HEADER_BYTES, body_length, &end) < 0)
		return bad(receiver, "DEVICE_END", "does not decode");
	args = (struct order_args){ .device = end.device, .sequence = end.records };
	code = check_order(receiver, REC_DEVICE_END, &args);
	if (code < 0)
		return code;
	if (end.device % session->channel_count != receiver->index)
		return bad(receiver, "DEVICE_END", "on another connection than its device's");
	cover(receiver, REC_HEADER_BYTES + body_length, 0);
	chunk.end_records = end.records;
	chunk.end_bytes = end.bytes;
	chunk.end_digest = end.digest;
	return load_push(session, end.device, &chunk, receiver->bulk, receiver->err);
}

static int take_round(struct receiver *receiver, uint32_t body_length)
{
	struct rec_round round;
	struct order_args args;
	int code;

	if (rec_round_decode(receiver->head + REC_HEADER_BYTES, body_length, &round) < 0)
		return bad(receiver, "ROUND", "does not decode");
	args = (struct order_args){ .round = round.round, .pages = round.pages };
	code = check_order(receiver, REC_ROUND, &args);
	if (code < 0)
		return code;
	cover(receiver, REC_HEADER_BYTES + body_length, 0);
	return meet(receiver->session, receiver->index, round.round, receiver->err);
}

/* Returns 1: the connection ended as it should. */
static int take_channel_end(struct receiver *receiver, uint32_t body_length)
{
	struct bulk *bulk = receiver->bulk;
	struct rec_channel_end end;
	struct order_args args;
	int code;

	if (rec_channel_end_decode(receiver->head + REC_HEADER_BYTES, body_length, &end) < 0)
		return bad(receiver, "CHANNEL_END", "does not decode");
	args = (struct order_args){ .channel = end.channel };
	code = check_order(receiver, REC_CHANNEL_END, &args);
	if (code < 0)
		return code;
	if (end.records != bulk->records || end.bytes != bulk->bytes ||
	    end.digest != XXH3_64bits_digest(bulk->digest))
		return error_set(receiver->err, HF_E_STREAM_DAMAGED, 0,
				 "bulk connection %u: its digest or its totals do not match",
				 receiver->index);
	return 1;
}

/* What may be skipped is read away, and covered by the digest whole. */
static int skip(struct receiver *receiver, uint32_t length)
{
	uint32_t left = length + rec_padding(length);

	cover(receiver, REC_HEADER_BYTES, 0);
	receiver->bulk->bytes += left;
	while (left > 0) {
		uint32_t piece =
			left < sizeof(receiver->head) ? left : (uint32_t)sizeof(receiver->head);
		int code = get(receiver, receiver->head, piece,
			       session_wait_deadline(receiver->session));

		if (code < 0)
			return code;
		(void)XXH3_64bits_update(receiver->bulk->digest, receiver->head, piece);
		left -= piece;
	}
	return 0;
}

static int take_record(struct receiver *receiver)
{
	struct rec_header header;
	const char *why = "?";
	uint32_t fixed;
	int code;

	/* Between records the source may be silent: the session watches its signs of life. */
	code = get(receiver, receiver->head, REC_HEADER_BYTES, 0);
	if (code < 0)
		return code;
	header = rec_header_decode(receiver->head);
	code = rec_header_check(&header, WIRE_BULK, WIRE_TO_TARGET, &why);
	if (code < 0)
		return bad(receiver, rec_name(header.type), why);
	if (code == 1 && order_skipped(&receiver->order, &why) < 0)
		return bad(receiver, "an unknown record", why);
	if (code == 1)
		return skip(receiver, header.length);

	fixed = rec_info(header.type)->fixed_bytes;
	code = get(receiver, receiver->head + REC_HEADER_BYTES, fixed,
		   session_wait_deadline(receiver->session));
	if (code < 0)
		return code;
	switch (header.type) {
	case REC_PAGES:
		return take_pages(receiver, header.length);
	case REC_DEVICE_DATA:
		return take_device_data(receiver, header.length);
	case REC_DEVICE_END:
		return take_device_end(receiver, header.length);
	case REC_ROUND:
		return take_round(receiver, header.length);
	case REC_CHANNEL_END:
		return take_channel_end(receiver, header.length);
	default:
		return bad(receiver, rec_name(header.type), "has no place here");
	}
}

static int run_receive(struct session *session, struct job *job)
{
	struct receiver receiver = { .session = session,
				     .bulk = &session->bulks[job->index],
				     .index = job->index,
				     .err = &job->err };
	int code;

	order_init(&receiver.order, WIRE_BULK, WIRE_TO_TARGET, job->index);
	order_limits(&receiver.order, session->device_count, session->channel_count);
	/* ATTACH was taken by accept.c, and is covered already. */
	code = check_order(&receiver, REC_ATTACH, &(struct order_args){ .channel = job->index });
	while (code == 0)
		code = take_record(&receiver);
	return code < 0 ? code : 0;
}

static void on_receive_done(struct session *session, const struct job *job)
{
	if (session->target.state != TARGET_LOADING)
		return;
	if (job->code < 0) {
		session_fail(session, &job->err);
		return;
	}
	session->channels_ended++;
	target_maybe_ended(session);
}

void recv_start(struct session *session, uint32_t index)
{
	struct job job = { .run = run_receive, .done = on_receive_done, .index = index };

	worker_submit(&session->bulks[index].worker, &job);
}
