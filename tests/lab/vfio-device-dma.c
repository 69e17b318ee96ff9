/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The backend for kernel devices with a device that does DMA: vfio-device-dma PATH SOURCE TARGET,
 * with path "group" or "cdev" and the UUIDs of two mediated devices labdma-1 (docs/lab.md). What it
 * writes to memory is reported, by its own log and by the kernel's; parts of its memory are mapped;
 * it interrupts, and so does the host about it; and it is moved while its state goes on changing.
 * Runs in the lab, where vfio-device.sh makes the devices.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <holdfast/backend.h>

/* BAR0, in words of 32 bits. */
#define REG_ID 0x00
#define REG_CONTROL 0x04 /* bit 0: it does DMA; bit 1: its memory changes */
#define REG_WINDOW 0x08 /* and its upper half behind it */
#define REG_WINDOW_BYTES 0x10
#define REG_COUNT 0x18
#define REG_DOORBELL 0x1c /* writes page N of the window, then interrupts */
#define REG_SCRATCH 0x20
#define REG_ERRORS 0x24
#define REG_SUM 0x28 /* of its memory */
#define REG_POKE 0x2c /* its block N changes */
#define ID 0x4c414244u

#define RAM_SIZE (2u << 20)
#define RAM_IOVA 0x40000000ull
#define PAGES (RAM_SIZE / 4096)
#define MSI 1u
#define ERR 3u
#define REQ 4u
#define BAR2 2u
#define STREAM_MAX (8u << 20)

#define KNOBS "/sys/module/labdma/parameters/"

static const char *path, *uuids[2];

#define DO(d, name, ...) (d)->device.ops->name((d)->device.self, ##__VA_ARGS__)

struct end {
	struct hf_device device;
	uint8_t *ram;
};

static uint32_t reg(struct end *e, uint32_t offset)
{
	uint32_t v = 0;

	assert_int_equal(DO(e, region_read, 0, offset, &v, 4), 0);
	return v;
}

static void put_reg(struct end *e, uint32_t offset, uint32_t v)
{
	assert_int_equal(DO(e, region_write, 0, offset, &v, 4), 0);
}

static int try_open(struct end *e, int index, const char *rest, struct hf_error *err)
{
	const uint16_t master = 4;
	char uri[HF_URI_MAX];

	(void)snprintf(uri, sizeof(uri), "vfio:%s,path=%s,vm=%d%s", uuids[index], path, index,
		       rest);
	memset(err, 0, sizeof(*err));
	if (hf_device_open(uri, NULL, &e->device, err) < 0)
		return -1;
	e->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(e->ram != MAP_FAILED);
	assert_int_equal(
		DO(e, dma_map, RAM_IOVA, RAM_SIZE, e->ram, -1, 0, HF_DMA_READ | HF_DMA_WRITE), 0);
	assert_int_equal(reg(e, REG_ID), ID);
	assert_int_equal(DO(e, region_write, 7, 4, &master, 2), 0);
	return 0;
}

static void open_end(struct end *e, int index)
{
	struct hf_error err;

	if (try_open(e, index, "", &err) < 0)
		fail_msg("%s", err.text);
}

static void set_window(struct end *e)
{
	put_reg(e, REG_WINDOW, (uint32_t)RAM_IOVA);
	put_reg(e, REG_WINDOW + 4, 0);
	put_reg(e, REG_WINDOW_BYTES, RAM_SIZE);
}

static void close_end(struct end *e)
{
	assert_int_equal(DO(e, reset), 0);
	hf_device_close(&e->device);
	assert_int_equal(munmap(e->ram, RAM_SIZE), 0);
}

/* ---- dirty pages and interrupts ------------------------------------------------------------ */

static void report(struct end *e, uint64_t bitmap[PAGES / 64])
{
	memset(bitmap, 0, PAGES / 8);
	assert_int_equal(DO(e, dirty_read, RAM_IOVA, RAM_SIZE, 4096, bitmap), 0);
}

static int bit(const uint64_t *bitmap, uint32_t n)
{
	return bitmap[n / 64] >> (n % 64) & 1;
}

/* Every page that it wrote is told, once, and no other one (or all of them, always). */
static void dirty_pages(struct end *e, int all)
{
	const struct hf_dma_range range = { RAM_IOVA, RAM_SIZE };
	uint64_t bitmap[PAGES / 64];

	assert_int_equal(DO(e, dirty_start, 4096, &range, 1), 0);
	report(e, bitmap); /* type1 may begin with what was pinned before */
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t p = round; p < PAGES; p += 97)
			put_reg(e, REG_DOORBELL, p);
		report(e, bitmap);
		for (uint32_t p = 0; p < PAGES; p++)
			assert_int_equal(bit(bitmap, p), all || p % 97 == round);
	}
	report(e, bitmap);
	for (uint32_t p = 0; p < PAGES; p++)
		assert_int_equal(bit(bitmap, p), all);
	assert_int_equal(DO(e, dirty_stop), 0);
}

static void what_it_writes_is_reported(void **state)
{
	static const char *const ways[] = { ",dirty=auto", ",dirty=device", ",dirty=iommu",
					    ",dirty=all" };
	int had = 0;

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct hf_device_info info;
		struct hf_error err;
		struct end e;

		if (try_open(&e, 0, ways[i], &err) < 0) {
			assert_int_equal(err.code, HF_E_UNSUPPORTED);
			print_message("%s\n", err.text);
			continue;
		}
		had++;
		set_window(&e);
		assert_int_equal(DO(&e, info, &info), 0);
		print_message("%s: flags %u\n", ways[i], info.flags);
		dirty_pages(&e, (info.flags & HF_DEVICE_DIRTY_ALL) != 0);
		assert_int_equal(reg(&e, REG_ERRORS), 0);
		close_end(&e);
	}
	assert_true(had >= 2);
}

static void its_interrupts_come_by_the_eventfd(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct end e;

	(void)state;
	assert_true(fd >= 0);
	open_end(&e, 0);
	set_window(&e);
	assert_int_equal(DO(&e, irqs_set, MSI, 1, &fd), 0);
	put_reg(&e, REG_DOORBELL, 3);
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(*(const uint64_t *)(const void *)(e.ram + 3 * 4096ul), 1);
	assert_int_equal(DO(&e, irqs_set, MSI, 0, NULL), 0);
	close_end(&e);
	(void)close(fd);
}

static void knob(const char *name, const char *value)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	assert_true(fputs(value, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* An error that the device reports, by an interrupt of its own index, once for each. */
static void the_device_is_heard(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), other = eventfd(0, EFD_CLOEXEC);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint32_t count = 0;
	uint64_t signals;
	struct end e;

	(void)state;
	assert_true(fd >= 0 && other >= 0);
	open_end(&e, 0);
	assert_int_equal(DO(&e, irq_count, ERR, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(DO(&e, irq_count, REQ, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(DO(&e, irqs_set, ERR, 1, &fd), 0);
	assert_int_equal(DO(&e, irqs_set, REQ, 1, &other), 0);
	knob(KNOBS "only", uuids[0]);
	for (uint32_t i = 0; i < 2; i++) {
		knob(KNOBS "err_times", "1");
		assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(read(fd, &signals, sizeof(signals)), sizeof(signals));
		assert_int_equal(signals, 1);
	}
	p.fd = other;
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(DO(&e, irqs_set, ERR, 0, NULL), 0);
	assert_int_equal(DO(&e, irqs_set, REQ, 0, NULL), 0);
	knob(KNOBS "only", "\n");
	close_end(&e);
	(void)close(fd);
	(void)close(other);
}

/* One of the lab's commands. Another program, so that it has none of our descriptors. */
static pid_t start(const char *command, const char *first, const char *second)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		(void)execlp(command, command, first, second, (char *)NULL);
		_exit(127);
	}
	return child;
}

static void ends_well(pid_t child)
{
	int status = -1;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* Somebody removes it: the kernel asks for it (REQ), and waits until it is let go of. */
static void the_host_wants_it_back(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t signals = 0;
	pid_t remover;
	struct end e;

	(void)state;
	assert_true(fd >= 0);
	open_end(&e, 0);
	assert_int_equal(DO(&e, irqs_set, REQ, 1, &fd), 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	remover = start("mdev-rm", uuids[0], NULL);
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_int_equal(read(fd, &signals, sizeof(signals)), sizeof(signals));
	assert_true(signals >= 1);
	assert_int_equal(waitpid(remover, NULL, WNOHANG), 0);
	assert_int_equal(reg(&e, REG_ID), ID); /* it is whole as long as it is held */
	close_end(&e);
	ends_well(remover);
	(void)close(fd);
	ends_well(start("mdev-new", "labdma-1", uuids[0]));
}

/* ---- a region of which only parts can be mapped --------------------------------------------- */

static uint32_t *map_area(struct end *e, uint32_t index, uint64_t *ret_offset)
{
	struct hf_region_info info;
	void *map;

	assert_int_equal(DO(e, region_info, BAR2, &info), 0);
	assert_int_equal(info.size, 4 * 4096);
	assert_int_equal(info.flags & (HF_REGION_MMAP | HF_REGION_MMAP_AREAS),
			 HF_REGION_MMAP_AREAS);
	assert_int_equal(info.area_count, 2);
	assert_int_equal(info.areas[index].size, 4096);
	/* What is not of an area the driver does not map. */
	assert_true(mmap(NULL, 4096, PROT_READ, MAP_SHARED, info.mmap_fd,
			 (off_t)info.mmap_offset) == MAP_FAILED);
	*ret_offset = info.areas[index].offset;
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, info.mmap_fd,
		   (off_t)(info.mmap_offset + *ret_offset));
	assert_true(map != MAP_FAILED);
	return map;
}

static void parts_of_it_are_mapped(void **state)
{
	struct end e;

	(void)state;
	open_end(&e, 0);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t sum = reg(&e, REG_SUM), value = 0;
		uint64_t offset;
		uint32_t *map = map_area(&e, i, &offset);

		map[5] = 0x1000 + i;
		assert_int_equal(DO(&e, region_read, BAR2, offset + 20, &value, 4), 0);
		assert_int_equal(value, 0x1000 + i);
		value = 0x2000 + i;
		assert_int_equal(DO(&e, region_write, BAR2, offset + 24, &value, 4), 0);
		assert_int_equal(map[6], 0x2000 + i);
		assert_int_not_equal(reg(&e, REG_SUM), sum);
		assert_int_equal(munmap(map, 4096), 0);
	}
	close_end(&e);
}

/* ---- another device's BAR -------------------------------------------------------------------- */

/* The lab's e1000e (--pci), which nobody here drives. Its page 5 begins with a register. */
#define PEER "/sys/bus/pci/devices/0000:00:12.0/"
#define PEER_BYTES 65536u
#define PEER_PAGE 5u
#define PEER_IOVA 0xe0000000ull

/* Mediated devices reach it on both ways, since the kernel copies for them (docs/vfio.md). */
static void a_peers_bar(void **state)
{
	volatile uint32_t *rxcsum;
	struct end e;
	void *bar;
	int fd;

	(void)state;
	knob(PEER "enable", "1");
	fd = open(PEER "resource0", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	bar = mmap(NULL, PEER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(bar != MAP_FAILED);
	rxcsum = (uint32_t *)bar + PEER_PAGE * 4096 / 4;
	*rxcsum = 0x100;
	assert_int_equal(*rxcsum, 0x100);
	open_end(&e, 0);
	assert_int_equal(DO(&e, dma_map, PEER_IOVA, PEER_BYTES, bar, -1, 0,
			    HF_DMA_READ | HF_DMA_WRITE | HF_DMA_P2P),
			 0);
	put_reg(&e, REG_WINDOW, (uint32_t)PEER_IOVA);
	put_reg(&e, REG_WINDOW + 4, 0);
	put_reg(&e, REG_WINDOW_BYTES, PEER_BYTES);
	for (uint32_t count = 1; count <= 2; count++) {
		put_reg(&e, REG_DOORBELL, PEER_PAGE);
		assert_int_equal(reg(&e, REG_COUNT), count);
		assert_int_equal(reg(&e, REG_ERRORS), 0);
		assert_int_equal(*rxcsum, count);
	}
	/* What is not mapped any more is an error, and stays as it was. */
	assert_int_equal(DO(&e, dma_unmap, PEER_IOVA, PEER_BYTES), 0);
	put_reg(&e, REG_DOORBELL, PEER_PAGE);
	assert_int_equal(reg(&e, REG_ERRORS), 1);
	assert_int_equal(*rxcsum, 2);
	/* The address space is whole. */
	set_window(&e);
	put_reg(&e, REG_DOORBELL, 1);
	assert_int_equal(*(const uint64_t *)(const void *)(e.ram + 4096), 4);
	close_end(&e);
	assert_int_equal(munmap(bar, PEER_BYTES), 0);
	knob(PEER "enable", "0");
	(void)close(fd);
}

/* ---- a move -------------------------------------------------------------------------------- */

/* All that there is to read for now, or at all. */
static size_t drain(struct end *e, uint8_t *to, size_t size, ssize_t *ret_end)
{
	size_t done = 0;
	ssize_t n;

	while ((n = DO(e, read_data, to + done, size - done)) > 0)
		done += (size_t)n;
	*ret_end = n;
	return done;
}

static void go(struct end *e, uint32_t to)
{
	uint32_t at = 0;

	assert_int_equal(DO(e, set_state, to), 0);
	assert_int_equal(DO(e, get_state, &at), 0);
	assert_int_equal(at, to);
}

/* From RUNNING to STOP_COPY while it writes and changes; the bytes of its stream. */
static size_t save(struct end *a, uint8_t *stream)
{
	uint64_t initial = 0, dirty = 0, offset;
	uint32_t *map = map_area(a, 1, &offset);
	ssize_t end = 0;
	size_t n = 0;

	go(a, HF_DEVICE_PRE_COPY);
	assert_int_equal(DO(a, precopy_info, &initial, &dirty), 0);
	assert_true(initial > 4096);
	put_reg(a, REG_CONTROL, 3);
	for (uint32_t round = 0; round < 20; round++) {
		n += drain(a, stream + n, STREAM_MAX - n, &end);
		assert_true(end == 0 || end == -ENOMSG);
		put_reg(a, REG_POKE, round);
		put_reg(a, REG_DOORBELL, round);
	}
	go(a, HF_DEVICE_PRE_COPY_P2P);
	n += drain(a, stream + n, STREAM_MAX - n, &end);
	map[7] = 0x4d415050; /* nobody sees that, and it travels all the same */
	assert_int_equal(munmap(map, 4096), 0);
	go(a, HF_DEVICE_STOP_COPY);
	n += drain(a, stream + n, STREAM_MAX - n, &end);
	assert_int_equal(end, 0);
	assert_true(n < STREAM_MAX);
	return n;
}

static void it_moves_while_it_changes(void **state)
{
	uint8_t *stream = malloc(STREAM_MAX);
	uint32_t mapped = 0;
	struct end a, b;
	size_t n;

	(void)state;
	assert_non_null(stream);
	open_end(&a, 0);
	open_end(&b, 1);
	set_window(&a);
	put_reg(&a, REG_SCRATCH, 0x12345678);
	n = save(&a, stream);
	go(&b, HF_DEVICE_RESUMING);
	for (size_t done = 0; done < n;) {
		ssize_t r = DO(&b, write_data, stream + done, n - done < 5000 ? n - done : 5000);

		assert_true(r > 0);
		done += (size_t)r;
	}
	go(&b, HF_DEVICE_STOP);
	assert_int_equal(reg(&b, REG_SCRATCH), 0x12345678);
	assert_int_equal(reg(&b, REG_COUNT), reg(&a, REG_COUNT));
	assert_int_equal(reg(&b, REG_SUM), reg(&a, REG_SUM));
	assert_int_equal(DO(&b, region_read, BAR2, 3 * 4096 + 7 * 4, &mapped, 4), 0);
	assert_int_equal(mapped, 0x4d415050);
	go(&b, HF_DEVICE_RUNNING);
	put_reg(&b, REG_CONTROL, 0);
	n = reg(&b, REG_COUNT);
	put_reg(&b, REG_DOORBELL, 9);
	assert_int_equal(*(const uint64_t *)(const void *)(b.ram + 9 * 4096ul), n + 1);
	go(&a, HF_DEVICE_STOP);
	close_end(&a);
	close_end(&b);
	free(stream);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_writes_is_reported),
		cmocka_unit_test(its_interrupts_come_by_the_eventfd),
		cmocka_unit_test(the_device_is_heard),
		cmocka_unit_test(the_host_wants_it_back),
		cmocka_unit_test(parts_of_it_are_mapped),
		cmocka_unit_test(a_peers_bar),
		cmocka_unit_test(it_moves_while_it_changes),
	};

	if (argc != 4) {
		(void)fprintf(stderr, "usage: vfio-device-dma group|cdev SOURCE TARGET\n");
		return 2;
	}
	path = argv[1];
	uuids[0] = argv[2];
	uuids[1] = argv[3];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
