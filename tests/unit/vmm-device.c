/* SPDX-License-Identifier: BSD-3-Clause */
/* A device on the KVM guest's PCI bus: configuration, BARs, DMA maps, MSI-X, and how they travel.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-testing.h"
#include "vmm/pci-device.h"

PROGRAM(idle, "1: hlt; jmp 1b");

/* Memory decoding on, writes into BAR4 (mapped) and BAR0 (traps) and reads back. */
PROGRAM(use_bars, "mov $0xcf8, %edx; mov $0x80000804, %eax; out %eax, %dx\n"
		  "mov $0xcfc, %edx; mov $6, %ax; out %ax, %dx\n"
		  "movl $0x11223344, 0xc0010ff0\n"
		  "movl $0x55667788, 0xc0000010; movb $0x99, 0xc0000021\n"
		  "mov 0xc0010ff0, %eax; mov %eax, 0x200000\n"
		  "mov 0xc0000010, %eax; mov %eax, 0x200004\n"
		  "mov 0xc0000020, %eax; mov %eax, 0x200008\n"
		  "mov 0xd0000000, %eax; mov %eax, 0x20000c\n" /* nobody */
		  "mov $1, %al\n" PROGRAM_EXIT);

/* ---- configuration -------------------------------------------------------------------------- */

static void the_bus_shows_what_is_there(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(&idle, (struct guest_config){ 0 }, &device, 1);
	assert_int_equal(config_read(guest, 0, 0, 4), 0x48421234); /* the host bridge */
	assert_int_equal(config_read(guest, 0, 0x0a, 2), 0x0600);
	assert_int_equal(config_read(guest, 1, 0, 4), 0x48461234);
	assert_int_equal(config_read(guest, 1, 2, 2), 0x4846);
	assert_int_equal(config_read(guest, 2, 0, 4), 0xffffffff);
	/* MSI, which it does not signal, is not shown, the others are. */
	assert_int_equal(config_read(guest, 1, 0x34, 1), 0x50);
	assert_int_equal(config_read(guest, 1, 0x50, 2), 0x6009);
	assert_int_equal(config_read(guest, 1, 0x60, 2), 0x0011);
	/* BARs: addresses were given, sizes can be found out. */
	assert_int_equal(config_read(guest, 1, 0x10, 4), BAR0_GPA);
	assert_int_equal(config_read(guest, 1, 0x18, 4), BAR2_GPA);
	assert_int_equal(config_read(guest, 1, 0x20, 4), BAR4_GPA | 0xc);
	config_write(guest, 1, 0x20, 4, 0xffffffff);
	config_write(guest, 1, 0x24, 4, 0xffffffff);
	assert_int_equal(config_read(guest, 1, 0x20, 4), 0xffff000c);
	assert_int_equal(config_read(guest, 1, 0x24, 4), 0xffffffff);
	assert_int_equal(config_read(guest, 1, 0x14, 4), PORTS | 1);
	config_write(guest, 1, 0x14, 4, 0xffffffff);
	assert_int_equal(config_read(guest, 1, 0x14, 4), 0xfff9); /* 8 ports */
	assert_int_equal(config_read(guest, 1, 0x1c, 4), 0); /* there is none */
	/* The device's own bytes go to the device, ours do not. */
	config_write(guest, 1, 0x52, 1, 0xab);
	assert_int_equal(fake->config[0x52], 0xab);
	config_write(guest, 1, 0x3c, 1, 0x0b);
	assert_int_equal(config_read(guest, 1, 0x3c, 1), 0x0b);
	assert_int_equal(fake->config[0x3c], 0);
	/* COMMAND is both. */
	config_write(guest, 1, 4, 2, 0xffff);
	assert_int_equal(config_read(guest, 1, 4, 2), 0x0547);
	assert_int_equal(fake->config[4] | fake->config[5] << 8, 0x0547);
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	guest_end(guest);
	assert_true(fake->closed);
	fake_free(fake);
}

/* ---- BARs ----------------------------------------------------------------------------------- */

static void the_guest_uses_its_bars(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest;
	const volatile uint32_t *result;
	uint32_t word;

	(void)state;
	require_kvm();
	guest = guest_with(&use_bars, (struct guest_config){ 0 }, &device, 1);
	guest_run(guest);
	assert_int_equal(wait_event(guest), GUEST_EVENT_SHUTDOWN);
	result = guest_at(guest, SCRATCH_GPA);
	assert_int_equal(result[0], 0x11223344);
	assert_int_equal(result[1], 0x55667788);
	assert_int_equal(result[2], 0x9900);
	assert_int_equal(result[3], 0xffffffff);
	assert_int_equal(pread(fake->bar4_fd, &word, 4, 0xff0), 4); /* without a trap */
	assert_int_equal(word, 0x11223344);
	memcpy(&word, fake->bar0 + 0x10, 4);
	assert_int_equal(word, 0x55667788);
	assert_int_equal(guest->guest.exit_status, 1);
	guest_end(guest);
	fake_free(fake);
}

static void check_pieces(const struct kvm_guest *guest, uint32_t count, const uint64_t pieces[][2])
{
	const struct bar *bar = &guest->pci.devices[0]->bars[4];

	assert_int_equal(bar->piece_count, count);
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(bar->pieces[i].offset, pieces[i][0]);
		assert_int_equal(bar->pieces[i].size, pieces[i][1]);
		assert_true(bar->pieces[i].mapped);
	}
}

/* Areas, in whole pages and in order; the MSI-X table and its pending bits trap within them. */
static void only_areas_are_mapped(void **state)
{
	static const struct hf_region_area areas[] = {
		{ 0x9000, 0x3000 }, /* overlaps the last one */
		{ 0x1800, 0x2900 }, /* half pages trap: 0x2000 to 0x4000 */
		{ 0x6000, 0x800 }, /* no page */
		{ 0xb000, 0xffffffffffff }, /* sticks out */
		{ 0x20000, 0x1000 }, /* outside */
		{ 0x5000, 0x1000 }, /* all of it the table's */
	};
	static const uint64_t pieces[][2] = { { 0x2000, 0x1000 },
					      { 0x9000, 0x3000 },
					      { 0xc000, 0x4000 } };
	struct fake_device *first = fake_new(), *second = fake_new();
	const struct hf_session_device devices[] = { fake_session_device(first, "fake0"),
						     fake_session_device(second, "fake1") };
	struct kvm_guest *guest;
	const volatile uint32_t *result;
	uint32_t word = 0x600df00d;

	(void)state;
	require_kvm();
	first->area_count = sizeof(areas) / sizeof(areas[0]);
	memcpy(first->areas, areas, sizeof(areas));
	first->config[0x64] = 4; /* the table: BAR4, 0x5000 */
	first->config[0x65] = 0x50;
	first->config[0x68] = 0xfc; /* pending bits: BAR4, 0x3ff8 */
	first->config[0x69] = 0x3f;
	assert_int_equal(pwrite(first->bar4_fd, &word, 4, 0xff4), 4);
	guest = guest_with(&use_bars, (struct guest_config){ 0 }, devices, 2);
	guest_run(guest);
	assert_int_equal(wait_event(guest), GUEST_EVENT_SHUTDOWN);
	result = guest_at(guest, SCRATCH_GPA);
	assert_int_equal(result[0], 0x11223344); /* trapped: 0xff0 is in no area */
	assert_int_equal(pread(first->bar4_fd, &word, 4, 0xff0), 4);
	assert_int_equal(word, 0x11223344);
	check_pieces(guest, 3, pieces);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(fake_map_at(second, BAR4_GPA + pieces[i][0])->size, pieces[i][1]);
	assert_int_equal(second->map_count, 4); /* and memory */
	/* The table is ours, and the device hears nothing of it. */
	mmio_write(guest, BAR4_GPA + 0x5000, 0xfee00000);
	assert_int_equal(mmio_read(guest, BAR4_GPA + 0x5000), 0xfee00000);
	assert_int_equal(pread(first->bar4_fd, &word, 4, 0x5000), 4);
	assert_int_equal(word, 0);
	assert_int_equal(mmio_read(guest, BAR4_GPA + 0x3ff8), 0);
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	guest_end(guest);
	assert_int_equal(second->map_count, 0);
	fake_free(first);
	fake_free(second);
}

/* As many as a device can say, with both holes in one of them: nothing is left out. */
static void all_areas_are_mapped(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest;
	const struct bar *bar;

	(void)state;
	require_kvm();
	fake->area_count = HF_REGION_AREAS_MAX;
	for (uint32_t i = 0; i < HF_REGION_AREAS_MAX; i++)
		fake->areas[HF_REGION_AREAS_MAX - 1 - i] =
			(struct hf_region_area){ i * 0x1000u, 0x1000 };
	guest = guest_with(&idle, (struct guest_config){ 0 }, &device, 1);
	config_write(guest, 1, 4, 2, 6);
	bar = &guest->pci.devices[0]->bars[4];
	assert_int_equal(bar->piece_count, HF_REGION_AREAS_MAX);
	for (uint32_t i = 0; i < HF_REGION_AREAS_MAX; i++)
		assert_true(bar->pieces[i].offset == i * 0x1000u && bar->pieces[i].mapped);
	guest_end(guest);
	fake_free(fake);
}

static void ports_are_decoded_where_they_are(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest;
	uint32_t value = 0;

	(void)state;
	require_kvm();
	guest = guest_with(&idle, (struct guest_config){ 0 }, &device, 1);
	memcpy(fake->ports, "01234567", 8);
	assert_false(pci_io_read(&guest->pci, PORTS, &value, 1)); /* COMMAND does not say so yet */
	config_write(guest, 1, 4, 2, 1);
	assert_true(pci_io_read(&guest->pci, PORTS + 3, &value, 1));
	assert_int_equal(value, '3');
	assert_true(pci_io_read(&guest->pci, PORTS + 2, &value, 2));
	assert_int_equal(value, '2' | '3' << 8);
	value = 0x78;
	assert_true(pci_io_write(&guest->pci, PORTS + 7, &value, 1));
	assert_int_equal(fake->ports[7], 0x78);
	assert_true(pci_io_read(&guest->pci, PORTS + 7, &value, 2)); /* half of it is nobody's */
	assert_int_equal(value & 0xffff, 0xff78);
	assert_false(pci_io_read(&guest->pci, PORTS + 8, &value, 1));
	assert_false(pci_mmio_read(&guest->pci, PORTS, &value, 1)); /* another space */

	config_write(guest, 1, 0x14, 4, 0x1230);
	assert_false(pci_io_read(&guest->pci, PORTS, &value, 1));
	assert_true(pci_io_read(&guest->pci, 0x1230, &value, 1));
	assert_int_equal(value & 0xff, '0');
	config_write(guest, 1, 0x14, 4, 0xcf8); /* the board's own stay its own */
	assert_false(pci_io_read(&guest->pci, 0xcf8, &value, 1));
	config_write(guest, 1, 0x14, 4, PORTS);
	config_write(guest, 1, 4, 2, 2);
	assert_false(pci_io_read(&guest->pci, PORTS, &value, 1));
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	guest_end(guest);
	fake_free(fake);
}

static void bars_move_and_peers_reach_them(void **state)
{
	struct fake_device *first = fake_new(), *second = fake_new();
	const struct hf_session_device devices[] = { fake_session_device(first, "fake0"),
						     fake_session_device(second, "fake1") };
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(&idle, (struct guest_config){ 0 }, devices, 2);
	assert_int_equal(second->map_count, 1); /* memory, and no BAR is decoded yet */
	assert_int_equal(fake_map_at(second, 0)->size, 8u << 20);
	assert_int_equal(fake_map_at(second, 0)->flags, HF_DMA_READ | HF_DMA_WRITE);
	config_write(guest, 1, 4, 2, 6);
	assert_int_equal(second->map_count, 2);
	assert_int_equal(first->map_count, 1); /* not into itself */
	assert_int_equal(fake_map_at(second, BAR4_GPA)->size, FAKE_BAR4_SIZE);
	assert_int_equal(fake_map_at(second, BAR4_GPA)->flags,
			 HF_DMA_READ | HF_DMA_WRITE | HF_DMA_P2P);
	/* Moved while it is decoded. */
	config_write(guest, 1, 0x20, 4, 0xd0000000);
	assert_null(fake_map_at(second, BAR4_GPA));
	assert_non_null(fake_map_at(second, 0xd0000000));
	config_write(guest, 1, 0x10, 4, 0xd1000000);
	mmio_write(guest, 0xd1000010, 0x1234);
	assert_int_equal(first->bar0[0x10], 0x34);
	/* Above 4 GiB, in two halves. */
	config_write(guest, 1, 0x24, 4, 0x10);
	assert_non_null(fake_map_at(second, 0x10d0000000));
	/* Into memory, onto the interrupt controllers, onto another BAR: not decoded. */
	config_write(guest, 1, 0x24, 4, 0);
	config_write(guest, 1, 0x20, 4, 0x00100000);
	assert_int_equal(second->map_count, 1);
	config_write(guest, 1, 0x20, 4, 0xfec00000);
	assert_int_equal(second->map_count, 1);
	config_write(guest, 2, 4, 2, 6);
	config_write(guest, 1, 0x20, 4, config_read(guest, 2, 0x20, 4));
	assert_int_equal(second->map_count, 1);
	/* Off. */
	config_write(guest, 1, 0x20, 4, 0xd0000000);
	assert_int_equal(second->map_count, 2);
	config_write(guest, 1, 4, 2, 4);
	assert_int_equal(second->map_count, 1);
	assert_int_equal(pci_failed_accesses(&guest->pci), 0);
	guest_end(guest);
	assert_int_equal(first->map_count, 0);
	assert_int_equal(second->map_count, 0);
	fake_free(first);
	fake_free(second);
}

static void a_device_that_fails_reads_as_ones(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(&idle, (struct guest_config){ 0 }, &device, 1);
	config_write(guest, 1, 4, 2, 6);
	fake->fail_at = fake->calls + 1;
	assert_int_equal(mmio_read(guest, BAR0_GPA), 0xffffffff);
	assert_int_equal(pci_failed_accesses(&guest->pci), 1);
	assert_non_null(strstr(guest->guest.ops->describe(&guest->guest), "1 failed device"));
	guest_end(guest);
	fake_free(fake);
}

/* ---- moving --------------------------------------------------------------------------------- */

static void configuration_travels(void **state)
{
	struct fake_device *there[2] = { fake_new(), fake_new() };
	struct fake_device *here[2] = { fake_new(), fake_new() };
	struct hf_session_device devices[2];
	struct kvm_guest *source, *target;

	(void)state;
	require_kvm();
	devices[0] = fake_session_device(there[0], "fake0");
	devices[1] = fake_session_device(there[1], "fake1");
	source = guest_with(&idle, (struct guest_config){ 0 }, devices, 2);
	devices[0] = fake_session_device(here[0], "fake0");
	devices[1] = fake_session_device(here[1], "fake1");
	target = guest_with(NULL, (struct guest_config){ 0 }, devices, 2);
	config_write(source, 1, 0x20, 4, 0xd0000000);
	config_write(source, 1, 0x10, 4, 0xd1000000);
	config_write(source, 1, 4, 2, 6);
	config_write(source, 1, 0x0c, 1, 0x10);
	config_write(source, 1, 0x3c, 1, 0x0b);
	check_shape(source, target);
	move_state(source, target);
	move_device(source, target, 0);
	move_device(source, target, 1);
	for (uint32_t offset = 0; offset < 0x100; offset += 4)
		assert_int_equal(config_read(source, 1, offset, 4),
				 config_read(target, 1, offset, 4));
	assert_int_equal(here[0]->config[4], 6);
	assert_int_equal(here[0]->config[0x0c], 0x10);
	assert_non_null(fake_map_at(here[1], 0xd0000000));
	mmio_write(target, 0xd1000010, 0x77);
	assert_int_equal(here[0]->bar0[0x10], 0x77);
	guest_end(source);
	guest_end(target);
	for (uint32_t i = 0; i < 2; i++) {
		fake_free(there[i]);
		fake_free(here[i]);
	}
}

/* At the source the two have changed places: at the target each finds the other in its way. */
static void bars_change_places(void **state)
{
	struct fake_device *there[2] = { fake_new(), fake_new() };
	struct fake_device *here[2] = { fake_new(), fake_new() };
	struct hf_session_device devices[2];
	struct kvm_guest *source, *target;
	uint32_t bar0[2], bar4[2];

	(void)state;
	require_kvm();
	devices[0] = fake_session_device(there[0], "fake0");
	devices[1] = fake_session_device(there[1], "fake1");
	source = guest_with(&idle, (struct guest_config){ 0 }, devices, 2);
	devices[0] = fake_session_device(here[0], "fake0");
	devices[1] = fake_session_device(here[1], "fake1");
	target = guest_with(NULL, (struct guest_config){ 0 }, devices, 2);
	for (uint32_t i = 0; i < 2; i++) {
		bar0[i] = config_read(source, i + 1, 0x10, 4);
		bar4[i] = config_read(source, i + 1, 0x20, 4);
	}
	for (uint32_t i = 0; i < 2; i++) {
		config_write(source, i + 1, 0x10, 4, bar0[1 - i]);
		config_write(source, i + 1, 0x20, 4, bar4[1 - i]);
	}
	config_write(source, 1, 4, 2, 6);
	config_write(source, 2, 4, 2, 6);
	check_shape(source, target);
	move_device(source, target, 0);
	move_device(source, target, 1);
	for (uint32_t i = 0; i < 2; i++) {
		mmio_write(target, bar0[1 - i] + 0x10, 0x70 + i);
		assert_int_equal(here[i]->bar0[0x10], 0x70 + i);
		assert_non_null(fake_map_at(here[i], bar4[i] & ~0xfu)); /* the other's */
		assert_int_equal(here[i]->map_count, 2);
	}
	guest_end(source);
	guest_end(target);
	for (uint32_t i = 0; i < 2; i++) {
		fake_free(there[i]);
		fake_free(here[i]);
	}
}

static void another_device_is_refused(void **state)
{
	struct fake_device *fake = fake_new(), *other = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	struct hf_session_device device_here = fake_session_device(other, "fake0");
	uint8_t shape[8192], buf[4096];
	struct kvm_guest *source, *target;
	struct hf_error err = { 0 };
	uint32_t length;

	(void)state;
	require_kvm();
	other->config[2] = 0x47;
	source = guest_with(&idle, (struct guest_config){ 0 }, &device, 1);
	target = guest_with(NULL, (struct guest_config){ 0 }, &device_here, 1);
	assert_int_equal(kvm_machine_ops.describe(source, shape, sizeof(shape), &length, &err), 0);
	assert_int_equal(kvm_machine_ops.check(target, shape, length, &err), HF_E_MISMATCH);
	assert_non_null(strstr(err.text, "1234:4846"));
	assert_int_equal(kvm_machine_ops.device_save(source, 0, buf, sizeof(buf), &length, NULL),
			 0);
	assert_int_equal(kvm_machine_ops.device_load(target, 0, buf, length, NULL),
			 HF_E_DEVICE_CONFIG);
	assert_int_equal(kvm_machine_ops.device_load(target, 1, buf, length, NULL), HF_E_INVALID);
	other->config[2] = 0x46;
	guest_end(target);
	other->closed = false;
	target = guest_with(NULL, (struct guest_config){ 0 }, &device_here, 1);
	for (uint32_t cut = 0; cut < length; cut++)
		assert_int_equal(kvm_machine_ops.device_load(target, 0, buf, cut, NULL),
				 HF_E_DEVICE_CONFIG);
	assert_int_equal(kvm_machine_ops.device_load(target, 0, buf, length, NULL), 0);
	guest_end(source);
	guest_end(target);
	fake_free(fake);
	fake_free(other);
}

/* ---- sweeps --------------------------------------------------------------------------------- */

static uint32_t open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	(void)closedir(dir);
	return count;
}

/* Whichever call of the device fails while the guest is made: an error, and nothing is left. */
static void no_failure_leaves_anything_behind(void **state)
{
	const struct guest_config config = { .incoming = true,
					     .serial = "none",
					     .memory_bytes = 8u << 20 };
	uint32_t n = 0;
	int r;

	(void)state;
	require_kvm();
	do {
		struct fake_device *fake = fake_new();
		struct hf_session_device device = fake_session_device(fake, "fake0");
		uint32_t before = open_fds();
		struct hf_error err = { 0 };
		struct guest *guest;

		fake->fail_at = ++n;
		r = kvm_guest_assemble(&config, &device, 1, &guest, &err);
		if (r == 0) {
			assert_true(fake->calls < n); /* only if none has failed */
			guest->ops->free(guest);
		} else {
			assert_int_equal(r, err.code);
			assert_non_null(strstr(err.text, "device fake0"));
			if (err.cause == ENOMEM) /* its DMA: by far the likeliest reason */
				assert_non_null(strstr(err.text, "ulimit -l"));
			assert_int_equal(fake->map_count, 0);
			assert_false(fake->closed); /* still the caller's */
		}
		assert_int_equal(open_fds(), before);
		fake_free(fake);
	} while (r != 0);
	print_message("# %u calls\n", n - 1);
	assert_true(n > 10);
}

/* Whichever call fails while a device is loaded: an error, and loading again works. */
static void a_failed_load_can_be_repeated(void **state)
{
	struct fake_device *fake = fake_new(), *other = fake_new();
	struct hf_session_device device = fake_session_device(other, "fake0");
	uint8_t buf[4096];
	struct kvm_guest *source, *target;
	uint32_t length, calls;

	(void)state;
	require_kvm();
	source = guest_with_msix(fake);
	set_vector(source, 0, 0x40, false);
	config_write(source, 1, 0x0c, 1, 0x10);
	target = guest_with(NULL, (struct guest_config){ 0 }, &device, 1);
	check_shape(source, target);
	assert_int_equal(kvm_machine_ops.device_save(source, 0, buf, sizeof(buf), &length, NULL),
			 0);
	calls = other->calls;
	assert_int_equal(kvm_machine_ops.device_load(target, 0, buf, length, NULL), 0);
	calls = other->calls - calls;
	assert_true(calls > 3);
	guest_end(target);
	for (uint32_t n = 1; n <= calls; n++) {
		fake_free(other);
		other = fake_new();
		device = fake_session_device(other, "fake0");
		target = guest_with(NULL, (struct guest_config){ 0 }, &device, 1);
		other->fail_at = other->calls + n;
		assert_int_equal(kvm_machine_ops.device_load(target, 0, buf, length, NULL),
				 HF_E_DEVICE_CONFIG);
		assert_int_equal(kvm_machine_ops.device_load(target, 0, buf, length, NULL), 0);
		guest_end(target);
	}
	guest_end(source);
	fake_free(fake);
	fake_free(other);
}

/* A vCPU that reaches a mapped BAR of a device that does not decode any more would get SIGBUS. */
static void a_bar_goes_before_its_device_stops_to_decode(void **state)
{
	struct fake_device *fake = fake_new();
	struct hf_session_device device = fake_session_device(fake, "fake0");
	static const uint16_t offs[] = { 0, 4, 5 }; /* all, the bus stays, ports and the bus stay */
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(&idle, (struct guest_config){ 0 }, &device, 1);
	fake->decoded_at = &guest->pci.devices[0]->bars[4].mapped_gpa;
	for (uint32_t i = 0; i < 3; i++) {
		config_write(guest, 1, 4, 2, 7);
		assert_int_equal(*fake->decoded_at, BAR4_GPA);
		assert_int_equal(fake->config[4], 7);
		config_write(guest, 1, 4, 2, offs[i]);
		assert_int_equal(*fake->decoded_at, 0);
		assert_int_equal(fake->config[4], offs[i]);
		assert_false(fake->left_dark);
	}
	/* One kind off, the other on, at once. */
	config_write(guest, 1, 4, 2, 2);
	config_write(guest, 1, 4, 2, 1);
	assert_int_equal(fake->config[4], 1);
	assert_false(fake->left_dark);
	guest_end(guest);
	fake_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bus_shows_what_is_there),
		cmocka_unit_test(the_guest_uses_its_bars),
		cmocka_unit_test(only_areas_are_mapped),
		cmocka_unit_test(all_areas_are_mapped),
		cmocka_unit_test(ports_are_decoded_where_they_are),
		cmocka_unit_test(bars_move_and_peers_reach_them),
		cmocka_unit_test(a_device_that_fails_reads_as_ones),
		cmocka_unit_test(configuration_travels),
		cmocka_unit_test(bars_change_places),
		cmocka_unit_test(another_device_is_refused),
		cmocka_unit_test(no_failure_leaves_anything_behind),
		cmocka_unit_test(a_failed_load_can_be_repeated),
		cmocka_unit_test(a_bar_goes_before_its_device_stops_to_decode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
