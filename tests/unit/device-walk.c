/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hf_device_walk() over all sets of flags, all states to begin in and all to end in: what it asks
 * for is judged by a search over the base arcs that shares no table with it.
 */
#include "device-fixture.h"

#include <holdfast/device.h>

#include "backend/device/sim/sim.h"

#define REQUESTS_MAX 8

/* A table in front of a device, that writes down what is asked for. */
struct noted {
	struct bench *bench;
	const struct hf_device_ops *ops;
	uint32_t from[REQUESTS_MAX], to[REQUESTS_MAX];
	uint32_t count;
	int failing; /* which request fails, from 0; -1: none */
};

static struct noted noted;

static int set_and_note(void *self, uint32_t state)
{
	assert_true(noted.count < REQUESTS_MAX);
	noted.from[noted.count] = state_of(noted.bench);
	noted.to[noted.count] = state;
	if ((int)noted.count++ == noted.failing)
		return -EBUSY;
	return noted.ops->set_state(self, state);
}

static int runs(uint32_t s)
{
	return s == HF_DEVICE_RUNNING || s == HF_DEVICE_RUNNING_P2P || s == HF_DEVICE_PRE_COPY ||
	       s == HF_DEVICE_PRE_COPY_P2P;
}

/* Walk from a state, where the device has what it needs to leave it. */
static int walk(struct bench *b, uint32_t from, uint32_t to, const struct bytes *whole,
		struct hf_error *err)
{
	struct hf_device_ops ops = *b->device.ops;
	struct hf_device device = { .ops = &ops, .self = b->device.self };

	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	walk_to(b, from);
	if (from == HF_DEVICE_RESUMING)
		assert_int_equal(write_stream(b, whole->data, whole->size, 65536), 0);
	noted.bench = b;
	noted.ops = b->device.ops;
	noted.count = 0;
	ops.set_state = set_and_note;
	return hf_device_walk(&device, to, err);
}

/* Each request is one the kernel has a way for, and the way runs nothing by accident. */
static void check_requests(uint32_t flags, uint32_t from, uint32_t to)
{
	uint32_t at = from;

	for (uint32_t i = 0; i < noted.count; i++) {
		uint32_t path[ARCS_PATH_MAX];
		int n = arcs_path(flags, noted.from[i], noted.to[i], path);

		assert_int_equal(noted.from[i], at);
		assert_true(n > 0); /* -1: none; 0: asked for where it stands */
		assert_false(at == HF_DEVICE_STOP_COPY && (noted.to[i] == HF_DEVICE_PRE_COPY ||
							   noted.to[i] == HF_DEVICE_PRE_COPY_P2P));
		for (int k = 0; k < n; k++) {
			uint32_t before = k ? path[k - 1] : at;

			if (!runs(to) && !runs(before)) /* on its way down it does not run again */
				assert_false(runs(path[k]));
			if (k + 1 < n)
				assert_int_not_equal(path[k], HF_DEVICE_RUNNING);
		}
		if (at == HF_DEVICE_RESUMING)
			assert_int_equal(noted.to[i], HF_DEVICE_STOP); /* the check of the load */
		at = noted.to[i];
	}
	assert_int_equal(at, to);
}

static void every_walk_asks_only_for_arcs_that_the_kernel_has(void **state)
{
	static const char *const uris[] = { "sim:state=4K,flags=1", "sim:state=4K,flags=3",
					    "sim:state=4K,flags=5", "sim:state=4K,flags=7" };
	uint32_t walks = 0;

	(void)state;
	noted.failing = -1;
	for (size_t u = 0; u < sizeof(uris) / sizeof(uris[0]); u++) {
		struct bytes whole = { 0 };
		struct bench b;

		bench_open(&b, uris[u], 0);
		save_rest(&b, &whole);
		for (uint32_t from = 1; from < HF_DEVICE_STATE_COUNT; from++)
			for (uint32_t to = 1; to < HF_DEVICE_STATE_COUNT; to++) {
				struct hf_error err = { 0 };

				assert_int_equal(hf_device_has_state(b.flags, to),
						 arcs_has_state(b.flags, to));
				if (!arcs_has_state(b.flags, from) || !arcs_has_state(b.flags, to))
					continue;
				if (walk(&b, from, to, &whole, &err) < 0)
					fail_msg("flags %u, %s to %s: %s", b.flags,
						 hf_device_state_name(from),
						 hf_device_state_name(to), err.text);
				assert_int_equal(state_of(&b), to);
				check_requests(b.flags, from, to);
				assert_int_equal(noted.count == 0, from == to);
				walks++;
			}
		free_bytes(&whole);
		bench_close(&b);
	}
	assert_int_equal(walks, 4 * 4 + 5 * 5 + 5 * 5 + 7 * 7);
}

static void a_request_that_fails_ends_the_walk_and_is_named(void **state)
{
	struct bytes whole = { 0 };
	struct hf_error err = { 0 };
	struct bench b;

	(void)state;
	bench_open(&b, "sim:state=4K", 0);
	noted.failing = 1;
	assert_int_equal(walk(&b, HF_DEVICE_RUNNING, HF_DEVICE_STOP, &whole, &err),
			 HF_E_DEVICE_STATE);
	assert_int_equal(noted.count, 2);
	assert_int_equal(err.cause, EBUSY);
	assert_non_null(strstr(err.text, "RUNNING_P2P -> STOP"));
	assert_non_null(strstr(err.text, "stands in RUNNING_P2P"));
	noted.failing = -1;
	bench_close(&b);
}

static void states_that_it_lacks_and_errors_are_refused(void **state)
{
	struct hf_error err = { 0 };
	struct hf_device none = { 0 };
	struct bench b;

	(void)state;
	bench_open(&b, "sim:state=4K,flags=1", 0);
	for (uint32_t to = 0; to < HF_DEVICE_STATE_COUNT + 2; to++) {
		err = (struct hf_error){ 0 };
		if (!arcs_has_state(1, to))
			assert_int_equal(hf_device_walk(&b.device, to, &err), HF_E_INVALID);
	}
	assert_int_equal(hf_device_has_state(7, HF_DEVICE_ERROR), 0);
	assert_int_equal(hf_device_has_state(7, UINT32_MAX), 0);
	assert_int_equal(hf_device_walk(&none, HF_DEVICE_STOP, NULL), HF_E_INVALID);
	assert_int_equal(hf_device_walk(NULL, HF_DEVICE_STOP, NULL), HF_E_INVALID);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_walk_asks_only_for_arcs_that_the_kernel_has),
		cmocka_unit_test(a_request_that_fails_ends_the_walk_and_is_named),
		cmocka_unit_test(states_that_it_lacks_and_errors_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
