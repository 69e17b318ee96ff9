/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The link between guards: its target, and a source that is made by hand, frame by frame:
 * strangers, wrong tokens and versions, and each rule of docs/guard-link.md broken once. Who breaks
 * one is told which.
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

/* Says it on a connection of its own; expects to be turned away with a text that has `why`. */
static void turned_away(const struct link_frame *first, const char *why)
{
	int fd = tcp_connect(world.uri);
	struct link_frame over;

	say_frame(fd, first);
	hear_frame(fd, LINK_FRAME_OVER, &over);
	if (!strstr(over.text, why))
		fail_msg("\"%s\" has no \"%s\"", over.text, why);
	hear_end(fd);
	(void)close(fd);
}

/* A source by hand, as far as the target's READY; then it is UP when `ready`. */
static int greet(struct link_frame *ret_welcome, bool ready)
{
	const struct link_frame first = hello(1, 0), mine = { .type = LINK_FRAME_READY };
	struct link_frame frame;
	int fd = tcp_connect(world.uri);

	say_frame(fd, &first);
	hear_frame(fd, LINK_FRAME_WELCOME, ret_welcome);
	hear_frame(fd, LINK_FRAME_READY, &frame);
	if (ready)
		say_frame(fd, &mine);
	return fd;
}

static void target_alone(void)
{
	world_prepare(&world);
	world.target_config.window = HAND_WINDOW;
	world_start_target(&world);
}

/* ---- strangers ----------------------------------------------------------------------------- */

static void strangers_are_refused_and_change_nothing(void **state)
{
	struct link_frame frame;
	int near, far, silent[40];

	(void)state;
	world_prepare(&world);
	world_start(&world);
	(void)teller_wait(&world.source_told, LINK_UP, 0);
	frame = hello(2, 0);
	turned_away(&frame, "there is a source already");
	memset(frame.token, 1, sizeof(frame.token));
	turned_away(&frame, "a wrong token");
	frame = (struct link_frame){ .type = LINK_FRAME_READY };
	turned_away(&frame, "the first frame is HELLO");
	for (int i = 0; i < 40; i++) { /* more than are waited for: the oldest ones go */
		silent[i] = tcp_connect(world.uri);
		if (i % 2)
			say(silent[i], "\1\0\0\0", 4);
	}
	hear_end(silent[0]);
	near = world_connect(&world, LINK_QEMU);
	say(near, "!", 1);
	far = world_accept(&world, LINK_QEMU);
	hear(far, "!", 1);
	for (int i = 0; i < 40; i++)
		(void)close(silent[i]);
	assert_int_equal(teller_count(&world.target_told, LINK_LOST), 0);
	assert_int_equal(teller_count(&world.target_told, LINK_DEAD), 0);
	(void)close(near);
	(void)close(far);
	world_end(&world);
}

static void who_speaks_another_language_is_refused_and_changes_nothing(void **state)
{
	static const struct {
		const char *bytes, *why;
		size_t size;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n\r\n", "unknown type", 18 },
		{ "\1\0\0\0\100\0\0\0HFGUARD\n\2\0\0\0", "version 2 of the link, here it is 1",
		  20 },
		{ "\1\0\0\0\200\0\0\0HFGUARD\n\3\0\0\0", "version 3 of the link", 20 },
		{ "\1\0\0\0\100\0\0\0HFguard\n\1\0\0\0", "not the greeting", 20 },
		{ "\1\0\0\0\101\0\0\0HFGUARD\n\1\0\0\0", "a length of 65", 20 },
		{ "\6\0\0\0\377\377\377\377", "DATA: a length of 4294967295", 8 },
		{ "\0\0\0\0\0\0\0\0", "unknown type 0", 8 },
	};
	struct link_frame frame;
	int near, far;

	(void)state;
	world_prepare(&world);
	world_start_target(&world);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = tcp_connect(world.uri);

		say(fd, cases[i].bytes, cases[i].size);
		hear_frame(fd, LINK_FRAME_OVER, &frame);
		if (!strstr(frame.text, cases[i].why))
			fail_msg("\"%s\" has no \"%s\"", frame.text, cases[i].why);
		(void)close(fd);
	}
	frame = hello(2, 1);
	turned_away(&frame, "the first connection is number 0");
	frame = hello(1, 0);
	memset(frame.token, 5, sizeof(frame.token));
	turned_away(&frame, "was the target started anew?");
	frame = hello(1, 0);
	memset(frame.source, 0, sizeof(frame.source));
	turned_away(&frame, "with a secret of its own");
	world_start_source(&world);
	near = world_connect(&world, LINK_QEMU);
	say(near, "!", 1);
	far = world_accept(&world, LINK_QEMU);
	hear(far, "!", 1);
	(void)close(near);
	(void)close(far);
	world_end(&world);
}

static void the_first_source_may_ask_again_until_it_has_shown_its_token(void **state)
{
	struct link_frame welcome, again, frame;
	int a, b, c;

	(void)state;
	target_alone();
	a = greet(&welcome, false);
	frame = hello(1, 0);
	frame.attempt = 2;
	b = tcp_connect(world.uri);
	say_frame(b, &frame);
	hear_frame(b, LINK_FRAME_WELCOME, &again);
	assert_memory_equal(welcome.token, again.token, LINK_SECRET);
	assert_int_equal(again.attempt, 2);
	memset(frame.source, 8, sizeof(frame.source));
	turned_away(&frame, "there is a source already");
	frame = hello(2, 0);
	memcpy(frame.token, welcome.token, LINK_SECRET);
	turned_away(&frame, "another number of connections");
	frame = hello(1, 0);
	memcpy(frame.token, welcome.token, LINK_SECRET);
	frame.attempt = 3;
	c = tcp_connect(world.uri);
	say_frame(c, &frame);
	hear_frame(c, LINK_FRAME_WELCOME, &again);
	frame = hello(1, 0);
	frame.attempt = 4;
	turned_away(&frame, "there is a source already");
	/* One that was overtaken on its way. */
	memcpy(frame.token, welcome.token, LINK_SECRET);
	frame.attempt = 3;
	(void)close(a);
	a = tcp_connect(world.uri);
	say_frame(a, &frame);
	hear_end(a);
	(void)close(a);
	(void)close(b);
	(void)close(c);
	world_end(&world);
}

/* ---- breaches ------------------------------------------------------------------------------ */

struct breach {
	const char *why;
	bool early; /* before READY */
	const char *bytes; /* or, NULL, these frames: */
	size_t size;
	struct link_frame frames[3];
};

/* clang-format off */
static const struct breach breaches[] = {
	{ .why = "unknown type 10", .bytes = "\12\0\0\0\0\0\0\0", .size = 8 },
	{ .why = "READY: a length of 1", .bytes = "\4\0\0\0\1\0\0\0", .size = 8 },
	{ .why = "OPEN: a length of 9", .bytes = "\5\0\0\0\11\0\0\0", .size = 8 },
	{ .why = "DATA: a length of 16", .bytes = "\6\0\0\0\20\0\0\0", .size = 8 },
	{ .why = "DATA: a length of 262161", .bytes = "\6\0\0\0\21\0\4\0", .size = 8 },
	{ .why = "FIN: a length of 16", .bytes = "\7\0\0\0\20\0\0\0", .size = 8 },
	{ .why = "STATE: a length of 4", .bytes = "\10\0\0\0\4\0\0\0", .size = 8 },
	{ .why = "BEAT: a length of 8", .bytes = "\11\0\0\0\10\0\0\0", .size = 8 },
	{ .why = "OVER: code 0, or no text", .bytes = "\3\0\0\0\200\0\0\0"
	  "\0\0\0\0\0\0\0\0................................................................"
	  "........................................................", .size = 136 },
	{ .why = "OPEN: a stream of kind 3", .bytes = "\5\0\0\0\10\0\0\0\3\0\0\0\0\0\0\0", .size = 16 },
	{ .why = "OPEN: a stream of kind 0", .bytes = "\5\0\0\0\10\0\0\0\0\0\0\0\0\0\0\0", .size = 16 },
	{ .why = "OPEN: stream number 4096", .bytes = "\5\0\0\0\10\0\0\0\2\0\0\0\0\20\0\0", .size = 16 },
	{ .why = "FIN: flags 0x2", .bytes = "\7\0\0\0\30\0\0\0\2\0\0\0\0\0\0\0"
	  "\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", .size = 32 },
	{ .why = "FIN: reserved octets", .bytes = "\7\0\0\0\30\0\0\0\2\0\0\0\0\0\0\0"
	  "\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0", .size = 32 },
	{ .why = "DATA: offset 0x8000000000000000", .bytes = "\6\0\0\0\21\0\0\0\2\0\0\0\0\0\0\0"
	  "\0\0\0\0\0\0\0\200!", .size = 25 },
	{ .why = "HELLO out of turn", .frames = { { .type = LINK_FRAME_HELLO, .silence_ms = 60000,
	  .connections = 1, .window = HAND_WINDOW } } },
	{ .why = "WELCOME out of turn", .frames = { { .type = LINK_FRAME_WELCOME, .silence_ms = 60000,
	  .window = HAND_WINDOW } } },
	{ .why = "READY out of turn", .frames = { { .type = LINK_FRAME_READY } } },
	{ .why = "OPEN out of turn", .early = true, .frames = { HAND_OPEN(0) } },
	{ .why = "DATA out of turn", .early = true, .frames = { HAND_DATA(0, 1) } },
	{ .why = "FIN out of turn", .early = true, .frames = { HAND_FIN(0) } },
	{ .why = "BEAT out of turn", .early = true, .frames = { { .type = LINK_FRAME_BEAT } } },
	{ .why = "STATE of stream 0, which is not open", .early = true, .frames = { HAND_STATE(0, 0) } },
	{ .why = "OPEN of stream 1, out of order", .frames = { HAND_OPEN(1) } },
	{ .why = "OPEN of stream 0, out of order", .frames = { HAND_OPEN(0), HAND_OPEN(0) } },
	{ .why = "DATA of stream 0, which is not open", .frames = { HAND_DATA(0, 1) } },
	{ .why = "FIN of stream 0, which is not open", .frames = { HAND_FIN(0) } },
	{ .why = "STATE of stream 0, which is not open", .frames = { HAND_STATE(0, 0) } },
	{ .why = "DATA of stream 0 at 1, which is at 0", .frames = { HAND_OPEN(0), HAND_DATA(1, 1) } },
	{ .why = "DATA of stream 0 overruns its window", .frames = { HAND_OPEN(0), HAND_DATA(0, HAND_WINDOW + 1) } },
	{ .why = "FIN of stream 0 at 1, which is at 0", .frames = { HAND_OPEN(0), HAND_FIN(1) } },
	{ .why = "FIN of stream 0 at 0, which is at 0, its end", .frames = { HAND_OPEN(0), HAND_FIN(0), HAND_FIN(0) } },
	{ .why = "DATA of stream 0 at 0, which is at 0, its end", .frames = { HAND_OPEN(0), HAND_FIN(0), HAND_DATA(0, 1) } },
	{ .why = "STATE of stream 0: more received than was sent", .frames = { HAND_OPEN(0), HAND_STATE(1, 0) } },
	{ .why = "STATE: more written than received", .frames = { HAND_OPEN(0), HAND_STATE(0, 1) } },
};
/* clang-format on */

static void one_breach(const struct breach *breach)
{
	struct link_frame welcome, over;
	const struct told *told;
	int fd;

	target_alone();
	fd = greet(&welcome, !breach->early);
	if (breach->bytes)
		say(fd, breach->bytes, breach->size);
	for (int i = 0; i < 3 && breach->frames[i].type; i++)
		say_frame(fd, &breach->frames[i]);
	told = teller_wait(&world.target_told, LINK_DEAD, 0);
	if (!strstr(told->text, breach->why) || strncmp(told->text, "connection 0: ", 14) != 0)
		fail_msg("\"%s\" has no \"%s\"", told->text, breach->why);
	do /* what it said before it knew */
		hear_frame(fd, 0, &over);
	while (over.type != LINK_FRAME_OVER);
	assert_string_equal(over.text, told->text);
	hear_end(fd);
	(void)close(fd);
	over = hello(1, 0);
	turned_away(&over, "the link is over");
	world_end(&world);
}

static void each_breach_of_a_source_ends_the_link_with_its_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++)
		one_breach(&breaches[i]);
}

/* ---- anything ------------------------------------------------------------------------------ */

static void any_frames_of_a_source_trip_nothing(void **state)
{
	uint32_t dead = 0;

	(void)state;
	for (uint64_t i = 1; i <= 300; i++) {
		uint64_t seed = i * 0x9e3779b97f4a7c15ull;
		struct link_frame welcome;
		int fd;

		target_alone();
		fd = greet(&welcome, i % 8 != 0);
		for (int j = 0; j < 40 && say_anything(fd, &seed); j++)
			;
		(void)close(fd);
		if (i % 2)
			(void)poll(NULL, 0, 1); /* it may come to something */
		dead += teller_count(&world.target_told, LINK_DEAD);
		world_end(&world);
	}
	assert_true(dead > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strangers_are_refused_and_change_nothing),
		cmocka_unit_test(who_speaks_another_language_is_refused_and_changes_nothing),
		cmocka_unit_test(the_first_source_may_ask_again_until_it_has_shown_its_token),
		cmocka_unit_test(each_breach_of_a_source_ends_the_link_with_its_name),
		cmocka_unit_test(any_frames_of_a_source_trip_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
