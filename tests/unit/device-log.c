/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA logging: every page that the device writes is reported, once, and nothing else; and the
 * checks that the kernel's core makes on what it is asked (vfio uAPI,
 * VFIO_DEVICE_FEATURE_DMA_LOGGING_*).
 */
#include "device-fixture.h"

#define PAGES (RAM_SIZE / 4096)
#define WORDS (PAGES / 64)

static const struct hf_dma_range all = { RAM_IOVA, RAM_SIZE };

static int setup(void **state)
{
	static struct bench b;

	bench_open(&b, "sim:state=64K", 0);
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	bench_close(*state);
	return 0;
}

static int start(struct bench *b, uint64_t page_size, const struct hf_dma_range *r, uint32_t n)
{
	return OPS(b)->dirty_start(SELF(b), page_size, r, n);
}

static void report(struct bench *b, uint64_t page_size, uint64_t *bitmap)
{
	memset(bitmap, 0, WORDS * 8);
	assert_int_equal(OPS(b)->dirty_read(SELF(b), RAM_IOVA, RAM_SIZE, page_size, bitmap), 0);
}

static int bit(const uint64_t *bitmap, uint64_t n)
{
	return bitmap[n / 64] >> (n % 64) & 1;
}

static uint64_t next_random(uint64_t *random)
{
	*random = *random * 6364136223846793005ull + 1442695040888963407ull;
	return *random >> 24;
}

static void what_is_written_is_reported_exactly_and_once(void **state)
{
	struct bench *b = *state;
	uint8_t *before = malloc(RAM_SIZE);
	uint64_t bitmap[WORDS], random = 7;

	assert_non_null(before);
	assert_int_equal(start(b, 4096, &all, 1), 0);
	ring_setup(b);
	for (int round = 0; round < 20; round++) {
		memcpy(before, b->ram, RAM_SIZE);
		for (int i = 0; i < 10; i++) {
			uint64_t at = next_random(&random) % (RAM_SIZE - 0x40000) & ~7ull;
			uint32_t n = next_random(&random) % 20000 & ~7u;

			fill(b, RAM_IOVA + 0x10000 + at, n);
		}
		if (round % 2) /* also when it is stopped, which is when the last report is made */
			go(b, HF_DEVICE_STOP_COPY);
		report(b, 4096, bitmap);
		for (uint64_t p = 0; p < PAGES; p++)
			assert_int_equal(bit(bitmap, p),
					 memcmp(before + p * 4096, b->ram + p * 4096, 4096) != 0);
		report(b, 4096, bitmap);
		for (uint64_t w = 0; w < WORDS; w++)
			assert_int_equal(bitmap[w], 0);
		go(b, HF_DEVICE_RUNNING);
	}
	free(before);
}

static void beats_and_completions_are_dma_and_reads_are_not(void **state)
{
	struct bench *b = *state;
	uint64_t bitmap[WORDS];

	assert_int_equal(start(b, 4096, &all, 1), 0);
	assert_int_equal(command(b, HF_SIM_CMD_SUM, RAM_IOVA + 0x100000, 0, 1u << 20), 0);
	report(b, 4096, bitmap);
	for (uint64_t p = 0; p < PAGES; p++)
		assert_int_equal(bit(bitmap, p), p == (RING_IOVA - RAM_IOVA) / 4096);
	put_reg64(b, HF_SIM_BEAT_RING, BEAT_IOVA);
	put_reg32(b, HF_SIM_BEAT_ENTRIES, BEAT_ENTRIES);
	put_reg32(b, HF_SIM_BEAT_PERIOD, 10);
	assert_true(interrupts(b, 1, WAIT_MS) > 0);
	go(b, HF_DEVICE_STOP);
	report(b, 4096, bitmap);
	for (uint64_t p = 0; p < PAGES; p++)
		assert_int_equal(bit(bitmap, p), p == (BEAT_IOVA - RAM_IOVA) / 4096);
}

static void larger_pages_and_parts_of_ranges_report_the_same(void **state)
{
	struct bench *b = *state;
	uint64_t bitmap[WORDS], small[WORDS] = { 0 };

	assert_int_equal(start(b, 4096, &all, 1), 0);
	fill(b, RAM_IOVA + 0x55000, 0x3000);
	fill(b, RAM_IOVA + 0x300000, 8);
	(void)reg64(b, HF_SIM_COMPLETED);
	go(b, HF_DEVICE_STOP);
	report(b, 65536, bitmap);
	for (uint64_t p = 0; p < PAGES / 16; p++)
		assert_int_equal(bit(bitmap, p), p == 0 || p == 5 || p == 0x30);
	report(b, 65536, bitmap);
	assert_int_equal(bitmap[0], 0);

	go(b, HF_DEVICE_RUNNING);
	fill(b, RAM_IOVA + 0x3f000, 0x2000);
	go(b, HF_DEVICE_STOP);
	/* Each half by itself; what lies outside is neither told nor forgotten. */
	memset(bitmap, 0, sizeof(bitmap));
	assert_int_equal(OPS(b)->dirty_read(SELF(b), RAM_IOVA + 0x40000, 0x40000, 4096, bitmap), 0);
	assert_int_equal(bitmap[0], 1);
	assert_int_equal(OPS(b)->dirty_read(SELF(b), RAM_IOVA, 0x40000, 4096, small), 0);
	assert_int_equal(small[0], (1ull << 0x3f) | (1ull << ((RING_IOVA - RAM_IOVA) / 4096)));
	/* Bits are only ever set. */
	memset(bitmap, 0xff, sizeof(bitmap));
	assert_int_equal(OPS(b)->dirty_read(SELF(b), RAM_IOVA, RAM_SIZE, 4096, bitmap), 0);
	for (uint64_t w = 0; w < WORDS; w++)
		assert_int_equal(bitmap[w], UINT64_MAX);
}

static void the_last_byte_of_a_write_counts(void **state)
{
	struct bench *b = *state;
	uint64_t bitmap[WORDS];

	assert_int_equal(start(b, 4096, &all, 1), 0);
	put_reg32(b, HF_SIM_RING_ENTRIES, 0);
	submit(b, HF_SIM_CMD_FILL, 0, RAM_IOVA + 0x54ff9, 8); /* its last byte is the next page's */
	assert_int_equal(interrupts(b, 0, WAIT_MS), 1);
	report(b, 4096, bitmap);
	for (uint64_t p = 0; p < PAGES; p++)
		assert_int_equal(bit(bitmap, p), p == 0x54 || p == 0x55);
}

static void several_ranges_are_told_apart(void **state)
{
	const struct hf_dma_range two[] = { { RAM_IOVA + 0x200000, 0x100000 },
					    { RAM_IOVA + 0x100000, 0x80000 } };
	struct bench *b = *state;
	uint64_t bitmap[WORDS];

	assert_int_equal(start(b, 4096, two, 2), 0);
	fill(b, RAM_IOVA + 0x17f000, 0x2000); /* over the end of one */
	fill(b, RAM_IOVA + 0x1ff000, 0x2000); /* over the beginning of the other */
	go(b, HF_DEVICE_STOP);
	report(b, 4096, bitmap);
	for (uint64_t p = 0; p < PAGES; p++)
		assert_int_equal(bit(bitmap, p), p == 0x17f || p == 0x200);
}

static void nonsense_is_refused_as_the_kernel_does(void **state)
{
	struct bench *b = *state;
	struct hf_dma_range many[257] = { 0 };
	uint64_t bitmap[WORDS] = { 0 };

	for (uint32_t i = 0; i < 257; i++)
		many[i] = (struct hf_dma_range){ i * 0x2000ull, 0x1000 };
	assert_int_equal(OPS(b)->dirty_stop(SELF(b)), -EINVAL);
	assert_int_equal(OPS(b)->dirty_read(SELF(b), RAM_IOVA, 4096, 4096, bitmap), -EINVAL);
	assert_int_equal(start(b, 4096, &all, 0), -EINVAL);
	assert_int_equal(start(b, 4096, many, 257), -E2BIG);
	assert_int_equal(start(b, 0, &all, 1), -EINVAL);
	assert_int_equal(start(b, 12288, &all, 1), -EINVAL);
	assert_int_equal(start(b, 4096, &(struct hf_dma_range){ 0x800, 0x1000 }, 1), -EINVAL);
	assert_int_equal(start(b, 4096, &(struct hf_dma_range){ 0x1000, 0x1800 }, 1), -EINVAL);
	assert_int_equal(start(b, 4096, &(struct hf_dma_range){ 0x1000, 0 }, 1), -EINVAL);
	assert_int_equal(start(b, 4096, &(struct hf_dma_range){ UINT64_MAX - 0xfff, 0x2000 }, 1),
			 -EOVERFLOW);
	assert_int_equal(start(b, 4096, &(struct hf_dma_range){ 0, 1ull << 62 }, 1), -EOPNOTSUPP);
	assert_int_equal(
		start(b, 4096,
		      (struct hf_dma_range[]){ { 0, 9ull << 40 }, { 1ull << 50, 9ull << 40 } }, 2),
		-EOPNOTSUPP);
	many[1].iova = 0;
	assert_int_equal(start(b, 4096, many, 2), -EINVAL);
	many[1].iova = 0x1000; /* adjacent is fine */
	assert_int_equal(start(b, 4096, many, 256), 0);
	assert_int_equal(start(b, 4096, &all, 1), -EINVAL); /* a second time */
	assert_int_equal(OPS(b)->dirty_read(SELF(b), 0, 4096, 2048, bitmap), -EINVAL);
	assert_int_equal(OPS(b)->dirty_read(SELF(b), 0, 4096, 12288, bitmap), -EINVAL);
	assert_int_equal(OPS(b)->dirty_read(SELF(b), UINT64_MAX - 0xfff, 0x2000, 4096, bitmap),
			 -EOVERFLOW);
	assert_int_equal(OPS(b)->dirty_stop(SELF(b)), 0);
	assert_int_equal(OPS(b)->dirty_stop(SELF(b)), -EINVAL);
	assert_int_equal(start(b, 4096, &all, 1), 0);
}

static void a_device_without_it_says_so(void **state)
{
	uint64_t word = 0, size = 0;
	struct hf_device_info info;
	struct bench b;

	(void)state;
	bench_open(&b, "sim:state=4K,logging=off,data_size=off", 0);
	assert_int_equal(OPS(&b)->info(SELF(&b), &info), 0);
	assert_int_equal(OPS(&b)->data_size(SELF(&b), &size), -EOPNOTSUPP);
	if (bench_served) { /* then its client knows of messages, or takes all for written */
		assert_true(info.flags & HF_DEVICE_HAS_DMA_LOGGING);
		assert_int_equal(!(info.flags & HF_DEVICE_DIRTY_ALL),
				 strstr(bench_served, "dma=messages") != NULL);
		bench_close(&b);
		return;
	}
	assert_int_equal(info.flags, HF_DEVICE_HAS_RESET | HF_DEVICE_TAKES_P2P);
	assert_int_equal(start(&b, 4096, &all, 1), -EOPNOTSUPP);
	assert_int_equal(OPS(&b)->dirty_read(SELF(&b), 0, 4096, 4096, &word), -EOPNOTSUPP);
	assert_int_equal(OPS(&b)->dirty_stop(SELF(&b)), -EOPNOTSUPP);
	bench_close(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_written_is_reported_exactly_and_once),
		TEST(beats_and_completions_are_dma_and_reads_are_not),
		TEST(larger_pages_and_parts_of_ranges_report_the_same),
		TEST(the_last_byte_of_a_write_counts),
		TEST(several_ranges_are_told_apart),
		TEST(nonsense_is_refused_as_the_kernel_does),
		cmocka_unit_test(a_device_without_it_says_so),
	};

	bench_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
