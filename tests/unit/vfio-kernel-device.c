/* SPDX-License-Identifier: BSD-3-Clause */
/* The devices of vfio-kernel.h: features, states, data, regions, interrupts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/types.h>
#include <cmocka.h>

#include "backend/device/vfio/uapi.h"
#include "device-arcs.h"
#include "vfio-kernel.h"

#define OP(d, name) (d)->sim.ops->name
#define REGION_SHIFT 40
#define MSIX 2u

static uint32_t index_of(const struct kernel_device *d)
{
	return (uint32_t)(d - kernel.devices);
}

static uint32_t state_of(struct kernel_device *d)
{
	uint32_t state = 0;

	assert_int_equal(OP(d, get_state)(d->sim.self, &state), 0);
	return state;
}

/* ---- states -------------------------------------------------------------------------------- */

static void kill_data(const struct kernel_device *d)
{
	for (uint32_t i = 0; i < KERNEL_FDS_MAX; i++)
		if (kernel_fds[i].kind == KERNEL_DATA && kernel_fds[i].device == index_of(d))
			kernel_fds[i].dead = 1;
}

static uint32_t mig_flags(struct kernel_device *d)
{
	struct hf_device_info info;

	assert_int_equal(OP(d, info)(d->sim.self, &info), 0);
	return info.mig_flags;
}

/* One arc, as the driver does it. */
static int arc(struct kernel_device *d, uint32_t from, uint32_t to, int *opens)
{
	int r;

	if (d->fail_times && d->fail_from == from && d->fail_to == to) {
		d->fail_times--;
		return -d->fail_errno;
	}
	if (from == HF_DEVICE_RESUMING && d->forgives_writes) {
		assert_int_equal(OP(d, reset)(d->sim.self), 0);
		r = OP(d, set_state)(d->sim.self, to);
	} else {
		r = OP(d, set_state)(d->sim.self, to);
	}
	if (r < 0)
		return r;
	if ((arcs_saves(from) && !arcs_saves(to)) || from == HF_DEVICE_RESUMING) {
		kill_data(d);
		*opens = 0;
	}
	if ((arcs_saves(to) && !arcs_saves(from)) || to == HF_DEVICE_RESUMING)
		*opens = 1;
	return 0;
}

/* vfio_ioctl_device_feature_mig_device_state(): the combination, then the descriptor. */
static int set_state(struct kernel_device *d, struct vfio_device_feature_mig_state *s)
{
	uint32_t from = state_of(d), path[ARCS_PATH_MAX], to = s->device_state;
	int opens = 0, r = 0, n, fd;

	d->sets++;
	s->data_fd = -1;
	if (from == HF_DEVICE_STOP_COPY && (mig_flags(d) & HF_MIG_PRE_COPY) &&
	    (to == HF_DEVICE_PRE_COPY || to == HF_DEVICE_PRE_COPY_P2P)) {
		d->lockups++;
		return -EINVAL;
	}
	n = to < HF_DEVICE_STATE_COUNT ? arcs_path(mig_flags(d), from, to, path) : -1;
	if (n < 0)
		return -EINVAL;
	for (int i = 0; r == 0 && i < n; i++) {
		r = arc(d, from, path[i], &opens);
		from = path[i];
	}
	if (r < 0 || !opens)
		return r;
	if (d->lose_times) {
		d->lose_times--;
		return -d->lose_errno;
	}
	fd = kernel_fd_new(KERNEL_DATA);
	if (fd < 0)
		return fd;
	kernel_fds[fd].device = index_of(d);
	kernel_fds[fd].loads = to == HF_DEVICE_RESUMING;
	s->data_fd = KERNEL_FD_BASE + fd;
	return 0;
}

/* ---- features ------------------------------------------------------------------------------ */

static int log_start(struct kernel_device *d,
		     const struct vfio_device_feature_dma_logging_control *c)
{
	const struct vfio_device_feature_dma_logging_range *list =
		(const void *)(uintptr_t)c->ranges;
	struct hf_dma_range ranges[256];

	if (c->num_ranges > 256)
		return -E2BIG;
	for (uint32_t i = 0; i < c->num_ranges; i++)
		ranges[i] = (struct hf_dma_range){ list[i].iova, list[i].length };
	return OP(d, dirty_start)(d->sim.self, c->page_size, ranges, c->num_ranges);
}

static int log_report(struct kernel_device *d,
		      const struct vfio_device_feature_dma_logging_report *r)
{
	if (d->no_report)
		return -EOPNOTSUPP;
	d->reports++;
	if (r->length > d->report_most)
		d->report_most = r->length;
	return OP(d, dirty_read)(d->sim.self, r->iova, r->length, r->page_size,
				 (uint64_t *)(uintptr_t)r->bitmap);
}

/* The directions that a feature has; 0: there is none. */
static uint32_t directions(struct kernel_device *d, uint32_t feature)
{
	struct hf_device_info info;

	assert_int_equal(OP(d, info)(d->sim.self, &info), 0);
	switch (feature) {
	case VFIO_DEVICE_FEATURE_MIGRATION:
		return VFIO_DEVICE_FEATURE_GET;
	case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
		return VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET;
	case VFIO_DEVICE_FEATURE_MIG_DATA_SIZE:
		return info.flags & HF_DEVICE_HAS_DATA_SIZE ? VFIO_DEVICE_FEATURE_GET : 0;
	case VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2:
		return VFIO_DEVICE_FEATURE_SET;
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
		return d->no_log ? 0 : VFIO_DEVICE_FEATURE_SET;
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
		return d->no_log ? 0 : VFIO_DEVICE_FEATURE_GET;
	default:
		return 0;
	}
}

static int do_feature(struct kernel_device *d, uint32_t flags, void *data, size_t size)
{
	switch (flags & VFIO_DEVICE_FEATURE_MASK) {
	case VFIO_DEVICE_FEATURE_MIGRATION: {
		struct vfio_device_feature_migration m = { .flags = mig_flags(d) };

		if (size < sizeof(m))
			return -EINVAL;
		memcpy(data, &m, sizeof(m));
		return 0;
	}
	case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: {
		struct vfio_device_feature_mig_state s;
		int r = 0;

		if (size < sizeof(s))
			return -EINVAL;
		memcpy(&s, data, sizeof(s));
		if (flags & VFIO_DEVICE_FEATURE_GET)
			s = (struct vfio_device_feature_mig_state){ state_of(d), -1 };
		else
			r = set_state(d, &s);
		memcpy(data, &s, sizeof(s));
		return r;
	}
	case VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: {
		uint64_t n = 0;
		int r = OP(d, data_size)(d->sim.self, &n);

		if (size < sizeof(n))
			return -EINVAL;
		memcpy(data, &n, sizeof(n));
		return r;
	}
	case VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2:
		if (!(mig_flags(d) & HF_MIG_PRE_COPY))
			return -EINVAL;
		d->opted_in = 1;
		return 0;
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
		return size < 24 ? -EINVAL : log_start(d, data);
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
		return OP(d, dirty_stop)(d->sim.self);
	default:
		return size < 32 ? -EINVAL : log_report(d, data);
	}
}

static int feature(struct kernel_device *d, struct vfio_device_feature *f)
{
	uint32_t known = directions(d, f->flags & VFIO_DEVICE_FEATURE_MASK);
	uint32_t way = f->flags & (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET);
	uint64_t data[8];
	size_t size;
	int r;

	if (f->argsz < sizeof(*f) || f->argsz > sizeof(*f) + sizeof(data))
		return -EINVAL;
	if (!known)
		return -ENOTTY;
	if ((way & ~known) || (!way && !(f->flags & VFIO_DEVICE_FEATURE_PROBE)))
		return -EINVAL;
	if (f->flags & VFIO_DEVICE_FEATURE_PROBE)
		return 0;
	size = f->argsz - sizeof(*f);
	memcpy(data, f->data, size);
	r = do_feature(d, f->flags, data, size);
	memcpy(f->data, data, size);
	return r;
}

/* ---- regions and interrupts ---------------------------------------------------------------- */

static int region_info(struct kernel_device *d, struct vfio_region_info *u)
{
	struct hf_region_info info;
	struct {
		struct vfio_info_cap_header header;
		uint32_t count, reserved;
		uint64_t areas[4];
	} cap = { { VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0 }, 2, 0, { 0, 0x1000, 0x8000, 0x2000 } };

	if (u->index == 8 || OP(d, region_info)(d->sim.self, u->index, &info) < 0)
		return -EINVAL;
	u->flags = info.flags & 7;
	u->size = u->index == 7 && d->config_bytes ? d->config_bytes : info.size;
	u->offset = (uint64_t)u->index << REGION_SHIFT;
	u->cap_offset = 0;
	if (u->index != 4 || !d->sparse)
		return 0;
	u->flags |= VFIO_REGION_INFO_FLAG_CAPS;
	if (d->sparse > 2 && u->argsz < sizeof(*u) + d->sparse * 16) {
		u->argsz = (uint32_t)sizeof(*u) + d->sparse * 16; /* the first that do not fit */
		return 0;
	}
	if (u->argsz < sizeof(*u) + sizeof(cap)) {
		u->argsz = sizeof(*u) + sizeof(cap);
		return 0;
	}
	u->cap_offset = sizeof(*u);
	memcpy((char *)u + sizeof(*u), &cap, sizeof(cap));
	return 0;
}

static int set_msix(struct kernel_device *d, const struct vfio_irq_set *set)
{
	int fds[16];

	if (set->flags == (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER) && !set->count) {
		d->msix_count = 0;
		return OP(d, irqs_set)(d->sim.self, MSIX, 0, NULL);
	}
	if (set->flags != (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER) || set->start ||
	    !set->count || set->count > 16 || set->argsz < sizeof(*set) + set->count * 4)
		return -EINVAL;
	if (d->msix_count && set->count > d->msix_count && d->no_resize)
		return -EINVAL;
	if (d->msix_most && set->count > d->msix_most)
		return (int)d->msix_most; /* and none is enabled: no error, for the ioctl */
	memcpy(fds, set->data, set->count * 4);
	if (!d->msix_count)
		d->msix_enables++;
	memcpy(d->msix_fds, fds, set->count * 4);
	if (set->count > d->msix_count)
		d->msix_count = set->count;
	return OP(d, irqs_set)(d->sim.self, MSIX, d->msix_count, d->msix_fds);
}

static int set_intx(struct kernel_device *d, const struct vfio_irq_set *set)
{
	if (set->flags == (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER) && !set->count) {
		d->intx_fd = d->intx_unmask_fd = -1;
		return 0;
	}
	if (set->count != 1 || set->start || d->msix_count)
		return -EINVAL;
	if (set->flags == (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK))
		return d->intx_fd >= 0 ? eventfd_write(d->intx_unmasked_fd, 1) : -EINVAL;
	if (!(set->flags & VFIO_IRQ_SET_DATA_EVENTFD))
		return -EINVAL;
	if ((set->flags & VFIO_IRQ_SET_ACTION_UNMASK) && d->no_unmask_fd)
		return -ENOTTY;
	if (set->flags & VFIO_IRQ_SET_ACTION_TRIGGER)
		memcpy(&d->intx_fd, set->data, 4);
	else if ((set->flags & VFIO_IRQ_SET_ACTION_UNMASK) && d->intx_fd >= 0)
		memcpy(&d->intx_unmask_fd, set->data, 4);
	else
		return -EINVAL;
	return 0;
}

static int irq_info(struct kernel_device *d, struct vfio_irq_info *info)
{
	uint32_t count = 0;

	if (info->index == 1 || info->index == 3) /* as mtty says of what it does not have */
		return -EINVAL;
	if (OP(d, irq_count)(d->sim.self, info->index, &count) < 0)
		return -EINVAL;
	info->count = info->index == 0 ? 1 : count;
	info->flags = VFIO_IRQ_INFO_EVENTFD;
	if (info->index == MSIX && d->no_resize)
		info->flags |= VFIO_IRQ_INFO_NORESIZE;
	return 0;
}

static int reset(struct kernel_device *d)
{
	if (d->reset_errno)
		return -d->reset_errno;
	kill_data(d);
	return OP(d, reset)(d->sim.self);
}

int kernel_device_ioctl(struct kernel_device *d, unsigned long request, void *argument)
{
	switch (request) {
	case VFIO_DEVICE_GET_INFO: {
		struct vfio_device_info *info = argument;

		info->flags = d->not_pci ? VFIO_DEVICE_FLAGS_AP
					 : VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
		info->num_regions = 9;
		info->num_irqs = 5;
		return 0;
	}
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(d, argument);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return irq_info(d, argument);
	case VFIO_DEVICE_SET_IRQS: {
		const struct vfio_irq_set *set = argument;

		return set->index == MSIX ? set_msix(d, set)
		       : set->index == 0  ? set_intx(d, set)
					  : -EINVAL;
	}
	case VFIO_DEVICE_RESET:
		return reset(d);
	case VFIO_DEVICE_FEATURE:
		return feature(d, argument);
	default:
		return -ENOTTY;
	}
}

/* Configuration space comes four bytes at a time, as some drivers give it. */
static size_t portion(uint32_t index, size_t size)
{
	return index == 7 && size > 4 ? 4 : size;
}

/* Behind the end of its configuration space a driver would reach into memory of the kernel. */
static void check_config(const struct kernel_device *d, uint64_t offset, size_t size)
{
	uint64_t at = offset & ((1ull << REGION_SHIFT) - 1);

	if (offset >> REGION_SHIFT == 7 && d->config_bytes)
		assert_true(at + size <= d->config_bytes);
}

ssize_t kernel_device_read(struct kernel_device *d, void *buf, size_t size, uint64_t offset)
{
	uint32_t index = (uint32_t)(offset >> REGION_SHIFT);
	size_t n = portion(index, size);
	int r;

	check_config(d, offset, size);
	r = OP(d, region_read)(d->sim.self, index, offset & ((1ull << REGION_SHIFT) - 1), buf, n);

	return r < 0 ? r : (ssize_t)n;
}

ssize_t kernel_device_write(struct kernel_device *d, const void *buf, size_t size, uint64_t offset)
{
	uint32_t index = (uint32_t)(offset >> REGION_SHIFT);
	size_t n = portion(index, size);
	int r;

	check_config(d, offset, size);
	r = OP(d, region_write)(d->sim.self, index, offset & ((1ull << REGION_SHIFT) - 1), buf, n);

	return r < 0 ? r : (ssize_t)n;
}

/* ---- data ---------------------------------------------------------------------------------- */

ssize_t kernel_data_read(struct kernel_fd *fd, void *buf, size_t size)
{
	struct kernel_device *d = &kernel.devices[fd->device];
	ssize_t n;

	if (fd->loads)
		return -EBADF;
	if (fd->dead)
		return -ENODEV;
	if (d->read_max && size > d->read_max)
		size = d->read_max;
	n = OP(d, read_data)(d->sim.self, buf, size);
	return n == -ENOMSG && d->zero_at_end ? 0 : n;
}

ssize_t kernel_data_write(struct kernel_fd *fd, const void *buf, size_t size)
{
	struct kernel_device *d = &kernel.devices[fd->device];
	int r = -d->write_errno;

	if (!fd->loads)
		return -EBADF;
	if (fd->dead)
		return -ENODEV;
	d->write_errno = 0;
	return r ? r : OP(d, write_data)(d->sim.self, buf, size);
}

int kernel_data_ioctl(struct kernel_fd *fd, unsigned long request, void *argument)
{
	struct kernel_device *d = &kernel.devices[fd->device];
	struct vfio_precopy_info *info = argument;
	uint64_t initial = 0, dirty = 0;
	int r;

	if (request != VFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (info->argsz < sizeof(*info) || fd->dead)
		return -EINVAL;
	r = OP(d, precopy_info)(d->sim.self, &initial, &dirty);
	if (r < 0)
		return r;
	info->initial_bytes = initial;
	info->dirty_bytes = dirty;
	if (d->reinit && d->opted_in) {
		info->flags = VFIO_PRECOPY_INFO_REINIT;
		info->initial_bytes += dirty;
		info->dirty_bytes = 0;
	}
	return 0;
}

/* The last descriptor of the device is closed. */
void kernel_device_closed(struct kernel_device *d)
{
	kill_data(d);
	d->used = d->bound = d->opted_in = 0;
	d->iommufd = d->attached = 0;
	d->msix_count = 0;
	d->intx_fd = d->intx_unmask_fd = -1;
	(void)OP(d, irqs_set)(d->sim.self, MSIX, 0, NULL);
	(void)OP(d, dirty_stop)(d->sim.self);
	(void)OP(d, reset)(d->sim.self);
}

void kernel_reset_underneath(uint32_t device)
{
	struct kernel_device *d = &kernel.devices[device];

	kill_data(d);
	assert_int_equal(OP(d, reset)(d->sim.self), 0);
}
