/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The link between guards: how streams end, at either end and with the link, and what is kept.
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

static void a_half_that_has_ended_leaves_the_other_half(void **state)
{
	int near, far;

	(void)state;
	world_prepare(&world);
	world_start(&world);
	open_pair(&world, LINK_QEMU, &near, &far);
	say(near, "the last words", 14);
	(void)shutdown(near, SHUT_WR);
	hear(far, "the last words", 14);
	hear_end(far);
	(void)teller_wait_stream(&world.source_told, LINK_LOCAL_END, LINK_QEMU, 0);
	assert_string_equal(
		teller_wait_stream(&world.target_told, LINK_PEER_END, LINK_QEMU, 0)->text, "ended");
	say(far, "an answer to them", 17);
	hear(near, "an answer to them", 17);
	assert_true(is_quiet(near));
	(void)close(far);
	hear_end(near);
	(void)teller_wait_stream(&world.source_told, LINK_PEER_END, LINK_QEMU, 0);
	(void)close(near);
	world_end(&world);
}

static void a_local_socket_that_is_gone_ends_both_halves(void **state)
{
	static const uint8_t bytes[4096];
	int near, far;

	(void)state;
	world_prepare(&world);
	world_start(&world);
	open_pair(&world, LINK_QEMU, &near, &far);
	(void)close(far);
	hear_end(near);
	/* Its own words go nowhere: it learns that at the latest when it has filled all buffers. */
	while (send(near, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
		;
	assert_true(errno == EPIPE || errno == ECONNRESET);
	(void)teller_wait_stream(&world.target_told, LINK_LOCAL_END, LINK_QEMU, 0);
	(void)teller_wait_stream(&world.source_told, LINK_PEER_END, LINK_QEMU, 0);
	(void)close(near);
	assert_int_equal(link_finish(world.source, LINK_QEMU, 10000000), 0);
	assert_int_equal(link_finish(world.target, LINK_QEMU, 10000000), 0);
	world_end(&world);
}

static void a_socket_that_was_aborted_is_told_as_that(void **state)
{
	int near, far;

	(void)state;
	world_prepare(&world);
	world_start(&world);
	open_pair(&world, LINK_SESSION, &near, &far);
	say(far, "never read", 10);
	say(near, "read", 4);
	hear(far, "read", 4);
	while (is_quiet(near))
		(void)poll(NULL, 0, 1);
	(void)close(near); /* with octets unread: ECONNRESET at the other end of it */
	hear_end(far);
	assert_string_equal(
		teller_wait_stream(&world.target_told, LINK_PEER_END, LINK_SESSION, 0)->text,
		"aborted");
	(void)close(far);
	world_end(&world);
}

static void no_listener_at_the_target_ends_the_stream_with_the_reason(void **state)
{
	int near;

	(void)state;
	world_prepare(&world);
	(void)close(world.listeners[LINK_QEMU]);
	world.listeners[LINK_QEMU] = -1;
	world.target_config.paths[LINK_SESSION] = NULL;
	world_start(&world);
	near = world_connect(&world, LINK_QEMU);
	say(near, "!", 1);
	hear_end(near);
	(void)close(near);
	assert_non_null(
		strstr(teller_wait_stream(&world.target_told, LINK_LOCAL_END, LINK_QEMU, 0)->text,
		       "Connection refused"));
	near = world_connect(&world, LINK_SESSION);
	say(near, "!", 1);
	hear_end(near);
	(void)close(near);
	assert_non_null(strstr(
		teller_wait_stream(&world.target_told, LINK_LOCAL_END, LINK_SESSION, 0)->text,
		"no streams of this kind"));
	world_end(&world);
}

static void a_full_backlog_at_the_target_is_waited_for(void **state)
{
	enum { STREAMS = 6 };
	int near[STREAMS], far;

	(void)state;
	world_prepare(&world);
	assert_int_equal(listen(world.listeners[LINK_QEMU], 0), 0);
	world_start(&world);
	for (uint8_t i = 0; i < STREAMS; i++) {
		near[i] = world_connect(&world, LINK_QEMU);
		say(near[i], &i, 1);
	}
	for (uint8_t i = 0; i < STREAMS; i++) {
		far = world_accept(&world, LINK_QEMU);
		hear(far, &i, 1);
		close_both(near[i], far);
	}
	world_end(&world);
}

static void what_is_kept_outlives_the_end_of_the_peer_until_it_is_not_kept(void **state)
{
	int near, far;

	(void)state;
	world_prepare(&world);
	world.source_config.connections = 1;
	world_start(&world);
	link_stream_keep(world.source, LINK_QEMU, true);
	open_pair(&world, LINK_QEMU, &near, &far);
	(void)close(far);
	(void)teller_wait_stream(&world.source_told, LINK_PEER_END, LINK_QEMU, 0);
	say(near, "to nobody", 9);
	assert_true(is_quiet(near));
	link_stream_keep(world.source, LINK_QEMU, false);
	hear_end(near);
	(void)close(near);
	world_end(&world);
}

static void what_is_kept_outlives_the_link_and_can_be_written_to(void **state)
{
	int near, far, near2, far2, fd;

	(void)state;
	world_prepare(&world);
	world_start(&world);
	link_stream_keep(world.source, LINK_QEMU, true);
	open_pair(&world, LINK_QEMU, &near, &far);
	open_pair(&world, LINK_SESSION, &near2, &far2);
	world.target = link_free(world.target);
	assert_string_equal(teller_wait(&world.source_told, LINK_DEAD, 0)->text,
			    "the peer: the link was closed");
	hear_end(near2);
	hear_end(far2);
	hear_end(far);
	assert_true(is_quiet(near));
	fd = link_stream_fd(world.source, LINK_QEMU, 0);
	assert_true(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
	say(fd, "by hand", 7);
	(void)close(fd);
	hear(near, "by hand", 7);
	assert_true(is_quiet(near));
	world.source = link_free(world.source);
	hear_end(near);
	close_both(near, far);
	close_both(near2, far2);
	world_end(&world);
}

static void a_stream_that_is_not_there_has_no_descriptor(void **state)
{
	(void)state;
	world_prepare(&world);
	world_start(&world);
	assert_int_equal(link_stream_fd(world.source, LINK_QEMU, 0), -1);
	assert_int_equal(link_stream_fd(world.source, LINK_QEMU, LINK_STREAMS_MAX), -1);
	assert_int_equal(link_stream_fd(world.source, LINK_KINDS, 0), -1);
	world_end(&world);
}

static void finishing_waits_for_the_last_octet_at_the_peer(void **state)
{
	struct flow to, from;
	int near, far;

	(void)state;
	world_prepare(&world);
	world_start(&world);
	assert_int_equal(link_finish(world.source, LINK_SESSION, 0), 0);
	open_pair(&world, LINK_SESSION, &near, &far);
	to = (struct flow){ .fd = near, .size = 16 << 20, .sends = true, .ends = true };
	from = (struct flow){ .fd = far, .size = 16 << 20, .ends = true };
	flow_start(&to);
	(void)shutdown(far, SHUT_WR);
	(void)teller_wait_stream(&world.source_told, LINK_PEER_END, LINK_SESSION, 0);
	assert_int_equal(link_finish(world.target, LINK_SESSION, 1000), HF_E_DEADLINE);
	flow_start(&from);
	flow_join(&to);
	flow_join(&from);
	assert_int_equal(link_finish(world.source, LINK_SESSION, 10000000), 0);
	assert_int_equal(link_finish(world.target, LINK_SESSION, 10000000), 0);
	close_both(near, far);
	open_pair(&world, LINK_SESSION, &near, &far);
	world.target = link_free(world.target);
	assert_int_equal(link_finish(world.source, LINK_SESSION, 10000000), HF_E_CONNECTION_LOST);
	close_both(near, far);
	world_end(&world);
}

static void the_end_of_a_busy_link_is_told_at_once(void **state)
{
	struct flow flows[4];
	int near[2], far[2];

	(void)state;
	world_prepare(&world);
	world_start(&world);
	for (int i = 0; i < 2; i++) {
		open_pair(&world, LINK_QEMU, &near[i], &far[i]);
		flows[2 * i] = (struct flow){ .fd = near[i], .size = ~0ull, .sends = true };
		flows[2 * i + 1] = (struct flow){ .fd = far[i], .size = ~0ull };
		flow_start(&flows[2 * i]);
		flow_start(&flows[2 * i + 1]);
	}
	for (struct link_progress progress = { 0 }; progress.received < 4 << 20;) {
		link_progress(world.target, &progress);
		(void)poll(NULL, 0, 1);
	}
	world.source = link_free(world.source);
	assert_string_equal(teller_wait(&world.target_told, LINK_DEAD, 0)->text,
			    "the peer: the link was closed");
	assert_int_equal(teller_count(&world.target_told, LINK_LOST), 0);
	for (int i = 0; i < 4; i++) {
		(void)pthread_join(flows[i].thread, NULL); /* their sockets were ended */
		assert_true(flows[i].wrong);
	}
	for (int i = 0; i < 2; i++)
		close_both(near[i], far[i]);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_half_that_has_ended_leaves_the_other_half),
		cmocka_unit_test(a_local_socket_that_is_gone_ends_both_halves),
		cmocka_unit_test(a_socket_that_was_aborted_is_told_as_that),
		cmocka_unit_test(no_listener_at_the_target_ends_the_stream_with_the_reason),
		cmocka_unit_test(a_full_backlog_at_the_target_is_waited_for),
		cmocka_unit_test(what_is_kept_outlives_the_end_of_the_peer_until_it_is_not_kept),
		cmocka_unit_test(what_is_kept_outlives_the_link_and_can_be_written_to),
		cmocka_unit_test(a_stream_that_is_not_there_has_no_descriptor),
		cmocka_unit_test(finishing_waits_for_the_last_octet_at_the_peer),
		cmocka_unit_test(the_end_of_a_busy_link_is_told_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
