/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A space as an IOAS of an iommufd: devices opened by their own node (cdev). A device whose IOMMU
 * has dirty bits is attached to a page table (HWPT) that tracks them; devices share one where it
 * fits. Mediated devices have no page table: they are attached to the IOAS itself.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "backend/device/vfio/space.h"
#include "backend/device/vfio/sys.h"
#include "backend/device/vfio/uapi.h"

int vfio_iommufd_open(struct vfio_space *space)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	int fd = vfio_sys->open("/dev/iommu"), r;

	if (fd < 0)
		return fd;
	r = vfio_sys->ioctl(fd, IOMMU_IOAS_ALLOC, &alloc);
	if (r < 0) {
		vfio_sys->close(fd);
		return r;
	}
	space->fd = fd;
	space->ioas = alloc.out_ioas_id;
	return 0;
}

static int hex(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* The 16 bytes of a UUID that uri.c has judged. */
static void uuid_bytes(const char *text, uint8_t ret_bytes[16])
{
	for (uint32_t i = 0; i < 16; i++) {
		if (*text == '-')
			text++;
		ret_bytes[i] = (uint8_t)(hex(text[0]) << 4 | hex(text[1]));
		text += 2;
	}
}

int vfio_iommufd_bind(struct vfio_space *space, int fd, const struct vfio_config *config,
		      uint32_t *ret_devid)
{
	struct vfio_bind_token bind = { .argsz = VFIO_BIND_ARGSZ, .iommufd = space->fd };
	uint8_t uuid[16];
	int r;

	if (config->vf_token[0]) {
		uuid_bytes(config->vf_token, uuid);
		bind.argsz = sizeof(bind);
		bind.flags = VFIO_BIND_TOKEN_FLAG;
		bind.token_uuid_ptr = (uintptr_t)uuid;
	}
	r = vfio_sys->ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	if (r >= 0)
		*ret_devid = bind.out_devid;
	return r;
}

static int attach(int fd, uint32_t pt)
{
	struct vfio_attach_pt a = { .argsz = sizeof(a), .pt_id = pt };

	return vfio_sys->ioctl(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a);
}

static int has_dirty_bits(const struct vfio_space *space, uint32_t devid)
{
	struct iommu_hw_info info = { .size = sizeof(info), .dev_id = devid };

	return vfio_sys->ioctl(space->fd, IOMMU_GET_HW_INFO, &info) >= 0 &&
	       (info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING);
}

/* A page table of its own that tracks; its index, or a negative errno. */
static int attach_new(struct vfio_space *space, int fd, uint32_t devid)
{
	struct iommu_hwpt_alloc alloc = { .size = sizeof(alloc),
					  .flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
					  .dev_id = devid,
					  .pt_id = space->ioas };
	uint32_t at = 0;
	int r;

	while (at < HF_DEVICES_MAX && space->hwpts[at].id)
		at++;
	if (at == HF_DEVICES_MAX)
		return -ENOSPC;
	r = vfio_sys->ioctl(space->fd, IOMMU_HWPT_ALLOC, &alloc);
	if (r < 0)
		return r;
	r = attach(fd, alloc.out_hwpt_id);
	if (r < 0) {
		struct iommu_destroy destroy = { sizeof(destroy), alloc.out_hwpt_id };

		(void)vfio_sys->ioctl(space->fd, IOMMU_DESTROY, &destroy);
		return r; /* the first failure counts */
	}
	space->hwpts[at] = (struct vfio_hwpt){ .id = alloc.out_hwpt_id };
	return (int)at;
}

int vfio_iommufd_attach(struct vfio_space *space, int fd, uint32_t devid, uint32_t slot,
			int is_mdev, int *ret_hwpt)
{
	int at = -1;

	if (!is_mdev && has_dirty_bits(space, devid)) {
		for (int i = 0; i < HF_DEVICES_MAX && at < 0; i++)
			if (space->hwpts[i].id && attach(fd, space->hwpts[i].id) >= 0)
				at = i;
		if (at < 0)
			at = attach_new(space, fd, devid);
	}
	*ret_hwpt = at < 0 ? -1 : at;
	if (at < 0)
		return attach(fd, space->ioas);
	space->hwpts[at].members |= 1u << slot;
	return 0;
}

/* Its last member's descriptor is closed. */
void vfio_iommufd_leave(struct vfio_space *space, struct vfio_hwpt *hwpt)
{
	struct iommu_destroy destroy = { sizeof(destroy), hwpt->id };

	assert(hwpt->id && !hwpt->members);
	/* If it stays it only costs memory, until the iommufd is closed. */
	(void)vfio_sys->ioctl(space->fd, IOMMU_DESTROY, &destroy);
	*hwpt = (struct vfio_hwpt){ 0 };
}

int vfio_iommufd_map(struct vfio_space *space, const struct vfio_map *map)
{
	struct iommu_ioas_map m = { .size = sizeof(m),
				    .flags = IOMMU_IOAS_MAP_FIXED_IOVA,
				    .ioas_id = space->ioas,
				    .user_va = map->vaddr,
				    .length = map->size,
				    .iova = map->iova };

	if (map->flags & HF_DMA_READ)
		m.flags |= IOMMU_IOAS_MAP_READABLE;
	if (map->flags & HF_DMA_WRITE)
		m.flags |= IOMMU_IOAS_MAP_WRITEABLE;
	return vfio_sys->ioctl(space->fd, IOMMU_IOAS_MAP, &m);
}

int vfio_iommufd_unmap(struct vfio_space *space, const struct vfio_map *map)
{
	struct iommu_ioas_unmap u = {
		.size = sizeof(u), .ioas_id = space->ioas, .iova = map->iova, .length = map->size
	};

	return vfio_sys->ioctl(space->fd, IOMMU_IOAS_UNMAP, &u);
}

int vfio_iommufd_track(struct vfio_space *space, const struct vfio_hwpt *hwpt, int on)
{
	struct iommu_hwpt_set_dirty_tracking set = {
		.size = sizeof(set),
		.flags = on ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = hwpt->id,
	};

	return vfio_sys->ioctl(space->fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set);
}

/* A part of one map: the kernel answers for nothing that has holes. It only sets bits. */
int vfio_iommufd_read(struct vfio_space *space, const struct vfio_hwpt *hwpt, uint64_t iova,
		      uint64_t length, uint64_t *bitmap)
{
	struct iommu_hwpt_get_dirty_bitmap get = { .size = sizeof(get),
						   .hwpt_id = hwpt->id,
						   .iova = iova,
						   .length = length,
						   .page_size = space->page_size,
						   .data = (uintptr_t)bitmap };

	return vfio_sys->ioctl(space->fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get);
}
