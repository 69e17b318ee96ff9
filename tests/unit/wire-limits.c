/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each rule of docs/stream.md, section 5, that a record can break on its own: at the limit, beyond
 * it, and at zero. Asked of the encoders; that a decoder takes nothing that its encoder would not
 * send is shown in wire-mutate.c and by the fuzzers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire-files.h"
#include "wire-roundtrip.h"

static uint8_t out[ROUNDTRIP_MAX];
static uint8_t data[WIRE_DATA_MAX + 1];

/* The vector NAME, decoded by rec_NAME_decode() into value, to be changed by the test. */
#define GOOD(file, rec)                                                                            \
	struct rec_##rec good, value;                                                              \
	size_t length_;                                                                            \
	uint8_t *bytes_ = file_read(VECTORS, file, &length_);                                      \
	memset(&good, 0, sizeof(good));                                                            \
	assert_int_equal(rec_##rec##_decode(bytes_ + 8, rec_header_decode(bytes_).length, &good),  \
			 0);                                                                       \
	free(bytes_);                                                                              \
	value = good

#define IS(rec, want, ...)                                                                         \
	do {                                                                                       \
		value = good;                                                                      \
		__VA_ARGS__;                                                                       \
		if ((want) != 0)                                                                   \
			assert_int_equal(rec_##rec##_encode(&value, out, sizeof(out)), want);      \
		else                                                                               \
			assert_true(rec_##rec##_encode(&value, out, sizeof(out)) > 0);             \
	} while (0)
#define TAKES(rec, ...) IS(rec, 0, __VA_ARGS__)
#define REFUSES(rec, ...) IS(rec, -EINVAL, __VA_ARGS__)

static void hello_is_held_to_its_rules(void **state)
{
	GOOD("hello.bin", hello);
	(void)state;
	TAKES(hello, value.flags = 0);
	REFUSES(hello, value.flags = 2);
	REFUSES(hello, value.page_shift = 13);
	REFUSES(hello, memset(value.session, 0, sizeof(value.session)));
	REFUSES(hello, value.region_count = 0);
	TAKES(hello, value.region_count = 16);
	REFUSES(hello, value.region_count = 17);
	TAKES(hello, value.device_count = 0);
	TAKES(hello, value.device_count = 32);
	REFUSES(hello, value.device_count = 33);
	REFUSES(hello, value.channels = 0);
	TAKES(hello, value.channels = 16);
	REFUSES(hello, value.channels = 17);
	REFUSES(hello, value.epoch = 0);
	TAKES(hello, value.epoch = UINT64_MAX);
	REFUSES(hello, value.guest[0] = '\0');
	REFUSES(hello, value.guest[1] = '/');
	REFUSES(hello, value.guest[1] = ' ');
	TAKES(hello, memset(value.guest, 'z', 63));
	REFUSES(hello, memset(value.guest, 'z', 64));
	REFUSES(hello, value.side[0] = '\0');
	REFUSES(hello, value.side[0] = '\n');
	REFUSES(hello, value.ledger[0] = '\0');
	REFUSES(hello, value.ledger[0] = '\x7f');
	TAKES(hello, memset(value.ledger, '~', 255));
	REFUSES(hello, memset(value.ledger, '~', 256));
}

static void regions_are_held_to_their_rules(void **state)
{
	GOOD("regions.bin", regions);
	(void)state;
	REFUSES(regions, value.count = 0);
	TAKES(regions, value.count = 1);
	REFUSES(regions, value.count = 17);
	REFUSES(regions, value.region[0].gpa = 1);
	REFUSES(regions, value.region[0].size = 4095);
	REFUSES(regions, value.region[0].size = 0);
	TAKES(regions, value.region[0].size = value.region[1].gpa);
	REFUSES(regions, value.region[0].size = value.region[1].gpa + 4096);
	REFUSES(regions, value.region[1].gpa = UINT64_C(1) << 33);
	TAKES(regions, value.region[2].size = (UINT64_C(1) << 52) - value.region[2].gpa);
	REFUSES(regions, value.region[2].size = (UINT64_C(1) << 52) - value.region[2].gpa + 4096);
	REFUSES(regions, value.region[2].size = UINT64_C(0) - 4096);
	REFUSES(regions, value.region[2].gpa = UINT64_C(1) << 52);
	REFUSES(regions, value.region[2].gpa = UINT64_C(0) - 4096);
	REFUSES(regions, value.region[1].name[0] = '\0');
	for (uint32_t i = 0; i < 16; i++) {
		value.region[i] = value.region[0];
		value.region[i].gpa = i * UINT64_C(0x1000);
		value.region[i].size = 0x1000;
		(void)snprintf(value.region[i].name, HF_NAME_MAX, "region-%u", i);
	}
	value.count = 16;
	assert_int_equal(rec_regions_encode(&value, out, sizeof(out)), 8 + 8 + 16 * 80);
	assert_int_equal(rec_regions_decode(out + 8, 8 + 16 * 80, &good), 0);
	assert_string_equal(good.region[15].name, "region-15");
}

static void devices_are_held_to_their_rules(void **state)
{
	GOOD("devices.bin", devices);
	(void)state;
	REFUSES(devices, value.count = 33);
	REFUSES(devices, value.device[0].mig_flags = 0);
	REFUSES(devices, value.device[0].mig_flags = 2);
	TAKES(devices, value.device[0].mig_flags = 3);
	TAKES(devices, value.device[0].mig_flags = 5);
	REFUSES(devices, value.device[0].mig_flags = 9);
	REFUSES(devices, value.device[0].name[0] = '\0');
	REFUSES(devices, value.device[0].kind[0] = '\0');
	REFUSES(devices, memset(value.device[0].kind, 'k', 16));
	TAKES(devices, value.device[0].compat[0] = '\0');
	REFUSES(devices, memcpy(value.device[1].name, value.device[0].name, HF_NAME_MAX));
	for (uint32_t i = 0; i < 32; i++) {
		value.device[i] = value.device[0];
		(void)snprintf(value.device[i].name, HF_NAME_MAX, "device-%u", i);
	}
	value.count = 32;
	assert_int_equal(rec_devices_encode(&value, out, sizeof(out)), 8 + 8 + 32 * 160);
	assert_int_equal(rec_devices_decode(out + 8, 8 + 32 * 160, &good), 0);
	assert_string_equal(good.device[31].name, "device-31");
}

static void data_may_be_empty_and_not_longer_than_64_kib(void **state)
{
	struct rec_shape shape = { data, WIRE_DATA_MAX };
	struct rec_device_config config = { 0, data, WIRE_DATA_MAX };
	struct rec_machine_state machine = { "m", 0, 0, data, WIRE_DATA_MAX };

	(void)state;
	assert_int_equal(rec_shape_encode(&shape, out, sizeof(out)), 8 + 65536);
	assert_int_equal(rec_shape_decode(out + 8, 65537, &shape), -EMSGSIZE);
	assert_int_equal(rec_device_config_encode(&config, out, sizeof(out)), 16 + 65536);
	assert_int_equal(rec_device_config_decode(out + 8, 65545, &config), -EMSGSIZE);
	assert_int_equal(rec_machine_state_encode(&machine, out, sizeof(out)), 48 + 65536);
	assert_int_equal(rec_machine_state_decode(out + 8, 65577, &machine), -EMSGSIZE);
	shape.data_length = config.data_length = machine.data_length = WIRE_DATA_MAX + 1;
	assert_int_equal(rec_shape_encode(&shape, out, sizeof(out)), -EINVAL);
	assert_int_equal(rec_device_config_encode(&config, out, sizeof(out)), -EINVAL);
	assert_int_equal(rec_machine_state_encode(&machine, out, sizeof(out)), -EINVAL);
	shape.data_length = config.data_length = machine.data_length = 0;
	assert_int_equal(rec_shape_encode(&shape, out, sizeof(out)), 8);
	assert_int_equal(rec_device_config_encode(&config, out, sizeof(out)), 16);
	assert_int_equal(rec_device_config_decode(out + 8, 8, &config), 0);
	assert_int_equal(config.data_length, 0);
	assert_int_equal(rec_machine_state_encode(&machine, out, sizeof(out)), 48);
	config.device = 32;
	assert_int_equal(rec_device_config_encode(&config, out, sizeof(out)), -EINVAL);
	machine.name[0] = '\0';
	assert_int_equal(rec_machine_state_encode(&machine, out, sizeof(out)), -EINVAL);
}

static void end_and_accept_are_held_to_their_rules(void **state)
{
	(void)state;
	{
		GOOD("end.bin", end);
		REFUSES(end, value.rounds = 0);
		TAKES(end, value.rounds = 65535);
		REFUSES(end, value.rounds = 65536);
		REFUSES(end, value.device_count = 1);
		REFUSES(end, value.device_count = value.config_records = 33);
		TAKES(end, value.device_count = value.config_records = 0);
		TAKES(end, value.machine_sections = 1024);
		REFUSES(end, value.machine_sections = 1025);
	}
	{
		GOOD("accept.bin", accept);
		REFUSES(accept, value.features = 1);
		REFUSES(accept, value.channels = 0);
		TAKES(accept, value.channels = 16);
		REFUSES(accept, value.channels = 17);
		TAKES(accept, value.chunk_bytes_max = 4096);
		REFUSES(accept, value.chunk_bytes_max = 4095);
		REFUSES(accept, value.chunk_bytes_max = 0);
		REFUSES(accept, value.chunk_bytes_max = (2u << 20) + 4096);
		REFUSES(accept, memset(value.token, 0, sizeof(value.token)));
		REFUSES(accept, value.side[0] = '\0');
		REFUSES(accept, value.ledger[0] = '\0');
	}
}

static void small_records_are_held_to_their_rules(void **state)
{
	(void)state;
	{
		GOOD("go.bin", go);
		REFUSES(go, value.epoch = 0);
	}
	{
		GOOD("started.bin", started);
		REFUSES(started, value.epoch = 0);
	}
	{
		GOOD("returned.bin", returned);
		REFUSES(returned, value.epoch = 0);
	}
	{
		GOOD("primed.bin", primed);
		TAKES(primed, value.device = 31);
		REFUSES(primed, value.device = 32);
	}
	{
		GOOD("keepalive.bin", keepalive);
		REFUSES(keepalive, value.counter = 0);
	}
	{
		GOOD("attach.bin", attach);
		REFUSES(attach, value.channel = 16);
		REFUSES(attach, memset(value.token, 0, sizeof(value.token)));
		REFUSES(attach, memset(value.session, 0, sizeof(value.session)));
	}
	{
		GOOD("round.bin", round);
		REFUSES(round, value.round = 0);
		REFUSES(round, value.round = 65536);
		TAKES(round, value.pages = 0);
	}
	{
		GOOD("device-end.bin", device_end);
		TAKES(device_end, value.bytes = UINT64_C(42) * 262144);
		REFUSES(device_end, value.bytes = UINT64_C(42) * 262144 + 1);
		REFUSES(device_end, value.records = 0);
		TAKES(device_end, value.records = 0; value.bytes = 0);
		REFUSES(device_end, value.device = 32);
	}
	{
		GOOD("channel-end.bin", channel_end);
		REFUSES(channel_end, value.channel = 16);
	}
}

/* A reason that cannot be sent as it is must arrive all the same (section 2.4). */
static void a_reason_is_mended_rather_than_lost(void **state)
{
	struct rec_abort abort = { { -5, -1, "caf\xc3\xa9\nand\x1b[2J" } };
	struct rec_abort again;

	(void)state;
	assert_int_equal(rec_abort_encode(&abort, out, sizeof(out)), 8 + 256);
	assert_int_equal(rec_abort_decode(out + 8, 256, &again), 0);
	assert_int_equal(again.error.code, HF_E_BUG);
	assert_int_equal(again.error.cause, 0);
	assert_string_equal(again.error.text, "caf???and?[2J");
	memset(abort.error.text, 'x', sizeof(abort.error.text)); /* no NUL at all */
	abort.error.code = -WIRE_CODE_FIRST;
	abort.error.cause = WIRE_CAUSE_MAX;
	assert_int_equal(rec_abort_encode(&abort, out, sizeof(out)), 8 + 256);
	assert_int_equal(rec_abort_decode(out + 8, 256, &again), 0);
	assert_int_equal(again.error.code, -4101);
	assert_int_equal(again.error.cause, 4095);
	assert_int_equal(strlen(again.error.text), HF_ERROR_TEXT_MAX - 1);
}

/* "Buffer bleed": what stands behind the NUL in our memory is nobody's business. */
static void nothing_behind_a_nul_leaves_the_process(void **state)
{
	struct rec_abort abort = { { HF_E_BUG, 0, "short" } };

	(void)state;
	memset(abort.error.text + 6, 'S', sizeof(abort.error.text) - 6);
	assert_int_equal(rec_abort_encode(&abort, out, sizeof(out)), 8 + 256);
	assert_null(memchr(out, 'S', 264));
}

static void pages_are_held_to_their_rules(void **state)
{
	struct rec_pages value, good = { .count = 512, .present = { 1 } };
	static struct rec_pages again;

	(void)state;
	REFUSES(pages, value.count = 0);
	TAKES(pages, value.count = 1);
	REFUSES(pages, value.count = 513);
	TAKES(pages, value.region = 15);
	REFUSES(pages, value.region = 16);
	TAKES(pages, value.first_page = (UINT64_C(1) << 40) - 1);
	REFUSES(pages, value.first_page = UINT64_C(1) << 40);
	REFUSES(pages, value.present[0] = 0);
	REFUSES(pages, value.zero[0] = 2);
	REFUSES(pages, value.count = 64; value.present[1] = 1);
	TAKES(pages, value.count = 65; value.present[1] = 1);
	REFUSES(pages, value.count = 65; value.present[1] = 2);
	value = (struct rec_pages){ .count = 512 };
	memset(value.present, 0xff, sizeof(value.present));
	assert_int_equal(rec_pages_encode(&value, out, sizeof(out)), REC_BULK_HEAD_MAX);
	assert_int_equal(rec_header_decode(out).length, 144 + 512 * 4096);
	assert_int_equal(rec_pages_decode(out + 8, 144, 144 + 512 * 4096, &again), 0);
	assert_int_equal(rec_pages_present(&again), 512);
	assert_int_equal(rec_pages_decode(out + 8, 144, 144 + 511 * 4096, &again), -EMSGSIZE);
	assert_int_equal(rec_pages_decode(out + 8, 144, 144, &again), -EMSGSIZE);
}

static void device_data_is_held_to_its_rules(void **state)
{
	struct rec_device_data value, good = { .device = 31, .data_length = 262144 };

	(void)state;
	TAKES(device_data, value.data_length = 262144);
	REFUSES(device_data, value.data_length = 262145);
	TAKES(device_data, value.data_length = 0);
	REFUSES(device_data, value.device = 32);
	TAKES(device_data, value.flags = REC_DEVICE_INITIAL_DONE);
	REFUSES(device_data, value.flags = REC_DEVICE_INITIAL_DONE | REC_DEVICE_STOP_COPY);
	REFUSES(device_data, value.flags = 4);
	assert_int_equal(rec_device_data_encode(&good, out, sizeof(out)), 24);
	assert_int_equal(rec_header_decode(out).length, 16 + 262144);
	assert_int_equal(rec_device_data_decode(out + 8, 16, 16 + 262143, &value), -EMSGSIZE);
}

/* Every encoder, with every capacity that is too small. */
static void a_buffer_that_is_too_small_is_not_overrun(void **state)
{
	struct rec_hello hello;
	size_t length;
	uint8_t *bytes = file_read(VECTORS, "hello.bin", &length);
	struct rec_shape shape = { data, 13 };

	(void)state;
	assert_int_equal(rec_hello_decode(bytes + 8, 440, &hello), 0);
	for (size_t capacity = 0; capacity < length; capacity++) {
		uint8_t *exact = malloc(capacity > 0 ? capacity : 1);

		assert_non_null(exact);
		assert_int_equal(rec_hello_encode(&hello, exact, capacity), -ENOSPC);
		assert_int_equal(rec_bye_encode(exact, capacity < 8 ? capacity : 7), -ENOSPC);
		assert_int_equal(rec_shape_encode(&shape, exact, capacity < 24 ? capacity : 23),
				 -ENOSPC);
		free(exact);
	}
	free(bytes);
}

static void a_failed_decode_writes_nothing(void **state)
{
	struct rec_go go = { 77 };
	uint8_t zero[440] = { 0 };
	struct rec_hello hello;

	(void)state;
	assert_int_equal(rec_go_decode(zero, 8, &go), -EPROTO);
	assert_int_equal(go.epoch, 77);
	memset(&hello, 0x5a, sizeof(hello));
	assert_int_equal(rec_hello_decode(zero, sizeof(zero), &hello), -EPROTO);
	for (size_t i = 0; i < sizeof(hello); i++)
		assert_int_equal(((const uint8_t *)&hello)[i], 0x5a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_is_held_to_its_rules),
		cmocka_unit_test(regions_are_held_to_their_rules),
		cmocka_unit_test(devices_are_held_to_their_rules),
		cmocka_unit_test(data_may_be_empty_and_not_longer_than_64_kib),
		cmocka_unit_test(end_and_accept_are_held_to_their_rules),
		cmocka_unit_test(small_records_are_held_to_their_rules),
		cmocka_unit_test(a_reason_is_mended_rather_than_lost),
		cmocka_unit_test(nothing_behind_a_nul_leaves_the_process),
		cmocka_unit_test(pages_are_held_to_their_rules),
		cmocka_unit_test(device_data_is_held_to_its_rules),
		cmocka_unit_test(a_buffer_that_is_too_small_is_not_overrun),
		cmocka_unit_test(a_failed_decode_writes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
