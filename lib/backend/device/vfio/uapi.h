/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's VFIO and iommufd interfaces as far as this backend speaks them, under the kernel's
 * names (linux/vfio.h, linux/iommufd.h). The build host's linux/vfio.h may be as old as 6.1; what
 * came later is here, and is not defined twice on newer hosts. linux/iommufd.h is not included at
 * all: its structs grew between releases, and the sizes below are the ones that all of them take.
 * Nothing here calls anything.
 */
#ifndef BACKEND_DEVICE_VFIO_UAPI_H
#define BACKEND_DEVICE_VFIO_UAPI_H

#include <assert.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/vfio.h>

/* ---- linux/vfio.h -------------------------------------------------------------------------- */

#ifndef VFIO_MIGRATION_PRE_COPY /* 6.2 */
#define VFIO_MIGRATION_PRE_COPY (1 << 2)
#endif

#ifndef VFIO_MIG_GET_PRECOPY_INFO /* 6.2; asked of the data fd */
struct vfio_precopy_info {
	__u32 argsz;
	__u32 flags;
	__aligned_u64 initial_bytes;
	__aligned_u64 dirty_bytes;
};
#define VFIO_MIG_GET_PRECOPY_INFO _IO(VFIO_TYPE, VFIO_BASE + 21)
#endif

#ifndef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE /* 6.2 */
struct vfio_device_feature_mig_data_size {
	__aligned_u64 stop_copy_length;
};
#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE 9
#endif

#ifndef VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 /* 7.1 */
#define VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 12
#endif
#ifndef VFIO_PRECOPY_INFO_REINIT
#define VFIO_PRECOPY_INFO_REINIT (1 << 0)
#endif

#ifndef VFIO_DEVICE_BIND_IOMMUFD /* 6.6 */
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)
#endif

/*
 * VFIO_DEVICE_BIND_IOMMUFD in full. Kernels before 7.0 know the first 16 bytes, and newer ones take
 * them too: argsz says which.
 */
struct vfio_bind_token {
	__u32 argsz;
	__u32 flags;
#define VFIO_BIND_TOKEN_FLAG 1u
	__s32 iommufd;
	__u32 out_devid;
	__aligned_u64 token_uuid_ptr;
};
#define VFIO_BIND_ARGSZ 16u

/* VFIO_DEVICE_ATTACH_IOMMUFD_PT as it first was; newer kernels have more behind it. */
struct vfio_attach_pt {
	__u32 argsz;
	__u32 flags;
	__u32 pt_id;
};

static_assert(sizeof(struct vfio_precopy_info) == 24, "uAPI");
static_assert(sizeof(struct vfio_device_feature) == 8, "uAPI");
static_assert(sizeof(struct vfio_device_feature_migration) == 8, "uAPI");
static_assert(sizeof(struct vfio_device_feature_mig_state) == 8, "uAPI");
static_assert(sizeof(struct vfio_device_feature_mig_data_size) == 8, "uAPI");
static_assert(sizeof(struct vfio_device_feature_dma_logging_control) == 24, "uAPI");
static_assert(sizeof(struct vfio_device_feature_dma_logging_range) == 16, "uAPI");
static_assert(sizeof(struct vfio_device_feature_dma_logging_report) == 32, "uAPI");
static_assert(sizeof(struct vfio_iommu_type1_dma_map) == 32, "uAPI");
static_assert(sizeof(struct vfio_iommu_type1_dma_unmap) == 24, "uAPI");
static_assert(sizeof(struct vfio_iommu_type1_dirty_bitmap) == 8, "uAPI");
static_assert(sizeof(struct vfio_iommu_type1_dirty_bitmap_get) == 40, "uAPI");
static_assert(sizeof(struct vfio_region_info) == 32, "uAPI");
static_assert(sizeof(struct vfio_irq_set) == 20, "uAPI");
static_assert(sizeof(struct vfio_bind_token) == 24, "uAPI");
static_assert(sizeof(struct vfio_attach_pt) == 12, "uAPI");

/* ---- linux/iommufd.h ----------------------------------------------------------------------- */

struct iommu_destroy {
	__u32 size;
	__u32 id;
};
#define IOMMU_DESTROY _IO(';', 0x80)

struct iommu_ioas_alloc {
	__u32 size;
	__u32 flags;
	__u32 out_ioas_id;
};
#define IOMMU_IOAS_ALLOC _IO(';', 0x81)

#define IOMMU_IOAS_MAP_FIXED_IOVA 1u
#define IOMMU_IOAS_MAP_WRITEABLE 2u
#define IOMMU_IOAS_MAP_READABLE 4u
struct iommu_ioas_map {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__u32 __reserved;
	__aligned_u64 user_va;
	__aligned_u64 length;
	__aligned_u64 iova;
};
#define IOMMU_IOAS_MAP _IO(';', 0x85)

struct iommu_ioas_unmap {
	__u32 size;
	__u32 ioas_id;
	__aligned_u64 iova;
	__aligned_u64 length;
};
#define IOMMU_IOAS_UNMAP _IO(';', 0x86)

#define IOMMU_HWPT_ALLOC_DIRTY_TRACKING 2u
struct iommu_hwpt_alloc { /* 6.7 */
	__u32 size;
	__u32 flags;
	__u32 dev_id;
	__u32 pt_id;
	__u32 out_hwpt_id;
	__u32 __reserved;
	__u32 data_type;
	__u32 data_len;
	__aligned_u64 data_uptr;
};
#define IOMMU_HWPT_ALLOC _IO(';', 0x89)

#define IOMMU_HW_CAP_DIRTY_TRACKING 1u
struct iommu_hw_info { /* 6.7 */
	__u32 size;
	__u32 flags;
	__u32 dev_id;
	__u32 data_len;
	__aligned_u64 data_uptr;
	__u32 out_data_type;
	__u32 __reserved;
	__aligned_u64 out_capabilities;
};
#define IOMMU_GET_HW_INFO _IO(';', 0x8a)

#define IOMMU_HWPT_DIRTY_TRACKING_ENABLE 1u
struct iommu_hwpt_set_dirty_tracking { /* 6.7 */
	__u32 size;
	__u32 flags;
	__u32 hwpt_id;
	__u32 __reserved;
};
#define IOMMU_HWPT_SET_DIRTY_TRACKING _IO(';', 0x8b)

struct iommu_hwpt_get_dirty_bitmap { /* 6.7 */
	__u32 size;
	__u32 hwpt_id;
	__u32 flags;
	__u32 __reserved;
	__aligned_u64 iova;
	__aligned_u64 length;
	__aligned_u64 page_size;
	__aligned_u64 data;
};
#define IOMMU_HWPT_GET_DIRTY_BITMAP _IO(';', 0x8c)

static_assert(sizeof(struct iommu_destroy) == 8, "uAPI");
static_assert(sizeof(struct iommu_ioas_alloc) == 12, "uAPI");
static_assert(sizeof(struct iommu_ioas_map) == 40, "uAPI");
static_assert(sizeof(struct iommu_ioas_unmap) == 24, "uAPI");
static_assert(sizeof(struct iommu_hwpt_alloc) == 40, "uAPI");
static_assert(sizeof(struct iommu_hw_info) == 40, "uAPI");
static_assert(sizeof(struct iommu_hwpt_set_dirty_tracking) == 16, "uAPI");
static_assert(sizeof(struct iommu_hwpt_get_dirty_bitmap) == 48, "uAPI");

#endif
