/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The backend for kernel devices on a real kernel, with two mediated devices of its sample driver
 * mtty (a UART with two ports): vfio-device PATH SOURCE TARGET, with path "group" or "cdev" and two
 * UUIDs. Runs in the lab (docs/lab.md), where vfio-device.sh makes the devices. On kernels that an
 * arc would lock up, ending at all is part of what it shows.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <cmocka.h>

#include <holdfast/backend.h>

#include "../unit/device-arcs.h"
#include "backend/device/vfio/uapi.h"

#define STREAM_MAX 4096
#define HEADER_BYTES 24 /* what mtty gives in PRE_COPY */
#define BAR0_ADDRESS 0xc001u
#define SCRATCH 7u /* the 16550's register that only remembers */
#define RAM_SIZE (2u << 20)
#define RAM_IOVA 0x100000ull

static const char *path, *uuids[2];
static struct hf_device source, target;

#define DO(device, name, ...) (device).ops->name((device).self, ##__VA_ARGS__)

static int open_as(const char *uuid, const char *rest, struct hf_device *ret_device,
		   struct hf_error *err)
{
	char uri[HF_URI_MAX];

	(void)snprintf(uri, sizeof(uri), "vfio:%s,path=%s%s", uuid, path, rest);
	memset(err, 0, sizeof(*err));
	return hf_device_open(uri, NULL, ret_device, err);
}

static void must_open(const char *uuid, const char *rest, struct hf_device *ret_device)
{
	uint32_t base = BAR0_ADDRESS;
	struct hf_error err;

	if (open_as(uuid, rest, ret_device, &err) < 0)
		fail_msg("%s", err.text);
	/* It serves a BAR once that has an address, and configuration does not travel. */
	assert_int_equal(DO(*ret_device, region_write, 7, 0x10, &base, 4), 0);
}

static int setup(void **state)
{
	(void)state;
	must_open(uuids[0], ",vm=source", &source);
	must_open(uuids[1], ",vm=target", &target);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	hf_device_close(&source);
	hf_device_close(&target);
	return 0;
}

/* ---- registers, states, streams ------------------------------------------------------------ */

static uint8_t scratch(struct hf_device device)
{
	uint8_t v = 0;

	assert_int_equal(DO(device, region_read, 0, SCRATCH, &v, 1), 0);
	return v;
}

static void put_scratch(struct hf_device device, uint8_t v)
{
	assert_int_equal(DO(device, region_write, 0, SCRATCH, &v, 1), 0);
}

static uint32_t state_of(struct hf_device device)
{
	uint32_t state = 99;

	assert_int_equal(DO(device, get_state, &state), 0);
	return state;
}

static void go(struct hf_device device, uint32_t state)
{
	assert_int_equal(DO(device, set_state, state), 0);
	assert_int_equal(state_of(device), state);
}

static size_t read_rest(struct hf_device device, uint8_t *to, size_t chunk)
{
	size_t done = 0;

	while (done < STREAM_MAX) {
		size_t want = STREAM_MAX - done < chunk ? STREAM_MAX - done : chunk;
		ssize_t n = DO(device, read_data, to + done, want);

		if (n == -ENOMSG || n == 0)
			break;
		assert_true(n > 0 && (size_t)n <= want);
		done += (size_t)n;
	}
	return done;
}

/* From RUNNING to STOP_COPY, through PRE_COPY if pre. */
static size_t save(struct hf_device device, int pre, uint8_t *to, size_t chunk)
{
	size_t done = 0;

	if (pre) {
		go(device, HF_DEVICE_PRE_COPY);
		done = read_rest(device, to, chunk);
		assert_int_equal(done, HEADER_BYTES);
		go(device, HF_DEVICE_PRE_COPY_P2P);
	}
	go(device, HF_DEVICE_STOP_COPY);
	return done + read_rest(device, to + done, chunk);
}

static int load(struct hf_device device, const uint8_t *from, size_t size, size_t chunk)
{
	go(device, HF_DEVICE_RESUMING);
	for (size_t done = 0; done < size;) {
		ssize_t n = DO(device, write_data, from + done,
			       size - done < chunk ? size - done : chunk);

		if (n < 0)
			return (int)n;
		assert_true(n > 0);
		done += (size_t)n;
	}
	return 0;
}

/* ---- what it is ---------------------------------------------------------------------------- */

static void it_says_what_it_is(void **state)
{
	struct hf_device_info a, b;
	struct hf_region_info region;
	uint64_t size = 0;
	uint32_t count = 0;

	(void)state;
	assert_int_equal(DO(source, info, &a), 0);
	assert_int_equal(DO(target, info, &b), 0);
	assert_string_equal(a.kind, "vfio");
	assert_string_equal(a.name, uuids[0]);
	assert_string_equal(a.compat, b.compat);
	assert_non_null(strstr(a.compat, "mtty-2/"));
	assert_int_equal(a.mig_flags, 7);
	assert_int_equal(a.vendor_id, 0x4348);
	assert_int_equal(a.device_id, 0x3253);
	assert_true(a.flags & HF_DEVICE_HAS_DMA_LOGGING);
	assert_true(a.flags & HF_DEVICE_HAS_DATA_SIZE);
	assert_int_equal(DO(source, region_info, 0, &region), 0);
	assert_int_equal(region.size, 8);
	assert_int_equal(region.flags & ~HF_REGION_MSIX_MAPPABLE, HF_REGION_READ | HF_REGION_WRITE);
	assert_int_equal(DO(source, region_info, 99, &region), -EINVAL);
	assert_int_equal(DO(source, irq_count, 0, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(DO(source, irq_count, 2, &count), 0);
	assert_int_equal(count, 0); /* the kernel has no answer for MSI-X */
	assert_int_equal(DO(source, data_size, &size), 0);
	assert_int_equal(size, 96);
	assert_int_equal(state_of(source), HF_DEVICE_RUNNING);
}

static void who_has_it_open_is_named(void **state)
{
	struct hf_device again = { 0 };
	struct hf_error err;

	(void)state;
	assert_true(open_as(uuids[0], ",vm=other", &again, &err) < 0);
	if (strcmp(path, "group") == 0)
		assert_non_null(strstr(err.text, "is open already"));
	else
		assert_non_null(strstr(err.text, "binding it to the iommufd"));
	assert_true(open_as("00000000-0000-0000-0000-000000000000", "", &again, &err) < 0);
	assert_int_equal(err.code, HF_E_INVALID);
	assert_non_null(strstr(err.text, "no mediated device 00000000-"));
}

/* ---- arcs ---------------------------------------------------------------------------------- */

static void every_pair_of_states_is_as_the_kernel_has_it(void **state)
{
	uint8_t whole[STREAM_MAX];
	size_t size = save(source, 0, whole, sizeof(whole));
	uint32_t way[ARCS_PATH_MAX];

	(void)state;
	assert_int_equal(size, 96);
	for (uint32_t from = 1; from < HF_DEVICE_STATE_COUNT; from++) {
		for (uint32_t to = 0; to < HF_DEVICE_STATE_COUNT + 2; to++) {
			int n = arcs_path(7, HF_DEVICE_RUNNING, from, way);

			assert_int_equal(DO(source, reset), 0);
			assert_int_equal(state_of(source), HF_DEVICE_RUNNING);
			for (int i = 0; i < n; i++)
				go(source, way[i]);
			if (from == HF_DEVICE_RESUMING) /* or it could not be left */
				assert_int_equal(DO(source, write_data, whole, size),
						 (ssize_t)size);
			n = to < HF_DEVICE_STATE_COUNT ? arcs_path(7, from, to, way) : -1;
			assert_int_equal(DO(source, set_state, to), n < 0 ? -EINVAL : 0);
			assert_int_equal(state_of(source), n < 0 ? from : to);
		}
	}
}

/* ---- data ---------------------------------------------------------------------------------- */

static void what_was_saved_is_loaded_in_any_size_of_pieces(void **state)
{
	static const size_t chunks[] = { 1, 7, 4096 };
	uint8_t first[STREAM_MAX], again[STREAM_MAX], value = 0x51;

	(void)state;
	for (int pre = 0; pre < 2; pre++) {
		for (size_t i = 0; i < 3; i++) {
			size_t n;

			put_scratch(source, ++value);
			put_scratch(target, 0);
			n = save(source, pre, first, chunks[i]);
			assert_int_equal(n, 96);
			assert_int_equal(load(target, first, n, chunks[2 - i]), 0);
			go(target, HF_DEVICE_STOP);
			go(target, HF_DEVICE_RUNNING_P2P);
			go(target, HF_DEVICE_RUNNING);
			assert_int_equal(scratch(target), value);
			assert_int_equal(save(target, 0, again, 4096), n);
			assert_memory_equal(first, again, n);
			go(target, HF_DEVICE_RUNNING);
			go(source, HF_DEVICE_RUNNING);
		}
	}
}

static void pre_copy_counts_and_is_cancelled(void **state)
{
	uint64_t initial = 0, dirty = 0;
	uint8_t bytes[STREAM_MAX];
	ssize_t end;

	(void)state;
	assert_int_equal(DO(source, precopy_info, &initial, &dirty), -EINVAL);
	go(source, HF_DEVICE_PRE_COPY);
	assert_int_equal(DO(source, precopy_info, &initial, &dirty), 0);
	assert_int_equal(initial, HEADER_BYTES);
	assert_int_equal(DO(source, read_data, bytes, 10), 10);
	assert_int_equal(DO(source, precopy_info, &initial, &dirty), 0);
	assert_int_equal(initial, HEADER_BYTES - 10);
	assert_int_equal(read_rest(source, bytes, 100), HEADER_BYTES - 10);
	end = DO(source, read_data, bytes, 1);
	assert_true(end == 0 || end == -ENOMSG);
	put_scratch(source, 0x77);
	go(source, HF_DEVICE_RUNNING);
	assert_int_equal(scratch(source), 0x77);
	assert_int_equal(DO(source, read_data, bytes, 1), -ENODEV);
}

/* One of this process' descriptors, by what its link begins with. */
static int descriptor(const char *begins)
{
	char name[32], link[256];

	for (int fd = 0; fd < 256; fd++) {
		ssize_t n;

		(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		n = readlink(name, link, sizeof(link) - 1);
		link[n < 0 ? 0 : n] = '\0';
		if (n > 0 && strncmp(link, begins, strlen(begins)) == 0)
			return fd;
	}
	fail_msg("no descriptor %s", begins);
	return -1;
}

/* Linux 7.1 and later let a driver answer with flags, once they were asked for. */
static int has_precopy_flags(void)
{
	struct vfio_device_feature probe = {
		.argsz = sizeof(probe),
		.flags = VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET |
			 VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2,
	};
	int fd = descriptor(strcmp(path, "group") == 0 ? "anon_inode:[vfio-device]"
						       : "/dev/vfio/devices/");

	return ioctl(fd, VFIO_DEVICE_FEATURE, &probe) == 0;
}

/*
 * The kernel has the feature from the version on that brought it, and the backend asks for it:
 * seen by what becomes of flags that go in, which are the kernel's to write or nobody's.
 */
static void precopy_flags_are_asked_for(void **state)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info), .flags = 0xa5a5a5a5 };
	int offered = has_precopy_flags(), major = 0, minor = 0;
	struct utsname os;

	(void)state;
	assert_int_equal(uname(&os), 0);
	assert_int_equal(sscanf(os.release, "%d.%d", &major, &minor), 2);
	print_message("%s: feature 12 is %s\n", os.release, offered ? "there" : "not there");
	assert_int_equal(offered, major > 7 || (major == 7 && minor >= 1));
	go(source, HF_DEVICE_PRE_COPY);
	assert_int_equal(ioctl(descriptor("anon_inode:mtty_mig"), VFIO_MIG_GET_PRECOPY_INFO, &info),
			 0);
	assert_int_equal(info.flags, offered ? 0 : 0xa5a5a5a5);
	assert_int_equal(info.initial_bytes, HEADER_BYTES);
	go(source, HF_DEVICE_RUNNING);
}

static void a_load_that_is_short_or_wrong_stays_one(void **state)
{
	uint8_t bytes[STREAM_MAX], byte = 0;
	size_t n = save(source, 0, bytes, 4096);

	(void)state;
	assert_int_equal(load(target, bytes, n - 1, 4096), 0);
	assert_int_equal(DO(target, set_state, HF_DEVICE_STOP), -EINVAL);
	assert_int_equal(state_of(target), HF_DEVICE_RESUMING);
	assert_int_equal(DO(target, write_data, bytes + n - 1, 1), 1);
	go(target, HF_DEVICE_STOP);
	/* A header that it refuses, and would forget about: the kernel's driver lets it go on. */
	bytes[0] ^= 1;
	assert_int_equal(load(target, bytes, n, 4096), -EFAULT);
	assert_int_equal(DO(target, write_data, &byte, 1), -EFAULT);
	assert_int_equal(DO(target, set_state, HF_DEVICE_STOP), -EFAULT);
	assert_int_equal(DO(target, set_state, HF_DEVICE_RUNNING), -EFAULT);
	assert_int_equal(state_of(target), HF_DEVICE_RESUMING);
	assert_int_equal(DO(target, reset), 0);
	assert_int_equal(state_of(target), HF_DEVICE_RUNNING);
	bytes[0] ^= 1;
	assert_int_equal(load(target, bytes, n, 4096), 0);
	go(target, HF_DEVICE_RUNNING);
}

/* No descriptor of this process is free until limit_back(). */
static struct rlimit limit_was;

static void limit_descriptors(void)
{
	int next = eventfd(0, EFD_CLOEXEC);
	struct rlimit limit;

	assert_true(next >= 0);
	(void)close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit_was), 0);
	limit = limit_was;
	limit.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void limit_back(void)
{
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit_was), 0);
}

static void a_data_descriptor_that_is_lost_is_had_the_next_time(void **state)
{
	static const uint32_t states[] = { HF_DEVICE_STOP_COPY, HF_DEVICE_PRE_COPY,
					   HF_DEVICE_PRE_COPY_P2P };
	uint8_t bytes[STREAM_MAX];
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 3; i++) {
		limit_descriptors();
		assert_int_equal(DO(source, set_state, states[i]), -EMFILE);
		assert_false(arcs_saves(state_of(source)));
		limit_back();
		go(source, states[i]);
		assert_true(read_rest(source, bytes, 4096) > 0);
		go(source, HF_DEVICE_RUNNING);
	}
	n = save(source, 0, bytes, 4096);
	limit_descriptors();
	assert_int_equal(DO(target, set_state, HF_DEVICE_RESUMING), -EMFILE);
	assert_int_not_equal(state_of(target), HF_DEVICE_RESUMING);
	limit_back();
	assert_int_equal(load(target, bytes, n, 4096), 0);
	go(target, HF_DEVICE_RUNNING);
}

/* ---- memory and interrupts ----------------------------------------------------------------- */

static void memory_is_mapped_once_for_a_vm(void **state)
{
	uint8_t *ram =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct hf_device other;
	const uint32_t rw = HF_DMA_READ | HF_DMA_WRITE;

	(void)state;
	assert_true(ram != MAP_FAILED);
	hf_device_close(&target);
	must_open(uuids[1], ",vm=source", &other);
	assert_int_equal(DO(source, dma_map, RAM_IOVA, RAM_SIZE, ram, -1, 0, rw), 0);
	assert_int_equal(DO(source, dma_map, RAM_IOVA, RAM_SIZE, ram, -1, 0, rw), -EEXIST);
	assert_int_equal(DO(other, dma_map, RAM_IOVA, RAM_SIZE, ram, -1, 0, rw), 0);
	assert_int_equal(DO(other, dma_map, RAM_IOVA + 4096, 4096, ram, -1, 0, rw), -EEXIST);
	assert_int_equal(DO(source, dma_unmap, RAM_IOVA, 4096), -EINVAL);
	assert_int_equal(DO(source, dma_unmap, RAM_IOVA, RAM_SIZE), 0);
	/* It is there still: nobody else's can be. */
	assert_int_equal(DO(source, dma_map, RAM_IOVA, 4096, ram, -1, 0, rw), -EEXIST);
	hf_device_close(&other);
	assert_int_equal(DO(source, dma_map, RAM_IOVA, 4096, ram, -1, 0, rw), 0);
	assert_int_equal(DO(source, dma_unmap, 0, 1ull << 40), 0);
	assert_int_equal(munmap(ram, RAM_SIZE), 0);
}

static void dirty_pages(struct hf_device device, uint8_t *ram, int all)
{
	const struct hf_dma_range range = { RAM_IOVA, RAM_SIZE };
	uint64_t bitmap[RAM_SIZE / 4096 / 64] = { 0 };

	assert_int_equal(
		DO(device, dma_map, RAM_IOVA, RAM_SIZE, ram, -1, 0, HF_DMA_READ | HF_DMA_WRITE), 0);
	assert_int_equal(DO(device, dirty_start, 4096, &range, 0), -EINVAL);
	assert_int_equal(DO(device, dirty_start, 4096, &range, 1), 0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(DO(device, dirty_read, RAM_IOVA, RAM_SIZE, 4096, bitmap), 0);
		for (size_t i = 0; i < RAM_SIZE / 4096 / 64; i++)
			assert_true(bitmap[i] == (all ? UINT64_MAX : 0)); /* it does no DMA */
	}
	assert_int_equal(DO(device, dirty_stop), 0);
	assert_int_equal(DO(device, dma_unmap, RAM_IOVA, RAM_SIZE), 0);
}

static void dirty_pages_are_told_by_whom_the_key_says(void **state)
{
	static const char *const ways[] = { "auto", "device", "iommu", "all" };
	uint8_t *ram =
		mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int had = 0;

	(void)state;
	assert_true(ram != MAP_FAILED);
	for (int i = 0; i < 4; i++) {
		struct hf_device_info info;
		struct hf_error err;
		char rest[32];

		hf_device_close(&target);
		(void)snprintf(rest, sizeof(rest), ",dirty=%s", ways[i]);
		if (open_as(uuids[1], rest, &target, &err) < 0) {
			assert_int_equal(err.code, HF_E_UNSUPPORTED);
			assert_non_null(strstr(err.text, rest + 1));
			print_message("%s\n", err.text);
			continue;
		}
		had++;
		assert_int_equal(DO(target, info, &info), 0);
		print_message("%s: flags %u\n", ways[i], info.flags);
		dirty_pages(target, ram, (info.flags & HF_DEVICE_DIRTY_ALL) != 0);
	}
	assert_true(had >= 2);
	assert_int_equal(munmap(ram, RAM_SIZE), 0);
}

static void interrupts_come_by_the_eventfd(void **state)
{
	const uint8_t dlab_off = 0x03, enable = 0x02; /* the transmitter is empty: at once */
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(DO(source, irqs_set, 0, 1, &fd), 0);
	assert_int_equal(DO(source, region_write, 0, 3, &dlab_off, 1), 0);
	assert_int_equal(DO(source, region_write, 0, 1, &enable, 1), 0);
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(DO(source, irqs_set, 0, 0, NULL), 0);
	assert_int_equal(DO(source, irqs_set, 0, 3, &fd), -EINVAL);
	assert_int_equal(DO(source, irqs_set, 77, 1, &fd), -EINVAL);
	(void)close(fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_says_what_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(who_has_it_open_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(every_pair_of_states_is_as_the_kernel_has_it, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_was_saved_is_loaded_in_any_size_of_pieces,
						setup, teardown),
		cmocka_unit_test_setup_teardown(pre_copy_counts_and_is_cancelled, setup, teardown),
		cmocka_unit_test_setup_teardown(precopy_flags_are_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_load_that_is_short_or_wrong_stays_one, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_data_descriptor_that_is_lost_is_had_the_next_time,
						setup, teardown),
		cmocka_unit_test_setup_teardown(memory_is_mapped_once_for_a_vm, setup, teardown),
		cmocka_unit_test_setup_teardown(dirty_pages_are_told_by_whom_the_key_says, setup,
						teardown),
		cmocka_unit_test_setup_teardown(interrupts_come_by_the_eventfd, setup, teardown),
	};

	if (argc != 4) {
		(void)fprintf(stderr, "usage: vfio-device group|cdev SOURCE TARGET\n");
		return 2;
	}
	path = argv[1];
	uuids[0] = argv[2];
	uuids[1] = argv[3];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
