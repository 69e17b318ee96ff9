/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What travels from one labdma to another (labdma.h): records {magic, type, index, length, CRC of
 * the payload, 0} and their payload. A header first, then blocks of the device's memory, any of
 * them again where it changed; in STOP_COPY the registers and the end. Whatever is damaged, missing
 * or too much is refused: by write(), or with late_check by RESUMING -> STOP only.
 */
#include <linux/anon_inodes.h>
#include <linux/crc32.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "labdma.h"

#define MAGIC 0x4352424cu /* LBRC */
#define VERSION 1

enum { RECORD_HEADER = 1, RECORD_BLOCK, RECORD_REGISTERS, RECORD_END };

struct header {
	__le32 version, block_count, block_bytes;
};

#define RECORD_BYTES sizeof(struct labdma_record)

/* The device, locked, or NULL when the session is over. */
static struct labdma_device *lock_session(struct labdma_stream *stream)
{
	struct labdma_device *device = READ_ONCE(stream->device);

	if (!device)
		return NULL;
	mutex_lock(&device->lock);
	if (stream->device)
		return device;
	mutex_unlock(&device->lock);
	return NULL;
}

/* ---- saving -------------------------------------------------------------------------------- */

static void stage(struct labdma_stream *stream, u32 type, u32 index, const void *payload, u32 bytes)
{
	struct labdma_record record = {
		.magic = cpu_to_le32(MAGIC),
		.type = cpu_to_le32(type),
		.index = cpu_to_le32(index),
		.payload_bytes = cpu_to_le32(bytes),
		.crc = cpu_to_le32(crc32_le(~0, payload, bytes)),
	};

	memcpy(stream->record, &record, RECORD_BYTES);
	memcpy(stream->record + RECORD_BYTES, payload, bytes);
	stream->record_bytes = RECORD_BYTES + bytes;
	stream->record_done = 0;
}

static void stage_block(struct labdma_device *device, struct labdma_stream *stream, u32 block)
{
	clear_bit(block, stream->pending);
	if (test_and_set_bit(block, stream->sent))
		stream->again_count--;
	else
		stream->first_count--;
	stage(stream, RECORD_BLOCK, block, device->memory + (size_t)block * LABDMA_BLOCK_BYTES,
	      LABDMA_BLOCK_BYTES);
}

/* The next record; false: there is none, for now or for good. */
static bool stage_next(struct labdma_device *device, struct labdma_stream *stream)
{
	struct header header = { cpu_to_le32(VERSION), cpu_to_le32(device->block_count),
				 cpu_to_le32(LABDMA_BLOCK_BYTES) };
	u32 block;

	if (!stream->header_sent) {
		stage(stream, RECORD_HEADER, 0, &header, sizeof(header));
		stream->header_sent = true;
		return true;
	}
	block = find_first_bit(stream->pending, device->block_count);
	if (block < device->block_count) {
		stage_block(device, stream, block);
		return true;
	}
	if (device->state != VFIO_DEVICE_STATE_STOP_COPY || stream->end_sent)
		return false;
	if (!stream->registers_sent) {
		stage(stream, RECORD_REGISTERS, 0, &device->registers, sizeof(device->registers));
		stream->registers_sent = true;
	} else {
		stage(stream, RECORD_END, 0, &header, 0);
		stream->end_sent = true;
	}
	return true;
}

static ssize_t read_some(struct labdma_device *device, struct labdma_stream *stream,
			 char __user *buf, size_t len)
{
	size_t part;

	if (labdma_read_fail_at >= 0 && labdma_knobs_are_for(device)) {
		if (stream->offset >= labdma_read_fail_at)
			return -labdma_fail_errno;
		len = min_t(u64, len, labdma_read_fail_at - stream->offset);
	}
	if (stream->record_done == stream->record_bytes && !stage_next(device, stream))
		return device->state == VFIO_DEVICE_STATE_STOP_COPY ? 0 : -ENOMSG;
	part = min(len, stream->record_bytes - stream->record_done);
	if (copy_to_user(buf, stream->record + stream->record_done, part))
		return -EFAULT;
	stream->record_done += part;
	stream->offset += part;
	return part;
}

static ssize_t save_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct labdma_stream *stream = file->private_data;
	struct labdma_device *device;
	ssize_t done = 0, count = 0;

	if (pos)
		return -ESPIPE;
	if (labdma_read_delay_us > 0)
		usleep_range(labdma_read_delay_us, labdma_read_delay_us + 50); /* allowed: a knob */
	device = lock_session(stream);
	if (!device)
		return -ENODEV;
	while (done < len) {
		count = read_some(device, stream, buf + done, len - done);
		if (count <= 0)
			break;
		done += count;
	}
	mutex_unlock(&device->lock);
	return done ? done : count;
}

static __poll_t save_poll(struct file *file, struct poll_table_struct *wait)
{
	struct labdma_stream *stream = file->private_data;
	struct labdma_device *device = lock_session(stream);
	__poll_t ready = EPOLLIN | EPOLLRDNORM;

	if (!device)
		return ready | EPOLLRDHUP;
	poll_wait(file, &device->changed, wait);
	if (device->state != VFIO_DEVICE_STATE_STOP_COPY && stream->header_sent &&
	    stream->record_done == stream->record_bytes && !stream->first_count &&
	    !stream->again_count)
		ready = 0;
	mutex_unlock(&device->lock);
	return ready;
}

static long save_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	const size_t bytes_min = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct labdma_stream *stream = file->private_data;
	struct vfio_precopy_info info;
	struct labdma_device *device;
	bool precopy;
	int r;

	device = lock_session(stream);
	if (!device)
		return -ENODEV;
	r = vfio_check_precopy_ioctl(&device->vdev, command, argument, &info);
	precopy = device->state == VFIO_DEVICE_STATE_PRE_COPY ||
		  device->state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
	info.initial_bytes = (u64)stream->first_count * (RECORD_BYTES + LABDMA_BLOCK_BYTES) +
			     (stream->record_bytes - stream->record_done) +
			     (stream->header_sent ? 0 : RECORD_BYTES + sizeof(struct header));
	info.dirty_bytes = (u64)stream->again_count * (RECORD_BYTES + LABDMA_BLOCK_BYTES);
	mutex_unlock(&device->lock);
	if (r)
		return r;
	if (!precopy)
		return -EINVAL;
	return copy_to_user((void __user *)argument, &info, bytes_min) ? -EFAULT : 0;
}

/* A block of the memory has changed: send it again. */
void labdma_stream_touched(struct labdma_device *device, u32 block)
{
	struct labdma_stream *stream = device->stream;

	if (!stream || stream->loading || !test_bit(block, stream->sent) ||
	    test_and_set_bit(block, stream->pending))
		return;
	stream->again_count++;
	wake_up_interruptible(&device->changed);
}

/* An estimate of what is still to come. */
u64 labdma_stream_bytes_left(const struct labdma_device *device)
{
	const struct labdma_stream *stream = device->stream;
	u64 blocks = stream && !stream->loading ? stream->first_count + stream->again_count
						: device->block_count;

	return blocks * (RECORD_BYTES + LABDMA_BLOCK_BYTES) + 3 * RECORD_BYTES +
	       sizeof(struct header) + sizeof(struct labdma_registers);
}

/* ---- loading ------------------------------------------------------------------------------- */

static bool take_header(const struct labdma_device *device, const struct header *header, u32 bytes)
{
	return bytes == sizeof(*header) && le32_to_cpu(header->version) == VERSION &&
	       le32_to_cpu(header->block_count) == device->block_count &&
	       le32_to_cpu(header->block_bytes) == LABDMA_BLOCK_BYTES;
}

/* A whole record has come. False if it must not be. */
static bool take_record(struct labdma_device *device, struct labdma_stream *stream)
{
	const u8 *payload = stream->record + RECORD_BYTES;
	struct labdma_record record;
	u32 type, index, bytes;

	memcpy(&record, stream->record, RECORD_BYTES);
	type = le32_to_cpu(record.type);
	index = le32_to_cpu(record.index);
	bytes = le32_to_cpu(record.payload_bytes);
	if (le32_to_cpu(record.crc) != crc32_le(~0, payload, bytes) || record.zero ||
	    stream->complete || (type == RECORD_HEADER) == stream->header_received)
		return false;
	switch (type) {
	case RECORD_HEADER:
		stream->header_received = true;
		return take_header(device, (const struct header *)payload, bytes);
	case RECORD_BLOCK:
		if (bytes != LABDMA_BLOCK_BYTES || index >= device->block_count)
			return false;
		memcpy(stream->memory + (size_t)index * LABDMA_BLOCK_BYTES, payload, bytes);
		set_bit(index, stream->received);
		return true;
	case RECORD_REGISTERS:
		if (bytes != sizeof(stream->registers))
			return false;
		memcpy(&stream->registers, payload, bytes);
		stream->registers_received = true;
		return true;
	case RECORD_END:
		stream->complete = bytes == 0 && stream->registers_received &&
				   bitmap_full(stream->received, device->block_count);
		return stream->complete;
	}
	return false;
}

/* How long the record is that has begun to come; 0 if that cannot be. */
static size_t record_size(const struct labdma_stream *stream)
{
	struct labdma_record record;

	if (stream->record_bytes < RECORD_BYTES)
		return RECORD_BYTES;
	memcpy(&record, stream->record, RECORD_BYTES);
	if (le32_to_cpu(record.magic) != MAGIC ||
	    le32_to_cpu(record.payload_bytes) > LABDMA_BLOCK_BYTES)
		return 0;
	return RECORD_BYTES + le32_to_cpu(record.payload_bytes);
}

/* Some bytes, at most up to the end of a record. */
static ssize_t write_some(struct labdma_device *device, struct labdma_stream *stream,
			  const char __user *buf, size_t len)
{
	size_t size = record_size(stream), part;

	if (labdma_write_fail_at >= 0 && labdma_knobs_are_for(device)) {
		if (stream->offset >= labdma_write_fail_at)
			return -labdma_fail_errno;
		len = min_t(u64, len, labdma_write_fail_at - stream->offset);
	}
	if (stream->broken) {
		stream->offset += len;
		return labdma_late_check ? len : -EINVAL;
	}
	part = min(len, size - stream->record_bytes);
	if (copy_from_user(stream->record + stream->record_bytes, buf, part))
		return -EFAULT;
	stream->record_bytes += part;
	stream->offset += part;
	size = record_size(stream);
	if (size == 0) {
		stream->broken = true;
	} else if (stream->record_bytes == size) {
		stream->broken = !take_record(device, stream);
		stream->record_bytes = 0;
	}
	return stream->broken && !labdma_late_check ? -EINVAL : part;
}

static ssize_t load_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct labdma_stream *stream = file->private_data;
	struct labdma_device *device;
	ssize_t done = 0, count = 0;

	if (pos)
		return -ESPIPE;
	device = lock_session(stream);
	if (!device)
		return -ENODEV;
	while (done < len) {
		count = write_some(device, stream, buf + done, len - done);
		if (count < 0)
			break;
		done += count;
	}
	mutex_unlock(&device->lock);
	/* What is broken is said at once; any other failure after what went well. */
	return stream->broken && count < 0 ? count : done ? done : count;
}

/* RESUMING -> STOP: all of it has come, and becomes the device's. */
int labdma_stream_load(struct labdma_device *device)
{
	struct labdma_stream *stream = device->stream;

	if (!stream || stream->broken || !stream->complete || stream->record_bytes)
		return -EINVAL;
	memcpy(device->memory, stream->memory, (size_t)device->block_count * LABDMA_BLOCK_BYTES);
	device->registers = stream->registers;
	return 0;
}

/* ---- the data file ------------------------------------------------------------------------- */

static void stream_free(struct labdma_stream *stream)
{
	vfree(stream->memory);
	bitmap_free(stream->pending);
	bitmap_free(stream->sent);
	bitmap_free(stream->received);
	kfree(stream);
}

static int stream_release(struct inode *inode, struct file *file)
{
	stream_free(file->private_data);
	return 0;
}

static const struct file_operations save_operations = {
	.owner = THIS_MODULE,
	.read = save_read,
	.poll = save_poll,
	.unlocked_ioctl = save_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = stream_release,
};

static const struct file_operations load_operations = {
	.owner = THIS_MODULE,
	.write = load_write,
	.release = stream_release,
};

static bool stream_buffers(struct labdma_stream *stream, u32 block_count)
{
	if (stream->loading) {
		stream->memory = vzalloc((size_t)block_count * LABDMA_BLOCK_BYTES);
		stream->received = bitmap_zalloc(block_count, GFP_KERNEL);
		return stream->memory && stream->received;
	}
	stream->pending = bitmap_alloc(block_count, GFP_KERNEL);
	stream->sent = bitmap_zalloc(block_count, GFP_KERNEL);
	if (!stream->pending || !stream->sent)
		return false;
	bitmap_fill(stream->pending, block_count);
	stream->first_count = block_count;
	return true;
}

struct labdma_stream *labdma_stream_open(struct labdma_device *device, bool loading)
{
	struct labdma_stream *stream = kzalloc(sizeof(*stream), GFP_KERNEL);
	struct file *file;

	if (!stream)
		return ERR_PTR(-ENOMEM);
	stream->loading = loading;
	if (!stream_buffers(stream, device->block_count)) {
		stream_free(stream);
		return ERR_PTR(-ENOMEM);
	}
	file = anon_inode_getfile("labdma", loading ? &load_operations : &save_operations, stream,
				  loading ? O_WRONLY : O_RDONLY);
	if (IS_ERR(file)) {
		stream_free(stream);
		return ERR_CAST(file);
	}
	stream_open(file_inode(file), file);
	stream->file = file;
	stream->device = device;
	device->stream = stream;
	return stream;
}

/* The session is over; the file stays with whoever has it, and says ENODEV. */
void labdma_stream_close(struct labdma_device *device)
{
	struct labdma_stream *stream = device->stream;

	if (!stream)
		return;
	device->stream = NULL;
	WRITE_ONCE(stream->device, NULL);
	wake_up_interruptible(&device->changed);
	fput(stream->file);
}
