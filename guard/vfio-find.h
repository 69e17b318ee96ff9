/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which descriptors of another process are its VFIO devices, and of which device each is. For
 * vfio-take.c; needs the right to trace the process.
 */
#ifndef GUARD_VFIO_FIND_H
#define GUARD_VFIO_FIND_H

#include <stdint.h>
#include <sys/types.h>

#include <holdfast/error.h>
#include <holdfast/types.h>

struct vfio_descriptor {
	int number; /* there */
	char *path; /* the device's folder in sysfs; NULL: this kernel does not say */
};

struct vfio_group {
	int number;
	char name[32]; /* "3", as in /sys/kernel/iommu_groups */
};

/* Both in the order of their numbers, which is that in which they were opened. */
struct vfio_found {
	struct vfio_descriptor devices[HF_DEVICES_MAX];
	struct vfio_group groups[HF_DEVICES_MAX];
	uint32_t device_count, group_count;
};

/* Errors: HF_E_SYSTEM (no right), HF_E_UNSUPPORTED (more than HF_DEVICES_MAX). vfio_found_free().
 */
int vfio_find(pid_t pid, struct vfio_found *found, struct hf_error *err);
void vfio_found_free(struct vfio_found *found);

/*
 * The folder in sysfs of the device that QEMU calls so: a path in sysfs, or a PCI address. The
 * caller's, by free(); NULL: there is none.
 */
char *vfio_path(const char *host);

/* The group of the device with that folder, among those found; NULL: none. */
const struct vfio_group *vfio_group_of(const struct vfio_found *found, const char *path);

#endif
