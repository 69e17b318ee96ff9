/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * labdma as a device (labdma.h): its configuration space, its registers, its thread that writes
 * into the guest's memory, changes its own and interrupts, and its life as a mediated device. What
 * VFIO asks about it is in labdma-ioctl.c. BAR 0 is 4 KiB of 32-bit registers, in the order below;
 * BAR 2 is the first blocks of the device's memory.
 */
#include <linux/crc32.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/iommufd.h>
#include <linux/kthread.h>
#include <linux/mdev.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/random.h>
#include <linux/unaligned.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

#include "labdma.h"

#define ID 0x4c414244u
#define MSI_AT 0x40

enum {
	REGISTER_ID = 0x00,
	REGISTER_CONTROL = 0x04, /* bits of CONTROL_* */
	REGISTER_WINDOW_LOW = 0x08, /* IOVA of what DMA writes to */
	REGISTER_WINDOW_HIGH = 0x0c,
	REGISTER_WINDOW_BYTES = 0x10,
	REGISTER_PERIOD_US = 0x14,
	REGISTER_COUNT = 0x18, /* of DMA writes; each writes the 8 bytes of it to the next page */
	REGISTER_DOORBELL = 0x1c, /* page N of the window is written to, then the interrupt */
	REGISTER_SCRATCH = 0x20,
	REGISTER_ERRORS = 0x24, /* DMA writes that failed */
	REGISTER_MEMORY_CRC = 0x28,
	REGISTER_POKE = 0x2c, /* block N of the device's memory changes */
	REGISTER_BLOCKS = 0x30,
	REGISTER_IRQ_NUMBER = 0x34, /* of its interrupts by itself, of the last one */
	REGISTER_IRQ_SEEN = 0x38, /* the number of the last one that the driver has had */
};

#define CONTROL_DMA 1u
#define CONTROL_CHANGE 2u /* the device's memory */
#define CONTROL_INTERRUPT 4u

int labdma_fail_errno = EIO, labdma_late_check, labdma_read_delay_us, labdma_migration_flags = 7;
int labdma_no_dma_log, labdma_reset_errno;
long labdma_read_fail_at = -1, labdma_write_fail_at = -1;
static int memory_kib = 1024, changes_per_s = 50, irq_times = 1, err_times;
static char only[UUID_STRING_LEN + 2];
module_param_named(fail_errno, labdma_fail_errno, int, 0644);
module_param_named(late_check, labdma_late_check, int, 0644);
module_param_named(read_delay_us, labdma_read_delay_us, int, 0644);
module_param_named(migration_flags, labdma_migration_flags, int, 0644);
module_param_named(no_dma_log, labdma_no_dma_log, int, 0644);
module_param_named(reset_errno, labdma_reset_errno, int, 0644);
module_param_named(read_fail_at, labdma_read_fail_at, long, 0644);
module_param_named(write_fail_at, labdma_write_fail_at, long, 0644);
module_param(memory_kib, int, 0644);
module_param(changes_per_s, int, 0644);
module_param(irq_times, int, 0644);
module_param(err_times, int, 0644);
module_param_string(only, only, sizeof(only), 0644);

static struct labdma_device *device_of(struct vfio_device *vdev)
{
	return container_of(vdev, struct labdma_device, vdev);
}

bool labdma_knobs_are_for(const struct labdma_device *device)
{
	size_t len = strcspn(only, "\n");

	return len == 0 || strncmp(dev_name(device->vdev.dev), only, len) == 0;
}

bool labdma_runs(const struct labdma_device *device)
{
	return device->state == VFIO_DEVICE_STATE_RUNNING ||
	       device->state == VFIO_DEVICE_STATE_PRE_COPY;
}

/* ---- what it does -------------------------------------------------------------------------- */

static void change_block(struct labdma_device *device, u32 block)
{
	u64 *first = (u64 *)(device->memory + (size_t)block * LABDMA_BLOCK_BYTES);

	(*first)++;
	labdma_stream_touched(device, block);
}

static void write_page(struct labdma_device *device, u32 page)
{
	struct labdma_registers *registers = &device->registers;
	u32 page_count = registers->window_bytes / PAGE_SIZE;
	dma_addr_t iova;

	if (!page_count || !(registers->config[PCI_COMMAND] & PCI_COMMAND_MASTER))
		return;
	iova = registers->window + (u64)(page % page_count) * PAGE_SIZE;
	registers->count++;
	/* Before the write: a page that is logged in vain is no harm, one that is not is lost. */
	labdma_log(device, iova);
	if (vfio_dma_rw(&device->vdev, iova, &registers->count, sizeof(registers->count), true))
		registers->errors++;
}

/*
 * Interrupt N + 1 is raised when the driver has had N: none can be merged with another one, and one
 * that comes too often has no number of its own. Also in the states without P2P, in which a device
 * may do all but reach others.
 */
static void interrupt_step(struct labdma_device *device)
{
	struct labdma_registers *registers = &device->registers;
	bool quiet = device->state == VFIO_DEVICE_STATE_RUNNING_P2P ||
		     device->state == VFIO_DEVICE_STATE_PRE_COPY_P2P;

	if (!labdma_runs(device) && !quiet)
		return;
	if (device->irqs_again > 0) {
		device->irqs_again--;
		labdma_signal(device, VFIO_PCI_MSI_IRQ_INDEX);
	}
	if (!(registers->control & CONTROL_INTERRUPT) ||
	    registers->irq_number != registers->irq_seen)
		return;
	registers->irq_number++;
	if (irq_times > 0 || !labdma_knobs_are_for(device))
		labdma_signal(device, VFIO_PCI_MSI_IRQ_INDEX);
	if (irq_times > 1 && labdma_knobs_are_for(device))
		device->irqs_again = irq_times - 1;
}

static void error_step(struct labdma_device *device)
{
	if (err_times > 0 && labdma_knobs_are_for(device)) {
		err_times--;
		labdma_signal(device, VFIO_PCI_ERR_IRQ_INDEX);
	}
}

static int engine(void *argument)
{
	struct labdma_device *device = argument;
	struct labdma_registers *registers = &device->registers;
	u64 unchanged_us = 0;
	u32 period_us;

	while (!kthread_should_stop()) {
		mutex_lock(&device->lock);
		period_us = max(registers->period_us, 50u);
		if (!labdma_runs(device) || !registers->control)
			period_us = 10000;
		else if (registers->control & CONTROL_DMA)
			write_page(device, registers->next_page++);
		unchanged_us += period_us;
		if (!labdma_runs(device) || !(registers->control & CONTROL_CHANGE))
			unchanged_us = 0;
		while (changes_per_s > 0 && unchanged_us >= 1000000 / changes_per_s) {
			unchanged_us -= 1000000 / changes_per_s;
			change_block(device, get_random_u32_below(device->block_count));
		}
		interrupt_step(device);
		error_step(device);
		mutex_unlock(&device->lock);
		usleep_range(period_us, period_us + 50); /* allowed: a device has its own time */
	}
	return 0;
}

/* ---- registers and configuration space ----------------------------------------------------- */

static u32 register_read(const struct labdma_device *device, u32 at)
{
	const struct labdma_registers *registers = &device->registers;

	switch (at) {
	case REGISTER_ID:
		return ID;
	case REGISTER_CONTROL:
		return registers->control;
	case REGISTER_WINDOW_LOW:
		return lower_32_bits(registers->window);
	case REGISTER_WINDOW_HIGH:
		return upper_32_bits(registers->window);
	case REGISTER_WINDOW_BYTES:
		return registers->window_bytes;
	case REGISTER_PERIOD_US:
		return registers->period_us;
	case REGISTER_COUNT:
		return registers->count;
	case REGISTER_SCRATCH:
		return registers->scratch;
	case REGISTER_ERRORS:
		return registers->errors;
	case REGISTER_MEMORY_CRC:
		return crc32_le(~0, device->memory,
				(size_t)device->block_count * LABDMA_BLOCK_BYTES);
	case REGISTER_BLOCKS:
		return device->block_count;
	case REGISTER_IRQ_NUMBER:
		return registers->irq_number;
	case REGISTER_IRQ_SEEN:
		return registers->irq_seen;
	}
	return 0;
}

static void register_write(struct labdma_device *device, u32 at, u32 value)
{
	struct labdma_registers *registers = &device->registers;
	u64 high = registers->window & ~(u64)U32_MAX;

	switch (at) {
	case REGISTER_CONTROL:
		registers->control = value;
		break;
	case REGISTER_WINDOW_LOW:
		registers->window = high | (value & PAGE_MASK);
		break;
	case REGISTER_WINDOW_HIGH:
		registers->window = (u64)value << 32 | lower_32_bits(registers->window);
		break;
	case REGISTER_WINDOW_BYTES:
		registers->window_bytes = value;
		break;
	case REGISTER_PERIOD_US:
		registers->period_us = value;
		break;
	case REGISTER_SCRATCH:
		registers->scratch = value;
		break;
	case REGISTER_DOORBELL:
		if (!labdma_runs(device))
			break;
		write_page(device, value);
		labdma_signal(device, VFIO_PCI_MSI_IRQ_INDEX);
		break;
	case REGISTER_POKE:
		if (labdma_runs(device))
			change_block(device, value % device->block_count);
		break;
	case REGISTER_IRQ_SEEN:
		registers->irq_seen = value;
		break;
	}
}

static void config_init(u8 *config)
{
	memset(config, 0, LABDMA_CONFIG_BYTES);
	put_unaligned_le16(0x1b36, config + PCI_VENDOR_ID);
	put_unaligned_le16(0x1dab, config + PCI_DEVICE_ID);
	put_unaligned_le16(PCI_STATUS_CAP_LIST, config + PCI_STATUS);
	put_unaligned_le32(0xff000001, config + PCI_REVISION_ID); /* of no class */
	put_unaligned_le16(0x1b36, config + PCI_SUBSYSTEM_VENDOR_ID);
	put_unaligned_le16(0x1dab, config + PCI_SUBSYSTEM_ID);
	config[PCI_CAPABILITY_LIST] = MSI_AT;
	config[MSI_AT] = PCI_CAP_ID_MSI;
	put_unaligned_le16(PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT,
			   config + MSI_AT + PCI_MSI_FLAGS);
}

/* Which bits of a byte of the configuration space can be written. */
static u8 config_mask(u32 at)
{
	switch (at) {
	case PCI_COMMAND:
		return 0x07;
	case PCI_COMMAND + 1:
		return 0x04;
	case PCI_BASE_ADDRESS_0 + 1:
		return 0xf0; /* 4 KiB */
	case PCI_BASE_ADDRESS_2 + 1:
		return 0xc0; /* 16 KiB */
	case PCI_BASE_ADDRESS_0 + 2:
	case PCI_BASE_ADDRESS_0 + 3:
	case PCI_BASE_ADDRESS_2 + 2:
	case PCI_BASE_ADDRESS_2 + 3:
	case PCI_CACHE_LINE_SIZE:
	case PCI_LATENCY_TIMER:
	case PCI_INTERRUPT_LINE:
		return 0xff;
	case MSI_AT + PCI_MSI_FLAGS:
		return 0x71;
	case MSI_AT + PCI_MSI_MASK_64:
		return 0x01;
	}
	return at >= MSI_AT + PCI_MSI_ADDRESS_LO && at < MSI_AT + PCI_MSI_MASK_64 - 2 ? 0xff : 0;
}

static void config_write(u8 *config, u32 at, const u8 *bytes, size_t count)
{
	for (; count > 0; count--, at++, bytes++)
		config[at] = (config[at] & ~config_mask(at)) | (*bytes & config_mask(at));
}

/* Part of an access: at most 4 bytes, aligned. False: there is nothing. */
static bool access_part(struct labdma_device *device, u64 pos, u8 *bytes, size_t count, bool write)
{
	u64 at = pos & ((1ull << LABDMA_REGION_SHIFT) - 1);
	u8 *config = device->registers.config;
	u32 value;

	switch (pos >> LABDMA_REGION_SHIFT) {
	case VFIO_PCI_CONFIG_REGION_INDEX:
		if (at + count > LABDMA_CONFIG_BYTES)
			return false;
		if (write)
			config_write(config, at, bytes, count);
		else
			memcpy(bytes, config + at, count);
		return true;
	case VFIO_PCI_BAR0_REGION_INDEX:
		if (at + count > LABDMA_BAR0_BYTES)
			return false;
		if (write && count == sizeof(value)) {
			memcpy(&value, bytes, sizeof(value));
			register_write(device, at, value);
		} else if (!write) {
			value = register_read(device, at & ~3u) >> 8 * (at & 3);
			memcpy(bytes, &value, count);
		}
		return true;
	case VFIO_PCI_BAR2_REGION_INDEX:
		if (at + count > LABDMA_BAR2_BYTES)
			return false;
		if (write) {
			memcpy(device->memory + at, bytes, count);
			labdma_stream_touched(device, at / LABDMA_BLOCK_BYTES);
		} else {
			memcpy(bytes, device->memory + at, count);
		}
		return true;
	}
	return false;
}

static ssize_t access_all(struct labdma_device *device, char __user *buf, size_t len, loff_t *pos,
			  bool write)
{
	size_t done = 0, part;
	u8 bytes[4];
	bool there;

	while (done < len) {
		part = len - done >= 4 && !(*pos & 3) ? 4 : len - done >= 2 && !(*pos & 1) ? 2 : 1;
		if (write && copy_from_user(bytes, buf + done, part))
			return -EFAULT;
		mutex_lock(&device->lock);
		there = access_part(device, *pos, bytes, part, write);
		mutex_unlock(&device->lock);
		if (!there)
			return done ? done : -EINVAL;
		if (!write && copy_to_user(buf + done, bytes, part))
			return -EFAULT;
		done += part;
		*pos += part;
	}
	return done;
}

static ssize_t device_read(struct vfio_device *vdev, char __user *buf, size_t len, loff_t *pos)
{
	return access_all(device_of(vdev), buf, len, pos, false);
}

static ssize_t device_write(struct vfio_device *vdev, const char __user *buf, size_t len,
			    loff_t *pos)
{
	return access_all(device_of(vdev), (char __user *)buf, len, pos, true);
}

/* ---- its beginning ------------------------------------------------------------------------- */

/* As it is after power on. Its memory, and so the CRC of that, says whose it is. */
static void clear(struct labdma_device *device)
{
	memset(&device->registers, 0, sizeof(device->registers));
	device->irqs_again = 0;
	device->registers.period_us = 1000;
	config_init(device->registers.config);
	memset(device->memory, 0, (size_t)device->block_count * LABDMA_BLOCK_BYTES);
	for (u32 i = 0; i < device->block_count; i++)
		snprintf(device->memory + (size_t)i * LABDMA_BLOCK_BYTES + sizeof(u64), 64, "%s %u",
			 dev_name(device->vdev.dev), i);
	device->state = VFIO_DEVICE_STATE_RUNNING;
}

int labdma_reset(struct labdma_device *device)
{
	if (labdma_reset_errno && labdma_knobs_are_for(device))
		return -labdma_reset_errno;
	labdma_stream_close(device);
	clear(device);
	return 0;
}

/* ---- its life ------------------------------------------------------------------------------ */

static int device_open(struct vfio_device *vdev)
{
	struct labdma_device *device = device_of(vdev);

	mutex_lock(&device->lock);
	clear(device);
	mutex_unlock(&device->lock);
	device->engine = kthread_run(engine, device, "labdma");
	return PTR_ERR_OR_ZERO(device->engine);
}

static void device_close(struct vfio_device *vdev)
{
	struct labdma_device *device = device_of(vdev);

	kthread_stop(device->engine);
	mutex_lock(&device->lock);
	labdma_stream_close(device);
	labdma_log_end(device);
	for (u32 i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		if (device->irqs[i])
			eventfd_ctx_put(device->irqs[i]);
		device->irqs[i] = NULL;
	}
	mutex_unlock(&device->lock);
}

/* It pins nothing, so there is nothing to let go of. */
static void device_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
}

static int device_init(struct vfio_device *vdev)
{
	struct labdma_device *device = device_of(vdev);

	mutex_init(&device->lock);
	init_waitqueue_head(&device->changed);
	xa_init(&device->written);
	device->block_count = max(memory_kib / 4, (int)(LABDMA_BAR2_BYTES / LABDMA_BLOCK_BYTES));
	device->memory = vmalloc_user((size_t)device->block_count * LABDMA_BLOCK_BYTES);
	if (!device->memory)
		return -ENOMEM;
	device->state = VFIO_DEVICE_STATE_RUNNING;
	vdev->migration_flags =
		labdma_migration_flags &
		(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY);
	if (vdev->migration_flags)
		vdev->mig_ops = &labdma_migration_ops;
	if (!labdma_no_dma_log)
		vdev->log_ops = &labdma_log_ops;
	return 0;
}

static void device_release(struct vfio_device *vdev)
{
	vfree(device_of(vdev)->memory);
}

static const struct vfio_device_ops device_ops = {
	.name = "labdma",
	.init = device_init,
	.release = device_release,
	.open_device = device_open,
	.close_device = device_close,
	.read = device_read,
	.write = device_write,
	.ioctl = labdma_ioctl,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	.get_region_info_caps = labdma_region_info,
#endif
	.mmap = labdma_mmap,
	.request = labdma_request,
	.dma_unmap = device_unmap,
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
};

static int driver_probe(struct mdev_device *mdev)
{
	struct labdma_device *device =
		vfio_alloc_device(labdma_device, vdev, &mdev->dev, &device_ops);
	int r;

	if (IS_ERR(device))
		return PTR_ERR(device);
	r = vfio_register_emulated_iommu_dev(&device->vdev);
	if (r) {
		vfio_put_device(&device->vdev);
		return r;
	}
	dev_set_drvdata(&mdev->dev, device);
	return 0;
}

static void driver_remove(struct mdev_device *mdev)
{
	struct labdma_device *device = dev_get_drvdata(&mdev->dev);

	vfio_unregister_group_dev(&device->vdev);
	vfio_put_device(&device->vdev);
}

static unsigned int available(struct mdev_type *type)
{
	return 16;
}

static struct mdev_driver driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.driver = { .name = "labdma", .owner = THIS_MODULE, .mod_name = KBUILD_MODNAME },
	.probe = driver_probe,
	.remove = driver_remove,
	.get_available = available,
};

static struct mdev_type type = { .sysfs_name = "1", .pretty_name = "DMA test device" };
static struct mdev_type *types[] = { &type };
static struct mdev_parent parent;
static struct class *class;
static struct device *root;

/* The parent's driver names the types: its class is why this one is labdma-1. */
static int __init labdma_init(void)
{
	int r = mdev_register_driver(&driver);

	if (r)
		return r;
	class = class_create("labdma");
	if (IS_ERR(class)) {
		r = PTR_ERR(class);
		goto fail_driver;
	}
	root = device_create(class, NULL, MKDEV(0, 0), NULL, "labdma");
	if (IS_ERR(root)) {
		r = PTR_ERR(root);
		goto fail_class;
	}
	r = mdev_register_parent(&parent, root, &driver, types, ARRAY_SIZE(types));
	if (r == 0)
		return 0;
	device_unregister(root);
fail_class:
	class_destroy(class);
fail_driver:
	mdev_unregister_driver(&driver);
	return r;
}

static void __exit labdma_exit(void)
{
	mdev_unregister_parent(&parent);
	device_unregister(root);
	class_destroy(class);
	mdev_unregister_driver(&driver);
}

module_init(labdma_init);
module_exit(labdma_exit);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_DESCRIPTION("a mediated device that does DMA, for tests of migration");
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
MODULE_IMPORT_NS("IOMMUFD");
#else
MODULE_IMPORT_NS(IOMMUFD);
#endif
