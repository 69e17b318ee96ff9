/* SPDX-License-Identifier: BSD-3-Clause */
/* Between a guest's devices and its host: KVM's VFIO device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-testing.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_kvm_does_not_take_is_no_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
