/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The migration of labdma (labdma.h): its arcs, where they are made to fail, and the log of its
 * DMA. Which arcs a request takes is the kernel's own table (vfio_mig_get_next_state).
 */
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/interval_tree.h>
#include <linux/iova_bitmap.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include "labdma.h"

static int fail_from = -1, fail_to = -1, fail_times, fail_to_error;
static int delay_from = -1, delay_to = -1, delay_ms;
module_param(fail_from, int, 0644);
module_param(fail_to, int, 0644);
module_param(fail_times, int, 0644);
module_param(fail_to_error, int, 0644);
module_param(delay_from, int, 0644);
module_param(delay_to, int, 0644);
module_param(delay_ms, int, 0644);

static struct labdma_device *device_of(struct vfio_device *vdev)
{
	return container_of(vdev, struct labdma_device, vdev);
}

static bool chosen(int from, int to, const struct labdma_device *device, int next)
{
	return (from < 0 || from == (int)device->state) && (to < 0 || to == next) &&
	       labdma_knobs_are_for(device);
}

/* ---- arcs ---------------------------------------------------------------------------------- */

static struct file *open_session(struct labdma_device *device, bool loading)
{
	struct labdma_stream *stream = labdma_stream_open(device, loading);

	return IS_ERR(stream) ? ERR_CAST(stream) : get_file(stream->file);
}

/* A single arc. The file of the session that it opens, if it opens one. */
static struct file *step(struct labdma_device *device, enum vfio_device_mig_state next)
{
	int r;

	if (delay_ms > 0 && chosen(delay_from, delay_to, device, next))
		msleep(delay_ms);
	if (fail_times && chosen(fail_from, fail_to, device, next)) {
		if (fail_times > 0)
			fail_times--;
		dev_info(device->vdev.dev, "arc %d -> %d fails on purpose, errno %d\n",
			 device->state, next, labdma_fail_errno);
		if (fail_to_error)
			device->state = VFIO_DEVICE_STATE_ERROR;
		return ERR_PTR(-labdma_fail_errno);
	}
	switch (next) {
	case VFIO_DEVICE_STATE_PRE_COPY:
	case VFIO_DEVICE_STATE_PRE_COPY_P2P:
	case VFIO_DEVICE_STATE_STOP_COPY: /* a session that is open goes on */
		if (!device->stream)
			return open_session(device, false);
		if (next == VFIO_DEVICE_STATE_STOP_COPY)
			labdma_mapped_touched(device);
		return NULL;
	case VFIO_DEVICE_STATE_RESUMING:
		return open_session(device, true);
	case VFIO_DEVICE_STATE_STOP:
		if (device->state == VFIO_DEVICE_STATE_RESUMING) {
			r = labdma_stream_load(device);
			if (r)
				return ERR_PTR(r);
		}
		break;
	default:
		break;
	}
	labdma_stream_close(device);
	return NULL;
}

/* Some kernels never return from the walk that these requests begin, see refuse-arcs.sh. */
static bool forbidden(enum vfio_device_mig_state from, enum vfio_device_mig_state to)
{
	return from == VFIO_DEVICE_STATE_ERROR ||
	       (from == VFIO_DEVICE_STATE_STOP_COPY &&
		(to == VFIO_DEVICE_STATE_PRE_COPY || to == VFIO_DEVICE_STATE_PRE_COPY_P2P));
}

static struct file *set_state(struct vfio_device *vdev, enum vfio_device_mig_state state)
{
	struct labdma_device *device = device_of(vdev);
	enum vfio_device_mig_state next;
	struct file *file = NULL;
	int r;

	mutex_lock(&device->lock);
	if (forbidden(device->state, state))
		file = ERR_PTR(-EINVAL);
	while (!IS_ERR(file) && device->state != state) {
		r = vfio_mig_get_next_state(vdev, device->state, state, &next);
		file = r ? ERR_PTR(r) : step(device, next);
		if (!IS_ERR(file))
			device->state = next;
	}
	mutex_unlock(&device->lock);
	return file;
}

static int get_state(struct vfio_device *vdev, enum vfio_device_mig_state *ret_state)
{
	struct labdma_device *device = device_of(vdev);

	mutex_lock(&device->lock);
	*ret_state = device->state;
	mutex_unlock(&device->lock);
	return 0;
}

static int get_data_size(struct vfio_device *vdev, unsigned long *ret_bytes)
{
	struct labdma_device *device = device_of(vdev);

	mutex_lock(&device->lock);
	*ret_bytes = labdma_stream_bytes_left(device);
	mutex_unlock(&device->lock);
	return 0;
}

const struct vfio_migration_ops labdma_migration_ops = {
	.migration_set_state = set_state,
	.migration_get_state = get_state,
	.migration_get_data_size = get_data_size,
};

/* ---- the log of DMA ------------------------------------------------------------------------ */

void labdma_log(struct labdma_device *device, u64 iova)
{
	for (u32 i = 0; i < device->range_count; i++)
		if (iova >= device->ranges[i].first && iova <= device->ranges[i].last)
			xa_store(&device->written, iova >> PAGE_SHIFT, xa_mk_value(1), GFP_KERNEL);
}

void labdma_log_end(struct labdma_device *device)
{
	device->logging = false;
	device->range_count = 0;
	kfree(device->ranges);
	device->ranges = NULL;
	xa_destroy(&device->written);
}

/* VFIO's tree is gone when this returns. */
static int take_ranges(struct labdma_device *device, struct rb_root_cached *ranges, u32 count)
{
	u32 i = 0;

	device->ranges = kcalloc(count, sizeof(*device->ranges), GFP_KERNEL);
	if (!device->ranges)
		return -ENOMEM;
	for (struct rb_node *at = rb_first_cached(ranges); at && i < count; at = rb_next(at)) {
		struct interval_tree_node *node = rb_entry(at, struct interval_tree_node, rb);

		device->ranges[i].first = node->start;
		device->ranges[i++].last = node->last;
	}
	device->range_count = i;
	return 0;
}

static int log_start(struct vfio_device *vdev, struct rb_root_cached *ranges, u32 count,
		     u64 *page_size)
{
	struct labdma_device *device = device_of(vdev);
	int r;

	mutex_lock(&device->lock);
	r = device->logging ? -EINVAL : take_ranges(device, ranges, count);
	if (r == 0)
		device->logging = true;
	*page_size = PAGE_SIZE;
	mutex_unlock(&device->lock);
	return r;
}

static int log_stop(struct vfio_device *vdev)
{
	struct labdma_device *device = device_of(vdev);
	int r;

	mutex_lock(&device->lock);
	r = device->logging ? 0 : -EINVAL;
	labdma_log_end(device);
	mutex_unlock(&device->lock);
	return r;
}

static int log_read(struct vfio_device *vdev, unsigned long iova, unsigned long length,
		    struct iova_bitmap *dirty)
{
	struct labdma_device *device = device_of(vdev);
	unsigned long page, last = (iova + length - 1) >> PAGE_SHIFT;
	void *entry;
	int r;

	mutex_lock(&device->lock);
	r = device->logging ? 0 : -EINVAL;
	xa_for_each_range(&device->written, page, entry, iova >> PAGE_SHIFT, last)
	{
		iova_bitmap_set(dirty, page << PAGE_SHIFT, PAGE_SIZE);
		xa_erase(&device->written, page);
	}
	mutex_unlock(&device->lock);
	return r;
}

const struct vfio_log_ops labdma_log_ops = {
	.log_start = log_start,
	.log_stop = log_stop,
	.log_read_and_clear = log_read,
};
