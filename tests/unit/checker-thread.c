/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker's workload in a thread guest: alone and undisturbed it finds nothing, and whatever is
 * damaged (a page, an interrupt, what a device wrote) it finds and names. Migration of it is tested
 * elsewhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/guest.h"
#include "guest/work.h"

#define DEADLINE_MS 60000

static const char *const two_devices[] = { "sim:state=64K", "sim:state=64K" };

struct fixture {
	char path[64];
	struct guest *guest;
	char text[1 << 18];
};

static void begin(struct fixture *f, const char *command_line, uint32_t devices)
{
	struct guest_config config = {
		.memory_bytes = 32ull << 20,
		.vcpu_count = 2,
		.command_line = command_line,
		.devices = two_devices,
		.device_count = devices,
	};
	char serial[80];
	struct hf_error err = { 0 };
	int fd;

	(void)snprintf(f->path, sizeof(f->path), "/tmp/holdfast-checker-XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	(void)close(fd);
	(void)snprintf(serial, sizeof(serial), "file:%s", f->path);
	config.serial = serial;
	if (thread_guest_new(&config, &f->guest, &err) != 0)
		fail_msg("thread_guest_new: %s", err.text);
}

static void run(struct fixture *f)
{
	struct hf_error err = { 0 };

	assert_int_equal(f->guest->machine.ops->run(f->guest->machine.self, &err), 0);
}

static void stop(struct fixture *f)
{
	struct hf_error err = { 0 };

	if (f->guest->machine.ops->stop(f->guest->machine.self, &err) != 0)
		fail_msg("stop: %s", err.text);
}

static void read_console(struct fixture *f)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, f->text, sizeof(f->text) - 1);

	assert_true(n >= 0);
	f->text[n] = '\0';
	(void)close(fd);
}

/* Until the guest powers off by itself. */
static int wait_for_end(struct fixture *f)
{
	struct pollfd event = { .fd = f->guest->event_fd, .events = POLLIN };

	assert_int_equal(poll(&event, 1, DEADLINE_MS), 1);
	assert_int_equal(f->guest->ops->events(f->guest), GUEST_EVENT_SHUTDOWN);
	read_console(f);
	return f->guest->exit_status;
}

/* The number behind the last "name" on the console. */
static uint64_t last_number(const struct fixture *f, const char *name)
{
	const char *at = f->text, *found = NULL;

	while ((at = strstr(at, name)))
		found = at++;
	return found == NULL ? 0 : strtoull(found + strlen(name), NULL, 10);
}

/* Until the console tells of so many passes; it is a file, so look again now and then. */
static void wait_for_pass(struct fixture *f, uint64_t pass)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	int i;

	for (i = 0; i < DEADLINE_MS / 10; i++) {
		read_console(f);
		if (last_number(f, " pass=") >= pass)
			return;
		(void)nanosleep(&pause, NULL);
	}
	fail_msg("no pass %u in:\n%s", (unsigned int)pass, f->text);
}

static void end(struct fixture *f)
{
	f->guest->ops->free(f->guest);
	(void)unlink(f->path);
	free(f);
}

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	return f;
}

static void alone_it_is_clean(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	begin(f, "mem=16 zero=20 comp=20 stop_after=1 report=50 dma=max", 2);
	run(f);
	if (wait_for_end(f) != (int)WORK_EXIT_CLEAN)
		fail_msg("not clean:\n%s", f->text);
	assert_non_null(strstr(f->text, "checker: start vcpus=2 mem_mib=16 pages=4096 devices=2 "));
	assert_non_null(strstr(f->text, "checker: done clean pass="));
	assert_null(strstr(f->text, "CORRUPT"));
	/* A host under load is slow: how much is not the point. */
	assert_true(last_number(f, " pass=") >= 1);
	assert_true(last_number(f, " dma=") >= 8);
	assert_true(last_number(f, " irqs=") >= last_number(f, " dma="));
	assert_true(last_number(f, " beats=") >= 10);
	assert_int_equal(last_number(f, " spurious="), 0);
	end(f);
}

static void standing_still_is_no_loss(void **state)
{
	struct timespec pause = { .tv_nsec = 300000000 };
	struct fixture *f = fixture_new();
	size_t before;

	(void)state;
	begin(f, "mem=8 report=20", 2);
	run(f);
	wait_for_pass(f, 2);
	stop(f);
	read_console(f);
	before = strlen(f->text);
	(void)nanosleep(&pause, NULL); /* the length of the gap, which is what is measured */
	read_console(f);
	assert_int_equal(strlen(f->text), before);
	run(f);
	wait_for_pass(f, last_number(f, " pass=") + 3);
	stop(f);
	read_console(f);
	assert_true(last_number(f, " gap_us_max=") >= 300000);
	assert_null(strstr(f->text, "CORRUPT"));
	end(f);
}

/* A self-test damages something after the first pass: it must be found, by its name. */
static void found(const char *command_line, const char *what)
{
	struct fixture *f = fixture_new();

	begin(f, command_line, 2);
	run(f);
	assert_int_equal(wait_for_end(f), WORK_EXIT_CORRUPT);
	if (!strstr(f->text, what))
		fail_msg("no '%s' in:\n%s", what, f->text);
	assert_null(strstr(f->text, "done clean"));
	end(f);
}

static void a_wrong_word_is_found(void **state)
{
	(void)state;
	found("mem=8 selftest=word", "CORRUPT what=page-damaged where=vcpu0:page");
}

static void a_stale_page_is_found(void **state)
{
	(void)state;
	found("mem=8 selftest=stale", "CORRUPT what=page-stale where=vcpu0:page");
}

static void a_lost_page_is_found(void **state)
{
	(void)state;
	found("mem=8 selftest=lost touch=header", "CORRUPT what=page-lost where=vcpu0:page");
}

static void a_page_and_its_table_both_stale_are_found(void **state)
{
	(void)state;
	found("mem=8 selftest=table", "CORRUPT what=generation-table where=vcpu0");
}

static void a_lost_interrupt_is_found(void **state)
{
	(void)state;
	found("mem=8 selftest=irq", "CORRUPT what=interrupt-lost where=device0");
}

static void damaged_dma_is_found(void **state)
{
	(void)state;
	found("mem=8 selftest=dma", "CORRUPT what=dma-data where=device0:slot");
}

static void a_command_carried_out_twice_is_found(void **state)
{
	(void)state;
	found("mem=8 selftest=command", " where=device0");
}

/* Not by the guest's own hand: a page of its memory, changed from outside while it is stopped. */
static void damage_from_outside_is_found(void **state)
{
	struct fixture *f = fixture_new();
	const struct hf_memory_region *region;
	unsigned char *middle;

	(void)state;
	begin(f, "report=20", 2);
	run(f);
	wait_for_pass(f, 1);
	stop(f);
	region = &f->guest->regions[0];
	middle = (unsigned char *)region->host + region->size / 2;
	middle[8] ^= 1; /* the generation of whatever page this is */
	run(f);
	assert_int_equal(wait_for_end(f), WORK_EXIT_CORRUPT);
	assert_non_null(strstr(f->text, ":word1 "));
	end(f);
}

/* A device that starts anew, as after a reset that nobody told the guest of. */
static void a_reset_device_is_found(void **state)
{
	struct fixture *f = fixture_new();
	const struct hf_device *device;

	(void)state;
	begin(f, "mem=8 report=20", 1);
	run(f);
	wait_for_pass(f, 1);
	stop(f);
	device = &f->guest->devices[0].device;
	assert_int_equal(device->ops->reset(device->self), 0);
	run(f);
	assert_int_equal(wait_for_end(f), WORK_EXIT_CORRUPT);
	assert_non_null(strstr(f->text, "where=device0"));
	end(f);
}

static void a_wrong_knob_is_refused(void **state)
{
	static const char *const lines[] = { "mem",	"mem=x",	"zero=60 comp=60",
					     "pages=1", "dma_len=300k", "mem=4096",
					     "vcpus=3" };
	struct guest_config config = {
		.memory_bytes = 32ull << 20,
		.vcpu_count = 2,
		.serial = "none",
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct guest *guest = NULL;
		struct hf_error err = { 0 };

		config.command_line = lines[i];
		assert_int_equal(thread_guest_new(&config, &guest, &err), HF_E_INVALID);
		assert_null(guest);
		assert_true(err.text[0] != '\0');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alone_it_is_clean),
		cmocka_unit_test(standing_still_is_no_loss),
		cmocka_unit_test(a_wrong_word_is_found),
		cmocka_unit_test(a_stale_page_is_found),
		cmocka_unit_test(a_lost_page_is_found),
		cmocka_unit_test(a_page_and_its_table_both_stale_are_found),
		cmocka_unit_test(a_lost_interrupt_is_found),
		cmocka_unit_test(damaged_dma_is_found),
		cmocka_unit_test(a_command_carried_out_twice_is_found),
		cmocka_unit_test(damage_from_outside_is_found),
		cmocka_unit_test(a_reset_device_is_found),
		cmocka_unit_test(a_wrong_knob_is_refused),
	};

	return cmocka_run_group_tests_name("checker-thread", tests, NULL, NULL);
}
