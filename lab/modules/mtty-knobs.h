/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Knobs for the kernel's sample driver mtty: module parameters that make a device refuse, stall or
 * misbehave at a chosen place, as a real one might. lab/modules/route-mtty.sh includes this file
 * into a copy of mtty.c and leads the calls that matter through it. With every knob at its default
 * the driver is as it came, but for close_resets. docs/lab.md lists the knobs.
 *
 * The parameters are read without a lock: a test sets them before it asks for what they change.
 */
#include <linux/delay.h>
#include <linux/moduleparam.h>

#define KNOB(type, name, value)                                                                    \
	static type knob_##name = (value);                                                         \
	module_param_named(name, knob_##name, type, 0644)

/* The arc that fails: from and to as enum vfio_device_mig_state, -1 is any. */
KNOB(int, fail_from, -1);
KNOB(int, fail_to, -1);
KNOB(int, fail_times, 0); /* how often; -1 is always */
KNOB(int, fail_errno, EIO);
KNOB(int, fail_to_error, 0); /* the device is in ERROR after it */
/* The arc that takes its time. */
KNOB(int, delay_from, -1);
KNOB(int, delay_to, -1);
KNOB(int, delay_ms, 0);
/* The streams: offsets from which on they fail with fail_errno, and what else is odd. */
KNOB(long, read_fail_at, -1);
KNOB(long, write_fail_at, -1);
KNOB(int, read_delay_us, 0);
KNOB(int, read_bytes_max, 0);
KNOB(int, read_enomsg, 0); /* at PRE_COPY's temporary end, as the uAPI wants it; mtty says 0 */
KNOB(int, stream_version, 0); /* the major version that a saved stream says; 0 is mtty's own */
KNOB(int, reset_errno, 0);
KNOB(int, reset_clears, 0); /* as it came (0), a reset leaves the ports as they are */
/*
 * As it came (0), mtty keeps its migration state over close, but not the data file: opened again
 * after a close in RESUMING, the next arc to STOP is a NULL dereference in the kernel.
 */
KNOB(int, close_resets, 1);
/* What new devices offer. */
KNOB(int, migration_flags, 7); /* 1 STOP_COPY, 2 P2P, 4 PRE_COPY; 0: no migration */
KNOB(int, no_dma_log, 0);
/* mtty can be reset, and does not say so; 1: it says so. */
KNOB(int, reset_flag, 0);

/* The only device, by UUID, that the failures and delays are for; empty: all. */
static char knob_only[UUID_STRING_LEN + 2];
module_param_string(only, knob_only, sizeof(knob_only), 0644);

static struct file *mtty_step_state(struct mdev_state *mdev_state, enum vfio_device_mig_state new);
static ssize_t mtty_resume_write(struct file *filp, const char __user *buf, size_t len,
				 loff_t *pos);
static int mtty_reset(struct mdev_state *mdev_state);
static void mtty_close(struct vfio_device *vdev);

static bool knob_is_for(const struct mdev_state *device)
{
	size_t len = strcspn(knob_only, "\n");

	return len == 0 || strncmp(dev_name(device->vdev.dev), knob_only, len) == 0;
}

static bool knob_arc(int from, int to, const struct mdev_state *device, int next)
{
	return (from < 0 || from == (int)device->state) && (to < 0 || to == next) &&
	       knob_is_for(device);
}

/* Once for each single arc, under the driver's state lock. */
static struct file *knob_step_state(struct mdev_state *device, enum vfio_device_mig_state next)
{
	if (knob_delay_ms > 0 && knob_arc(knob_delay_from, knob_delay_to, device, next))
		msleep(knob_delay_ms);
	if (knob_fail_times == 0 || !knob_arc(knob_fail_from, knob_fail_to, device, next))
		return mtty_step_state(device, next);
	if (knob_fail_times > 0)
		knob_fail_times--;
	pr_info("mtty: %s: arc %d -> %d fails on purpose, errno %d%s\n", dev_name(device->vdev.dev),
		device->state, next, knob_fail_errno, knob_fail_to_error ? ", to ERROR" : "");
	if (knob_fail_to_error)
		device->state = VFIO_DEVICE_STATE_ERROR;
	return ERR_PTR(-knob_fail_errno);
}

/* How much of len may pass before fail_at; negative if nothing may. */
static ssize_t knob_stream_room(const struct mtty_migration_file *file, long fail_at, size_t len)
{
	if (fail_at < 0 || !knob_is_for(file->mdev_state))
		return len;
	if (file->filp->f_pos >= fail_at)
		return -knob_fail_errno;
	return min_t(size_t, len, fail_at - file->filp->f_pos);
}

static ssize_t knob_save_read(struct file *filp, char __user *buf, size_t len, loff_t *pos)
{
	struct mtty_migration_file *file = filp->private_data;
	ssize_t room = knob_stream_room(file, knob_read_fail_at, len), count;
	enum vfio_device_mig_state state;

	if (knob_read_delay_us > 0)
		usleep_range(knob_read_delay_us, knob_read_delay_us + 100); /* allowed: its task */
	if (room < 0)
		return room;
	if (knob_read_bytes_max > 0)
		room = min_t(ssize_t, room, knob_read_bytes_max);
	if (knob_stream_version > 0 && knob_is_for(file->mdev_state))
		file->data.major_ver = knob_stream_version;
	count = mtty_save_read(filp, buf, room, pos);
	state = READ_ONCE(file->mdev_state->state);
	if (count == 0 && room > 0 && knob_read_enomsg &&
	    (state == VFIO_DEVICE_STATE_PRE_COPY || state == VFIO_DEVICE_STATE_PRE_COPY_P2P))
		return -ENOMSG;
	return count;
}

static ssize_t knob_resume_write(struct file *filp, const char __user *buf, size_t len, loff_t *pos)
{
	ssize_t room = knob_stream_room(filp->private_data, knob_write_fail_at, len);

	return room < 0 ? room : mtty_resume_write(filp, buf, room, pos);
}

/* As after power-on. */
static void knob_clear_ports(struct mdev_state *device)
{
	int i;

	mutex_lock(&device->ops_lock);
	for (i = 0; i < ARRAY_SIZE(device->s); i++) {
		memset(&device->s[i], 0, sizeof(device->s[i]));
		device->s[i].max_fifo_size = MAX_FIFO_SIZE;
	}
	mutex_unlock(&device->ops_lock);
}

static int knob_reset(struct mdev_state *device)
{
	if (knob_reset_errno && knob_is_for(device))
		return -knob_reset_errno;
	if (knob_reset_clears)
		knob_clear_ports(device);
	return mtty_reset(device);
}

static void knob_close(struct vfio_device *vdev)
{
	mtty_close(vdev);
	if (knob_close_resets)
		mtty_reset(container_of(vdev, struct mdev_state, vdev));
}
