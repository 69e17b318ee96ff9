/* SPDX-License-Identifier: BSD-3-Clause */
/* A KVM guest and the library's simulated device, without a session between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <holdfast/sim.h>

#include "vmm-testing.h"

/*
 * Drives the device at 0xc0000000: FILL commands one after the other, each of which must complete
 * once, in order, and must have written HF_SIM_WORD(sequence, 0). Else it ends: 0xe1 not the
 * device, 0xe2 a fault, 0xe3 a wrong count, 0xe4 wrong data.
 */
PROGRAM(driver, "mov $0xcf8, %edx; mov $0x80000804, %eax; out %eax, %dx\n"
		"mov $0xcfc, %edx; mov $6, %ax; out %ax, %dx\n"
		"mov $0xc0000000, %esi; mov $0xe1, %cl\n"
		"cmpl $0x44484f48, (%esi); jne 8f\n"
		"movl $0x300000, 0x18(%esi); movl $0, 0x1c(%esi); movl $4096, 0x20(%esi)\n"
		"xor %ebx, %ebx\n"
		"1: movl $2, 0x0c(%esi)\n"
		"2: mov 0x08(%esi), %eax; test $1, %eax; jnz 2b\n"
		"mov $0xe2, %cl; test $2, %eax; jnz 8f\n"
		"inc %ebx; mov $0xe3, %cl; cmp %ebx, 0x40(%esi); jne 8f\n"
		"imul $0x7f4a7c15, %ebx, %eax; mov $0xe4, %cl; cmp %eax, 0x300004; jne 8f\n"
		"mov %ebx, 0x200000; jmp 1b\n"
		"8: mov %cl, %al\n" PROGRAM_EXIT);

#define SIM "sim:state=64K"

static struct kvm_guest *sim_guest(struct guest_config config)
{
	static const char *const devices[] = { SIM };
	struct hf_session_device device = { .name = "sim0" };
	struct hf_error err = { 0 };

	if (hf_device_open(devices[0], device.name, &device.device, &err) != 0)
		fail_msg("%s", err.text);
	return guest_with(config.incoming ? NULL : &driver, config, &device, 1);
}

static const struct hf_device *device_of(const struct kvm_guest *guest)
{
	return &guest->guest.devices[0].device;
}

static void device_to(const struct kvm_guest *guest, uint32_t state)
{
	const struct hf_device *device = device_of(guest);

	assert_int_equal(device->ops->set_state(device->self, state), 0);
}

static void move_stream(const struct kvm_guest *source, const struct kvm_guest *target)
{
	const struct hf_device *from = device_of(source), *to = device_of(target);
	uint8_t buf[16384];
	ssize_t got;

	while ((got = from->ops->read_data(from->self, buf, sizeof(buf))) > 0)
		for (ssize_t done = 0; done < got;) {
			ssize_t put =
				to->ops->write_data(to->self, buf + done, (size_t)(got - done));

			assert_true(put > 0);
			done += put;
		}
	assert_int_equal(got, 0);
}

static void fail_if_ended(struct kvm_guest *guest)
{
	if (guest->guest.ops->events(&guest->guest) != 0)
		fail_msg("the guest ended: 0x%x %s", (unsigned int)guest->guest.exit_status,
			 guest->guest.crash_text);
}

static void goes_on_with_its_device(void **state)
{
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = sim_guest((struct guest_config){ 0 });
	guest_run(source);
	for (uint32_t hop = 0; hop < 4; hop++) {
		volatile uint32_t *count = guest_at(source, SCRATCH_GPA);
		uint32_t before = *count;

		(void)wait_word_change(count, before);
		target = sim_guest((struct guest_config){ .incoming = true });
		check_shape(source, target);
		device_to(target, HF_DEVICE_RESUMING);
		guest_stop(source);
		device_to(source, HF_DEVICE_STOP_COPY);
		move_stream(source, target);
		copy_memory(source, target);
		device_to(target, HF_DEVICE_STOP);
		move_state(source, target);
		move_device(source, target, 0);
		fail_if_ended(source);
		guest_end(source);
		count = guest_at(target, SCRATCH_GPA);
		before = *count;
		device_to(target, HF_DEVICE_RUNNING);
		guest_run(target);
		assert_true(wait_word_change(count, before) > before);
		fail_if_ended(target);
		source = target;
	}
	guest_end(source);
}

/* The migration failed after everything was saved: the guest and its device go on here. */
static void goes_on_at_home(void **state)
{
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = sim_guest((struct guest_config){ 0 });
	guest_run(source);
	for (uint32_t i = 0; i < 4; i++) {
		volatile uint32_t *count = guest_at(source, SCRATCH_GPA);
		uint32_t before = *count;

		(void)wait_word_change(count, before);
		target = sim_guest((struct guest_config){ .incoming = true });
		check_shape(source, target);
		device_to(target, HF_DEVICE_RESUMING);
		guest_stop(source);
		device_to(source, HF_DEVICE_STOP_COPY);
		move_stream(source, target);
		device_to(target, HF_DEVICE_STOP);
		move_state(source, target);
		move_device(source, target, 0);
		guest_end(target);
		before = *count;
		device_to(source, HF_DEVICE_RUNNING);
		guest_run(source);
		assert_true(wait_word_change(count, before) > before);
		fail_if_ended(source);
	}
	guest_end(source);
}

/* By URI, as the command line has it. */
static void devices_are_opened_by_uri(void **state)
{
	const char *const devices[] = { SIM, SIM };
	const char *const wrong[] = { SIM, "sim:colour=red" };
	struct guest_config config = { .incoming = true,
				       .serial = "none",
				       .devices = devices,
				       .device_count = 2,
				       .memory_bytes = 8u << 20 };
	struct hf_error err = { 0 };
	struct guest *guest;

	(void)state;
	require_kvm();
	if (kvm_guest_new(&config, &guest, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(guest->device_count, 2);
	assert_string_equal(guest->devices[0].name, "sim0");
	assert_string_equal(guest->devices[1].name, "sim1");
	assert_string_equal(guest->name, "guest");
	guest->ops->free(guest);
	config.devices = wrong;
	assert_int_equal(kvm_guest_new(&config, &guest, &err), HF_E_INVALID);
	print_message("# %s\n", err.text);
	assert_non_null(strstr(err.text, "colour"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_on_with_its_device),
		cmocka_unit_test(goes_on_at_home),
		cmocka_unit_test(devices_are_opened_by_uri),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
