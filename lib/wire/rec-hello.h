/* SPDX-License-Identifier: BSD-3-Clause */
/* HELLO: who asks, for which guest, and what it will take. docs/stream.md, section 5.1. */
#ifndef WIRE_REC_HELLO_H
#define WIRE_REC_HELLO_H

#include "wire/rec.h"

#define REC_HELLO_PAUSED 1u /* flags: the guest is paused, and stays so on either side */

struct rec_hello {
	uint8_t session[WIRE_ID_BYTES]; /* random, never all zero */
	uint32_t flags; /* REC_HELLO_PAUSED */
	uint32_t page_shift; /* HF_PAGE_SHIFT */
	uint32_t region_count; /* 1..HF_REGIONS_MAX */
	uint32_t device_count; /* 0..HF_DEVICES_MAX */
	uint32_t channels; /* bulk connections wanted: 1..HF_CHANNELS_MAX */
	uint64_t epoch; /* that the source means to offer: the ledger's plus one */
	uint64_t downtime_us_max; /* what the source aims at */
	char guest[HF_NAME_MAX]; /* 1..63 of [A-Za-z0-9._-] */
	char side[HF_NAME_MAX]; /* the source's id in the ledger; not empty */
	char ledger[HF_URI_MAX]; /* its normal form; not empty */
};

int rec_hello_encode(const struct rec_hello *hello, void *buf, size_t capacity);
int rec_hello_decode(const void *body, size_t length, struct rec_hello *ret_hello);

#endif
