/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels over sockets: addresses, listeners, deadlines, the end of a connection, captures. Speed
 * is measured in bench/.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/channel.h"
#include "base/time.h"

static char dir[] = "/tmp/hf-channel-XXXXXX";

static uint64_t soon(void)
{
	return time_now_ns() + 5 * NS_PER_S;
}

static uint64_t after_ms(uint64_t ms)
{
	return time_now_ns() + ms * NS_PER_MS;
}

/* A descriptor that a test could not have made by accident. */
static int open_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void connected(const char *listen_uri, struct listener **ret_listener,
		      struct hf_channel *ret_a, struct hf_channel *ret_b)
{
	struct hf_error err = { 0 };

	if (listener_open(listen_uri, ret_listener, &err) < 0)
		fail_msg("%s", err.text);
	if (channel_connect(listener_uri(*ret_listener), soon(), ret_a, &err) < 0)
		fail_msg("%s", err.text);
	if (listener_accept(*ret_listener, soon(), ret_b, &err) < 0)
		fail_msg("%s", err.text);
}

static void exchange(struct hf_channel *a, struct hf_channel *b)
{
	struct hf_error err = { 0 };
	char buf[6] = { 0 };

	assert_int_equal(channel_send(a, "hello", 6, soon(), &err), 0);
	assert_int_equal(channel_recv_all(b, buf, 6, soon(), &err), 0);
	assert_string_equal(buf, "hello");
	assert_int_equal(channel_send(b, "world", 6, soon(), &err), 0);
	assert_int_equal(channel_recv_all(a, buf, 6, soon(), &err), 0);
	assert_string_equal(buf, "world");
}

static void every_kind_of_address_carries_bytes_both_ways(void **state)
{
	char unix_uri[HF_URI_MAX];
	const char *uris[] = { "tcp:127.0.0.1:0", "tcp:localhost:0", "tcp::0", unix_uri };
	int before = open_fds();

	(void)state;
	(void)snprintf(unix_uri, sizeof(unix_uri), "unix:%s/every", dir);
	for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
		struct listener *listener = NULL;
		struct hf_channel a = { 0 }, b = { 0 };

		connected(uris[i], &listener, &a, &b);
		exchange(&a, &b);
		assert_true(fcntl(channel_fd(&a), F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(channel_fd(&b), F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(channel_fd(&b), F_GETFL) & O_NONBLOCK);
		channel_close(&a);
		channel_close(&b);
		assert_null(a.ops);
		listener = listener_free(listener);
	}
	assert_int_equal(open_fds(), before);
}

static void ipv6_in_brackets_works(void **state)
{
	struct listener *listener = NULL;
	struct hf_channel a = { 0 }, b = { 0 };
	int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	if (probe < 0 || access("/proc/net/if_inet6", R_OK) < 0) {
		print_message("this host has no IPv6\n");
		skip();
	}
	(void)close(probe);
	connected("tcp:[::1]:0", &listener, &a, &b);
	assert_non_null(strstr(listener_uri(listener), "tcp:[::1]:"));
	exchange(&a, &b);
	channel_close(&a);
	channel_close(&b);
	listener = listener_free(listener);
}

static void a_bad_address_is_refused_by_the_part_that_is_wrong(void **state)
{
	static const struct {
		const char *uri, *word;
		int connect_only;
	} cases[] = {
		{ "", "none of", 0 },
		{ "udp:h:1", "none of", 0 },
		{ "tcp:", "no port", 0 },
		{ "tcp:host", "no port", 0 },
		{ "tcp:host:", "port", 0 },
		{ "tcp:host:0", "port", 1 },
		{ "tcp:host:65536", "65536", 0 },
		{ "tcp:host:1x", "1x", 0 },
		{ "tcp:host:-1", "-1", 0 },
		{ "tcp::1", "no host", 1 },
		{ "tcp:[]:1", "no host", 0 },
		{ "tcp:::1:1", "brackets", 0 },
		{ "tcp:[::1:1", "']'", 0 },
		{ "tcp:[::1]1", "no port", 0 },
		{ "unix:", "no path", 0 },
		{ "fd:", "no descriptor", 0 },
		{ "fd:x", "no descriptor", 0 },
		{ "fd:99999999999", "no descriptor", 0 },
		{ "fd:1000", "fd:1000", 0 },
	};
	char longest[HF_URI_MAX + 1];
	struct listener *listener = NULL;
	struct hf_channel channel = { 0 };
	struct hf_error err = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&err, 0, sizeof(err));
		assert_int_equal(channel_connect(cases[i].uri, soon(), &channel, &err),
				 HF_E_INVALID);
		if (!strstr(err.text, cases[i].word))
			fail_msg("%s: %s", cases[i].uri, err.text);
		if (cases[i].connect_only)
			continue;
		memset(&err, 0, sizeof(err));
		assert_int_equal(listener_open(cases[i].uri, &listener, &err), HF_E_INVALID);
		if (!strstr(err.text, cases[i].word))
			fail_msg("%s: %s", cases[i].uri, err.text);
	}
	memset(longest, 'x', sizeof(longest));
	longest[HF_URI_MAX] = 0;
	memset(&err, 0, sizeof(err));
	assert_int_equal(channel_connect(longest, soon(), &channel, &err), HF_E_INVALID);
	memcpy(longest, "unix:/", 6);
	longest[5 + sizeof(((struct sockaddr_un *)0)->sun_path)] = 0; /* one too long */
	memset(&err, 0, sizeof(err));
	assert_int_equal(channel_connect(longest, soon(), &channel, &err), HF_E_INVALID);
	assert_non_null(strstr(err.text, "at most"));
	assert_null(channel.ops);
	assert_null(listener);
}

static void nobody_there_is_said_so(void **state)
{
	struct listener *listener = NULL;
	struct hf_channel channel = { 0 };
	struct hf_error err = { 0 };
	char uri[HF_URI_MAX];

	(void)state;
	assert_int_equal(listener_open("tcp:127.0.0.1:0", &listener, &err), 0);
	(void)snprintf(uri, sizeof(uri), "%s", listener_uri(listener));
	listener = listener_free(listener);
	assert_int_equal(channel_connect(uri, soon(), &channel, &err), HF_E_CONNECT);
	assert_int_equal(err.cause, ECONNREFUSED);
	assert_non_null(strstr(err.text, uri));

	memset(&err, 0, sizeof(err));
	(void)snprintf(uri, sizeof(uri), "unix:%s/nobody", dir);
	assert_int_equal(channel_connect(uri, soon(), &channel, &err), HF_E_CONNECT);
	assert_int_equal(err.cause, ENOENT);
}

static void accept_waits_until_its_deadline_and_now_does_not_wait(void **state)
{
	struct listener *listener = NULL;
	struct hf_channel channel = { 0 };
	struct hf_error err = { 0 };
	uint64_t begin;

	(void)state;
	assert_int_equal(listener_open("tcp:127.0.0.1:0", &listener, &err), 0);
	begin = time_now_ns();
	assert_int_equal(listener_accept(listener, CHANNEL_NOW, &channel, &err), 1);
	assert_int_equal(err.code, 0);
	assert_int_equal(listener_accept(listener, after_ms(50), &channel, &err), HF_E_DEADLINE);
	assert_true(time_now_ns() - begin >= 50 * NS_PER_MS);
	assert_null(channel.ops);
	listener = listener_free(listener);
}

static void a_full_unix_queue_meets_the_deadline(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct hf_channel channels[4] = { 0 };
	struct hf_error err = { 0 };
	char uri[HF_URI_MAX];
	unsigned int made = 0;
	int fd, r = 0;

	(void)state;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/full", dir);
	(void)snprintf(uri, sizeof(uri), "unix:%s", addr.sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 0), 0);
	while (made < 4 && r == 0) {
		r = channel_connect(uri, after_ms(50), &channels[made], &err);
		made += r == 0;
	}
	assert_int_equal(r, HF_E_DEADLINE);
	for (unsigned int i = 0; i < made; i++)
		channel_close(&channels[i]);
	(void)close(fd);
}

static void send_and_receive_keep_their_deadlines(void **state)
{
	struct hf_channel a = { 0 }, b = { 0 };
	struct hf_error err = { 0 };
	size_t size = 64u << 20;
	char *buf = calloc(1, size);
	uint64_t begin;

	(void)state;
	assert_non_null(buf);
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	begin = time_now_ns();
	assert_int_equal(channel_recv_all(&a, buf, 1, after_ms(40), &err), HF_E_DEADLINE);
	memset(&err, 0, sizeof(err));
	assert_int_equal(channel_send(&a, buf, size, after_ms(40), &err), HF_E_DEADLINE);
	assert_true(time_now_ns() - begin >= 80 * NS_PER_MS);
	assert_true(time_now_ns() - begin < 5 * NS_PER_S);
	channel_close(&a);
	channel_close(&b);
	free(buf);
}

static void a_closed_peer_is_0_to_the_receiver_and_lost_to_the_sender(void **state)
{
	struct hf_channel a = { 0 }, b = { 0 };
	struct hf_error err = { 0 };
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };

	(void)state;
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	channel_close(&b);
	assert_int_equal(channel_recvv(&a, &iov, 1, soon(), &err), 0);
	assert_int_equal(channel_recv_all(&a, &byte, 1, soon(), &err), HF_E_CONNECTION_LOST);
	memset(&err, 0, sizeof(err));
	assert_int_equal(channel_send(&a, &byte, 1, soon(), &err), HF_E_CONNECTION_LOST);
	assert_int_equal(err.cause, EPIPE);
	channel_close(&a);
}

static void *receive_one(void *arg)
{
	struct hf_channel *channel = arg;
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };

	return (void *)(intptr_t)channel_recvv(channel, &iov, 1, soon(), NULL);
}

static void shutdown_ends_a_receive_in_another_thread(void **state)
{
	struct hf_channel a = { 0 }, b = { 0 };
	struct hf_error err = { 0 };
	uint64_t begin = time_now_ns();
	pthread_t thread;
	void *result;

	(void)state;
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	assert_int_equal(pthread_create(&thread, NULL, receive_one, &a), 0);
	channel_shutdown(&a);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_true((intptr_t)result <= 0);
	assert_true(time_now_ns() - begin < 4 * NS_PER_S);
	channel_close(&a);
	channel_close(&b);
	channel_shutdown(&a); /* empty: fine */
	channel_close(&a);
}

/* ---- bulk: more vectors than IOV_MAX, short writes, empty vectors -----------------------------
 */

#define BULK_COUNT (IOV_MAX * 3u + 5u)
#define BULK_PIECE 5000u

struct bulk {
	struct hf_channel *channel;
	char *data;
	size_t size;
	int result;
};

static void *bulk_send(void *arg)
{
	struct bulk *bulk = arg;
	struct iovec *iov = calloc(BULK_COUNT * 2, sizeof(*iov));

	if (!iov)
		return NULL;
	for (size_t i = 0; i < BULK_COUNT; i++) { /* every second one is empty */
		iov[i * 2 + 1].iov_base = bulk->data + i * BULK_PIECE;
		iov[i * 2 + 1].iov_len = BULK_PIECE;
	}
	bulk->result = channel_sendv(bulk->channel, iov, BULK_COUNT * 2, soon(), NULL);
	free(iov);
	return NULL;
}

static void bulk_over(struct hf_channel *a, struct hf_channel *b)
{
	struct hf_error err = { 0 };
	size_t size = (size_t)BULK_COUNT * BULK_PIECE;
	struct bulk bulk = { .channel = a, .size = size, .result = -1 };
	char *got = calloc(1, size);
	pthread_t thread;

	bulk.data = malloc(size);
	assert_non_null(bulk.data);
	assert_non_null(got);
	for (size_t i = 0; i < size; i++)
		bulk.data[i] = (char)(i * 2654435761u >> 13);
	assert_int_equal(pthread_create(&thread, NULL, bulk_send, &bulk), 0);
	if (channel_recv_all(b, got, size, soon(), &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(bulk.result, 0);
	assert_memory_equal(got, bulk.data, size);
	free(got);
	free(bulk.data);
}

static void more_vectors_than_iov_max_arrive_whole(void **state)
{
	struct listener *listener = NULL;
	struct hf_channel a = { 0 }, b = { 0 };
	struct hf_error err = { 0 };

	(void)state;
	connected("tcp:127.0.0.1:0", &listener, &a, &b);
	bulk_over(&a, &b);
	channel_close(&a);
	channel_close(&b);
	listener = listener_free(listener);
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	bulk_over(&a, &b);
	channel_close(&a);
	channel_close(&b);
}

/* ---- unix socket files ----------------------------------------------------------------------- */

static void a_live_unix_socket_is_refused_and_a_stale_one_replaced(void **state)
{
	struct listener *first = NULL, *second = NULL;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct hf_error err = { 0 };
	char uri[HF_URI_MAX];
	struct stat st;
	int fd;

	(void)state;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/stale", dir);
	(void)snprintf(uri, sizeof(uri), "unix:%s", addr.sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	(void)close(fd); /* its listener is dead; the file stays */

	assert_int_equal(listener_open(uri, &first, &err), 0);
	assert_int_equal(listener_open(uri, &second, &err), HF_E_SYSTEM);
	assert_non_null(strstr(err.text, "in use"));
	first = listener_free(first);
	assert_int_equal(lstat(addr.sun_path, &st), -1);
	assert_int_equal(errno, ENOENT);

	fd = open(addr.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	memset(&err, 0, sizeof(err));
	assert_int_equal(listener_open(uri, &first, &err), HF_E_SYSTEM);
	assert_non_null(strstr(err.text, "not a socket"));
	assert_int_equal(lstat(addr.sun_path, &st), 0);
	(void)unlink(addr.sun_path);
}

static void somebody_elses_unix_socket_file_stays(void **state)
{
	struct listener *first = NULL, *second = NULL;
	struct hf_error err = { 0 };
	char uri[HF_URI_MAX], path[128];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/theirs", dir);
	(void)snprintf(uri, sizeof(uri), "unix:%s", path);
	assert_int_equal(listener_open(uri, &first, &err), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(listener_open(uri, &second, &err), 0);
	first = listener_free(first);
	assert_int_equal(access(path, F_OK), 0);
	second = listener_free(second);
	assert_int_not_equal(access(path, F_OK), 0);
}

/* ---- given descriptors ----------------------------------------------------------------------- */

static void a_connected_descriptor_is_accepted_once(void **state)
{
	struct listener *listener = NULL;
	struct hf_channel a = { 0 }, b = { 0 }, c = { 0 };
	struct hf_error err = { 0 };
	char uri[32];
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	(void)snprintf(uri, sizeof(uri), "fd:%d", fds[0]);
	assert_int_equal(channel_connect(uri, soon(), &a, &err), 0);
	(void)snprintf(uri, sizeof(uri), "fd:%d", fds[1]);
	assert_int_equal(listener_open(uri, &listener, &err), 0);
	assert_true(listener_fd(listener) >= 0);
	assert_int_equal(listener_accept(listener, CHANNEL_NOW, &b, &err), 0);
	assert_int_equal(listener_accept(listener, soon(), &c, &err), HF_E_CONNECT);
	assert_non_null(strstr(err.text, "already"));
	exchange(&a, &b);
	channel_close(&a);
	channel_close(&b);
	listener = listener_free(listener);
}

static void a_listening_descriptor_listens_and_does_not_connect(void **state)
{
	struct listener *listener = NULL;
	struct hf_channel a = { 0 }, b = { 0 };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct hf_error err = { 0 };
	char uri[HF_URI_MAX], path_uri[HF_URI_MAX];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/given", dir);
	(void)snprintf(path_uri, sizeof(path_uri), "unix:%s", addr.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 4), 0);
	(void)snprintf(uri, sizeof(uri), "fd:%d", fd);
	assert_int_equal(channel_connect(uri, soon(), &a, &err), HF_E_INVALID);
	assert_non_null(strstr(err.text, "listens"));
	memset(&err, 0, sizeof(err));
	assert_int_equal(listener_open(uri, &listener, &err), 0);
	assert_int_equal(channel_connect(path_uri, soon(), &a, &err), 0);
	assert_int_equal(listener_accept(listener, soon(), &b, &err), 0);
	exchange(&a, &b);
	channel_close(&a);
	channel_close(&b);
	listener = listener_free(listener);
	(void)unlink(addr.sun_path);
}

/* ---- captures -------------------------------------------------------------------------------- */

static void a_capture_holds_exactly_what_was_carried(void **state)
{
	struct hf_channel a = { 0 }, b = { 0 };
	struct hf_error err = { 0 };
	int out = memfd_create("out", MFD_CLOEXEC), in = memfd_create("in", MFD_CLOEXEC);
	int out_copy = dup(out), in_copy = dup(in);
	size_t size = (size_t)BULK_COUNT * BULK_PIECE;
	char buf[16] = { 0 }, *sent = malloc(size);

	(void)state;
	assert_non_null(sent);
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	assert_int_equal(channel_capture(&a, out, in, &err), 0);
	bulk_over(&a, &b);
	assert_int_equal(channel_send(&b, "answer", 7, soon(), &err), 0);
	assert_int_equal(channel_recv_all(&a, buf, 7, soon(), &err), 0);
	channel_close(&a);
	assert_int_equal(fcntl(out, F_GETFD), -1); /* it was the capture's */
	assert_int_equal(lseek(out_copy, 0, SEEK_END), (long)size);
	assert_int_equal(pread(out_copy, sent, size, 0), (long)size);
	for (size_t i = 0; i < size; i++)
		if (sent[i] != (char)(i * 2654435761u >> 13))
			fail_msg("byte %zu of the capture differs", i);
	assert_int_equal(pread(in_copy, buf, sizeof(buf), 0), 7);
	assert_string_equal(buf, "answer");
	channel_close(&b);
	(void)close(out_copy);
	(void)close(in_copy);
	free(sent);
}

static void a_capture_that_cannot_be_written_fails_the_call(void **state)
{
	struct hf_channel a = { 0 }, b = { 0 };
	struct hf_error err = { 0 };
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	if (full < 0) {
		print_message("no /dev/full here\n");
		skip();
	}
	assert_int_equal(channel_pair(&a, &b, &err), 0);
	assert_int_equal(channel_capture(&a, full, -1, &err), 0);
	assert_int_equal(channel_send(&a, "x", 1, soon(), &err), HF_E_SYSTEM);
	assert_int_equal(err.cause, ENOSPC);
	assert_non_null(strstr(err.text, "capture"));
	channel_close(&a);
	channel_close(&b);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char path[128];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/full", dir);
	(void)unlink(path);
	return rmdir(dir); /* fails when a listener left its file */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_address_carries_bytes_both_ways),
		cmocka_unit_test(ipv6_in_brackets_works),
		cmocka_unit_test(a_bad_address_is_refused_by_the_part_that_is_wrong),
		cmocka_unit_test(nobody_there_is_said_so),
		cmocka_unit_test(accept_waits_until_its_deadline_and_now_does_not_wait),
		cmocka_unit_test(a_full_unix_queue_meets_the_deadline),
		cmocka_unit_test(send_and_receive_keep_their_deadlines),
		cmocka_unit_test(a_closed_peer_is_0_to_the_receiver_and_lost_to_the_sender),
		cmocka_unit_test(shutdown_ends_a_receive_in_another_thread),
		cmocka_unit_test(more_vectors_than_iov_max_arrive_whole),
		cmocka_unit_test(a_live_unix_socket_is_refused_and_a_stale_one_replaced),
		cmocka_unit_test(somebody_elses_unix_socket_file_stays),
		cmocka_unit_test(a_connected_descriptor_is_accepted_once),
		cmocka_unit_test(a_listening_descriptor_listens_and_does_not_connect),
		cmocka_unit_test(a_capture_holds_exactly_what_was_carried),
		cmocka_unit_test(a_capture_that_cannot_be_written_fails_the_call),
	};

	return cmocka_run_group_tests_name("channel-socket", tests, make_dir, remove_dir);
}
