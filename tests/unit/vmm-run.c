/* SPDX-License-Identifier: BSD-3-Clause */
/* How a KVM guest boots, runs, stops, is slowed down, tracked, and ends. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-testing.h"

/* Says "ok" and the first letter of the command line, then ends with 42. */
PROGRAM(hello, "mov 24(%ebx), %esi\n" /* start_info: the command line */
	       "mov (%esi), %cl\n"
	       "mov $0x3fd, %edx; 1: in %dx, %al; test $0x20, %al; jz 1b\n"
	       "mov $0x3f8, %edx; mov $'o', %al; out %al, %dx; mov $'k', %al; out %al, %dx\n"
	       "mov %cl, %al; out %al, %dx\n"
	       "mov $42, %al\n" PROGRAM_EXIT);

PROGRAM(power_off, "mov $0x604, %edx; mov $0x2000, %eax; out %ax, %dx; 1: hlt; jmp 1b");

/* An empty IDT, and an exception. */
PROGRAM(triple_fault, "lidt 0x200000; ud2");

/* Counts, one page further each time, over the 256 pages from 2 MiB on. */
PROGRAM(writer, "xor %eax, %eax\n"
		"1: mov %eax, %edi; and $0xff, %edi; shl $12, %edi; add $0x200000, %edi\n"
		"mov %eax, (%edi); inc %eax; mov %eax, 0x300000; jmp 1b");

PROGRAM(counter, "1: incl 0x200000; jmp 1b");

static void boots_prints_and_exits(void **state)
{
	char path[] = "/tmp/vmm-run-serial-XXXXXX";
	char serial[sizeof(path) + 5], text[8] = { 0 };
	int fd = mkstemp(path);
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1); /* the console appends */
	(void)snprintf(serial, sizeof(serial), "file:%s", path);
	guest = guest_with(&hello, (struct guest_config){ .serial = serial, .command_line = "zap" },
			   NULL, 0);
	guest_run(guest);
	assert_int_equal(wait_event(guest), GUEST_EVENT_SHUTDOWN);
	assert_int_equal(guest->guest.exit_status, 42);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 4);
	assert_string_equal(text, "xokz");
	guest_end(guest);
	(void)close(fd);
	(void)unlink(path);
}

static void powers_off(void **state)
{
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(&power_off, (struct guest_config){ 0 }, NULL, 0);
	guest_run(guest);
	assert_int_equal(wait_event(guest), GUEST_EVENT_SHUTDOWN);
	assert_int_equal(guest->guest.exit_status, 0);
	guest_stop(guest);
	guest_run(guest); /* it stays off, and says so again */
	assert_int_equal(wait_event(guest), GUEST_EVENT_SHUTDOWN);
	guest_end(guest);
}

static void a_triple_fault_is_a_crash(void **state)
{
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(&triple_fault, (struct guest_config){ 0 }, NULL, 0);
	guest_run(guest);
	assert_int_equal(wait_event(guest), GUEST_EVENT_CRASH);
	print_message("# %s\n", guest->guest.crash_text);
	assert_non_null(strstr(guest->guest.crash_text, "triple fault"));
	guest_end(guest);
}

static void stopped_it_does_nothing(void **state)
{
	struct kvm_guest *guest;
	volatile uint32_t *count;

	(void)state;
	require_kvm();
	guest = guest_with(&counter, (struct guest_config){ .vcpu_count = 2 }, NULL, 0);
	count = guest_at(guest, SCRATCH_GPA);
	assert_int_equal(*count, 0); /* it is made paused */
	for (uint32_t i = 0; i < 50; i++) {
		const struct timespec while_nothing_happens = { .tv_nsec = 200000 };
		uint32_t before = *count, after;

		guest_run(guest);
		(void)wait_word_change(count, before);
		guest_stop(guest);
		guest_stop(guest); /* idempotent */
		after = *count;
		(void)nanosleep(&while_nothing_happens, NULL);
		assert_int_equal(*count, after);
	}
	guest_end(guest);
}

static uint64_t clock_us(clockid_t id)
{
	struct timespec now;

	assert_int_equal(clock_gettime(id, &now), 0);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* How much of 400 ms the first vCPU was on a CPU, in percent. */
static uint64_t busy_percent(const struct kvm_guest *guest)
{
	const struct timespec interval = { .tv_nsec = 400000000 };
	uint64_t cpu_us, wall_us;
	clockid_t clock;

	assert_int_equal(pthread_getcpuclockid(guest->cpus.cpus[0].thread, &clock), 0);
	cpu_us = clock_us(clock);
	wall_us = clock_us(CLOCK_MONOTONIC);
	(void)nanosleep(&interval, NULL);
	cpu_us = clock_us(clock) - cpu_us;
	wall_us = clock_us(CLOCK_MONOTONIC) - wall_us;
	return cpu_us * 100 / wall_us;
}

/* A thread of this process sleeps in KVM_RUN: system call 16, ioctl, with that request. */
static bool one_sleeps_in_kvm_run(void)
{
	DIR *tasks = opendir("/proc/self/task");
	const struct dirent *entry;
	bool found = false;

	assert_non_null(tasks);
	while (!found && (entry = readdir(tasks)) != NULL) {
		char path[300], line[128] = "";
		FILE *file;

		(void)snprintf(path, sizeof(path), "/proc/self/task/%s/syscall", entry->d_name);
		file = fopen(path, "re");
		if (file == NULL)
			continue;
		found = fgets(line, sizeof(line), file) != NULL && strncmp(line, "16 ", 3) == 0 &&
			strstr(line, " 0xae80 ") != NULL;
		(void)fclose(file);
	}
	(void)closedir(tasks);
	return found;
}

/* A handover that fails before it has stopped the vCPUs lets them run again: they do already. */
static void let_run_twice_a_sleeping_vcpu_holds_nobody_up(void **state)
{
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	/* The second vCPU is never started, and sleeps in KVM_RUN until it is. */
	guest = guest_with(&counter, (struct guest_config){ .vcpu_count = 2 }, NULL, 0);
	guest_run(guest);
	(void)wait_word_change(guest_at(guest, SCRATCH_GPA), 0);
	guest_stop(guest);
	guest_run(guest); /* not for the first time, which is another case */
	for (int i = 0; i < 10000 && !one_sleeps_in_kvm_run(); i++)
		(void)poll(NULL, 0, 1);
	assert_true(one_sleeps_in_kvm_run());
	guest_run(guest);
	guest_stop(guest);
	guest_end(guest);
}

static void throttled_it_is_off_the_cpu(void **state)
{
	struct kvm_guest *guest;
	volatile uint32_t *count;
	uint64_t free_percent, throttled_percent;
	uint32_t before;

	(void)state;
	require_kvm();
	guest = guest_with(&counter, (struct guest_config){ 0 }, NULL, 0);
	count = guest_at(guest, SCRATCH_GPA);
	guest_run(guest);
	free_percent = busy_percent(guest);
	assert_int_equal(kvm_machine_ops.throttle(guest, 90, NULL), 0);
	before = *count;
	throttled_percent = busy_percent(guest);
	print_message("# busy %ju %%, throttled by 90 %% %ju %%\n", (uintmax_t)free_percent,
		      (uintmax_t)throttled_percent);
	assert_true(*count != before);
	assert_true(throttled_percent <= 20);
	assert_int_equal(kvm_machine_ops.throttle(guest, 99, NULL), 0);
	guest_stop(guest); /* at once, though it is off for 990 ms at a time */
	assert_int_equal(kvm_machine_ops.throttle(guest, 0, NULL), 0);
	guest_run(guest);
	before = *count;
	(void)wait_word_change(count, before);
	assert_int_equal(kvm_machine_ops.throttle(guest, 100, NULL), HF_E_INVALID);
	guest_end(guest);
}

static void track(bool no_ring)
{
	const struct guest_config config = { .no_dirty_ring = no_ring };
	struct kvm_guest *guest = guest_with(&writer, config, NULL, 0);
	volatile uint32_t *count = guest_at(guest, 0x300000);
	uint64_t bitmap[(8u << 20) / 4096 / 64] = { 0 };
	struct hf_error err = { 0 };
	struct hf_memory memory;

	guest_run(guest);
	if (guest->guest.ops->memory_open(&guest->guest, &memory, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(guest->guest.ops->memory_open(&guest->guest, &memory, NULL), HF_E_BUSY);
	print_message("# %s\n", memory.ops->kind);
	assert_int_equal(memory.ops->dirty_start(memory.self), 0);
	for (uint32_t from = *count; *count - from < 512;)
		(void)wait_word_change(count, *count);
	guest_stop(guest);
	assert_int_equal(memory.ops->dirty_sync(memory.self), 0);
	assert_int_equal(memory.ops->dirty_read(memory.self, 0, bitmap), 0);
	for (uint32_t page = 0x200; page <= 0x300; page++)
		assert_true((bitmap[page / 64] & 1ull << page % 64) != 0);
	assert_true((bitmap[0x400 / 64] & 1) == 0); /* nobody writes there */
	assert_int_equal(memory.ops->dirty_stop(memory.self), 0);
	hf_memory_close(&memory);
	guest_run(guest); /* on, untracked, past any ring's size */
	for (uint32_t from = *count; *count - from < 200000;)
		(void)wait_word_change(count, *count);
	guest_end(guest);
}

static void writes_are_tracked_by_the_ring(void **state)
{
	struct vm vm;

	(void)state;
	require_kvm();
	assert_int_equal(vm_open(&vm, true, NULL), 0);
	vm_close(&vm);
	if (vm.ring_bytes == 0) {
		print_message("this host's KVM has no dirty ring\n");
		skip();
	}
	track(false);
}

static void writes_are_tracked_by_the_log(void **state)
{
	(void)state;
	require_kvm();
	track(true);
}

static void wrong_options_are_named(void **state)
{
	static const struct {
		struct guest_config config;
		const char *word;
	} wrong[] = {
		{ { .memory_bytes = 12345 }, "memory" },
		{ { .memory_bytes = 4096 }, "memory" },
		{ { .vcpu_count = HF_VCPUS_MAX + 1 }, "vcpus" },
		{ { .kernel = NULL }, "kernel" },
		{ { .kernel = "/nonexistent" }, "/nonexistent" },
		{ { .kernel = "/dev/null" }, "ELF" },
		{ { .incoming = true, .serial = "pipe" }, "pipe" },
		{ { .incoming = true, .serial = "file:" }, "serial" },
	};

	(void)state;
	require_kvm();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct hf_error err = { 0 };
		struct guest *guest;

		assert_int_equal(kvm_guest_assemble(&wrong[i].config, NULL, 0, &guest, &err),
				 HF_E_INVALID);
		if (strstr(err.text, wrong[i].word) == NULL)
			fail_msg("'%s' does not name %s", err.text, wrong[i].word);
	}
}

static void memory_has_a_hole_below_4_gib(void **state)
{
	const struct guest_config config = { .memory_bytes = 4ull << 30, .serial = "none" };
	struct kvm_guest *guest;

	(void)state;
	require_kvm();
	guest = guest_with(&power_off, config, NULL, 0);
	assert_int_equal(guest->guest.region_count, 2);
	assert_true(guest->guest.regions[0].gpa == 0);
	assert_true(guest->guest.regions[0].size == 3ull << 30);
	assert_true(guest->guest.regions[1].gpa == 4ull << 30);
	assert_true(guest->guest.regions[1].size == 1ull << 30);
	guest_end(guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(boots_prints_and_exits),
		cmocka_unit_test(powers_off),
		cmocka_unit_test(a_triple_fault_is_a_crash),
		cmocka_unit_test(stopped_it_does_nothing),
		cmocka_unit_test(let_run_twice_a_sleeping_vcpu_holds_nobody_up),
		cmocka_unit_test(throttled_it_is_off_the_cpu),
		cmocka_unit_test(writes_are_tracked_by_the_ring),
		cmocka_unit_test(writes_are_tracked_by_the_log),
		cmocka_unit_test(wrong_options_are_named),
		cmocka_unit_test(memory_has_a_hole_below_4_gib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
