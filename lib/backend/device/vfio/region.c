/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions and interrupts of a kernel device. They do not change while it is open. */
#include <errno.h>
#include <string.h>

#include "backend/device/vfio/sys.h"
#include "backend/device/vfio/uapi.h"
#include "backend/device/vfio/vfio.h"

#define CAPS_BYTES 4096u /* of one region's capabilities; sparse areas take 16 each */
#define CAPS_MAX 16u
#define CONFIG_BYTES 256u /* of every function, whatever its driver says */

union region_reply {
	struct vfio_region_info info;
	uint8_t bytes[CAPS_BYTES];
};

/* ---- what there is ------------------------------------------------------------------------- */

/* VFIO_REGION_INFO_CAP_SPARSE_MMAP: only these parts can be mapped. More than fit are left out. */
static void sparse_areas(const union region_reply *u, uint32_t at, struct hf_region_info *info)
{
	struct vfio_region_info_cap_sparse_mmap cap;

	info->flags = (info->flags & ~HF_REGION_MMAP) | HF_REGION_MMAP_AREAS;
	if (at > sizeof(*u) - sizeof(cap))
		return;
	memcpy(&cap, u->bytes + at, sizeof(cap));
	at += (uint32_t)sizeof(cap);
	for (uint32_t i = 0; i < cap.nr_areas; i++) {
		struct vfio_region_sparse_mmap_area area;

		if (at > sizeof(*u) - sizeof(area) || info->area_count == HF_REGION_AREAS_MAX)
			return;
		memcpy(&area, u->bytes + at, sizeof(area));
		at += (uint32_t)sizeof(area);
		if (area.size == 0 || area.size > info->size ||
		    area.offset > info->size - area.size)
			continue;
		info->areas[info->area_count].offset = area.offset;
		info->areas[info->area_count++].size = area.size;
	}
}

static void read_caps(const union region_reply *u, struct hf_region_info *info)
{
	uint32_t at = u->info.cap_offset;

	for (uint32_t i = 0; i < CAPS_MAX && at >= sizeof(u->info); i++) {
		struct vfio_info_cap_header header;

		if (at > sizeof(*u) - sizeof(header))
			return;
		memcpy(&header, u->bytes + at, sizeof(header));
		if (header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP && (info->flags & HF_REGION_MMAP))
			sparse_areas(u, at, info);
		if (header.id == VFIO_REGION_INFO_CAP_MSIX_MAPPABLE)
			info->flags |= HF_REGION_MSIX_MAPPABLE;
		at = header.next;
	}
}

static int region_init(struct vfio *v, uint32_t index)
{
	struct vfio_region *region = &v->regions[index];
	union region_reply u;
	int r;

	memset(&u, 0, sizeof(u));
	u.info.argsz = sizeof(u);
	u.info.index = index;
	r = vfio_sys->ioctl(v->member.fd, VFIO_DEVICE_GET_REGION_INFO, &u);
	region->info.mmap_fd = -1;
	if (r == -EINVAL)
		return 0; /* one that is not implemented: VGA, for most */
	if (r < 0)
		return r;
	region->offset = u.info.offset;
	region->size = region->info.size = u.info.size;
	if (u.info.size == 0)
		return 0;
	if (index == VFIO_PCI_CONFIG_REGION_INDEX && u.info.size < CONFIG_BYTES)
		region->info.size = CONFIG_BYTES; /* mtty: 255 */
	if (u.info.flags & VFIO_REGION_INFO_FLAG_READ)
		region->info.flags |= HF_REGION_READ;
	if (u.info.flags & VFIO_REGION_INFO_FLAG_WRITE)
		region->info.flags |= HF_REGION_WRITE;
	if (u.info.flags & VFIO_REGION_INFO_FLAG_MMAP) {
		region->info.flags |= HF_REGION_MMAP;
		region->info.mmap_fd = v->member.fd;
		region->info.mmap_offset = u.info.offset;
	}
	if (!(u.info.flags & VFIO_REGION_INFO_FLAG_CAPS))
		return 0;
	if (u.info.argsz <= sizeof(u))
		read_caps(&u, &region->info);
	else
		region->info.flags &=
			~HF_REGION_MMAP; /* perhaps in parts only: which, is unknown */
	return 0;
}

static int irq_init(struct vfio *v, uint32_t index)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = index };
	int r = vfio_sys->ioctl(v->member.fd, VFIO_DEVICE_GET_IRQ_INFO, &info);

	if (r == -EINVAL)
		return 0; /* not implemented */
	if (r < 0)
		return r;
	if (info.flags & VFIO_IRQ_INFO_EVENTFD) {
		v->irqs[index].count = info.count;
		v->irqs[index].flags = info.flags;
	}
	return 0;
}

int vfio_regions_init(struct vfio *v, uint32_t region_count, uint32_t irq_count)
{
	int r = 0;

	v->info.region_count = region_count < VFIO_REGIONS_MAX ? region_count : VFIO_REGIONS_MAX;
	v->info.irq_count = irq_count < VFIO_IRQS_MAX ? irq_count : VFIO_IRQS_MAX;
	for (uint32_t i = 0; r == 0 && i < v->info.region_count; i++)
		r = region_init(v, i);
	for (uint32_t i = 0; r == 0 && i < v->info.irq_count; i++)
		r = irq_init(v, i);
	return r;
}

/* ---- regions ------------------------------------------------------------------------------- */

int vfio_region_info(void *self, uint32_t index, struct hf_region_info *ret_info)
{
	const struct vfio *v = self;

	if (index >= v->info.region_count)
		return -EINVAL;
	*ret_info = v->regions[index].info;
	return 0;
}

static int access_valid(const struct vfio *v, uint32_t index, uint64_t offset, size_t size,
			uint32_t flag)
{
	const struct hf_region_info *info;

	if (index >= v->info.region_count || size == 0)
		return 0;
	info = &v->regions[index].info;
	if (index != VFIO_PCI_CONFIG_REGION_INDEX && size != 1 && size != 2 && size != 4 &&
	    size != 8)
		return 0;
	return (info->flags & flag) && size <= info->size && offset <= info->size - size;
}

/* How much of an access is the driver's: what lies behind its end reads as 0, and is not written.
 */
static size_t drivers_part(const struct vfio_region *region, uint64_t offset, size_t size)
{
	uint64_t left = offset < region->size ? region->size - offset : 0;

	return size < left ? size : (size_t)left;
}

/* The configuration space comes in as many pieces as the driver likes; a BAR's access is one. */
int vfio_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size)
{
	const struct vfio *v = self;
	size_t done = 0, end;

	if (!access_valid(v, index, offset, size, HF_REGION_READ))
		return -EINVAL;
	end = drivers_part(&v->regions[index], offset, size);
	memset((char *)buf + end, 0, size - end);
	while (done < end) {
		ssize_t n = vfio_sys->pread(v->member.fd, (char *)buf + done, end - done,
					    v->regions[index].offset + offset + done);

		if (n <= 0 || (size_t)n > end - done)
			return n < 0 ? (int)n : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int vfio_region_write(void *self, uint32_t index, uint64_t offset, const void *buf, size_t size)
{
	const struct vfio *v = self;
	size_t done = 0, end;

	if (!access_valid(v, index, offset, size, HF_REGION_WRITE))
		return -EINVAL;
	end = drivers_part(&v->regions[index], offset, size);
	while (done < end) {
		ssize_t n = vfio_sys->pwrite(v->member.fd, (const char *)buf + done, end - done,
					     v->regions[index].offset + offset + done);

		if (n <= 0 || (size_t)n > end - done)
			return n < 0 ? (int)n : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* ---- interrupts ---------------------------------------------------------------------------- */

int vfio_irq_count(void *self, uint32_t index, uint32_t *ret_count)
{
	const struct vfio *v = self;

	if (index >= v->info.irq_count)
		return -EINVAL;
	*ret_count = v->irqs[index].count;
	return 0;
}

/* Vectors [0, count) get eventfds[i], and [count, total) none. */
static int set_eventfds(struct vfio *v, uint32_t index, uint32_t action, uint32_t count,
			uint32_t total, const int *eventfds)
{
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + VFIO_VECTORS_MAX * sizeof(int32_t)];
	} u;
	int32_t none = -1;

	memset(&u.set, 0, sizeof(u.set));
	u.set.argsz = (uint32_t)(sizeof(u.set) + total * sizeof(int32_t));
	u.set.flags = VFIO_IRQ_SET_DATA_EVENTFD | action;
	u.set.index = index;
	u.set.count = total;
	for (uint32_t i = 0; i < total; i++)
		memcpy(u.set.data + i * sizeof(int32_t), i < count ? &eventfds[i] : &none,
		       sizeof(int32_t));
	return vfio_sys->ioctl(v->member.fd, VFIO_DEVICE_SET_IRQS, &u);
}

static int disable(struct vfio *v, uint32_t index)
{
	struct vfio_irq_set set = { .argsz = sizeof(set),
				    .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
				    .index = index };
	int r = vfio_sys->ioctl(v->member.fd, VFIO_DEVICE_SET_IRQS, &set);

	if (r >= 0)
		v->irqs[index].enabled = 0;
	return r < 0 ? r : 0;
}

/*
 * More vectors than are enabled come by enabling anew, unless the kernel can add them; fewer by
 * taking the eventfds from the rest, so that the ones that stay miss nothing.
 */
static int set_trigger(struct vfio *v, uint32_t index, uint32_t count, const int *eventfds)
{
	struct vfio_irq *irq = &v->irqs[index];
	uint32_t total = count > irq->enabled ? count : irq->enabled;
	int r = 0;

	if (irq->enabled && count > irq->enabled && (irq->flags & VFIO_IRQ_INFO_NORESIZE))
		r = disable(v, index);
	if (r == 0)
		r = set_eventfds(v, index, VFIO_IRQ_SET_ACTION_TRIGGER, count, total, eventfds);
	if (r > 0) /* so many it could have enabled; it has enabled none */
		r = -ENOSPC;
	if (r < 0)
		return r;
	irq->enabled = total;
	return 0;
}

/* The driver unmasks by the caller's eventfd, or somebody does for it. */
static int set_unmask(struct vfio *v, int eventfd)
{
	int r = set_eventfds(v, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK, 1, 1,
			     &eventfd);

	return r == -ENOTTY ? vfio_unmask_start(v, eventfd) : r;
}

static int irqs_set_locked(struct vfio *v, uint32_t index, uint32_t count, const int *eventfds)
{
	int r;

	if (index == VFIO_PCI_INTX_IRQ_INDEX)
		vfio_unmask_stop(v);
	if (count == 0)
		return v->irqs[index].enabled ? disable(v, index) : 0;
	if (index != VFIO_PCI_INTX_IRQ_INDEX || count == 1)
		return set_trigger(v, index, count, eventfds);
	r = set_trigger(v, index, 1, eventfds);
	if (r < 0)
		return r;
	r = set_unmask(v, eventfds[1]);
	if (r < 0)
		(void)disable(v, index); /* the first failure counts */
	return r;
}

int vfio_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds)
{
	struct vfio *v = self;
	uint32_t most;
	int r;

	if (index >= v->info.irq_count)
		return -EINVAL;
	/* INTx: the second one says that the interrupt was served (backend.h). */
	most = v->irqs[index].count + (index == VFIO_PCI_INTX_IRQ_INDEX && v->irqs[index].count);
	if (count > most || count > VFIO_VECTORS_MAX)
		return -EINVAL;
	(void)pthread_mutex_lock(&v->lock);
	r = irqs_set_locked(v, index, count, eventfds);
	(void)pthread_mutex_unlock(&v->lock);
	return r < 0 ? r : 0;
}
