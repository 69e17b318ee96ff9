/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vmm-msix WAY FUNCTION: a KVM guest with a PCI function that has MSI-X, in the lab (QEMU's e1000e,
 * by vfio-pci). Its table and its pending bits are the VMM's, the rest of their BAR is the
 * device's; what the device signals goes to the vCPU that the guest has written there. WAY is group
 * or cdev.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/vmm-testing.h"
#include "vmm/pci-device.h"

/* 82574's registers in BAR 0 (Intel's datasheet, chapter 10.2.4). */
#define REG_STATUS 0x08u
#define REG_CTRL_EXT 0x18u
#define REG_ICS 0xc8u /* raises these causes by software */
#define REG_IMS 0xd0u
#define REG_EIAC 0xdcu /* causes that go when their message has */
#define REG_IVAR 0xe4u /* which cause has which vector */
#define CTRL_EXT_IAME (1u << 27)
#define CAUSES 0x01f00000u /* its two receive queues, two transmit queues, and the rest */
#define CAUSE(vector) (0x00100000u << (vector))
#define IVAR_EACH 0x000cba98u /* valid, and the vectors 0 to 4 in their order */
#define VECTORS 5u

#define SLOT 1u
#define MSIX_ENABLE 0x8000u
#define MSIX_MASK 0x4000u
#define LAPIC_VECTOR 0x40u /* of vector 0, and so on */

/* Switches its LAPIC on and counts; it takes no interrupt, so that they are seen in the LAPIC. */
PROGRAM(counts, "movl $0x1ff, 0xfee000f0; 1: incl 0x200000; jmp 1b");
/* The same, and keeps what it reads in BAR 0, at REG_STATUS. */
PROGRAM(reads, "1: mov 0xc0000008, %eax; mov %eax, 0x200004; incl 0x200000; jmp 1b");

static const char *way, *function;

static struct kvm_guest *guest_that(const struct program *program)
{
	struct guest_config config = { .serial = "none", .memory_bytes = 8u << 20 };
	struct hf_session_device device = { .name = "vfio0" };
	struct hf_device_host host;
	struct kvm_guest *guest;
	struct hf_error err = { 0 };
	char uri[128], path[64];
	int fd = program_image(program);

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)snprintf(uri, sizeof(uri), "vfio:%s,path=%s", function, way);
	config.kernel = path;
	if (kvm_guest_begin(&config, &guest, &err) != 0)
		fail_msg("%s", err.text);
	host = kvm_guest_host(guest);
	if (hf_device_open_for(&host, uri, device.name, &device.device, &err) != 0 ||
	    kvm_guest_finish(guest, &config, &device, 1, &err) != 0)
		fail_msg("%s", err.text);
	program_image_close(fd);
	guest_run(guest);
	(void)wait_word_change(guest_at(guest, SCRATCH_GPA), 0);
	guest_stop(guest);
	config_write(guest, SLOT, 4, 2, 6);
	return guest;
}

static struct kvm_guest *guest_of_it(void)
{
	return guest_that(&counts);
}

/* ---- as the guest does it ------------------------------------------------------------------- */

static const struct pci_device *it(const struct kvm_guest *guest)
{
	return guest->pci.devices[0];
}

static void reg_set(struct kvm_guest *guest, uint32_t at, uint32_t value)
{
	mmio_write(guest, it(guest)->bars[0].gpa + at, value);
}

static void control_set(struct kvm_guest *guest, uint32_t value)
{
	config_write(guest, SLOT, it(guest)->msix.capability + 2, 2, value);
}

static uint64_t entry_of(const struct kvm_guest *guest, uint32_t vector)
{
	const struct msix *msix = &it(guest)->msix;

	return it(guest)->bars[msix->table_bar].gpa + msix->table_offset + 16 * vector;
}

static void entry_set(struct kvm_guest *guest, uint32_t vector, uint32_t data, bool masked)
{
	mmio_write(guest, entry_of(guest, vector), 0xfee00000);
	mmio_write(guest, entry_of(guest, vector) + 4, 0);
	mmio_write(guest, entry_of(guest, vector) + 8, data);
	mmio_write(guest, entry_of(guest, vector) + 12, masked);
}

static uint32_t pending(struct kvm_guest *guest)
{
	const struct msix *msix = &it(guest)->msix;

	return mmio_read(guest, it(guest)->bars[msix->pba_bar].gpa + msix->pba_offset);
}

/* Those that were just raised are on their way through the host's kernel; then all bits are seen.
 */
static bool wait_pending(struct kvm_guest *guest, uint32_t raised, uint32_t bits)
{
	const struct vector *vectors = it(guest)->msix.vectors.vector;

	for (uint32_t v = 0; v < VECTORS; v++) {
		struct pollfd p = { .fd = vectors[v].eventfd, .events = POLLIN };

		if ((raised >> v & 1) && poll(&p, 1, 20000) != 1)
			return false;
	}
	return pending(guest) == bits;
}

static void raise(struct kvm_guest *guest, uint32_t vector)
{
	reg_set(guest, REG_ICS, CAUSE(vector));
}

/* MSI-X is on, each cause has its vector, all are masked in the table. */
static struct kvm_guest *guest_with_it_on(void)
{
	struct kvm_guest *guest = guest_of_it();

	assert_int_equal(it(guest)->msix.count, VECTORS);
	for (uint32_t v = 0; v < VECTORS; v++)
		entry_set(guest, v, LAPIC_VECTOR + v, true);
	control_set(guest, MSIX_ENABLE);
	assert_true(it(guest)->msix.vectors.armed);
	reg_set(guest, REG_CTRL_EXT, CTRL_EXT_IAME);
	reg_set(guest, REG_IVAR, IVAR_EACH);
	reg_set(guest, REG_EIAC, CAUSES);
	reg_set(guest, REG_IMS, CAUSES);
	return guest;
}

static void end(struct kvm_guest *guest)
{
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	assert_int_equal(it(guest)->failures[FAILURE_OF_IRQS].count, 0);
	guest_end(guest);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void its_table_is_trapped_and_the_rest_is_mapped(void **state)
{
	struct kvm_guest *guest = guest_of_it();
	const struct msix *msix = &it(guest)->msix;
	const struct bar *bar = &it(guest)->bars[msix->table_bar];

	(void)state;
	assert_int_equal(msix->count, VECTORS);
	assert_int_equal(msix->table_bar, msix->pba_bar);
	for (uint32_t i = 0; i < bar->piece_count; i++) {
		uint64_t first = bar->pieces[i].offset, last = first + bar->pieces[i].size - 1;

		assert_true(bar->pieces[i].mapped);
		assert_true(last < msix->table_offset || first >= msix->table_offset + 4096);
		assert_true(last < msix->pba_offset || first >= msix->pba_offset + 4096);
	}
	assert_true(bar->piece_count >= 1);
	/* What the guest writes there the device's own table does not get. */
	entry_set(guest, 3, 0x1234, true);
	assert_int_equal(mmio_read(guest, entry_of(guest, 3) + 8), 0x1234);
	assert_int_equal(mmio_read(guest, entry_of(guest, 3) + 12), 1);
	end(guest);
}

static void each_vector_reaches_the_vcpu(void **state)
{
	struct kvm_guest *guest = guest_with_it_on();

	(void)state;
	for (uint32_t v = 0; v < VECTORS; v++) {
		mmio_write(guest, entry_of(guest, v) + 12, 0);
		raise(guest, v);
		assert_true(wait_requested(guest, LAPIC_VECTOR + v));
		for (uint32_t other = v + 1; other < VECTORS; other++)
			assert_false(requested(guest, LAPIC_VECTOR + other));
	}
	/* Another message while it is live. */
	mmio_write(guest, entry_of(guest, 2) + 8, 0x62);
	raise(guest, 2);
	assert_true(wait_requested(guest, 0x62));
	end(guest);
}

static void what_is_masked_stays_pending(void **state)
{
	struct kvm_guest *guest = guest_with_it_on();

	(void)state;
	raise(guest, 1);
	raise(guest, 3);
	assert_true(wait_pending(guest, 1u << 1 | 1u << 3, 1u << 1 | 1u << 3));
	assert_false(requested(guest, LAPIC_VECTOR + 1));
	mmio_write(guest, entry_of(guest, 1) + 12, 0);
	assert_true(wait_requested(guest, LAPIC_VECTOR + 1));
	assert_false(requested(guest, LAPIC_VECTOR + 3));
	assert_int_equal(pending(guest), 1u << 3);
	/* The whole function. */
	control_set(guest, MSIX_ENABLE | MSIX_MASK);
	mmio_write(guest, entry_of(guest, 0) + 12, 0);
	mmio_write(guest, entry_of(guest, 3) + 12, 0);
	raise(guest, 0);
	assert_true(wait_pending(guest, 1u << 0, 1u << 0 | 1u << 3));
	control_set(guest, MSIX_ENABLE);
	assert_true(wait_requested(guest, LAPIC_VECTOR + 0));
	assert_true(wait_requested(guest, LAPIC_VECTOR + 3));
	assert_int_equal(pending(guest), 0);
	end(guest);
}

/* The pin again, and then MSI-X once more: the kernel has let go of all vectors. */
static void it_goes_off_and_on(void **state)
{
	struct kvm_guest *guest = guest_with_it_on();

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		control_set(guest, 0);
		assert_false(it(guest)->msix.vectors.armed);
		assert_true(it(guest)->intx.armed);
		control_set(guest, MSIX_ENABLE);
		assert_false(it(guest)->intx.armed);
		entry_set(guest, 4, 0x70 + i, false);
		raise(guest, 4);
		assert_true(wait_requested(guest, 0x70 + i));
	}
	end(guest);
}

/* What it reads there while it runs. */
static uint32_t read_while_it_runs(struct kvm_guest *guest)
{
	volatile uint32_t *count = guest_at(guest, SCRATCH_GPA), *word = count + 1;

	guest_run(guest);
	for (uint32_t i = 0; i < 2; i++) /* one that was under way, and a whole one */
		(void)wait_word_change(count, *count);
	guest_stop(guest);
	return *word;
}

/* The kernel lets nobody reach the BARs of a function that is in D3hot: KVM_RUN would fail. */
static void asleep_it_reads_as_ones(void **state)
{
	struct kvm_guest *guest = guest_that(&reads);
	uint32_t power = 0, status;

	(void)state;
	assert_int_equal(pci_capability(guest->pci.devices[0], 0x01, &power), 0);
	assert_true(power != 0);
	assert_int_equal(it(guest)->bars[0].mapped_gpa, BAR0_GPA);
	status = read_while_it_runs(guest);
	assert_int_not_equal(status, 0xffffffff);
	assert_int_equal(status, mmio_read(guest, BAR0_GPA + REG_STATUS));
	for (uint32_t i = 0; i < 2; i++) {
		config_write(guest, SLOT, power + 4, 2, 3);
		assert_int_equal(config_read(guest, SLOT, power + 4, 2) & 3, 3);
		assert_int_equal(read_while_it_runs(guest), 0xffffffff);
		config_write(guest, SLOT, power + 4, 2, 0);
		assert_int_equal(config_read(guest, SLOT, power + 4, 2) & 3, 0);
		assert_int_equal(read_while_it_runs(guest), status);
	}
	end(guest);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_table_is_trapped_and_the_rest_is_mapped),
		cmocka_unit_test(each_vector_reaches_the_vcpu),
		cmocka_unit_test(what_is_masked_stays_pending),
		cmocka_unit_test(it_goes_off_and_on),
		cmocka_unit_test(asleep_it_reads_as_ones),
	};

	if (argc != 3) {
		(void)fprintf(stderr, "usage: vmm-msix group|cdev FUNCTION\n");
		return 2;
	}
	way = argv[1];
	function = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
