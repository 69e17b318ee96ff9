/* SPDX-License-Identifier: BSD-3-Clause */
#include "backend/device/log-ranges.h"

#include <errno.h>

int log_ranges_check(uint64_t page_size, const struct hf_dma_range *ranges, uint32_t count,
		     uint32_t count_max)
{
	if (count == 0 || page_size < HF_PAGE_SIZE || (page_size & (page_size - 1)))
		return -EINVAL;
	if (count > count_max)
		return -E2BIG;
	for (uint32_t i = 0; i < count; i++) {
		const struct hf_dma_range *r = &ranges[i];

		if (((r->iova | r->size) & (page_size - 1)) || r->size == 0)
			return -EINVAL;
		if (r->size > UINT64_MAX - r->iova)
			return -EOVERFLOW;
		for (uint32_t k = 0; k < i; k++)
			if (r->iova < ranges[k].iova + ranges[k].size &&
			    ranges[k].iova < r->iova + r->size)
				return -EINVAL;
	}
	return 0;
}
