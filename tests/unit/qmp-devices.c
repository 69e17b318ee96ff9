/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control socket and the operator hear of a guest's devices. */
#include "qmp-vmm.h"

#include <errno.h>

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

/* An event of the guest's, and with it one that clients hear of: behind that it has been taken. */
static void guest_event_taken(struct guest *guest, uint32_t event, uint32_t device)
{
	guest->devices_wanted |= 1u << device;
	fake_guest_event(guest, event | GUEST_EVENT_DEVICE_WANTED);
	device_event_is("DEVICE_WANTED", guest->devices[device].name);
	status_is("running");
}

/* As query-guest says it; the caller drops it. NULL: it says nothing. */
static json_t *failed_of(size_t index, const char *what)
{
	json_t *answer = call("query-guest", NULL), *failed;
	const json_t *device = json_array_get(json_object_get(answer, "devices"), index);

	assert_non_null(device);
	failed = json_incref(json_object_get(device, what));
	json_decref(answer);
	return failed;
}

static void a_device_that_refuses_its_interrupts_is_told_once(void **state)
{
	struct guest *guest = vmm.config.guest;
	json_t *failed;
	char *said;

	(void)state;
	fake_guest_device(guest, "vfio0", 0);
	fake_guest_device(guest, "vfio1", 0);
	start();
	guest->irqs_failures[1].index = 1; /* the main loop reads it after the event only */
	guest->irqs_failures[1].error = ENOSPC;
	guest->irqs_failures[1].count = 3;
	guest_event_taken(guest, GUEST_EVENT_IRQS_FAILED, 1);
	assert_null(failed_of(0, "irqs-failed"));
	failed = failed_of(1, "irqs-failed");
	assert_non_null(failed);
	assert_string_equal(query_text(failed, "kind"), "MSI");
	assert_int_equal(json_integer_value(json_object_get(failed, "errno")), ENOSPC);
	assert_int_equal(json_integer_value(json_object_get(failed, "count")), 3);
	assert_string_equal(query_text(failed, "error"), "No space left on device");
	json_decref(failed);
	guest->irqs_failures[0].index = 2;
	guest->irqs_failures[0].error = EIO;
	guest->irqs_failures[0].count = 1;
	guest_event_taken(guest, GUEST_EVENT_IRQS_FAILED, 0);
	does("quit", NULL);
	ended(0);
	said = strstr(vmm.said, "device vfio1: its interrupts (MSI) could not be set as the guest "
				"wants them: No space left on device (errno 28)");
	assert_non_null(said);
	assert_null(strstr(strstr(said, "errno"), "vfio1"));
	assert_non_null(strstr(said, "device vfio0: its interrupts (MSI-X) "));
}

static void a_bar_that_is_not_mapped_is_told_once(void **state)
{
	struct guest *guest = vmm.config.guest;
	json_t *failed;
	const char *said;

	(void)state;
	fake_guest_device(guest, "vfio0", 0);
	fake_guest_device(guest, "vfio1", 0);
	start();
	assert_null(failed_of(0, "bars-failed"));
	/* The main loop reads it after the event only. */
	guest->bars_failures[0] = (struct guest_failure){ 1, 4, EEXIST };
	guest_event_taken(guest, GUEST_EVENT_BARS_FAILED, 0);
	guest->bars_failures[0] = (struct guest_failure){ 2, 4, ENOMEM };
	guest_event_taken(guest, GUEST_EVENT_BARS_FAILED, 1);
	failed = failed_of(0, "bars-failed");
	assert_non_null(failed);
	assert_int_equal(json_integer_value(json_object_get(failed, "bar")), 4);
	assert_int_equal(json_integer_value(json_object_get(failed, "count")), 2);
	assert_int_equal(json_integer_value(json_object_get(failed, "errno")), ENOMEM);
	json_decref(failed);
	does("quit", NULL);
	ended(0);
	said = strstr(vmm.said, "device vfio0: its BAR 4 could not be mapped, or taken away, as "
				"the guest wants it: File exists (errno 17)");
	assert_non_null(said);
	assert_null(strstr(strstr(said, "errno"), "BAR 4"));
}

static void peers_that_are_not_reached_are_told(void **state)
{
	struct guest *guest = vmm.config.guest;
	json_t *answer;
	const json_t *refused;

	(void)state;
	fake_guest_device(guest, "vfio0", 0);
	fake_guest_device(guest, "vfio1", 0);
	start();
	answer = call("query-guest", NULL);
	assert_null(json_object_get(answer, "p2p-refused"));
	json_decref(answer);
	guest->p2p_refused.count = 2;
	guest->p2p_refused.device = 1; /* the main loop reads it after the event only */
	guest->p2p_refused.error = EFAULT;
	guest_event_taken(guest, GUEST_EVENT_P2P_REFUSED, 0);
	answer = call("query-guest", NULL);
	refused = json_object_get(answer, "p2p-refused");
	assert_non_null(refused);
	assert_int_equal(json_integer_value(json_object_get(refused, "count")), 2);
	assert_string_equal(query_text(refused, "device"), "vfio1");
	assert_string_equal(query_text(refused, "peer"), "vfio0");
	assert_int_equal(json_integer_value(json_object_get(refused, "errno")), EFAULT);
	assert_string_equal(query_text(refused, "error"), "Bad address");
	json_decref(answer);
	does("quit", NULL);
	ended(0);
	assert_non_null(strstr(vmm.said, "device vfio1 cannot reach device vfio0's memory by DMA "
					 "(P2P), and others perhaps not either: Bad address "
					 "(errno 14)"));
}

static void a_crash_resets_the_devices(void **state)
{
	(void)state;
	fake_guest_device(vmm.config.guest, "vfio0", 0);
	fake_guest_device(vmm.config.guest, "vfio1", 0);
	(void)fake_device_resets(-EIO);
	start();
	fake_guest_event(vmm.config.guest, GUEST_EVENT_CRASH);
	event_is("GUEST_PANICKED");
	event_is("STOP");
	status_is("guest-panicked");
	fake_device_resets_await(2);
	fake_guest_event(vmm.config.guest, GUEST_EVENT_CRASH); /* as if it were run again */
	event_is("GUEST_PANICKED");
	status_is("guest-panicked");
	does("quit", NULL);
	ended(0);
	assert_int_equal(fake_device_resets(0), 2);
	assert_int_equal(fake_device_resets_running(), 0);
	assert_non_null(strstr(vmm.said, "device vfio0 cannot be reset"));
	assert_non_null(strstr(vmm.said, "device vfio1 cannot be reset"));
}

/* A vCPU that hangs in an access of a device may take half a minute, and so may a reset. */
static void the_socket_answers_while_vcpus_stop(void **state)
{
	json_t *answer;

	(void)state;
	fake_guest_device(vmm.config.guest, "vfio0", 0);
	start();
	fake_stop_blocks(true);
	fake_guest_event(vmm.config.guest, GUEST_EVENT_CRASH);
	event_is("GUEST_PANICKED");
	event_is("STOP");
	status_is("guest-panicked");
	answer = call("query-guest", NULL); /* the device is being reset: nobody else asks it */
	assert_int_equal(json_array_size(json_object_get(answer, "devices")), 0);
	json_decref(answer);
	does("quit", NULL); /* that waits for it, and is not deaf either */
	status_is("guest-panicked");
	assert_int_equal(fake_device_resets(0), 0);
	fake_stop_blocks(false);
	ended(0);
	assert_int_equal(fake_device_resets(0), 1);
	assert_int_equal(fake_device_resets_running(), 0);
}

/* What was saved of it before is not to be handed over. A guest's own crash travels. */
static void a_device_that_breaks_ends_the_migration(void **state)
{
	(void)state;
	fake_guest_device(vmm.config.guest, "vfio0", 0);
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_state("PRECOPY");
	migration_is("active");
	vmm.config.guest->broken_by_device = true; /* the main loop reads it after the event only */
	fake_guest_event(vmm.config.guest, GUEST_EVENT_CRASH);
	event_is("GUEST_PANICKED");
	event_is("STOP");
	migration_is("failed");
	does("quit", NULL);
	ended(0);
}

/* A session's devices are its own, also those of a crashed guest: a reset would break its load. */
static void but_not_while_a_session_has_them(void **state)
{
	(void)state;
	fake_guest_device(vmm.config.guest, "vfio0", 0);
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_state("PRECOPY");
	migration_is("active");
	fake_guest_event(vmm.config.guest, GUEST_EVENT_CRASH);
	event_is("GUEST_PANICKED");
	event_is("STOP");
	assert_int_equal(fake_device_resets(0), 0);
	fake_end(HF_OUTCOME_HOME, HF_E_PEER_FAILED, "it is gone");
	migration_is("failed");
	does("quit", NULL);
	ended(0);
	assert_int_equal(fake_device_resets(0), 1);
	assert_int_equal(fake_device_resets_running(), 0);
}

static void a_crashed_guest_that_went_away_has_none(void **state)
{
	(void)state;
	fake_guest_device(vmm.config.guest, "vfio0", 0);
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	fake_guest_event(vmm.config.guest, GUEST_EVENT_CRASH);
	event_is("GUEST_PANICKED");
	event_is("STOP");
	fake_end(HF_OUTCOME_AWAY, 0, "");
	migration_is("completed");
	assert_int_equal(fake_device_resets(0), 0);
	does("quit", NULL);
	ended(0);
}

/* Of the session's fixed part, what query-migrate says. */
static json_t *own_part(void)
{
	json_t *answer = call("query-migrate", NULL);
	json_t *own = json_incref(json_object_get(answer, "holdfast"));

	json_decref(answer);
	return own;
}

static void devices_whose_writes_nobody_knows_are_named(void **state)
{
	json_t *own;

	(void)state;
	fake_guest_device(vmm.config.guest, "vfio0", HF_DEVICE_DIRTY_ALL);
	fake_guest_device(vmm.config.guest, "vfio1", HF_DEVICE_HAS_DMA_LOGGING);
	fake_guest_device(vmm.config.guest, "vfio2", HF_DEVICE_DIRTY_ALL | HF_DEVICE_DIRTY_SHARED);
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	own = own_part();
	assert_non_null(query_text(own, "warning"));
	assert_non_null(strstr(query_text(own, "warning"), "written by vfio0, vfio2"));
	json_decref(own);
	does("quit", NULL);
	ended(0);
	assert_non_null(strstr(vmm.said, "written by vfio0, vfio2"));
}

static void others_give_no_warning(void **state)
{
	json_t *own;

	(void)state;
	fake_guest_device(vmm.config.guest, "vfio1", HF_DEVICE_HAS_DMA_LOGGING);
	start();
	does("migrate", "{\"uri\":\"tcp:h:1\"}");
	migration_is("setup");
	own = own_part();
	assert_null(json_object_get(own, "warning"));
	json_decref(own);
	does("quit", NULL);
	ended(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_device_that_the_host_wants_is_told_once),
		TEST(a_device_that_refuses_its_interrupts_is_told_once),
		TEST(a_bar_that_is_not_mapped_is_told_once),
		TEST(peers_that_are_not_reached_are_told),
		TEST(a_crash_resets_the_devices),
		TEST(the_socket_answers_while_vcpus_stop),
		TEST(a_device_that_breaks_ends_the_migration),
		TEST(but_not_while_a_session_has_them),
		TEST(a_crashed_guest_that_went_away_has_none),
		TEST(devices_whose_writes_nobody_knows_are_named),
		TEST(others_give_no_warning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
