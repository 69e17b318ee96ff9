/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages a kernel device's DMA may have written. The device's own log if it has one
 * (VFIO_DEVICE_FEATURE_DMA_LOGGING_*), else the IOMMU's dirty bits, else all that is mapped for it:
 * always right, but then rounds do not become shorter, which is why info() says so.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "backend/device/log-ranges.h"
#include "backend/device/vfio/uapi.h"
#include "backend/device/vfio/vfio.h"
#include "base/error.h"

#define RANGES_MAX 256u /* the kernel's core takes a page full of them */
/* Pages of one REPORT: the kernel pins the bitmap and asks the device under a lock. */
#define CHUNK_PAGES (1u << 20)

static int probe(const struct vfio *v, uint32_t feature)
{
	return vfio_feature(v, VFIO_DEVICE_FEATURE_PROBE | feature, NULL, 0) == 0;
}

static int report(const struct vfio *v, uint64_t iova, uint64_t length, uint64_t page_size,
		  uint64_t *bitmap)
{
	struct vfio_device_feature_dma_logging_report r = {
		.iova = iova, .length = length, .page_size = page_size, .bitmap = (uintptr_t)bitmap
	};

	return vfio_feature(v, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &r,
			    sizeof(r));
}

/*
 * Kernels without IOMMUFD_DRIVER start logging and cannot report, which one sees only by asking for
 * a report. One that can says EINVAL, or that nothing is dirty: nothing was started yet.
 */
static int device_logs(const struct vfio *v)
{
	uint64_t bitmap = 0;

	return probe(v, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START) &&
	       probe(v, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP) &&
	       probe(v, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT) &&
	       report(v, 0, HF_PAGE_SIZE, HF_PAGE_SIZE, &bitmap) != -EOPNOTSUPP;
}

int vfio_dirty_init(struct vfio *v, struct hf_error *err)
{
	int logs = device_logs(v);
	enum vfio_knows knows = v->member.knows;

	v->dirty = v->config.dirty;
	if (v->dirty == VFIO_DIRTY_AUTO)
		v->dirty = logs				 ? VFIO_DIRTY_DEVICE
			   : knows != VFIO_KNOWS_NOTHING ? VFIO_DIRTY_IOMMU
							 : VFIO_DIRTY_ALL;
	if (v->dirty == VFIO_DIRTY_DEVICE && !logs)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio: %s does not log its DMA (dirty=device), or its kernel "
				 "lacks IOMMUFD_DRIVER to report it",
				 v->config.address);
	if (v->dirty == VFIO_DIRTY_IOMMU && knows == VFIO_KNOWS_NOTHING)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio: the IOMMU of %s has no dirty bits (dirty=iommu)",
				 v->config.address);
	v->info.flags |= HF_DEVICE_HAS_DMA_LOGGING;
	if (v->dirty == VFIO_DIRTY_IOMMU)
		v->info.flags |= HF_DEVICE_DIRTY_SHARED;
	/* Type1 takes all pages for dirty that it pinned, and for a PCI device that is every one.
	 */
	if (v->dirty == VFIO_DIRTY_ALL ||
	    (v->dirty == VFIO_DIRTY_IOMMU && knows == VFIO_KNOWS_PINNED && !v->config.is_mdev))
		v->info.flags |= HF_DEVICE_DIRTY_ALL;
	return 0;
}

int vfio_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
		     uint32_t count)
{
	struct vfio *v = self;
	struct vfio_device_feature_dma_logging_range list[RANGES_MAX];
	struct vfio_device_feature_dma_logging_control start = { .page_size = page_size,
								 .num_ranges = count,
								 .ranges = (uintptr_t)list };
	int r = log_ranges_check(page_size, ranges, count, RANGES_MAX);

	if (r < 0)
		return r;
	if (v->dirty != VFIO_DIRTY_DEVICE)
		return vfio_space_dirty_start(&v->member, v->dirty == VFIO_DIRTY_ALL);
	for (uint32_t i = 0; i < count; i++) {
		list[i].iova = ranges[i].iova;
		list[i].length = ranges[i].size;
	}
	return vfio_feature(v, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			    &start, sizeof(start));
}

/* Chunk by chunk: each begins with a word of the bitmap. */
int vfio_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
		    uint64_t *bitmap)
{
	struct vfio *v = self;
	uint64_t chunk = CHUNK_PAGES * page_size;
	int r = 0;

	if (v->dirty != VFIO_DIRTY_DEVICE)
		return vfio_space_dirty_read(&v->member, iova, length, page_size, bitmap);
	if (page_size < HF_PAGE_SIZE || (page_size & (page_size - 1)) || length == 0)
		return -EINVAL;
	if (length > UINT64_MAX - iova)
		return -EOVERFLOW;
	if (chunk / CHUNK_PAGES != page_size)
		chunk = length;
	for (uint64_t done = 0; r == 0 && done < length;) {
		uint64_t rest = length - done, n = rest < chunk ? rest : chunk;

		r = report(v, iova + done, n, page_size, bitmap + done / page_size / 64);
		done += n;
	}
	return r;
}

int vfio_dirty_stop(void *self)
{
	struct vfio *v = self;

	if (v->dirty != VFIO_DIRTY_DEVICE)
		return vfio_space_dirty_stop(&v->member);
	return vfio_feature(v, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL,
			    0);
}
