/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's MSI and MSI-X vectors: into the LAPIC, masked, pending, and how they travel. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-testing.h"
#include "vmm/pci-device.h"

static void vectors_reach_the_lapic(void **state)
{
	struct fake_device *fake = fake_new();
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with_msix(fake);
	assert_int_equal(fake->irq_count, FAKE_VECTORS);
	set_vector(guest, 1, 0x41, false);
	set_vector(guest, 2, 0x42, true);
	signal_vector(fake, 1);
	assert_true(wait_requested(guest, 0x41));
	/* Masked: it stays pending, and comes when it is unmasked. */
	signal_vector(fake, 2);
	assert_int_equal(mmio_read(guest, BAR2_GPA + 0x800), 1u << 2);
	assert_false(requested(guest, 0x42));
	mmio_write(guest, BAR2_GPA + 2 * 16 + 12, 0);
	assert_true(wait_requested(guest, 0x42));
	assert_int_equal(mmio_read(guest, BAR2_GPA + 0x800), 0);
	/* The whole function masked. */
	set_vector(guest, 3, 0x43, false);
	config_write(guest, 1, 0x62, 2, 0xc000);
	signal_vector(fake, 3);
	assert_int_equal(mmio_read(guest, BAR2_GPA + 0x800), 1u << 3);
	config_write(guest, 1, 0x62, 2, 0x8000);
	assert_true(wait_requested(guest, 0x43));
	/* Another message while it is live. */
	set_vector(guest, 1, 0x51, false);
	signal_vector(fake, 1);
	assert_true(wait_requested(guest, 0x51));
	assert_int_equal(mmio_read(guest, BAR2_GPA + 16 + 8), 0x51);
	config_write(guest, 1, 0x62, 2, 0);
	assert_int_equal(fake->irq_count, 0);
	guest_end(guest);
	fake_free(fake);
}

/* MSI of slot 1: messages to LAPIC 0, vectors from vector on; 2^power of them. */
static void set_msi(struct kvm_guest *guest, uint32_t vector, uint32_t power, uint32_t mask)
{
	config_write(guest, 1, 0x44, 4, 0xfee00000);
	config_write(guest, 1, 0x48, 4, 0);
	config_write(guest, 1, 0x4c, 2, vector);
	config_write(guest, 1, 0x50, 4, mask);
	config_write(guest, 1, 0x42, 2, power << 4 | 1);
}

static struct kvm_guest *guest_with_msi(struct fake_device *fake)
{
	struct kvm_guest *guest = guest_with_msix(fake);

	config_write(guest, 1, 0x62, 2, 0); /* one of the two at a time */
	assert_int_equal(fake->irq_count, 0);
	return guest;
}

static void messages_reach_the_lapic(void **state)
{
	struct fake_device *fake = fake_new_msi();
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with_msi(fake);
	assert_int_equal(config_read(guest, 1, 0x34, 1), 0x40);
	assert_int_equal(config_read(guest, 1, 0x40, 2), 0x6005);
	assert_int_equal(config_read(guest, 1, 0x42, 2), 0x0184);
	/* The guest uses one of the four: the message's data as it is. */
	set_msi(guest, 0x43, 0, 0);
	assert_int_equal(fake->irq_index, 1);
	assert_int_equal(fake->irq_count, 1);
	signal_vector(fake, 0);
	assert_true(wait_requested(guest, 0x43));
	/* All of them: they differ in the lowest bits, which are not the guest's to say. */
	set_msi(guest, 0x63, 2, 1u << 2);
	assert_int_equal(fake->irq_count, 4);
	signal_vector(fake, 1);
	assert_true(wait_requested(guest, 0x61));
	/* Masked: it stays pending, and comes when it is unmasked. */
	signal_vector(fake, 2);
	assert_int_equal(config_read(guest, 1, 0x54, 4), 1u << 2);
	assert_false(requested(guest, 0x62));
	config_write(guest, 1, 0x50, 4, 0);
	assert_true(wait_requested(guest, 0x62));
	assert_int_equal(config_read(guest, 1, 0x54, 4), 0);
	/* More than there are is as many as there are. */
	config_write(guest, 1, 0x42, 2, 5 << 4 | 1);
	assert_int_equal(fake->irq_count, 4);
	config_write(guest, 1, 0x42, 2, 0);
	assert_int_equal(fake->irq_count, 0);
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	guest_end(guest);
	fake_free(fake);
}

static void messages_travel(void **state)
{
	struct fake_device *fake = fake_new_msi(), *fake_here = fake_new_msi();
	struct hf_session_device device = fake_session_device(fake_here, "fake0");
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = guest_with_msi(fake);
	target = guest_with(NULL, (struct guest_config){ 0 }, &device, 1);
	check_shape(source, target);
	copy_memory(source, target);
	set_msi(source, 0x40, 2, 1u << 3);
	signal_vector(fake, 1); /* is in the LAPIC, or on the way */
	signal_vector(fake, 3); /* is in the eventfd */
	move_state(source, target);
	move_device(source, target, 0);
	assert_true(wait_requested(target, 0x41));
	assert_int_equal(config_read(target, 1, 0x54, 4), 1u << 3);
	assert_false(requested(target, 0x43));
	assert_int_equal(fake_here->irq_index, 1);
	assert_int_equal(fake_here->irq_count, 4);
	signal_vector(fake_here, 2);
	assert_true(wait_requested(target, 0x42));
	config_write(target, 1, 0x50, 4, 0);
	assert_true(wait_requested(target, 0x43));
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(fake_here);
}

static void interrupts_travel(void **state)
{
	struct fake_device *fake = fake_new(), *fake_here = fake_new();
	struct hf_session_device device = fake_session_device(fake_here, "fake0");
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = guest_with_msix(fake);
	target = guest_with(NULL, (struct guest_config){ 0 }, &device, 1);
	check_shape(source, target);
	copy_memory(source, target);
	set_vector(source, 0, 0x40, false);
	set_vector(source, 1, 0x41, false);
	set_vector(source, 2, 0x42, true);
	signal_vector(fake, 1); /* is in the LAPIC, or on the way */
	signal_vector(fake, 2); /* is in the eventfd */
	move_state(source, target);
	move_device(source, target, 0);
	assert_true(wait_requested(target, 0x41));
	assert_int_equal(mmio_read(target, BAR2_GPA + 0x800), 1u << 2);
	assert_false(requested(target, 0x42));
	/* The target's device signals into the target. */
	assert_int_equal(fake_here->irq_count, FAKE_VECTORS);
	signal_vector(fake_here, 0);
	assert_true(wait_requested(target, 0x40));
	assert_false(requested(source, 0x40));
	mmio_write(target, BAR2_GPA + 2 * 16 + 12, 0);
	assert_true(wait_requested(target, 0x42));
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(fake_here);
}

/* An interrupt that came too late for the LAPIC's state is delivered when the vCPUs run. */
static void a_late_interrupt_is_not_lost(void **state)
{
	struct fake_device *fake = fake_new(), *fake_here = fake_new();
	struct hf_session_device device = fake_session_device(fake_here, "fake0");
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = guest_with_msix(fake);
	target = guest_with(NULL, (struct guest_config){ 0 }, &device, 1);
	check_shape(source, target);
	copy_memory(source, target);
	set_vector(source, 1, 0x41, false);
	move_state(source, target);
	source->pci.devices[0]->msix.vectors.vector[1].pending =
		true; /* as a drained count leaves it */
	move_device(source, target, 0);
	assert_false(requested(target, 0x41));
	guest_run(target);
	guest_stop(target); /* a LAPIC can be asked only then */
	assert_true(wait_requested(target, 0x41)); /* the guest has interrupts off: it stays */
	guest_run(source); /* and it is not lost here either */
	guest_stop(source);
	assert_true(wait_requested(source, 0x41));
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(fake_here);
}

/* A message that KVM may leave to its worker (to a logical destination) travels all the same. */
static void a_logical_message_travels(void **state)
{
	struct fake_device *fake = fake_new(), *fake_here = fake_new();
	struct hf_session_device device = fake_session_device(fake_here, "fake0");
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = guest_with_msix(fake);
	target = guest_with(NULL, (struct guest_config){ 0 }, &device, 1);
	check_shape(source, target);
	copy_memory(source, target);
	set_vector(source, 1, 0x41, true);
	mmio_write(source, BAR2_GPA + 16, 0xfee0100c); /* flat: the LAPIC with bit 0 */
	mmio_write(source, BAR2_GPA + 16 + 12, 0);
	set_ldr(source, 1);
	signal_vector(fake, 1);
	move_state(source, target);
	signal_vector(fake, 1); /* nobody takes it any more: it is pending */
	move_device(source, target, 0);
	assert_true(requested(target, 0x41) ||
		    source->pci.devices[0]->msix.vectors.vector[1].pending);
	guest_run(target);
	guest_stop(target);
	assert_true(wait_requested(target, 0x41));
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(fake_here);
}

/* The guest cannot be told: the operator is, of each device's first one; all are counted. */
static void interrupts_that_are_refused_are_kept(void **state)
{
	struct fake_device *fakes[2] = { fake_new_msi(), fake_new_msi() };
	struct hf_session_device devices[2] = { fake_session_device(fakes[0], "fake0"),
						fake_session_device(fakes[1], "fake1") };
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(NULL, (struct guest_config){ 0 }, devices, 2);
	assert_int_equal(guest->guest.ops->events(&guest->guest), 0);
	fakes[1]->irqs_answers[1] = -ENOSPC;
	config_write(guest, 2, 0x42, 2, 1); /* MSI on */
	assert_int_equal(wait_event(guest), GUEST_EVENT_IRQS_FAILED);
	assert_int_equal(guest->guest.irqs_failures[0].count, 0);
	assert_int_equal(guest->guest.irqs_failures[1].count, 1);
	assert_int_equal(guest->guest.irqs_failures[1].error, ENOSPC);
	assert_int_equal(guest->guest.irqs_failures[1].index, 1);
	assert_int_equal(pci_failed_accesses(&guest->pci), 1);
	/* Once more, and for another reason: that is counted, and no news. */
	fakes[1]->irqs_answers[1] = -EBUSY;
	config_write(guest, 2, 0x42, 2, 1);
	assert_int_equal(guest->guest.ops->events(&guest->guest), 0);
	assert_int_equal(guest->guest.irqs_failures[1].count, 2);
	assert_int_equal(guest->guest.irqs_failures[1].error, EBUSY);
	assert_int_equal(pci_failed_accesses(&guest->pci), 2);
	/* The other one's is. */
	fakes[0]->irqs_answers[2] = -EIO;
	config_write(guest, 1, 0x62, 2, 0x8000); /* MSI-X on */
	assert_int_equal(wait_event(guest), GUEST_EVENT_IRQS_FAILED);
	assert_int_equal(guest->guest.irqs_failures[0].count, 1);
	assert_int_equal(guest->guest.irqs_failures[0].error, EIO);
	assert_int_equal(guest->guest.irqs_failures[0].index, 2);
	guest_end(guest);
	fake_free(fakes[0]);
	fake_free(fakes[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_reach_the_lapic),
		cmocka_unit_test(messages_reach_the_lapic),
		cmocka_unit_test(messages_travel),
		cmocka_unit_test(interrupts_travel),
		cmocka_unit_test(a_late_interrupt_is_not_lost),
		cmocka_unit_test(a_logical_message_travels),
		cmocka_unit_test(interrupts_that_are_refused_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
