/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole session (tests/vectors/v1/session, made without this codec) read as a receiver would:
 * framing, order, digests and totals of docs/stream.md, sections 6 and 7.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "wire-files.h"
#include "wire/frame.h"
#include "wire/order.h"
#include "wire/records.h"

#define DEVICES 2u
#define CHANNELS 2u

struct totals {
	uint64_t normal_pages, zero_pages, device_bytes;
	uint32_t rounds;
};

/* One bulk connection that lies in memory. */
struct bulk {
	const uint8_t *bytes;
	size_t at, length;
	uint64_t records;
	XXH3_state_t digest;
	struct order order;
	XXH3_state_t device_digest[DEVICES];
	uint64_t device_bytes[DEVICES];
};

static const uint8_t *take(struct bulk *bulk, size_t n, int digested)
{
	const uint8_t *at = bulk->bytes + bulk->at;

	assert_in_range(n, 0, bulk->length - bulk->at);
	if (digested)
		assert_int_equal(XXH3_64bits_update(&bulk->digest, at, n), XXH_OK);
	bulk->at += n;
	return at;
}

static void pages(const uint8_t *fixed, uint32_t length, struct order_args *args,
		  struct totals *totals)
{
	struct rec_pages pages;

	assert_int_equal(rec_pages_decode(fixed, REC_PAGES_FIXED, length, &pages), 0);
	args->pages = rec_pages_present(&pages);
	totals->zero_pages += rec_pages_zero(&pages);
	totals->normal_pages += rec_pages_content_bytes(&pages) / HF_PAGE_SIZE;
}

static void device_data(struct bulk *bulk, const uint8_t *fixed, uint32_t length,
			struct order_args *args)
{
	struct rec_device_data data;

	assert_int_equal(rec_device_data_decode(fixed, REC_DEVICE_DATA_FIXED, length, &data), 0);
	args->device = data.device;
	args->sequence = data.sequence;
	args->flags = data.flags;
	XXH3_64bits_update(&bulk->device_digest[data.device], bulk->bytes + bulk->at,
			   data.data_length);
	bulk->device_bytes[data.device] += data.data_length;
}

static void device_end(struct bulk *bulk, const uint8_t *fixed, struct order_args *args,
		       struct totals *totals)
{
	struct rec_device_end end;

	assert_int_equal(rec_device_end_decode(fixed, 24, &end), 0);
	assert_int_equal(end.bytes, bulk->device_bytes[end.device]);
	assert_int_equal(end.digest, XXH3_64bits_digest(&bulk->device_digest[end.device]));
	args->device = end.device;
	args->sequence = end.records;
	totals->device_bytes += end.bytes;
}

static void attach(const uint8_t *fixed, struct order_args *args)
{
	struct rec_attach attach;

	assert_int_equal(rec_attach_decode(fixed, 40, &attach), 0);
	args->channel = attach.channel;
}

static void round_end(const uint8_t *fixed, struct order_args *args)
{
	struct rec_round round;

	assert_int_equal(rec_round_decode(fixed, 16, &round), 0);
	args->round = round.round;
	args->pages = round.pages;
}

static void channel_end(struct bulk *bulk, const uint8_t *fixed, size_t before, uint64_t digest,
			struct order_args *args)
{
	struct rec_channel_end end;

	assert_int_equal(rec_channel_end_decode(fixed, 32, &end), 0);
	assert_int_equal(end.records, bulk->records);
	assert_int_equal(end.bytes, before);
	assert_int_equal(end.digest, digest);
	args->channel = end.channel;
}

static void record(struct bulk *bulk, struct totals *totals)
{
	size_t before = bulk->at;
	uint64_t digest = XXH3_64bits_digest(&bulk->digest);
	struct rec_header header = rec_header_decode(take(bulk, REC_HEADER_BYTES, 1));
	int check = rec_header_check(&header, WIRE_BULK, WIRE_TO_TARGET, NULL);
	struct order_args args = { 0 };
	const uint8_t *fixed;
	uint32_t fixed_bytes;
	const char *why = "";

	assert_in_range(check, 0, 1);
	if (check == 1) {
		(void)take(bulk, header.length + rec_padding(header.length), 1);
		assert_int_equal(order_skipped(&bulk->order, NULL), 0);
		bulk->records++;
		return;
	}
	fixed_bytes = rec_info(header.type)->fixed_bytes;
	fixed = take(bulk, fixed_bytes, 1);
	if (header.type == REC_ATTACH)
		attach(fixed, &args);
	else if (header.type == REC_PAGES)
		pages(fixed, header.length, &args, totals);
	else if (header.type == REC_ROUND)
		round_end(fixed, &args);
	else if (header.type == REC_DEVICE_DATA)
		device_data(bulk, fixed, header.length, &args);
	else if (header.type == REC_DEVICE_END)
		device_end(bulk, fixed, &args, totals);
	else
		channel_end(bulk, fixed, before, digest, &args);
	(void)take(bulk, header.length - fixed_bytes, 0);
	(void)take(bulk, rec_padding(header.length), 1);
	if (order_record(&bulk->order, header.type, &args, &why) != 0)
		fail_msg("%s: %s", rec_name(header.type), why);
	bulk->records++;
}

static void read_bulk(uint16_t channel, struct totals *totals)
{
	struct stream_header header;
	static struct bulk bulk;
	char name[64];
	uint8_t *bytes;

	memset(&bulk, 0, sizeof(bulk));
	XXH3_64bits_reset(&bulk.digest);
	for (unsigned int i = 0; i < DEVICES; i++)
		XXH3_64bits_reset(&bulk.device_digest[i]);
	(void)snprintf(name, sizeof(name), "session/bulk-%u.out", channel);
	bytes = file_read(VECTORS, name, &bulk.length);
	bulk.bytes = bytes;
	assert_int_equal(stream_header_decode(take(&bulk, STREAM_HEADER_BYTES, 1),
					      STREAM_HEADER_BYTES, &header, NULL, NULL),
			 0);
	assert_int_equal(header.kind, WIRE_BULK);
	assert_int_equal(header.channel, channel);
	order_init(&bulk.order, WIRE_BULK, WIRE_TO_TARGET, channel);
	order_limits(&bulk.order, DEVICES, CHANNELS);
	while (bulk.at < bulk.length)
		record(&bulk, totals);
	assert_true(order_complete(&bulk.order));
	totals->rounds = bulk.order.round;
	free(bytes);
}

/* What the order asks of a record on the control connection. */
static void control_args(const struct frame *frame, struct order_args *args)
{
	struct rec_device_config config;
	struct rec_primed primed;
	struct rec_keepalive keepalive;
	uint32_t length = frame->record.length;

	if (frame->record.type == REC_DEVICE_CONFIG) {
		assert_int_equal(rec_device_config_decode(frame->body, length, &config), 0);
		args->device = config.device;
	} else if (frame->record.type == REC_PRIMED) {
		assert_int_equal(rec_primed_decode(frame->body, length, &primed), 0);
		args->device = primed.device;
	} else if (frame->record.type == REC_KEEPALIVE) {
		assert_int_equal(rec_keepalive_decode(frame->body, length, &keepalive), 0);
		args->counter = keepalive.counter;
	}
}

static void read_control(const char *name, uint8_t direction, struct rec_end *ret_end)
{
	static struct frame frame;
	static XXH3_state_t digest;
	struct order order;
	size_t at = 0, consumed, length;
	uint8_t *bytes = file_read(VECTORS, name, &length);

	XXH3_64bits_reset(&digest);
	frame_init(&frame, direction);
	order_init(&order, WIRE_CONTROL, direction, 0);
	order_limits(&order, DEVICES, CHANNELS);
	while (at < length) {
		int result = frame_push(&frame, bytes + at, length - at, &consumed);
		struct order_args args = { 0 };
		const char *why = "";

		assert_true(result > 0);
		at += consumed;
		if (result == FRAME_RECORD) {
			control_args(&frame, &args);
			if (order_record(&order, frame.record.type, &args, &why) != 0)
				fail_msg("%s: %s", rec_name(frame.record.type), why);
		}
		if (result == FRAME_RECORD && frame.record.type == REC_END) {
			assert_int_equal(rec_end_decode(frame.body, frame.record.length, ret_end),
					 0);
			assert_int_equal(ret_end->digest, XXH3_64bits_digest(&digest));
			assert_int_equal(ret_end->machine_sections, order.sections);
		}
		XXH3_64bits_update(&digest, frame.raw, frame.raw_length);
	}
	assert_true(frame_idle(&frame));
	assert_true(order_complete(&order));
	free(bytes);
}

static void a_whole_session_is_right_in_every_number(void **state)
{
	struct totals totals = { 0 };
	struct rec_end end = { 0 };

	(void)state;
	for (uint16_t channel = 0; channel < CHANNELS; channel++)
		read_bulk(channel, &totals);
	read_control("session/control.in", WIRE_TO_SOURCE, NULL);
	read_control("session/control.out", WIRE_TO_TARGET, &end);
	assert_int_equal(end.rounds, totals.rounds);
	assert_int_equal(end.normal_pages, totals.normal_pages);
	assert_int_equal(end.zero_pages, totals.zero_pages);
	assert_int_equal(end.device_bytes, totals.device_bytes);
	assert_int_equal(end.device_count, DEVICES);
}

/* The examples of section 7. */
static void the_digest_is_the_one_of_the_specification(void **state)
{
	(void)state;
	assert_int_equal(XXH3_64bits("", 0), 0x2d06800538d394c2);
	assert_int_equal(XXH3_64bits("HOLDFAST", 8), 0x7d8aef5a394a169e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_session_is_right_in_every_number),
		cmocka_unit_test(the_digest_is_the_one_of_the_specification),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
