/* SPDX-License-Identifier: BSD-3-Clause */
/* PAGES: pages of guest memory. docs/stream.md, section 5.18. */
#ifndef WIRE_REC_PAGES_H
#define WIRE_REC_PAGES_H

#include "wire/rec.h"

/*
 * A window of count pages from first_page of a region. Page n of the window is bit n % 64 of word
 * n / 64. present: the record speaks about it. zero: it is all zeros, and has no content here.
 */
struct rec_pages {
	uint32_t region; /* index in REGIONS */
	uint32_t count; /* 1..REC_PAGES_MAX */
	uint64_t first_page; /* index in the region */
	uint64_t present[REC_PAGES_WORDS];
	uint64_t zero[REC_PAGES_WORDS]; /* only of present ones */
};

/*
 * encode: header and fixed part; the content follows. decode: the fixed part alone, and the length
 * of the whole body from the header.
 */
int rec_pages_encode(const struct rec_pages *pages, void *buf, size_t capacity);
int rec_pages_decode(const void *fixed, size_t fixed_length, uint32_t body_length,
		     struct rec_pages *ret_pages);

/* How many pages are present; how many of them are zero. */
uint32_t rec_pages_present(const struct rec_pages *pages);
uint32_t rec_pages_zero(const struct rec_pages *pages);

/* Bytes of content behind the fixed part: a page for each one that is present and not zero. */
uint32_t rec_pages_content_bytes(const struct rec_pages *pages);

#endif
