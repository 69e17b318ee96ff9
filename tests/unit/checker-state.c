/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread guest's state, moved by hand from one to another: with its memory it goes on and finds
 * nothing; with old memory, or an old state, it finds that; and state that a bad peer made up does
 * no harm to the process. Without devices, whose own state only a session moves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/thread-guest.h"

#define MEMORY (2ull << 20)
#define VCPUS 2u
#define SECTIONS 8u
#define DEADLINE_MS 60000

struct saved {
	uint32_t count;
	struct hf_state_section sections[SECTIONS];
	uint8_t *data[SECTIONS];
	uint8_t *memory;
};

static struct guest *guest_new(bool incoming)
{
	struct guest_config config = {
		.memory_bytes = MEMORY,
		.vcpu_count = VCPUS,
		.serial = "none",
		.command_line = incoming ? NULL : "report=5 comp=30",
		.incoming = incoming,
	};
	struct guest *guest = NULL;
	struct hf_error err = { 0 };

	if (thread_guest_new(&config, &guest, &err) != 0)
		fail_msg("thread_guest_new: %s", err.text);
	return guest;
}

static void run(struct guest *guest)
{
	assert_int_equal(guest->machine.ops->run(guest->machine.self, NULL), 0);
}

static void stop(struct guest *guest)
{
	assert_int_equal(guest->machine.ops->stop(guest->machine.self, NULL), 0);
}

static void nap(long ns)
{
	struct timespec pause = { .tv_nsec = ns };

	(void)nanosleep(&pause, NULL);
}

/* Let it run until it has done so many passes more, or has ended. */
static void run_passes(struct guest *guest, uint64_t more)
{
	const struct work_shared *shared = &((struct thread_guest *)guest)->shared;
	uint64_t goal = shared->pass + more;
	int i;

	for (i = 0; i < DEADLINE_MS / 10; i++) {
		run(guest);
		nap(10000000);
		stop(guest); /* so that it can be looked at */
		if (shared->pass >= goal || shared->finished)
			return;
	}
	fail_msg("no %u passes", (unsigned int)more);
}

static void save(struct guest *guest, struct saved *saved)
{
	const struct hf_machine *machine = &guest->machine;
	uint8_t *buf = malloc(HF_STATE_SECTION_MAX);

	assert_non_null(buf);
	memset(saved, 0, sizeof(*saved));
	for (;;) {
		struct hf_state_section *section = &saved->sections[saved->count];
		int r = machine->ops->state_save(machine->self, saved->count, section, buf,
						 HF_STATE_SECTION_MAX, NULL);

		if (r == HF_STATE_END)
			break;
		assert_int_equal(r, 0);
		assert_true(section->length > 0);
		assert_true(saved->count + 1 < SECTIONS);
		saved->data[saved->count] = malloc(section->length);
		assert_non_null(saved->data[saved->count]);
		memcpy(saved->data[saved->count++], buf, section->length);
	}
	free(buf);
	assert_int_equal(saved->count, 2 + VCPUS);
	saved->memory = malloc(MEMORY);
	assert_non_null(saved->memory);
	memcpy(saved->memory, guest->regions[0].host, MEMORY);
}

static void saved_done(struct saved *saved)
{
	for (uint32_t i = 0; i < saved->count; i++)
		free(saved->data[i]);
	free(saved->memory);
}

static int load_section(struct guest *guest, const struct saved *saved, uint32_t i)
{
	return guest->machine.ops->state_load(guest->machine.self, &saved->sections[i],
					      saved->data[i], NULL);
}

/* 0 if all was taken. */
static int load(struct guest *guest, const struct saved *saved)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < saved->count; i++)
		r = load_section(guest, saved, i);
	if (r == 0)
		r = guest->machine.ops->state_check(guest->machine.self, NULL);
	memcpy(guest->regions[0].host, saved->memory, MEMORY);
	return r;
}

static bool corrupt(struct guest *guest)
{
	return ((struct thread_guest *)guest)->shared.corrupt_count != 0;
}

static void it_goes_on_where_it_was(void **state)
{
	struct guest *source = guest_new(false), *target = guest_new(true);
	struct saved saved;
	uint64_t writes;

	(void)state;
	run_passes(source, 2);
	save(source, &saved);
	assert_int_equal(load(target, &saved), 0);
	writes = ((struct thread_guest *)target)->vcpus[0].writes;
	assert_true(writes > 0);
	run_passes(target, 3);
	assert_true(((struct thread_guest *)target)->vcpus[0].writes > writes);
	assert_false(corrupt(target));
	/* The source was not touched by that, and could have been resumed. */
	run_passes(source, 2);
	assert_false(corrupt(source));
	saved_done(&saved);
	source->ops->free(source);
	target->ops->free(target);
}

/* One page that the source wrote and that was not sent again. */
static void one_old_page_is_found(void **state)
{
	struct guest *source = guest_new(false), *target = guest_new(true);
	struct saved before, after;
	uint64_t page;

	(void)state;
	run_passes(source, 1);
	save(source, &before);
	run_passes(source, 2);
	save(source, &after);
	for (page = MEMORY - HF_PAGE_SIZE; page > 0; page -= HF_PAGE_SIZE)
		if (memcmp(before.memory + page, after.memory + page, HF_PAGE_SIZE) != 0)
			break;
	assert_true(page > 0);
	memcpy(after.memory + page, before.memory + page, HF_PAGE_SIZE);
	assert_int_equal(load(target, &after), 0);
	run_passes(target, 2);
	assert_true(corrupt(target));
	assert_int_equal(((struct thread_guest *)target)->shared.corrupt[0].what,
			 WORK_CORRUPT_PAGE_STALE);
	saved_done(&before);
	saved_done(&after);
	source->ops->free(source);
	target->ops->free(target);
}

/* All of the memory is new, and one vCPU's state is old: as if it had run twice. */
static void one_old_vcpu_is_found(void **state)
{
	struct guest *source = guest_new(false), *target = guest_new(true);
	struct saved before, after;

	(void)state;
	run_passes(source, 1);
	save(source, &before);
	run_passes(source, 2);
	save(source, &after);
	memcpy(after.data[3], before.data[3], after.sections[3].length);
	assert_int_equal(load(target, &after), 0);
	run_passes(target, 2);
	assert_true(corrupt(target));
	saved_done(&before);
	saved_done(&after);
	source->ops->free(source);
	target->ops->free(target);
}

static void missing_and_strange_sections_are_refused(void **state)
{
	struct guest *source = guest_new(false), *target = guest_new(true);
	const struct hf_machine *machine = &target->machine;
	struct hf_state_section strange;
	struct saved saved;

	(void)state;
	save(source, &saved);
	assert_int_equal(machine->ops->state_check(machine->self, NULL), HF_E_MACHINE_STATE);
	assert_int_equal(load_section(target, &saved, 2), HF_E_MACHINE_STATE); /* too early */
	assert_int_equal(load_section(target, &saved, 0), 0);
	assert_int_equal(load_section(target, &saved, 1), 0);
	assert_int_equal(load_section(target, &saved, 2), 0);
	assert_int_equal(machine->ops->state_check(machine->self, NULL), HF_E_MACHINE_STATE);
	strange = saved.sections[3];
	strange.instance = VCPUS;
	assert_int_equal(machine->ops->state_load(machine->self, &strange, saved.data[3], NULL),
			 HF_E_MACHINE_STATE);
	strange = saved.sections[3];
	strange.length--;
	assert_int_equal(machine->ops->state_load(machine->self, &strange, saved.data[3], NULL),
			 HF_E_MACHINE_STATE);
	strange = saved.sections[3];
	strange.version++;
	assert_int_equal(machine->ops->state_load(machine->self, &strange, saved.data[3], NULL),
			 HF_E_MACHINE_STATE);
	assert_int_equal(load_section(target, &saved, 3), 0);
	assert_int_equal(machine->ops->state_check(machine->self, NULL), 0);
	saved_done(&saved);
	source->ops->free(source);
	target->ops->free(target);
}

/* Wherever it stops, what it saves is what it would take. */
static void its_own_state_is_always_possible(void **state)
{
	static const char *const devices[] = { "sim", "sim" };
	struct guest_config config = {
		.memory_bytes = 8 * MEMORY,
		.vcpu_count = VCPUS,
		.serial = "none",
		.command_line = "mem=4 dma=20 beat=100",
		.devices = devices,
		.device_count = 2,
	};
	uint8_t *buf = malloc(HF_STATE_SECTION_MAX);
	struct guest *guest = NULL;
	struct hf_error err = { 0 };

	(void)state;
	assert_non_null(buf);
	assert_int_equal(thread_guest_new(&config, &guest, &err), 0);
	for (uint32_t i = 0; i < 100; i++) {
		const struct hf_machine *machine = &guest->machine;
		struct hf_state_section section;

		run(guest);
		nap(3000000 + 10000 * (long)i); /* to stop elsewhere each time */
		stop(guest);
		for (uint32_t s = 0; s < 2 + VCPUS + 2; s++) {
			assert_int_equal(machine->ops->state_save(machine->self, s, &section, buf,
								  HF_STATE_SECTION_MAX, &err),
					 0);
			if (machine->ops->state_load(machine->self, &section, buf, &err) != 0)
				fail_msg("after %u stops: %s", i, err.text);
		}
	}
	assert_false(corrupt(guest));
	guest->ops->free(guest);
	free(buf);
}

/* Any word, with any of these values: refused, or harmless (and then CORRUPT, or not). */
static void made_up_state_does_no_harm(void **state)
{
	static const uint64_t values[] = { 0, 1, UINT32_MAX, 1ull << 40, UINT64_MAX };
	struct guest *source = guest_new(false);
	unsigned int refused = 0, taken = 0;
	struct saved saved;

	(void)state;
	run_passes(source, 1);
	save(source, &saved);
	for (uint32_t s = 1; s < saved.count; s++) {
		/* The texts at the end of what is shared are only printed. */
		uint32_t end =
			s == 1 ? offsetof(struct work_shared, console) : saved.sections[s].length;

		for (uint32_t at = 0; at + 8 <= end; at += 8) {
			for (uint32_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
				struct guest *target = guest_new(true);
				uint8_t was[8];

				memcpy(was, saved.data[s] + at, 8);
				memcpy(saved.data[s] + at, &values[v], 8);
				if (load(target, &saved) == 0) {
					taken++;
					run(target);
					nap(300000); /* some thousand steps */
					stop(target);
				} else {
					refused++;
				}
				memcpy(saved.data[s] + at, was, 8);
				target->ops->free(target);
			}
		}
	}
	assert_true(refused > 50);
	assert_true(taken > 50);
	saved_done(&saved);
	source->ops->free(source);
}

static void shapes_are_compared(void **state)
{
	struct guest *guest = guest_new(true);
	const struct hf_machine *machine = &guest->machine;
	uint32_t shape[16], length = 0;
	struct hf_error err = { 0 };

	(void)state;
	assert_int_equal(machine->ops->describe(machine->self, shape, sizeof(shape), &length, &err),
			 0);
	assert_int_equal(machine->ops->check(machine->self, shape, length, &err), 0);
	assert_int_equal(machine->ops->check(machine->self, shape, length - 1, &err),
			 HF_E_MISMATCH);
	memset(&err, 0, sizeof(err));
	shape[2]++;
	assert_int_equal(machine->ops->check(machine->self, shape, length, &err), HF_E_MISMATCH);
	assert_non_null(strstr(err.text, "3 vCPUs at the source and 2 at the target"));
	memset(&err, 0, sizeof(err));
	assert_int_not_equal(machine->ops->describe(machine->self, shape, 3, &length, &err), 0);
	guest->ops->free(guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_goes_on_where_it_was),
		cmocka_unit_test(one_old_page_is_found),
		cmocka_unit_test(one_old_vcpu_is_found),
		cmocka_unit_test(missing_and_strange_sections_are_refused),
		cmocka_unit_test(its_own_state_is_always_possible),
		cmocka_unit_test(made_up_state_does_no_harm),
		cmocka_unit_test(shapes_are_compared),
	};

	return cmocka_run_group_tests_name("checker-state", tests, NULL, NULL);
}
