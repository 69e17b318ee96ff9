/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A body whose length and header do not agree: what a receiver must survive that has not checked
 * the header. The first octet picks the record, the next four are the length that is claimed.
 */
#include <stdlib.h>
#include <string.h>

#include "wire-roundtrip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[ROUNDTRIP_MAX];
	const struct rec_info *info;
	uint32_t claimed;
	int result;

	if (size < 5)
		return 0;
	info = rec_at(data[0] % 22u);
	memcpy(&claimed, data + 1, sizeof(claimed));
	result = roundtrip_body(info->type, data + 5, size - 5, claimed, out);
	if (result >= 0 && memcmp(out + REC_HEADER_BYTES, data + 5, size - 5) != 0)
		abort();
	return 0;
}
