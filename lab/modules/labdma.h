/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * labdma: a mediated PCI device for tests of migration that does what the kernel's sample driver
 * mtty does not: DMA into its user's memory, with a log of what it wrote; a device memory of any
 * size that goes on changing while it runs, and of which its user can map parts; interrupts by
 * number; and a stream that it checks when it is loaded. docs/lab.md has its registers and its
 * knobs. labdma-device.c is the device, labdma-ioctl.c what VFIO asks about it, labdma-arcs.c its
 * migration, labdma-stream.c what travels.
 */
#ifndef LABDMA_H
#define LABDMA_H

#include <linux/bitmap.h>
#include <linux/eventfd.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#define LABDMA_BLOCK_BYTES 4096u
#define LABDMA_CONFIG_BYTES 256u
#define LABDMA_BAR0_BYTES 4096u
#define LABDMA_BAR2_BYTES (4 * LABDMA_BLOCK_BYTES)
#define LABDMA_REGION_SHIFT 40

/* All that the guest set up; goes through the stream as it is, both ends being one kernel. */
struct labdma_registers {
	u64 count;
	u64 window;
	u32 window_bytes;
	u32 control;
	u32 period_us;
	u32 scratch;
	u32 errors;
	u32 next_page;
	u32 irq_number, irq_seen;
	u8 config[LABDMA_CONFIG_BYTES];
};

#ifndef VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 /* 7.1 */
/* As there, where it also makes the flags an answer, for those who have asked for flags. */
static inline int vfio_check_precopy_ioctl(struct vfio_device *vdev, unsigned int command,
					   unsigned long argument, struct vfio_precopy_info *info)
{
	const size_t bytes_min = offsetofend(struct vfio_precopy_info, dirty_bytes);

	if (command != VFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (copy_from_user(info, (void __user *)argument, bytes_min))
		return -EFAULT;
	return info->argsz < bytes_min ? -EINVAL : 0;
}
#endif

struct labdma_record {
	__le32 magic, type, index, payload_bytes, crc, zero;
};

struct labdma_stream;

struct labdma_range {
	u64 first, last;
};

/* All members are the lock's, but for vdev and what is set at birth (memory, block_count). */
struct labdma_device {
	struct vfio_device vdev;
	struct mutex lock;
	enum vfio_device_mig_state state;
	struct labdma_registers registers;
	u8 *memory;
	u32 block_count;
	struct labdma_stream *stream; /* of the session that is open, if one is */
	wait_queue_head_t changed; /* the stream has more to read, or is over */
	struct task_struct *engine;
	struct eventfd_ctx *irqs[VFIO_PCI_NUM_IRQS]; /* of MSI, ERR and REQ, where they are set */
	u32 irqs_again; /* signals that have no number (irq_times) */
	bool logging;
	u32 range_count; /* while it logs: where, in bytes, both ends within */
	struct labdma_range *ranges;
	struct xarray written; /* pages that DMA wrote to since they were last reported */
};

/* One session, and its data file, which may outlive it. */
struct labdma_stream {
	struct file *file;
	struct labdma_device *device; /* NULL: the session is over */
	bool loading;
	u64 offset; /* what was read or written so far */
	u8 record[sizeof(struct labdma_record) + LABDMA_BLOCK_BYTES];
	size_t record_bytes, record_done;
	/* saving: blocks that are to be sent, and those that have been once */
	unsigned long *pending, *sent;
	u32 first_count, again_count; /* how many of the pending are new, how many changed since */
	bool header_sent, registers_sent, end_sent;
	/* loading: nothing reaches the device before RESUMING -> STOP */
	u8 *memory;
	unsigned long *received;
	struct labdma_registers registers;
	bool header_received, registers_received, complete, broken;
};

/* Knobs: parameters of the module, as mtty's of the same name. */
extern int labdma_fail_errno, labdma_late_check, labdma_read_delay_us, labdma_migration_flags;
extern int labdma_no_dma_log, labdma_reset_errno;
extern long labdma_read_fail_at, labdma_write_fail_at;
bool labdma_knobs_are_for(const struct labdma_device *device);

/* Of struct vfio_device_ops. */
long labdma_ioctl(struct vfio_device *vdev, unsigned int command, unsigned long argument);
int labdma_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
		       struct vfio_info_cap *caps);
int labdma_mmap(struct vfio_device *vdev, struct vm_area_struct *vma);
void labdma_request(struct vfio_device *vdev, unsigned int count);

/* The rest is called under the device's lock. */
bool labdma_runs(const struct labdma_device *device);
int labdma_reset(struct labdma_device *device);
void labdma_signal(struct labdma_device *device, u32 index);
extern const struct vfio_migration_ops labdma_migration_ops;
extern const struct vfio_log_ops labdma_log_ops;
/* What its DMA is about to write to, where it is logged; and no more of that. With the lock. */
void labdma_log(struct labdma_device *device, u64 iova);
void labdma_log_end(struct labdma_device *device);

struct labdma_stream *labdma_stream_open(struct labdma_device *device, bool loading);
void labdma_stream_close(struct labdma_device *device);
void labdma_stream_touched(struct labdma_device *device, u32 block);
void labdma_mapped_touched(struct labdma_device *device); /* blocks that its user can map */
int labdma_stream_load(struct labdma_device *device);
u64 labdma_stream_bytes_left(const struct labdma_device *device);

#endif
