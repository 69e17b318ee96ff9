/* SPDX-License-Identifier: BSD-3-Clause */
/* Any octets as a control connection: what comes out does not depend on how they arrive. */
#include <stdlib.h>

#include "wire-roundtrip.h"
#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Pushes all in pieces of step; returns a number that stands for everything that came out. */
static uint64_t story(uint8_t direction, const uint8_t *data, size_t size, size_t step)
{
	static uint8_t out[ROUNDTRIP_MAX];
	static struct frame frame;
	uint64_t sum = 0;
	int result = 0;

	frame_init(&frame, direction);
	for (size_t at = 0, consumed; at < size && result >= 0; at += consumed) {
		result = frame_push(&frame, data + at, step < size - at ? step : size - at,
				    &consumed);
		if (result == FRAME_RECORD)
			sum += (uint64_t)roundtrip_record(frame.raw, frame.raw_length, out);
		if (result != FRAME_MORE) /* a failure too, but not where it came */
			sum = sum * 31 + (uint64_t)result + frame.raw_length;
	}
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (uint8_t direction = WIRE_TO_TARGET; direction <= WIRE_TO_SOURCE; direction++)
		if (story(direction, data, size, size) != story(direction, data, size, 1) ||
		    story(direction, data, size, size) != story(direction, data, size, 13))
			abort();
	return 0;
}
