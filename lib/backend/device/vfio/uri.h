/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The URI of a kernel device, ADDRESS[,KEY=VALUE...] behind "vfio:" (docs/vfio.md has the keys).
 * Only the text is judged here; whether there is such a device is find.h's.
 */
#ifndef BACKEND_DEVICE_VFIO_URI_H
#define BACKEND_DEVICE_VFIO_URI_H

#include <stdint.h>

#include <holdfast/error.h>
#include <holdfast/types.h>

/* clang-format off */
enum vfio_path { VFIO_PATH_AUTO, VFIO_PATH_GROUP, VFIO_PATH_CDEV };
enum vfio_dirty {
	VFIO_DIRTY_AUTO,
	VFIO_DIRTY_DEVICE, /* the device logs its DMA */
	VFIO_DIRTY_IOMMU,  /* the IOMMU's dirty bits, or what type1 knows to be pinned */
	VFIO_DIRTY_ALL,    /* nobody knows: all that is mapped for the device */
};
/* clang-format on */

#define VFIO_VM_MAX 32

struct vfio_config {
	char address[HF_NAME_MAX]; /* "0000:17:00.1", or an mdev's UUID */
	char name[HF_NAME_MAX]; /* what people call it */
	char vm[VFIO_VM_MAX]; /* devices of one VM share what the IOMMU is told */
	char vf_token[40]; /* a UUID, or "" */
	uint32_t is_mdev;
	enum vfio_path path;
	enum vfio_dirty dirty;
};

/* Errors: HF_E_INVALID names the key, or says what an address is. */
int vfio_uri_parse(const char *rest, const char *name, struct vfio_config *ret_config,
		   struct hf_error *err);

#endif
