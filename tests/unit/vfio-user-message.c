/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layout of vfio-user's messages, octet by octet, as the specification and libvfio-user have
 * it; what a length may be; and which capabilities of a version are taken.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backend/device/vfio-user/message.h"
#include "backend/device/vfio-user/version.h"

/* The fixed part of each body, and where a field of it lies. */
static const struct {
	uint16_t command;
	int reply;
	uint32_t size, field, at, width;
} places[] = {
	{ VU_VERSION, 0, 4, VU_MINOR, 2, 2 },
	{ VU_VERSION, 1, 4, VU_MAJOR, 0, 2 },
	{ VU_DMA_MAP, 0, 32, VU_OFFSET, 8, 8 },
	{ VU_DMA_MAP, 0, 32, VU_ADDRESS, 16, 8 },
	{ VU_DMA_MAP, 0, 32, VU_SIZE, 24, 8 },
	{ VU_DMA_MAP, 1, 0, 0, 0, 0 },
	{ VU_DMA_UNMAP, 0, 24, VU_ADDRESS, 8, 8 },
	{ VU_DMA_UNMAP, 1, 24, VU_SIZE, 16, 8 },
	{ VU_DEVICE_GET_INFO, 0, 16, VU_FLAGS, 4, 4 },
	{ VU_DEVICE_GET_INFO, 1, 16, VU_REGIONS, 8, 4 },
	{ VU_DEVICE_GET_INFO, 1, 16, VU_IRQS, 12, 4 },
	{ VU_DEVICE_GET_REGION_INFO, 0, 32, VU_INDEX, 8, 4 },
	{ VU_DEVICE_GET_REGION_INFO, 1, 32, VU_CAP_OFFSET, 12, 4 },
	{ VU_DEVICE_GET_REGION_INFO, 1, 32, VU_SIZE, 16, 8 },
	{ VU_DEVICE_GET_REGION_INFO, 1, 32, VU_OFFSET, 24, 8 },
	{ VU_DEVICE_GET_IRQ_INFO, 0, 16, VU_INDEX, 8, 4 },
	{ VU_DEVICE_GET_IRQ_INFO, 1, 16, VU_COUNT, 12, 4 },
	{ VU_DEVICE_SET_IRQS, 0, 20, VU_START, 12, 4 },
	{ VU_DEVICE_SET_IRQS, 0, 20, VU_COUNT, 16, 4 },
	{ VU_DEVICE_SET_IRQS, 1, 0, 0, 0, 0 },
	{ VU_REGION_READ, 0, 16, VU_OFFSET, 0, 8 },
	{ VU_REGION_READ, 1, 16, VU_INDEX, 8, 4 },
	{ VU_REGION_WRITE, 0, 16, VU_COUNT, 12, 4 },
	{ VU_REGION_WRITE, 1, 16, VU_COUNT, 12, 4 },
	{ VU_DMA_READ, 0, 16, VU_ADDRESS, 0, 8 },
	{ VU_DMA_READ, 1, 16, VU_COUNT, 8, 8 },
	{ VU_DMA_WRITE, 0, 16, VU_COUNT, 8, 8 },
	{ VU_DMA_WRITE, 1, 16, VU_COUNT, 8, 8 },
	{ VU_DEVICE_RESET, 0, 0, 0, 0, 0 },
	{ VU_DEVICE_FEATURE, 0, 8, VU_ARGSZ, 0, 4 },
	{ VU_DEVICE_FEATURE, 1, 8, VU_FLAGS, 4, 4 },
	{ VU_MIG_DATA_READ, 0, 8, VU_SIZE, 4, 4 },
	{ VU_MIG_DATA_READ, 1, 8, VU_ARGSZ, 0, 4 },
	{ VU_MIG_DATA_WRITE, 0, 8, VU_SIZE, 4, 4 },
	{ VU_MIG_DATA_WRITE, 1, 0, 0, 0, 0 },
};

static void fields_lie_where_the_specification_has_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint8_t bytes[VU_FIXED_MAX] = { 0 };
		struct vu_body b = { .tail = NULL };
		uint64_t got = 0;

		b.v[places[i].field] = 0x1122334455667788;
		assert_int_equal(vu_fixed_size(places[i].command, places[i].reply), places[i].size);
		assert_int_equal(vu_body_encode(places[i].command, places[i].reply, &b, bytes),
				 places[i].size);
		if (!places[i].width)
			continue;
		memcpy(&got, bytes + places[i].at, places[i].width);
		assert_int_equal(got, places[i].width == 8   ? 0x1122334455667788ull
				      : places[i].width == 4 ? 0x55667788u
							     : 0x7788u);
		memset(bytes + places[i].at, 0, places[i].width);
		for (uint32_t k = 0; k < VU_FIXED_MAX; k++)
			assert_int_equal(bytes[k], 0);
	}
}

static int decode(uint16_t command, int reply, const uint8_t *bytes, size_t size,
		  const char **ret_field)
{
	struct vu_body b;

	return vu_body_decode(command, reply, bytes, size, &b, ret_field);
}

static void a_length_that_the_fields_do_not_tell_is_refused(void **state)
{
	static const struct {
		uint16_t command;
		int reply;
		uint32_t at; /* of the field that tells */
		const char *field;
	} told[] = {
		{ VU_REGION_READ, 1, 12, "count" },  { VU_REGION_WRITE, 0, 12, "count" },
		{ VU_DMA_READ, 1, 8, "count" },	     { VU_DMA_WRITE, 0, 8, "count" },
		{ VU_MIG_DATA_WRITE, 0, 4, "size" },
	};
	uint8_t bytes[VU_FIXED_MAX + 16];
	const char *field = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		size_t fixed = vu_fixed_size(told[i].command, told[i].reply);

		memset(bytes, 0, sizeof(bytes));
		vu_put32(bytes + told[i].at, 8);
		if (told[i].command == VU_MIG_DATA_WRITE)
			vu_put32(bytes, 16); /* argsz */
		assert_int_equal(decode(told[i].command, told[i].reply, bytes, fixed + 8, &field),
				 0);
		for (size_t n = 0; n <= 16; n++) {
			if (n == 8)
				continue;
			assert_int_equal(
				decode(told[i].command, told[i].reply, bytes, fixed + n, &field),
				-EINVAL);
			assert_string_equal(field, told[i].field);
		}
	}
	/* Of this one the length may be more: libvfio-user sends as much as was asked for. */
	memset(bytes, 0, sizeof(bytes));
	vu_put32(bytes, 16);
	vu_put32(bytes + 4, 8);
	assert_int_equal(decode(VU_MIG_DATA_READ, 1, bytes, 16, &field), 0);
	assert_int_equal(decode(VU_MIG_DATA_READ, 1, bytes, 24, &field), 0);
	assert_int_equal(decode(VU_MIG_DATA_READ, 1, bytes, 15, &field), -EINVAL);
	/* Nothing is left over. */
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(decode(VU_DEVICE_RESET, 0, bytes, 0, &field), 0);
	assert_int_equal(decode(VU_DEVICE_RESET, 0, bytes, 1, &field), -EINVAL);
	assert_int_equal(decode(VU_DMA_MAP, 0, bytes, 32, &field), 0);
	assert_int_equal(decode(VU_DMA_MAP, 0, bytes, 33, &field), -EINVAL);
	assert_int_equal(decode(VU_DMA_MAP, 0, bytes, 31, &field), -EINVAL);
	assert_string_equal(field, "size");
	assert_int_equal(decode(14, 0, bytes, 0, &field), -ENOTSUP);
	assert_int_equal(decode(UINT16_MAX, 1, bytes, 0, &field), -ENOTSUP);
}

static void capabilities_of_a_region_stay_inside(void **state)
{
	struct vu_region_caps caps = { .sparse = 1, .msix_mappable = 1, .area_count = 2 }, got;
	uint8_t tail[VU_CAPS_BYTES_MAX];
	const char *field = NULL;
	struct vu_body b = { .tail = tail };

	(void)state;
	caps.areas[0].offset = 0x1000;
	caps.areas[0].size = 0x2000;
	caps.areas[1].offset = 0x8000;
	caps.areas[1].size = 0x1000;
	b.tail_size = vu_caps_encode(&caps, tail);
	b.v[VU_CAP_OFFSET] = 32;
	assert_int_equal(b.tail_size, 16 + 32 + 8);
	assert_int_equal(vu_caps_decode(&b, &got, &field), 0);
	assert_memory_equal(&got, &caps, sizeof(caps));
	for (uint64_t at = 1; at < 200; at++) { /* only these two begin one */
		b.v[VU_CAP_OFFSET] = at;
		if (at < 32 || at > 32 + b.tail_size - 8)
			assert_int_equal(vu_caps_decode(&b, &got, &field), -EPROTO);
	}
	b.v[VU_CAP_OFFSET] = UINT32_MAX;
	assert_int_equal(vu_caps_decode(&b, &got, &field), -EPROTO);
	b.v[VU_CAP_OFFSET] = 32;
	vu_put32(tail + 4, 32); /* around and around */
	assert_int_equal(vu_caps_decode(&b, &got, &field), -EPROTO);
	assert_string_equal(field, "next");
	vu_put32(tail + 4, 0);
	vu_put32(tail + 8, 4); /* more areas than there is room */
	assert_int_equal(vu_caps_decode(&b, &got, &field), -EPROTO);
	assert_string_equal(field, "nr_areas");
	vu_put32(tail + 8, UINT32_MAX);
	assert_int_equal(vu_caps_decode(&b, &got, &field), -EPROTO);
	b.v[VU_CAP_OFFSET] = 0; /* none */
	assert_int_equal(vu_caps_decode(&b, &got, &field), 0);
	assert_int_equal(got.area_count + got.sparse + got.msix_mappable, 0);
}

static int version(const char *text, struct vu_caps *ret_caps)
{
	const char *field = NULL;

	return vu_version_decode(text, text ? strlen(text) + 1 : 0, ret_caps, &field);
}

static void what_a_version_does_not_say_is_as_the_specification_has_it(void **state)
{
	static const char *const empty[] = { NULL, "", "{}", "{\"capabilities\":{}}",
					     "{\"x\":1,\"capabilities\":{\"y\":{}}}" };
	struct vu_caps caps, again;
	char text[VU_VERSION_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
		assert_int_equal(version(empty[i], &caps), 0);
		assert_int_equal(caps.max_msg_fds, 1);
		assert_int_equal(caps.max_data_xfer_size, 1048576);
		assert_int_equal(caps.max_dma_maps, 65535);
		assert_int_equal(caps.pgsizes, 4096);
		assert_int_equal(caps.twin_supported + caps.dma_p2p + caps.precopy_info, 0);
	}
	assert_int_equal(version("{\"capabilities\":{\"max_data_xfer_size\":4095}}", &caps),
			 -EPROTO);
	assert_int_equal(version("{\"capabilities\":{\"max_data_xfer_size\":4096}}", &caps), 0);
	assert_int_equal(version("{\"capabilities\":{\"max_data_xfer_size\":999999999999}}", &caps),
			 0);
	assert_int_equal(caps.max_data_xfer_size, VU_XFER_MAX);
	assert_int_equal(version("{\"capabilities\":{\"max_msg_fds\":0}}", &caps), 0);
	assert_int_equal(caps.max_msg_fds, 0);
	caps.twin_supported = caps.has_twin_fd = caps.dma_p2p = 1;
	caps.twin_fd_index = 3;
	memcpy(caps.compat, "sim-1/a/4096", 13);
	assert_true(vu_version_encode(&caps, text, sizeof(text)) > 0);
	assert_int_equal(version(text, &again), 0);
	assert_memory_equal(&again, &caps, sizeof(caps));
	assert_int_equal(vu_version_encode(&caps, text, 40), -ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_lie_where_the_specification_has_them),
		cmocka_unit_test(a_length_that_the_fields_do_not_tell_is_refused),
		cmocka_unit_test(capabilities_of_a_region_stay_inside),
		cmocka_unit_test(what_a_version_does_not_say_is_as_the_specification_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
