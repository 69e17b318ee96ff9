/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the kernel has a device: its folder in sysfs, its driver, and the nodes under /dev/vfio by
 * which it is opened. Looks only; whoever opens it is told in a sentence what is missing.
 */
#ifndef BACKEND_DEVICE_VFIO_FIND_H
#define BACKEND_DEVICE_VFIO_FIND_H

#include "backend/device/vfio/uri.h"

#define VFIO_NODE_MAX 64

struct vfio_place {
	enum vfio_path path; /* GROUP or CDEV */
	uint32_t is_mdev;
	char address[HF_NAME_MAX];
	char driver[32]; /* of a PCI device */
	char type[32]; /* of a mediated device: "mtty-2" */
	char group[16]; /* the IOMMU group's number, with GROUP */
	char node[VFIO_NODE_MAX]; /* of the group, or of the device */
};

/*
 * Errors: HF_E_INVALID (there is no such device), HF_E_UNSUPPORTED (a part of this host's VFIO, or
 * the device's driver, is missing; the text names it).
 */
int vfio_find(const struct vfio_config *config, struct vfio_place *ret_place, struct hf_error *err);

#endif
