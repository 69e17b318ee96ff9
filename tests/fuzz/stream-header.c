/* SPDX-License-Identifier: BSD-3-Clause */
/* Any octets as a stream header: refused, or encoded to the same octets. */
#include <stdlib.h>
#include <string.h>

#include "wire/stream-header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream_header header;
	uint8_t out[STREAM_HEADER_BYTES];

	if (stream_header_decode(data, size, &header, NULL, NULL) < 0)
		return 0;
	if (stream_header_encode(&header, out, sizeof(out)) != (int)size ||
	    memcmp(out, data, size) != 0)
		abort();
	return 0;
}
