/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's VFIO by hand, for the programs that show that the lab is sound: nothing of the
 * library is in between, so that a fault of the library is not one of the lab. Whatever goes wrong
 * is said, and ends the program with 1.
 */
#ifndef VFIO_RAW_H
#define VFIO_RAW_H

#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>

struct raw_device {
	const char *role, *uuid;
	int fd;
};

/* errno says why. */
_Noreturn void raw_stuck(const char *role, const char *what);

/* Two ways to open a mediated device; all devices of a program by the same. */
void raw_open(struct raw_device *device, bool by_group);
/* Memory that the devices can write to, after one was opened. */
void raw_map(const struct raw_device *device, void *memory, size_t bytes, __u64 iova);

/* struct vfio_device_feature, with its payload behind it as the kernel wants it. */
struct raw_feature {
	__u32 argsz;
	__u32 flags;
	union {
		struct vfio_device_feature_migration migration;
		struct vfio_device_feature_mig_state state;
		struct vfio_device_feature_dma_logging_control log;
		struct vfio_device_feature_dma_logging_report report;
	} u;
};

/* As ioctl(): flags are VFIO_DEVICE_FEATURE_GET or _SET, and the feature. */
int raw_ask(const struct raw_device *device, struct raw_feature *feature, __u32 flags);
const char *raw_state(const struct raw_device *device);
/* To a state: the data fd, or -1 where the arc has none. */
int raw_go(const struct raw_device *device, enum vfio_device_mig_state state);

__u32 raw_read(const struct raw_device *device, __u32 region, __u64 offset);
void raw_write(const struct raw_device *device, __u32 region, __u64 offset, __u32 value);

#endif
