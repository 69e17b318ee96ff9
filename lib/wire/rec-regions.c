/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-regions.h"

#include "wire/rec-body.h"

#define ADDRESS_END (UINT64_C(1) << WIRE_ADDRESS_BITS)

static bool valid(const struct rec_regions *regions)
{
	uint64_t end = 0; /* of the region before */

	if (regions->count < 1 || regions->count > HF_REGIONS_MAX)
		return false;
	for (uint32_t i = 0; i < regions->count; i++) {
		const struct rec_region *region = &regions->region[i];

		if (region->gpa % HF_PAGE_SIZE != 0 || region->size % HF_PAGE_SIZE != 0)
			return false;
		if (region->gpa < end || region->gpa >= ADDRESS_END)
			return false;
		if (region->size == 0 || region->size > ADDRESS_END - region->gpa)
			return false;
		if (!rec_name_valid(region->name, HF_NAME_MAX))
			return false;
		end = region->gpa + region->size;
	}
	return true;
}

/* docs/stream.md, section 5.2. */
int rec_regions_encode(const struct rec_regions *regions, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(regions))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_REGIONS);
	wr_u32(&wr, regions->count);
	wr_zero(&wr, 4);
	for (uint32_t i = 0; i < regions->count; i++) {
		wr_u64(&wr, regions->region[i].gpa);
		wr_u64(&wr, regions->region[i].size);
		wr_text(&wr, regions->region[i].name, HF_NAME_MAX);
	}
	return rec_finish(&wr);
}

int rec_regions_decode(const void *body, size_t length, struct rec_regions *ret_regions)
{
	struct rec_regions regions;
	struct rd rd;

	memset(&regions, 0, sizeof(regions));
	rd_init(&rd, body, length);
	regions.count = rd_u32(&rd);
	rd_zero(&rd, 4);
	if (regions.count > HF_REGIONS_MAX)
		return -EPROTO;
	for (uint32_t i = 0; i < regions.count; i++) {
		regions.region[i].gpa = rd_u64(&rd);
		regions.region[i].size = rd_u64(&rd);
		rd_text(&rd, regions.region[i].name, HF_NAME_MAX);
	}
	if (!rd_done(&rd) || !valid(&regions))
		return -EPROTO;
	*ret_regions = regions;
	return 0;
}
