/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any octets as a message of vfio-user: a header, a body of any command in either direction, a
 * region's capabilities, the text of a version. Refused, or encoded to the same octets.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/device/vfio-user/message.h"
#include "backend/device/vfio-user/version.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void body(uint32_t command, int reply, const uint8_t *data, size_t size)
{
	uint8_t fixed[VU_FIXED_MAX], caps_bytes[VU_CAPS_BYTES_MAX];
	struct vu_region_caps caps;
	struct vu_body b;
	const char *field = NULL;
	size_t n;

	if (vu_body_decode(command, reply, data, size, &b, &field) < 0) {
		if (!field)
			abort();
		return;
	}
	n = vu_body_encode(command, reply, &b, fixed);
	if (n != vu_fixed_size(command, reply) || n + b.tail_size != size ||
	    memcmp(fixed, data, n) != 0 || (b.tail_size && b.tail != data + n))
		abort();
	if (command == VU_DEVICE_GET_REGION_INFO && reply && vu_caps_decode(&b, &caps, &field) == 0)
		(void)vu_caps_encode(&caps, caps_bytes);
}

static void version(const uint8_t *data, size_t size)
{
	struct vu_caps caps, again;
	char text[VU_VERSION_TEXT_MAX];
	const char *field = NULL;
	int n;

	if (vu_version_decode((const char *)data, size, &caps, &field) < 0)
		return;
	n = vu_version_encode(&caps, text, sizeof(text));
	if (n < 0) /* of control characters each takes six */
		return;
	if (vu_version_decode(text, (size_t)n, &again, &field) < 0 ||
	    caps.max_data_xfer_size != again.max_data_xfer_size)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vu_header header;
	const char *field = NULL;
	uint8_t out[VU_HEADER_BYTES];

	if (size < 1)
		return 0;
	if (size - 1 >= VU_HEADER_BYTES &&
	    vu_header_decode(data + 1, VU_SIZE_MAX(VU_XFER_DEFAULT), &header, &field) == 0) {
		vu_header_encode(&header, out);
		if (memcmp(out, data + 1, sizeof(out)) != 0)
			abort();
	}
	body(data[0] >> 1, data[0] & 1, data + 1, size - 1);
	version(data + 1, size - 1);
	return 0;
}
