/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands to the server of devices whose lengths, counts, flags or descriptors do not fit: each is
 * refused with the right errno, changes nothing, and leaves no descriptor behind.
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <holdfast/sim.h>

#include "vfio-user-raw.h"

/* ---- memory and descriptors ------------------------------------------------------------------ */

static struct vu_body unmap_body(uint64_t flags, uint64_t iova, uint64_t size)
{
	struct vu_body b = map_body(flags, 0, iova, size);

	b.v[VU_ARGSZ] = 24;
	return b;
}

static void memory_keeps_the_rules_of_the_iommu(void **state)
{
	struct fixture *f = *state;
	int fds[2] = { memfd_create("a", MFD_CLOEXEC | MFD_ALLOW_SEALING),
		       memfd_create("b", MFD_CLOEXEC) };
	uint32_t before;

	assert_int_equal(ftruncate(fds[0], RAM_SIZE), 0);
	assert_int_equal(fcntl(fds[0], F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(map(f, map_body(3, 0, RAM_IOVA, RAM_SIZE), fds, 1), 0);
	before = peer_descriptors();
	assert_int_equal(map(f, map_body(3, 0, RAM_IOVA, RAM_SIZE), fds, 1), -EEXIST);
	assert_int_equal(map(f, map_body(3, 0, RAM_IOVA + 0x1000, 0x1000), NULL, 0), -EEXIST);
	assert_int_equal(map(f, map_body(0, 0, 0, 0x1000), NULL, 0), -EINVAL);
	assert_int_equal(map(f, map_body(7, 0, 0, 0x1000), NULL, 0), -EINVAL);
	assert_int_equal(map(f, map_body(1u << 31 | 3, 0, 0, 0x1000), NULL, 0), -EINVAL);
	assert_int_equal(map(f, map_body(3, 0, 0, 0), NULL, 0), -EINVAL);
	assert_int_equal(map(f, map_body(3, 0, 0x800, 0x1000), NULL, 0), -EINVAL);
	assert_int_equal(map(f, map_body(3, 0, 0, 0x1800), NULL, 0), -EINVAL);
	assert_int_equal(map(f, map_body(3, 0, UINT64_MAX - 0xfff, 0x2000), NULL, 0), -EINVAL);
	/* Descriptors that are too short, too many, none that one can map. */
	assert_int_equal(map(f, map_body(3, 0x1000, 0, RAM_SIZE), fds, 1), -EINVAL);
	assert_int_equal(map(f, map_body(3, 0, 0, 0x1000), fds + 1, 1), -EINVAL);
	assert_int_equal(map(f, map_body(3, UINT64_MAX - 0xfff, 0, 0x1000), fds, 1), -EINVAL);
	assert_int_equal(map(f, map_body(3, UINT64_MAX - 0xfff, 0, 0x2000), fds, 1), -EINVAL);
	assert_int_equal(map(f, map_body(3, 0, 0, 0x1000), fds, 2), -EINVAL);
	assert_true(map(f, map_body(3, 0, 0, 0x1000), &f->s, 1) < 0);
	assert_int_equal(peer_descriptors(), before); /* the server is in this process */

	assert_int_equal(ask(f, VU_DMA_UNMAP, unmap_body(0, RAM_IOVA, 0x1000)), -EINVAL);
	assert_int_equal(ask(f, VU_DMA_UNMAP, unmap_body(1, RAM_IOVA, RAM_SIZE)), -EINVAL);
	assert_int_equal(ask(f, VU_DMA_UNMAP, unmap_body(VU_UNMAP_ALL, RAM_IOVA, 0)), -EINVAL);
	assert_int_equal(ask(f, VU_DMA_UNMAP, unmap_body(0, RAM_IOVA, RAM_SIZE)), 0);
	assert_int_equal(ask(f, VU_DMA_UNMAP, unmap_body(0, RAM_IOVA, RAM_SIZE)), 0);
	for (uint64_t i = 0; i < 50; i++)
		assert_int_equal(map(f, map_body(1, 0, i * 0x1000, 0x1000), fds, i % 2), 0);
	assert_int_equal(ask(f, VU_DMA_UNMAP, unmap_body(VU_UNMAP_ALL, 0, 0)), 0);
	assert_int_equal(map(f, map_body(3, 0, 0, RAM_SIZE), fds, 1), 0);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

/* Would touching it be a SIGBUS, this process had ended. */
static void memory_that_its_client_shortens_kills_nobody(void **state)
{
	static uint8_t data[4096];
	struct fixture *f = *state;
	struct vu_body b = { .tail = data, .tail_size = sizeof(data) };
	uint64_t src = RAM_IOVA;
	uint32_t length = sizeof(data), command = HF_SIM_CMD_SUM;
	int fd = memfd_create("short", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(fd, RAM_SIZE), 0);
	assert_int_equal(map(f, map_body(3, 0, RAM_IOVA, RAM_SIZE), &fd, 1), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ask(f, VU_REGION_WRITE, access_body(0, HF_SIM_SRC, 8, (uint8_t *)&src, 8)),
			 0);
	assert_int_equal(
		ask(f, VU_REGION_WRITE, access_body(0, HF_SIM_LENGTH, 4, (uint8_t *)&length, 4)),
		0);
	peer_send(f->s, 1, VU_REGION_WRITE, VU_NO_REPLY,
		  &(struct vu_body){ .v = { [VU_OFFSET] = HF_SIM_COMMAND, [VU_COUNT] = 4 },
				     .tail = (const uint8_t *)&command,
				     .tail_size = 4 },
		  NULL, 0);
	assert_int_equal(peer_recv(f->s, &f->m), 0);
	assert_int_equal(f->m.header.command, VU_DMA_READ);
	b.v[VU_ADDRESS] = RAM_IOVA;
	b.v[VU_COUNT] = sizeof(data);
	peer_send(f->s, f->m.header.id, VU_DMA_READ, VU_TYPE_REPLY, &b, NULL, 0);
	still_serves(f);
	(void)close(fd);
}

/* The other way round: what a device has mapped itself, as its BAR 4, is not to be shortened. */
static void a_region_that_is_given_away_is_not_to_be_shortened(void **state)
{
	struct fixture *f = *state;
	struct vu_body b = { .tail = NULL };

	b.v[VU_ARGSZ] = 32;
	b.v[VU_INDEX] = 4;
	assert_int_equal(ask(f, VU_DEVICE_GET_REGION_INFO, b), 0);
	assert_int_equal(f->m.fds.count, 1);
	assert_int_equal(ftruncate(f->m.fds.fd[0], 0), -1);
	assert_int_equal(errno, EPERM);
	vu_fds_close(&f->m.fds);
}

static void surplus_descriptors_are_closed(void **state)
{
	struct fixture *f = *state;
	struct vu_body b = { .tail = NULL };
	int fds[VU_FDS_MAX];
	uint32_t before = peer_descriptors();

	for (uint32_t i = 0; i < VU_FDS_MAX; i++)
		fds[i] = 0;
	b.v[VU_ARGSZ] = 16;
	assert_int_equal(peer_ask(f->s, &f->m, VU_DEVICE_GET_INFO, &b, fds, VU_FDS_MAX), 0);
	assert_int_equal(
		peer_ask(f->s, &f->m, VU_DEVICE_RESET, &(struct vu_body){ .tail = NULL }, fds, 3),
		0);
	still_serves(f);
	assert_int_equal(peer_descriptors(), before);
}

static int set_irqs(struct fixture *f, uint64_t flags, uint64_t index, uint64_t start,
		    uint64_t count, const int *fds, uint32_t fd_count)
{
	struct vu_body b = { .tail = NULL };

	b.v[VU_ARGSZ] = 20;
	b.v[VU_FLAGS] = flags;
	b.v[VU_INDEX] = index;
	b.v[VU_START] = start;
	b.v[VU_COUNT] = count;
	return peer_ask(f->s, &f->m, VU_DEVICE_SET_IRQS, &b, fds, fd_count);
}

static void interrupts_take_eventfds_and_nothing_else(void **state)
{
	const uint32_t trigger = VU_IRQ_EVENTFD | VU_IRQ_TRIGGER,
		       none = VU_IRQ_NONE | VU_IRQ_TRIGGER;
	struct fixture *f = *state;
	int fds[5], file = memfd_create("x", MFD_CLOEXEC);
	eventfd_t n = 0;

	for (int i = 0; i < 5; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(set_irqs(f, trigger, 2, 0, 4, fds, 4), 0);
	assert_int_equal(set_irqs(f, trigger, 2, 0, 4, fds, 3), -EINVAL);
	assert_int_equal(set_irqs(f, trigger, 2, 0, 3, fds, 4), -EINVAL);
	assert_int_equal(set_irqs(f, trigger, 2, 1, 4, fds, 4), -EINVAL);
	assert_int_equal(set_irqs(f, trigger, 2, UINT32_MAX, 2, fds, 2), -EINVAL);
	assert_int_equal(set_irqs(f, trigger, 2, 0, 5, fds, 5), -EINVAL);
	assert_int_equal(set_irqs(f, trigger, 2, 0, 0, NULL, 0), -EINVAL);
	assert_int_equal(set_irqs(f, trigger, 1, 0, 1, fds, 1), -EINVAL);
	assert_int_equal(set_irqs(f, trigger, 77, 0, 1, fds, 1), -EINVAL);
	assert_int_equal(set_irqs(f, trigger, 2, 0, 1, &file, 1), -EINVAL);
	assert_int_equal(set_irqs(f, trigger | VU_IRQ_NONE, 2, 0, 1, fds, 1), -EINVAL);
	assert_int_equal(set_irqs(f, trigger | VU_IRQ_MASK, 2, 0, 1, fds, 1), -EINVAL);
	assert_int_equal(set_irqs(f, 0, 2, 0, 1, NULL, 0), -EINVAL);
	assert_int_equal(set_irqs(f, none, 2, 0, 1, fds, 1), -EINVAL);
	assert_int_equal(set_irqs(f, VU_IRQ_NONE | VU_IRQ_MASK, 2, 0, 1, NULL, 0), -ENOTTY);
	assert_int_equal(set_irqs(f, none, 2, 1, 1, NULL, 0), 0); /* fired by the client */
	assert_int_equal(eventfd_read(fds[1], &n), 0);
	assert_true(eventfd_read(fds[0], &n) < 0);
	assert_int_equal(set_irqs(f, trigger, 2, 1, 1, NULL, 0), 0); /* taken away */
	assert_int_equal(set_irqs(f, none, 2, 1, 1, NULL, 0), 0);
	assert_true(eventfd_read(fds[1], &n) < 0);
	assert_int_equal(set_irqs(f, none, 2, 0, 0, NULL, 0), 0);
	assert_int_equal(set_irqs(f, none, 2, 0, 4, NULL, 0), 0);
	assert_true(eventfd_read(fds[0], &n) < 0);
	for (int i = 0; i < 5; i++)
		(void)close(fds[i]);
	(void)close(file);
}

/* ---- migration ------------------------------------------------------------------------------- */

static int feature(struct fixture *f, uint64_t flags, uint64_t argsz, const void *data, size_t size)
{
	struct vu_body b = { .tail = data, .tail_size = size };

	b.v[VU_ARGSZ] = argsz;
	b.v[VU_FLAGS] = flags;
	return peer_ask(f->s, &f->m, VU_DEVICE_FEATURE, &b, NULL, 0);
}

static int set_state(struct fixture *f, uint32_t state)
{
	uint32_t data[2] = { state, UINT32_MAX };

	return feature(f, VU_FEATURE_SET | VU_FEATURE_MIG_STATE, 16, data, 8);
}

static struct vu_body data_body(uint64_t argsz, uint64_t size, const void *data, size_t length)
{
	struct vu_body b = { .tail = data, .tail_size = length };

	b.v[VU_ARGSZ] = argsz;
	b.v[VU_SIZE] = size;
	return b;
}

static void features_and_their_lengths_are_checked(void **state)
{
	const uint64_t get = VU_FEATURE_GET, set = VU_FEATURE_SET, probe = VU_FEATURE_PROBE;
	uint64_t report[3] = { 0, 0x100000, 4096 }, start[4] = { 4096, 1, 0, 0x1000 };
	struct fixture *f = *state;

	assert_int_equal(feature(f, get | VU_FEATURE_MIGRATION, 16, NULL, 0), 0);
	assert_int_equal(f->m.body.tail_size, 8);
	assert_int_equal(feature(f, get | VU_FEATURE_MIGRATION, 15, NULL, 0), -EINVAL);
	assert_int_equal(feature(f, get | VU_FEATURE_MIGRATION, 8, NULL, 0), -EINVAL);
	assert_int_equal(feature(f, set | VU_FEATURE_MIGRATION, 16, NULL, 0), -EINVAL);
	assert_int_equal(feature(f, VU_FEATURE_MIGRATION, 16, NULL, 0), -EINVAL);
	assert_int_equal(feature(f, get | set | VU_FEATURE_MIG_STATE, 16, start, 8), -EINVAL);
	assert_int_equal(feature(f, probe | get | set | VU_FEATURE_MIG_STATE, 8, NULL, 0), 0);
	assert_int_equal(feature(f, get | 77, 16, NULL, 0), -ENOTTY);
	assert_int_equal(feature(f, get | (1u << 20) | VU_FEATURE_MIGRATION, 16, NULL, 0), -EINVAL);
	assert_int_equal(feature(f, set | VU_FEATURE_MIG_STATE, 12, start, 4), -EINVAL);

	assert_int_equal(feature(f, get | VU_FEATURE_LOG_REPORT, 72, report, 24), -EINVAL);
	assert_int_equal(feature(f, set | VU_FEATURE_LOG_START, 40, start, 32), 0);
	assert_int_equal(feature(f, get | VU_FEATURE_LOG_REPORT, 72, report, 24), 0);
	assert_int_equal(f->m.body.tail_size, 24 + 32);
	assert_int_equal(feature(f, get | VU_FEATURE_LOG_REPORT, 63, report, 24), -EINVAL);
	assert_int_equal(feature(f, get | VU_FEATURE_LOG_REPORT, 72, report, 23), -EINVAL);
	report[2] = 0;
	assert_int_equal(feature(f, get | VU_FEATURE_LOG_REPORT, 72, report, 24), -EINVAL);
	report[2] = 12288;
	assert_int_equal(feature(f, get | VU_FEATURE_LOG_REPORT, 72, report, 24), -EINVAL);
	report[2] = 4096;
	report[1] = 0;
	assert_int_equal(feature(f, get | VU_FEATURE_LOG_REPORT, 72, report, 24), -EINVAL);
	report[1] = 1ull << 50;
	assert_int_equal(feature(f, get | VU_FEATURE_LOG_REPORT, UINT32_MAX, report, 24), -E2BIG);
	report[0] = UINT64_MAX;
	assert_int_equal(feature(f, get | VU_FEATURE_LOG_REPORT, 72, report, 24), -EOVERFLOW);
	assert_int_equal(feature(f, set | VU_FEATURE_LOG_STOP, 8, NULL, 0), 0);
	start[1] = 0;
	assert_int_equal(feature(f, set | VU_FEATURE_LOG_START, 40, start, 16), -EINVAL);
	start[1] = 257;
	assert_int_equal(feature(f, set | VU_FEATURE_LOG_START, 40, start, 32), -E2BIG);
	start[1] = UINT32_MAX;
	assert_int_equal(feature(f, set | VU_FEATURE_LOG_START, 40, start, 32), -E2BIG);
	start[1] = 2;
	assert_int_equal(feature(f, set | VU_FEATURE_LOG_START, 40, start, 32), -EINVAL);
	still_serves(f);
}

static void data_and_its_lengths_are_checked(void **state)
{
	struct fixture *f = *state;
	static const uint8_t data[64];

	assert_int_equal(ask(f, VU_MIG_DATA_READ, data_body(72, 64, NULL, 0)), -ENODEV);
	assert_int_equal(ask(f, VU_MIG_DATA_WRITE, data_body(72, 64, data, 64)), -ENODEV);
	assert_int_equal(set_state(f, HF_DEVICE_STOP_COPY), 0);
	assert_int_equal(ask(f, VU_MIG_DATA_READ, data_body(72, 64, NULL, 0)), 0);
	assert_int_equal(f->m.body.v[VU_SIZE], 64);
	assert_int_equal(ask(f, VU_MIG_DATA_READ, data_body(8, 0, NULL, 0)), 0);
	assert_int_equal(ask(f, VU_MIG_DATA_READ, data_body(71, 64, NULL, 0)), -EINVAL);
	assert_int_equal(ask(f, VU_MIG_DATA_READ, data_body(UINT32_MAX, UINT32_MAX - 8, NULL, 0)),
			 -EINVAL);
	assert_int_equal(ask(f, VU_MIG_DATA_WRITE, data_body(72, 64, data, 64)), -ENODEV);
	assert_int_equal(set_state(f, HF_DEVICE_PRE_COPY), -EINVAL);
	assert_int_equal(set_state(f, 99), -EINVAL);
	assert_int_equal(set_state(f, HF_DEVICE_RESUMING), 0);
	assert_int_equal(ask(f, VU_MIG_DATA_WRITE, data_body(72, 64, data, 63)), -EINVAL);
	assert_int_equal(ask(f, VU_MIG_DATA_WRITE, data_body(72, 63, data, 64)), -EINVAL);
	assert_int_equal(ask(f, VU_MIG_DATA_WRITE, data_body(71, 64, data, 64)), -EINVAL);
	assert_int_equal(ask(f, VU_MIG_DATA_WRITE, data_body(72, 64, data, 64)), 0);
	/* The header is not whole yet; its second half is wrong for certain. */
	assert_int_equal(ask(f, VU_MIG_DATA_WRITE, data_body(72, 64, data, 64)), -EINVAL);
	assert_int_equal(set_state(f, HF_DEVICE_STOP), -EINVAL);
	/* Commands that have nothing to do with it are served in each state, and a reset leads out.
	 */
	assert_int_equal(map(f, map_body(3, 0, RAM_IOVA, 0x1000), NULL, 0), 0);
	assert_int_equal(ask(f, VU_DEVICE_RESET, (struct vu_body){ .tail = NULL }), 0);
	assert_int_equal(feature(f, VU_FEATURE_GET | VU_FEATURE_MIG_STATE, 16, NULL, 0), 0);
	assert_int_equal(f->m.body.tail[0], HF_DEVICE_RUNNING);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_keeps_the_rules_of_the_iommu),
		TEST(memory_that_its_client_shortens_kills_nobody),
		TEST(a_region_that_is_given_away_is_not_to_be_shortened),
		TEST(surplus_descriptors_are_closed),
		TEST(interrupts_take_eventfds_and_nothing_else),
		TEST(features_and_their_lengths_are_checked),
		TEST(data_and_its_lengths_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
