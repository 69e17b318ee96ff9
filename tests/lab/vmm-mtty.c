/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vmm-mtty WAY SOURCE TARGET: a KVM guest with one of the kernel's mtty passed through, in the lab:
 * its ports, its interrupt pin (whose unmasking mtty leaves to us), and both after a migration in
 * this process. WAY is group or cdev, SOURCE and TARGET are the devices' UUIDs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/vmm-testing.h"
#include "vmm/pci-device.h"

/*
 * Makes mtty's transmitter, which is empty, interrupt by enabling that interrupt, again and again,
 * for mtty forgets what it has to say while it is masked. The handler of vector 0x51 counts.
 */
/* clang-format off */
#define AT(label) "0x100000 + " label " - transmit_start"
PROGRAM(transmit,
	"mov $0x300000, %esp\n"
	"lgdt " AT("7f") "\n"
	"ljmp $8, $" AT("1f") "\n"
	"1: mov $16, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss\n"
	"mov $" AT("5f") ", %eax; mov %eax, %ebx\n" /* the gate of vector 0x51, at 0x210288 */
	"and $0xffff, %eax; or $0x80000, %eax; mov %eax, 0x210288\n"
	"and $0xffff0000, %ebx; or $0x8e00, %ebx; mov %ebx, 0x21028c\n"
	"lidt " AT("8f") "\n"
	"movl $0x1ff, 0xfee000f0\n"
	"mov $0xcf8, %edx; mov $0x8000083c, %eax; out %eax, %dx\n" /* the line, which says 17 */
	"mov $0xcfc, %edx; in %dx, %al; movzbl %al, %eax; lea 0x10(%eax, %eax), %esi\n"
	"lea 1(%esi), %eax; mov %eax, 0xfec00000; movl $0, 0xfec00010\n"
	"mov %esi, 0xfec00000; movl $0xa051, 0xfec00010\n"
	"mov $0xcf8, %edx; mov $0x80000804, %eax; out %eax, %dx\n"
	"mov $0xcfc, %edx; mov $1, %ax; out %ax, %dx\n" /* its ports */
	"3: sti\n"
	"mov $0xc001, %edx; mov $0, %al; out %al, %dx; mov $2, %al; out %al, %dx\n"
	"mov $2000, %ecx; 4: pause; loop 4b; jmp 3b\n"
	"5: incl 0x200000\n"
	"movl $0, 0xfee000b0; mov $0x300000, %esp; jmp 3b\n" /* as vmm-intx.c has it */
	"7: .word 23; .long " AT("9f") "\n"
	"8: .word 0x7ff; .long 0x210000\n"
	"9: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n");
/* clang-format on */

#define ENOUGH 20u /* the device is unmasked by each but the first */

static const char *way, *uuids[2];

static struct kvm_guest *guest_of(const char *uuid, const char *vm, bool incoming)
{
	struct guest_config config = { .incoming = incoming,
				       .serial = "none",
				       .memory_bytes = 8u << 20 };
	struct hf_session_device device = { .name = "vfio0" };
	struct hf_device_host host;
	struct kvm_guest *guest;
	struct hf_error err = { 0 };
	char uri[128], path[64];
	int fd = program_image(&transmit);

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)snprintf(uri, sizeof(uri), "vfio:%s,path=%s,vm=%s", uuid, way, vm);
	config.kernel = incoming ? NULL : path;
	if (kvm_guest_begin(&config, &guest, &err) != 0)
		fail_msg("%s", err.text);
	host = kvm_guest_host(guest);
	if (hf_device_open_for(&host, uri, device.name, &device.device, &err) != 0 ||
	    kvm_guest_finish(guest, &config, &device, 1, &err) != 0)
		fail_msg("%s", err.text);
	program_image_close(fd);
	/* KVM has taken the file: this kernel's VFIO device knows both ways. */
	assert_int_equal(guest->vfio.count, 1);
	assert_int_equal(guest->vfio.refused, 0);
	return guest;
}

static void set_state(struct kvm_guest *guest, uint32_t state)
{
	const struct hf_device *device = &guest->guest.devices[0].device;

	assert_int_equal(device->ops->set_state(device->self, state), 0);
}

static void move_stream(struct kvm_guest *source, struct kvm_guest *target)
{
	const struct hf_device *from = &source->guest.devices[0].device;
	const struct hf_device *to = &target->guest.devices[0].device;
	uint8_t buf[4096];
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

static void interrupts_come(struct kvm_guest *guest)
{
	volatile uint32_t *count = guest_at(guest, SCRATCH_GPA);
	uint32_t first = *count;

	for (uint32_t now = first; now - first < ENOUGH;)
		now = wait_word_change(count, now);
}

static void a_guest_gets_its_interrupts_here_and_there(void **state)
{
	struct kvm_guest *source = guest_of(uuids[0], "a", false), *target;

	(void)state;
	guest_run(source);
	interrupts_come(source);
	target = guest_of(uuids[1], "b", true);
	check_shape(source, target);
	guest_stop(source);
	set_state(source, HF_DEVICE_STOP_COPY);
	set_state(target, HF_DEVICE_RESUMING);
	move_stream(source, target);
	set_state(target, HF_DEVICE_STOP);
	copy_memory(source, target);
	move_state(source, target);
	move_device(source, target, 0);
	set_state(target, HF_DEVICE_RUNNING);
	guest_run(target);
	interrupts_come(target);
	/* And at home again, as if the target had not been able to. */
	set_state(source, HF_DEVICE_RUNNING);
	guest_run(source);
	interrupts_come(source);
	assert_int_equal(pci_failed_accesses(&source->pci), 0);
	assert_int_equal(pci_failed_accesses(&target->pci), 0);
	guest_end(source);
	guest_end(target);
}

/* KVM has let go of the file, and the pin of its eventfds: it can be had again. */
static void and_leaves_nothing_behind(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		struct kvm_guest *guest = guest_of(uuids[0], "a", false);

		guest_run(guest);
		interrupts_come(guest);
		guest_end(guest);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_gets_its_interrupts_here_and_there),
		cmocka_unit_test(and_leaves_nothing_behind),
	};

	if (argc != 4) {
		(void)fprintf(stderr, "usage: vmm-mtty group|cdev SOURCE TARGET\n");
		return 2;
	}
	way = argv[1];
	uuids[0] = argv[2];
	uuids[1] = argv[3];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
