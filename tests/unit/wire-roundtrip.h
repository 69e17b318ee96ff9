/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One property for tests and fuzzers: the encoding of a record is unique. Whatever a decoder takes,
 * the encoder gives back octet for octet; so no field is unread, no reserved bit accepted.
 */
#ifndef TESTS_WIRE_ROUNDTRIP_H
#define TESTS_WIRE_ROUNDTRIP_H

#include <stddef.h>
#include <stdint.h>

#include "wire/records.h"

#define ROUNDTRIP_MAX (REC_CONTROL_BYTES_MAX + REC_ALIGN)

/*
 * bytes: a record with header, body and padding; of PAGES and DEVICE_DATA header and fixed part are
 * enough, and nothing behind them is looked at. Decodes and encodes again into out (ROUNDTRIP_MAX).
 * Returns how many bytes out has then, or why the record is refused.
 */
int roundtrip_record(const uint8_t *bytes, size_t n, uint8_t *out);

/* The same with a body alone. fixed_length: as much of the body as lies at body. */
int roundtrip_body(uint32_t type, const uint8_t *body, size_t fixed_length, uint32_t body_length,
		   uint8_t *out);

/* How many bytes roundtrip_record() looks at in a record of n bytes with this header. */
size_t roundtrip_length(uint32_t type, size_t n);

#endif
