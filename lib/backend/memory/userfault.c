/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages the threads of this process have written, by userfaultfd write-protect: for guests
 * without KVM. Only writes through the regions' own mapping are seen; who writes to the same memfd
 * elsewhere must say so itself, as devices do.
 *
 * From Linux 6.7 the kernel lets a write to a protected page pass and remembers it (WP_ASYNC), and
 * PAGEMAP_SCAN finds and protects again in one step. Before that, userfault-thread.c handles each
 * fault.
 */
#include "backend/memory/userfault.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/error.h"
#include "base/export.h"

#define RANGES_MAX 4096u /* of one PAGEMAP_SCAN */
#define PROTECT_TRIES_MAX 1000u

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

int userfault_protect(const struct userfault *uf, const struct userfault_region *region,
		      uint64_t first, uint64_t count, bool on)
{
	struct uffdio_writeprotect protect = {
		.range = { .start = region->start + (first << HF_PAGE_SHIFT),
			   .len = count << HF_PAGE_SHIFT },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	assert(first + count <= region->pages);
	for (unsigned int i = 0; i < PROTECT_TRIES_MAX; i++) {
		if (ioctl(uf->fd, UFFDIO_WRITEPROTECT, &protect) == 0)
			return 0;
		if (errno != EAGAIN && errno != EINTR) /* EAGAIN: the mappings are changing */
			return -errno;
	}
	return -EAGAIN;
}

static int register_region(const struct userfault *uf, const struct userfault_region *region)
{
	struct uffdio_register reg = {
		.range = { .start = region->start, .len = region->pages << HF_PAGE_SHIFT },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(uf->fd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

/* All of it is unprotected, and who waits for a page goes on. */
static void unregister_region(const struct userfault *uf, const struct userfault_region *region)
{
	struct uffdio_range range = { .start = region->start,
				      .len = region->pages << HF_PAGE_SHIFT };

	(void)userfault_protect(uf, region, 0, region->pages, false);
	(void)ioctl(uf->fd, UFFDIO_UNREGISTER, &range); /* gone mappings are unregistered already */
}

static void unregister_all(const struct userfault *uf)
{
	for (uint32_t i = 0; i < uf->count; i++)
		unregister_region(uf, &uf->regions[i]);
}

/* ---- tracking -------------------------------------------------------------------------------- */

/* Find what was written in [start, end) of a region and protect it again; *ret_end: how far it
 * came. */
static int scan(const struct userfault *uf, const struct userfault_region *region, uint64_t start,
		uint64_t end, uint64_t *ret_end)
{
	struct scan_arg arg = {
		.size = sizeof(arg),
		.flags = SCAN_WP_MATCHING | SCAN_CHECK_WPASYNC,
		.start = start,
		.end = end,
		.vec = (uintptr_t)uf->ranges,
		.vec_len = RANGES_MAX,
		.category_mask = SCAN_IS_WRITTEN,
		.return_mask = SCAN_IS_WRITTEN,
	};
	int n;

	do {
		n = ioctl(uf->pagemap_fd, SCAN_IOCTL, &arg);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		const struct scan_range *range = &uf->ranges[i];

		if (range->start < start || range->end > end || range->end <= range->start)
			return -EPROTO;
		bitmap_set_range(region->pending, (range->start - region->start) >> HF_PAGE_SHIFT,
				 (range->end - range->start) >> HF_PAGE_SHIFT);
	}
	if (arg.walk_end <= start || arg.walk_end > end)
		return -EPROTO;
	*ret_end = arg.walk_end;
	return 0;
}

static int async_sync(const struct userfault *uf)
{
	int r;

	for (uint32_t i = 0; i < uf->count; i++) {
		const struct userfault_region *region = &uf->regions[i];
		uint64_t at = region->start, end = at + (region->pages << HF_PAGE_SHIFT);

		while (at < end) {
			r = scan(uf, region, at, end, &at);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

void userfault_publish(struct userfault *uf)
{
	for (uint32_t i = 0; i < uf->count; i++) {
		struct userfault_region *region = &uf->regions[i];

		memcpy(region->found, region->pending, bitmap_bytes(region->pages));
		bitmap_zero(region->pending, region->pages);
	}
}

static int arm(const struct userfault *uf)
{
	int r;

	for (uint32_t i = 0; i < uf->count; i++) {
		const struct userfault_region *region = &uf->regions[i];

		bitmap_zero(region->pending, region->pages);
		bitmap_zero(region->found, region->pages);
		r = register_region(uf, region);
		if (r < 0)
			return r;
		/* Without WP_UNPOPULATED only pages that are there can be protected. */
		if (!(uf->features & FEATURE_WP_UNPOPULATED) &&
		    madvise((void *)(uintptr_t)region->start, region->pages << HF_PAGE_SHIFT,
			    MADV_POPULATE_READ) < 0)
			return -errno;
	}
	if (uf->mode == USERFAULT_THREAD)
		return 0; /* its thread must be there first */
	for (uint32_t i = 0; i < uf->count; i++) {
		r = userfault_protect(uf, &uf->regions[i], 0, uf->regions[i].pages, true);
		if (r < 0)
			return r;
	}
	return 0;
}

static int uf_dirty_start(void *self)
{
	struct userfault *uf = self;
	int r;

	assert(!uf->tracking);
	r = arm(uf);
	if (r == 0 && uf->mode == USERFAULT_THREAD)
		r = userfault_thread_start(uf);
	if (r < 0) {
		unregister_all(uf);
		return r;
	}
	uf->tracking = true;
	return 0;
}

static int uf_dirty_sync(void *self)
{
	struct userfault *uf = self;
	int r;

	assert(uf->tracking);
	if (uf->mode == USERFAULT_THREAD)
		return userfault_thread_sync(uf);
	r = async_sync(uf);
	if (r == 0)
		userfault_publish(uf);
	return r;
}

static int uf_dirty_read(void *self, uint32_t region, uint64_t *bitmap)
{
	const struct userfault *uf = self;

	if (region >= uf->count)
		return -EINVAL;
	bitmap_or(bitmap, uf->regions[region].found, uf->regions[region].pages);
	return 0;
}

static int uf_dirty_stop(void *self)
{
	struct userfault *uf = self;

	assert(uf->tracking);
	uf->tracking = false;
	unregister_all(uf); /* first: nobody waits for the thread any more */
	if (uf->mode == USERFAULT_THREAD)
		userfault_thread_stop(uf);
	return 0;
}

static void uf_close(void *self)
{
	struct userfault *uf = self;

	if (!uf)
		return;
	if (uf->tracking)
		(void)uf_dirty_stop(uf);
	for (uint32_t i = 0; i < uf->count; i++) {
		free(uf->regions[i].pending);
		free(uf->regions[i].found);
	}
	if (uf->fd >= 0)
		(void)close(uf->fd);
	if (uf->pagemap_fd >= 0)
		(void)close(uf->pagemap_fd);
	if (uf->stop_fd >= 0)
		(void)close(uf->stop_fd);
	(void)pthread_mutex_destroy(&uf->lock);
	free(uf->ranges);
	free(uf);
}

static const struct hf_memory_ops uf_ops = {
	.size = sizeof(uf_ops),
	.kind = "userfault",
	.dirty_start = uf_dirty_start,
	.dirty_sync = uf_dirty_sync,
	.dirty_read = uf_dirty_read,
	.dirty_stop = uf_dirty_stop,
	.close = uf_close,
};

/* ---- open ------------------------------------------------------------------------------------ */

/*
 * A new userfaultfd: with the privilege, by the device, or for faults from user mode only (then a
 * system call that writes to a protected page fails with EFAULT in mode THREAD).
 */
static int new_fd(void)
{
	const long flags = O_CLOEXEC | O_NONBLOCK;
	int fd, device;

	fd = (int)syscall(SYS_userfaultfd, flags);
	if (fd >= 0)
		return fd;
	device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device >= 0) {
		fd = ioctl(device, USERFAULTFD_IOC_NEW, flags);
		(void)close(device);
		if (fd >= 0)
			return fd;
	}
	fd = (int)syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);
	return fd < 0 ? -errno : fd;
}

/* The features that the kernel knows; it tells only to a descriptor that is of no use afterwards.
 */
static int ask_features(uint64_t *ret_features)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = new_fd(), r;

	if (fd < 0)
		return fd;
	r = ioctl(fd, UFFDIO_API, &api) < 0 ? -errno : 0;
	(void)close(fd);
	*ret_features = api.features;
	return r;
}

/* Whether PAGEMAP_SCAN is there and permitted: look at one page, change nothing. */
static bool can_scan(int pagemap_fd, const struct hf_memory_region *region)
{
	struct scan_range range;
	struct scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)region->host,
		.end = (uintptr_t)region->host + HF_PAGE_SIZE,
		.vec = (uintptr_t)&range,
		.vec_len = 1,
		.category_mask = SCAN_IS_WRITTEN,
		.return_mask = SCAN_IS_WRITTEN,
	};

	return ioctl(pagemap_fd, SCAN_IOCTL, &arg) >= 0;
}

static int open_fd(struct userfault *uf, const struct hf_memory_region *regions,
		   enum userfault_mode mode, struct hf_error *err)
{
	struct uffdio_api api = { .api = UFFD_API };
	uint64_t known = 0;
	bool async;
	int r;

	r = ask_features(&known);
	if (r < 0)
		return error_set(err, HF_E_UNSUPPORTED, -r, "userfaultfd");
	if (!(known & FEATURE_WP) || !(known & FEATURE_WP_SHMEM))
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "userfaultfd: this kernel cannot write-protect shared memory");
	if (mode != USERFAULT_THREAD)
		uf->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	async = uf->pagemap_fd >= 0 && known & FEATURE_WP_ASYNC &&
		can_scan(uf->pagemap_fd, &regions[0]);
	if (!async && mode == USERFAULT_ASYNC)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "userfaultfd: this kernel has no PAGEMAP_SCAN");
	uf->mode = async ? USERFAULT_ASYNC : USERFAULT_THREAD;
	uf->features = known & (FEATURE_WP | FEATURE_WP_SHMEM | FEATURE_WP_UNPOPULATED |
				(async ? FEATURE_WP_ASYNC : 0));
	uf->fd = new_fd();
	if (uf->fd < 0)
		return error_set(err, HF_E_UNSUPPORTED, -uf->fd, "userfaultfd");
	api.features = uf->features;
	if (ioctl(uf->fd, UFFDIO_API, &api) < 0)
		return error_set(err, HF_E_UNSUPPORTED, errno, "userfaultfd: features %#llx",
				 (unsigned long long)uf->features);
	return 0;
}

static int add_region(struct userfault *uf, const struct hf_memory_region *from,
		      struct hf_error *err)
{
	struct userfault_region *region = &uf->regions[uf->count];
	int r;

	if (from->size == 0 || (from->size | (uintptr_t)from->host) % HF_PAGE_SIZE)
		return error_set(err, HF_E_INVALID, 0, "memory region %.63s: not in whole pages",
				 from->name);
	region->start = (uintptr_t)from->host;
	region->pages = from->size >> HF_PAGE_SHIFT;
	region->pending = calloc(bitmap_words(region->pages), sizeof(uint64_t));
	region->found = calloc(bitmap_words(region->pages), sizeof(uint64_t));
	uf->count++;
	if (!region->pending || !region->found)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "track dirty pages");
	r = register_region(uf, region); /* a rehearsal: a mapping that cannot is told now */
	if (r < 0)
		return error_set(err, HF_E_DIRTY_TRACKING, -r,
				 "userfaultfd: register memory region %.63s", from->name);
	unregister_region(uf, region);
	return 0;
}

int memory_userfault_open(const struct hf_memory_region *regions, uint32_t count,
			  enum userfault_mode mode, struct hf_memory *ret_memory,
			  struct hf_error *err)
{
	struct userfault *uf;
	int r;

	if (count == 0 || count > HF_REGIONS_MAX)
		return error_set(err, HF_E_INVALID, 0, "userfaultfd: %u regions, not 1..%u", count,
				 HF_REGIONS_MAX);
	uf = calloc(1, sizeof(*uf));
	if (!uf)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "track dirty pages");
	uf->fd = uf->pagemap_fd = uf->stop_fd = -1;
	(void)pthread_mutex_init(&uf->lock, NULL); /* cannot fail on Linux */
	uf->ranges = calloc(RANGES_MAX, sizeof(*uf->ranges));
	r = uf->ranges ? open_fd(uf, regions, mode, err)
		       : error_set(err, HF_E_NO_MEMORY, ENOMEM, "track dirty pages");
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = add_region(uf, &regions[i], err);
	if (r < 0) {
		uf_close(uf);
		return r;
	}
	ret_memory->ops = &uf_ops;
	ret_memory->self = uf;
	return 0;
}

HF_EXPORT int hf_memory_userfault(const struct hf_memory_region *regions, uint32_t count,
				  struct hf_memory *ret_memory, struct hf_error *err)
{
	return memory_userfault_open(regions, count, USERFAULT_BEST, ret_memory, err);
}
