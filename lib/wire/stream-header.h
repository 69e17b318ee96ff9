/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The 32 bytes at the start of each connection, in each direction that carries anything
 * (docs/stream.md, section 3). Their layout never changes, in no version.
 */
#ifndef WIRE_STREAM_HEADER_H
#define WIRE_STREAM_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "wire/limits.h"

/* Kinds of connections. */
#define WIRE_CONTROL 1u
#define WIRE_BULK 2u

/* Directions. */
#define WIRE_TO_TARGET 1u
#define WIRE_TO_SOURCE 2u

struct stream_header {
	uint16_t major, minor;
	uint8_t kind; /* WIRE_CONTROL, WIRE_BULK */
	uint8_t direction; /* WIRE_TO_TARGET, WIRE_TO_SOURCE */
	uint16_t channel; /* a bulk connection's index; 0 on the control connection */
};

/* Writes STREAM_HEADER_BYTES. Returns them, -ENOSPC, or -EINVAL (not a header that may be sent). */
int stream_header_encode(const struct stream_header *header, void *buf, size_t capacity);

/*
 * Returns 0; -EPROTO: not this protocol, or broken; -EPROTONOSUPPORT: another major version.
 * ret_major and ret_minor (or NULL) are set in the last case too, to say which.
 */
int stream_header_decode(const void *bytes, size_t length, struct stream_header *ret_header,
			 uint16_t *ret_major, uint16_t *ret_minor);

#endif
