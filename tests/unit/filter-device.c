/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices behind filters: which call is struck, and what the device does then. */
#include "device-fixture.h"

/* A simulated device with one filter; the specification is the test's. */
static struct bench b;
static struct bytes whole; /* the stream of a device with some history */

static void open_with(const char *spec)
{
	struct hf_error err = { 0 };

	bench_open(&b, "sim:state=16K", 0);
	fill(&b, RAM_IOVA + 0x10000, 64);
	fill(&b, RAM_IOVA + 0x10000, 64);
	whole.size = 0;
	save_rest(&b, &whole);
	assert_int_equal(OPS(&b)->reset(SELF(&b)), 0);
	assert_int_equal(hf_filters_new(&b.filters, NULL), 0);
	if (hf_filters_add(b.filters, spec, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(hf_filters_device(b.filters, 1, &b.device, NULL), 0);
	assert_string_equal(OPS(&b)->kind, "filter");
}

static int set_to(uint32_t state)
{
	return OPS(&b)->set_state(SELF(&b), state);
}

static void the_nth_matching_call_fails_and_the_device_stays(void **state)
{
	(void)state;
	open_with("fault:device.set_state=STOP:2:EBUSY");
	go(&b, HF_DEVICE_STOP);
	go(&b, HF_DEVICE_RUNNING);
	go(&b, HF_DEVICE_RUNNING_P2P);
	assert_int_equal(set_to(HF_DEVICE_STOP), -EBUSY);
	assert_int_equal(state_of(&b), HF_DEVICE_RUNNING_P2P);
	go(&b, HF_DEVICE_STOP);
	bench_close(&b);
}

static void from_the_nth_on_all_fail(void **state)
{
	(void)state;
	open_with("fault:device.reset:2+");
	assert_int_equal(OPS(&b)->reset(SELF(&b)), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(OPS(&b)->reset(SELF(&b)), -EIO);
	bench_close(&b);
}

static void after_means_it_happened_all_the_same(void **state)
{
	(void)state;
	open_with("fault:device.set_state:1:EIO:after");
	assert_int_equal(set_to(HF_DEVICE_STOP), -EIO);
	assert_int_equal(state_of(&b), HF_DEVICE_STOP);
	bench_close(&b);
}

static void error_lasts_until_a_reset(void **state)
{
	char byte;

	(void)state;
	open_with("fault:device.set_state=STOP_COPY:1:error");
	assert_int_equal(set_to(HF_DEVICE_STOP_COPY), -EIO);
	assert_int_equal(state_of(&b), HF_DEVICE_ERROR);
	assert_int_equal(set_to(HF_DEVICE_RUNNING), -EIO);
	assert_int_equal(OPS(&b)->read_data(SELF(&b), &byte, 1), -EIO);
	assert_int_equal(state_of(&b), HF_DEVICE_ERROR);
	assert_int_equal(OPS(&b)->reset(SELF(&b)), 0);
	assert_int_equal(state_of(&b), HF_DEVICE_RUNNING);
	go(&b, HF_DEVICE_STOP_COPY);
	bench_close(&b);
}

static void noreset_keeps_it_there(void **state)
{
	(void)state;
	open_with("fault:device.set_state:1:ENODEV:error:noreset");
	assert_int_equal(set_to(HF_DEVICE_STOP), -ENODEV);
	assert_int_equal(OPS(&b)->reset(SELF(&b)), -ENODEV);
	assert_int_equal(state_of(&b), HF_DEVICE_ERROR);
	assert_int_equal(OPS(&b)->reset(SELF(&b)), -ENODEV);
	bench_close(&b);
}

static void a_state_selects_calls_without_one_by_where_it_stands(void **state)
{
	char byte;

	(void)state;
	open_with("fault:device.read_data=STOP_COPY:1:EIO");
	go(&b, HF_DEVICE_PRE_COPY);
	assert_int_equal(OPS(&b)->read_data(SELF(&b), &byte, 1), 1);
	go(&b, HF_DEVICE_STOP_COPY);
	assert_int_equal(OPS(&b)->read_data(SELF(&b), &byte, 1), -EIO);
	assert_int_equal(OPS(&b)->read_data(SELF(&b), &byte, 1), 1);
	bench_close(&b);
}

/* What a load of the stream that the filtered device gives comes to. */
static int save_and_load(const char *spec, size_t *ret_size)
{
	struct bytes s = { 0 };
	struct bench target;
	int r;

	open_with(spec);
	assert_int_equal(load(&b, &whole, 4096), 0);
	go(&b, HF_DEVICE_STOP);
	save_rest(&b, &s);
	bench_open(&target, "sim:state=16K", 0);
	go(&target, HF_DEVICE_RESUMING);
	(void)write_stream(&target, s.data, s.size, 4096);
	r = OPS(&target)->set_state(SELF(&target), HF_DEVICE_STOP);
	*ret_size = s.size;
	bench_close(&target);
	bench_close(&b);
	free_bytes(&s);
	return r;
}

static void what_is_done_to_reads_is_noticed_at_the_target(void **state)
{
	size_t size = 0;

	(void)state;
	assert_int_equal(save_and_load("fault:device.read_data:4000000000:cut", &size), 0);
	assert_int_equal(size, whole.size);
	assert_int_equal(save_and_load("fault:device.read_data:2:cut", &size), -EINVAL);
	assert_true(size < whole.size);
	assert_int_equal(save_and_load("fault:device.read_data:2:flip", &size), -EINVAL);
	assert_int_equal(size, whole.size);
	assert_int_equal(save_and_load("fault:device.read_data:1:repeat", &size), -EINVAL);
	assert_int_equal(size, whole.size + 4096);
	assert_int_equal(save_and_load("fault:device.read_data:1:extra", &size), -EINVAL);
	assert_int_equal(size, whole.size + 16);
	assert_int_equal(save_and_load("fault:device.read_data:1:foreign", &size), -EINVAL);
	assert_int_equal(size, whole.size);
}

static int load_through(const char *spec)
{
	int r;

	open_with(spec);
	go(&b, HF_DEVICE_RESUMING);
	(void)write_stream(&b, whole.data, whole.size, 5000);
	r = set_to(HF_DEVICE_STOP);
	bench_close(&b);
	return r;
}

static void what_is_done_to_writes_is_noticed_by_the_device(void **state)
{
	(void)state;
	assert_int_equal(load_through("fault:device.write_data:4000000000:flip"), 0);
	assert_int_equal(load_through("fault:device.write_data:3:cut"), -EINVAL);
	assert_int_equal(load_through("fault:device.write_data:3:flip"), -EINVAL);
	assert_int_equal(load_through("fault:device.write_data:1:repeat"), -EINVAL);
	assert_int_equal(load_through("fault:device.write_data:1:extra"), -EINVAL);
	assert_int_equal(load_through("fault:device.write_data:1:foreign"), -EINVAL);
}

static void a_cut_ends_with_the_session(void **state)
{
	struct bytes s = { 0 };

	(void)state;
	open_with("fault:device.read_data:1:cut");
	go(&b, HF_DEVICE_STOP_COPY);
	assert_int_equal(read_some(&b, &s, 100, SIZE_MAX), 0);
	go(&b, HF_DEVICE_STOP);
	go(&b, HF_DEVICE_STOP_COPY);
	assert_int_equal(read_some(&b, &s, 4096, SIZE_MAX), whole.size);
	free_bytes(&s);
	bench_close(&b);
}

static void a_delay_is_at_least_that_long(void **state)
{
	uint64_t from_ns;

	(void)state;
	open_with("delay:device[1].set_state=STOP:200");
	from_ns = time_now_ns();
	go(&b, HF_DEVICE_STOP);
	assert_true(time_now_ns() - from_ns >= 200 * NS_PER_MS);
	bench_close(&b);

	open_with("delay:device[1].set_state=RESUMING:60000"); /* another state's delay */
	from_ns = time_now_ns();
	go(&b, HF_DEVICE_STOP_COPY);
	assert_true(time_now_ns() - from_ns < 60000 * NS_PER_MS);
	bench_close(&b);
}

static void a_device_that_is_not_named_is_not_wrapped(void **state)
{
	const struct hf_device_ops *raw;

	(void)state;
	bench_open(&b, "sim:state=4K", 0);
	raw = OPS(&b);
	assert_int_equal(hf_filters_new(&b.filters, NULL), 0);
	assert_int_equal(hf_filters_add(b.filters, "fault:device[0].reset:1", NULL), 0);
	assert_int_equal(hf_filters_add(b.filters, "fault:channel.send:1", NULL), 0);
	assert_int_equal(hf_filters_device(b.filters, 1, &b.device, NULL), 0);
	assert_ptr_equal(OPS(&b), raw);
	bench_close(&b);
}

static void each_device_has_its_own_count(void **state)
{
	struct hf_device second = { 0 };

	(void)state;
	open_with("fault:device.reset:2");
	assert_int_equal(hf_device_open("sim:state=4K", NULL, &second, NULL), 0);
	assert_int_equal(hf_filters_device(b.filters, 2, &second, NULL), 0);
	assert_int_equal(OPS(&b)->reset(SELF(&b)), 0);
	assert_int_equal(second.ops->reset(second.self), 0);
	assert_int_equal(second.ops->reset(second.self), -EIO);
	assert_int_equal(OPS(&b)->reset(SELF(&b)), -EIO);
	hf_device_close(&second);
	bench_close(&b);
}

static int free_whole(void **state)
{
	(void)state;
	free_bytes(&whole);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_nth_matching_call_fails_and_the_device_stays),
		cmocka_unit_test(from_the_nth_on_all_fail),
		cmocka_unit_test(after_means_it_happened_all_the_same),
		cmocka_unit_test(error_lasts_until_a_reset),
		cmocka_unit_test(noreset_keeps_it_there),
		cmocka_unit_test(a_state_selects_calls_without_one_by_where_it_stands),
		cmocka_unit_test(what_is_done_to_reads_is_noticed_at_the_target),
		cmocka_unit_test(what_is_done_to_writes_is_noticed_by_the_device),
		cmocka_unit_test(a_cut_ends_with_the_session),
		cmocka_unit_test(a_delay_is_at_least_that_long),
		cmocka_unit_test(a_device_that_is_not_named_is_not_wrapped),
		cmocka_unit_test(each_device_has_its_own_count),
	};

	return cmocka_run_group_tests(tests, NULL, free_whole);
}
