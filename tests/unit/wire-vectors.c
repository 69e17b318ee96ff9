/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The golden vectors: known structs give exactly the octets of tests/vectors/v1, which were made
 * from the specification without this codec; and these octets decode and encode to themselves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire-files.h"
#include "wire-roundtrip.h"

/* clang-format off */
#define SESSION { 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, \
		  0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f }
#define TOKEN { 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, \
		0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf }
/* clang-format on */
#define LEDGER "file:/var/lib/holdfast/ledger"

static uint8_t fill[254]; /* 1, 2, ... 254 */
static uint8_t out[ROUNDTRIP_MAX];

/* out holds n octets: they are the first ones of the vector, and all, or all but content. */
static void is_vector(const char *name, int n)
{
	size_t length;
	uint8_t *want = file_read(VECTORS, name, &length);
	uint8_t again[ROUNDTRIP_MAX];
	struct rec_header header = rec_header_decode(want);

	assert_in_range(n, 8, (int)length);
	assert_memory_equal(out, want, (size_t)n);
	assert_int_equal(n, roundtrip_length(header.type, length));
	assert_int_equal(length, REC_HEADER_BYTES + header.length + rec_padding(header.length));
	assert_int_equal(roundtrip_record(want, (size_t)n, again), n);
	assert_memory_equal(again, want, (size_t)n);
	free(want);
}

#define ENCODED(name, rec, ...)                                                                    \
	do {                                                                                       \
		const struct rec_##rec value = { __VA_ARGS__ };                                    \
		memset(out, 0xee, sizeof(out));                                                    \
		is_vector(name, rec_##rec##_encode(&value, out, sizeof(out)));                     \
	} while (0)

static void stream_headers_are_the_vectors(void **state)
{
	static const struct {
		const char *name;
		struct stream_header header;
	} rows[] = {
		{ "header-control-out.bin", { 1, 0, WIRE_CONTROL, WIRE_TO_TARGET, 0 } },
		{ "header-control-in.bin", { 1, 0, WIRE_CONTROL, WIRE_TO_SOURCE, 0 } },
		{ "header-bulk.bin", { 1, 0, WIRE_BULK, WIRE_TO_TARGET, 15 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct stream_header again;
		size_t length;
		uint8_t *want = file_read(VECTORS, rows[i].name, &length);

		assert_int_equal(length, STREAM_HEADER_BYTES);
		assert_int_equal(stream_header_encode(&rows[i].header, out, sizeof(out)), length);
		assert_memory_equal(out, want, length);
		assert_int_equal(stream_header_decode(want, length, &again, NULL, NULL), 0);
		assert_int_equal(again.major, 1);
		assert_int_equal(again.minor, 0);
		assert_int_equal(again.kind, rows[i].header.kind);
		assert_int_equal(again.direction, rows[i].header.direction);
		assert_int_equal(again.channel, rows[i].header.channel);
		free(want);
	}
}

static void greeting_records_are_the_vectors(void **state)
{
	(void)state;
	ENCODED("hello.bin", hello, .session = SESSION, .flags = REC_HELLO_PAUSED, .page_shift = 12,
		.region_count = 3, .device_count = 2, .channels = 4, .epoch = 7,
		.downtime_us_max = 300000, .guest = "web-1.prod", .side = "alpha.4711.c0ffee",
		.ledger = LEDGER);
	ENCODED("regions.bin", regions, .count = 3,
		.region = { { 0, 0xa0000, "low" },
			    { 0x100000, 0x7ff00000, "main" },
			    { UINT64_C(1) << 32, UINT64_C(1) << 34, "high" } });
	ENCODED("devices.bin", devices, .count = 2,
		.device = { { "nic0", "vfio", "mlx5_vfio_pci 15b3:101e v1", 7, 0x15b3, 0x101e,
			      0x15b3, 0x0001, 2 },
			    { "disk0", "vfio-user", "", 1, 0x1af4, 0x1042, 0x1af4, 0x1100, 1 } });
	ENCODED("devices-none.bin", devices, .count = 0);
	ENCODED("shape.bin", shape, .data = fill, .data_length = 13);
	ENCODED("shape-empty.bin", shape, .data = NULL, .data_length = 0);
	ENCODED("accept.bin", accept, .channels = 2, .chunk_bytes_max = 2u << 20, .token = TOKEN,
		.side = "beta.815.decade", .ledger = LEDGER);
}

static void state_records_are_the_vectors(void **state)
{
	(void)state;
	ENCODED("device-config.bin", device_config, .device = 31, .data = fill, .data_length = 100);
	ENCODED("machine-state.bin", machine_state, .name = "vcpu", .instance = 255, .version = 3,
		.data = fill, .data_length = 33);
	ENCODED("end.bin", end, .rounds = 12, .device_count = 2, .config_records = 2,
		.machine_sections = 19, .normal_pages = 0x123456789, .zero_pages = 0x9876,
		.device_bytes = 0x40000000001, .digest = 0x0123456789abcdef);
}

static void handover_records_are_the_vectors(void **state)
{
	(void)state;
	ENCODED("go.bin", go, .epoch = 7);
	ENCODED("primed.bin", primed, .device = 1);
	ENCODED("loaded.bin", loaded, .verify_us = 123456789);
	ENCODED("started.bin", started, .epoch = 7, .start_us = 45678);
	ENCODED("returned.bin", returned, .epoch = 7,
		.error = { HF_E_DEVICE_STATE, 5,
			   "device 0 (nic0): RESUMING -> STOP: Input/output error" });
	ENCODED("abort.bin", abort,
		.error = { HF_E_STREAM_DAMAGED, 0, "DEVICE_END of device 1: the digest differs" });
	ENCODED("keepalive.bin", keepalive, .counter = 258);
	memset(out, 0xee, sizeof(out));
	is_vector("bye.bin", rec_bye_encode(out, sizeof(out)));
}

static void bulk_records_are_the_vectors(void **state)
{
	(void)state;
	ENCODED("attach.bin", attach, .session = SESSION, .token = TOKEN, .channel = 3);
	ENCODED("pages.bin", pages, .region = 2, .count = 512, .first_page = 0x3ffe00,
		.present = { UINT64_C(1) << 63 | 1, 1, [7] = UINT64_C(1) << 63 },
		.zero = { UINT64_C(1) << 63, [7] = UINT64_C(1) << 63 });
	ENCODED("pages-zero.bin", pages, .region = 0, .count = 3, .first_page = 5, .present = { 5 },
		.zero = { 5 });
	ENCODED("round.bin", round, .round = 65535, .pages = 0x100000000);
	ENCODED("device-data.bin", device_data, .device = 1, .sequence = 41,
		.flags = REC_DEVICE_STOP_COPY, .data_length = 61);
	ENCODED("device-data-initial.bin", device_data, .flags = REC_DEVICE_INITIAL_DONE);
	ENCODED("device-end.bin", device_end, .device = 1, .records = 42, .bytes = 61,
		.digest = 0xa2fcc27baa1a1e05);
	ENCODED("channel-end.bin", channel_end, .channel = 3, .records = 9, .bytes = 0x2000000,
		.digest = 0xfedcba9876543210);
}

static int set_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(fill); i++)
		fill[i] = (uint8_t)(i + 1);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stream_headers_are_the_vectors),
		cmocka_unit_test(greeting_records_are_the_vectors),
		cmocka_unit_test(state_records_are_the_vectors),
		cmocka_unit_test(handover_records_are_the_vectors),
		cmocka_unit_test(bulk_records_are_the_vectors),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
