/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all records have in common: the list of types, the header {type, length}, the padding
 * (docs/stream.md, sections 4 and 5). Each record's own body is in its own file, rec-NAME.h.
 *
 * Every rec_NAME_encode() writes the record's header, body and padding into the caller's buffer and
 * returns how many bytes that is; -ENOSPC: they do not fit; -EINVAL: the struct breaks a rule of
 * the specification (a fault of ours). PAGES and DEVICE_DATA write the header and the fixed part
 * only.
 *
 * Every rec_NAME_decode() gets the body without padding, returns 0, -EPROTO (breaks a rule) or
 * -EMSGSIZE (its length cannot be right), and writes *ret_ on success only. Pointers in the struct
 * point into the body.
 */
#ifndef WIRE_REC_H
#define WIRE_REC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/limits.h"
#include "wire/stream-header.h"

#define REC_SKIPPABLE 0x80000000u /* bit 31 of the type: who does not know it skips it */
#define REC_MANDATORY 0u

/* Who sends it. */
#define REC_BY_SOURCE 1u
#define REC_BY_TARGET 2u
#define REC_BY_BOTH 3u

/*
 * X(name, number, connection, sender, may be skipped, bytes of the fixed part, most bytes of the
 * body). The fixed part is also the least length of the body.
 */
/* clang-format off */
#define REC_LIST(X) \
	X(HELLO,         0x01, CONTROL, SOURCE, MANDATORY, 440, 440) \
	X(REGIONS,       0x02, CONTROL, SOURCE, MANDATORY,   8, 8 + HF_REGIONS_MAX * 80) \
	X(DEVICES,       0x03, CONTROL, SOURCE, MANDATORY,   8, 8 + HF_DEVICES_MAX * 160) \
	X(SHAPE,         0x04, CONTROL, SOURCE, MANDATORY,   0, WIRE_DATA_MAX) \
	X(DEVICE_CONFIG, 0x05, CONTROL, SOURCE, MANDATORY,   8, 8 + WIRE_DATA_MAX) \
	X(MACHINE_STATE, 0x06, CONTROL, SOURCE, MANDATORY,  40, 40 + WIRE_DATA_MAX) \
	X(END,           0x07, CONTROL, SOURCE, MANDATORY,  48, 48) \
	X(GO,            0x08, CONTROL, SOURCE, MANDATORY,   8, 8) \
	X(ACCEPT,        0x11, CONTROL, TARGET, MANDATORY, 352, 352) \
	X(PRIMED,        0x12, CONTROL, TARGET, MANDATORY,   8, 8) \
	X(LOADED,        0x13, CONTROL, TARGET, MANDATORY,   8, 8) \
	X(STARTED,       0x14, CONTROL, TARGET, MANDATORY,  16, 16) \
	X(RETURNED,      0x15, CONTROL, TARGET, MANDATORY, 264, 264) \
	X(ABORT,         0x21, CONTROL, BOTH,   MANDATORY, 256, 256) \
	X(BYE,           0x22, CONTROL, BOTH,   MANDATORY,   0, 0) \
	X(KEEPALIVE,     0x23, CONTROL, BOTH,   SKIPPABLE,   8, 8) \
	X(ATTACH,        0x31, BULK,    SOURCE, MANDATORY,  40, 40) \
	X(PAGES,         0x32, BULK,    SOURCE, MANDATORY, REC_PAGES_FIXED, \
	  REC_PAGES_FIXED + REC_PAGES_MAX * HF_PAGE_SIZE) \
	X(ROUND,         0x33, BULK,    SOURCE, MANDATORY,  16, 16) \
	X(DEVICE_DATA,   0x34, BULK,    SOURCE, MANDATORY, REC_DEVICE_DATA_FIXED, \
	  REC_DEVICE_DATA_FIXED + REC_DEVICE_DATA_MAX) \
	X(DEVICE_END,    0x35, BULK,    SOURCE, MANDATORY,  24, 24) \
	X(CHANNEL_END,   0x36, BULK,    SOURCE, MANDATORY,  32, 32)
/* clang-format on */

/* REC_HELLO, ...: the type as it is on the wire, bit 31 included. */
#define REC_ENUM_(name, number, connection, sender, skip, fixed, max)                              \
	REC_##name = (number) | REC_##skip,
__extension__ enum rec_type { REC_LIST(REC_ENUM_) }; /* bit 31 makes them unsigned */
#undef REC_ENUM_

struct rec_info {
	const char *name; /* "HELLO" */
	uint32_t type;
	uint32_t connection; /* WIRE_CONTROL, WIRE_BULK */
	uint32_t senders; /* REC_BY_* */
	uint32_t fixed_bytes; /* of the body */
	uint32_t body_bytes_max;
};

struct rec_header {
	uint32_t type;
	uint32_t length; /* of the body, without padding */
};

/* The row of a type, NULL if it is none of ours. */
const struct rec_info *rec_info(uint32_t type);

/* The row at index i of the list, NULL behind its end: to walk all of them. */
const struct rec_info *rec_at(unsigned int index);

/* "HELLO"; "?" for a type that is none of ours. Static text. */
const char *rec_name(uint32_t type);

/* Zero bytes behind a body of this length: 0..7. rec_zeros is what to send. */
static inline uint32_t rec_padding(uint32_t length)
{
	return (REC_ALIGN - length % REC_ALIGN) % REC_ALIGN;
}
extern const uint8_t rec_zeros[REC_ALIGN];

/* Reads REC_HEADER_BYTES; any values. */
struct rec_header rec_header_decode(const uint8_t bytes[REC_HEADER_BYTES]);

/*
 * May a record with this header come on such a connection, in this direction? 0: yes; 1: it is
 * unknown and may be skipped (with its padding); -EPROTO: unknown and mandatory, or not here;
 * -EMSGSIZE: known, but its length cannot be right; or too long to be skipped. *ret_why (or NULL)
 * says it in words then; static text.
 */
int rec_header_check(const struct rec_header *header, uint32_t connection, uint32_t direction,
		     const char **ret_why);

#endif
