/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device at work: commands, beats, interrupts, DMA and its log; that it stands still
 * when it is stopped; and that what was on its way at that moment happens exactly once, on
 * whichever side it runs on.
 */
#include "device-fixture.h"

#define DATA (RAM_IOVA + 0x100000) /* 1 MiB into the memory */

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

/* ---- commands ------------------------------------------------------------------------------ */

static void commands_do_what_they_say(void **state)
{
	struct bench *b = *state;
	uint64_t sum = 0;

	fill(b, DATA, 8192);
	for (uint64_t i = 0; i < 1024; i++) {
		assert_int_equal(ram64(b, DATA + 8 * i), HF_SIM_WORD(1, i));
		sum += HF_SIM_WORD(1, i);
	}
	assert_int_equal(command(b, HF_SIM_CMD_COPY, DATA, DATA + 0x10000, 8192), 0);
	for (uint64_t i = 0; i < 1024; i++)
		assert_int_equal(ram64(b, DATA + 0x10000 + 8 * i), HF_SIM_WORD(1, i));
	assert_int_equal(command(b, HF_SIM_CMD_SUM, DATA + 0x10000, 0, 8192), sum);
	assert_int_equal(command(b, HF_SIM_CMD_FILL, 0, DATA, 1u << 20), 0);
	assert_int_equal(ram64(b, DATA + (1u << 20) - 8), HF_SIM_WORD(4, (1u << 17) - 1));
	assert_int_equal(command(b, HF_SIM_CMD_FILL, 0, DATA, 0), 0);
	assert_int_equal(reg32(b, HF_SIM_STATUS), 0);
	assert_int_equal(reg64(b, HF_SIM_ERRORS), 0);
	check_internal_state(b);
}

static void commands_that_cannot_be_done_fault_and_are_counted(void **state)
{
	struct bench *b = *state;

	assert_int_equal(command(b, HF_SIM_CMD_FILL, 0, DATA, (1u << 20) + 8), UINT64_MAX);
	assert_int_equal(reg32(b, HF_SIM_STATUS), HF_SIM_STATUS_FAULT);
	assert_int_equal(command(b, HF_SIM_CMD_FILL, 0, DATA, 4), UINT64_MAX);
	assert_int_equal(command(b, 77, 0, DATA, 8), UINT64_MAX);
	assert_int_equal(reg64(b, HF_SIM_ERRORS), 0);
	assert_int_equal(command(b, HF_SIM_CMD_FILL, 0, 0x1000, 8), UINT64_MAX);
	assert_int_equal(command(b, HF_SIM_CMD_SUM, RAM_IOVA + RAM_SIZE - 8, 0, 16), UINT64_MAX);
	assert_int_equal(command(b, HF_SIM_CMD_SUM, UINT64_MAX - 7, 0, 16), UINT64_MAX);
	assert_int_equal(reg64(b, HF_SIM_ERRORS), 3);
	fill(b, DATA, 8);
	assert_int_equal(reg32(b, HF_SIM_STATUS), 0);
	check_internal_state(b);
}

/* One that stays on its way until RUNNING: it goes to another device, in a P2P state. */
static void submit_and_hold(struct bench *b)
{
	go(b, HF_DEVICE_RUNNING_P2P);
	ring_setup(b);
	submit(b, HF_SIM_CMD_FILL, 0, PEER_IOVA, 64);
	assert_int_equal(reg32(b, HF_SIM_STATUS) & HF_SIM_STATUS_BUSY, HF_SIM_STATUS_BUSY);
}

static uint64_t peer64(const struct bench *b)
{
	uint64_t word;

	memcpy(&word, b->peer, sizeof(word));
	return word;
}

static void a_command_register_written_while_busy_is_ignored(void **state)
{
	struct bench *b = *state;

	submit_and_hold(b);
	submit(b, HF_SIM_CMD_FILL, 0, DATA, 64); /* nor do its arguments count */
	go(b, HF_DEVICE_RUNNING);
	assert_int_equal(interrupts(b, 0, WAIT_MS), 1);
	assert_int_equal(reg64(b, HF_SIM_SUBMITTED), 1);
	assert_int_equal(interrupts(b, 0, QUIET_MS), 0);
	assert_int_equal(peer64(b), HF_SIM_WORD(1, 0));
	assert_int_equal(ram64(b, DATA), 0);
}

static void a_command_takes_the_time_it_is_given(void **state)
{
	uint64_t from_ns;
	struct bench b;

	(void)state;
	bench_open(&b, "sim:state=4K,latency_us=30000", 0);
	from_ns = time_now_ns();
	fill(&b, DATA, 64);
	assert_true(time_now_ns() - from_ns >= 30 * NS_PER_MS);
	bench_close(&b);
}

static void registers_take_halves_and_keep_read_only_ones(void **state)
{
	struct bench *b = *state;

	assert_int_equal(reg32(b, HF_SIM_MAGIC), HF_SIM_MAGIC_VALUE);
	assert_int_equal(reg32(b, HF_SIM_VERSION), 1);
	put_reg32(b, HF_SIM_SRC + 4, 0x11223344);
	put_reg32(b, HF_SIM_SRC, 0x55667788);
	assert_int_equal(reg64(b, HF_SIM_SRC), 0x1122334455667788ull);
	assert_int_equal(reg32(b, HF_SIM_SRC + 4), 0x11223344);
	put_reg64(b, HF_SIM_COMPLETED, 5);
	put_reg64(b, HF_SIM_STATE_SIZE, 5);
	put_reg32(b, HF_SIM_MAGIC, 5);
	assert_int_equal(reg64(b, HF_SIM_COMPLETED), 0);
	assert_int_equal(reg64(b, HF_SIM_STATE_SIZE), 65536);
	assert_int_equal(reg32(b, HF_SIM_MAGIC), HF_SIM_MAGIC_VALUE);
	put_reg32(b, HF_SIM_RING_ENTRIES, 3);
	assert_int_equal(reg32(b, HF_SIM_RING_ENTRIES), 0);
	put_reg32(b, HF_SIM_RING_ENTRIES, 4096);
	put_reg32(b, HF_SIM_RING_ENTRIES, 8192);
	assert_int_equal(reg32(b, HF_SIM_RING_ENTRIES), 4096);
	put_reg64(b, HF_SIM_STATE_INDEX, 8192); /* the first word that is none */
	assert_int_equal(reg64(b, HF_SIM_STATE_WORD), 0);
}

/* ---- beats --------------------------------------------------------------------------------- */

static void beats_start(struct bench *b, uint32_t period_us)
{
	put_reg64(b, HF_SIM_BEAT_RING, BEAT_IOVA);
	put_reg32(b, HF_SIM_BEAT_ENTRIES, BEAT_ENTRIES);
	put_reg32(b, HF_SIM_BEAT_PERIOD, period_us);
}

/*
 * The ring holds the last beats, one after the other, without a gap. Half of them are looked at:
 * beats go on meanwhile, and write over the oldest.
 */
static void check_beats(struct bench *b)
{
	uint64_t beats = reg64(b, HF_SIM_BEATS);
	uint64_t from = beats > BEAT_ENTRIES / 2 ? beats - BEAT_ENTRIES / 2 + 1 : 1;

	for (uint64_t n = from; n <= beats; n++)
		assert_int_equal(ram64(b, BEAT_IOVA + 8 * ((n - 1) % BEAT_ENTRIES)), n);
}

static void beats_count_without_a_gap_and_interrupt(void **state)
{
	struct bench *b = *state;
	uint64_t interrupted = 0, beats;

	beats_start(b, 50);
	while (interrupted < 3)
		interrupted += interrupts(b, 1, WAIT_MS);
	put_reg32(b, HF_SIM_BEAT_PERIOD, 0);
	beats = reg64(b, HF_SIM_BEATS);
	interrupted += interrupts(b, 1, 0);
	assert_int_equal(interrupted, beats / HF_SIM_BEATS_PER_IRQ);
	check_beats(b);
	assert_int_equal(interrupts(b, 1, QUIET_MS), 0);
	assert_int_equal(reg64(b, HF_SIM_BEATS), beats);
}

static void beats_that_were_held_back_are_not_made_up_for(void **state)
{
	struct bench *b = *state;
	uint64_t from_ns;

	put_reg64(b, HF_SIM_BEAT_RING, PEER_IOVA);
	put_reg32(b, HF_SIM_BEAT_ENTRIES, 8);
	go(b, HF_DEVICE_RUNNING_P2P);
	put_reg32(b, HF_SIM_BEAT_PERIOD, 5000);
	assert_int_equal(interrupts(b, 1, 300), 0); /* time for 60 of them */
	assert_int_equal(reg64(b, HF_SIM_BEATS), 0);
	from_ns = time_now_ns();
	go(b, HF_DEVICE_RUNNING);
	while (reg64(b, HF_SIM_BEATS) == 0)
		(void)sched_yield();
	go(b, HF_DEVICE_STOP);
	assert_true(reg64(b, HF_SIM_BEATS) <= (time_now_ns() - from_ns) / (5 * NS_PER_MS) + 2);
}

/* ---- standing still ------------------------------------------------------------------------ */

static void a_stopped_device_stands_still(void **state)
{
	static const uint32_t still[] = { HF_DEVICE_STOP, HF_DEVICE_STOP_COPY, HF_DEVICE_RESUMING };
	struct bench *b = *state;
	uint8_t *before = malloc(RAM_SIZE);

	assert_non_null(before);
	for (size_t i = 0; i < sizeof(still) / sizeof(still[0]); i++) {
		uint64_t beats, completed;

		assert_int_equal(OPS(b)->reset(SELF(b)), 0);
		ring_setup(b);
		beats_start(b, 100);
		submit(b, HF_SIM_CMD_FILL, 0, DATA, 1u << 20);
		walk_to(b, still[i]);
		memcpy(before, b->ram, RAM_SIZE);
		beats = reg64(b, HF_SIM_BEATS);
		completed = reg64(b, HF_SIM_COMPLETED);
		(void)interrupts(b, 0, 0);
		(void)interrupts(b, 1, 0);

		put_reg64(b, HF_SIM_SRC, 0x1234); /* and it does not listen */
		put_reg32(b, HF_SIM_COMMAND, HF_SIM_CMD_SUM);
		put_reg32(b, HF_SIM_BEAT_PERIOD, 1);
		assert_int_equal(interrupts(b, 0, QUIET_MS) + interrupts(b, 1, QUIET_MS), 0);
		assert_int_equal(reg64(b, HF_SIM_BEATS), beats);
		assert_int_equal(reg64(b, HF_SIM_COMPLETED), completed);
		assert_int_equal(reg64(b, HF_SIM_SRC), 0);
		assert_int_equal(reg32(b, HF_SIM_BEAT_PERIOD), 100);
		assert_int_equal(reg64(b, HF_SIM_ERRORS), 0);
		assert_memory_equal(before, b->ram, RAM_SIZE);
	}
	free(before);
}

static void beats_go_on_after_a_stop_without_a_gap(void **state)
{
	struct bench *b = *state;

	beats_start(b, 50);
	for (int i = 0; i < 20; i++) {
		uint64_t beats;

		assert_true(interrupts(b, 1, WAIT_MS) > 0);
		go(b, HF_DEVICE_STOP_COPY);
		beats = reg64(b, HF_SIM_BEATS);
		check_beats(b);
		go(b, HF_DEVICE_RUNNING);
		assert_true(reg64(b, HF_SIM_BEATS) >= beats);
	}
	check_internal_state(b);
}

static void in_the_p2p_states_only_other_devices_are_off_limits(void **state)
{
	static const uint32_t quiet[] = { HF_DEVICE_RUNNING_P2P, HF_DEVICE_PRE_COPY_P2P };
	struct bench *b = *state;

	for (size_t i = 0; i < 2; i++) {
		uint64_t sequence;

		go(b, quiet[i]);
		fill(b, DATA, 64); /* memory is not */
		memset(b->peer, 0, PEER_SIZE);
		sequence = reg64(b, HF_SIM_SUBMITTED) + 1;
		submit(b, HF_SIM_CMD_FILL, 0, PEER_IOVA + 0x100, 64);
		assert_int_equal(interrupts(b, 0, QUIET_MS), 0);
		assert_int_equal(reg32(b, HF_SIM_STATUS), HF_SIM_STATUS_BUSY);
		assert_int_equal(b->peer[0x100], 0);
		go(b, HF_DEVICE_RUNNING);
		assert_int_equal(interrupts(b, 0, WAIT_MS), 1);
		assert_int_equal(*(uint64_t *)(void *)(b->peer + 0x100), HF_SIM_WORD(sequence, 0));
	}
	go(b, HF_DEVICE_RUNNING_P2P); /* reading counts as well */
	submit(b, HF_SIM_CMD_SUM, PEER_IOVA, 0, 64);
	assert_int_equal(interrupts(b, 0, QUIET_MS), 0);
	go(b, HF_DEVICE_RUNNING);
	assert_int_equal(interrupts(b, 0, WAIT_MS), 1);
	assert_int_equal(reg64(b, HF_SIM_ERRORS), 0);
}

static void dma_reaches_the_bar_of_another_device(void **state)
{
	struct bench *b = *state, other;
	struct hf_region_info info;
	uint64_t word = 0;
	void *bar4;

	bench_open(&other, "sim:state=4K", 0);
	assert_int_equal(OPS(&other)->region_info(SELF(&other), 4, &info), 0);
	assert_true(info.flags & HF_REGION_MMAP);
	bar4 = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, info.mmap_fd,
		    (off_t)info.mmap_offset);
	assert_true(bar4 != MAP_FAILED);
	assert_int_equal(OPS(b)->dma_map(SELF(b), 0xd0000000, info.size, bar4, info.mmap_fd, 0,
					 HF_DMA_READ | HF_DMA_WRITE | HF_DMA_P2P),
			 0);
	fill(b, 0xd0000000 + 0x2000, 4096);
	assert_int_equal(OPS(&other)->region_read(SELF(&other), 4, 0x2008, &word, 8), 0);
	assert_int_equal(word, HF_SIM_WORD(1, 1));
	assert_int_equal(OPS(b)->dma_unmap(SELF(b), 0xd0000000, info.size), 0);
	assert_int_equal(command(b, HF_SIM_CMD_SUM, 0xd0000000, 0, 8), UINT64_MAX);
	(void)munmap(bar4, info.size);
	bench_close(&other);
}

/* ---- moving -------------------------------------------------------------------------------- */

/* The same memory, as after a migration. */
static void move(struct bench *from, struct bench *to)
{
	struct bytes s = { 0 };

	save_rest(from, &s);
	memcpy(to->ram, from->ram, RAM_SIZE);
	assert_int_equal(load(to, &s, 9999), 0);
	go(to, HF_DEVICE_STOP);
	free_bytes(&s);
}

static void a_command_on_its_way_finishes_at_the_target_once(void **state)
{
	struct bench *b = *state, target;

	bench_open(&target, "sim:state=64K", 0);
	fill(b, DATA, 64);
	submit_and_hold(b);
	go(b, HF_DEVICE_STOP);
	assert_int_equal(reg64(b, HF_SIM_COMPLETED), 1);
	assert_int_equal(reg64(b, HF_SIM_SUBMITTED), 2);
	move(b, &target);
	assert_int_equal(reg32(&target, HF_SIM_STATUS), HF_SIM_STATUS_BUSY);
	go(&target, HF_DEVICE_RUNNING_P2P);
	assert_int_equal(interrupts(&target, 0, QUIET_MS), 0);

	go(&target, HF_DEVICE_RUNNING);
	assert_int_equal(interrupts(&target, 0, WAIT_MS), 1);
	assert_int_equal(reg64(&target, HF_SIM_COMPLETED), 2);
	assert_int_equal(peer64(&target), HF_SIM_WORD(2, 0));
	assert_int_equal(ram64(&target, RING_IOVA + 16), 2);
	assert_int_equal(interrupts(&target, 0, QUIET_MS), 0);
	check_internal_state(&target);
	fill(&target, DATA, 64);
	assert_int_equal(reg64(&target, HF_SIM_COMPLETED), 3);
	assert_int_equal(peer64(b), 0); /* the source did nothing more */
	assert_int_equal(reg64(b, HF_SIM_COMPLETED), 1);
	bench_close(&target);
}

static void a_command_on_its_way_finishes_here_once_if_it_is_undone(void **state)
{
	struct bench *b = *state;
	struct bytes s = { 0 };

	submit_and_hold(b);
	save_rest(b, &s);
	assert_int_equal(interrupts(b, 0, QUIET_MS), 0);
	go(b, HF_DEVICE_STOP);
	go(b, HF_DEVICE_RUNNING_P2P);
	assert_int_equal(reg64(b, HF_SIM_COMPLETED), 0);
	go(b, HF_DEVICE_RUNNING);
	assert_int_equal(interrupts(b, 0, WAIT_MS), 1);
	assert_int_equal(reg64(b, HF_SIM_COMPLETED), 1);
	assert_int_equal(peer64(b), HF_SIM_WORD(1, 0));
	assert_int_equal(interrupts(b, 0, QUIET_MS), 0);
	check_internal_state(b);
	free_bytes(&s);
}

/* The time that it still needs moves with it: it neither begins anew nor ends early. */
static void the_time_a_command_still_needs_moves_with_it(void **state)
{
	static const char *const uri = "sim:state=64K,latency_us=400000";
	struct bench a, target;
	uint64_t from_ns;

	(void)state;
	bench_open(&a, uri, 0);
	bench_open(&target, uri, 0);
	ring_setup(&a);
	from_ns = time_now_ns();
	submit(&a, HF_SIM_CMD_FILL, 0, DATA, 64);
	(void)interrupts(&a, 0, 100); /* some of its time passes here */
	move(&a, &target);
	if (time_now_ns() - from_ns < 300 * NS_PER_MS) /* else the host was too slow to tell */
		assert_int_equal(reg64(&target, HF_SIM_COMPLETED), 0);
	go(&target, HF_DEVICE_RUNNING);
	while (reg64(&target, HF_SIM_COMPLETED) == 0)
		(void)interrupts(&target, 0, WAIT_MS);
	assert_int_equal(reg64(&target, HF_SIM_COMPLETED), 1);
	assert_true(time_now_ns() - from_ns >= 400 * NS_PER_MS);
	bench_close(&target);
	bench_close(&a);
}

static void an_interrupt_that_nobody_took_comes_at_the_target_once(void **state)
{
	struct bench *b = *state, target;

	bench_open(&target, "sim:state=64K", 0);
	assert_int_equal(OPS(b)->irqs_set(SELF(b), 2, 0, NULL), 0);
	assert_int_equal(OPS(&target)->irqs_set(SELF(&target), 2, 0, NULL), 0);
	ring_setup(b);
	submit(b, HF_SIM_CMD_FILL, 0, DATA, 64);
	while (reg64(b, HF_SIM_COMPLETED) < 1)
		(void)sched_yield();
	move(b, &target);
	assert_int_equal(OPS(&target)->irqs_set(SELF(&target), 2, HF_SIM_VECTORS, target.fds), 0);
	assert_int_equal(interrupts(&target, 0, QUIET_MS), 0); /* not while it is stopped */
	go(&target, HF_DEVICE_RUNNING);
	assert_int_equal(interrupts(&target, 0, WAIT_MS), 1);
	assert_int_equal(interrupts(&target, 0, QUIET_MS), 0);
	bench_close(&target);
}

static void the_plain_memory_of_bar4_moves(void **state)
{
	struct bench *b = *state, target;
	uint64_t word = 0x0123456789abcdefull, there = 0;

	bench_open(&target, "sim:state=64K", 0);
	assert_int_equal(OPS(b)->region_write(SELF(b), 4, 0xfff8, &word, 8), 0);
	move(b, &target);
	assert_int_equal(OPS(&target)->region_read(SELF(&target), 4, 0xfff8, &there, 8), 0);
	assert_int_equal(there, word);
	assert_int_equal(OPS(&target)->reset(SELF(&target)), 0);
	assert_int_equal(OPS(&target)->region_read(SELF(&target), 4, 0xfff8, &there, 8), 0);
	assert_int_equal(there, 0);
	bench_close(&target);
}

static void beats_and_commands_go_on_over_many_moves(void **state)
{
	struct bench *b = *state, target;
	uint64_t sequence = 0, beats = 0;

	bench_open(&target, "sim:state=64K", 0);
	beats_start(b, 100);
	for (int i = 0; i < 30; i++) {
		struct bench *from = i % 2 ? &target : b, *to = i % 2 ? b : &target;

		fill(from, DATA, 4096);
		ring_setup(from);
		submit(from, HF_SIM_CMD_FILL, 0, DATA, 1u << 20);
		sequence += 2;
		move(from, to);
		(void)interrupts(from, 0, 0); /* if it was faster than the stop */
		assert_true(reg64(to, HF_SIM_BEATS) >= beats);
		beats = reg64(to, HF_SIM_BEATS);
		assert_int_equal(OPS(from)->reset(SELF(from)), 0);
		go(to, HF_DEVICE_RUNNING);
		while (reg64(to, HF_SIM_COMPLETED) < sequence)
			(void)interrupts(to, 0, WAIT_MS);
		(void)interrupts(to, 0, QUIET_MS / 10);
		assert_int_equal(reg64(to, HF_SIM_COMPLETED), sequence);
		assert_int_equal(ram64(to, DATA), HF_SIM_WORD(sequence, 0));
		check_beats(to);
		check_internal_state(to);
	}
	bench_close(&target);
}

/* ---- the function -------------------------------------------------------------------------- */

static void it_is_a_pci_function(void **state)
{
	struct bench *b = *state;
	struct hf_region_info info;
	struct hf_device_info device;
	uint8_t config[256];
	uint32_t count = 99, ones = UINT32_MAX, got = 0;

	assert_int_equal(OPS(b)->info(SELF(b), &device), 0);
	assert_string_equal(device.kind, bench_served ? "vfio-user" : "sim");
	assert_string_equal(device.name, "dut");
	assert_int_equal(device.region_count, 8);
	assert_int_equal(OPS(b)->region_read(SELF(b), 7, 0, config, sizeof(config)), 0);
	assert_int_equal(config[0] | config[1] << 8, HF_SIM_VENDOR_ID);
	assert_int_equal(config[2] | config[3] << 8, HF_SIM_DEVICE_ID);
	assert_int_equal(config[0x09] | config[0x0a] << 8 | config[0x0b] << 16, HF_SIM_CLASS);
	assert_int_equal(config[config[0x34]], 0x11);
	assert_int_equal(config[config[0x34] + 2], HF_SIM_VECTORS - 1);

	/* BARs are sized by writing ones. */
	assert_int_equal(OPS(b)->region_write(SELF(b), 7, 0x10, &ones, 4), 0);
	assert_int_equal(OPS(b)->region_read(SELF(b), 7, 0x10, &got, 4), 0);
	assert_int_equal(got, ~(HF_SIM_BAR0_SIZE - 1u));
	assert_int_equal(OPS(b)->region_write(SELF(b), 7, 0x14, &ones, 4), 0);
	assert_int_equal(OPS(b)->region_read(SELF(b), 7, 0x14, &got, 4), 0);
	assert_int_equal(got, 0);
	assert_int_equal(OPS(b)->region_write(SELF(b), 7, 0x20, &ones, 4), 0);
	assert_int_equal(OPS(b)->region_read(SELF(b), 7, 0x20, &got, 4), 0);
	assert_int_equal(got, ~(HF_SIM_BAR4_SIZE - 1u) | 0xc);
	assert_int_equal(OPS(b)->region_write(SELF(b), 7, 0x00, &ones, 4), 0);
	assert_int_equal(OPS(b)->region_read(SELF(b), 7, 0x00, &got, 4), 0);
	assert_int_equal(got, HF_SIM_VENDOR_ID | HF_SIM_DEVICE_ID << 16);

	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(OPS(b)->region_info(SELF(b), i, &info), 0);
	assert_int_equal(OPS(b)->region_info(SELF(b), 8, &info), -EINVAL);
	assert_int_equal(OPS(b)->region_read(SELF(b), 7, 255, config, 2), -EINVAL);
	assert_int_equal(OPS(b)->region_read(SELF(b), 0, 2, config, 4), -EINVAL);
	assert_int_equal(OPS(b)->region_read(SELF(b), 0, UINT64_MAX, config, 8), -EINVAL);
	assert_int_equal(OPS(b)->region_read(SELF(b), 1, 0, config, 4), -EINVAL);
	assert_int_equal(OPS(b)->irq_count(SELF(b), 2, &count), 0);
	assert_int_equal(count, HF_SIM_VECTORS);
	assert_int_equal(OPS(b)->irq_count(SELF(b), 0, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(OPS(b)->irqs_set(SELF(b), 2, HF_SIM_VECTORS + 1, b->fds), -EINVAL);
	assert_int_equal(OPS(b)->irqs_set(SELF(b), 0, 1, b->fds), -EINVAL);
}

static void maps_keep_the_rules_of_the_iommu(void **state)
{
	struct bench *b = *state;
	const uint32_t rw = HF_DMA_READ | HF_DMA_WRITE;
	const struct hf_device_ops *o = OPS(b);
	void *self = SELF(b);

	assert_int_equal(o->dma_map(self, RAM_IOVA, 4096, b->ram, -1, 0, rw), -EEXIST);
	assert_int_equal(o->dma_map(self, RAM_IOVA - 4096, 8192, b->ram, -1, 0, rw), -EEXIST);
	assert_int_equal(o->dma_map(self, 0x10, 4096, b->ram, -1, 0, rw), -EINVAL);
	assert_int_equal(o->dma_map(self, 0, 0, b->ram, -1, 0, rw), -EINVAL);
	assert_int_equal(o->dma_map(self, 0, 4096, b->ram, -1, 0, 0), -EINVAL);
	assert_int_equal(o->dma_map(self, 0, 4096, b->ram, -1, 0, 8 | rw), -EINVAL);
	assert_int_equal(o->dma_map(self, UINT64_MAX - 4095, 8192, b->ram, -1, 0, rw), -EINVAL);
	assert_int_equal(o->dma_map(self, UINT64_MAX - 4095, 4096, b->ram, -1, 0, rw), 0);
	assert_int_equal(o->dma_unmap(self, RAM_IOVA, 4096), -EINVAL); /* not a part of one */
	assert_int_equal(o->dma_unmap(self, 0x40000000, 4096), 0);
	assert_int_equal(o->dma_unmap(self, RAM_IOVA, RAM_SIZE), 0);
	assert_int_equal(o->dma_map(self, RAM_IOVA, 4096, b->ram, -1, 0, HF_DMA_READ), 0);
	submit(b, HF_SIM_CMD_FILL, 0, RAM_IOVA, 64);
	assert_int_equal(interrupts(b, 0, WAIT_MS), 1);
	assert_int_equal(reg32(b, HF_SIM_STATUS), HF_SIM_STATUS_FAULT);
	assert_int_equal(o->dma_map(self, RAM_IOVA + 4096, 4096, b->ram + 8192, -1, 0, rw), 0);
	submit(b, HF_SIM_CMD_SUM, RAM_IOVA, 0, 8192); /* over two maps that touch */
	assert_int_equal(interrupts(b, 0, WAIT_MS), 1);
	assert_int_equal(reg32(b, HF_SIM_STATUS), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(commands_do_what_they_say, setup, teardown),
		cmocka_unit_test_setup_teardown(commands_that_cannot_be_done_fault_and_are_counted,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_command_register_written_while_busy_is_ignored,
						setup, teardown),
		cmocka_unit_test(a_command_takes_the_time_it_is_given),
		cmocka_unit_test(the_time_a_command_still_needs_moves_with_it),
		cmocka_unit_test_setup_teardown(registers_take_halves_and_keep_read_only_ones,
						setup, teardown),
		cmocka_unit_test_setup_teardown(beats_count_without_a_gap_and_interrupt, setup,
						teardown),
		cmocka_unit_test_setup_teardown(beats_that_were_held_back_are_not_made_up_for,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_stopped_device_stands_still, setup, teardown),
		cmocka_unit_test_setup_teardown(beats_go_on_after_a_stop_without_a_gap, setup,
						teardown),
		cmocka_unit_test_setup_teardown(in_the_p2p_states_only_other_devices_are_off_limits,
						setup, teardown),
		cmocka_unit_test_setup_teardown(dma_reaches_the_bar_of_another_device, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_command_on_its_way_finishes_at_the_target_once,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_command_on_its_way_finishes_here_once_if_it_is_undone, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_interrupt_that_nobody_took_comes_at_the_target_once, setup, teardown),
		cmocka_unit_test_setup_teardown(the_plain_memory_of_bar4_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(beats_and_commands_go_on_over_many_moves, setup,
						teardown),
		cmocka_unit_test_setup_teardown(it_is_a_pci_function, setup, teardown),
		cmocka_unit_test_setup_teardown(maps_keep_the_rules_of_the_iommu, setup, teardown),
	};

	bench_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
