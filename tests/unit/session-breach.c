/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A source whose target breaks the rules: whatever it says, the guest runs on here, and it is told
 * why. The target is a socket of the test's.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "session-fixture.h"

#define WAIT_MS 10000
#define ABORT 0x21u

static const uint8_t header[32] = { 'H', 'O', 'L', 'D', 'F', 'A', 'S', 'T', 1, 0, 0, 0, 1, 2 };

struct liar {
	int listener;
	const void *says;
	size_t length;
	uint32_t abort_code; /* of the source's ABORT, as a positive number; 0: none came */
};

static int listen_at(const char *uri)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	uri += strlen("unix:");
	assert_true(strlen(uri) < sizeof(address.sun_path));
	memcpy(address.sun_path, uri, strlen(uri));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static uint32_t u32_at(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

/* The records behind the stream header: is an ABORT among them, and with which code? */
static uint32_t find_abort(const uint8_t *bytes, size_t length)
{
	for (size_t at = sizeof(header); at + 12 <= length;) {
		uint32_t body = u32_at(bytes + at + 4);

		if (u32_at(bytes + at) == ABORT)
			return 0u - u32_at(bytes + at + 8);
		at += 8 + ((size_t)body + 7) / 8 * 8;
	}
	return 0;
}

/* Says what it has to say when HELLO has come, and listens to the end. */
static void *lie(void *arg)
{
	struct liar *liar = arg;
	static uint8_t heard[1 << 16];
	struct pollfd ready = { .fd = liar->listener, .events = POLLIN };
	size_t length = 0;
	bool said = false;

	if (poll(&ready, 1, WAIT_MS) != 1)
		return NULL;
	ready.fd = accept(liar->listener, NULL, NULL);
	while (length < sizeof(heard) && poll(&ready, 1, WAIT_MS) == 1) {
		ssize_t got = recv(ready.fd, heard + length, sizeof(heard) - length, 0);

		if (got <= 0)
			break;
		length += (size_t)got;
		if (!said)
			(void)send(ready.fd, liar->says, liar->length, MSG_NOSIGNAL);
		said = true;
	}
	liar->abort_code = find_abort(heard, length);
	(void)close(ready.fd);
	return NULL;
}

static void run_against(const void *says, size_t length)
{
	struct pair pair;
	struct liar liar = { .says = says, .length = length };
	struct side *source = &pair.source;

	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20, .channels = 1 });
	liar.listener = listen_at(pair.uri);
	assert_int_equal(pthread_create(&pair.target.thread, NULL, lie, &liar), 0);
	assert_int_equal(hf_session_new(&source->config, &source->session, &source->error), 0);
	(void)hf_session_run(source->session, &source->error);
	source->outcome = hf_session_outcome(source->session);
	source->session = hf_session_free(source->session);
	assert_int_equal(pthread_join(pair.target.thread, NULL), 0);

	assert_int_equal(source->outcome, HF_OUTCOME_HOME);
	assert_int_equal(source->error.code, HF_E_PROTOCOL);
	assert_true(atomic_load(&source->running));
	assert_int_equal(liar.abort_code, -HF_E_PROTOCOL);
	(void)close(liar.listener);
	(void)unlink(pair.uri + strlen("unix:"));
	pair_done(&pair);
}

/* More of them than a session keeps events, all in one read. */
static void test_many_records_out_of_order_are_one_breach(void **state)
{
	uint8_t says[sizeof(header) + 200 * 8] = { 0 };

	(void)state;
	memcpy(says, header, sizeof(header));
	for (size_t i = 0; i < 200; i++)
		says[sizeof(header) + i * 8] = 0x22; /* BYE */
	run_against(says, sizeof(says));
}

/* An unknown record that may not be skipped: the framing itself is broken. */
static void test_a_record_that_is_unknown_is_answered_by_abort(void **state)
{
	uint8_t says[sizeof(header) + 8] = { 0 };

	(void)state;
	memcpy(says, header, sizeof(header));
	says[sizeof(header)] = 0x7f;
	run_against(says, sizeof(says));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_records_out_of_order_are_one_breach),
		cmocka_unit_test(test_a_record_that_is_unknown_is_answered_by_abort),
	};

	return cmocka_run_group_tests_name("session-breach", tests, NULL, NULL);
}
