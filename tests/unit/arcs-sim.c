/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ways that the simulated device walks inside one SET, against a search over the base arcs; and
 * where it stands when an arc on the way fails.
 */
#include "device-fixture.h"

#include "backend/device/sim/arcs.h"
#include "backend/device/sim/sim.h"

struct trace {
	uint32_t path[ARCS_PATH_MAX];
	int length, fail_at; /* which arc fails, from 0; -1: none */
};

static int on_arc(void *ctx, uint32_t from, uint32_t to)
{
	struct trace *t = ctx;

	(void)from;
	if (t->length == t->fail_at)
		return -EBUSY;
	assert_true(t->length < ARCS_PATH_MAX);
	t->path[t->length++] = to;
	return 0;
}

static const char *const uris[] = {
	"sim:state=4K,flags=1",
	"sim:state=4K,flags=3",
	"sim:state=4K,flags=5",
	"sim:state=4K,flags=7",
};

static void put_into(struct bench *b, uint32_t state, const struct bytes *whole)
{
	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	walk_to(b, state);
	if (state == HF_DEVICE_RESUMING)
		assert_int_equal(write_stream(b, whole->data, whole->size, 65536), 0);
}

static void one_set_walks_the_shortest_way_over_the_base_arcs(void **state)
{
	(void)state;
	for (size_t u = 0; u < sizeof(uris) / sizeof(uris[0]); u++) {
		struct bytes whole = { 0 };
		struct bench b;
		int pairs = 0;

		bench_open(&b, uris[u], 0);
		save_rest(&b, &whole);
		for (uint32_t from = 1; from < HF_DEVICE_STATE_COUNT; from++) {
			for (uint32_t to = 1; to < HF_DEVICE_STATE_COUNT; to++) {
				struct trace t = { .fail_at = -1 };
				uint32_t path[ARCS_PATH_MAX];
				int n = arcs_path(b.flags, from, to, path);

				if (n < 0)
					continue;
				put_into(&b, from, &whole);
				sim_hook_set(b.device, (struct sim_hook){ on_arc, &t });
				go(&b, to);
				sim_hook_set(b.device, (struct sim_hook){ 0 });
				assert_int_equal(t.length, n);
				assert_memory_equal(t.path, path, (size_t)n * sizeof(path[0]));
				pairs++;
			}
		}
		/* All pairs of 4, 5, 5, 7 states, less STOP_COPY to PRE_COPY*. */
		assert_int_equal(pairs, u == 0 ? 16 : u == 1 ? 25 : u == 2 ? 24 : 47);
		free_bytes(&whole);
		bench_close(&b);
	}
}

static void an_arc_that_fails_leaves_it_where_the_way_had_come_to(void **state)
{
	(void)state;
	for (size_t u = 0; u < sizeof(uris) / sizeof(uris[0]); u++) {
		struct bytes whole = { 0 };
		struct bench b;

		bench_open(&b, uris[u], 0);
		save_rest(&b, &whole);
		for (uint32_t from = 1; from < HF_DEVICE_STATE_COUNT; from++) {
			for (uint32_t to = 1; to < HF_DEVICE_STATE_COUNT; to++) {
				uint32_t path[ARCS_PATH_MAX];
				int n = arcs_path(b.flags, from, to, path);

				for (int k = 0; k < n; k++) {
					struct trace t = { .fail_at = k };

					put_into(&b, from, &whole);
					sim_hook_set(b.device, (struct sim_hook){ on_arc, &t });
					assert_int_equal(OPS(&b)->set_state(SELF(&b), to), -EBUSY);
					assert_int_equal(state_of(&b), k ? path[k - 1] : from);
					sim_hook_set(b.device, (struct sim_hook){ 0 });
					go(&b, to); /* and it can go on from there */
				}
			}
		}
		free_bytes(&whole);
		bench_close(&b);
	}
}

/* The number of base arcs that the uAPI gives for each set of flags. */
static void each_set_of_flags_has_its_base_arcs(void **state)
{
	static const struct {
		uint32_t flags;
		int arcs;
	} sets[] = { { 1, 6 }, { 3, 8 }, { 5, 9 }, { 7, 15 } };

	(void)state;
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		int direct = 0;

		for (uint32_t from = 0; from < HF_DEVICE_STATE_COUNT; from++) {
			for (uint32_t to = 0; to < HF_DEVICE_STATE_COUNT; to++) {
				uint32_t next = 0;

				if (from != to &&
				    sim_arc_next(sets[i].flags, from, to, &next) == 0 && next == to)
					direct++;
			}
		}
		assert_int_equal(direct, sets[i].arcs);
	}
}

static void there_is_no_way_back_into_pre_copy_nor_into_foreign_states(void **state)
{
	uint32_t next = 99;

	(void)state;
	assert_int_equal(sim_arc_next(7, HF_DEVICE_STOP_COPY, HF_DEVICE_PRE_COPY, &next), -EINVAL);
	assert_int_equal(sim_arc_next(7, HF_DEVICE_STOP_COPY, HF_DEVICE_PRE_COPY_P2P, &next),
			 -EINVAL);
	assert_int_equal(sim_arc_next(5, HF_DEVICE_STOP_COPY, HF_DEVICE_PRE_COPY, &next), -EINVAL);
	assert_int_equal(sim_arc_next(1, HF_DEVICE_RUNNING, HF_DEVICE_RUNNING_P2P, &next), -EINVAL);
	assert_int_equal(sim_arc_next(3, HF_DEVICE_RUNNING, HF_DEVICE_PRE_COPY, &next), -EINVAL);
	assert_int_equal(sim_arc_next(5, HF_DEVICE_PRE_COPY, HF_DEVICE_PRE_COPY_P2P, &next),
			 -EINVAL);
	for (uint32_t s = 0; s < HF_DEVICE_STATE_COUNT; s++) {
		assert_int_equal(sim_arc_next(7, s, HF_DEVICE_ERROR, &next), -EINVAL);
		assert_int_equal(sim_arc_next(7, s, HF_DEVICE_STATE_COUNT, &next), -EINVAL);
		assert_int_equal(sim_arc_next(7, HF_DEVICE_ERROR, s, &next), -EINVAL);
		assert_int_equal(sim_arc_next(7, UINT32_MAX, s, &next), -EINVAL);
	}
	assert_int_equal(next, 99);
}

static void an_arc_takes_the_time_it_is_given(void **state)
{
	uint64_t from_ns;
	struct bench b;

	(void)state;
	bench_open(&b, "sim:state=4K,arc_ms=20", 0);
	from_ns = time_now_ns();
	go(&b, HF_DEVICE_STOP_COPY); /* three base arcs */
	assert_true(time_now_ns() - from_ns >= 60 * NS_PER_MS);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_set_walks_the_shortest_way_over_the_base_arcs),
		cmocka_unit_test(an_arc_that_fails_leaves_it_where_the_way_had_come_to),
		cmocka_unit_test(each_set_of_flags_has_its_base_arcs),
		cmocka_unit_test(there_is_no_way_back_into_pre_copy_nor_into_foreign_states),
		cmocka_unit_test(an_arc_takes_the_time_it_is_given),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
