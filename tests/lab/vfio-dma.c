/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Does labdma (docs/lab.md) do what the lab promises? vfio-dma group|cdev UUID has it write into
 * this program's memory, waits for its interrupt, and reads its log: exactly the pages that were
 * written to. In STOP it does nothing. Ends with 1, and says why, if that is not so.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vfio-raw.h"

#define PAGE_BYTES 4096u
#define PAGE_COUNT 256u
#define WINDOW_IOVA 0x10000000ull
#define INTERRUPT_MS_MAX 30000 /* a busy host */

/* Registers of BAR 0. */
#define WINDOW_LOW 0x08
#define WINDOW_BYTES 0x10
#define COUNT 0x18
#define DOORBELL 0x1c
#define ERRORS 0x24

#define PCI_COMMAND 0x04
#define PCI_COMMAND_MEMORY_MASTER 0x06

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	(void)printf("not so: %s\n", what);
	exit(1);
}

static __u32 bar(const struct raw_device *device, __u64 offset)
{
	return raw_read(device, VFIO_PCI_BAR0_REGION_INDEX, offset);
}

static void set_bar(const struct raw_device *device, __u64 offset, __u32 value)
{
	raw_write(device, VFIO_PCI_BAR0_REGION_INDEX, offset, value);
}

static int open_interrupt(const struct raw_device *device)
{
	_Alignas(struct vfio_irq_set) char bytes[sizeof(struct vfio_irq_set) + sizeof(int)];
	struct vfio_irq_set *set = (struct vfio_irq_set *)bytes;
	int fd = eventfd(0, EFD_CLOEXEC);

	if (fd < 0)
		raw_stuck(device->role, "eventfd");
	*set = (struct vfio_irq_set){
		.argsz = sizeof(bytes),
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSI_IRQ_INDEX,
		.count = 1,
	};
	memcpy(set->data, &fd, sizeof(fd));
	if (ioctl(device->fd, VFIO_DEVICE_SET_IRQS, set))
		raw_stuck(device->role, "SET_IRQS");
	return fd;
}

static void wait_interrupt(int fd)
{
	struct pollfd wanted = { .fd = fd, .events = POLLIN };
	uint64_t count;

	must(poll(&wanted, 1, INTERRUPT_MS_MAX) == 1, "the interrupt has come");
	must(read(fd, &count, sizeof(count)) == sizeof(count) && count == 1, "it came once");
}

static void start_log(const struct raw_device *device)
{
	struct vfio_device_feature_dma_logging_range range = { WINDOW_IOVA,
							       PAGE_COUNT * PAGE_BYTES };
	struct raw_feature feature = {
		.u.log = { .page_size = PAGE_BYTES, .num_ranges = 1, .ranges = (uintptr_t)&range },
	};

	if (raw_ask(device, &feature,
		    VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START))
		raw_stuck(device->role, "LOGGING_START");
}

/* False: this kernel cannot say. */
static bool read_log(const struct raw_device *device, __u64 *bits)
{
	struct raw_feature feature = {
		.u.report = { .iova = WINDOW_IOVA,
			      .length = PAGE_COUNT * PAGE_BYTES,
			      .page_size = PAGE_BYTES,
			      .bitmap = (uintptr_t)bits },
	};

	memset(bits, 0, PAGE_COUNT / 8);
	if (raw_ask(device, &feature,
		    VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT) == 0)
		return true;
	if (errno != EOPNOTSUPP)
		raw_stuck(device->role, "LOGGING_REPORT");
	return false;
}

static void check_log(const struct raw_device *device)
{
	__u64 bits[PAGE_COUNT / 64];

	if (!read_log(device, bits)) {
		(void)printf("log: not to be read on this kernel\n");
		return;
	}
	must(bits[0] == (1ull << 3 | 1ull << 63) && bits[3] == 1ull << 63 && !bits[1] && !bits[2],
	     "the log has pages 3, 63 and 255, and no other");
	must(read_log(device, bits) && !(bits[0] | bits[1] | bits[2] | bits[3]),
	     "the log is empty once it was read");
	(void)printf("log: pages 3, 63 and 255\n");
}

static void check_writes(const struct raw_device *device, const unsigned char *memory)
{
	static const __u32 pages[] = { 3, 63, 255 };
	int interrupt = open_interrupt(device);
	uint64_t word;

	for (__u32 i = 0; i < 3; i++) {
		set_bar(device, DOORBELL, pages[i]);
		wait_interrupt(interrupt);
		memcpy(&word, memory + pages[i] * PAGE_BYTES, sizeof(word));
		must(word == i + 1, "the page holds the count");
	}
	must(bar(device, COUNT) == 3 && bar(device, ERRORS) == 0, "three writes, no error");
	(void)printf("dma: 3 writes, 3 interrupts\n");
	(void)close(interrupt);
}

int main(int argc, char **argv)
{
	struct raw_device device = { .role = "device" };
	bool group = argc == 3 && strcmp(argv[1], "group") == 0;
	unsigned char *memory;

	if (argc != 3 || (!group && strcmp(argv[1], "cdev") != 0)) {
		(void)fprintf(stderr, "usage: vfio-dma group|cdev UUID\n");
		return 2;
	}
	device.uuid = argv[2];
	raw_open(&device, group);
	memory = mmap(NULL, PAGE_COUNT * PAGE_BYTES, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		raw_stuck(device.role, "mmap");
	raw_map(&device, memory, PAGE_COUNT * PAGE_BYTES, WINDOW_IOVA);
	raw_write(&device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, PCI_COMMAND_MEMORY_MASTER);
	set_bar(&device, WINDOW_LOW, (__u32)WINDOW_IOVA);
	set_bar(&device, WINDOW_BYTES, PAGE_COUNT * PAGE_BYTES);
	start_log(&device);
	check_writes(&device, memory);
	check_log(&device);
	(void)raw_go(&device, VFIO_DEVICE_STATE_STOP);
	set_bar(&device, DOORBELL, 7);
	must(bar(&device, COUNT) == 3 && memory[7 * PAGE_BYTES] == 0, "in STOP nothing is written");
	(void)printf("stopped: nothing is written\n");
	return 0;
}
