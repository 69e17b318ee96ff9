/* SPDX-License-Identifier: BSD-3-Clause */
/* The tests' device: it remembers what is asked of it, and fails at one call if it is told to. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm-testing.h"

static bool fails(struct fake_device *fake)
{
	return ++fake->calls == fake->fail_at;
}

static int fake_info(void *self, struct hf_device_info *ret_info)
{
	const struct fake_device *fake = self;

	*ret_info = (struct hf_device_info){
		.flags = fake->flags, .region_count = 8, .irq_count = 5, .kind = "fake"
	};
	return 0;
}

static const uint64_t bar_sizes[6] = { FAKE_BAR0_SIZE, FAKE_PORTS, FAKE_BAR2_SIZE, 0,
				       FAKE_BAR4_SIZE, 0 };

/* First of all: whatever it was set up for is gone. */
static int fake_reset(void *self)
{
	struct fake_device *fake = self;

	assert_int_equal(fake->map_count, 0);
	assert_int_equal(fake->irq_count + fake->pin_count, 0);
	fake->resets++;
	return fake->reset_answer;
}

static int fake_region_info(void *self, uint32_t index, struct hf_region_info *ret_info)
{
	struct fake_device *fake = self;

	if (fails(fake))
		return -EIO;
	*ret_info =
		(struct hf_region_info){ .flags = HF_REGION_READ | HF_REGION_WRITE, .mmap_fd = -1 };
	if (index < 6)
		ret_info->size = bar_sizes[index];
	if (index == 4) {
		ret_info->flags |= fake->area_count != 0 ? HF_REGION_MMAP_AREAS : HF_REGION_MMAP;
		ret_info->mmap_fd = fake->bar4_fd;
		ret_info->area_count = fake->area_count;
		memcpy(ret_info->areas, fake->areas, sizeof(fake->areas));
	}
	return 0;
}

static uint8_t *region_at(struct fake_device *fake, uint32_t index, uint64_t offset, size_t size)
{
	if (index == 7 && offset + size <= sizeof(fake->config))
		return fake->config + offset;
	if (index == 0 && offset + size <= sizeof(fake->bar0))
		return fake->bar0 + offset;
	if (index == 1 && offset + size <= sizeof(fake->ports))
		return fake->ports + offset;
	return NULL;
}

static int fake_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size)
{
	struct fake_device *fake = self;
	const uint8_t *at = region_at(fake, index, offset, size);

	if (fails(fake))
		return -EIO;
	if (index == 4)
		return pread(fake->bar4_fd, buf, size, (off_t)offset) == (ssize_t)size ? 0 : -EIO;
	if (at == NULL)
		return -EIO;
	memcpy(buf, at, size);
	return 0;
}

static int fake_region_write(void *self, uint32_t index, uint64_t offset, const void *buf,
			     size_t size)
{
	struct fake_device *fake = self;
	uint8_t *at = region_at(fake, index, offset, size);

	if (fails(fake))
		return -EIO;
	if (index == 4)
		return pwrite(fake->bar4_fd, buf, size, (off_t)offset) == (ssize_t)size ? 0 : -EIO;
	if (at == NULL)
		return -EIO;
	memcpy(at, buf, size);
	if (at == fake->config + 4 && (fake->config[4] & 2) == 0 && fake->decoded_at != NULL &&
	    *fake->decoded_at != 0)
		fake->left_dark = true;
	return 0;
}

static int fake_irq_count(void *self, uint32_t index, uint32_t *ret_count)
{
	const struct fake_device *fake = self;

	if (fails(self))
		return -EIO;
	*ret_count = 0;
	if (index == 0)
		*ret_count = fake->no_pin ? 0 : 1;
	else if (index == 1)
		*ret_count = fake->msi_count;
	else if (index == 2)
		*ret_count = FAKE_VECTORS;
	else if (index == 3 || index == 4)
		*ret_count = 1;
	return 0;
}

/* One kind at a time, as the kernel's PCI devices have it. */
static int pin_set(struct fake_device *fake, uint32_t count, const int *eventfds)
{
	if (fake->no_pin || (count != 0 && (count != 2 || fake->irq_count != 0)))
		return -EINVAL;
	fake->pin_count = count;
	for (uint32_t i = 0; i < count; i++)
		fake->pin[i] = eventfds[i];
	return 0;
}

static int fake_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds)
{
	struct fake_device *fake = self;

	if (fails(fake))
		return -EIO;
	if ((index == 3 || index == 4) && count <= 1) {
		fake->host_eventfds[index - 3] = count != 0 ? eventfds[0] : 0;
		return 0;
	}
	if (index <= 2 && count != 0 && fake->irqs_answers[index] != 0)
		return fake->irqs_answers[index];
	if (index == 0)
		return pin_set(fake, count, eventfds);
	if ((index != 2 && index != 1) || count > FAKE_VECTORS)
		return -EINVAL;
	if (count != 0 &&
	    (fake->pin_count != 0 || (fake->irq_count != 0 && index != fake->irq_index)))
		return -EINVAL;
	fake->irq_count = count;
	fake->irq_index = index;
	for (uint32_t i = 0; i < count; i++)
		fake->irqs[i] = eventfds[i];
	return 0;
}

static int fake_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd,
			uint64_t fd_offset, uint32_t flags)
{
	struct fake_device *fake = self;

	(void)vaddr;
	(void)fd;
	(void)fd_offset;
	if (fails(fake))
		return -ENOMEM;
	if ((flags & HF_DMA_P2P) && fake->p2p_answer != 0)
		return fake->p2p_answer;
	if (fake->map_count == FAKE_MAPS_MAX || fake_map_at(fake, iova) != NULL)
		return -EEXIST;
	fake->maps[fake->map_count++] = (struct fake_map){ iova, size, flags };
	return 0;
}

static int fake_dma_unmap(void *self, uint64_t iova, uint64_t size)
{
	struct fake_device *fake = self;

	(void)size;
	for (uint32_t i = 0; i < fake->map_count; i++)
		if (fake->maps[i].iova == iova) {
			fake->maps[i] = fake->maps[--fake->map_count];
			return 0;
		}
	return -ENOENT;
}

static void fake_close(void *self)
{
	struct fake_device *fake = self;

	fake->closed = true;
}

/* The VMM uses no others: a call of NULL would end the test. */
static const struct hf_device_ops fake_ops = {
	.size = sizeof(struct hf_device_ops),
	.kind = "fake",
	.info = fake_info,
	.reset = fake_reset,
	.region_info = fake_region_info,
	.region_read = fake_region_read,
	.region_write = fake_region_write,
	.irq_count = fake_irq_count,
	.irqs_set = fake_irqs_set,
	.dma_map = fake_dma_map,
	.dma_unmap = fake_dma_unmap,
	.close = fake_close,
};

static void set32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

struct fake_device *fake_new(void)
{
	struct fake_device *fake = calloc(1, sizeof(*fake));

	assert_non_null(fake);
	fake->bar4_fd = memfd_create("bar4", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(fake->bar4_fd >= 0);
	assert_int_equal(ftruncate(fake->bar4_fd, FAKE_BAR4_SIZE), 0);
	set32(fake->config + 0x00, 0x48461234);
	set32(fake->config + 0x04, 0x00100000); /* it has capabilities */
	set32(fake->config + 0x14, 0x00000001); /* BAR1: ports */
	set32(fake->config + 0x18, 0x00000000); /* BAR2: 32 bits */
	set32(fake->config + 0x20, 0x0000000c); /* BAR4: 64 bits, prefetchable */
	fake->config[0x34] = 0x40;
	set32(fake->config + 0x40, 0x00005005); /* MSI, then 0x50 */
	set32(fake->config + 0x50, 0x00006009); /* vendor's own, then 0x60 */
	set32(fake->config + 0x60, 0x00030011); /* MSI-X, 4 vectors */
	set32(fake->config + 0x64, 0x00000002); /* table: BAR2, 0 */
	set32(fake->config + 0x68, 0x00000802); /* PBA: BAR2, 0x800 */
	return fake;
}

struct fake_device *fake_new_msi(void)
{
	struct fake_device *fake = fake_new();

	fake->msi_count = FAKE_VECTORS;
	set32(fake->config + 0x40, 0x01846005); /* 64-bit, maskable, 4 vectors, then 0x60 */
	return fake;
}

void fake_free(struct fake_device *fake)
{
	(void)close(fake->bar4_fd);
	free(fake);
}

struct hf_session_device fake_session_device(struct fake_device *fake, const char *name)
{
	struct hf_session_device device = { .device = { .ops = &fake_ops, .self = fake } };

	(void)snprintf(device.name, sizeof(device.name), "%s", name);
	return device;
}

void fake_host_says(const struct fake_device *fake, uint32_t which)
{
	const uint64_t one = 1;

	assert_true(fake->host_eventfds[which] > 0);
	assert_int_equal(write(fake->host_eventfds[which], &one, sizeof(one)), (int)sizeof(one));
}

void fake_pin_raise(const struct fake_device *fake)
{
	const uint64_t one = 1;

	assert_int_equal(fake->pin_count, 2);
	assert_int_equal(write(fake->pin[0], &one, sizeof(one)), (int)sizeof(one));
}

bool fake_pin_unmasked(const struct fake_device *fake)
{
	uint64_t count;

	assert_int_equal(fake->pin_count, 2);
	return read(fake->pin[1], &count, sizeof(count)) == (ssize_t)sizeof(count);
}

void fake_pin_wait_unmasked(const struct fake_device *fake)
{
	struct pollfd pollfd = { .fd = fake->pin[1], .events = POLLIN };

	assert_int_equal(fake->pin_count, 2);
	assert_int_equal(poll(&pollfd, 1, 30000), 1);
	assert_true(fake_pin_unmasked(fake));
}

const struct fake_map *fake_map_at(const struct fake_device *fake, uint64_t iova)
{
	for (uint32_t i = 0; i < fake->map_count; i++)
		if (fake->maps[i].iova == iova)
			return &fake->maps[i];
	return NULL;
}
