/* SPDX-License-Identifier: BSD-3-Clause */
#include "backend/ledger/base64.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *bytes, size_t length, char *ret_text)
{
	const uint8_t *in = bytes;

	for (size_t i = 0; i < length; i += 3) {
		size_t left = length - i;
		uint32_t group = (uint32_t)in[i] << 16;

		if (left > 1)
			group |= (uint32_t)in[i + 1] << 8;
		if (left > 2)
			group |= in[i + 2];
		*ret_text++ = digits[group >> 18];
		*ret_text++ = digits[group >> 12 & 63];
		*ret_text++ = left > 1 ? digits[group >> 6 & 63] : '=';
		*ret_text++ = left > 2 ? digits[group & 63] : '=';
	}
	*ret_text = '\0';
}

static int value_of(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* One to three bytes out of four characters; pad of them are '='. */
static int decode_group(const char *text, size_t pad, uint8_t ret_bytes[3])
{
	uint32_t group = 0;

	for (size_t i = 0; i < 4; i++) {
		int value = i < 4 - pad ? value_of(text[i]) : 0;

		if (value < 0)
			return -EBADMSG;
		group = group << 6 | (uint32_t)value;
	}
	/* Bits that no byte takes are 0, or there would be several spellings. */
	if (group & ((1u << 8 * pad) - 1))
		return -EBADMSG;
	ret_bytes[0] = (uint8_t)(group >> 16);
	ret_bytes[1] = (uint8_t)(group >> 8);
	ret_bytes[2] = (uint8_t)group;
	return 0;
}

ssize_t base64_decode(const char *text, size_t length, void *ret_bytes, size_t room)
{
	uint8_t *out = ret_bytes, group[3];
	size_t used = 0;

	if (length % 4)
		return -EBADMSG;
	for (size_t i = 0; i < length; i += 4) {
		size_t pad = 0;

		if (i + 4 == length && text[i + 3] == '=')
			pad = text[i + 2] == '=' ? 2 : 1;
		if (decode_group(text + i, pad, group) < 0)
			return -EBADMSG;
		if (3 - pad > room - used)
			return -EMSGSIZE;
		memcpy(out + used, group, 3 - pad);
		used += 3 - pad;
	}
	return (ssize_t)used;
}
