/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The link between guards, while its connections hold: octets, order, windows, filters, limits.
 * guard-link-ends.c ends streams, guard-link-loss.c cuts connections; guard-link-peer.c and
 * guard-link-source.c are peers that break the rules.
 */
#include <errno.h>
#include <fcntl.h>
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

static void octets_of_many_streams_arrive_whole_both_ways(void **state)
{
	enum { STREAMS = 9 };
	struct flow flows[STREAMS][4];
	struct link_progress progress;
	int near[STREAMS], far[STREAMS];

	(void)state;
	world_prepare(&world);
	world.source_config.connections = 4;
	world_start(&world);
	for (uint32_t i = 0; i < STREAMS; i++)
		open_pair(&world, i % 3 ? LINK_QEMU : LINK_SESSION, &near[i], &far[i]);
	for (uint32_t i = 0; i < STREAMS; i++) {
		const uint64_t there = (3u << 20) + 17 * i, back = (1u << 20) + 13 * i;

		flows[i][0] =
			(struct flow){ .fd = near[i], .seed = i, .size = there, .sends = true };
		flows[i][1] = (struct flow){ .fd = far[i], .seed = i, .size = there };
		flows[i][2] =
			(struct flow){ .fd = far[i], .seed = ~i, .size = back, .sends = true };
		flows[i][3] = (struct flow){ .fd = near[i], .seed = ~i, .size = back };
		for (int j = 0; j < 4; j++) {
			flows[i][j].ends = true;
			flow_start(&flows[i][j]);
		}
	}
	for (uint32_t i = 0; i < STREAMS; i++) {
		for (int j = 0; j < 4; j++)
			flow_join(&flows[i][j]);
		close_both(near[i], far[i]);
	}
	assert_int_equal(link_finish(world.source, LINK_QEMU, 10000000), 0);
	assert_int_equal(link_finish(world.source, LINK_SESSION, 10000000), 0);
	link_progress(world.source, &progress);
	assert_true(progress.up);
	assert_int_equal(progress.losses, 0);
	assert_int_equal(progress.lost_us, 0);
	assert_int_equal(progress.sent, STREAMS * ((3u << 20) + 1) + 17 * 36);
	assert_int_equal(progress.received, STREAMS * ((1u << 20) + 1) + 13 * 36);
	assert_int_equal(teller_count(&world.source_told, LINK_UP), 1);
	assert_int_equal(teller_count(&world.target_told, LINK_LOST), 0);
	world_end(&world);
}

static void streams_are_opened_in_the_order_of_accept_and_not_before_they_speak(void **state)
{
	enum { STREAMS = 8 };
	int near[STREAMS], far, a, b;

	(void)state;
	world_prepare(&world);
	world.source_config.connections = 3;
	world_start(&world);
	for (uint32_t i = 0; i < STREAMS; i++) {
		near[i] = world_connect(&world, LINK_QEMU);
		(void)teller_wait_stream(&world.source_told, LINK_OPENED, LINK_QEMU, i);
	}
	for (uint8_t i = STREAMS - 1; i > 0; i--)
		say(near[i], &i, 1);
	/* What goes to and fro behind them on all connections says that they have arrived. */
	for (int i = 0; i < 3; i++) {
		open_pair(&world, LINK_SESSION, &a, &b);
		close_both(a, b);
	}
	assert_true(is_quiet(world.listeners[LINK_QEMU]));
	assert_int_equal(teller_count(&world.target_told, LINK_OPENED), 3);
	say(near[0], "", 1);
	for (uint8_t i = 0; i < STREAMS; i++) {
		far = world_accept(&world, LINK_QEMU);
		hear(far, &i, 1);
		close_both(near[i], far);
	}
	for (uint32_t i = 0; i < STREAMS; i++)
		assert_int_equal(teller_wait(&world.target_told, LINK_OPENED, 3 + i)->index, i);
	world_end(&world);
}

static void a_stream_that_says_nothing_and_ends_is_opened_and_ended(void **state)
{
	int near, far;

	(void)state;
	world_prepare(&world);
	world_start(&world);
	near = world_connect(&world, LINK_QEMU);
	(void)close(near);
	far = world_accept(&world, LINK_QEMU);
	hear_end(far);
	(void)close(far);
	assert_int_equal(link_finish(world.target, LINK_QEMU, 10000000), 0);
	world_end(&world);
}

/* Writes what fits in, without waiting; returns how much. */
static uint64_t stuff(int fd)
{
	static const uint8_t bytes[65536];
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };
	uint64_t total = 0;

	/* Quiet for that long: full. What is not yet full makes the test weaker, not wrong. */
	while (poll(&poll_fd, 1, 300) == 1) {
		ssize_t done = send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (done > 0)
			total += (uint64_t)done;
	}
	return total;
}

static void a_stream_that_nobody_reads_is_stopped_and_stops_no_other(void **state)
{
	static uint8_t bytes[65536];
	struct flow to, from;
	uint64_t stuffed, got = 0;
	int near, far, near2, far2;

	(void)state;
	world_prepare(&world);
	world.source_config.connections = 1;
	world.source_config.window = world.target_config.window = 256 << 10;
	world_start(&world);
	open_pair(&world, LINK_QEMU, &near, &far);
	open_pair(&world, LINK_QEMU, &near2, &far2);
	stuffed = stuff(near);
	/* Two windows, and the buffers of four sockets. */
	assert_true(stuffed >= 512 << 10);
	assert_true(stuffed < 16 << 20);
	to = (struct flow){ .fd = near2, .seed = 7, .size = 8 << 20, .sends = true, .ends = true };
	from = (struct flow){ .fd = far2, .seed = 7, .size = 8 << 20, .ends = true };
	flow_start(&to);
	flow_start(&from);
	flow_join(&to);
	flow_join(&from);
	(void)shutdown(near, SHUT_WR);
	for (ssize_t n; (n = recv(far, bytes, sizeof(bytes), 0)) > 0;)
		got += (uint64_t)n;
	assert_int_equal(got, stuffed);
	close_both(near, far);
	close_both(near2, far2);
	world_end(&world);
}

static void windows_of_the_least_size_and_of_two_sizes_work(void **state)
{
	static const uint32_t windows[][2] = { { LINK_WINDOW_MIN, LINK_WINDOW_MIN },
					       { LINK_WINDOW_MIN + 1, 1 << 20 },
					       { 1 << 20, LINK_WINDOW_MIN + 3 } };

	(void)state;
	for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
		struct flow to, from;
		int near, far;

		world_prepare(&world);
		world.source_config.window = windows[i][0];
		world.target_config.window = windows[i][1];
		world_start(&world);
		open_pair(&world, LINK_QEMU, &near, &far);
		to = (struct flow){ .fd = near, .seed = i, .size = 1000001, .sends = true };
		from = (struct flow){ .fd = far, .seed = i, .size = 1000001 };
		flow_start(&to);
		flow_start(&from);
		flow_join(&to);
		flow_join(&from);
		close_both(near, far);
		world_end(&world);
	}
}

static void what_cannot_be_is_refused_when_the_link_is_made(void **state)
{
	struct link_config good = { .uri = "tcp:127.0.0.1:1" }, bad[6];
	struct link *link = NULL;
	struct hf_error err;

	(void)state;
	for (int i = 0; i < 6; i++)
		bad[i] = good;
	bad[0].uri = "nonsense";
	bad[1].connections = LINK_CONNECTIONS_MAX + 1;
	bad[2].window = LINK_WINDOW_MIN - 1;
	bad[3].window = LINK_WINDOW_MAX + 1;
	bad[4].silence_us = 1;
	bad[5].paths[LINK_QEMU] = "";
	for (int i = 0; i < 6; i++) {
		err.text[0] = 0;
		assert_int_equal(link_new(&bad[i], &link, &err), HF_E_INVALID);
		assert_int_equal(err.code, HF_E_INVALID);
		assert_true(strlen(err.text) > 5);
		assert_null(link);
	}
	assert_null(link_free(NULL));
}

/* ---- filters ------------------------------------------------------------------------------- */

/* Doubles 'd', up to the spare, and takes 'x' away. */
static size_t filter(void *ctx, uint32_t index, uint8_t *buf, size_t size)
{
	uint8_t out[65536 + LINK_FILTER_SPARE];
	size_t n = 0;

	(void)ctx;
	if (index > 1 || size > 65536)
		abort(); /* not the test's thread */
	for (size_t i = 0; i < size; i++) {
		if (buf[i] != 'x')
			out[n++] = buf[i];
		if (buf[i] == 'd')
			out[n++] = 'd';
	}
	memcpy(buf, out, n);
	return n;
}

static void the_filter_sees_the_way_back_of_qemu_and_nothing_else(void **state)
{
	struct flow to, from;
	int near, far, near2, far2;

	(void)state;
	world_prepare(&world);
	world.target_config.filter = filter;
	world.target_config.window = LINK_WINDOW_MIN; /* so that it wraps */
	world_start(&world);
	open_pair(&world, LINK_QEMU, &near, &far);
	open_pair(&world, LINK_SESSION, &near2, &far2);
	say(far, "xaxbxcxd", 8);
	hear(near, "abcdd", 5);
	say(far, "xxxx", 4);
	say(far, "dddddddddddddddd", 16);
	hear(near, "dddddddddddddddddddddddddddddddd", 32);
	say(near, "dx", 2);
	hear(far, "dx", 2);
	say(far2, "dx", 2);
	hear(near2, "dx", 2);
	for (int i = 0; i < 1000; i++) {
		say(far, "0123456789abc", 13);
		hear(near, "0123456789abc", 13);
	}
	to = (struct flow){ .fd = far2, .seed = 1, .size = 100000, .sends = true };
	from = (struct flow){ .fd = near2, .seed = 1, .size = 100000 };
	flow_start(&to);
	flow_start(&from);
	flow_join(&to);
	flow_join(&from);
	close_both(near, far);
	close_both(near2, far2);
	world_end(&world);
}

static void there_are_as_many_streams_as_there_may_be_and_no_more(void **state)
{
	static int fds[LINK_LIVE_MAX];
	int far, more;

	(void)state;
	world_prepare(&world);
	world.source_config.window = world.target_config.window = LINK_WINDOW_MIN;
	world_start(&world);
	for (uint32_t i = 0; i < LINK_LIVE_MAX; i++) {
		fds[i] = world_connect(&world, LINK_QEMU);
		say(fds[i], "!", 1);
		far = world_accept(&world, LINK_QEMU);
		hear(far, "!", 1);
		if (i > 0)
			(void)close(far); /* the half of it that is not ours */
		else
			more = far;
	}
	far = world_connect(&world, LINK_QEMU);
	hear_end(far);
	(void)close(far);
	for (uint32_t i = 0; i < LINK_LIVE_MAX; i++)
		(void)close(fds[i]);
	hear_end(more);
	(void)close(more);
	assert_int_equal(link_finish(world.source, LINK_QEMU, 10000000), 0);
	open_pair(&world, LINK_QEMU, &far, &more);
	close_both(far, more);
	world_end(&world);
}

/* Asks all that may be asked, from the event itself. */
static void ask(void *ctx, const struct link_event *event)
{
	struct link_progress progress;
	struct link *link = ctx == &world.source_told ? world.source : world.target;

	teller_hear(ctx, event);
	link_progress(link, &progress);
	if (event->kind == LINK_DEAD ? progress.up : !progress.up && event->kind == LINK_PEER_END)
		abort(); /* not the test's thread */
	link_stream_keep(link, LINK_SESSION, true);
	(void)close(link_stream_fd(link, event->stream_kind, event->index));
}

static void an_event_may_ask(void **state)
{
	int near, far;

	(void)state;
	world_prepare(&world);
	world.source_config.event = world.target_config.event = ask;
	world_start(&world);
	(void)teller_wait(&world.source_told, LINK_UP, 0);
	(void)teller_wait(&world.target_told, LINK_UP, 0);
	open_pair(&world, LINK_QEMU, &near, &far);
	close_both(near, far);
	(void)teller_wait(&world.source_told, LINK_PEER_END, 0);
	(void)teller_wait(&world.target_told, LINK_PEER_END, 0);
	world_end(&world);
}

static void ipv6_in_brackets_works(void **state)
{
	int near, far;

	(void)state;
	if (access("/proc/net/if_inet6", R_OK) < 0) {
		print_message("this host has no IPv6\n");
		skip();
	}
	world_prepare(&world);
	world.target_config.uri = "tcp:[::1]:0";
	world_start(&world);
	assert_non_null(strstr(link_uri(world.target), "tcp:[::1]:"));
	open_pair(&world, LINK_QEMU, &near, &far);
	close_both(near, far);
	world_end(&world);
}

static void unix_sockets_carry_the_link_as_well(void **state)
{
	char uri[128];
	int near, far;

	(void)state;
	world_prepare(&world);
	(void)snprintf(uri, sizeof(uri), "unix:%s/link", world.folder);
	world.target_config.uri = uri;
	world_start(&world);
	assert_string_equal(link_uri(world.target), uri);
	open_pair(&world, LINK_QEMU, &near, &far);
	close_both(near, far);
	world.target = link_free(world.target);
	assert_int_not_equal(access(uri + 5, F_OK), 0);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(octets_of_many_streams_arrive_whole_both_ways),
		cmocka_unit_test(
			streams_are_opened_in_the_order_of_accept_and_not_before_they_speak),
		cmocka_unit_test(a_stream_that_says_nothing_and_ends_is_opened_and_ended),
		cmocka_unit_test(a_stream_that_nobody_reads_is_stopped_and_stops_no_other),
		cmocka_unit_test(windows_of_the_least_size_and_of_two_sizes_work),
		cmocka_unit_test(what_cannot_be_is_refused_when_the_link_is_made),
		cmocka_unit_test(the_filter_sees_the_way_back_of_qemu_and_nothing_else),
		cmocka_unit_test(there_are_as_many_streams_as_there_may_be_and_no_more),
		cmocka_unit_test(an_event_may_ask),
		cmocka_unit_test(ipv6_in_brackets_works),
		cmocka_unit_test(unix_sockets_carry_the_link_as_well),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
