/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of records (docs/stream.md, sections 6.1 to 6.3): stories that are right, and each way
 * in which they can go wrong, one record at a time.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire-files.h"
#include "wire/order.h"
#include "wire/records.h"

static struct order order;

static void start(uint8_t connection, uint8_t direction, uint32_t channel, uint32_t devices,
		  uint32_t channels)
{
	order_init(&order, connection, direction, channel);
	order_limits(&order, devices, channels);
}

static void comes_with(uint32_t type, struct order_args args)
{
	const char *why = "";

	if (order_record(&order, type, &args, &why) != 0)
		fail_msg("%s was refused: %s", rec_name(type), why);
}

static void fails_with(uint32_t type, struct order_args args)
{
	const struct order before = order;
	const char *why = NULL;

	if (order_record(&order, type, &args, &why) != -EPROTO)
		fail_msg("%s was taken", rec_name(type));
	assert_non_null(why);
	assert_memory_equal(&before, &order, sizeof(order));
	assert_int_equal(order_record(&order, type, &args, NULL), -EPROTO);
}

#define COMES(type, ...) comes_with(REC_##type, (struct order_args){ __VA_ARGS__ })
#define FAILS(type, ...) fails_with(REC_##type, (struct order_args){ __VA_ARGS__ })

/* Of all types exactly the ones in the list (ended by 0) may come next. */
static void only(const uint32_t *types)
{
	for (unsigned int i = 0; rec_at(i) != NULL; i++) {
		const uint32_t *listed = types;
		struct order_args args = { .counter = order.keepalives + 1 };
		struct order before = order;
		int want = -EPROTO;
		const char *why = NULL;

		while (*listed != 0 && *listed != rec_at(i)->type)
			listed++;
		if (*listed != 0)
			want = 0;
		if (order_record(&order, rec_at(i)->type, &args, &why) != want)
			fail_msg("%s was %s", rec_at(i)->name, want == 0 ? why : "taken");
		order = before;
	}
}

#define ONLY(...) only((const uint32_t[]){ __VA_ARGS__, 0 })

static void the_source_tells_its_story_in_one_order(void **state)
{
	(void)state;
	start(WIRE_CONTROL, WIRE_TO_TARGET, 0, 1, 1);
	ONLY(REC_HELLO);
	COMES(HELLO, 0);
	ONLY(REC_REGIONS, REC_ABORT, REC_BYE, REC_KEEPALIVE);
	COMES(REGIONS, 0);
	ONLY(REC_DEVICES, REC_ABORT, REC_BYE, REC_KEEPALIVE);
	COMES(KEEPALIVE, .counter = 1);
	COMES(DEVICES, 0);
	ONLY(REC_SHAPE, REC_ABORT, REC_BYE, REC_KEEPALIVE);
	COMES(SHAPE, 0);
	ONLY(REC_DEVICE_CONFIG, REC_MACHINE_STATE, REC_ABORT, REC_BYE, REC_KEEPALIVE);
	COMES(MACHINE_STATE, 0);
	COMES(DEVICE_CONFIG, 0);
	COMES(MACHINE_STATE, 0);
	ONLY(REC_MACHINE_STATE, REC_END, REC_ABORT, REC_BYE, REC_KEEPALIVE);
	COMES(END, 0);
	ONLY(REC_GO, REC_ABORT, REC_BYE, REC_KEEPALIVE);
	COMES(GO, 0);
	ONLY(REC_ABORT, REC_BYE, REC_KEEPALIVE);
	assert_false(order_complete(&order));
	COMES(BYE, 0);
	assert_true(order_complete(&order));
	ONLY(0);
}

static void the_target_answers_in_one_order(void **state)
{
	(void)state;
	start(WIRE_CONTROL, WIRE_TO_SOURCE, 0, 2, 1);
	ONLY(REC_ACCEPT, REC_ABORT, REC_BYE, REC_KEEPALIVE);
	COMES(KEEPALIVE, .counter = 1);
	COMES(ACCEPT, 0);
	ONLY(REC_PRIMED, REC_LOADED, REC_ABORT, REC_BYE, REC_KEEPALIVE);
	COMES(PRIMED, .device = 1);
	COMES(LOADED, 0);
	ONLY(REC_STARTED, REC_RETURNED, REC_ABORT, REC_BYE, REC_KEEPALIVE);
	COMES(STARTED, 0);
	ONLY(REC_BYE, REC_KEEPALIVE);
	COMES(BYE, 0);
	ONLY(0);
	start(WIRE_CONTROL, WIRE_TO_SOURCE, 0, 2, 1);
	COMES(ACCEPT, 0);
	COMES(LOADED, 0);
	COMES(RETURNED, 0);
	ONLY(REC_BYE, REC_KEEPALIVE);
}

static void an_abort_is_the_last_word(void **state)
{
	(void)state;
	start(WIRE_CONTROL, WIRE_TO_SOURCE, 0, 0, 1);
	COMES(ABORT, 0);
	ONLY(REC_BYE, REC_KEEPALIVE);
	COMES(BYE, 0);
	start(WIRE_CONTROL, WIRE_TO_TARGET, 0, 0, 1);
	COMES(HELLO, 0);
	COMES(ABORT, 0);
	ONLY(REC_BYE, REC_KEEPALIVE);
	COMES(BYE, 0);
	assert_true(order_complete(&order));
}

static void bulk_begins_with_attach_and_ends_with_channel_end(void **state)
{
	(void)state;
	start(WIRE_BULK, WIRE_TO_TARGET, 0, 0, 1);
	ONLY(REC_ATTACH);
	COMES(ATTACH, 0);
	FAILS(CHANNEL_END, 0); /* no round */
	COMES(PAGES, .pages = 3);
	COMES(ROUND, .round = 1, .pages = 3);
	ONLY(REC_PAGES, REC_CHANNEL_END);
	COMES(CHANNEL_END, 0);
	assert_true(order_complete(&order));
	ONLY(0);
}

static void every_device_sends_its_configuration_once(void **state)
{
	(void)state;
	start(WIRE_CONTROL, WIRE_TO_TARGET, 0, 2, 1);
	COMES(HELLO, 0);
	COMES(REGIONS, 0);
	COMES(DEVICES, 0);
	COMES(SHAPE, 0);
	FAILS(DEVICE_CONFIG, .device = 2);
	FAILS(DEVICE_CONFIG, .device = UINT32_MAX);
	COMES(DEVICE_CONFIG, .device = 1);
	FAILS(DEVICE_CONFIG, .device = 1);
	FAILS(END, 0);
	COMES(DEVICE_CONFIG, .device = 0);
	COMES(END, 0);
}

static void a_device_is_primed_once(void **state)
{
	(void)state;
	start(WIRE_CONTROL, WIRE_TO_SOURCE, 0, 2, 1);
	COMES(ACCEPT, 0);
	COMES(PRIMED, .device = 0);
	FAILS(PRIMED, .device = 0);
	FAILS(PRIMED, .device = 2);
	COMES(PRIMED, .device = 1);
}

static void sections_have_a_limit(void **state)
{
	(void)state;
	start(WIRE_CONTROL, WIRE_TO_TARGET, 0, 0, 1);
	COMES(HELLO, 0);
	COMES(REGIONS, 0);
	COMES(DEVICES, 0);
	COMES(SHAPE, 0);
	for (unsigned int i = 0; i < WIRE_SECTIONS_MAX; i++)
		COMES(MACHINE_STATE, 0);
	FAILS(MACHINE_STATE, 0);
	COMES(END, 0);
}

static void keepalives_count_from_one(void **state)
{
	(void)state;
	start(WIRE_CONTROL, WIRE_TO_SOURCE, 0, 0, 1);
	FAILS(KEEPALIVE, .counter = 0);
	FAILS(KEEPALIVE, .counter = 2);
	COMES(KEEPALIVE, .counter = 1);
	FAILS(KEEPALIVE, .counter = 1);
	COMES(KEEPALIVE, .counter = 2);
}

static void rounds_count_from_one_and_count_their_pages(void **state)
{
	(void)state;
	start(WIRE_BULK, WIRE_TO_TARGET, 1, 0, 2);
	FAILS(ATTACH, .channel = 0);
	COMES(ATTACH, .channel = 1);
	FAILS(ROUND, .round = 0);
	FAILS(ROUND, .round = 2);
	COMES(PAGES, .pages = 512);
	COMES(PAGES, .pages = 1);
	FAILS(ROUND, .round = 1, .pages = 512);
	COMES(ROUND, .round = 1, .pages = 513);
	FAILS(ROUND, .round = 1);
	COMES(ROUND, .round = 2);
	COMES(PAGES, .pages = 1);
	FAILS(CHANNEL_END, .channel = 1); /* pages in no round */
	COMES(ROUND, .round = 3, .pages = 1);
	FAILS(CHANNEL_END, .channel = 0);
	COMES(CHANNEL_END, .channel = 1);
}

static void rounds_have_a_limit(void **state)
{
	(void)state;
	start(WIRE_BULK, WIRE_TO_TARGET, 0, 0, 1);
	COMES(ATTACH, 0);
	for (uint32_t i = 1; i <= WIRE_ROUNDS_MAX; i++)
		COMES(ROUND, .round = i);
	FAILS(ROUND, .round = WIRE_ROUNDS_MAX + 1);
	COMES(CHANNEL_END, 0);
}

static void a_device_keeps_to_its_channel(void **state)
{
	(void)state;
	start(WIRE_BULK, WIRE_TO_TARGET, 1, 4, 3);
	COMES(ATTACH, .channel = 1);
	FAILS(DEVICE_DATA, .device = 0);
	FAILS(DEVICE_DATA, .device = 2);
	FAILS(DEVICE_DATA, .device = 3);
	FAILS(DEVICE_END, .device = 3);
	FAILS(DEVICE_DATA, .device = 4); /* 4 mod 3 is 1, but there is no device 4 */
	FAILS(DEVICE_DATA, .device = 33);
	COMES(DEVICE_DATA, .device = 1);
	COMES(ROUND, .round = 1);
	FAILS(CHANNEL_END, .channel = 1); /* device 1 has not ended; 0, 2 and 3 do not matter */
	COMES(DEVICE_END, .device = 1, .sequence = 1);
	COMES(CHANNEL_END, .channel = 1);
}

static void a_devices_data_is_a_sequence(void **state)
{
	(void)state;
	start(WIRE_BULK, WIRE_TO_TARGET, 0, 2, 1);
	COMES(ATTACH, 0);
	FAILS(DEVICE_DATA, .device = 0, .sequence = 1);
	COMES(DEVICE_DATA, .device = 0, .sequence = 0);
	COMES(DEVICE_DATA, .device = 1, .sequence = 0);
	FAILS(DEVICE_DATA, .device = 0, .sequence = 0);
	COMES(DEVICE_DATA, .device = 0, .sequence = 1);
	FAILS(DEVICE_END, .device = 0, .sequence = 1);
	FAILS(DEVICE_END, .device = 0, .sequence = 3);
	COMES(DEVICE_END, .device = 0, .sequence = 2);
	FAILS(DEVICE_END, .device = 0, .sequence = 2);
	FAILS(DEVICE_DATA, .device = 0, .sequence = 2);
	COMES(DEVICE_END, .device = 1, .sequence = 1);
}

static void initial_data_ends_once_and_before_stop_copy(void **state)
{
	(void)state;
	start(WIRE_BULK, WIRE_TO_TARGET, 0, 2, 1);
	COMES(ATTACH, 0);
	COMES(DEVICE_DATA, .device = 0, .sequence = 0, .flags = REC_DEVICE_INITIAL_DONE);
	FAILS(DEVICE_DATA, .device = 0, .sequence = 1, .flags = REC_DEVICE_INITIAL_DONE);
	COMES(DEVICE_DATA, .device = 0, .sequence = 1, .flags = REC_DEVICE_STOP_COPY);
	FAILS(DEVICE_DATA, .device = 0, .sequence = 2);
	COMES(DEVICE_DATA, .device = 0, .sequence = 2, .flags = REC_DEVICE_STOP_COPY);
	COMES(DEVICE_DATA, .device = 1, .sequence = 0, .flags = REC_DEVICE_STOP_COPY);
	FAILS(DEVICE_DATA, .device = 1, .sequence = 1, .flags = REC_DEVICE_INITIAL_DONE);
}

static void what_is_skipped_is_neither_first_nor_behind_the_last(void **state)
{
	const char *why = NULL;

	(void)state;
	start(WIRE_CONTROL, WIRE_TO_TARGET, 0, 0, 1);
	assert_int_equal(order_skipped(&order, &why), -EPROTO);
	assert_non_null(why);
	COMES(HELLO, 0);
	assert_int_equal(order_skipped(&order, NULL), 0);
	COMES(BYE, 0);
	assert_int_equal(order_skipped(&order, NULL), -EPROTO);
	start(WIRE_CONTROL, WIRE_TO_SOURCE, 0, 0, 1);
	assert_int_equal(order_skipped(&order, NULL), 0);
	start(WIRE_BULK, WIRE_TO_TARGET, 0, 0, 1);
	assert_int_equal(order_skipped(&order, NULL), -EPROTO);
}

static void records_of_another_connection_have_no_place(void **state)
{
	(void)state;
	start(WIRE_BULK, WIRE_TO_TARGET, 0, 0, 1);
	COMES(ATTACH, 0);
	FAILS(KEEPALIVE, .counter = 1);
	FAILS(BYE, 0);
	fails_with(0x99, (struct order_args){ 0 });
	assert_int_equal(order_record(&order, REC_ROUND, NULL, NULL), -EPROTO); /* no round 0 */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_source_tells_its_story_in_one_order),
		cmocka_unit_test(the_target_answers_in_one_order),
		cmocka_unit_test(an_abort_is_the_last_word),
		cmocka_unit_test(bulk_begins_with_attach_and_ends_with_channel_end),
		cmocka_unit_test(every_device_sends_its_configuration_once),
		cmocka_unit_test(a_device_is_primed_once),
		cmocka_unit_test(sections_have_a_limit),
		cmocka_unit_test(keepalives_count_from_one),
		cmocka_unit_test(rounds_count_from_one_and_count_their_pages),
		cmocka_unit_test(rounds_have_a_limit),
		cmocka_unit_test(a_device_keeps_to_its_channel),
		cmocka_unit_test(a_devices_data_is_a_sequence),
		cmocka_unit_test(initial_data_ends_once_and_before_stop_copy),
		cmocka_unit_test(what_is_skipped_is_neither_first_nor_behind_the_last),
		cmocka_unit_test(records_of_another_connection_have_no_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
