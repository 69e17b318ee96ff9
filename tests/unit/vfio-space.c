/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What kernel devices of one VM share: groups, containers, an IOAS, maps that are made once, and
 * dirty pages from each of those who may know. By group and by cdev, on the kernel of
 * vfio-kernel.h.
 */
#include "device-fixture.h"
#include "vfio-kernel.h"

#define PAGES (RAM_SIZE / 4096)
#define WORDS (PAGES / 64)
#define RW (HF_DMA_READ | HF_DMA_WRITE)

static const struct hf_dma_range all = { RAM_IOVA, RAM_SIZE };

/* Devices 0 and 1 in one group, 2 in another behind the same IOMMU, 3 an mdev. */
static int setup(void **state)
{
	static const struct kernel_device four[] = {
		{ .address = "0000:17:00.1", .group = "12", .driver = "vfio-pci" },
		{ .address = "0000:17:00.2", .group = "12", .driver = "vfio-pci" },
		{ .address = "0000:18:00.0", .group = "13", .driver = "vfio-pci" },
		{ .address = "5317ca9b-dab7-4d0f-b5f4-4d685438e16d",
		  .group = "14",
		  .driver = "vfio_mdev",
		  .is_mdev = 1 },
	};

	memcpy(kernel.devices, four, sizeof(four));
	for (int i = 0; i < 4; i++)
		kernel.devices[i].keys = "state=64K";
	kernel_start();
	(void)state;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kernel_end();
	return 0;
}

static struct hf_device open_one(uint32_t index, const char *rest)
{
	struct hf_device device = { 0 };
	struct hf_error err = { 0 };
	char uri[HF_URI_MAX];

	(void)snprintf(uri, sizeof(uri), "vfio:%s%s", kernel.devices[index].address, rest);
	if (hf_device_open(uri, NULL, &device, &err) < 0)
		fail_msg("%s", err.text);
	return device;
}

static int map(struct hf_device d, uint64_t iova, uint64_t size, const void *at)
{
	return d.ops->dma_map(d.self, iova, size, (void *)(uintptr_t)at, -1, 0, RW);
}

static int unmap(struct hf_device d, uint64_t iova, uint64_t size)
{
	return d.ops->dma_unmap(d.self, iova, size);
}

static uint8_t *memory(void)
{
	void *ram =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(ram != MAP_FAILED);
	return ram;
}

/* ---- sharing ------------------------------------------------------------------------------- */

static void devices_share(const char *path)
{
	uint8_t *ram = memory();
	struct hf_device d[3];

	for (uint32_t i = 0; i < 3; i++)
		d[i] = open_one(i, path);
	kernel.map_ioctls = kernel.unmap_ioctls = 0;
	for (int i = 0; i < 3; i++)
		assert_int_equal(map(d[i], RAM_IOVA, RAM_SIZE, ram), 0);
	assert_int_equal(kernel.map_ioctls, 1);
	assert_int_equal(kernel_maps(), 1);
	assert_int_equal(map(d[1], RAM_IOVA, RAM_SIZE, ram), -EEXIST);
	assert_int_equal(map(d[1], RAM_IOVA + 4096, 4096, ram), -EEXIST);
	assert_int_equal(unmap(d[0], RAM_IOVA, 4096), -EINVAL);
	assert_int_equal(unmap(d[0], RAM_IOVA, RAM_SIZE), 0);
	assert_int_equal(unmap(d[0], RAM_IOVA, RAM_SIZE), 0);
	hf_device_close(&d[1]);
	assert_int_equal(kernel_maps(), 1);
	assert_int_equal(kernel.unmap_ioctls, 0);
	assert_int_equal(unmap(d[2], 0, 1ull << 40), 0);
	assert_int_equal(kernel_maps(), 0);
	/* What a device leaves behind goes with it, and only that. */
	assert_int_equal(map(d[0], RAM_IOVA, 4096, ram), 0);
	assert_int_equal(map(d[2], RAM_IOVA + 4096, 4096, ram), 0);
	hf_device_close(&d[0]);
	assert_int_equal(kernel_maps(), 1);
	hf_device_close(&d[2]);
	(void)munmap(ram, RAM_SIZE);
}

static void devices_of_a_vm_share_their_maps_by_group(void **state)
{
	(void)state;
	devices_share(",path=group");
}

static void devices_of_a_vm_share_their_maps_by_cdev(void **state)
{
	(void)state;
	devices_share(",path=cdev");
}

static uint32_t page_tables(void)
{
	uint32_t n = 0;

	for (int i = 0; i < KERNEL_FDS_MAX; i++)
		for (int k = 0; k < KERNEL_DEVICES_MAX; k++)
			n += kernel_fds[i].kind == KERNEL_IOMMUFD && kernel_fds[i].hwpt_iommu[k];
	return n;
}

/* One is given back when nobody is attached to it any more, while others use the IOAS. */
static void page_tables_go_with_their_last_device(void **state)
{
	struct hf_device mdev = open_one(3, ",path=cdev"), a, b, c;

	(void)state;
	kernel.devices[2].iommu = 1;
	a = open_one(0, ",path=cdev,dirty=iommu");
	b = open_one(1, ",path=cdev,dirty=iommu");
	assert_int_equal(page_tables(), 1);
	c = open_one(2, ",path=cdev,dirty=iommu");
	assert_int_equal(page_tables(), 2);
	hf_device_close(&a);
	assert_int_equal(page_tables(), 2);
	hf_device_close(&b);
	assert_int_equal(page_tables(), 1);
	hf_device_close(&c);
	assert_int_equal(page_tables(), 0);
	hf_device_close(&mdev);
}

static void devices_of_two_vms_share_nothing(void **state)
{
	uint8_t *ram = memory();
	struct hf_device a = open_one(0, ",path=group,vm=a"), b = open_one(2, ",path=group,vm=b");
	struct hf_device c = open_one(3, ",path=cdev,vm=a"), none;
	struct hf_error err = { 0 };

	(void)state;
	assert_int_equal(map(a, RAM_IOVA, 4096, ram), 0);
	assert_int_equal(map(b, RAM_IOVA, 4096, ram + 4096), 0);
	assert_int_equal(map(c, RAM_IOVA, 4096, ram + 8192), 0);
	assert_int_equal(kernel_maps(), 3);
	/* A group is in one container. */
	assert_int_equal(hf_device_open("vfio:0000:17:00.2,path=group,vm=b", NULL, &none, &err),
			 HF_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "for another VM"));
	hf_device_close(&a);
	hf_device_close(&b);
	hf_device_close(&c);
	(void)munmap(ram, RAM_SIZE);
}

static void devices_behind_unlike_iommus_get_a_container_each(void **state)
{
	uint8_t *ram = memory();
	struct hf_device a, b;

	(void)state;
	kernel.devices[2].iommu = 1;
	a = open_one(0, ",path=group");
	b = open_one(2, ",path=group");
	assert_int_equal(map(a, RAM_IOVA, 4096, ram), 0);
	assert_int_equal(map(b, RAM_IOVA, 4096, ram), 0);
	assert_int_equal(kernel_maps(), 2);
	hf_device_close(&a);
	assert_int_equal(kernel_maps(), 1);
	hf_device_close(&b);
	(void)munmap(ram, RAM_SIZE);
}

static void a_map_that_the_kernel_refuses_is_none(void **state)
{
	uint8_t *ram = memory();
	struct hf_device d = open_one(0, "");

	(void)state;
	kernel.map_errno = ENOMEM; /* the limit of locked memory */
	assert_int_equal(map(d, RAM_IOVA, 4096, ram), -ENOMEM);
	assert_int_equal(map(d, RAM_IOVA, 4096, ram), 0);
	assert_int_equal(map(d, RAM_IOVA + 1, 4096, ram), -EINVAL);
	assert_int_equal(map(d, RAM_IOVA, 0, ram), -EINVAL);
	assert_int_equal(map(d, UINT64_MAX - 4095, 8192, ram), -EINVAL);
	assert_int_equal(map(d, RAM_IOVA + 8192, 4096, NULL), -EINVAL);
	hf_device_close(&d);
	(void)munmap(ram, RAM_SIZE);
}

/* What backend.h says of a refusal, in a space that others share. */
static void a_peers_bar(const char *path, int answer)
{
	uint8_t *ram = memory(), *bar = memory();
	struct hf_device a = open_one(0, path), b = open_one(1, path), c;

	kernel.bar_vaddr = (uintptr_t)bar;
	kernel.bar_size = RAM_SIZE;
	assert_int_equal(map(a, RAM_IOVA, RAM_SIZE, ram), 0);
	for (int i = 0; i < 2; i++) { /* there is nothing left of it in between */
		assert_int_equal(
			a.ops->dma_map(a.self, 0xe0000000, 4096, bar, -1, 0, RW | HF_DMA_P2P),
			answer);
		assert_int_equal(kernel_maps(), answer ? 1 : 2);
		assert_int_equal(unmap(a, 0xe0000000, 4096), 0);
		assert_int_equal(kernel_maps(), 1);
	}
	/* Memory at the same place is another matter; whoever comes later reaches it, too. */
	assert_int_equal(map(b, 0xe0000000, 4096, ram), 0);
	c = open_one(2, path);
	assert_int_equal(map(c, 0xe0000000, 4096, ram), 0);
	assert_int_equal(kernel_maps(), 2);
	hf_device_close(&a);
	hf_device_close(&b);
	hf_device_close(&c);
	(void)munmap(ram, RAM_SIZE);
	(void)munmap(bar, RAM_SIZE);
}

static void a_peers_bar_is_mapped_by_group(void **state)
{
	(void)state;
	a_peers_bar(",path=group", 0);
}

static void a_peers_bar_is_refused_by_cdev(void **state)
{
	(void)state;
	a_peers_bar(",path=cdev", -EFAULT);
}

/* ---- dirty pages --------------------------------------------------------------------------- */

static int bit(const uint64_t *bitmap, uint64_t n)
{
	return bitmap[n / 64] >> (n % 64) & 1;
}

static void report(struct bench *b, uint64_t *bitmap)
{
	memset(bitmap, 0, WORDS * 8);
	assert_int_equal(OPS(b)->dirty_read(SELF(b), RAM_IOVA, RAM_SIZE, 4096, bitmap), 0);
}

/* What is written is told exactly and once, also in parts, and what was not asked for is kept. */
static void exact(struct bench *b)
{
	uint64_t bitmap[WORDS], part[2];

	assert_int_equal(OPS(b)->dirty_read(SELF(b), RAM_IOVA, RAM_SIZE, 4096, bitmap), -EINVAL);
	assert_int_equal(OPS(b)->dirty_stop(SELF(b)), -EINVAL);
	assert_int_equal(OPS(b)->dirty_start(SELF(b), 4096, &all, 1), 0);
	assert_int_equal(OPS(b)->dirty_start(SELF(b), 4096, &all, 1), -EINVAL);
	for (int round = 0; round < 3; round++) {
		fill(b, RAM_IOVA + 0x55000, 0x3000);
		fill(b, RAM_IOVA + 0x300000, 8);
		report(b, bitmap);
		for (uint64_t p = 0; p < PAGES; p++)
			assert_int_equal(bit(bitmap, p),
					 p == 1 || p == 0x300 || (p >= 0x55 && p < 0x58));
		report(b, bitmap);
		for (uint64_t p = 0; p < PAGES; p++)
			assert_int_equal(bit(bitmap, p), 0);
	}
	fill(b, RAM_IOVA + 0x7f000, 0x2000);
	part[0] = part[1] = 0;
	assert_int_equal(OPS(b)->dirty_read(SELF(b), RAM_IOVA + 0x80000, 0x40000, 4096, part), 0);
	assert_true(part[0] == 1 && part[1] == 0);
	report(b, bitmap);
	for (uint64_t p = 0; p < PAGES; p++)
		assert_int_equal(bit(bitmap, p), p == 1 || p == 0x7f);
	/* In larger pages; bits are only ever set. */
	fill(b, RAM_IOVA + 0x15000, 8);
	part[0] = 1ull << 63;
	assert_int_equal(OPS(b)->dirty_read(SELF(b), RAM_IOVA, RAM_SIZE, 65536, part), 0);
	assert_true(part[0] == (1ull << 63 | 3));
	assert_int_equal(OPS(b)->dirty_stop(SELF(b)), 0);
	assert_int_equal(OPS(b)->dirty_start(SELF(b), 4096, &all, 1), 0);
	assert_int_equal(OPS(b)->dirty_stop(SELF(b)), 0);
}

static void told_by(uint32_t index, const char *rest, uint32_t flags, int is_exact)
{
	struct hf_device_info info;
	struct bench b;
	char uri[HF_URI_MAX];

	(void)snprintf(uri, sizeof(uri), "vfio:%s%s", kernel.devices[index].address, rest);
	bench_open(&b, uri, 0);
	assert_int_equal(OPS(&b)->info(SELF(&b), &info), 0);
	assert_int_equal(info.flags & (HF_DEVICE_HAS_DMA_LOGGING | HF_DEVICE_DIRTY_SHARED |
				       HF_DEVICE_DIRTY_ALL),
			 HF_DEVICE_HAS_DMA_LOGGING | flags);
	if (is_exact) {
		exact(&b);
	} else {
		uint64_t bitmap[WORDS];

		assert_int_equal(OPS(&b)->dirty_start(SELF(&b), 4096, &all, 1), 0);
		for (int round = 0; round < 2; round++) {
			report(&b, bitmap);
			for (uint64_t w = 0; w < WORDS; w++)
				assert_true(bitmap[w] == UINT64_MAX);
		}
		assert_int_equal(OPS(&b)->dirty_stop(SELF(&b)), 0);
	}
	bench_close(&b);
}

static void the_best_that_knows_tells_of_dirty_pages(void **state)
{
	(void)state;
	told_by(0, ",path=group", 0, 1);
	told_by(0, ",path=cdev", 0, 1);
	/* A kernel that starts a device's log and cannot report it is as one without. */
	for (int i = 0; i < 4; i++)
		kernel.devices[i].no_report = 1;
	told_by(0, ",path=cdev", HF_DEVICE_DIRTY_SHARED, 1);
	told_by(0, ",path=group", HF_DEVICE_DIRTY_SHARED | HF_DEVICE_DIRTY_ALL, 0);
	told_by(3, ",path=group", HF_DEVICE_DIRTY_SHARED, 1);
	for (int i = 0; i < 4; i++)
		kernel.devices[i].no_log = 1;
	told_by(2, ",path=cdev", HF_DEVICE_DIRTY_SHARED, 1);
	told_by(3, ",path=cdev", HF_DEVICE_DIRTY_ALL, 0);
	kernel.no_dirty_bits = 1;
	told_by(2, ",path=cdev", HF_DEVICE_DIRTY_ALL, 0);
	told_by(2, ",path=group,dirty=all", HF_DEVICE_DIRTY_ALL, 0);
}

static void what_cannot_be_had_is_no_device(void **state)
{
	struct hf_device none;
	struct hf_error err = { 0 };

	(void)state;
	kernel.devices[0].no_report = 1;
	assert_int_equal(hf_device_open("vfio:0000:17:00.1,dirty=device", NULL, &none, &err),
			 HF_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "IOMMUFD_DRIVER"));
	kernel.no_dirty_bits = 1;
	memset(&err, 0, sizeof(err));
	assert_int_equal(
		hf_device_open("vfio:0000:17:00.1,path=cdev,dirty=iommu", NULL, &none, &err),
		HF_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "dirty=iommu"));
}

static void reports_are_asked_for_in_chunks(void **state)
{
	const uint64_t length = 9ull << 30; /* more than two chunks, and none is as long */
	const uint64_t high = 6ull << 30;
	uint64_t *bitmap = calloc(length / 4096 / 64, 8);
	const struct hf_dma_range range = { 0, length };
	struct bench b;

	(void)state;
	assert_non_null(bitmap);
	bench_open(&b, "vfio:0000:17:00.1", 0);
	assert_int_equal(OPS(&b)->dirty_start(SELF(&b), 4096, &range, 1), 0);
	fill(&b, RAM_IOVA + 0x10000, 8);
	assert_int_equal(map(b.device, high, 0x10000, b.ram), 0);
	fill(&b, high + 0x3000, 8);
	kernel.devices[0].reports = 0;
	assert_int_equal(OPS(&b)->dirty_read(SELF(&b), 0, length, 4096, bitmap), 0);
	assert_int_equal(kernel.devices[0].reports, 3);
	assert_true(kernel.devices[0].report_most == 4ull << 30);
	for (uint64_t p = 0; p < length / 4096; p++)
		if (bit(bitmap, p) != (p == (RAM_IOVA + 0x10000) / 4096 || p == RING_IOVA / 4096 ||
				       p == (high + 0x3000) / 4096))
			fail_msg("page %llu is told wrong", (unsigned long long)p);
	assert_int_equal(OPS(&b)->dirty_stop(SELF(&b)), 0);
	assert_int_equal(OPS(&b)->dirty_start(SELF(&b), 3000, &range, 1), -EINVAL);
	assert_int_equal(OPS(&b)->dirty_start(SELF(&b), 4096, &range, 257), -E2BIG);
	assert_int_equal(OPS(&b)->dirty_start(SELF(&b), 4096, &range, 0), -EINVAL);
	bench_close(&b);
	free(bitmap);
}

/* Two devices of a VM: what one of them wrote is told to one of them, and only once. */
static void what_the_iommu_knows_is_told_once_for_all(void **state)
{
	uint64_t first[WORDS], second[WORDS];
	struct bench a;
	struct hf_device b;

	(void)state;
	for (int i = 0; i < 4; i++)
		kernel.devices[i].no_log = 1;
	bench_open(&a, "vfio:0000:17:00.1,path=cdev", 0);
	b = open_one(2, ",path=cdev");
	assert_int_equal(OPS(&a)->dirty_start(SELF(&a), 4096, &all, 1), 0);
	fill(&a, RAM_IOVA + 0x10000, 8);
	/* The second START forgets nothing of the first. */
	assert_int_equal(b.ops->dirty_start(b.self, 4096, &all, 1), 0);
	memset(second, 0, sizeof(second));
	assert_int_equal(b.ops->dirty_read(b.self, RAM_IOVA, RAM_SIZE, 4096, second), 0);
	report(&a, first);
	assert_true(bit(second, 0x10) && !bit(first, 0x10));
	/* The second STOP ends it, not the first. */
	assert_int_equal(b.ops->dirty_stop(b.self), 0);
	fill(&a, RAM_IOVA + 0x10000, 8);
	report(&a, first);
	assert_true(bit(first, 0x10));
	hf_device_close(&b);
	fill(&a, RAM_IOVA + 0x20000, 8);
	report(&a, first);
	assert_true(bit(first, 0x20) && !bit(first, 0x10));
	bench_close(&a);
}

/* A hundred ranges, more than are told apart, in no order: each of them, and nothing beside them.
 */
static void what_is_unmapped_meanwhile_counts_as_dirty(void **state)
{
	static const char *const paths[] = { ",path=cdev,dirty=iommu", ",path=group,dirty=iommu",
					     ",path=cdev,dirty=all" };
	const uint64_t iova = 0x40000000, size = 0x10000, pages = 100 * 16;
	uint8_t *ram = memory();

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct hf_device d = open_one(i == 1 ? 3 : 0, paths[i]);
		uint64_t bitmap[32] = { 0 };

		assert_int_equal(d.ops->dirty_start(d.self, 4096, &all, 1), 0);
		for (uint32_t k = 0; k < 100; k++) {
			uint64_t at = iova + (k * 37 + 50) % 100 * size;

			assert_int_equal(map(d, at, size, ram), 0);
			assert_int_equal(unmap(d, at, size), 0);
		}
		assert_int_equal(
			d.ops->dirty_read(d.self, iova - size, (pages + 32) * 4096, 4096, bitmap),
			0);
		for (uint64_t p = 0; p < pages + 32; p++)
			assert_int_equal(bit(bitmap, p), p >= 16 && p < 16 + pages);
		assert_int_equal(d.ops->dirty_stop(d.self), 0);
		/* The next time it begins anew. */
		assert_int_equal(d.ops->dirty_start(d.self, 4096, &all, 1), 0);
		memset(bitmap, 0, sizeof(bitmap));
		assert_int_equal(d.ops->dirty_read(d.self, iova, pages * 4096, 4096, bitmap), 0);
		for (uint64_t p = 0; p < pages; p++)
			assert_int_equal(bit(bitmap, p), 0);
		hf_device_close(&d);
	}
	(void)munmap(ram, RAM_SIZE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(devices_of_a_vm_share_their_maps_by_group),
		TEST(devices_of_a_vm_share_their_maps_by_cdev),
		TEST(page_tables_go_with_their_last_device),
		TEST(devices_of_two_vms_share_nothing),
		TEST(devices_behind_unlike_iommus_get_a_container_each),
		TEST(a_map_that_the_kernel_refuses_is_none),
		TEST(a_peers_bar_is_mapped_by_group),
		TEST(a_peers_bar_is_refused_by_cdev),
		TEST(the_best_that_knows_tells_of_dirty_pages),
		TEST(what_cannot_be_had_is_no_device),
		TEST(reports_are_asked_for_in_chunks),
		TEST(what_the_iommu_knows_is_told_once_for_all),
		TEST(what_is_unmapped_meanwhile_counts_as_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
