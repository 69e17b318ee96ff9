/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control socket and the operator hear of a guest's devices. */
#include "qmp-vmm.h"

static void device_event_is(const char *name, const char *device)
{
	json_t *data = event_of(vmm.client, name);

	assert_string_equal(query_text(data, "device"), device);
	json_decref(data);
}

static bool is_wanted(size_t index)
{
	json_t *answer = call("query-guest", NULL);
	const json_t *device = json_array_get(json_object_get(answer, "devices"), index);
	bool wanted = json_is_true(json_object_get(device, "wanted"));

	assert_non_null(device);
	json_decref(answer);
	return wanted;
}

static void a_device_that_the_host_wants_is_told_once(void **state)
{
	(void)state;
	fake_guest_device(vmm.config.guest, "vfio0", 0);
	fake_guest_device(vmm.config.guest, "vfio1", 0);
	start();
	assert_false(is_wanted(1));
	vmm.config.guest->devices_wanted = 2; /* the main loop reads it after the event only */
	fake_guest_event(vmm.config.guest, GUEST_EVENT_DEVICE_WANTED);
	device_event_is("DEVICE_WANTED", "vfio1");
	assert_true(is_wanted(1));
	assert_false(is_wanted(0));
	vmm.config.guest->devices_wanted = 3;
	fake_guest_event(vmm.config.guest, GUEST_EVENT_DEVICE_WANTED);
	device_event_is("DEVICE_WANTED", "vfio0");
	status_is("running"); /* it goes on */
	does("quit", NULL);
	ended(0);
	assert_non_null(strstr(vmm.said, "wants device vfio1 back"));
	assert_null(strstr(strstr(vmm.said, "vfio1 back") + 1, "vfio1 back"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_device_that_the_host_wants_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
