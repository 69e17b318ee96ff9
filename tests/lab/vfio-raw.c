/* SPDX-License-Identifier: BSD-3-Clause */
/* See vfio-raw.h. */
#include "vfio-raw.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Of kernels since 6.6; the headers of the build host may be older. */
#define BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
struct bind_iommufd {
	__u32 argsz;
	__u32 flags;
	__s32 iommufd;
	__u32 out_devid;
};

#define ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)
struct attach_iommufd_pt {
	__u32 argsz;
	__u32 flags;
	__u32 pt_id;
};

#define IOAS_ALLOC _IO(VFIO_TYPE, 0x81)
struct ioas_alloc {
	__u32 size;
	__u32 flags;
	__u32 out_ioas_id;
};

#define IOAS_MAP _IO(VFIO_TYPE, 0x85)
#define IOAS_MAP_FLAGS 7u /* at this IOVA, to be read, to be written */
struct ioas_map {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__u32 reserved;
	__u64 memory;
	__u64 length;
	__u64 iova;
};

static const char *const states[] = { "ERROR",	  "STOP",	 "RUNNING",  "STOP_COPY",
				      "RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P" };

static int container = -1, iommufd = -1;
static __u32 ioas;

void raw_stuck(const char *role, const char *what)
{
	(void)printf("%s: %s: %s\n", role, what, strerror(errno));
	exit(1);
}

/* ---- two ways to open ---------------------------------------------------------------------- */

static int open_path(const char *role, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		raw_stuck(role, path);
	return fd;
}

static void open_group(struct raw_device *device)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char link[PATH_MAX], target[PATH_MAX] = "", path[PATH_MAX + 16];
	bool first = container < 0;
	int group;

	(void)snprintf(link, sizeof(link), "/sys/bus/mdev/devices/%s/iommu_group", device->uuid);
	if (readlink(link, target, sizeof(target) - 1) < 0)
		raw_stuck(device->role, link);
	(void)snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(target, '/') + 1);
	group = open_path(device->role, path);
	if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) ||
	    !(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		raw_stuck(device->role, "the group is not viable");
	if (first)
		container = open_path(device->role, "/dev/vfio/vfio");
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container))
		raw_stuck(device->role, "SET_CONTAINER");
	if (first && ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		raw_stuck(device->role, "SET_IOMMU");
	device->fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device->uuid);
	if (device->fd < 0)
		raw_stuck(device->role, "GET_DEVICE_FD");
}

static void open_node(struct raw_device *device)
{
	char folder[PATH_MAX], path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(folder, sizeof(folder), "/sys/bus/mdev/devices/%s/vfio-dev", device->uuid);
	dir = opendir(folder);
	if (!dir)
		raw_stuck(device->role, folder);
	do {
		entry = readdir(dir);
	} while (entry && strncmp(entry->d_name, "vfio", 4) != 0);
	if (!entry)
		raw_stuck(device->role, "no character device");
	(void)snprintf(path, sizeof(path), "/dev/vfio/devices/%s", entry->d_name);
	(void)closedir(dir);
	device->fd = open_path(device->role, path);
}

static void open_cdev(struct raw_device *device)
{
	struct bind_iommufd bind = { .argsz = sizeof(bind) };
	struct attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	struct ioas_alloc alloc = { .size = sizeof(alloc) };

	open_node(device);
	if (iommufd < 0) {
		iommufd = open_path(device->role, "/dev/iommu");
		if (ioctl(iommufd, IOAS_ALLOC, &alloc))
			raw_stuck(device->role, "IOAS_ALLOC");
		ioas = alloc.out_ioas_id;
	}
	bind.iommufd = iommufd;
	if (ioctl(device->fd, BIND_IOMMUFD, &bind))
		raw_stuck(device->role, "BIND_IOMMUFD");
	attach.pt_id = ioas;
	if (ioctl(device->fd, ATTACH_IOMMUFD_PT, &attach))
		raw_stuck(device->role, "ATTACH_IOMMUFD_PT");
}

void raw_open(struct raw_device *device, bool by_group)
{
	if (by_group)
		open_group(device);
	else
		open_cdev(device);
}

void raw_map(const struct raw_device *device, void *memory, size_t bytes, __u64 iova)
{
	struct vfio_iommu_type1_dma_map by_group = {
		.argsz = sizeof(by_group),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = bytes,
	};
	struct ioas_map by_cdev = {
		.size = sizeof(by_cdev),
		.flags = IOAS_MAP_FLAGS,
		.ioas_id = ioas,
		.memory = (uintptr_t)memory,
		.length = bytes,
		.iova = iova,
	};

	if (container >= 0 ? ioctl(container, VFIO_IOMMU_MAP_DMA, &by_group)
			   : ioctl(iommufd, IOAS_MAP, &by_cdev))
		raw_stuck(device->role, "memory cannot be mapped");
}

/* ---- features and arcs --------------------------------------------------------------------- */

int raw_ask(const struct raw_device *device, struct raw_feature *feature, __u32 flags)
{
	feature->argsz = sizeof(*feature);
	feature->flags = flags;
	return ioctl(device->fd, VFIO_DEVICE_FEATURE, feature);
}

const char *raw_state(const struct raw_device *device)
{
	struct raw_feature feature = { 0 };
	__u32 state;

	if (raw_ask(device, &feature,
		    VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE))
		raw_stuck(device->role, "the state cannot be read");
	state = feature.u.state.device_state;
	return state < sizeof(states) / sizeof(states[0]) ? states[state] : "a state of its own";
}

int raw_go(const struct raw_device *device, enum vfio_device_mig_state state)
{
	struct raw_feature feature = { .u.state = { .device_state = state, .data_fd = -1 } };
	int cause;

	if (raw_ask(device, &feature,
		    VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) == 0)
		return feature.u.state.data_fd;
	cause = errno;
	(void)printf("%s: -> %s: %s; it stands in %s\n", device->role, states[state],
		     strerror(cause), raw_state(device));
	exit(1);
}

/* ---- regions ------------------------------------------------------------------------------- */

static long region_at(const struct raw_device *device, __u32 region, __u64 offset)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = region };

	if (ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		raw_stuck(device->role, "a region is not there");
	return (long)(info.offset + offset);
}

__u32 raw_read(const struct raw_device *device, __u32 region, __u64 offset)
{
	__u32 value;

	if (pread(device->fd, &value, sizeof(value), region_at(device, region, offset)) !=
	    sizeof(value))
		raw_stuck(device->role, "a region cannot be read");
	return value;
}

void raw_write(const struct raw_device *device, __u32 region, __u64 offset, __u32 value)
{
	if (pwrite(device->fd, &value, sizeof(value), region_at(device, region, offset)) !=
	    sizeof(value))
		raw_stuck(device->role, "a region cannot be written");
}
