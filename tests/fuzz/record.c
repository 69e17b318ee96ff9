/* SPDX-License-Identifier: BSD-3-Clause */
/* Any octets as one record: its decoder refuses it, or its encoder gives back the same octets. */
#include <stdlib.h>
#include <string.h>

#include "wire-roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[ROUNDTRIP_MAX];
	size_t wanted = size;
	int result = roundtrip_record(data, size, out);

	if (size >= REC_HEADER_BYTES)
		wanted = roundtrip_length(rec_header_decode(data).type, size);
	if (result >= 0 && ((size_t)result != wanted || memcmp(out, data, wanted) != 0))
		abort();
	return 0;
}
