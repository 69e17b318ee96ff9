/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A space as a type1 container: devices opened by their IOMMU group. The order of the calls is the
 * kernel's: a group is put into the container, then the container gets its IOMMU, then the group
 * gives the device (Documentation/driver-api/vfio.rst).
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/device/vfio/space.h"
#include "backend/device/vfio/sys.h"
#include "backend/device/vfio/uapi.h"

static int open_container(struct vfio_space *space)
{
	int fd = vfio_sys->open("/dev/vfio/vfio"), r;

	if (fd < 0)
		return fd;
	r = vfio_sys->ioctl(fd, VFIO_GET_API_VERSION, NULL);
	if (r == VFIO_API_VERSION)
		r = vfio_sys->ioctl(fd, VFIO_CHECK_EXTENSION,
				    (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU);
	else if (r >= 0)
		r = 0; /* an interface that is not this one */
	if (r <= 0) {
		vfio_sys->close(fd);
		return r < 0 ? r : -EPROTONOSUPPORT;
	}
	space->fd = fd;
	return 0;
}

/* The size of the pages that its dirty bitmaps are made of; the host's if it does not say. */
static void ask_page_size(struct vfio_space *space)
{
	union {
		struct vfio_iommu_type1_info info;
		uint8_t bytes[4096];
	} u;
	uint32_t at, seen = 0;

	memset(&u, 0, sizeof(u));
	u.info.argsz = sizeof(u);
	if (vfio_sys->ioctl(space->fd, VFIO_IOMMU_GET_INFO, &u) < 0 ||
	    !(u.info.flags & VFIO_IOMMU_INFO_CAPS))
		return;
	for (at = u.info.cap_offset; at && seen < 16; seen++) {
		struct vfio_iommu_type1_info_cap_migration cap;
		struct vfio_info_cap_header header;

		if (at > sizeof(u) - sizeof(cap))
			return;
		memcpy(&header, u.bytes + at, sizeof(header));
		if (header.id == VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION) {
			memcpy(&cap, u.bytes + at, sizeof(cap));
			if (cap.pgsize_bitmap)
				space->page_size = cap.pgsize_bitmap & -cap.pgsize_bitmap;
			return;
		}
		at = header.next;
	}
}

int vfio_type1_join(struct vfio_space *space, const struct vfio_place *place, int group_fd)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	int fresh = space->fd < 0;
	int r = vfio_sys->ioctl(group_fd, VFIO_GROUP_GET_STATUS, &status);

	(void)place;
	if (r < 0)
		return r;
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return -EPERM;
	if (fresh)
		r = open_container(space);
	if (r < 0)
		return r;
	r = vfio_sys->ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &space->fd);
	if (r < 0 || !fresh)
		return r;
	r = vfio_sys->ioctl(space->fd, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU);
	if (r >= 0)
		ask_page_size(space);
	return r < 0 ? r : 0;
}

int vfio_type1_device(int group_fd, const struct vfio_place *place,
		      const struct vfio_config *config)
{
	char text[HF_NAME_MAX + 64];

	(void)snprintf(text, sizeof(text), "%s%s%s", place->address,
		       config->vf_token[0] ? " vf_token=" : "", config->vf_token);
	return vfio_sys->ioctl(group_fd, VFIO_GROUP_GET_DEVICE_FD, text);
}

int vfio_type1_map(struct vfio_space *space, const struct vfio_map *map)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m), .vaddr = map->vaddr, .iova = map->iova, .size = map->size
	};

	if (map->flags & HF_DMA_READ)
		m.flags |= VFIO_DMA_MAP_FLAG_READ;
	if (map->flags & HF_DMA_WRITE)
		m.flags |= VFIO_DMA_MAP_FLAG_WRITE;
	return vfio_sys->ioctl(space->fd, VFIO_IOMMU_MAP_DMA, &m);
}

int vfio_type1_unmap(struct vfio_space *space, const struct vfio_map *map)
{
	struct vfio_iommu_type1_dma_unmap u = { .argsz = sizeof(u),
						.iova = map->iova,
						.size = map->size };

	return vfio_sys->ioctl(space->fd, VFIO_IOMMU_UNMAP_DMA, &u);
}

int vfio_type1_track(struct vfio_space *space, int on)
{
	struct vfio_iommu_type1_dirty_bitmap d = {
		.argsz = sizeof(d),
		.flags = on ? VFIO_IOMMU_DIRTY_PAGES_FLAG_START : VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
	};

	return vfio_sys->ioctl(space->fd, VFIO_IOMMU_DIRTY_PAGES, &d);
}

/* A whole map: the kernel answers for nothing smaller. It overwrites the bitmap. */
int vfio_type1_read(struct vfio_space *space, const struct vfio_map *map, uint64_t *bitmap,
		    uint64_t bytes)
{
	struct vfio_iommu_type1_dirty_bitmap_get get = {
		.iova = map->iova,
		.size = map->size,
		.bitmap = { .pgsize = space->page_size, .size = bytes, .data = (void *)bitmap },
	};
	union {
		struct vfio_iommu_type1_dirty_bitmap d;
		uint8_t bytes[sizeof(struct vfio_iommu_type1_dirty_bitmap) + sizeof(get)];
	} u;

	memset(&u, 0, sizeof(u));
	u.d.argsz = sizeof(u);
	u.d.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
	memcpy(u.d.data, &get, sizeof(get));
	return vfio_sys->ioctl(space->fd, VFIO_IOMMU_DIRTY_PAGES, &u);
}
