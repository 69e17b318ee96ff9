/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the host says of a thread guest's devices (VFIO's ERR and REQ), as that of a KVM guest's
 * (vmm-host.c). The device is served over vfio-user: a simulated one with these two interrupts.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>

#include <holdfast/device.h>

#include "device-served.h"
#include "vmm/guest.h"

#define DEADLINE_MS 60000
#define ERR 3u
#define REQ 4u

/* ---- the device ----------------------------------------------------------------------------- */

static const struct hf_device_ops *behind; /* of the simulated one */
static atomic_int host_fds[2]; /* ERR, REQ: 0 if they are not armed */

static int op_irq_count(void *self, uint32_t index, uint32_t *ret_count)
{
	if (index != ERR && index != REQ)
		return behind->irq_count(self, index, ret_count);
	*ret_count = 1;
	return 0;
}

static int op_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds)
{
	if (index != ERR && index != REQ)
		return behind->irqs_set(self, index, count, eventfds);
	atomic_store(&host_fds[index - ERR], count ? eventfds[0] : 0);
	return 0;
}

static void host_says(uint32_t index)
{
	const uint64_t one = 1;
	int fd = atomic_load(&host_fds[index - ERR]);

	assert_true(fd > 0);
	assert_int_equal(write(fd, &one, sizeof(one)), (int)sizeof(one));
}

/* ---- the guest ------------------------------------------------------------------------------ */

struct fixture {
	struct served served;
	struct hf_device_ops ops;
	struct guest *guest;
};

static int begin(void **state)
{
	static struct fixture f;
	struct hf_error err = { 0 };

	memset(&f, 0, sizeof(f));
	assert_int_equal(hf_device_open("sim:state=64K", NULL, &f.served.model, &err), 0);
	behind = f.served.model.ops;
	f.ops = *behind;
	f.ops.irq_count = op_irq_count;
	f.ops.irqs_set = op_irqs_set;
	f.served.model.ops = &f.ops;
	served_begin(&f.served);
	*state = &f;
	return 0;
}

static struct guest *guest_of(struct fixture *f, bool incoming)
{
	char uri[96];
	const char *const devices[] = { "sim:state=64K", uri };
	const struct guest_config config = {
		.memory_bytes = 16ull << 20,
		.serial = "none",
		.devices = devices,
		.device_count = 2,
		.incoming = incoming,
	};
	struct hf_error err = { 0 };

	(void)snprintf(uri, sizeof(uri), "vfio-user:%s", f->served.path);
	if (thread_guest_new(&config, &f->guest, &err) != 0)
		fail_msg("thread_guest_new: %s", err.text);
	return f->guest;
}

static int end(void **state)
{
	struct fixture *f = *state;

	if (f->guest)
		f->guest->ops->free(f->guest);
	/* Nothing of it is left with the device. */
	served_stop(&f->served);
	assert_int_equal(atomic_load(&host_fds[0]), 0);
	assert_int_equal(atomic_load(&host_fds[1]), 0);
	return 0;
}

static int run(struct guest *guest, struct hf_error *err)
{
	return guest->machine.ops->run(guest->machine.self, err);
}

static uint32_t wait_event(struct guest *guest)
{
	struct pollfd pollfd = { .fd = guest->event_fd, .events = POLLIN };

	assert_int_equal(poll(&pollfd, 1, DEADLINE_MS), 1);
	return guest->ops->events(guest);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void a_device_that_is_wanted_back_is_told_once(void **state)
{
	struct guest *guest = guest_of(*state, false);

	assert_int_equal(run(guest, NULL), 0);
	assert_int_equal(guest->ops->events(guest), 0);
	host_says(REQ);
	assert_int_equal(wait_event(guest), GUEST_EVENT_DEVICE_WANTED);
	assert_int_equal(guest->devices_wanted, 2);
	host_says(REQ); /* the kernel says it again and again */
	assert_int_equal(wait_event(guest), 0);
	assert_int_equal(guest->devices_wanted, 2);
	assert_int_equal(guest->machine.ops->stop(guest->machine.self, NULL), 0);
}

static void a_broken_device_ends_its_guest(void **state)
{
	struct guest *guest = guest_of(*state, false);
	struct hf_state_section section;
	static uint8_t buf[1 << 20];
	struct hf_error err = { 0 };

	assert_int_equal(run(guest, NULL), 0);
	host_says(ERR);
	assert_int_equal(wait_event(guest), GUEST_EVENT_CRASH);
	assert_true(guest->broken_by_device);
	assert_string_equal(guest->crash_text, "device vfio-user1 has had an error that cannot be "
					       "corrected (VFIO's ERR)");
	/* It stays so, whoever runs it; and it is not handed over. */
	assert_int_equal(run(guest, NULL), 0);
	assert_int_equal(wait_event(guest), GUEST_EVENT_CRASH);
	assert_int_equal(guest->machine.ops->stop(guest->machine.self, NULL), 0);
	assert_int_equal(guest->machine.ops->state_save(guest->machine.self, 0, &section, buf,
							sizeof(buf), &err),
			 HF_E_DEVICE_STATE);
	assert_non_null(strstr(err.text, "device vfio-user1"));
}

/* The main loop has not heard of it when the guest is saved; it hears of it at home. */
static void a_device_that_breaks_while_it_is_saved_stays(void **state)
{
	struct guest *guest = guest_of(*state, false);
	struct hf_state_section section;
	static uint8_t buf[1 << 20];

	assert_int_equal(run(guest, NULL), 0);
	assert_int_equal(guest->machine.ops->stop(guest->machine.self, NULL), 0);
	host_says(ERR);
	assert_int_equal(guest->machine.ops->state_save(guest->machine.self, 0, &section, buf,
							sizeof(buf), NULL),
			 HF_E_DEVICE_STATE);
	assert_int_equal(run(guest, NULL), 0);
	assert_int_equal(wait_event(guest), GUEST_EVENT_CRASH);
}

/* Nothing has run on it yet: the guest may be whole at its source. */
static void a_broken_device_takes_no_guest(void **state)
{
	struct guest *guest = guest_of(*state, true);
	struct hf_error err = { 0 };

	host_says(ERR);
	assert_int_equal(wait_event(guest), 0);
	assert_int_equal(run(guest, &err), HF_E_DEVICE_STATE);
	assert_non_null(strstr(err.text, "device vfio-user1"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_device_that_is_wanted_back_is_told_once),
		TEST(a_broken_device_ends_its_guest),
		TEST(a_device_that_breaks_while_it_is_saved_stays),
		TEST(a_broken_device_takes_no_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
