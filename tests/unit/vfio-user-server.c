/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server of devices against clients that are wrong, hostile, slow or gone: each gets an error
 * or is cut off with a reason that names what it did, and the next client finds a server that
 * works.
 */
#include <holdfast/sim.h>

#include "vfio-user-raw.h"

/* ---- framing --------------------------------------------------------------------------------- */

static void messages_come_in_any_pieces(void **state)
{
	struct fixture *f = *state;
	struct vu_body info = { .tail = NULL }, region = { .tail = NULL };
	uint8_t bytes[128];
	size_t first, both;

	info.v[VU_ARGSZ] = 16;
	region.v[VU_ARGSZ] = 32;
	first = peer_make(bytes, 1, VU_DEVICE_GET_INFO, 0, &info);
	both = first + peer_make(bytes + first, 2, VU_DEVICE_GET_REGION_INFO, 0, &region);
	for (size_t at = 0; at <= both; at++) {
		peer_send_bytes(f->s, bytes, at, NULL, 0);
		peer_send_bytes(f->s, bytes + at, both - at, NULL, 0);
		for (uint16_t id = 1; id <= 2; id++) {
			assert_int_equal(peer_recv(f->s, &f->m), 0);
			assert_int_equal(f->m.header.id, id);
			assert_int_equal(f->m.header.flags, VU_TYPE_REPLY);
			vu_fds_close(&f->m.fds);
		}
	}
	for (size_t at = 0; at < both; at++)
		peer_send_bytes(f->s, bytes + at, 1, NULL, 0);
	assert_int_equal(peer_recv(f->s, &f->m), 0);
	assert_int_equal(peer_recv(f->s, &f->m), 0);
	still_serves(f);
}

static void a_header_that_cannot_be_ends_the_connection(void **state)
{
	static const struct {
		uint32_t size, flags, error;
		const char *words;
	} headers[] = {
		{ 15, 0, 0, "DEVICE_GET_INFO, field size" },
		{ 0, 0, 0, "field size" },
		{ UINT32_MAX, 0, 0, "field size" },
		{ VU_SIZE_MAX(VU_XFER_DEFAULT) + 1, 0, 0, "field size" },
		{ 16, 2, 0, "field flags" },
		{ 16, 15, 0, "field flags" },
		{ 16, 0x40, 0, "field flags" },
		{ 16, 0x80000000, 0, "field flags" },
		{ 16, VU_ERROR, 5, "field flags" },
		{ 32, VU_TYPE_REPLY | VU_ERROR, 5, "field size" },
		{ 16, VU_TYPE_REPLY, 0, "a reply to no request (DEVICE_GET_INFO, id 7)" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		struct vu_header h = { .id = 7,
				       .command = VU_DEVICE_GET_INFO,
				       .size = headers[i].size,
				       .flags = headers[i].flags,
				       .error = headers[i].error };
		uint8_t bytes[VU_HEADER_BYTES];

		vu_header_encode(&h, bytes);
		peer_send_bytes(f->s, bytes, sizeof(bytes), NULL, 0);
		was_cut_off(f, headers[i].words);
		still_serves(f);
	}
}

static void who_leaves_in_the_middle_of_a_message_harms_nobody(void **state)
{
	struct fixture *f = *state;
	struct vu_body b = { .tail = NULL };
	uint8_t bytes[64];
	size_t size;

	b.v[VU_ARGSZ] = 32;
	b.v[VU_FLAGS] = VU_DMA_READ_FLAG;
	b.v[VU_ADDRESS] = RAM_IOVA;
	b.v[VU_SIZE] = RAM_SIZE;
	size = peer_make(bytes, 1, VU_DMA_MAP, 0, &b);
	for (size_t at = 0; at <= size; at++) {
		peer_send_bytes(f->s, bytes, at, NULL, 0);
		leave(f);
		if (at > VU_HEADER_BYTES && at < size)
			assert_non_null(strstr(f->served.why, "in the middle of DMA_MAP"));
		join(f);
	}
	/* The whole one mapped it; that went with the client. */
	assert_int_equal(ask(f, VU_DMA_MAP, b), 0);
}

/* ---- the version ----------------------------------------------------------------------------- */

static void a_version_is_agreed_upon(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(peer_version(f->s, &f->m, 2, NULL), -EINVAL); /* once */
	leave(f);
	f->s = peer_dial(f->served.path);
	assert_int_equal(peer_version(f->s, &f->m, 0, NULL), 0);
	assert_int_equal(f->m.body.v[VU_MINOR], 0);
	leave(f);
	f->s = peer_dial(f->served.path);
	assert_int_equal(peer_version(f->s, &f->m, 9, "{}"), 0);
	assert_int_equal(f->m.body.v[VU_MINOR], VU_MINOR_SPOKEN);
	leave(f);
	f->s = peer_dial(f->served.path);
	assert_int_equal(
		peer_version(f->s, &f->m, 1, "{\"capabilities\":{\"new\":[1],\"max_msg_fds\":1}}"),
		0);
	still_serves(f);
}

static void a_version_that_makes_no_sense_is_refused(void **state)
{
	static const char *const texts[] = {
		"{",
		"[]",
		"{\"capabilities\":3}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_msg_fds\":\"2\"}}",
		"{\"capabilities\":{\"max_data_xfer_size\":0}}",
		"{\"capabilities\":{\"pgsizes\":8192}}",
		"{\"capabilities\":{\"twin_socket\":true}}",
		"{\"capabilities\":{\"holdfast\":{\"dma_p2p\":1}}}",
	};
	struct fixture *f = *state;
	struct vu_body b = { .tail = NULL };
	char *giant = malloc(VU_VERSION_TEXT_MAX * 2);

	leave(f);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		f->s = peer_dial(f->served.path);
		if (peer_version(f->s, &f->m, 2, texts[i]) != -EINVAL)
			fail_msg("%s", texts[i]);
		leave(f);
		assert_non_null(
			strstr(f->served.why, "the client's first message (VERSION, field"));
	}
	assert_non_null(giant);
	memset(giant, ' ', VU_VERSION_TEXT_MAX * 2);
	giant[VU_VERSION_TEXT_MAX * 2 - 1] = 0;
	f->s = peer_dial(f->served.path);
	assert_int_equal(peer_version(f->s, &f->m, 2, giant), -EINVAL);
	leave(f);
	free(giant);

	b.v[VU_MAJOR] = 1;
	f->s = peer_dial(f->served.path);
	assert_int_equal(ask(f, VU_VERSION, b), -EINVAL);
	leave(f);
	assert_non_null(strstr(f->served.why, "field major"));

	b = (struct vu_body){ .tail = (const uint8_t *)"{}", .tail_size = 2 }; /* without its NUL */
	f->s = peer_dial(f->served.path);
	assert_int_equal(ask(f, VU_VERSION, b), -EINVAL);
	leave(f);

	b = (struct vu_body){ .tail = NULL };
	b.v[VU_ARGSZ] = 16;
	f->s = peer_dial(f->served.path);
	assert_int_equal(ask(f, VU_DEVICE_GET_INFO, b), -EINVAL);
	leave(f);
	assert_non_null(strstr(f->served.why, "first message (DEVICE_GET_INFO"));
	join(f);
}

static void a_second_client_is_told_that_it_is_one(void **state)
{
	struct fixture *f = *state;
	int second = peer_dial(f->served.path);

	assert_int_equal(peer_version(second, &f->m, 2, NULL), -EBUSY);
	assert_int_equal(peer_recv(second, &f->m), 1);
	(void)close(second);
	still_serves(f);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static void a_body_that_is_short_or_long_is_refused_and_nothing_else(void **state)
{
	struct fixture *f = *state;

	for (uint16_t command = 2; command <= 20; command++) {
		size_t fixed = vu_fixed_size(command, 0);
		uint8_t bytes[VU_HEADER_BYTES + 64] = { 0 };

		for (uint32_t size = 0; size < fixed; size++) {
			struct vu_header h = { .id = 1,
					       .command = command,
					       .size = VU_HEADER_BYTES + size };

			vu_header_encode(&h, bytes);
			peer_send_bytes(f->s, bytes, h.size, NULL, 0);
			assert_int_equal(peer_recv(f->s, &f->m), 0);
			assert_int_equal(f->m.header.flags, VU_TYPE_REPLY | VU_ERROR);
			assert_int_equal(f->m.header.error, EINVAL);
		}
	}
	still_serves(f);
}

static void commands_that_are_none_are_refused(void **state)
{
	static const uint16_t none[] = { 0, 1, 6, 11, 12, 14, 15, 19, 255, 256, 65535 };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		struct vu_header h = { .id = 1, .command = none[i], .size = VU_HEADER_BYTES };
		uint8_t bytes[VU_HEADER_BYTES];

		vu_header_encode(&h, bytes);
		peer_send_bytes(f->s, bytes, h.size, NULL, 0);
		assert_int_equal(peer_recv(f->s, &f->m), 0);
		assert_int_equal(f->m.header.error, EINVAL);
	}
	still_serves(f);
}

static void accesses_outside_of_regions_are_refused(void **state)
{
	static const uint8_t data[64];
	struct fixture *f = *state;

	assert_int_equal(ask(f, VU_REGION_READ, access_body(7, 0, 256, NULL, 0)), 0);
	assert_int_equal(ask(f, VU_REGION_READ, access_body(7, 0, 257, NULL, 0)), -EINVAL);
	assert_int_equal(ask(f, VU_REGION_READ, access_body(7, UINT64_MAX, 4, NULL, 0)), -EINVAL);
	assert_int_equal(ask(f, VU_REGION_READ, access_body(0, 4096, 4, NULL, 0)), -EINVAL);
	assert_int_equal(ask(f, VU_REGION_READ, access_body(0, 0, 0, NULL, 0)), -EINVAL);
	assert_int_equal(ask(f, VU_REGION_READ, access_body(99, 0, 4, NULL, 0)), -EINVAL);
	assert_int_equal(ask(f, VU_REGION_READ, access_body(0, 0, UINT32_MAX, NULL, 0)), -EINVAL);
	assert_int_equal(ask(f, VU_REGION_WRITE, access_body(0, 0, 8, data, 4)), -EINVAL);
	assert_int_equal(ask(f, VU_REGION_WRITE, access_body(0, 0, 4, data, 8)), -EINVAL);
	assert_int_equal(ask(f, VU_REGION_WRITE, access_body(0, 0, 0, NULL, 0)), -EINVAL);
	assert_int_equal(ask(f, VU_REGION_WRITE, access_body(0, HF_SIM_SRC, 8, data, 8)), 0);
	still_serves(f);
}

static void replies_are_echoed_and_not_sent_when_nobody_wants_them(void **state)
{
	struct fixture *f = *state;
	struct vu_body b = access_body(7, 0, 4, NULL, 0);

	for (uint16_t id = 0; id < 100;
	     id++) /* the same one several times is the sender's matter */
		peer_send(f->s, id % 10, VU_REGION_READ, id % 3 == 1 ? VU_NO_REPLY : 0, &b, NULL,
			  0);
	for (uint16_t id = 0; id < 100; id++) {
		if (id % 3 == 1)
			continue;
		assert_int_equal(peer_recv(f->s, &f->m), 0);
		assert_int_equal(f->m.header.id, id % 10);
		assert_int_equal(f->m.body.tail_size, 4);
	}
	b.v[VU_COUNT] = 0; /* nor is the error of one */
	peer_send(f->s, 1, VU_REGION_READ, VU_NO_REPLY, &b, NULL, 0);
	still_serves(f);
}

/* ---- requests of the device ------------------------------------------------------------------ */

/* Let the device read memory that only messages reach: its request is in f->m. */
static void provoke(struct fixture *f)
{
	uint64_t dst = RAM_IOVA;
	uint32_t length = 4096, command = HF_SIM_CMD_SUM;

	if (map(f, map_body(3, 0, RAM_IOVA, RAM_SIZE), NULL, 0) < 0)
		fail_msg("no map");
	assert_int_equal(ask(f, VU_REGION_WRITE, access_body(0, HF_SIM_SRC, 8, (uint8_t *)&dst, 8)),
			 0);
	assert_int_equal(
		ask(f, VU_REGION_WRITE, access_body(0, HF_SIM_LENGTH, 4, (uint8_t *)&length, 4)),
		0);
	peer_send(f->s, 1, VU_REGION_WRITE, VU_NO_REPLY,
		  &(struct vu_body){ .v = { [VU_OFFSET] = HF_SIM_COMMAND, [VU_COUNT] = 4 },
				     .tail = (const uint8_t *)&command,
				     .tail_size = 4 },
		  NULL, 0);
	assert_int_equal(peer_recv(f->s, &f->m), 0);
	assert_int_equal(f->m.header.command, VU_DMA_READ);
	assert_int_equal(f->m.body.v[VU_ADDRESS], RAM_IOVA);
}

static void an_answer_that_is_wrong_ends_the_connection(void **state)
{
	static const uint8_t data[8192];
	static const struct {
		uint64_t count;
		size_t size;
		uint16_t id;
		const char *words;
	} answers[] = {
		{ 4096, 4095, 0, "reply to DMA_READ (field count)" },
		{ 1, 1, 0, "reply to DMA_READ (field count)" },
		{ 0, 0, 0, "reply to DMA_READ (field count)" },
		{ UINT64_MAX, 4096, 0, "reply to DMA_READ (field count)" },
		{ 4097, 4097, 0, "too long" },
		{ 4096, 4096, 1, "a reply to no request" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct vu_body b = { .tail = data, .tail_size = answers[i].size };

		provoke(f);
		b.v[VU_ADDRESS] = RAM_IOVA;
		b.v[VU_COUNT] = answers[i].count;
		peer_send(f->s, (uint16_t)(f->m.header.id + answers[i].id), VU_DMA_READ,
			  VU_TYPE_REPLY, &b, NULL, 0);
		was_cut_off(f, answers[i].words);
		assert_int_equal(ask(f, VU_DEVICE_RESET, (struct vu_body){ .tail = NULL }), 0);
	}
}

static void who_leaves_instead_of_answering_keeps_nobody_waiting(void **state)
{
	struct fixture *f = *state;

	provoke(f);
	leave(f);
	join(f);
	assert_int_equal(ask(f, VU_REGION_READ, access_body(0, HF_SIM_ERRORS, 8, NULL, 0)), 0);
	assert_int_equal(f->m.body.tail[0], 1); /* for the device it was memory that is not there */
}

static void who_floods_us_instead_of_answering_is_cut_off(void **state)
{
	struct fixture *f = *state;
	struct vu_body b = access_body(7, 0, 4, NULL, 0);
	uint8_t bytes[64];
	size_t size = peer_make(bytes, 1, VU_REGION_READ, VU_NO_REPLY, &b);

	provoke(f);
	for (int i = 0; i < 10000; i++) {
		struct iovec iov = { bytes, size };

		if (vu_send(f->s, &iov, 1, NULL, 0, peer_deadline()) < 0)
			break;
	}
	was_cut_off(f, "and did not answer ours");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(messages_come_in_any_pieces),
		TEST(a_header_that_cannot_be_ends_the_connection),
		TEST(who_leaves_in_the_middle_of_a_message_harms_nobody),
		TEST(a_version_is_agreed_upon),
		TEST(a_version_that_makes_no_sense_is_refused),
		TEST(a_second_client_is_told_that_it_is_one),
		TEST(a_body_that_is_short_or_long_is_refused_and_nothing_else),
		TEST(commands_that_are_none_are_refused),
		TEST(accesses_outside_of_regions_are_refused),
		TEST(replies_are_echoed_and_not_sent_when_nobody_wants_them),
		TEST(an_answer_that_is_wrong_ends_the_connection),
		TEST(who_leaves_instead_of_answering_keeps_nobody_waiting),
		TEST(who_floods_us_instead_of_answering_is_cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
