/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The witness (vmm/witness.h): what it takes for a place, what it says of one that is full, and
 * that every word of a guest that is stopped and run again is in the file, in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/guest.h"
#include "vmm/witness.h"
#include "work.h"

#define VCPUS 2u
#define RUNS 5u
#define RECORDS_MAX 65536u
#define DEADLINE_MS 30000

static void refuses_what_is_no_place(void **state)
{
	static const char *const bad[] = { "",	       "1",	     ":/tmp/x",
					   "a:/tmp/x", "-1:/tmp/x",  "1:",
					   "1 :x",     "256:/tmp/x", "1:/nowhere/at/all" };
	struct hf_error err;

	(void)state;
	assert_int_equal(witness_append(1), 0); /* without a file there is nothing to do */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&err, 0, sizeof(err));
		assert_int_equal(witness_open(bad[i], &err), HF_E_INVALID);
		assert_non_null(strstr(err.text, "witness"));
	}
	assert_int_equal(witness_append(1), 0);
}

static void says_that_it_is_full(void **state)
{
	(void)state;
	assert_int_equal(witness_open("1:/dev/full", NULL), 0);
	assert_int_equal(witness_append(1), -ENOSPC);
}

static size_t records(const char *path, struct witness_record *ret_records)
{
	FILE *file = fopen(path, "rb");
	size_t count;

	assert_non_null(file);
	count = fread(ret_records, sizeof(*ret_records), RECORDS_MAX, file);
	assert_int_equal(fclose(file), 0);
	return count;
}

/* Run it until there are some more words of each vCPU than before, then stop it. */
static void run_some(struct guest *guest, const char *path, struct witness_record *ret_records)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	size_t before = records(path, ret_records);

	for (int i = 0; i < DEADLINE_MS / 5; i++) {
		assert_int_equal(guest->machine.ops->run(guest->machine.self, NULL), 0);
		(void)nanosleep(&pause, NULL); /* the guest's time: it tells nobody */
		assert_int_equal(guest->machine.ops->stop(guest->machine.self, NULL), 0);
		if (records(path, ret_records) >= before + 10)
			return;
	}
	fail_msg("the guest does not say that it runs");
}

static void has_every_word_in_order(void **state)
{
	static struct witness_record all[RECORDS_MAX];
	char path[] = "/tmp/holdfast-witness.XXXXXX", where[64];
	struct guest_config config = { .memory_bytes = 2ull << 20,
				       .vcpu_count = VCPUS,
				       .serial = "none",
				       .command_line = "witness=500" };
	uint32_t last[VCPUS] = { 0 };
	struct guest *guest = NULL;
	struct hf_error err = { 0 };
	int fd = mkstemp(path);
	size_t count;

	(void)state;
	assert_true(fd >= 0);
	(void)snprintf(where, sizeof(where), "7:%s", path);
	assert_int_equal(witness_open(where, &err), 0);
	assert_int_equal(thread_guest_new(&config, &guest, &err), 0);
	for (uint32_t i = 0; i < RUNS; i++)
		run_some(guest, path, all);
	count = records(path, all);
	for (size_t i = 0; i < count; i++) {
		uint32_t vcpu = all[i].word >> 26;

		assert_int_equal(all[i].side, 7);
		assert_true(vcpu < VCPUS);
		last[vcpu]++;
		assert_int_equal(all[i].word, WORK_WITNESS_WORD(vcpu, last[vcpu]));
	}
	for (uint32_t i = 0; i < VCPUS; i++)
		assert_true(last[i] > 0);
	guest->ops->free(guest);
	assert_int_equal(unlink(path), 0);
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_what_is_no_place),
		cmocka_unit_test(says_that_it_is_full),
		cmocka_unit_test(has_every_word_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
