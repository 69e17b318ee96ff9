/* SPDX-License-Identifier: BSD-3-Clause */
/* The iommufd of vfio-kernel.h: devices bound to it, its one IOAS, page tables with dirty bits. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <cmocka.h>

#include "backend/device/vfio/uapi.h"
#include "vfio-kernel.h"

#define IOAS_ID 7u
#define HWPT_ID 100u
#define PAGE 4096u

int kernel_bind(struct kernel_fd *fd, const struct vfio_bind_token *bind)
{
	struct kernel_device *d = &kernel.devices[fd->device];
	const uint8_t *uuid = (const void *)(uintptr_t)bind->token_uuid_ptr;

	if (d->bound || kernel_fd_of(bind->iommufd)->kind != KERNEL_IOMMUFD || bind->argsz < 16)
		return -EINVAL;
	d->bound = d->used = 1;
	d->iommufd = (uint32_t)(bind->iommufd - KERNEL_FD_BASE);
	if (bind->flags & VFIO_BIND_TOKEN_FLAG)
		(void)snprintf(d->token, sizeof(d->token), "%02x%02x..%02x", uuid[0], uuid[1],
			       uuid[15]);
	return 0;
}

int kernel_attach(struct kernel_fd *fd, const struct vfio_attach_pt *a)
{
	struct kernel_device *d = &kernel.devices[fd->device];
	struct kernel_fd *i = &kernel_fds[d->iommufd];
	uint32_t hwpt = a->pt_id - HWPT_ID;

	if (a->pt_id == IOAS_ID) {
		d->attached = IOAS_ID;
	} else {
		if (d->is_mdev || hwpt >= KERNEL_DEVICES_MAX || i->hwpt_iommu[hwpt] != d->iommu + 1)
			return -EINVAL;
		d->attached = a->pt_id;
	}
	kernel_join(d, i);
	return 0;
}

static int hwpt_alloc(struct kernel_fd *i, struct iommu_hwpt_alloc *a)
{
	struct kernel_device *d = &kernel.devices[a->dev_id - KERNEL_DEV_ID];

	if (a->flags != IOMMU_HWPT_ALLOC_DIRTY_TRACKING || a->pt_id != IOAS_ID || d->is_mdev)
		return -EINVAL;
	if (kernel.no_dirty_bits)
		return -EOPNOTSUPP;
	for (uint32_t n = 0; n < KERNEL_DEVICES_MAX; n++) {
		if (i->hwpt_iommu[n])
			continue;
		i->hwpt_iommu[n] = d->iommu + 1;
		i->hwpt_tracking[n] = 0;
		a->out_hwpt_id = HWPT_ID + n;
		return 0;
	}
	return -ENOSPC;
}

static int hwpt_track(struct kernel_fd *i, const struct iommu_hwpt_set_dirty_tracking *s)
{
	uint32_t on = s->flags & IOMMU_HWPT_DIRTY_TRACKING_ENABLE;

	for (int n = 0; n < KERNEL_DEVICES_MAX; n++) {
		struct kernel_device *d = &kernel.devices[n];

		if (!kernel_reaches(d, i) || d->attached != s->hwpt_id)
			continue;
		if (i->hwpt_tracking[s->hwpt_id - HWPT_ID]) /* switched on anew, it forgets */
			kernel_log_switch(d, 0);
		if (on)
			kernel_log_switch(d, 1);
	}
	i->hwpt_tracking[s->hwpt_id - HWPT_ID] = on;
	return 0;
}

static int hwpt_read(struct kernel_fd *i, const struct iommu_hwpt_get_dirty_bitmap *get)
{
	int inside = 0;

	if (!i->hwpt_tracking[get->hwpt_id - HWPT_ID] || get->page_size != PAGE)
		return -EINVAL;
	for (uint32_t n = 0; n < i->map_count; n++)
		inside |= get->iova >= i->maps[n].iova &&
			  get->iova + get->length <= i->maps[n].iova + i->maps[n].size;
	if (!inside)
		return -EINVAL;
	for (int n = 0; n < KERNEL_DEVICES_MAX; n++)
		if (kernel_reaches(&kernel.devices[n], i) &&
		    kernel.devices[n].attached == get->hwpt_id)
			kernel_log_read(&kernel.devices[n], get->iova, get->length,
					(uint64_t *)(uintptr_t)get->data);
	return 0;
}

int kernel_iommufd_ioctl(struct kernel_fd *i, unsigned long request, void *argument)
{
	const struct iommu_ioas_map *m = argument;
	const struct iommu_ioas_unmap *u = argument;

	switch (request) {
	case IOMMU_IOAS_ALLOC:
		((struct iommu_ioas_alloc *)argument)->out_ioas_id = IOAS_ID;
		return 0;
	case IOMMU_GET_HW_INFO: {
		struct iommu_hw_info *info = argument;

		if (kernel.devices[info->dev_id - KERNEL_DEV_ID].is_mdev)
			return -ENOENT;
		info->out_capabilities = kernel.no_dirty_bits ? 0 : IOMMU_HW_CAP_DIRTY_TRACKING;
		return 0;
	}
	case IOMMU_HWPT_ALLOC:
		return hwpt_alloc(i, argument);
	case IOMMU_DESTROY: {
		const struct iommu_destroy *d = argument;

		for (int n = 0; n < KERNEL_DEVICES_MAX; n++)
			assert_false(kernel_reaches(&kernel.devices[n], i) &&
				     kernel.devices[n].attached == d->id);
		i->hwpt_iommu[d->id - HWPT_ID] = 0;
		return 0;
	}
	case IOMMU_IOAS_MAP:
		if (!(m->flags & IOMMU_IOAS_MAP_FIXED_IOVA) || m->ioas_id != IOAS_ID)
			return -EINVAL;
		/* Its pages cannot be pinned: a device behind an IOMMU is attached. */
		if (m->user_va < kernel.bar_vaddr + kernel.bar_size &&
		    kernel.bar_vaddr < m->user_va + m->length)
			return -EFAULT;
		return kernel_map(
			i,
			(struct kernel_map){
				m->iova, m->length, m->user_va,
				(m->flags & IOMMU_IOAS_MAP_READABLE ? HF_DMA_READ : 0) |
					(m->flags & IOMMU_IOAS_MAP_WRITEABLE ? HF_DMA_WRITE : 0) });
	case IOMMU_IOAS_UNMAP:
		return kernel_unmap(i, u->iova, u->length);
	case IOMMU_HWPT_SET_DIRTY_TRACKING:
		return hwpt_track(i, argument);
	case IOMMU_HWPT_GET_DIRTY_BITMAP:
		return hwpt_read(i, argument);
	default:
		return -ENOTTY;
	}
}
