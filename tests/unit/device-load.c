/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hostile streams for the simulated device: whatever is not the whole and sound state of a device
 * like it is refused, at the latest by the arc RESUMING -> STOP; it then stands in RESUMING, and a
 * reset makes it new.
 */
#include "device-fixture.h"

#include <xxhash.h>

#include "backend/device/sim/stream.h"

#define BLOCKS 4u
#define RECORDS_MAX 64u

/* Where records begin; the last entry is the end. */
struct records {
	size_t at[RECORDS_MAX + 1];
	size_t count;
};

struct fixture {
	struct bench b;
	struct bytes good; /* with history, saved after a pre-copy */
	struct records records; /* of good */
};

static void find_records(const struct bytes *s, struct records *r)
{
	size_t at = SIM_STREAM_HEADER_SIZE;

	r->count = 0;
	while (at < s->size) {
		assert_true(r->count < RECORDS_MAX);
		r->at[r->count++] = at;
		at += SIM_RECORD_HEADER_SIZE + sim_get32(s->data + at + 4);
	}
	assert_int_equal(at, s->size);
	r->at[r->count] = at;
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	bench_open(&f.b, "sim:state=16K", 0);
	for (int i = 0; i < 6; i++)
		fill(&f.b, RAM_IOVA + 0x10000, 8);
	go(&f.b, HF_DEVICE_PRE_COPY);
	(void)read_some(&f.b, &f.good, 4096, SIZE_MAX);
	fill(&f.b, RAM_IOVA + 0x10000, 8);
	save_rest(&f.b, &f.good);
	find_records(&f.good, &f.records);
	assert_int_equal(f.records.count, BLOCKS + 1 + 3);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	free_bytes(&f->good);
	bench_close(&f->b);
	return 0;
}

/* Load it, and ask for STOP whatever the writes said. The session would not ask after an error. */
static int try(struct bench *b, const uint8_t *data, size_t size)
{
	assert_int_equal(OPS(b)->reset(SELF(b)), 0);
	go(b, HF_DEVICE_RESUMING);
	(void)write_stream(b, data, size, 1u << 16);
	return OPS(b)->set_state(SELF(b), HF_DEVICE_STOP);
}

#define REFUSED(b, data, size)                                                                     \
	do {                                                                                       \
		assert_int_equal(try(b, data, size), -EINVAL);                                     \
		assert_int_equal(state_of(b), HF_DEVICE_RESUMING);                                 \
	} while (0)

static void the_good_stream_is_taken(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(try(&f->b, f->good.data, f->good.size), 0);
	go(&f->b, HF_DEVICE_RUNNING);
	assert_int_equal(reg64(&f->b, HF_SIM_COMPLETED), 7);
	check_internal_state(&f->b);
}

static void one_that_is_cut_short_is_refused_anywhere(void **state)
{
	struct fixture *f = *state;
	size_t n = f->good.size;
	const size_t cuts[] = { 0, 1, 24, SIM_STREAM_HEADER_SIZE - 1, n / 2, n - 1 };

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++)
		REFUSED(&f->b, f->good.data, cuts[i]);
	for (size_t i = 0; i < f->records.count; i++) {
		REFUSED(&f->b, f->good.data, f->records.at[i]);
		REFUSED(&f->b, f->good.data, f->records.at[i] + 1);
		REFUSED(&f->b, f->good.data, f->records.at[i] + SIM_RECORD_HEADER_SIZE);
		REFUSED(&f->b, f->good.data, f->records.at[i + 1] - 1);
	}
}

static void one_that_was_cut_short_can_still_be_completed(void **state)
{
	struct fixture *f = *state;
	size_t half = f->good.size / 2;

	REFUSED(&f->b, f->good.data, half);
	assert_int_equal(write_stream(&f->b, f->good.data + half, f->good.size - half, 4096), 0);
	go(&f->b, HF_DEVICE_STOP);
}

static void every_way_out_of_resuming_checks_the_load(void **state)
{
	static const uint32_t ways[] = { HF_DEVICE_STOP,	HF_DEVICE_STOP_COPY,
					 HF_DEVICE_RUNNING_P2P, HF_DEVICE_RUNNING,
					 HF_DEVICE_PRE_COPY,	HF_DEVICE_PRE_COPY_P2P };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		assert_int_equal(OPS(&f->b)->reset(SELF(&f->b)), 0);
		go(&f->b, HF_DEVICE_RESUMING);
		assert_int_equal(write_stream(&f->b, f->good.data, f->good.size - 1, 4096), 0);
		assert_int_equal(OPS(&f->b)->set_state(SELF(&f->b), ways[i]), -EINVAL);
		assert_int_equal(state_of(&f->b), HF_DEVICE_RESUMING);
	}
}

static void more_than_the_stream_is_refused(void **state)
{
	struct fixture *f = *state;
	struct bytes s = { 0 };

	put_bytes(&s, f->good.data, f->good.size);
	put_bytes(&s, "", 1);
	REFUSED(&f->b, s.data, s.size);
	s.size--;
	put_bytes(&s, f->good.data, f->good.size);
	REFUSED(&f->b, s.data, s.size);
	free_bytes(&s);
}

static void any_flipped_bit_is_refused(void **state)
{
	struct fixture *f = *state;
	uint8_t *data = f->good.data;
	size_t flips = 0;

	for (size_t at = 0; at < f->good.size; at++) {
		int header = at < SIM_STREAM_HEADER_SIZE;

		for (size_t i = 0; i < f->records.count; i++)
			header |= at >= f->records.at[i] &&
				  at < f->records.at[i] + SIM_RECORD_HEADER_SIZE;
		/* All of each header, of REGISTERS and TRAILER; samples of the large bodies. */
		if (!header && at < f->records.at[f->records.count - 2] && at % 509)
			continue;
		for (int bit = 0; bit < 8; bit++) {
			data[at] ^= (uint8_t)(1u << bit);
			REFUSED(&f->b, data, f->good.size);
			data[at] ^= (uint8_t)(1u << bit);
			flips++;
		}
	}
	assert_true(flips > 3000);
	assert_int_equal(try(&f->b, data, f->good.size), 0);
}

static void records_left_out_doubled_or_swapped_are_refused(void **state)
{
	struct fixture *f = *state;
	const struct records *r = &f->records;
	const uint8_t *d = f->good.data;

	for (size_t i = 0; i < r->count; i++) {
		size_t at = r->at[i], next = r->at[i + 1];
		struct bytes s = { 0 };

		put_bytes(&s, d, at); /* left out */
		put_bytes(&s, d + next, f->good.size - next);
		REFUSED(&f->b, s.data, s.size);

		s.size = 0; /* doubled */
		put_bytes(&s, d, next);
		put_bytes(&s, d + at, f->good.size - at);
		REFUSED(&f->b, s.data, s.size);

		if (i + 1 < r->count) { /* swapped */
			size_t end = r->at[i + 2];

			s.size = 0;
			put_bytes(&s, d, at);
			put_bytes(&s, d + next, end - next);
			put_bytes(&s, d + at, next - at);
			put_bytes(&s, d + end, f->good.size - end);
			REFUSED(&f->b, s.data, s.size);
		}
		free_bytes(&s);
	}
}

static void streams_of_other_devices_are_refused(void **state)
{
	static const char *const others[] = { "sim:state=32K", "sim:state=8K",
					      "sim:state=16K,model=other" };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct bytes s = { 0 };
		struct bench other;

		bench_open(&other, others[i], 0);
		save_rest(&other, &s);
		REFUSED(&f->b, s.data, s.size);
		free_bytes(&s);
		bench_close(&other);
	}
}

static void noise_of_the_right_length_is_refused(void **state)
{
	struct fixture *f = *state;
	uint8_t *noise = malloc(f->good.size);
	uint64_t random = 1;

	assert_non_null(noise);
	memset(noise, 0, f->good.size);
	REFUSED(&f->b, noise, f->good.size);
	memset(noise, 0xff, f->good.size);
	REFUSED(&f->b, noise, f->good.size);
	for (size_t i = 0; i < f->good.size; i++) {
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		noise[i] = (uint8_t)(random >> 56);
	}
	REFUSED(&f->b, noise, f->good.size);
	free(noise);
}

static void an_error_is_final_for_the_load(void **state)
{
	struct fixture *f = *state;
	uint8_t bad = 0;

	assert_int_equal(OPS(&f->b)->reset(SELF(&f->b)), 0);
	go(&f->b, HF_DEVICE_RESUMING);
	for (size_t i = 0; i < SIM_STREAM_HEADER_SIZE - 1; i++)
		assert_int_equal(OPS(&f->b)->write_data(SELF(&f->b), &bad, 1), 1);
	assert_int_equal(OPS(&f->b)->write_data(SELF(&f->b), &bad, 1), -EINVAL);
	assert_int_equal(OPS(&f->b)->write_data(SELF(&f->b), f->good.data, f->good.size), -EINVAL);
	assert_int_equal(OPS(&f->b)->set_state(SELF(&f->b), HF_DEVICE_STOP), -EINVAL);
	assert_int_equal(try(&f->b, f->good.data, f->good.size), 0); /* until a reset */
}

/* ---- sound in itself, and still not the state of a device ---------------------------------- */

/* Number the records anew and make the trailer match. */
static void seal(struct bytes *s)
{
	struct records r;
	uint8_t *body;

	find_records(s, &r);
	for (size_t i = 0; i < r.count; i++)
		sim_put64(s->data + r.at[i] + 8, i);
	body = s->data + r.at[r.count - 1] + SIM_RECORD_HEADER_SIZE;
	sim_put64(body, r.count - 1);
	sim_put64(body + 8, r.at[r.count - 1]);
	sim_put64(body + 16, XXH3_64bits(s->data, r.at[r.count - 1]));
}

static void copy_without(struct fixture *f, struct bytes *to, size_t record)
{
	to->size = 0;
	put_bytes(to, f->good.data, f->records.at[record]);
	put_bytes(to, f->good.data + f->records.at[record + 1],
		  f->good.size - f->records.at[record + 1]);
	seal(to);
}

static void a_sealed_stream_with_a_stale_or_missing_block_is_refused(void **state)
{
	struct fixture *f = *state;
	struct bytes s = { 0 };

	put_bytes(&s, f->good.data, f->good.size);
	seal(&s);
	assert_int_equal(try(&f->b, s.data, s.size), 0); /* sealing itself is right */
	assert_same(&s, &f->good);
	copy_without(f, &s, BLOCKS); /* the block that was sent again: the old one is left */
	REFUSED(&f->b, s.data, s.size);
	copy_without(f, &s, 0);
	REFUSED(&f->b, s.data, s.size);
	copy_without(f, &s, 3); /* its newer version is there: it is whole without it */
	assert_int_equal(try(&f->b, s.data, s.size), 0);
	free_bytes(&s);
}

static void a_sealed_stream_that_says_a_block_twice_is_refused(void **state)
{
	struct fixture *f = *state;
	const struct records *r = &f->records;
	struct bytes s = { 0 };

	put_bytes(&s, f->good.data, r->at[3]);
	put_bytes(&s, f->good.data + r->at[2], f->good.size - r->at[2]);
	seal(&s);
	REFUSED(&f->b, s.data, s.size);
	free_bytes(&s);
}

static void sealed_registers_that_no_device_can_have_are_refused(void **state)
{
	static const struct {
		size_t offset;
		uint32_t value;
	} wrong[] = {
		{ 32, 6 }, /* fewer submitted than completed */
		{ 32, 9 }, /* two commands on their way */
		{ 40, 6 }, /* completed: the blocks say 7 */
		{ 108, 3 }, /* ring entries */
		{ 108, 8192 }, /* the same */
		{ 112, 5 }, /* beat entries */
		{ 120, 2 }, /* fault */
		{ 124, 16 }, /* a vector that is none */
		{ 128, 1 }, /* a command, and none is on its way */
		{ SIM_REGISTERS_USED, 1 }, /* reserved */
		{ SIM_REGISTERS_SIZE - 4, 1 },
	};
	struct fixture *f = *state;
	struct bytes s = { 0 };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		size_t at = f->records.at[f->records.count - 2] + SIM_RECORD_HEADER_SIZE;

		s.size = 0;
		put_bytes(&s, f->good.data, f->good.size);
		sim_put32(s.data + at + wrong[i].offset, wrong[i].value);
		seal(&s);
		REFUSED(&f->b, s.data, s.size);
	}
	free_bytes(&s);
}

static void sealed_blocks_with_wrong_content_are_refused_when_written(void **state)
{
	struct fixture *f = *state;
	struct bytes s = { 0 };
	size_t at = f->records.at[1];

	put_bytes(&s, f->good.data, f->good.size);
	s.data[at + SIM_RECORD_HEADER_SIZE + 2048] ^= 1;
	seal(&s);
	assert_int_equal(OPS(&f->b)->reset(SELF(&f->b)), 0);
	go(&f->b, HF_DEVICE_RESUMING);
	assert_int_equal(write_stream(&f->b, s.data, f->records.at[2], 999), -EINVAL);
	free_bytes(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(the_good_stream_is_taken),
		TEST(one_that_is_cut_short_is_refused_anywhere),
		TEST(one_that_was_cut_short_can_still_be_completed),
		TEST(every_way_out_of_resuming_checks_the_load),
		TEST(more_than_the_stream_is_refused),
		TEST(any_flipped_bit_is_refused),
		TEST(records_left_out_doubled_or_swapped_are_refused),
		TEST(streams_of_other_devices_are_refused),
		TEST(noise_of_the_right_length_is_refused),
		TEST(an_error_is_final_for_the_load),
		TEST(a_sealed_stream_with_a_stale_or_missing_block_is_refused),
		TEST(a_sealed_stream_that_says_a_block_twice_is_refused),
		TEST(sealed_registers_that_no_device_can_have_are_refused),
		TEST(sealed_blocks_with_wrong_content_are_refused_when_written),
	};

	bench_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
