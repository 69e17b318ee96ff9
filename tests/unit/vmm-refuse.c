/* SPDX-License-Identifier: BSD-3-Clause */
/* What does not fit is refused and named: another machine's shape, a state that is not whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm-testing.h"

PROGRAM(idle, "1: hlt; jmp 1b");

/* ---- shape ---------------------------------------------------------------------------------- */

static uint32_t describe(struct kvm_guest *guest, uint8_t *shape)
{
	struct hf_error err = { 0 };
	uint32_t length;

	if (kvm_machine_ops.describe(guest, shape, HF_MACHINE_SHAPE_MAX, &length, &err) != 0)
		fail_msg("%s", err.text);
	return length;
}

static void assert_refused(struct kvm_guest *target, const uint8_t *shape, uint32_t length,
			   const char *words)
{
	struct hf_error err = { 0 };

	assert_int_equal(kvm_machine_ops.check(target, shape, length, &err), HF_E_MISMATCH);
	print_message("# %s\n", err.text);
	if (strstr(err.text, words) == NULL)
		fail_msg("'%s' does not say '%s'", err.text, words);
}

static void another_shape_is_named(void **state)
{
	static const struct {
		struct guest_config config;
		const char *words;
	} others[] = {
		{ { .vcpu_count = 2 }, "1 vCPUs at the source and 2 at the target" },
		{ { .memory_bytes = 16u << 20 }, "8388608 bytes of memory" },
	};
	uint8_t *shape = malloc(HF_MACHINE_SHAPE_MAX);
	struct kvm_guest *source;
	uint32_t length;

	(void)state;
	require_kvm();
	source = guest_with(&idle, (struct guest_config){ 0 }, NULL, 0);
	length = describe(source, shape);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct kvm_guest *target = guest_with(NULL, others[i].config, NULL, 0);

		assert_refused(target, shape, length, others[i].words);
		guest_end(target);
	}
	guest_end(source);
	free(shape);
}

static void a_missing_cpu_feature_is_named(void **state)
{
	uint8_t *shape = malloc(HF_MACHINE_SHAPE_MAX);
	struct kvm_guest *source, *target;
	uint32_t length;

	(void)state;
	require_kvm();
	source = guest_with(&idle, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	for (uint32_t i = 0; i < source->cpuid.count; i++) {
		struct kvm_cpuid_entry2 *entry = &source->cpuid.entries[i];

		if (entry->function == 1)
			entry->ecx |= 1u << 5; /* VMX: never offered */
	}
	length = describe(source, shape);
	assert_refused(target, shape, length, "CPUID 1.0 ECX bit 5");
	for (uint32_t i = 0; i < target->cpuid.count; i++) {
		struct kvm_cpuid_entry2 *entry = &target->cpuid.entries[i];

		if (entry->function == 1) {
			entry->ecx |= 1u << 5;
			entry->ecx &= ~(1u << 13); /* a host without CMPXCHG16B */
		}
	}
	assert_refused(target, shape, length, "feature cx16 (CPUID 1.0 ECX bit 13)");
	guest_end(source);
	guest_end(target);
	free(shape);
}

static void another_tsc_rate_is_named(void **state)
{
	uint8_t *shape = malloc(HF_MACHINE_SHAPE_MAX);
	struct kvm_guest *source, *target;
	uint32_t length;

	(void)state;
	require_kvm();
	source = guest_with(&idle, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	target->vm.has_tsc_scaling = false;
	source->tsc.khz += source->tsc.khz / 10;
	length = describe(source, shape);
	assert_refused(target, shape, length, "cannot scale");
	guest_end(source);
	guest_end(target);
	free(shape);
}

/* The guest keeps the CPU it was started with, though the target's host has more. */
static void the_target_gets_the_sources_cpu(void **state)
{
	struct kvm_guest *source, *target;
	struct cpuid *seen;

	(void)state;
	require_kvm();
	source = guest_with(&idle, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	for (uint32_t i = 0; i < source->cpuid.count; i++)
		if (source->cpuid.entries[i].function == 7)
			source->cpuid.entries[i].ebx = 0;
	check_shape(source, target);
	seen = &target->cpuid;
	assert_int_equal(seen->count, source->cpuid.count);
	assert_memory_equal(seen->entries, source->cpuid.entries,
			    seen->count * sizeof(seen->entries[0]));
	guest_end(source);
	guest_end(target);
}

static void a_damaged_shape_is_refused(void **state)
{
	uint8_t *shape = malloc(HF_MACHINE_SHAPE_MAX);
	struct kvm_guest *source, *target;
	uint32_t length;

	(void)state;
	require_kvm();
	source = guest_with(&idle, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	length = describe(source, shape);
	for (uint32_t cut = 0; cut < length; cut++)
		assert_int_equal(kvm_machine_ops.check(target, shape, cut, NULL), HF_E_MISMATCH);
	assert_int_equal(kvm_machine_ops.check(target, shape, length + 1, NULL), HF_E_MISMATCH);
	assert_int_equal(kvm_machine_ops.describe(source, shape, 16, &length, NULL), HF_E_BUG);
	guest_end(source);
	guest_end(target);
	free(shape);
}

/* ---- state ---------------------------------------------------------------------------------- */

struct saved {
	struct hf_state_section section;
	uint8_t body[HF_STATE_SECTION_MAX];
};

static uint32_t save_all(struct kvm_guest *guest, struct saved *saved, uint32_t capacity)
{
	struct hf_error err = { 0 };

	for (uint32_t i = 0; i < capacity; i++) {
		int r = kvm_machine_ops.state_save(guest, i, &saved[i].section, saved[i].body,
						   sizeof(saved[i].body), &err);

		if (r == HF_STATE_END)
			return i;
		if (r != 0)
			fail_msg("%s", err.text);
	}
	fail_msg("more than %u sections", capacity);
	return 0;
}

#define SECTIONS_MAX 16u

static void a_section_that_did_not_come_is_named(void **state)
{
	struct saved *saved = calloc(SECTIONS_MAX, sizeof(*saved));
	struct kvm_guest *source;
	uint32_t count;

	(void)state;
	require_kvm();
	source = guest_with(&idle, (struct guest_config){ .vcpu_count = 2 }, NULL, 0);
	count = save_all(source, saved, SECTIONS_MAX);
	assert_int_equal(count, 8);
	for (uint32_t left_out = 1; left_out < count; left_out++) {
		struct kvm_guest *target =
			guest_with(NULL, (struct guest_config){ .vcpu_count = 2 }, NULL, 0);
		struct hf_error err = { 0 };

		for (uint32_t i = 0; i < count; i++)
			if (i != left_out)
				assert_int_equal(kvm_machine_ops.state_load(target,
									    &saved[i].section,
									    saved[i].body, &err),
						 0);
		assert_int_equal(kvm_machine_ops.state_check(target, &err), HF_E_MACHINE_STATE);
		assert_non_null(strstr(err.text, "did not come"));
		guest_end(target);
	}
	guest_end(source);
	free(saved);
}

static void a_wrong_section_is_refused(void **state)
{
	struct saved *saved = calloc(SECTIONS_MAX, sizeof(*saved));
	struct kvm_guest *source, *target;
	struct hf_state_section section;
	struct saved *vcpu;

	(void)state;
	require_kvm();
	source = guest_with(&idle, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	vcpu = &saved[save_all(source, saved, SECTIONS_MAX) - 1];
	assert_string_equal(vcpu->section.name, "vcpu");
	/* before the clock */
	assert_int_equal(kvm_machine_ops.state_load(target, &vcpu->section, vcpu->body, NULL),
			 HF_E_MACHINE_STATE);
	assert_int_equal(kvm_machine_ops.state_load(target, &saved[0].section, saved[0].body, NULL),
			 0);
	section = vcpu->section;
	section.instance = 1;
	assert_int_equal(kvm_machine_ops.state_load(target, &section, vcpu->body, NULL),
			 HF_E_MACHINE_STATE);
	section = vcpu->section;
	section.version++;
	assert_int_equal(kvm_machine_ops.state_load(target, &section, vcpu->body, NULL),
			 HF_E_MACHINE_STATE);
	section = vcpu->section;
	memset(section.name, 'x', sizeof(section.name)); /* no NUL */
	assert_int_equal(kvm_machine_ops.state_load(target, &section, vcpu->body, NULL),
			 HF_E_MACHINE_STATE);
	section = vcpu->section;
	vcpu->body[0] = 99; /* the first part's tag */
	assert_int_equal(kvm_machine_ops.state_load(target, &section, vcpu->body, NULL),
			 HF_E_MACHINE_STATE);
	guest_end(source);
	guest_end(target);
	free(saved);
}

/* Each section, cut at each length: refused, and never read past its end (valgrind, ASan). */
static void a_cut_section_is_refused(void **state)
{
	struct saved *saved = calloc(SECTIONS_MAX, sizeof(*saved));
	struct kvm_guest *source, *target;
	uint32_t count;

	(void)state;
	require_kvm();
	source = guest_with(&idle, (struct guest_config){ 0 }, NULL, 0);
	target = guest_with(NULL, (struct guest_config){ 0 }, NULL, 0);
	count = save_all(source, saved, SECTIONS_MAX);
	assert_int_equal(kvm_machine_ops.state_load(target, &saved[0].section, saved[0].body, NULL),
			 0);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t step = saved[i].section.length > 1024 ? 61 : 1;

		for (uint32_t cut = 0; cut < saved[i].section.length; cut += step) {
			struct hf_state_section section = saved[i].section;
			uint8_t *exact = malloc(cut + 1);

			memcpy(exact, saved[i].body, cut);
			section.length = cut;
			assert_int_equal(kvm_machine_ops.state_load(target, &section, exact, NULL),
					 HF_E_MACHINE_STATE);
			free(exact);
		}
	}
	guest_end(source);
	guest_end(target);
	free(saved);
}

/* A buffer that is too small is an error at every size, never a short section. */
static void a_section_that_does_not_fit_is_an_error(void **state)
{
	struct saved *saved = calloc(1, sizeof(*saved));
	struct kvm_guest *source;

	(void)state;
	require_kvm();
	source = guest_with(&idle, (struct guest_config){ 0 }, NULL, 0);
	for (uint32_t index = 0; index < 7; index++) {
		int r = kvm_machine_ops.state_save(source, index, &saved->section, saved->body,
						   sizeof(saved->body), NULL);
		uint32_t length = saved->section.length;

		assert_int_equal(r, 0);
		for (uint32_t capacity = 0; capacity < length; capacity += length / 16 + 1)
			assert_int_equal(kvm_machine_ops.state_save(source, index, &saved->section,
								    saved->body, capacity, NULL),
					 HF_E_MACHINE_STATE);
	}
	guest_end(source);
	free(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_shape_is_named),
		cmocka_unit_test(a_missing_cpu_feature_is_named),
		cmocka_unit_test(another_tsc_rate_is_named),
		cmocka_unit_test(the_target_gets_the_sources_cpu),
		cmocka_unit_test(a_damaged_shape_is_refused),
		cmocka_unit_test(a_section_that_did_not_come_is_named),
		cmocka_unit_test(a_wrong_section_is_refused),
		cmocka_unit_test(a_cut_section_is_refused),
		cmocka_unit_test(a_section_that_does_not_fit_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
