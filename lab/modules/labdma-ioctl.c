/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What VFIO asks about labdma (labdma.h): which regions and interrupts there are, whom interrupts
 * are signalled to, and maps of BAR 2. Of that, only every other page can be mapped: a region of
 * sparse areas, as those of devices that keep some pages for themselves.
 */
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "labdma.h"

/* What can be mapped of BAR 2. */
static const struct vfio_region_sparse_mmap_area areas[] = {
	{ .offset = LABDMA_BLOCK_BYTES, .size = LABDMA_BLOCK_BYTES },
	{ .offset = 3 * LABDMA_BLOCK_BYTES, .size = LABDMA_BLOCK_BYTES },
};

static struct labdma_device *device_of(struct vfio_device *vdev)
{
	return container_of(vdev, struct labdma_device, vdev);
}

/* ---- regions ------------------------------------------------------------------------------- */

void labdma_mapped_touched(struct labdma_device *device)
{
	for (u32 i = 0; i < ARRAY_SIZE(areas); i++)
		labdma_stream_touched(device, areas[i].offset / LABDMA_BLOCK_BYTES);
}

int labdma_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	const unsigned long shift = LABDMA_REGION_SHIFT - PAGE_SHIFT;
	unsigned long page = vma->vm_pgoff & ((1ul << shift) - 1);

	if (vma->vm_pgoff >> shift != VFIO_PCI_BAR2_REGION_INDEX || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	for (u32 i = 0; i < ARRAY_SIZE(areas); i++)
		if ((u64)page << PAGE_SHIFT == areas[i].offset &&
		    vma->vm_end - vma->vm_start == areas[i].size)
			return remap_vmalloc_range(vma, device_of(vdev)->memory, page);
	return -EINVAL;
}

static int sparse_areas(struct vfio_info_cap *caps)
{
	struct vfio_region_info_cap_sparse_mmap *sparse;
	size_t bytes = struct_size(sparse, areas, ARRAY_SIZE(areas));
	int r;

	sparse = kzalloc(bytes, GFP_KERNEL);
	if (!sparse)
		return -ENOMEM;
	sparse->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	sparse->header.version = 1;
	sparse->nr_areas = ARRAY_SIZE(areas);
	memcpy(sparse->areas, areas, sizeof(areas));
	r = vfio_info_add_capability(caps, &sparse->header, bytes);
	kfree(sparse);
	return r;
}

int labdma_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
		       struct vfio_info_cap *caps)
{
	if (info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info->offset = (u64)info->index << LABDMA_REGION_SHIFT;
	info->size = 0;
	if (info->index == VFIO_PCI_CONFIG_REGION_INDEX)
		info->size = LABDMA_CONFIG_BYTES;
	else if (info->index == VFIO_PCI_BAR0_REGION_INDEX)
		info->size = LABDMA_BAR0_BYTES;
	else if (info->index == VFIO_PCI_BAR2_REGION_INDEX)
		info->size = LABDMA_BAR2_BYTES;
	info->flags = info->size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;
	if (info->index != VFIO_PCI_BAR2_REGION_INDEX)
		return 0;
	info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	return sparse_areas(caps);
}

/* What vfio does itself since Linux 6.19: the capabilities go behind the answer, if they fit. */
static int region_info(struct vfio_device *vdev, struct vfio_region_info *info,
		       void __user *argument)
{
	struct vfio_info_cap caps = {};
	int r = labdma_region_info(vdev, info, &caps);

	info->cap_offset = 0;
	if (r == 0 && caps.size) {
		info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
		if (info->argsz < sizeof(*info) + caps.size) {
			info->argsz = sizeof(*info) + caps.size;
		} else {
			vfio_info_cap_shift(&caps, sizeof(*info));
			if (copy_to_user(argument + sizeof(*info), caps.buf, caps.size))
				r = -EFAULT;
			info->cap_offset = sizeof(*info);
		}
	}
	kfree(caps.buf);
	return r;
}

/* ---- interrupts ---------------------------------------------------------------------------- */

static bool has_irq(u32 index)
{
	return index == VFIO_PCI_MSI_IRQ_INDEX || index == VFIO_PCI_ERR_IRQ_INDEX ||
	       index == VFIO_PCI_REQ_IRQ_INDEX;
}

void labdma_signal(struct labdma_device *device, u32 index)
{
	if (device->irqs[index])
		eventfd_signal(device->irqs[index]);
}

/* The host takes it away (mdev-rm), and asks its user to let go of it, until that happens. */
void labdma_request(struct vfio_device *vdev, unsigned int count)
{
	struct labdma_device *device = device_of(vdev);

	mutex_lock(&device->lock);
	labdma_signal(device, VFIO_PCI_REQ_IRQ_INDEX);
	mutex_unlock(&device->lock);
}

static int set_irq(struct labdma_device *device, const struct vfio_irq_set *set,
		   void __user *argument)
{
	size_t bytes_min = offsetofend(struct vfio_irq_set, count);
	struct eventfd_ctx *irq = NULL;
	s32 fd = -1;

	if (set->argsz < bytes_min || !has_irq(set->index) || set->start || set->count > 1 ||
	    !(set->flags & VFIO_IRQ_SET_ACTION_TRIGGER))
		return -EINVAL;
	if (set->count && !(set->flags & VFIO_IRQ_SET_DATA_EVENTFD)) { /* a loop back */
		mutex_lock(&device->lock);
		labdma_signal(device, set->index);
		mutex_unlock(&device->lock);
		return 0;
	}
	if (set->count && (set->argsz < bytes_min + sizeof(fd) ||
			   copy_from_user(&fd, argument + bytes_min, sizeof(fd))))
		return -EFAULT;
	if (fd >= 0)
		irq = eventfd_ctx_fdget(fd);
	if (IS_ERR(irq))
		return PTR_ERR(irq);
	mutex_lock(&device->lock);
	swap(irq, device->irqs[set->index]);
	mutex_unlock(&device->lock);
	if (irq)
		eventfd_ctx_put(irq);
	return 0;
}

/* ---- ioctls -------------------------------------------------------------------------------- */

/* What all these requests have in common: a struct that says how large it is. */
union request {
	u32 argsz;
	struct vfio_device_info device;
	struct vfio_region_info region;
	struct vfio_irq_info irq;
	struct vfio_irq_set set;
};

static int answer(struct vfio_device *vdev, unsigned int command, union request *request,
		  void __user *argument)
{
	switch (command) {
	case VFIO_DEVICE_GET_INFO:
		request->device.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
		request->device.num_regions = VFIO_PCI_NUM_REGIONS;
		request->device.num_irqs = VFIO_PCI_NUM_IRQS;
		return 0;
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(vdev, &request->region, argument);
	case VFIO_DEVICE_GET_IRQ_INFO:
		if (request->irq.index >= VFIO_PCI_NUM_IRQS)
			return -EINVAL;
		request->irq.count = has_irq(request->irq.index);
		request->irq.flags =
			request->irq.count ? VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE : 0;
		return 0;
	}
	return -ENOTTY;
}

long labdma_ioctl(struct vfio_device *vdev, unsigned int command, unsigned long argument)
{
	struct labdma_device *device = device_of(vdev);
	void __user *user = (void __user *)argument;
	union request request = {};
	size_t bytes;
	int r;

	switch (command) {
	case VFIO_DEVICE_RESET:
		mutex_lock(&device->lock);
		r = labdma_reset(device);
		mutex_unlock(&device->lock);
		return r;
	case VFIO_DEVICE_GET_INFO:
		bytes = offsetofend(struct vfio_device_info, num_irqs);
		break;
	case VFIO_DEVICE_GET_REGION_INFO:
		bytes = offsetofend(struct vfio_region_info, offset);
		break;
	case VFIO_DEVICE_GET_IRQ_INFO:
		bytes = offsetofend(struct vfio_irq_info, count);
		break;
	case VFIO_DEVICE_SET_IRQS:
		bytes = offsetofend(struct vfio_irq_set, count);
		break;
	default:
		return -ENOTTY;
	}
	if (copy_from_user(&request, user, bytes))
		return -EFAULT;
	if (request.argsz < bytes)
		return -EINVAL;
	if (command == VFIO_DEVICE_SET_IRQS)
		return set_irq(device, &request.set, user);
	r = answer(vdev, command, &request, user);
	return r ? r : copy_to_user(user, &request, bytes) ? -EFAULT : 0;
}
