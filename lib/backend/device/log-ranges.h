/* SPDX-License-Identifier: BSD-3-Clause */
/* What every device asks of the ranges whose writes it is to log. */
#ifndef BACKEND_DEVICE_LOG_RANGES_H
#define BACKEND_DEVICE_LOG_RANGES_H

#include <stdint.h>

#include <holdfast/backend.h>

/*
 * As the kernel's core checks VFIO_DEVICE_FEATURE_DMA_LOGGING_START: -EINVAL (none, not aligned to
 * the page size, overlapping), -E2BIG, -EOVERFLOW. It lets a range of no length pass; here that is
 * -EINVAL, too.
 */
int log_ranges_check(uint64_t page_size, const struct hf_dma_range *ranges, uint32_t count,
		     uint32_t count_max);

#endif
