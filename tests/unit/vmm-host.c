/* SPDX-License-Identifier: BSD-3-Clause */
/* Between a guest's devices and its host: KVM's VFIO device, errors, a host that wants one back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-testing.h"
#include "vmm/pci-device.h"

PROGRAM(count, "1: incl 0x200000; jmp 1b");

/* What is no file of VFIO's, no KVM takes; so it is with any file on a KVM without the device. */
static void a_file_that_kvm_does_not_take_is_no_error(void **state)
{
	const struct guest_config config = { .incoming = true,
					     .serial = "none",
					     .memory_bytes = 8u << 20 };
	int file = eventfd(0, EFD_CLOEXEC);
	struct hf_error err = { 0 };
	struct hf_device_host host;
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	assert_int_equal(kvm_guest_begin(&config, &guest, &err), 0);
	host = kvm_guest_host(guest);
	assert_int_equal(host.file(host.ctx, file, &err), 0);
	assert_int_equal(host.file(host.ctx, file, &err), 0);
	assert_int_equal(guest->vfio.refused, 2);
	assert_int_equal(guest->vfio.count, 0);
	assert_int_equal(kvm_guest_finish(guest, &config, NULL, 0, &err), 0);
	assert_non_null(strstr(guest->guest.ops->describe(&guest->guest), "files of 2 of its"));
	guest_end(guest);
	(void)close(file);
}

static int made_with(struct fake_device *fake, bool incoming, struct hf_error *err)
{
	const struct guest_config config = { .incoming = incoming,
					     .kernel = "/dev/null",
					     .serial = "none",
					     .memory_bytes = 8u << 20 };
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct guest *guest;
	int r = kvm_guest_assemble(&config, &device, 1, &guest, err);

	if (r == 0)
		guest->ops->free(guest);
	return r;
}

/* The fake asserts that it comes before everything else. */
static void a_new_machine_has_new_devices(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_error err = { 0 };

	(void)state;
	require_kvm();
	(void)made_with(fake, false, NULL); /* what is no kernel fails later */
	assert_int_equal(fake->resets, 1);
	assert_int_equal(made_with(fake, true, NULL), 0);
	assert_int_equal(fake->resets, 2);
	/* Not to be able to is fine for one that does not say that it is. */
	fake->reset_answer = -EINVAL;
	assert_int_equal(made_with(fake, true, NULL), 0);
	fake->flags = HF_DEVICE_HAS_RESET;
	assert_int_equal(made_with(fake, true, &err), HF_E_DEVICE_STATE);
	assert_non_null(strstr(err.text, "device fake0: resetting it"));
	assert_int_equal(fake->map_count, 0);
	fake_free(fake);
}

static struct kvm_guest *running(struct fake_device *fake)
{
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest = guest_with(&count, (struct guest_config){ 0 }, &device, 1);

	guest_run(guest);
	(void)wait_word_change(guest_at(guest, SCRATCH_GPA), 0);
	return guest;
}

static void a_broken_device_crashes_its_guest(void **state)
{
	struct fake_device *fake = fake_new();
	struct kvm_guest *guest;
	uint32_t before;

	(void)state;
	require_kvm();
	guest = running(fake);
	fake_host_says(fake, 0);
	assert_int_equal(wait_event(guest), GUEST_EVENT_CRASH);
	assert_non_null(strstr(guest->guest.crash_text, "device fake0"));
	guest_stop(guest); /* waits for what was under way */
	before = *(volatile uint32_t *)guest_at(guest, SCRATCH_GPA);
	guest_run(guest); /* it has ended, and whoever runs it is told again */
	assert_int_equal(wait_event(guest), GUEST_EVENT_CRASH);
	guest_stop(guest);
	assert_int_equal(*(volatile uint32_t *)guest_at(guest, SCRATCH_GPA), before);
	guest_end(guest);
	assert_int_equal(fake->host_eventfds[0], 0);
	assert_int_equal(fake->host_eventfds[1], 0);
	fake_free(fake);
}

/* Nothing has run on it yet: it may be whole at the source, and is refused here. */
static void a_broken_device_takes_no_guest(void **state)
{
	struct fake_device *fake = fake_new(), *here = fake_new();
	struct hf_session_device device = fake_session_device(here, "fake0");
	struct kvm_guest *source, *target;
	struct hf_error err = { 0 };

	(void)state;
	require_kvm();
	source = running(fake);
	guest_stop(source);
	target = guest_with(NULL, (struct guest_config){ 0 }, &device, 1);
	check_shape(source, target);
	copy_memory(source, target);
	move_state(source, target);
	move_device(source, target, 0);
	fake_host_says(here, 0);
	assert_int_equal(target->guest.ops->events(&target->guest),
			 0); /* and it is not forgotten */
	assert_int_equal(kvm_machine_ops.state_check(target, &err), HF_E_DEVICE_STATE);
	assert_non_null(strstr(err.text, "device fake0"));
	assert_int_equal(kvm_machine_ops.run(target, NULL), HF_E_DEVICE_STATE);
	assert_int_equal(*(volatile uint32_t *)guest_at(target, SCRATCH_GPA),
			 *(volatile uint32_t *)guest_at(source, SCRATCH_GPA));
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(here);
}

/* Its error is not known yet to whoever looks after the guest: it is not handed over all the same.
 */
static void a_device_that_breaks_while_it_is_saved_stays(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_state_section section;
	static uint8_t buf[1 << 20];
	struct hf_error err = { 0 };
	struct kvm_guest *source;
	int r = 0;

	(void)state;
	require_kvm();
	source = running(fake);
	guest_stop(source);
	fake_host_says(fake, 0);
	for (uint32_t i = 0; r == 0; i++)
		r = kvm_machine_ops.state_save(source, i, &section, buf, sizeof(buf), &err);
	assert_int_equal(r, HF_E_DEVICE_STATE);
	assert_non_null(strstr(err.text, "device fake0"));
	/* At home it is what any guest with a broken device is. */
	guest_run(source);
	assert_int_equal(wait_event(source), GUEST_EVENT_CRASH);
	/* And a guest that has crashed travels as such. */
	guest_stop(source);
	r = 0;
	for (uint32_t i = 0; r == 0; i++)
		r = kvm_machine_ops.state_save(source, i, &section, buf, sizeof(buf), &err);
	assert_int_equal(r, HF_STATE_END);
	guest_end(source);
	fake_free(fake);
}

static void a_device_that_is_wanted_back_is_told(void **state)
{
	struct fake_device *first = fake_new(), *second = fake_new();
	const struct hf_session_device devices[] = { fake_session_device(first, "fake0"),
						     fake_session_device(second, "fake1") };
	struct kvm_guest *guest;
	const volatile uint32_t *word;

	(void)state;
	require_kvm();
	guest = guest_with(&count, (struct guest_config){ 0 }, devices, 2);
	word = guest_at(guest, SCRATCH_GPA);
	guest_run(guest);
	fake_host_says(second, 1);
	assert_int_equal(wait_event(guest), GUEST_EVENT_DEVICE_WANTED);
	assert_int_equal(guest->guest.devices_wanted, 2);
	/* The kernel says it again and again. */
	fake_host_says(second, 1);
	assert_int_equal(wait_event(guest), 0);
	fake_host_says(first, 1);
	assert_int_equal(wait_event(guest), GUEST_EVENT_DEVICE_WANTED);
	assert_int_equal(guest->guest.devices_wanted, 3);
	(void)wait_word_change(word, *word); /* the guest goes on */
	guest_end(guest);
	fake_free(first);
	fake_free(second);
}

/* The guest has its BARs all the same; the operator hears of it, once. */
static void peers_that_are_refused_are_told_once(void **state)
{
	struct fake_device *first = fake_new(), *second = fake_new();
	const struct hf_session_device devices[] = { fake_session_device(first, "fake0"),
						     fake_session_device(second, "fake1") };
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	second->p2p_answer = -EFAULT;
	guest = guest_with(&count, (struct guest_config){ 0 }, devices, 2);
	assert_int_equal(guest->guest.ops->events(&guest->guest), 0);
	config_write(guest, 1, 4, 2, 6);
	assert_int_equal(wait_event(guest), GUEST_EVENT_P2P_REFUSED);
	assert_int_equal(guest->guest.p2p_refused.device, 1);
	assert_int_equal(guest->guest.p2p_refused.peer, 0);
	assert_int_equal(guest->guest.p2p_refused.error, EFAULT);
	assert_int_equal(second->map_count, 1); /* memory */
	assert_int_equal(pieces_reached(&guest->pci.devices[0]->bars[4], false), 0);
	assert_true(guest->pci.devices[0]->bars[4].pieces[0].mapped);
	/* The other way round it is possible, and again in vain. */
	config_write(guest, 2, 4, 2, 6);
	assert_int_equal(first->map_count, 2);
	assert_int_equal(guest->guest.p2p_refused.count, 1);
	config_write(guest, 1, 4, 2, 4);
	second->p2p_answer = -ENOSPC;
	config_write(guest, 1, 4, 2, 6);
	assert_int_equal(guest->guest.ops->events(&guest->guest), 0);
	assert_int_equal(guest->guest.p2p_refused.count, 2);
	assert_int_equal(guest->guest.p2p_refused.error, ENOSPC);
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	guest_end(guest);
	assert_int_equal(first->map_count, 0);
	assert_int_equal(second->map_count, 0);
	fake_free(first);
	fake_free(second);
}

/* What the guest could do at its source it would do in vain here. */
static void peers_that_were_reached_have_to_be(void **state)
{
	struct fake_device *there[2] = { fake_new(), fake_new() };
	struct fake_device *here[2] = { fake_new(), fake_new() };
	const struct hf_session_device devices[] = { fake_session_device(there[0], "fake0"),
						     fake_session_device(there[1], "fake1") };
	const struct hf_session_device devices_here[] = { fake_session_device(here[0], "fake0"),
							  fake_session_device(here[1], "fake1") };
	struct kvm_guest *source, *target;
	struct hf_error err = { 0 };
	uint8_t buf[4096];
	uint32_t length;

	(void)state;
	require_kvm();
	source = guest_with(&count, (struct guest_config){ 0 }, devices, 2);
	config_write(source, 1, 4, 2, 6);
	assert_int_equal(kvm_machine_ops.device_save(source, 0, buf, sizeof(buf), &length, NULL),
			 0);
	here[1]->p2p_answer = -EFAULT;
	target = guest_with(NULL, (struct guest_config){ 0 }, devices_here, 2);
	assert_int_equal(kvm_machine_ops.device_load(target, 0, buf, length, &err),
			 HF_E_DEVICE_CONFIG);
	assert_non_null(
		strstr(err.text, "device fake1 cannot reach BAR 4, and could at the source"));
	guest_end(source);
	guest_end(target);
	for (uint32_t i = 0; i < 2; i++) {
		fake_free(there[i]);
		fake_free(here[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_kvm_does_not_take_is_no_error),
		cmocka_unit_test(a_new_machine_has_new_devices),
		cmocka_unit_test(a_broken_device_crashes_its_guest),
		cmocka_unit_test(a_broken_device_takes_no_guest),
		cmocka_unit_test(peers_that_are_refused_are_told_once),
		cmocka_unit_test(peers_that_were_reached_have_to_be),
		cmocka_unit_test(a_device_that_breaks_while_it_is_saved_stays),
		cmocka_unit_test(a_device_that_is_wanted_back_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
