/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The link between guards, when its connections are lost: cut behind every octet there is, cut
 * again and again in bulk, silent, gone for good. Who reads and writes the streams must not notice,
 * until the deadline.
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

static void begin(uint32_t connections)
{
	world_prepare(&world);
	world.source_config.connections = connections;
	world_start_target(&world);
	world_start_proxy(&world);
}

/* Two streams with a few octets each way, and their ends. */
static void short_exchange(void)
{
	int near[2], far[2];

	for (int i = 0; i < 2; i++) {
		near[i] = world_connect(&world, i ? LINK_QEMU : LINK_SESSION);
		say(near[i], "question", 8);
	}
	for (int i = 0; i < 2; i++) {
		far[i] = world_accept(&world, i ? LINK_QEMU : LINK_SESSION);
		hear(far[i], "question", 8);
		say(far[i], "answer", 6);
		(void)shutdown(far[i], SHUT_WR);
		hear(near[i], "answer", 6);
		hear_end(near[i]);
		say(near[i], "thanks", 6);
		(void)close(near[i]);
		hear(far[i], "thanks", 6);
		hear_end(far[i]);
		(void)close(far[i]);
	}
	for (uint32_t kind = 1; kind < LINK_KINDS; kind++) {
		assert_int_equal(link_finish(world.source, kind, PATIENCE_MS * 1000), 0);
		assert_int_equal(link_finish(world.target, kind, PATIENCE_MS * 1000), 0);
	}
}

/* Cut behind each octet of a way, until the exchange is over before. */
static void cut_everywhere(enum proxy_way way, uint32_t connections, bool all)
{
	uint32_t points = 0;
	bool struck = true;

	for (uint64_t at = 0; struck; at++) {
		begin(connections);
		proxy_cut_after(world.proxy, way, at, all);
		world_start_source(&world);
		short_exchange();
		struck = proxy_has_struck(world.proxy);
		points += struck;
		assert_int_equal(teller_count(&world.source_told, LINK_DEAD), 0);
		assert_int_equal(teller_count(&world.target_told, LINK_DEAD), 0);
		assert_int_equal(teller_count(&world.target_told, LINK_OPENED), 2);
		for (uint32_t kind = 1; kind < LINK_KINDS; kind++) {
			(void)teller_wait_stream(&world.source_told, LINK_PEER_END, kind, 0);
			(void)teller_wait_stream(&world.target_told, LINK_PEER_END, kind, 0);
		}
		world_end(&world);
	}
	print_message("%u places to cut\n", points);
	assert_true(points > 200); /* greetings, STATEs and octets, more of them there than back */
}

static void cut_behind_every_octet_to_the_target(void **state)
{
	(void)state;
	cut_everywhere(TO_TARGET, 1, false);
}

static void cut_behind_every_octet_to_the_source(void **state)
{
	(void)state;
	cut_everywhere(TO_SOURCE, 1, false);
}

static void cut_all_of_three_connections_behind_every_octet_to_the_target(void **state)
{
	(void)state;
	cut_everywhere(TO_TARGET, 3, true);
}

static void cut_all_of_three_connections_behind_every_octet_to_the_source(void **state)
{
	(void)state;
	cut_everywhere(TO_SOURCE, 3, true);
}

/* ---- bulk ---------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Four streams, 64 MiB there and 4 back, cut at random about every MiB. */
static void bulk(uint64_t seed)
{
	enum { STREAMS = 4 };
	struct flow flows[STREAMS][4];
	struct link_progress progress;
	int near[STREAMS], far[STREAMS];
	uint64_t random = seed * 0x9e3779b97f4a7c15ull + 1;
	uint32_t cuts = 0;

	begin(1 + (uint32_t)(seed % 3));
	world.source_config.window = 64u << 10 << seed % 5;
	world_start_source(&world);
	for (uint32_t i = 0; i < STREAMS; i++) {
		const uint64_t there = 16 << 20, back = 1 << 20;

		near[i] = world_connect(&world, LINK_QEMU);
		flows[i][0] =
			(struct flow){ .fd = near[i], .seed = i, .size = there, .sends = true };
		flows[i][0].ends = true;
		flow_start(&flows[i][0]);
		far[i] = world_accept(&world, LINK_QEMU);
		flows[i][1] = (struct flow){ .fd = far[i], .seed = i, .size = there };
		flows[i][2] =
			(struct flow){ .fd = far[i], .seed = ~i, .size = back, .sends = true };
		flows[i][3] = (struct flow){ .fd = near[i], .seed = ~i, .size = back };
		for (int j = 1; j < 4; j++) {
			flows[i][j].ends = true;
			flow_start(&flows[i][j]);
		}
	}
	do { /* the next cut, when the last one was made and there is something to cut again */
		bool struck = proxy_has_struck(world.proxy);

		link_progress(world.source, &progress);
		if (struck || !cuts) {
			cuts++;
			proxy_cut_after(world.proxy,
					next_random(&random) % 8 ? TO_TARGET : TO_SOURCE,
					next_random(&random) % (2u << 20), cuts % 2);
		}
		(void)poll(NULL, 0, 1);
	} while (link_finish(world.source, LINK_QEMU, 1000) == HF_E_DEADLINE);
	for (uint32_t i = 0; i < STREAMS; i++) {
		for (int j = 0; j < 4; j++)
			flow_join(&flows[i][j]);
		(void)close(near[i]);
		(void)close(far[i]);
	}
	link_progress(world.source, &progress);
	print_message("seed %u: %u cuts planned, %u connections lost, %u ms\n", (unsigned int)seed,
		      cuts, (unsigned int)progress.losses, (unsigned int)(progress.lost_us / 1000));
	assert_true(progress.losses >= 3);
	assert_int_equal(progress.sent, STREAMS * (16 << 20));
	assert_int_equal(progress.received, STREAMS * (1 << 20));
	world_end(&world);
}

static void bulk_that_is_cut_again_and_again_arrives_whole(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++)
		bulk(seed);
}

/* ---- silence ------------------------------------------------------------------------------- */

static void a_connection_that_falls_silent_is_lost_and_made_again(void **state)
{
	int near, far;

	(void)state;
	for (int way = TO_TARGET; way <= TO_SOURCE; way++) {
		begin(1);
		world.source_config.silence_us = 200000;
		world_start_source(&world);
		near = world_connect(&world, LINK_QEMU);
		say(near, "!", 1);
		far = world_accept(&world, LINK_QEMU);
		hear(far, "!", 1);
		(void)teller_wait(&world.source_told, LINK_UP, 0);
		proxy_silence_after(world.proxy, (enum proxy_way)way, 0);
		say(near, "there", 5);
		say(far, "back", 4);
		hear(far, "there", 5);
		hear(near, "back", 4);
		(void)teller_wait(&world.source_told, LINK_BACK, 0);
		assert_string_equal(teller_wait(&world.source_told, LINK_LOST, 0)->text,
				    "connection 0: nothing was heard for 0.2 s");
		assert_string_equal(teller_wait(&world.target_told, LINK_LOST, 0)->text,
				    "connection 0: the source has connected again");
		(void)close(near);
		(void)close(far);
		world_end(&world);
	}
}

static void a_greeting_that_is_not_answered_is_tried_again(void **state)
{
	int near, far;

	(void)state;
	begin(2);
	world.source_config.silence_us = 200000;
	proxy_silence_after(world.proxy, TO_SOURCE, 20);
	world_start_source(&world);
	near = world_connect(&world, LINK_QEMU);
	say(near, "!", 1);
	far = world_accept(&world, LINK_QEMU);
	hear(far, "!", 1);
	assert_true(proxy_connections(world.proxy) >= 2);
	(void)close(near);
	(void)close(far);
	world_end(&world);
}

static void idle_connections_stay(void **state)
{
	(void)state;
	begin(2);
	world.source_config.silence_us = 100000;
	world_start_source(&world);
	(void)teller_wait(&world.source_told, LINK_UP, 0);
	(void)poll(NULL, 0, 600);
	assert_int_equal(teller_count(&world.source_told, LINK_LOST), 0);
	assert_int_equal(teller_count(&world.target_told, LINK_LOST), 0);
	assert_int_equal(proxy_connections(world.proxy), 2);
	world_end(&world);
}

/* ---- the deadline -------------------------------------------------------------------------- */

static void a_link_that_stays_lost_is_dead_at_both_ends_with_the_reason(void **state)
{
	struct link_progress progress;
	int near, far;

	(void)state;
	world_prepare(&world);
	world.source_config.deadline_us = world.target_config.deadline_us = 300000;
	world_start_target(&world);
	world_start_proxy(&world);
	world_start_source(&world);
	near = world_connect(&world, LINK_QEMU);
	say(near, "!", 1);
	far = world_accept(&world, LINK_QEMU);
	hear(far, "!", 1);
	(void)teller_wait(&world.source_told, LINK_UP, 0);
	(void)teller_wait(&world.target_told, LINK_UP, 0);
	proxy_close(world.proxy, true);
	/* What was seen of it last: an end, or a reset. */
	assert_non_null(
		strstr(teller_wait(&world.source_told, LINK_DEAD, 0)->text, "lost for 0.3 s: "));
	assert_non_null(
		strstr(teller_wait(&world.target_told, LINK_DEAD, 0)->text, "lost for 0.3 s: "));
	assert_int_equal(teller_count(&world.source_told, LINK_LOST), 1);
	assert_int_equal(teller_count(&world.target_told, LINK_LOST), 1);
	hear_end(near);
	hear_end(far);
	link_progress(world.source, &progress);
	assert_false(progress.up);
	assert_int_equal(teller_count(&world.source_told, LINK_BACK), 0);
	/* Nobody comes in any more, a moment later. */
	for (int i = 0; access(world.paths[0][LINK_QEMU], F_OK) == 0 && i < PATIENCE_MS; i++)
		(void)poll(NULL, 0, 1);
	assert_int_not_equal(access(world.paths[0][LINK_QEMU], F_OK), 0);
	(void)close(near);
	(void)close(far);
	world_end(&world);
}

static void a_target_that_is_not_there_is_tried_until_the_deadline(void **state)
{
	char uri[256];
	int near;

	(void)state;
	world_prepare(&world);
	(void)close(tcp_listen(uri));
	world.source_config.uri = uri;
	world.source_config.deadline_us = 200000;
	world_start_source(&world);
	near = world_connect(&world, LINK_QEMU);
	assert_string_equal(teller_wait(&world.source_told, LINK_DEAD, 0)->text,
			    "connection 0 lost for 0.2 s: connect: Connection refused");
	hear_end(near);
	(void)close(near);
	assert_int_equal(teller_count(&world.source_told, LINK_UP), 0);
	world_end(&world);
}

static void a_target_that_comes_late_is_found(void **state)
{
	int near, far;

	(void)state;
	world_prepare(&world);
	world_start_target(&world);
	world_start_proxy(&world);
	proxy_close(world.proxy, true);
	world_start_source(&world);
	near = world_connect(&world, LINK_QEMU);
	say(near, "!", 1);
	(void)poll(NULL, 0, 100);
	proxy_close(world.proxy, false);
	far = world_accept(&world, LINK_QEMU);
	hear(far, "!", 1);
	(void)close(near);
	(void)close(far);
	world_end(&world);
}

static void what_is_written_while_the_link_is_lost_arrives_afterwards(void **state)
{
	struct flow to, from;
	int near, far;

	(void)state;
	begin(2);
	world_start_source(&world);
	near = world_connect(&world, LINK_QEMU);
	say(near, "!", 1);
	far = world_accept(&world, LINK_QEMU);
	hear(far, "!", 1);
	(void)teller_wait(&world.source_told, LINK_UP, 0);
	(void)teller_wait(&world.target_told, LINK_UP, 0);
	proxy_close(world.proxy, true);
	(void)teller_wait(&world.source_told, LINK_LOST, 0);
	to = (struct flow){ .fd = near, .seed = 3, .size = 16 << 20, .sends = true };
	from = (struct flow){ .fd = far, .seed = 3, .size = 16 << 20 };
	flow_start(&to);
	flow_start(&from);
	(void)poll(NULL, 0, 100);
	proxy_close(world.proxy, false);
	flow_join(&to);
	flow_join(&from);
	(void)teller_wait(&world.source_told, LINK_BACK, 0);
	(void)teller_wait(&world.target_told, LINK_BACK, 0);
	(void)close(near);
	(void)close(far);
	world_end(&world);
}

static void a_link_is_freed_at_any_time(void **state)
{
	(void)state;
	for (uint64_t at = 0; at < 40; at++) {
		int near;

		begin(2);
		proxy_cut_after(world.proxy, at % 2 ? TO_TARGET : TO_SOURCE, at * 10, true);
		world_start_source(&world);
		near = world_connect(&world, LINK_QEMU);
		say(near, "!", 1);
		if (at % 4 < 2)
			world.target = link_free(world.target);
		world.source = link_free(world.source);
		(void)close(near);
		world_end(&world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_behind_every_octet_to_the_target),
		cmocka_unit_test(cut_behind_every_octet_to_the_source),
		cmocka_unit_test(cut_all_of_three_connections_behind_every_octet_to_the_target),
		cmocka_unit_test(cut_all_of_three_connections_behind_every_octet_to_the_source),
		cmocka_unit_test(bulk_that_is_cut_again_and_again_arrives_whole),
		cmocka_unit_test(a_connection_that_falls_silent_is_lost_and_made_again),
		cmocka_unit_test(a_greeting_that_is_not_answered_is_tried_again),
		cmocka_unit_test(idle_connections_stay),
		cmocka_unit_test(a_link_that_stays_lost_is_dead_at_both_ends_with_the_reason),
		cmocka_unit_test(a_target_that_is_not_there_is_tried_until_the_deadline),
		cmocka_unit_test(a_target_that_comes_late_is_found),
		cmocka_unit_test(what_is_written_while_the_link_is_lost_arrives_afterwards),
		cmocka_unit_test(a_link_is_freed_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
