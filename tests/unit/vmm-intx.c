/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's interrupt pin: into the IOAPIC, unmasked by the guest's EOI, and how it travels. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-testing.h"
#include "vmm/pci-device.h"

/*
 * Takes the interrupt of pin 17 (slot 1) as vector 0x51: level-triggered, active low. The handler
 * counts, stays for as long as STAY says, ends the interrupt, and goes on as before, without IRET,
 * which a KVM that emulates protected mode may lack. Before it opens the pin, the guest is READY 1,
 * and waits while STAY is 2; then it is READY 2.
 */
/* clang-format off */
#define AT(label) "0x100000 + " label " - listen_start"
PROGRAM(listen,
	"mov $0x300000, %esp\n"
	"lgdt " AT("7f") "\n"
	"ljmp $8, $" AT("1f") "\n"
	"1: mov $16, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss\n"
	"mov $" AT("5f") ", %eax; mov %eax, %ebx\n" /* the gate of vector 0x51, at 0x210288 */
	"and $0xffff, %eax; or $0x80000, %eax; mov %eax, 0x210288\n"
	"and $0xffff0000, %ebx; or $0x8e00, %ebx; mov %ebx, 0x21028c\n"
	"lidt " AT("8f") "\n"
	"movl $0x1ff, 0xfee000f0\n"
	"movl $1, 0x200004; 2: cmpl $2, 0x200008; je 2b\n"
	"movl $0x33, 0xfec00000; movl $0, 0xfec00010\n"
	"movl $0x32, 0xfec00000; movl $0xa051, 0xfec00010\n"
	"movl $2, 0x200004\n"
	"3: sti; hlt; jmp 3b\n"
	"5: incl 0x200000\n"
	"6: cmpl $1, 0x200008; je 6b\n"
	"movl $0, 0xfee000b0; mov $0x300000, %esp; jmp 3b\n"
	"7: .word 23; .long " AT("9f") "\n"
	"8: .word 0x7ff; .long 0x210000\n"
	"9: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n");
/* clang-format on */

#define COUNT_GPA SCRATCH_GPA
#define READY_GPA (SCRATCH_GPA + 4)
#define STAY_GPA (SCRATCH_GPA + 8)

static volatile uint32_t *word_at(struct kvm_guest *guest, uint64_t gpa)
{
	return guest_at(guest, gpa);
}

static uint32_t interrupts(struct kvm_guest *guest)
{
	return *word_at(guest, COUNT_GPA);
}

/*
 * Waits until it has taken one more than before. An emulated processor (QEMU's SVM, so the lab's)
 * delivers one twice now and then, the second in the midst of its handler, where interrupts are
 * off: so nobody here counts on the number.
 */
static void wait_taken(struct kvm_guest *guest, uint32_t before)
{
	(void)wait_word_change(word_at(guest, COUNT_GPA), before);
}

/* Runs it until it is ready (1: with the pin closed). */
static void run_until(struct kvm_guest *guest, uint32_t ready)
{
	*word_at(guest, STAY_GPA) = ready == 1 ? 2 : 0;
	guest_run(guest);
	for (uint32_t at = 0; at < ready;)
		at = wait_word_change(word_at(guest, READY_GPA), at);
}

static struct kvm_guest *listener(struct fake_device *fake, uint32_t ready)
{
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest = guest_with(&listen, (struct guest_config){ 0 }, &device, 1);

	run_until(guest, ready);
	return guest;
}

/*
 * As a device with a level behaves: until the guest's handler has served it, it raises its pin
 * again whenever it is unmasked. KVM (since 6.4) unmasks also when the guest opens a pin at which
 * something is pending, to hear whether that still holds.
 */
static void wait_served(struct kvm_guest *guest, const struct fake_device *fake, uint32_t count)
{
	for (uint32_t i = 0; i < 30000; i++) {
		const struct timespec pause = { .tv_nsec = 1000000 };

		if (interrupts(guest) > count) {
			fake_pin_wait_unmasked(fake);
			return;
		}
		if (fake_pin_unmasked(fake))
			fake_pin_raise(fake);
		(void)nanosleep(&pause, NULL);
	}
	fail_msg("the guest did not take the interrupt");
}

/* Everything of a stopped guest into a new one, which has not run yet. */
static struct kvm_guest *moved(struct kvm_guest *source, struct fake_device *here)
{
	struct hf_session_device device = fake_session_device(here, "fake0");
	struct kvm_guest *target = guest_with(NULL, (struct guest_config){ 0 }, &device, 1);

	check_shape(source, target);
	copy_memory(source, target);
	move_device(source, target, 0);
	move_state(source, target); /* with its check, which ends a load */
	return target;
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void the_pin_is_shown(void **state)
{
	struct fake_device *with = fake_new(), *without = fake_new();
	struct hf_session_device devices[2] = { fake_session_device(with, "fake0"),
						fake_session_device(without, "fake1") };
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	without->no_pin = true;
	guest = guest_with(NULL, (struct guest_config){ 0 }, devices, 2);
	assert_int_equal(config_read(guest, 1, 0x3c, 2), 0x0100 | 17); /* pin A, at IOAPIC pin 17 */
	assert_int_equal(config_read(guest, 2, 0x3c, 2), 0);
	config_write(guest, 1, 0x3c, 2, 0x0305);
	assert_int_equal(config_read(guest, 1, 0x3c, 2), 0x0105); /* the line is the guest's */
	assert_int_equal(with->pin_count, 0); /* nobody listens before the machine runs */
	guest_run(guest);
	guest_stop(guest);
	assert_int_equal(with->pin_count, 2);
	assert_int_equal(without->pin_count, 0);
	guest_end(guest);
	assert_int_equal(with->pin_count, 0);
	fake_free(with);
	fake_free(without);
}

static void each_interrupt_is_taken_and_unmasked(void **state)
{
	struct fake_device *fake = fake_new();
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = listener(fake, 2);
	for (uint32_t i = 0, count = 0; i < 5; i++) {
		fake_pin_raise(fake);
		wait_taken(guest, count);
		fake_pin_wait_unmasked(fake);
		count = interrupts(guest); /* no more come until it is raised again */
	}
	guest_stop(guest);
	assert_in_range(interrupts(guest), 5, 10);
	guest_end(guest);
	fake_free(fake);
}

static void only_the_guest_ends_it(void **state)
{
	struct fake_device *fake = fake_new();
	struct kvm_guest *guest;
	bool in_service;

	(void)state;
	require_kvm();
	guest = listener(fake, 2);
	*word_at(guest, STAY_GPA) = 1;
	fake_pin_raise(fake);
	wait_taken(guest, 0);
	guest_stop(guest);
	in_service = is_in_service(guest, 0x51);
	if (in_service) {
		assert_false(fake_pin_unmasked(fake));
		guest_run(guest);
		*word_at(guest, STAY_GPA) = 0;
		fake_pin_wait_unmasked(fake);
	}
	guest_end(guest);
	fake_free(fake);
	if (!in_service) {
		print_message("this KVM ends an interrupt as it delivers it: no EOI to wait for\n");
		skip();
	}
}

static void messages_take_its_place(void **state)
{
	struct fake_device *fake = fake_new_msi();
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = listener(fake, 2);
	/* The device refuses two kinds at once: it would be counted. */
	config_write(guest, 1, 0x62, 2, 0x8000);
	assert_int_equal(fake->pin_count, 0);
	assert_int_equal(fake->irq_count, FAKE_VECTORS);
	config_write(guest, 1, 0x62, 2, 0);
	assert_int_equal(fake->irq_count, 0);
	assert_int_equal(fake->pin_count, 2);
	config_write(guest, 1, 0x42, 2, 1);
	assert_int_equal(fake->pin_count, 0);
	config_write(guest, 1, 0x42, 2, 0);
	assert_int_equal(fake->pin_count, 2);
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	fake_pin_raise(fake);
	wait_taken(guest, 0);
	fake_pin_wait_unmasked(fake);
	guest_end(guest);
	fake_free(fake);
}

static void a_disabled_pin_keeps_what_came(void **state)
{
	struct fake_device *fake = fake_new();
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = listener(fake, 2);
	config_write(guest, 1, 4, 2, 0x400);
	fake_pin_raise(fake);
	assert_false(guest->pci.devices[0]->intx.attached);
	config_write(guest, 1, 4, 2, 0);
	wait_taken(guest, 0);
	fake_pin_wait_unmasked(fake);
	/* Disabled by its handler, before that ends it: it comes once more, and is unmasked then.
	 */
	*word_at(guest, COUNT_GPA) = 0;
	*word_at(guest, STAY_GPA) = 1;
	fake_pin_raise(fake);
	wait_taken(guest, 0);
	config_write(guest, 1, 4, 2, 0x400);
	*word_at(guest, STAY_GPA) = 0;
	config_write(guest, 1, 4, 2, 0);
	fake_pin_wait_unmasked(fake);
	guest_end(guest);
	fake_free(fake);
}

/* Disabled from the start: the device has its eventfds, and KVM never gets them. */
static struct kvm_guest *never_attached(struct fake_device *fake)
{
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest = guest_with(&listen, (struct guest_config){ 0 }, &device, 1);

	config_write(guest, 1, 4, 2, 0x400);
	run_until(guest, 2);
	assert_int_equal(fake->pin_count, 2);
	assert_false(guest->pci.devices[0]->intx.attached);
	return guest;
}

static void a_pin_that_was_never_attached_keeps_what_came(void **state)
{
	struct fake_device *fake = fake_new();
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = never_attached(fake);
	guest_stop(guest); /* with nothing to keep, and it goes on */
	assert_int_equal(pci_interrupts_settle(&guest->pci, NULL), 0);
	assert_false(guest->pci.devices[0]->intx.pending);
	guest_run(guest);
	assert_false(guest->pci.devices[0]->intx.attached);
	fake_pin_raise(fake);
	guest_stop(guest);
	assert_int_equal(pci_interrupts_settle(&guest->pci, NULL), 0);
	assert_true(guest->pci.devices[0]->intx.pending);
	guest_run(guest);
	assert_int_equal(interrupts(guest), 0);
	config_write(guest, 1, 4, 2, 0);
	wait_taken(guest, 0);
	fake_pin_wait_unmasked(fake);
	guest_end(guest);
	assert_int_equal(fake->pin_count, 0);
	/* And one that ends as it is. */
	guest = never_attached(fake);
	fake_pin_raise(fake);
	guest_end(guest);
	assert_int_equal(fake->pin_count, 0);
	fake_free(fake);
}

/*
 * Only the number of its interrupts says that a device has no pin: one that cannot be armed, for
 * whatever reason, is an error, and is tried again.
 */
static void a_pin_that_is_refused_is_still_one(void **state)
{
	static const int answers[] = { -ENODEV, -EINVAL, -ENOTTY };
	struct fake_device *fake = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(&listen, (struct guest_config){ 0 }, &device, 1);
	for (uint32_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct hf_error err = { 0 };

		fake->irqs_answers[0] = answers[i];
		assert_int_equal(kvm_machine_ops.run(guest, &err), HF_E_MACHINE_STATE);
		assert_int_equal(err.cause, -answers[i]);
		assert_non_null(strstr(err.text, "device fake0: connecting its interrupts"));
		assert_int_equal(config_read(guest, 1, 0x3d, 1), 1);
	}
	fake->irqs_answers[0] = 0;
	run_until(guest, 2);
	fake_pin_raise(fake);
	wait_taken(guest, 0);
	fake_pin_wait_unmasked(fake);
	guest_end(guest);
	fake_free(fake);
}

/* Slots 1 and 9 have one pin: whoever raises it, both are unmasked, as KVM cannot know. */
static void devices_share_a_pin(void **state)
{
	struct hf_session_device devices[9];
	struct fake_device *fakes[9];
	struct kvm_guest *guest;
	uint32_t before;

	(void)state;
	require_kvm();
	for (uint32_t i = 0; i < 9; i++) {
		fakes[i] = fake_new();
		devices[i] = fake_session_device(fakes[i], "fake");
	}
	guest = guest_with(&listen, (struct guest_config){ 0 }, devices, 9);
	run_until(guest, 2);
	assert_int_equal(config_read(guest, 8, 0x3c, 1), 16);
	assert_int_equal(config_read(guest, 9, 0x3c, 1), 17);
	fake_pin_raise(fakes[8]);
	wait_taken(guest, 0);
	fake_pin_wait_unmasked(fakes[8]);
	fake_pin_wait_unmasked(fakes[0]);
	assert_false(fake_pin_unmasked(fakes[1]));
	/* One of them leaves it: the other's still comes. */
	config_write(guest, 9, 4, 2, 0x400);
	before = interrupts(guest);
	fake_pin_raise(fakes[0]);
	wait_taken(guest, before);
	fake_pin_wait_unmasked(fakes[0]);
	guest_end(guest);
	for (uint32_t i = 0; i < 9; i++)
		fake_free(fakes[i]);
}

/* ---- moving --------------------------------------------------------------------------------- */

/* Raised while the pin is closed in the IOAPIC: nothing of it is in any LAPIC. */
static void a_pending_one_travels(void **state)
{
	struct fake_device *fake = fake_new(), *here = fake_new();
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = listener(fake, 1);
	fake_pin_raise(fake);
	guest_stop(source);
	target = moved(source, here);
	assert_int_equal(here->pin_count, 2);
	assert_int_equal(interrupts(target), 0);
	guest_run(target);
	*word_at(target, STAY_GPA) = 0;
	wait_served(target, here, 0);
	/* And not lost if the guest stays here. */
	guest_run(source);
	*word_at(source, STAY_GPA) = 0;
	wait_served(source, fake, 0);
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(here);
}

/* Under way: the guest's handler is at work, and ends the interrupt at the target. */
static void one_under_way_travels(void **state)
{
	struct fake_device *fake = fake_new(), *here = fake_new();
	struct kvm_guest *source, *target;
	uint32_t before;

	(void)state;
	require_kvm();
	source = listener(fake, 2);
	*word_at(source, STAY_GPA) = 1;
	fake_pin_raise(fake);
	wait_taken(source, 0);
	guest_stop(source);
	target = moved(source, here);
	guest_run(target);
	*word_at(target, STAY_GPA) = 0;
	fake_pin_wait_unmasked(here);
	before = interrupts(target);
	fake_pin_raise(here);
	wait_taken(target, before);
	fake_pin_wait_unmasked(here);
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(here);
}

/* One that the device at the target raises as soon as it may, before anything runs. */
static void an_early_one_is_not_lost(void **state)
{
	struct fake_device *fake = fake_new(), *here = fake_new();
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = listener(fake, 2);
	config_write(source, 1, 0x62, 2, 0x8000); /* so that none is sent along */
	config_write(source, 1, 0x62, 2, 0);
	guest_stop(source);
	assert_int_equal(interrupts(source), 0);
	target = moved(source, here);
	target->pci.devices[0]->intx.pending = false;
	fake_pin_raise(here);
	guest_run(target);
	wait_taken(target, 0);
	fake_pin_wait_unmasked(here);
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(here);
}

static void one_of_a_pin_that_was_never_attached_travels(void **state)
{
	struct fake_device *fake = fake_new(), *here = fake_new();
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = never_attached(fake);
	guest_stop(source);
	target = moved(source, here);
	assert_false(target->pci.devices[0]->intx.pending);
	guest_end(target);
	assert_int_equal(here->pin_count, 0);
	guest_run(source);
	fake_pin_raise(fake);
	guest_stop(source);
	target = moved(source, here);
	assert_true(target->pci.devices[0]->intx.pending);
	guest_run(target);
	assert_false(target->pci.devices[0]->intx.attached);
	config_write(target, 1, 4, 2, 0);
	wait_taken(target, 0);
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(here);
}

static void a_disabled_one_travels(void **state)
{
	struct fake_device *fake = fake_new(), *here = fake_new();
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	source = listener(fake, 2);
	config_write(source, 1, 4, 2, 0x400);
	fake_pin_raise(fake);
	guest_stop(source);
	target = moved(source, here);
	guest_run(target);
	assert_false(target->pci.devices[0]->intx.attached);
	config_write(target, 1, 4, 2, 0);
	wait_taken(target, 0);
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(here);
}

/* Whichever call of the device fails while it is loaded, its pin comes with the next load. */
static void a_failed_load_can_be_repeated(void **state)
{
	struct fake_device *fake = fake_new(), *here;
	struct kvm_guest *source, *target;
	uint32_t length, calls = 1;
	uint8_t buf[4096];

	(void)state;
	require_kvm();
	source = listener(fake, 1);
	fake_pin_raise(fake);
	guest_stop(source);
	assert_int_equal(kvm_machine_ops.device_save(source, 0, buf, sizeof(buf), &length, NULL),
			 0);
	for (uint32_t n = 0; n <= calls; n++) {
		struct hf_session_device device;
		uint32_t before;

		here = fake_new();
		device = fake_session_device(here, "fake0");
		target = guest_with(NULL, (struct guest_config){ 0 }, &device, 1);
		before = here->calls;
		here->fail_at = n != 0 ? before + n : 0;
		assert_int_equal(kvm_machine_ops.device_load(target, 0, buf, length, NULL),
				 n != 0 ? HF_E_DEVICE_CONFIG : 0);
		if (n == 0)
			calls = here->calls - before;
		assert_int_equal(kvm_machine_ops.device_load(target, 0, buf, length, NULL), 0);
		assert_int_equal(here->pin_count, 2);
		assert_true(target->pci.devices[0]->intx.pending);
		guest_end(target);
		fake_free(here);
	}
	assert_true(calls > 3);
	guest_end(source);
	fake_free(fake);
}

/* What may be refused must be refused before the guest is this side's: at the proof. */
static void a_pin_that_cannot_be_connected_takes_no_guest(void **state)
{
	struct fake_device *fake = fake_new(), *here = fake_new();
	struct kvm_guest *source, *target;
	struct hf_error err = { 0 };
	struct intx *pin;
	uint32_t calls;
	int resample;

	(void)state;
	require_kvm();
	source = listener(fake, 2);
	guest_stop(source);
	target = moved(source, here);
	assert_int_equal(pci_interrupts_settle(&target->pci, &err), 0);
	pin = &target->pci.devices[0]->intx;
	assert_true(pin->armed);
	assert_false(pin->attached);
	resample = pin->resample;
	pin->resample = STDIN_FILENO; /* which is no eventfd: EINVAL */
	assert_int_equal(kvm_machine_ops.state_check(target, &err), HF_E_MACHINE_STATE);
	assert_non_null(strstr(err.text, "device fake0: connecting its interrupts"));
	pin->resample = resample;
	assert_int_equal(kvm_machine_ops.state_check(target, NULL), 0);
	assert_true(pin->attached);
	calls = here->calls;
	guest_run(target); /* nothing is left to be asked for */
	assert_int_equal(here->calls, calls);
	fake_pin_raise(here);
	wait_taken(target, interrupts(source));
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(here);
}

static void a_device_without_a_pin_is_another_one(void **state)
{
	struct fake_device *fake = fake_new(), *here = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct hf_session_device device_here = fake_session_device(here, "fake0");
	struct kvm_guest *source, *target;
	struct hf_error err = { 0 };
	uint8_t shape[8192];
	uint32_t length;

	(void)state;
	require_kvm();
	here->no_pin = true;
	source = guest_with(&listen, (struct guest_config){ 0 }, &device, 1);
	target = guest_with(NULL, (struct guest_config){ 0 }, &device_here, 1);
	assert_int_equal(kvm_machine_ops.describe(source, shape, sizeof(shape), &length, &err), 0);
	assert_int_equal(kvm_machine_ops.check(target, shape, length, &err), HF_E_MISMATCH);
	assert_non_null(strstr(err.text, "interrupt pin"));
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_pin_is_shown),
		cmocka_unit_test(each_interrupt_is_taken_and_unmasked),
		cmocka_unit_test(only_the_guest_ends_it),
		cmocka_unit_test(messages_take_its_place),
		cmocka_unit_test(a_disabled_pin_keeps_what_came),
		cmocka_unit_test(a_pin_that_was_never_attached_keeps_what_came),
		cmocka_unit_test(a_pin_that_is_refused_is_still_one),
		cmocka_unit_test(devices_share_a_pin),
		cmocka_unit_test(a_pending_one_travels),
		cmocka_unit_test(one_under_way_travels),
		cmocka_unit_test(an_early_one_is_not_lost),
		cmocka_unit_test(one_of_a_pin_that_was_never_attached_travels),
		cmocka_unit_test(a_disabled_one_travels),
		cmocka_unit_test(a_failed_load_can_be_repeated),
		cmocka_unit_test(a_pin_that_cannot_be_connected_takes_no_guest),
		cmocka_unit_test(a_device_without_a_pin_is_another_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
