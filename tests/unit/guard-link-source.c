/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The link between guards: its source, and a target that is made by hand, frame by frame: what it
 * shows, what it does not take, and from where it goes on.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "guard-link-world.h"

static struct world world;

static int listen_fd;

static void source_alone(char uri[256])
{
	world_prepare(&world);
	listen_fd = tcp_listen(uri);
	world.source_config.uri = uri;
	world.source_config.connections = 1;
	world_start_source(&world);
}

/* Accepts the source, and says WELCOME and, if it shall, READY. */
static int welcome_source(struct link_frame *ret_hello, bool ready)
{
	const struct link_frame mine = { .type = LINK_FRAME_READY };
	struct link_frame frame;
	int fd = accept_patiently(listen_fd);

	hear_frame(fd, LINK_FRAME_HELLO, ret_hello);
	frame = welcome(ret_hello->attempt);
	say_frame(fd, &frame);
	if (!ready)
		return fd;
	say_frame(fd, &mine);
	hear_frame(fd, LINK_FRAME_READY, &frame);
	return fd;
}

static void dies_saying(const char *why)
{
	const struct told *told = teller_wait(&world.source_told, LINK_DEAD, 0);

	if (!strstr(told->text, why))
		fail_msg("\"%s\" has no \"%s\"", told->text, why);
}

static void source_ends(int fd)
{
	(void)close(fd);
	(void)close(listen_fd);
	world_end(&world);
}

static void a_source_shows_the_token_that_it_was_given(void **state)
{
	struct link_frame first, second;
	uint8_t zero[LINK_SECRET] = { 0 }, nine[LINK_SECRET];
	char uri[256];
	int fd;

	(void)state;
	source_alone(uri);
	fd = welcome_source(&first, true);
	assert_memory_equal(first.token, zero, LINK_SECRET);
	assert_memory_not_equal(first.source, zero, LINK_SECRET);
	(void)close(fd);
	fd = welcome_source(&second, true);
	memset(nine, 9, sizeof(nine));
	assert_memory_equal(second.token, nine, LINK_SECRET);
	assert_true(second.attempt > first.attempt);
	source_ends(fd);
}

static void a_source_that_is_turned_away_is_dead_with_the_reason(void **state)
{
	struct link_frame frame,
		over = { .type = LINK_FRAME_OVER, .code = HF_E_VERSION, .text = "another version" };
	char uri[256];
	int fd;

	(void)state;
	source_alone(uri);
	fd = accept_patiently(listen_fd);
	hear_frame(fd, LINK_FRAME_HELLO, &frame);
	say_frame(fd, &over);
	dies_saying("the peer: another version");
	source_ends(fd);
}

static void a_source_does_not_take_what_a_target_may_not_say(void **state)
{
	static const struct {
		const char *why;
		struct link_frame frames[3];
	} cases[] = {
		{ "OPEN of stream 0, out of order", { HAND_OPEN(0) } },
		{ "DATA of stream 0, which is not open", { HAND_DATA(0, 1) } },
		{ "WELCOME out of turn",
		  { { .type = LINK_FRAME_WELCOME, .silence_ms = 60000, .window = HAND_WINDOW } } },
	};
	struct link_frame frame;
	char uri[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd;

		source_alone(uri);
		fd = welcome_source(&frame, true);
		say_frame(fd, &cases[i].frames[0]);
		dies_saying(cases[i].why);
		source_ends(fd);
	}
}

static void a_welcome_that_answers_another_greeting_is_a_breach(void **state)
{
	struct link_frame frame, first;
	char uri[256];
	int fd;

	(void)state;
	source_alone(uri);
	fd = accept_patiently(listen_fd);
	hear_frame(fd, LINK_FRAME_HELLO, &first);
	frame = welcome(first.attempt + 1);
	say_frame(fd, &frame);
	dies_saying("WELCOME to another connection");
	source_ends(fd);

	source_alone(uri);
	fd = welcome_source(&first, true);
	(void)close(fd);
	fd = accept_patiently(listen_fd);
	hear_frame(fd, LINK_FRAME_HELLO, &first);
	frame = welcome(first.attempt);
	frame.token[0] = 8;
	say_frame(fd, &frame);
	dies_saying("WELCOME with another token");
	source_ends(fd);
}

/* A stream that has carried "question" to this target, which has written it. */
static int stream_up(int *ret_near, bool states)
{
	struct link_frame frame;
	const struct link_frame state = HAND_STATE(8, 8);
	int fd = welcome_source(&frame, true);

	*ret_near = world_connect(&world, LINK_QEMU);
	say(*ret_near, "question", 8);
	hear_frame(fd, LINK_FRAME_OPEN, &frame);
	hear_frame(fd, LINK_FRAME_DATA, &frame);
	assert_int_equal(frame.payload, 8);
	hear(fd, "question", 8);
	if (states)
		say_frame(fd, &state);
	return fd;
}

static void after_a_reconnection_what_was_confirmed_cannot_be_forgotten(void **state)
{
	static const struct {
		const char *why;
		struct link_frame frame;
	} cases[] = {
		{ "STATE of stream 0: less written than before", HAND_STATE(8, 7) },
		{ "STATE of stream 0: more received than was sent", HAND_STATE(9, 8) },
		{ "a stream was forgotten", { .type = LINK_FRAME_READY } },
	};
	struct link_frame frame, data = HAND_DATA(0, 1);
	char uri[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int near, fd;

		source_alone(uri);
		fd = stream_up(&near, true);
		say_frame(fd, &data); /* behind it: STATE was looked at when this has arrived */
		say(fd, "!", 1);
		hear(near, "!", 1);
		(void)close(fd);
		fd = welcome_source(&frame, false);
		say_frame(fd, &cases[i].frame);
		dies_saying(cases[i].why);
		(void)close(near);
		source_ends(fd);
	}
}

static void after_a_reconnection_octets_come_again_from_where_the_target_says(void **state)
{
	const struct link_frame ready = { .type = LINK_FRAME_READY };
	const struct link_frame received = HAND_STATE(5, 0);
	struct link_frame frame;
	char uri[256];
	int near, fd;

	(void)state;
	source_alone(uri);
	fd = stream_up(&near, false);
	(void)close(fd);
	fd = welcome_source(&frame, false); /* it had five of them */
	say_frame(fd, &received);
	say_frame(fd, &ready);
	hear_frame(fd, LINK_FRAME_STATE, &frame);
	hear_frame(fd, LINK_FRAME_READY, &frame);
	hear_frame(fd, LINK_FRAME_DATA, &frame);
	assert_int_equal(frame.offset, 5);
	assert_int_equal(frame.payload, 3);
	hear(fd, "ion", 3);
	(void)close(fd);
	fd = welcome_source(&frame, false); /* it has never heard of it */
	say_frame(fd, &ready);
	hear_frame(fd, LINK_FRAME_READY, &frame);
	hear_frame(fd, LINK_FRAME_OPEN, &frame);
	hear_frame(fd, LINK_FRAME_DATA, &frame);
	assert_int_equal(frame.offset, 0);
	hear(fd, "question", 8);
	(void)close(near);
	source_ends(fd);
}

static void a_small_window_of_the_peer_is_kept(void **state)
{
	struct link_frame frame;
	const struct link_frame more = HAND_STATE(HAND_WINDOW, 1000);
	static uint8_t bytes[2 * HAND_WINDOW];
	uint32_t total = 0;
	char uri[256];
	int near, fd;

	(void)state;
	source_alone(uri);
	fd = welcome_source(&frame, true);
	near = world_connect(&world, LINK_QEMU);
	say(near, bytes, sizeof(bytes));
	hear_frame(fd, LINK_FRAME_OPEN, &frame);
	while (total < HAND_WINDOW) {
		hear_frame(fd, LINK_FRAME_DATA, &frame);
		assert_int_equal(recv(fd, bytes, frame.payload, MSG_WAITALL), frame.payload);
		total += frame.payload;
	}
	assert_int_equal(total, HAND_WINDOW);
	say_frame(fd, &more);
	while (total < HAND_WINDOW + 1000) {
		hear_frame(fd, LINK_FRAME_DATA, &frame);
		assert_int_equal(recv(fd, bytes, frame.payload, MSG_WAITALL), frame.payload);
		total += frame.payload;
	}
	assert_int_equal(total, HAND_WINDOW + 1000);
	assert_true(is_quiet(fd));
	(void)close(near);
	source_ends(fd);
}

/* ---- anything ------------------------------------------------------------------------------ */

/* What it says on the source's next connection, if there is one. */
static int anything_again(uint64_t *seed)
{
	struct pollfd poll_fd = { .fd = listen_fd, .events = POLLIN };
	const struct link_frame frame = welcome(2);
	uint8_t bytes[LINK_FRAME_MAX];
	size_t size = link_frame_encode(&frame, bytes);
	int fd;

	if (teller_count(&world.source_told, LINK_DEAD) || poll(&poll_fd, 1, 20) != 1)
		return -1;
	fd = accept_patiently(listen_fd);
	if (send(fd, bytes, size, MSG_NOSIGNAL) > 0)
		for (int i = 0; i < 20 && say_anything(fd, seed); i++)
			;
	return fd;
}

static void any_frames_of_a_target_trip_nothing(void **state)
{
	uint32_t dead = 0;
	char uri[256];

	(void)state;
	for (uint64_t i = 1; i <= 300; i++) {
		uint64_t seed = i * 0xbf58476d1ce4e5b9ull;
		struct link_frame frame;
		int fd, near;

		source_alone(uri);
		if (i % 4) {
			fd = stream_up(&near, i % 2);
		} else {
			near = world_connect(&world, LINK_QEMU);
			fd = welcome_source(&frame, false);
		}
		for (int j = 0; j < 20 && say_anything(fd, &seed); j++)
			;
		if (i % 3 == 0) {
			(void)close(fd);
			fd = anything_again(&seed);
		}
		(void)poll(NULL, 0, 1); /* it may come to something */
		dead += teller_count(&world.source_told, LINK_DEAD);
		(void)close(near);
		if (fd >= 0)
			(void)close(fd);
		(void)close(listen_fd);
		world_end(&world);
	}
	assert_true(dead > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_shows_the_token_that_it_was_given),
		cmocka_unit_test(a_source_that_is_turned_away_is_dead_with_the_reason),
		cmocka_unit_test(a_source_does_not_take_what_a_target_may_not_say),
		cmocka_unit_test(a_welcome_that_answers_another_greeting_is_a_breach),
		cmocka_unit_test(after_a_reconnection_what_was_confirmed_cannot_be_forgotten),
		cmocka_unit_test(after_a_reconnection_octets_come_again_from_where_the_target_says),
		cmocka_unit_test(a_small_window_of_the_peer_is_kept),
		cmocka_unit_test(any_frames_of_a_target_trip_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
