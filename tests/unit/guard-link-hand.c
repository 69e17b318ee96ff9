/* SPDX-License-Identifier: BSD-3-Clause */
/* An end of the link made by hand, frame by frame, for tests of the other end. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "guard-link-world.h"
#include "guard/socket.h"

int tcp_listen(char uri[256])
{
	struct hf_error err;
	int fd = socket_listen("tcp:127.0.0.1:0", &err);

	assert_true(fd >= 0);
	(void)snprintf(uri, 256, "tcp:127.0.0.1:%u", socket_port(fd));
	return fd;
}

int tcp_connect(const char *uri)
{
	struct hf_error err;
	int fd = socket_connect(uri, &err);

	if (fd < 0)
		fail_msg("%s", err.text);
	patient(fd);
	return fd;
}

void say_frame(int fd, const struct link_frame *frame)
{
	uint8_t bytes[LINK_FRAME_MAX];

	say(fd, bytes, link_frame_encode(frame, bytes));
}

void hear_frame(int fd, uint32_t type, struct link_frame *ret)
{
	uint8_t bytes[LINK_FRAME_MAX];
	char why[LINK_WHY_MAX];
	size_t size = 0;
	int r;

	do {
		ssize_t got = recv(fd, bytes + size, 1, 0);

		if (got != 1 || size + 1 == sizeof(bytes))
			fail_msg("no frame %s: %zd octets and %s", link_frame_name(type), size,
				 got == 0 ? "the end" : strerror(errno));
		size++;
		r = link_frame_decode(bytes, size, ret, why);
		if (r < 0)
			fail_msg("%s", why);
	} while (r == 0);
	if (type)
		assert_string_equal(link_frame_name(ret->type), link_frame_name(type));
}

/* ---- what is said -------------------------------------------------------------------------- */

struct link_frame hello(uint32_t connections, uint32_t connection)
{
	struct link_frame frame = { .type = LINK_FRAME_HELLO,
				    .silence_ms = 60000,
				    .connection = connection,
				    .connections = connections,
				    .attempt = 1,
				    .window = HAND_WINDOW };

	memset(frame.source, 7, sizeof(frame.source));
	return frame;
}

struct link_frame welcome(uint32_t attempt)
{
	struct link_frame frame = { .type = LINK_FRAME_WELCOME,
				    .silence_ms = 60000,
				    .attempt = attempt,
				    .window = HAND_WINDOW };

	memset(frame.token, 9, sizeof(frame.token));
	return frame;
}

static uint32_t random_below(uint64_t *seed, uint32_t limit)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (uint32_t)(*seed >> 32) % limit;
}

bool say_anything(int fd, uint64_t *seed)
{
	static const uint32_t types[] = { LINK_FRAME_OPEN,  LINK_FRAME_OPEN,  LINK_FRAME_DATA,
					  LINK_FRAME_DATA,  LINK_FRAME_DATA,  LINK_FRAME_FIN,
					  LINK_FRAME_STATE, LINK_FRAME_STATE, LINK_FRAME_BEAT,
					  LINK_FRAME_READY };
	static uint64_t at[4];
	struct link_frame frame = { .type = types[random_below(seed, 10)] };
	uint8_t bytes[LINK_FRAME_MAX + 64] = { 0 };
	uint32_t stream = random_below(seed, 4), size = random_below(seed, 3) ? 1 : 20;
	size_t head;

	if (frame.type == LINK_FRAME_OPEN)
		at[stream] = 0;
	if (frame.type < LINK_FRAME_BEAT && frame.type != LINK_FRAME_READY) {
		frame.kind = 1 + stream / 2;
		frame.index = stream % 2;
		frame.flags = frame.type >= LINK_FRAME_FIN ? random_below(seed, 2) : 0;
	}
	if (frame.type == LINK_FRAME_DATA || frame.type == LINK_FRAME_FIN)
		frame.offset = random_below(seed, 50) ? at[stream] : random_below(seed, 40);
	if (frame.type == LINK_FRAME_STATE) {
		frame.offset = random_below(seed, 4);
		frame.written = random_below(seed, (uint32_t)frame.offset + 1);
	}
	frame.payload = frame.type == LINK_FRAME_DATA ? size : 0;
	at[stream] += frame.payload;
	head = link_frame_encode(&frame, bytes);
	return send(fd, bytes, head + frame.payload, MSG_NOSIGNAL) >= 0;
}
