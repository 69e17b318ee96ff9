/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the target's guard lets through of QEMU's return path: all messages, however they are cut
 * into pieces, but not the last word, nor what follows it; and the note that it leaves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "guard/link.h"
#include "guard/restart.h"
#include "guard/target.h"

/* PONG, SWITCHOVER_ACK, REQ_PAGES with 12 bytes, RESUME_ACK; type 1 inside of payloads. */
static const uint8_t messages[] = {
	0, 2, 0, 4,  0, 1, 0, 4, /* */
	0, 7, 0, 0, /* */
	0, 4, 0, 12, 0, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 4, /* */
	0, 6, 0, 4,  0, 0, 0, 1,
};
static const uint8_t shut[] = { 0, 1, 0, 4, 0x01, 0x02, 0x03, 0x04 };

struct fixture {
	struct guard_target target;
	uint8_t out[256];
	size_t size;
};

static void begin(struct fixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	assert_int_equal(pthread_mutex_init(&fixture->target.lock, NULL), 0);
	assert_int_equal(pthread_cond_init(&fixture->target.changed, NULL), 0);
}

static void end(struct fixture *fixture)
{
	(void)pthread_mutex_destroy(&fixture->target.lock);
	(void)pthread_cond_destroy(&fixture->target.changed);
}

static void give(struct fixture *fixture, uint32_t index, const uint8_t *bytes, size_t size)
{
	uint8_t *buf = malloc(size + LINK_FILTER_SPARE); /* so that ASan sees what is beyond */
	size_t passed;

	assert_non_null(buf);
	memcpy(buf, bytes, size);
	passed = guard_target_filter(&fixture->target, index, buf, size);
	assert_true(passed <= size + LINK_FILTER_SPARE);
	assert_true(fixture->size + passed <= sizeof(fixture->out));
	memcpy(fixture->out + fixture->size, buf, passed);
	fixture->size += passed;
	free(buf);
}

static void assert_all_passed(struct fixture *fixture)
{
	assert_int_equal(fixture->size, sizeof(messages));
	assert_memory_equal(fixture->out, messages, sizeof(messages));
}

static void messages_pass_and_the_last_word_does_not(void **state)
{
	uint8_t stream[sizeof(messages) + sizeof(shut) + sizeof(messages)];
	const size_t last = sizeof(messages) + sizeof(shut);

	(void)state;
	memcpy(stream, messages, sizeof(messages));
	memcpy(stream + sizeof(messages), shut, sizeof(shut));
	memcpy(stream + last, messages, sizeof(messages));
	for (size_t one = 0; one <= sizeof(stream); one++)
		for (size_t two = one; two <= sizeof(stream); two++) {
			struct fixture fixture;

			begin(&fixture);
			give(&fixture, 0, stream, one);
			if (two < last)
				assert_true(fixture.size <= sizeof(messages));
			give(&fixture, 0, stream + one, two - one);
			assert_int_equal(fixture.target.shut, two >= last);
			give(&fixture, 0, stream + two, sizeof(stream) - two);
			assert_all_passed(&fixture);
			assert_true(fixture.target.shut);
			assert_int_equal(fixture.target.shut_value, 0x01020304);
			end(&fixture);
		}
}

/* QEMU waits for a PONG: what is whole must not wait for what comes behind it. */
static void whole_messages_are_not_held_back(void **state)
{
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	give(&fixture, 0, messages, sizeof(messages));
	assert_all_passed(&fixture);
	give(&fixture, 0, shut, 3);
	give(&fixture, 0, shut + 3, 4);
	assert_false(fixture.target.shut);
	assert_all_passed(&fixture);
	end(&fixture);
}

/* multifd channels have no return path; whatever comes there is none of the guard's business. */
static void other_connections_pass_as_they_are(void **state)
{
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	give(&fixture, 1, shut, sizeof(shut));
	assert_int_equal(fixture.size, sizeof(shut));
	assert_false(fixture.target.shut);
	end(&fixture);
}

/* ---- the note ------------------------------------------------------------------------------- */

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void a_note_is_read_as_it_was_written(void **state)
{
	const struct guard_note note = { .side = "host.1.2",
					 .guest = "web",
					 .ledger = "file:/tmp/l",
					 .plan = { .multifd = 3, .runs = true } };
	static const char *const bad[] = {
		"",
		"{}",
		"[1]",
		"{\"version\": 2, \"side\": \"s\", \"guest\": \"g\", \"ledger\": \"none\", "
		"\"multifd\": 0, \"runs\": true}",
		"{\"version\": 1, \"side\": \"\", \"guest\": \"g\", \"ledger\": \"none\", "
		"\"multifd\": 0, \"runs\": true}",
		"{\"version\": 1, \"side\": \"s\", \"guest\": \"g\", \"ledger\": \"none\", "
		"\"multifd\": -1, \"runs\": true}",
	};
	char path[] = "/tmp/hf-guard-note.XXXXXX";
	struct guard_note now;
	struct hf_error err = { 0 };
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	(void)close(fd);
	assert_int_equal(guard_note_write(path, &note, &err), 0);
	assert_int_equal(guard_note_read(path, &now, &err), 0);
	assert_string_equal(now.side, note.side);
	assert_string_equal(now.guest, note.guest);
	assert_string_equal(now.ledger, note.ledger);
	assert_int_equal(now.plan.multifd, 3);
	assert_true(now.plan.runs);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&err, 0, sizeof(err));
		write_text(path, bad[i]);
		assert_int_equal(guard_note_read(path, &now, &err), HF_E_STREAM_DAMAGED);
		assert_non_null(strstr(err.text, path));
	}
	(void)unlink(path);
	memset(&err, 0, sizeof(err));
	assert_int_equal(guard_note_read(path, &now, &err), HF_E_INVALID);
	memset(&err, 0, sizeof(err));
	assert_int_equal(guard_note_write("/nonexistent/note", &note, &err), HF_E_SYSTEM);
	assert_non_null(strstr(err.text, "/nonexistent/note"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_pass_and_the_last_word_does_not),
		cmocka_unit_test(whole_messages_are_not_held_back),
		cmocka_unit_test(other_connections_pass_as_they_are),
		cmocka_unit_test(a_note_is_read_as_it_was_written),
	};

	return cmocka_run_group_tests_name("guard-return", tests, NULL, NULL);
}
