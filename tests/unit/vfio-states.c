/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the backend for kernel devices makes of a kernel's failures: arcs that lock kernels up, data
 * descriptors that are lost, loads that drivers would forgive, states that change underneath. On
 * the kernel of vfio-kernel.h; what holds without failures is the contract's (device-contract.c).
 */
#include "device-fixture.h"
#include "vfio-kernel.h"

#define DEVICE (&kernel.devices[0])

static struct bench bench;

static int setup_with(const char *keys, void (*change)(struct kernel_device *d))
{
	*DEVICE = (struct kernel_device){
		.address = "0000:17:00.1", .group = "12", .driver = "fake-vfio-pci", .keys = keys
	};
	if (change)
		change(DEVICE);
	kernel_start();
	bench_open(&bench, "vfio:0000:17:00.1", 0);
	return 0;
}

static int setup(void **state)
{
	*state = &bench;
	return setup_with("state=64K", NULL);
}

static int teardown(void **state)
{
	(void)state;
	bench_close(&bench);
	kernel_end();
	return 0;
}

/* ---- arcs ---------------------------------------------------------------------------------- */

static void no_arc_that_locks_a_kernel_up_is_asked_for(void **state)
{
	struct bench *b = *state;
	uint32_t sets;

	go(b, HF_DEVICE_STOP_COPY);
	sets = DEVICE->sets;
	assert_int_equal(OPS(b)->set_state(SELF(b), HF_DEVICE_PRE_COPY), -EINVAL);
	assert_int_equal(OPS(b)->set_state(SELF(b), HF_DEVICE_PRE_COPY_P2P), -EINVAL);
	for (uint32_t to = HF_DEVICE_STATE_COUNT; to < 300; to++)
		assert_int_equal(OPS(b)->set_state(SELF(b), to), -EINVAL);
	assert_int_equal(OPS(b)->set_state(SELF(b), HF_DEVICE_ERROR), -EINVAL);
	assert_int_equal(DEVICE->sets, sets);
	assert_int_equal(DEVICE->lockups, 0);
	assert_int_equal(state_of(b), HF_DEVICE_STOP_COPY);
}

/* From every state to every state, with the data descriptor lost on the way as well. */
static void nor_while_it_recovers(void **state)
{
	struct bench *b = *state;
	struct bytes whole = { 0 };
	uint32_t path[ARCS_PATH_MAX];

	save_rest(b, &whole);
	for (uint32_t lose = 0; lose < 4; lose++)
		for (uint32_t from = 1; from < HF_DEVICE_STATE_COUNT; from++)
			for (uint32_t to = 1; to < HF_DEVICE_STATE_COUNT; to++) {
				assert_int_equal(OPS(b)->reset(SELF(b)), 0);
				walk_to(b, from);
				if (from == HF_DEVICE_RESUMING)
					assert_int_equal(
						write_stream(b, whole.data, whole.size, 4096), 0);
				DEVICE->lose_times = lose;
				DEVICE->lose_errno = EMFILE;
				(void)OPS(b)->set_state(SELF(b), to);
				DEVICE->lose_times = 0;
				if (arcs_path(b->flags, from, to, path) >= 0 &&
				    !(from == HF_DEVICE_STOP_COPY && arcs_saves(to)))
					(void)OPS(b)->set_state(SELF(b), to);
			}
	assert_int_equal(DEVICE->lockups, 0);
	free_bytes(&whole);
}

static void a_failing_arc_leaves_it_where_the_kernel_says(void **state)
{
	struct bench *b = *state;

	DEVICE->fail_from = HF_DEVICE_STOP;
	DEVICE->fail_to = HF_DEVICE_STOP_COPY;
	DEVICE->fail_times = 1;
	DEVICE->fail_errno = ETIMEDOUT;
	assert_int_equal(OPS(b)->set_state(SELF(b), HF_DEVICE_STOP_COPY), -ETIMEDOUT);
	assert_int_equal(state_of(b), HF_DEVICE_STOP);
	go(b, HF_DEVICE_STOP_COPY);
	go(b, HF_DEVICE_RUNNING);
	/* In the middle of the saving states the session goes on. */
	go(b, HF_DEVICE_PRE_COPY);
	DEVICE->fail_from = HF_DEVICE_PRE_COPY_P2P;
	DEVICE->fail_times = 1;
	assert_int_equal(OPS(b)->set_state(SELF(b), HF_DEVICE_STOP_COPY), -ETIMEDOUT);
	assert_int_equal(state_of(b), HF_DEVICE_PRE_COPY_P2P);
	assert_true(OPS(b)->read_data(SELF(b), &(char){ 0 }, 1) == 1);
	assert_int_equal(kernel_open_fds(), 3); /* iommufd, device, data: and no more */
}

/* ---- the data descriptor ------------------------------------------------------------------- */

static void a_descriptor_that_is_lost_is_had_by_leaving_and_entering(void **state)
{
	/* 0: a driver that says it succeeded, and gives none */
	static const int numbers[] = { EMFILE, ENFILE, EFAULT, 0 };
	static const uint32_t to[] = { HF_DEVICE_STOP_COPY, HF_DEVICE_PRE_COPY,
				       HF_DEVICE_PRE_COPY_P2P, HF_DEVICE_RESUMING };
	struct bench *b = *state;

	for (int i = 0; i < 16; i++) {
		char byte = 0;

		assert_int_equal(OPS(b)->reset(SELF(b)), 0);
		DEVICE->lose_times = 1;
		DEVICE->lose_errno = numbers[i / 4];
		go(b, to[i % 4]);
		if (to[i % 4] == HF_DEVICE_RESUMING)
			assert_int_equal(OPS(b)->write_data(SELF(b), &byte, 1), 1);
		else
			assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), 1);
	}
}

static void one_that_stays_lost_is_an_error_and_no_dead_end(void **state)
{
	static const uint32_t to[] = { HF_DEVICE_STOP_COPY, HF_DEVICE_PRE_COPY,
				       HF_DEVICE_PRE_COPY_P2P, HF_DEVICE_RESUMING };
	struct bench *b = *state;

	for (int i = 0; i < 8; i++) {
		uint32_t at;

		DEVICE->lose_times = UINT32_MAX;
		DEVICE->lose_errno = i < 4 ? EMFILE : 0;
		assert_int_equal(OPS(b)->set_state(SELF(b), to[i % 4]), i < 4 ? -EMFILE : -EBADF);
		at = state_of(b);
		assert_false(arcs_saves(at) || at == HF_DEVICE_RESUMING);
		assert_true(DEVICE->sets < 40); /* it gives up */
		DEVICE->sets = 0;
		DEVICE->lose_times = 0;
		go(b, to[i % 4]);
		assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	}
}

static void the_descriptor_is_closed_with_its_session(void **state)
{
	struct bench *b = *state;
	uint32_t open = kernel_open_fds();

	go(b, HF_DEVICE_PRE_COPY);
	assert_int_equal(kernel_open_fds(), open + 1);
	go(b, HF_DEVICE_STOP_COPY);
	assert_int_equal(kernel_open_fds(), open + 1);
	go(b, HF_DEVICE_RESUMING); /* one for the other */
	assert_int_equal(kernel_open_fds(), open + 1);
	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	assert_int_equal(kernel_open_fds(), open);
	go(b, HF_DEVICE_STOP_COPY);
	go(b, HF_DEVICE_STOP);
	assert_int_equal(kernel_open_fds(), open);
}

static void a_reset_by_somebody_else_ends_the_session(void **state)
{
	struct bench *b = *state;
	uint32_t open = kernel_open_fds();
	char byte = 0;

	go(b, HF_DEVICE_STOP_COPY);
	kernel_reset_underneath(0);
	assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), -ENODEV);
	assert_int_equal(state_of(b), HF_DEVICE_RUNNING);
	assert_int_equal(kernel_open_fds(), open);
	/* And the next session is a new one, also where nobody looked in between. */
	go(b, HF_DEVICE_PRE_COPY);
	kernel_reset_underneath(0);
	assert_int_equal(OPS(b)->set_state(SELF(b), HF_DEVICE_STOP_COPY), 0);
	assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), 1);
	assert_int_equal(kernel_open_fds(), open + 1);
}

/* ---- data ---------------------------------------------------------------------------------- */

static void zero_and_enomsg_are_alike_in_pre_copy(void **state)
{
	struct bench *b = *state;
	struct bytes s = { 0 };
	char byte = 0;

	DEVICE->read_max = 999;
	go(b, HF_DEVICE_PRE_COPY);
	assert_true(read_some(b, &s, 4096, SIZE_MAX) > 65536);
	assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), -ENOMSG);
	DEVICE->zero_at_end = 1;
	assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), 0);
	fill(b, RAM_IOVA, 8);
	assert_true(read_some(b, &s, 4096, SIZE_MAX) > 0);
	save_rest(b, &s);
	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	assert_int_equal(load(b, &s, 4096), 0);
	go(b, HF_DEVICE_RUNNING);
	check_internal_state(b);
	free_bytes(&s);
}

static void a_write_that_failed_spoils_the_load_whatever_the_driver_says(void **state)
{
	struct bench *b = *state;
	struct bytes s = { 0 };
	char byte = 0;

	save_rest(b, &s);
	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	DEVICE->forgives_writes = 1;
	DEVICE->write_errno = EFAULT;
	assert_int_equal(load(b, &s, 4096), -EFAULT);
	assert_int_equal(OPS(b)->write_data(SELF(b), &byte, 1), -EFAULT);
	for (uint32_t to = 1; to < HF_DEVICE_STATE_COUNT; to++)
		assert_int_equal(OPS(b)->set_state(SELF(b), to),
				 to == HF_DEVICE_RESUMING ? 0 : -EFAULT);
	assert_int_equal(state_of(b), HF_DEVICE_RESUMING);
	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	DEVICE->forgives_writes = 0;
	assert_int_equal(load(b, &s, 4096), 0);
	go(b, HF_DEVICE_STOP);
	free_bytes(&s);
}

static void new_initial_data_is_asked_for_and_told(void **state)
{
	struct bench *b = *state;
	uint64_t initial = 0, dirty = 0;
	struct bytes s = { 0 };

	assert_int_equal(DEVICE->opted_in, 1);
	go(b, HF_DEVICE_PRE_COPY);
	(void)read_some(b, &s, 4096, SIZE_MAX);
	fill(b, RAM_IOVA, 8);
	assert_int_equal(OPS(b)->precopy_info(SELF(b), &initial, &dirty), 0);
	assert_true(initial == 0 && dirty > 0);
	DEVICE->reinit = 1;
	assert_int_equal(OPS(b)->precopy_info(SELF(b), &initial, &dirty), 0);
	assert_true(initial > 0 && dirty == 0);
	free_bytes(&s);
}

/* ---- reset, open --------------------------------------------------------------------------- */

static void a_reset_that_fails_leaves_all_as_it_is(void **state)
{
	struct bench *b = *state;
	char byte = 0;

	go(b, HF_DEVICE_STOP_COPY);
	DEVICE->reset_errno = EINVAL;
	assert_int_equal(OPS(b)->reset(SELF(b)), -EINVAL);
	assert_int_equal(state_of(b), HF_DEVICE_STOP_COPY);
	assert_int_equal(OPS(b)->read_data(SELF(b), &byte, 1), 1);
	DEVICE->reset_errno = 0;
}

static void left_in_stop_copy(struct kernel_device *d)
{
	d->begins_in = HF_DEVICE_STOP_COPY;
}

static int setup_left(void **state)
{
	*state = &bench;
	return setup_with("state=64K", left_in_stop_copy);
}

static void one_that_its_last_user_left_stopped_runs(void **state)
{
	assert_int_equal(state_of(*state), HF_DEVICE_RUNNING);
}

static void one_that_does_not_run_is_not_opened(void **state)
{
	struct hf_device device;
	struct hf_error err = { 0 };

	(void)state;
	*DEVICE = (struct kernel_device){ .address = "0000:17:00.1",
					  .group = "12",
					  .driver = "fake-vfio-pci",
					  .begins_in = HF_DEVICE_STOP_COPY,
					  .reset_errno = EINVAL };
	kernel_start();
	assert_int_equal(hf_device_open("vfio:0000:17:00.1", NULL, &device, &err),
			 HF_E_DEVICE_STATE);
	assert_non_null(strstr(err.text, "stands in STOP_COPY"));
	kernel_end();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(no_arc_that_locks_a_kernel_up_is_asked_for),
		TEST(nor_while_it_recovers),
		TEST(a_failing_arc_leaves_it_where_the_kernel_says),
		TEST(a_descriptor_that_is_lost_is_had_by_leaving_and_entering),
		TEST(one_that_stays_lost_is_an_error_and_no_dead_end),
		TEST(the_descriptor_is_closed_with_its_session),
		TEST(a_reset_by_somebody_else_ends_the_session),
		TEST(zero_and_enomsg_are_alike_in_pre_copy),
		TEST(a_write_that_failed_spoils_the_load_whatever_the_driver_says),
		TEST(new_initial_data_is_asked_for_and_told),
		TEST(a_reset_that_fails_leaves_all_as_it_is),
		cmocka_unit_test_setup_teardown(one_that_its_last_user_left_stopped_runs,
						setup_left, teardown),
		cmocka_unit_test(one_that_does_not_run_is_not_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
