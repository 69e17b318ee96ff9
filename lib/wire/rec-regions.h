/* SPDX-License-Identifier: BSD-3-Clause */
/* REGIONS: the guest's memory. docs/stream.md, section 5.2. */
#ifndef WIRE_REC_REGIONS_H
#define WIRE_REC_REGIONS_H

#include "wire/rec.h"

struct rec_region {
	uint64_t gpa, size; /* bytes; multiples of the page */
	char name[HF_NAME_MAX];
};

struct rec_regions {
	uint32_t count; /* 1..HF_REGIONS_MAX */
	struct rec_region region[HF_REGIONS_MAX]; /* ascending, without overlap */
};

int rec_regions_encode(const struct rec_regions *regions, void *buf, size_t capacity);
int rec_regions_decode(const void *body, size_t length, struct rec_regions *ret_regions);

#endif
