/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any octets from a server: each of the client's requests is answered by the next piece of the
 * input, with the right id. A piece is its length and the flags of the header, an octet each, and
 * the body. The device is opened or not, used if it is, and closed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <holdfast/backend.h>

#include "backend/device/vfio-user/transport.h"
#include "base/time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEADLINE_S 60u
#define EXPECT(what) ((what) ? (void)0 : abort())

struct server {
	int listen_fd;
	const uint8_t *data;
	size_t size;
};

/* One piece. Its type, or -1: there is no more to answer with. */
static int answer(struct server *s, int c, const struct vu_header *to)
{
	uint8_t bytes[VU_HEADER_BYTES + 255];
	struct vu_header h = { .id = to->id, .command = to->command };
	struct iovec iov = { bytes, 0 };
	size_t n;

	if (s->size < 2)
		return -1;
	n = s->data[0] < s->size - 2 ? s->data[0] : s->size - 2;
	h.flags = s->data[1] ^ VU_TYPE_REPLY; /* 0: a reply as it should be */
	h.size = (uint32_t)(VU_HEADER_BYTES + n);
	h.error = h.flags & VU_ERROR ? 22 : 0;
	vu_header_encode(&h, bytes);
	memcpy(bytes + VU_HEADER_BYTES, s->data + 2, n);
	s->data += 2 + n;
	s->size -= 2 + n;
	iov.iov_len = h.size;
	if (vu_send(c, &iov, 1, NULL, 0, time_now_ns() + DEADLINE_S * NS_PER_S) < 0)
		return -1;
	return (int)(h.flags & VU_TYPE_MASK);
}

/* Pieces up to one that is a reply: what comes before it is what the server wants to know. */
static int answer_all(struct server *s, int c, const struct vu_header *to)
{
	int type;

	do
		type = answer(s, c, to);
	while (type == VU_TYPE_COMMAND);
	return type == VU_TYPE_REPLY;
}

static void *serve(void *arg)
{
	struct server *s = arg;
	int c = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), on = 1;

	while (on) {
		uint64_t deadline_ns = time_now_ns() + DEADLINE_S * NS_PER_S;
		uint8_t head[VU_HEADER_BYTES], body[8192];
		struct vu_header h;
		struct vu_fds fds;
		const char *field;

		if (vu_recv_header(c, deadline_ns, 1000, head, &fds) != 0)
			break;
		vu_fds_close(&fds);
		EXPECT(vu_header_decode(head, sizeof(body), &h, &field) == 0);
		if (vu_recv_body(c, deadline_ns, body, h.size - VU_HEADER_BYTES) < 0)
			break;
		on = (h.flags & VU_TYPE_MASK) == VU_TYPE_REPLY || answer_all(s, c, &h);
	}
	(void)close(c);
	return NULL;
}

static struct sockaddr_un address = { .sun_family = AF_UNIX };

static void remove_socket(void)
{
	(void)unlink(address.sun_path);
}

static void use(const struct hf_device *d)
{
	uint8_t buf[256];
	uint64_t initial, dirty;

	(void)d->ops->region_read(d->self, 0, 0, buf, 8);
	(void)d->ops->set_state(d->self, HF_DEVICE_PRE_COPY);
	(void)d->ops->precopy_info(d->self, &initial, &dirty);
	(void)d->ops->set_state(d->self, HF_DEVICE_STOP_COPY);
	(void)d->ops->read_data(d->self, buf, sizeof(buf));
	(void)d->ops->dma_map(d->self, 0x1000, 0x1000, (void *)0x10000, -1, 0, HF_DMA_WRITE);
	(void)d->ops->dma_unmap(d->self, 0x1000, 0x1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct server s = { .listen_fd = -1 };
	struct hf_device d = { 0 };
	struct hf_error err = { 0 };
	char uri[128];
	pthread_t thread;

	if (s.listen_fd < 0) {
		(void)snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/hf-fuzz-%d",
			       getpid());
		remove_socket();
		(void)atexit(remove_socket);
		s.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		EXPECT(bind(s.listen_fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
		EXPECT(listen(s.listen_fd, 4) == 0);
	}
	s.data = data;
	s.size = size;
	EXPECT(pthread_create(&thread, NULL, serve, &s) == 0);
	(void)snprintf(uri, sizeof(uri), "vfio-user:%.60s,timeout=10,arc-timeout=10",
		       address.sun_path);
	if (hf_device_open(uri, NULL, &d, &err) == 0)
		use(&d);
	else
		EXPECT(err.text[0]);
	hf_device_close(&d);
	(void)pthread_join(thread, NULL);
	return 0;
}
