/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any octets as what comes on a connection of the link between guards: what comes out does not
 * depend on how they arrive, keeps the limits, and is written again as the same octets.
 */
#include <stdlib.h>
#include <string.h>

#include "guard/link-frame.h"
#include "guard/link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static void keeps_limits(const struct link_frame *frame)
{
	must(frame->type > 0 && frame->type < LINK_FRAME_TYPES);
	must(frame->kind < LINK_KINDS && frame->index < LINK_STREAMS_MAX);
	must(frame->payload <= LINK_DATA_MAX &&
	     (frame->type == LINK_FRAME_DATA) == !!frame->payload);
	must(frame->offset <= LINK_OFFSET_MAX && frame->written <= frame->offset);
	must(frame->window <= LINK_WINDOW_MAX && frame->connections <= LINK_CONNECTIONS_MAX);
	must(frame->connection < LINK_CONNECTIONS_MAX && frame->code <= 0);
	must(memchr(frame->text, 0, LINK_TEXT_MAX) != NULL);
}

/* All shorter beginnings want more, or have failed already. */
static void is_incremental(const uint8_t *data, size_t size, int result)
{
	struct link_frame frame;
	char why[LINK_WHY_MAX];
	size_t all = result > 0 ? (size_t)result : size < LINK_FRAME_MAX ? size : LINK_FRAME_MAX;
	int failed = 0;

	for (size_t n = 0; n < all; n++) {
		int r = link_frame_decode(data, n, &frame, why);

		must(r == 0 || (r < 0 && result < 0));
		must(!failed || r == failed);
		failed = r;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	while (size > 0) {
		struct link_frame frame;
		uint8_t again[LINK_FRAME_MAX];
		char why[LINK_WHY_MAX] = "";
		int r = link_frame_decode(data, size, &frame, why);
		size_t all;

		is_incremental(data, size, r);
		if (r < 0)
			must(why[0] && memchr(why, 0, sizeof(why)) != NULL);
		if (r <= 0)
			break;
		keeps_limits(&frame);
		must(link_frame_encode(&frame, again) == (size_t)r &&
		     !memcmp(again, data, (size_t)r));
		all = (size_t)r + frame.payload;
		if (all > size)
			all = size;
		data += all;
		size -= all;
	}
	return 0;
}
