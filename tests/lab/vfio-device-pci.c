/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The backend for kernel devices with a PCI function behind an IOMMU: vfio-device-pci PATH ADDRESS,
 * with path "group" or "cdev" and the address of QEMU's edu, bound to vfio-pci. What mediated
 * devices do not have: a pin that the driver unmasks by an eventfd, memory that is pinned and
 * mapped in an IOMMU's page table, a BAR that is mapped whole. Runs in the lab, by vfio-device.sh.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <holdfast/backend.h>

/* BAR 0 of edu (QEMU's docs/specs/edu). */
#define REG_ID 0x00u
#define REG_NOT 0x04u /* reads as what was written, inverted */
#define REG_RAISE 0x60u /* these bits of its interrupt status; and those no longer: */
#define REG_LOWER 0x64u
#define REG_FROM 0x80u
#define REG_TO 0x88u
#define REG_BYTES 0x90u
#define REG_COMMAND 0x98u
#define COMMAND_START 1u
#define COMMAND_TO_MEMORY 2u
#define COMMAND_RAISE 4u /* 0x100, when it is done */
#define BUFFER 0x40000u /* its own memory, for DMA */
#define ID 0x010000edu

#define INTX 0u
#define MSI 1u
#define RAM_SIZE 8192u
#define RAM_IOVA 0x100000ull
#define PATTERN 0x5eed0123456789abull
#define WAIT_MS 20000

static const char *path, *address;

#define DO(d, name, ...) (d)->ops->name((d)->self, ##__VA_ARGS__)

static void open_it(struct hf_device *d)
{
	const uint16_t memory_and_master = 6;
	struct hf_error err = { 0 };
	char uri[HF_URI_MAX];

	(void)snprintf(uri, sizeof(uri), "vfio:%s,path=%s", address, path);
	if (hf_device_open(uri, NULL, d, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(DO(d, region_write, 7, 4, &memory_and_master, 2), 0);
}

static void put(const struct hf_device *d, uint32_t at, uint32_t value)
{
	assert_int_equal(DO(d, region_write, 0, at, &value, 4), 0);
}

static int event_fd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* How often it was signalled, at once or after a while. */
static uint64_t signals(int fd, int wait_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t count = 0;

	if (poll(&p, 1, wait_ms) == 1)
		assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	return count;
}

static void its_registers_are_mapped(void **state)
{
	struct hf_region_info info;
	volatile uint32_t *map;
	struct hf_device d;
	uint32_t value = 0;
	void *at;

	(void)state;
	open_it(&d);
	assert_int_equal(DO(&d, region_info, 0, &info), 0);
	assert_int_equal(info.flags & (HF_REGION_MMAP | HF_REGION_MMAP_AREAS), HF_REGION_MMAP);
	at = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, info.mmap_fd,
		  (off_t)info.mmap_offset);
	assert_true(at != MAP_FAILED);
	map = at;
	assert_int_equal(map[REG_ID / 4], ID);
	map[REG_NOT / 4] = 0x12345678;
	assert_int_equal(DO(&d, region_read, 0, REG_NOT, &value, 4), 0);
	assert_int_equal(value, ~0x12345678u);
	assert_int_equal(munmap(at, info.size), 0);
	hf_device_close(&d);
}

/* It masks itself, and says again that it stands when it is unmasked by the other eventfd. */
static void its_pin_is_unmasked_by_an_eventfd(void **state)
{
	const int fds[2] = { event_fd(), event_fd() };
	const uint64_t one = 1;
	struct hf_device d;
	uint32_t count = 0;

	(void)state;
	open_it(&d);
	assert_int_equal(DO(&d, irq_count, INTX, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(DO(&d, irqs_set, INTX, 2, fds), 0);
	for (int i = 0; i < 3; i++) {
		put(&d, REG_RAISE, 1);
		assert_int_equal(signals(fds[0], WAIT_MS), 1);
		assert_int_equal(signals(fds[0], 100), 0);
		assert_int_equal(write(fds[1], &one, sizeof(one)), sizeof(one));
		assert_int_equal(signals(fds[0], WAIT_MS), 1);
		put(&d, REG_LOWER, 1);
		assert_int_equal(write(fds[1], &one, sizeof(one)), sizeof(one));
		assert_int_equal(signals(fds[0], 100), 0);
	}
	assert_int_equal(DO(&d, irqs_set, INTX, 0, NULL), 0);
	put(&d, REG_RAISE, 1);
	assert_int_equal(signals(fds[0], 100), 0);
	put(&d, REG_LOWER, 1);
	hf_device_close(&d);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void wait_done(const struct hf_device *d, int fd)
{
	assert_int_equal(signals(fd, WAIT_MS), 1);
	put(d, REG_LOWER, 0x100);
}

static void transfer(const struct hf_device *d, uint64_t from, uint64_t to, uint32_t command)
{
	put(d, REG_FROM, (uint32_t)from);
	put(d, REG_TO, (uint32_t)to);
	put(d, REG_BYTES, 8);
	put(d, REG_COMMAND, command | COMMAND_START | COMMAND_RAISE);
}

/* Through the IOMMU; when it is done it says so by MSI. What is not mapped any more it misses. */
static void it_reaches_what_is_mapped(void **state)
{
	uint64_t *ram =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct hf_device d;
	int fd = event_fd();

	(void)state;
	assert_true(ram != MAP_FAILED);
	open_it(&d);
	assert_int_equal(
		DO(&d, dma_map, RAM_IOVA, RAM_SIZE, ram, -1, 0, HF_DMA_READ | HF_DMA_WRITE), 0);
	assert_int_equal(DO(&d, irqs_set, MSI, 1, &fd), 0);
	ram[0] = PATTERN;
	transfer(&d, RAM_IOVA, BUFFER, 0);
	wait_done(&d, fd);
	transfer(&d, BUFFER, RAM_IOVA + 4096, COMMAND_TO_MEMORY);
	wait_done(&d, fd);
	assert_true(ram[512] == PATTERN);
	ram[512] = 0;
	assert_int_equal(DO(&d, dma_unmap, RAM_IOVA, RAM_SIZE), 0);
	transfer(&d, BUFFER, RAM_IOVA + 4096, COMMAND_TO_MEMORY);
	wait_done(&d, fd);
	assert_true(ram[512] == 0);
	assert_int_equal(DO(&d, irqs_set, MSI, 0, NULL), 0);
	hf_device_close(&d);
	(void)close(fd);
	assert_int_equal(munmap(ram, RAM_SIZE), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_registers_are_mapped),
		cmocka_unit_test(its_pin_is_unmasked_by_an_eventfd),
		cmocka_unit_test(it_reaches_what_is_mapped),
	};

	if (argc != 3) {
		(void)fprintf(stderr, "usage: vfio-device-pci group|cdev ADDRESS\n");
		return 2;
	}
	path = argv[1];
	address = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
