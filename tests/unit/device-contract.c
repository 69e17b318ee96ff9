/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contract of struct hf_device_ops, as the vfio uAPI has it: arcs, the rules of the data
 * stream, stopping, resetting, moving. One suite for every kind of device with every set of flags,
 * bare and behind a filter that lets all pass.
 */
#include "device-fixture.h"
#include "vfio-kernel.h"

struct variant {
	const char *name, *uri;
	int filtered;
	const char *keys; /* not NULL: of the device in a kernel with VFIO, which uri names */
};

#define STATE_BLOCKS 16u
#define KEYS(flags) "state=64K,flags=" flags
#define URI(flags) "sim:" KEYS(flags)
#define BY(path) "vfio:0000:17:00.1,path=" path
/* clang-format off */
static struct variant variants[] = {
	{ "flags 1", URI("1"), 0 }, { "flags 1, filtered", URI("1"), 1 },
	{ "flags 3", URI("3"), 0 }, { "flags 3, filtered", URI("3"), 1 },
	{ "flags 5", URI("5"), 0 }, { "flags 5, filtered", URI("5"), 1 },
	{ "flags 7", URI("7"), 0 }, { "flags 7, filtered", URI("7"), 1 },
	{ "flags 7, short reads and writes", URI("7") ",seed=7", 0 },
	{ "vfio by group, flags 1", BY("group"), 0, KEYS("1") },
	{ "vfio by group, flags 3", BY("group"), 0, KEYS("3") },
	{ "vfio by group, flags 5", BY("group"), 0, KEYS("5") },
	{ "vfio by group, flags 7", BY("group"), 0, KEYS("7") },
	{ "vfio by cdev, flags 1", BY("cdev"), 0, KEYS("1") },
	{ "vfio by cdev, flags 3", BY("cdev"), 0, KEYS("3") },
	{ "vfio by cdev, flags 5", BY("cdev"), 0, KEYS("5") },
	{ "vfio by cdev, flags 7", BY("cdev"), 0, KEYS("7") },
	{ "vfio by cdev, flags 7, short reads and writes", BY("cdev"), 0, KEYS("7") ",seed=7" },
};
/* clang-format on */

struct fixture {
	const struct variant *variant;
	struct bench a;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->variant = *state;
	if (f->variant->keys) {
		kernel.devices[0] = (struct kernel_device){ .address = "0000:17:00.1",
							    .group = "12",
							    .driver = "fake-vfio-pci",
							    .keys = f->variant->keys };
		kernel_start();
	}
	bench_open(&f->a, f->variant->uri, f->variant->filtered);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	bench_close(&f->a);
	if (f->variant->keys)
		kernel_end();
	free(f);
	return 0;
}

/*
 * Through a socket each write is a message there and back, so that single bytes take long; they
 * would show nothing new, since the model behind it is the one that is tested in this process.
 */
static int is_too_small(size_t chunk)
{
	return bench_served && chunk < 1000;
}

/* ---- arcs ---------------------------------------------------------------------------------- */

static void some_history(struct bench *b)
{
	for (uint32_t i = 0; i < 5; i++)
		fill(b, RAM_IOVA + 0x10000 + i * 0x3000, 4096);
}

static void every_pair_of_states_is_as_the_kernel_has_it(void **state)
{
	struct fixture *f = *state;
	struct bench *b = &f->a;
	struct bytes whole = { 0 };
	uint32_t path[ARCS_PATH_MAX];

	some_history(b);
	save_rest(b, &whole);
	for (uint32_t from = 1; from < HF_DEVICE_STATE_COUNT; from++) {
		for (uint32_t to = 0; to < HF_DEVICE_STATE_COUNT + 2; to++) {
			int n;

			if (!arcs_has_state(b->flags, from))
				continue;
			assert_int_equal(OPS(b)->reset(SELF(b)), 0);
			walk_to(b, from);
			if (from == HF_DEVICE_RESUMING) /* or it could not be left */
				assert_int_equal(write_stream(b, whole.data, whole.size, 4096), 0);
			n = to < HF_DEVICE_STATE_COUNT ? arcs_path(b->flags, from, to, path) : -1;
			assert_int_equal(OPS(b)->set_state(SELF(b), to), n < 0 ? -EINVAL : 0);
			assert_int_equal(state_of(b), n < 0 ? from : to);
		}
	}
	assert_int_equal(OPS(b)->set_state(SELF(b), 0xffff), -EINVAL);
	assert_int_equal(OPS(b)->set_state(SELF(b), UINT32_MAX), -EINVAL);
	free_bytes(&whole);
}

static void a_long_walk_of_legal_arcs_never_loses_the_way(void **state)
{
	struct fixture *f = *state;
	struct bench *b = &f->a;
	uint32_t at = HF_DEVICE_RUNNING, random = 1, path[ARCS_PATH_MAX];

	for (int i = 0; i < 3000; i++) {
		uint32_t to;

		random = random * 1664525u + 1013904223u;
		to = random >> 28;
		if (to >= HF_DEVICE_STATE_COUNT || to == HF_DEVICE_RESUMING ||
		    arcs_path(b->flags, at, to, path) < 0)
			continue;
		go(b, to);
		at = to;
	}
	go(b, HF_DEVICE_RUNNING);
	some_history(b);
	check_internal_state(b);
}

static void asking_for_the_state_it_stands_in_disturbs_no_session(void **state)
{
	struct fixture *f = *state;
	struct bench *b = &f->a;
	struct bytes s = { 0 };

	some_history(b);
	go(b, HF_DEVICE_STOP_COPY);
	(void)read_some(b, &s, 1000, 5000);
	go(b, HF_DEVICE_STOP_COPY);
	(void)read_some(b, &s, 1000, SIZE_MAX);

	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	go(b, HF_DEVICE_RESUMING);
	assert_int_equal(write_stream(b, s.data, 7000, 1000), 0);
	go(b, HF_DEVICE_RESUMING);
	assert_int_equal(write_stream(b, s.data + 7000, s.size - 7000, 1000), 0);
	go(b, HF_DEVICE_STOP);
	free_bytes(&s);
}

/* ---- data ---------------------------------------------------------------------------------- */

static void data_moves_only_in_the_states_for_it(void **state)
{
	struct fixture *f = *state;
	struct bench *b = &f->a;
	uint64_t initial = 0, dirty = 0;
	char byte = 0;

	for (uint32_t s = 1; s < HF_DEVICE_STATE_COUNT; s++) {
		int pre = s == HF_DEVICE_PRE_COPY || s == HF_DEVICE_PRE_COPY_P2P;

		if (!arcs_has_state(b->flags, s))
			continue;
		assert_int_equal(OPS(b)->reset(SELF(b)), 0);
		walk_to(b, s);
		if (arcs_saves(s))
			assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), 1);
		else
			assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), -ENODEV);
		if (s != HF_DEVICE_RESUMING)
			assert_int_equal(OPS(b)->write_data(SELF(b), &byte, 1), -ENODEV);
		assert_int_equal(OPS(b)->precopy_info(SELF(b), &initial, &dirty),
				 pre ? 0 : -EINVAL);
	}
}

static void the_stream_is_the_same_in_any_size_of_reads(void **state)
{
	static const size_t chunks[] = { 1, 7, 4095, 4096, (1u << 20) + 1 };
	struct fixture *f = *state;
	struct bench *b = &f->a;
	struct bytes first = { 0 };

	some_history(b);
	save_rest(b, &first);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		struct bytes again = { 0 };

		go(b, HF_DEVICE_STOP);
		go(b, HF_DEVICE_STOP_COPY);
		(void)read_some(b, &again, chunks[i], SIZE_MAX);
		assert_same(&first, &again);
		free_bytes(&again);
	}
	free_bytes(&first);
}

static void a_load_is_the_same_in_any_size_of_writes_and_saves_as_the_same(void **state)
{
	static const size_t chunks[] = { 1, 7, 4095, 4129, (1u << 20) + 1 };
	struct fixture *f = *state;
	struct bench *b = &f->a;
	struct bytes first = { 0 };

	some_history(b);
	save_rest(b, &first);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		struct bytes again = { 0 };

		if (is_too_small(chunks[i]))
			continue;
		assert_int_equal(OPS(b)->reset(SELF(b)), 0);
		assert_int_equal(load(b, &first, chunks[i]), 0);
		go(b, HF_DEVICE_STOP);
		save_rest(b, &again);
		assert_same(&first, &again);
		free_bytes(&again);
	}
	free_bytes(&first);
}

static void pre_copy_ends_for_now_goes_on_and_counts(void **state)
{
	struct fixture *f = *state;
	struct bench *b = &f->a;
	uint64_t initial = 0, dirty = 0, before;
	struct bytes s = { 0 };
	char byte;

	if (!(b->flags & HF_MIG_PRE_COPY))
		return; /* nothing to see: the state is refused, which the arcs' test shows */
	some_history(b);
	go(b, HF_DEVICE_PRE_COPY);
	assert_int_equal(OPS(b)->precopy_info(SELF(b), &initial, &dirty), 0);
	assert_true(initial > STATE_BLOCKS * 4096);
	assert_int_equal(dirty, 0);
	before = initial;
	while (initial) {
		assert_true(read_some(b, &s, 3000, 3000) > 0);
		assert_int_equal(OPS(b)->precopy_info(SELF(b), &initial, &dirty), 0);
		assert_true(initial < before);
		before = initial;
	}
	assert_int_equal(dirty, 0);
	assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), -ENOMSG);
	assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), -ENOMSG);

	fill(b, RAM_IOVA + 0x20000, 4096);
	assert_int_equal(OPS(b)->precopy_info(SELF(b), &initial, &dirty), 0);
	assert_int_equal(initial, 0);
	assert_true(dirty > 4096);
	assert_int_equal(read_some(b, &s, 3000, SIZE_MAX), dirty);
	assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), -ENOMSG);
	save_rest(b, &s);

	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	assert_int_equal(load(b, &s, 5000), 0);
	go(b, HF_DEVICE_RUNNING);
	assert_int_equal(reg64(b, HF_SIM_COMPLETED), 6);
	check_internal_state(b);
	free_bytes(&s);
}

static void what_changes_often_is_sent_again_once(void **state)
{
	struct fixture *f = *state;
	struct bench *b = &f->a;
	uint64_t initial = 0, dirty = 0, all = 0;
	struct bytes s = { 0 };

	if (!(b->flags & HF_MIG_PRE_COPY))
		return;
	go(b, HF_DEVICE_PRE_COPY);
	(void)read_some(b, &s, 4096, SIZE_MAX);
	for (uint32_t i = 0; i < 3 * STATE_BLOCKS; i++) {
		fill(b, RAM_IOVA + 0x20000, 8);
		assert_int_equal(OPS(b)->precopy_info(SELF(b), &initial, &dirty), 0);
		if (i + 1 == STATE_BLOCKS)
			all = dirty;
	}
	assert_int_equal(dirty, all);
	assert_int_equal(read_some(b, &s, 4096, SIZE_MAX), all);
	save_rest(b, &s);
	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	assert_int_equal(load(b, &s, 4096), 0);
	go(b, HF_DEVICE_STOP);
	free_bytes(&s);
}

/* limit: how much is read in PRE_COPY, while commands go on. */
static void move_with_pre_copy(struct bench *b, size_t limit)
{
	struct bytes s = { 0 };
	uint64_t completed;

	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	some_history(b);
	go(b, HF_DEVICE_PRE_COPY);
	for (size_t done = 0; done < limit;) {
		size_t n = read_some(b, &s, 999, 10000);

		fill(b, RAM_IOVA + 0x30000, 8);
		done += n ? n : 10000;
	}
	if (b->flags & HF_MIG_P2P) {
		go(b, HF_DEVICE_PRE_COPY_P2P);
		(void)read_some(b, &s, 999, limit / 2);
		fill(b, RAM_IOVA + 0x30000, 8);
	}
	completed = reg64(b, HF_SIM_COMPLETED);
	save_rest(b, &s);

	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	assert_int_equal(load(b, &s, 1234), 0);
	go(b, HF_DEVICE_STOP);
	assert_int_equal(reg64(b, HF_SIM_COMPLETED), completed);
	go(b, HF_DEVICE_RUNNING);
	check_internal_state(b);
	fill(b, RAM_IOVA, 8);
	free_bytes(&s);
}

static void a_move_works_however_much_was_read_in_pre_copy(void **state)
{
	struct fixture *f = *state;

	if (!(f->a.flags & HF_MIG_PRE_COPY))
		return;
	move_with_pre_copy(&f->a, 0);
	move_with_pre_copy(&f->a, 20000);
	move_with_pre_copy(&f->a, 70000);
	move_with_pre_copy(&f->a, 300000);
}

static void cancelled_pre_copy_leaves_a_working_device(void **state)
{
	struct fixture *f = *state;
	struct bench *b = &f->a;
	struct bytes s = { 0 };

	if (!(b->flags & HF_MIG_PRE_COPY))
		return;
	go(b, HF_DEVICE_PRE_COPY);
	(void)read_some(b, &s, 4096, 9000);
	go(b, HF_DEVICE_RUNNING);
	some_history(b);
	check_internal_state(b);
	free_bytes(&s);
}

static void the_estimate_of_the_stream_is_right_when_nothing_changes(void **state)
{
	struct fixture *f = *state;
	struct bench *b = &f->a;
	struct bytes s = { 0 };
	uint64_t size = 0, rest = 0;

	some_history(b);
	assert_int_equal(OPS(b)->data_size(SELF(b), &size), 0);
	go(b, HF_DEVICE_STOP_COPY);
	(void)read_some(b, &s, 1000, 5000);
	assert_int_equal(OPS(b)->data_size(SELF(b), &rest), 0);
	assert_int_equal(rest, size - s.size);
	(void)read_some(b, &s, 1000, SIZE_MAX);
	assert_int_equal(s.size, size);
	assert_int_equal(OPS(b)->data_size(SELF(b), &rest), 0);
	assert_int_equal(rest, 0);
	free_bytes(&s);
}

/* ---- reset --------------------------------------------------------------------------------- */

static void a_reset_in_any_state_gives_a_new_device(void **state)
{
	struct fixture *f = *state;
	struct bench *b = &f->a;
	char byte = 0;

	for (uint32_t s = 1; s < HF_DEVICE_STATE_COUNT; s++) {
		if (!arcs_has_state(b->flags, s))
			continue;
		some_history(b);
		walk_to(b, s);
		if (arcs_saves(s))
			assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), 1);
		assert_int_equal(OPS(b)->reset(SELF(b)), 0);
		assert_int_equal(state_of(b), HF_DEVICE_RUNNING);
		assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), -ENODEV);
		assert_int_equal(OPS(b)->write_data(SELF(b), &byte, 1), -ENODEV);
		assert_int_equal(reg64(b, HF_SIM_SUBMITTED), 0);
		assert_int_equal(reg64(b, HF_SIM_COMPLETED), 0);
		assert_int_equal(reg64(b, HF_SIM_RING), 0);
		check_internal_state(b);
	}
}

static void a_load_that_is_given_up_is_gone_with_a_reset(void **state)
{
	struct fixture *f = *state;
	struct bench *b = &f->a;
	struct bytes s = { 0 };

	some_history(b);
	save_rest(b, &s);
	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	go(b, HF_DEVICE_RESUMING);
	assert_int_equal(write_stream(b, s.data, s.size / 2, 4096), 0);
	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	check_internal_state(b);
	assert_int_equal(load(b, &s, 4096), 0);
	go(b, HF_DEVICE_RUNNING);
	assert_int_equal(reg64(b, HF_SIM_COMPLETED), 5);
	free_bytes(&s);
}

/* ---- the suite ----------------------------------------------------------------------------- */

#define TEST(name)                                                                                 \
	{                                                                                          \
#name, name                                                                        \
	}
static const struct {
	const char *name;
	CMUnitTestFunction function;
} tests[] = {
	TEST(every_pair_of_states_is_as_the_kernel_has_it),
	TEST(a_long_walk_of_legal_arcs_never_loses_the_way),
	TEST(asking_for_the_state_it_stands_in_disturbs_no_session),
	TEST(data_moves_only_in_the_states_for_it),
	TEST(the_stream_is_the_same_in_any_size_of_reads),
	TEST(a_load_is_the_same_in_any_size_of_writes_and_saves_as_the_same),
	TEST(pre_copy_ends_for_now_goes_on_and_counts),
	TEST(what_changes_often_is_sent_again_once),
	TEST(a_move_works_however_much_was_read_in_pre_copy),
	TEST(cancelled_pre_copy_leaves_a_working_device),
	TEST(the_estimate_of_the_stream_is_right_when_nothing_changes),
	TEST(a_reset_in_any_state_gives_a_new_device),
	TEST(a_load_that_is_given_up_is_gone_with_a_reset),
};

#define TESTS (sizeof(tests) / sizeof(tests[0]))
#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

int main(int argc, char **argv)
{
	static struct CMUnitTest all[TESTS * VARIANTS];
	static char names[TESTS * VARIANTS][128];
	size_t count = 0;

	bench_arguments(argc, argv);
	for (size_t i = 0; i < TESTS * VARIANTS; i++) {
		struct variant *v = &variants[i / TESTS];

		if (bench_served && v->keys)
			continue; /* a kernel's devices are not served */
		(void)snprintf(names[count], sizeof(names[count]), "%s (%s%s%s)",
			       tests[i % TESTS].name, v->name, bench_served ? ", vfio-user " : "",
			       bench_served ? bench_served : "");
		all[count] = (struct CMUnitTest){ names[count], tests[i % TESTS].function, setup,
						  teardown, v };
		count++;
	}
	/* What cmocka_run_group_tests() does, of as many as there are. */
	return _cmocka_run_group_tests("device-contract", all, count, NULL, NULL);
}
