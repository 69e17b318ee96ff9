/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A target that answers nothing that was asked, but is never silent either: skippable records of a
 * kind that nobody knows, as fast as the source takes them. Its deadlines must pass all the same.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "session-fixture.h"

/* docs/stream.md, section 2: version 1.0, control, to the source. */
static const uint8_t header[32] = { 'H', 'O', 'L', 'D', 'F', 'A', 'S', 'T', 1, 0, 0, 0, 1, 2 };

/* Section 3: length 0, type 0x8000007e. */
static const uint8_t record[8] = { 0x7e, 0, 0, 0x80 };

/* Until the source has gone. */
static void *flood(void *arg)
{
	static uint8_t records[1 << 16];
	int fd = accept(*(int *)arg, NULL, NULL);

	for (size_t i = 0; i < sizeof(records); i += sizeof(record))
		memcpy(records + i, record, sizeof(record));
	if (send(fd, header, sizeof(header), MSG_NOSIGNAL) == (ssize_t)sizeof(header))
		while (send(fd, records, sizeof(records), MSG_NOSIGNAL) == (ssize_t)sizeof(records))
			;
	(void)close(fd);
	return NULL;
}

static int listen_on_loopback(char *uri, size_t size)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	(void)snprintf(uri, size, "tcp:127.0.0.1:%u", ntohs(address.sin_port));
	return fd;
}

static void test_a_target_that_only_talks_is_given_up(void **state)
{
	struct pair pair;
	struct side *source = &pair.source;
	char uri[64];
	int listener = listen_on_loopback(uri, sizeof(uri));

	(void)state;
	pair_init(&pair, &(struct pair_config){ .memory_bytes = 1 << 20, .channels = 1 });
	source->config.wait_us_max = source->config.arc_us_max = 1500000;
	source->config.uri = uri;
	assert_int_equal(pthread_create(&pair.target.thread, NULL, flood, &listener), 0);
	assert_int_equal(hf_session_new(&source->config, &source->session, &source->error), 0);
	(void)hf_session_run(source->session, &source->error);
	assert_int_equal(hf_session_outcome(source->session), HF_OUTCOME_HOME);
	assert_int_equal(source->error.code, HF_E_DEADLINE);
	source->session = hf_session_free(source->session);
	assert_int_equal(pthread_join(pair.target.thread, NULL), 0);
	(void)close(listener);
	pair_done(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_target_that_only_talks_is_given_up),
	};

	return cmocka_run_group_tests_name("session-flood", tests, NULL, NULL);
}
