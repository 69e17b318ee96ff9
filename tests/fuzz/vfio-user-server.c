/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any octets from a client that has agreed on a version, to a server with a simulated device: it
 * answers, or ends the connection, and the next client finds it.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <holdfast/device-server.h>

#include "backend/device/vfio-user/transport.h"
#include "base/time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEADLINE_S 60u
#define EXPECT(what) ((what) ? (void)0 : abort())

static struct sockaddr_un address = { .sun_family = AF_UNIX };

static struct hf_device_server_config config = { .size = sizeof(config) };
static struct hf_device_server *server;
static pthread_t thread;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t left; /* clients */

static void on_event(void *ctx, uint32_t event, const char *text)
{
	(void)ctx, (void)text;
	(void)pthread_mutex_lock(&lock);
	left += event == HF_DEVICE_SERVER_LEFT;
	(void)pthread_cond_signal(&changed);
	(void)pthread_mutex_unlock(&lock);
}

/* Until nothing of the last client is left: what then is, is a leak. */
static void await_left(void)
{
	static uint64_t clients;

	clients++;
	(void)pthread_mutex_lock(&lock);
	while (left < clients) /* fuzzers have a deadline for each input */
		(void)pthread_cond_wait(&changed, &lock);
	(void)pthread_mutex_unlock(&lock);
}

static void *serve(void *arg)
{
	struct hf_error err = { 0 };

	EXPECT(hf_device_server_run(arg, &err) == 0);
	return NULL;
}

/* So that what is left over at the end is a leak. */
static void stop(void)
{
	hf_device_server_stop(server);
	(void)pthread_join(thread, NULL);
	server = hf_device_server_free(server);
	hf_device_close(&config.device);
}

/* Once, for all inputs. The address is abstract: no file is left. */
static void start(void)
{
	if (address.sun_path[1])
		return;
	(void)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "hf-fuzz-%d", getpid());
	config.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	EXPECT(bind(config.fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
	EXPECT(listen(config.fd, 4) == 0);
	config.event = on_event;
	EXPECT(hf_device_open("sim:state=4K", "model", &config.device, NULL) == 0);
	EXPECT(hf_device_server_new(&config, &server, NULL) == 0);
	EXPECT(pthread_create(&thread, NULL, serve, server) == 0);
	(void)atexit(stop);
}

static void put(int s, const uint8_t *from, size_t size)
{
	union {
		const uint8_t *from;
		void *base;
	} u = { .from = from };
	struct iovec iov = { u.base, size };

	/* It may have closed meanwhile. */
	(void)vu_send(s, &iov, 1, NULL, 0, time_now_ns() + DEADLINE_S * NS_PER_S);
}

/* Until there is something to read; fuzzers have a timer that interrupts. */
static void await(struct pollfd *fd)
{
	uint64_t deadline_ns = time_now_ns() + DEADLINE_S * NS_PER_S;

	while (poll(fd, 1, 1000) != 1)
		EXPECT(time_now_ns() < deadline_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vu_header version = { .command = VU_VERSION, .size = VU_HEADER_BYTES + 4 };
	uint8_t bytes[VU_HEADER_BYTES + 4] = { 0 }, reply[4096];
	struct pollfd fd = { .events = POLLIN };

	start();
	fd.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	EXPECT(connect(fd.fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
	vu_header_encode(&version, bytes);
	put(fd.fd, bytes, sizeof(bytes));
	await(&fd);
	EXPECT(read(fd.fd, reply, sizeof(reply)) > (ssize_t)sizeof(bytes));
	put(fd.fd, data, size);
	(void)shutdown(fd.fd, SHUT_WR);
	do /* all that it has to say, and its end */
		await(&fd);
	while (read(fd.fd, reply, sizeof(reply)) > 0);
	(void)close(fd.fd);
	await_left();
	return 0;
}
