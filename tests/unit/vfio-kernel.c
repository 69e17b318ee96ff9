/* SPDX-License-Identifier: BSD-3-Clause */
/* The files, containers and the iommufd of vfio-kernel.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <cmocka.h>

#include "backend/device/vfio/sys.h"
#include "backend/device/vfio/uapi.h"
#include "base/bitmap.h"
#include "vfio-kernel.h"

#define LOG_SIZE (1ull << 32) /* what the IOMMUs log: all that tests map */
#define PATH_LEN 160
#define PAGE 4096u

struct kernel_world kernel;
struct kernel_fd kernel_fds[KERNEL_FDS_MAX];
static const struct vfio_sys *real_sys;

int kernel_fd_new(enum kernel_kind kind)
{
	for (int i = 0; i < KERNEL_FDS_MAX; i++) {
		if (kernel_fds[i].kind != KERNEL_NONE)
			continue;
		memset(&kernel_fds[i], 0, sizeof(kernel_fds[i]));
		kernel_fds[i].kind = kind;
		kernel_fds[i].container = -1;
		return i;
	}
	return -EMFILE;
}

struct kernel_fd *kernel_fd_of(int fd)
{
	assert_in_range(fd, KERNEL_FD_BASE, KERNEL_FD_BASE + KERNEL_FDS_MAX - 1);
	assert_int_not_equal(kernel_fds[fd - KERNEL_FD_BASE].kind, KERNEL_NONE);
	return &kernel_fds[fd - KERNEL_FD_BASE];
}

uint32_t kernel_open_fds(void)
{
	uint32_t n = 0;

	for (int i = 0; i < KERNEL_FDS_MAX; i++)
		n += kernel_fds[i].kind != KERNEL_NONE;
	return n;
}

uint32_t kernel_maps(void)
{
	uint32_t n = 0;

	for (int i = 0; i < KERNEL_FDS_MAX; i++)
		n += kernel_fds[i].kind == KERNEL_NONE ? 0 : kernel_fds[i].map_count;
	return n;
}

/* ---- files --------------------------------------------------------------------------------- */

static int is_there(const char *path)
{
	return !kernel.missing || strcmp(path, kernel.missing) != 0;
}

static void folder_of(const struct kernel_device *d, const char *leaf, char path[PATH_LEN])
{
	(void)snprintf(path, PATH_LEN, "/sys/bus/%s/devices/%s%s", d->is_mdev ? "mdev" : "pci",
		       d->address, leaf);
}

/* Which file is it: a device's node (its number), a group's (100 + its first device), or -1. */
static int node_of(const char *path)
{
	for (int i = 0; i < KERNEL_DEVICES_MAX; i++) {
		const struct kernel_device *d = &kernel.devices[i];
		char node[PATH_LEN];

		if (!d->address)
			continue;
		(void)snprintf(node, sizeof(node), "/dev/vfio/devices/vfio%d", i);
		if (strcmp(path, node) == 0)
			return i;
		(void)snprintf(node, sizeof(node), "/dev/vfio/%s", d->group ? d->group : "?");
		if (strcmp(path, node) == 0)
			return 100 + i;
	}
	return -1;
}

static int fake_exists(const char *path)
{
	char folder[PATH_LEN];

	if (!is_there(path))
		return 0;
	if (strcmp(path, "/dev/vfio/vfio") == 0 || strcmp(path, "/dev/iommu") == 0 ||
	    node_of(path) >= 0)
		return 1;
	for (int i = 0; i < KERNEL_DEVICES_MAX; i++) {
		if (!kernel.devices[i].address)
			continue;
		folder_of(&kernel.devices[i], "", folder);
		if (strcmp(path, folder) == 0)
			return 1;
	}
	return 0;
}

static int fake_link_name(const char *path, char *ret_name, size_t size)
{
	for (int i = 0; i < KERNEL_DEVICES_MAX; i++) {
		const struct kernel_device *d = &kernel.devices[i];
		const char *names[] = { d->driver, d->group, d->is_mdev ? "fake-1" : NULL };
		static const char *const leaves[] = { "/driver", "/iommu_group", "/mdev_type" };

		for (int k = 0; k < 3 && d->address; k++) {
			char link[PATH_LEN];

			folder_of(d, leaves[k], link);
			if (strcmp(path, link) != 0 || !names[k])
				continue;
			(void)snprintf(ret_name, size, "%s", names[k]);
			return 0;
		}
	}
	return -ENOENT;
}

static int fake_entry(const char *folder, const char *prefix, char *ret_name, size_t size)
{
	assert_string_equal(prefix, "vfio");
	for (int i = 0; i < KERNEL_DEVICES_MAX; i++) {
		char path[PATH_LEN];

		if (!kernel.devices[i].address)
			continue;
		folder_of(&kernel.devices[i], "/vfio-dev", path);
		if (strcmp(path, folder) != 0 || !is_there(path))
			continue;
		(void)snprintf(ret_name, size, "vfio%d", i);
		return 0;
	}
	return -ENOENT;
}

static int fake_open(const char *path)
{
	enum kernel_kind kind = KERNEL_DEVICE;
	int node = node_of(path), i;

	if (!fake_exists(path))
		return -ENOENT;
	if (strcmp(path, "/dev/vfio/vfio") == 0)
		kind = KERNEL_CONTAINER;
	else if (strcmp(path, "/dev/iommu") == 0)
		kind = KERNEL_IOMMUFD;
	else if (node >= 100)
		kind = KERNEL_GROUP;
	for (i = 0; kind == KERNEL_GROUP && i < KERNEL_FDS_MAX; i++)
		if (kernel_fds[i].kind == KERNEL_GROUP &&
		    kernel_fds[i].device == (uint32_t)node - 100)
			return -EBUSY;
	i = kernel_fd_new(kind);
	if (i < 0)
		return i;
	kernel_fds[i].device = node < 0 ? 0 : (uint32_t)(node >= 100 ? node - 100 : node);
	return KERNEL_FD_BASE + i;
}

/* ---- what devices reach -------------------------------------------------------------------- */

/* Is the device in the address space of this container or iommufd? */
int kernel_reaches(const struct kernel_device *d, const struct kernel_fd *space)
{
	int index = (int)(space - kernel_fds);

	if (!d->address || !d->used)
		return 0;
	if (space->kind == KERNEL_IOMMUFD)
		return d->attached && d->iommufd == (uint32_t)index;
	for (int i = 0; i < KERNEL_FDS_MAX; i++)
		if (kernel_fds[i].kind == KERNEL_GROUP && kernel_fds[i].container == index &&
		    strcmp(kernel.devices[kernel_fds[i].device].group, d->group) == 0)
			return !d->bound;
	return 0;
}

static void tell(const struct kernel_fd *space, const struct kernel_map *map, int on)
{
	for (int i = 0; i < KERNEL_DEVICES_MAX; i++) {
		struct kernel_device *d = &kernel.devices[i];

		if (!kernel_reaches(d, space))
			continue;
		if (on)
			assert_int_equal(d->sim.ops->dma_map(d->sim.self, map->iova, map->size,
							     (void *)(uintptr_t)map->vaddr, -1, 0,
							     map->flags),
					 0);
		else
			assert_int_equal(d->sim.ops->dma_unmap(d->sim.self, map->iova, map->size),
					 0);
	}
}

/* A device comes into an address space: it reaches what is there. */
void kernel_join(struct kernel_device *d, const struct kernel_fd *space)
{
	for (uint32_t i = 0; i < space->map_count; i++)
		assert_int_equal(d->sim.ops->dma_map(d->sim.self, space->maps[i].iova,
						     space->maps[i].size,
						     (void *)(uintptr_t)space->maps[i].vaddr, -1, 0,
						     space->maps[i].flags),
				 0);
}

int kernel_map(struct kernel_fd *space, struct kernel_map map)
{
	int r = -kernel.map_errno;

	kernel.map_ioctls++;
	kernel.map_errno = 0;
	if (r)
		return r;
	if (((map.iova | map.size | map.vaddr) & (PAGE - 1)) || !map.size || !map.flags)
		return -EINVAL;
	for (uint32_t i = 0; i < space->map_count; i++)
		if (map.iova < space->maps[i].iova + space->maps[i].size &&
		    space->maps[i].iova < map.iova + map.size)
			return -EEXIST;
	if (space->map_count == KERNEL_MAPS_MAX)
		return -ENOSPC;
	space->maps[space->map_count++] = map;
	tell(space, &map, 1);
	return 0;
}

int kernel_unmap(struct kernel_fd *space, uint64_t iova, uint64_t size)
{
	kernel.unmap_ioctls++;
	for (uint32_t i = 0; i < space->map_count; i++) {
		if (space->maps[i].iova != iova || space->maps[i].size != size)
			continue;
		tell(space, &space->maps[i], 0);
		space->maps[i] = space->maps[--space->map_count];
		return 0;
	}
	return -ENOENT;
}

/* The IOMMU's own log of a device, or of all devices of a container, is the simulated device's. */
void kernel_log_switch(struct kernel_device *d, int on)
{
	const struct hf_dma_range all = { 0, LOG_SIZE };

	if (on)
		assert_int_equal(d->sim.ops->dirty_start(d->sim.self, PAGE, &all, 1), 0);
	else
		assert_int_equal(d->sim.ops->dirty_stop(d->sim.self), 0);
}

void kernel_log_read(struct kernel_device *d, uint64_t iova, uint64_t length, uint64_t *bitmap)
{
	assert_int_equal(d->sim.ops->dirty_read(d->sim.self, iova, length, PAGE, bitmap), 0);
}

/* ---- containers ---------------------------------------------------------------------------- */

/* vfio_iommu_type1_dirty_pages(): whole maps only; the bitmap is overwritten. */
static int get_bitmap(struct kernel_fd *c, const struct vfio_iommu_type1_dirty_bitmap_get *get)
{
	uint64_t pages = get->size / PAGE;
	int found = 0;

	if (!c->tracking || get->bitmap.pgsize != PAGE || get->bitmap.size < (pages + 7) / 8)
		return -EINVAL;
	for (uint32_t i = 0; i < c->map_count; i++) {
		const struct kernel_map *m = &c->maps[i];

		if (m->iova + m->size <= get->iova || m->iova >= get->iova + get->size)
			continue;
		if (m->iova != get->iova || m->size != get->size) /* no more is asked of it here */
			return -EINVAL;
		found = 1;
	}
	if (!found)
		return -ENOENT;
	memset(get->bitmap.data, 0, bitmap_bytes(pages));
	for (int i = 0; i < KERNEL_DEVICES_MAX; i++) {
		struct kernel_device *d = &kernel.devices[i];

		if (!kernel_reaches(d, c))
			continue;
		if (d->is_mdev)
			kernel_log_read(d, get->iova, get->size, (void *)get->bitmap.data);
		else
			bitmap_set_range((void *)get->bitmap.data, 0, pages);
	}
	return 0;
}

static int dirty_pages(struct kernel_fd *c, const struct vfio_iommu_type1_dirty_bitmap *d)
{
	struct vfio_iommu_type1_dirty_bitmap_get get;
	int on = d->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_START;

	if (d->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP) {
		if (d->argsz < sizeof(*d) + sizeof(get))
			return -EINVAL;
		memcpy(&get, d->data, sizeof(get));
		return get_bitmap(c, &get);
	}
	if (!on && d->flags != VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP)
		return -EINVAL;
	for (int i = 0; i < KERNEL_DEVICES_MAX && (int)c->tracking != on; i++)
		if (kernel_reaches(&kernel.devices[i], c))
			kernel_log_switch(&kernel.devices[i], on);
	c->tracking = (uint32_t)on;
	return 0;
}

static int container_info(struct vfio_iommu_type1_info *info)
{
	struct vfio_iommu_type1_info_cap_migration cap = {
		.header = { VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, 0 }, .pgsize_bitmap = PAGE
	};
	uint32_t room = info->argsz, at = 64;

	info->flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	info->argsz = at + (uint32_t)sizeof(cap);
	info->cap_offset = 0;
	if (room < info->argsz)
		return 0;
	info->cap_offset = at;
	memcpy((char *)info + at, &cap, sizeof(cap));
	return 0;
}

static int container_ioctl(struct kernel_fd *c, unsigned long request, void *argument)
{
	const struct vfio_iommu_type1_dma_map *m = argument;
	struct vfio_iommu_type1_dma_unmap *u = argument;
	int has_group = 0;

	if (request == VFIO_GET_API_VERSION)
		return kernel.api_version;
	if (request == VFIO_CHECK_EXTENSION)
		return !kernel.no_type1 && (uintptr_t)argument == VFIO_TYPE1v2_IOMMU;
	for (int i = 0; i < KERNEL_FDS_MAX; i++)
		has_group |= kernel_fds[i].kind == KERNEL_GROUP &&
			     kernel_fds[i].container == (int)(c - kernel_fds);
	if (request == VFIO_SET_IOMMU) {
		if (!has_group || c->has_iommu || (uintptr_t)argument != VFIO_TYPE1v2_IOMMU)
			return -EINVAL;
		c->has_iommu = 1;
		return 0;
	}
	if (!c->has_iommu)
		return -EINVAL;
	switch (request) {
	case VFIO_IOMMU_GET_INFO:
		return container_info(argument);
	case VFIO_IOMMU_MAP_DMA:
		return kernel_map(c, (struct kernel_map){ m->iova, m->size, m->vaddr, m->flags });
	case VFIO_IOMMU_UNMAP_DMA:
		return kernel_unmap(c, u->iova, u->size);
	case VFIO_IOMMU_DIRTY_PAGES:
		return dirty_pages(c, argument);
	default:
		return -ENOTTY;
	}
}

static int group_device(struct kernel_fd *g, const char *text)
{
	char address[64] = "";

	if (g->container < 0)
		return -EINVAL;
	(void)sscanf(text, "%63s", address);
	for (uint32_t i = 0; i < KERNEL_DEVICES_MAX; i++) {
		struct kernel_device *d = &kernel.devices[i];
		int fd;

		if (!d->address || strcmp(d->address, address) != 0 ||
		    strcmp(d->group, kernel.devices[g->device].group) != 0)
			continue;
		fd = kernel_fd_new(KERNEL_DEVICE);
		if (fd < 0)
			return fd;
		(void)snprintf(d->token, sizeof(d->token), "%s", text + strlen(address));
		kernel_fds[fd].device = i;
		d->used = 1;
		kernel_join(d, &kernel_fds[g->container]);
		return KERNEL_FD_BASE + fd;
	}
	return -ENODEV;
}

static int group_ioctl(struct kernel_fd *g, unsigned long request, void *argument)
{
	struct kernel_device *d = &kernel.devices[g->device];

	if (request == VFIO_GROUP_GET_STATUS) {
		struct vfio_group_status *status = argument;

		status->flags = kernel.not_viable && strcmp(kernel.not_viable, d->group) == 0
					? 0
					: VFIO_GROUP_FLAGS_VIABLE;
		return 0;
	}
	if (request == VFIO_GROUP_SET_CONTAINER) {
		struct kernel_fd *c = kernel_fd_of(*(int *)argument);

		if (g->container >= 0 || c->kind != KERNEL_CONTAINER ||
		    (c->has_iommu && c->iommu != d->iommu))
			return -EINVAL;
		c->iommu = d->iommu;
		g->container = (int)(c - kernel_fds);
		return 0;
	}
	if (request == VFIO_GROUP_GET_DEVICE_FD)
		return group_device(g, argument);
	return -ENOTTY;
}

/* ---- calls --------------------------------------------------------------------------------- */

static int device_ioctl(struct kernel_fd *fd, unsigned long request, void *argument)
{
	struct kernel_device *d = &kernel.devices[fd->device];

	if (request == VFIO_DEVICE_BIND_IOMMUFD) {
		struct vfio_bind_token *bind = argument;
		int r = kernel_bind(fd, bind);

		if (r == 0)
			bind->out_devid = KERNEL_DEV_ID + fd->device;
		return r;
	}
	if (!d->used)
		return -EINVAL; /* by cdev, and not bound yet */
	if (request == VFIO_DEVICE_ATTACH_IOMMUFD_PT)
		return d->bound ? kernel_attach(fd, argument) : -ENOTTY;
	return kernel_device_ioctl(d, request, argument);
}

static int fake_ioctl(int number, unsigned long request, void *argument)
{
	struct kernel_fd *fd = kernel_fd_of(number);

	switch (fd->kind) {
	case KERNEL_CONTAINER:
		return container_ioctl(fd, request, argument);
	case KERNEL_GROUP:
		return group_ioctl(fd, request, argument);
	case KERNEL_DEVICE:
		return device_ioctl(fd, request, argument);
	case KERNEL_IOMMUFD:
		return kernel_iommufd_ioctl(fd, request, argument);
	case KERNEL_DATA:
		return kernel_data_ioctl(fd, request, argument);
	case KERNEL_NONE:
		break;
	}
	return -EBADF;
}

static void fake_close(int number)
{
	struct kernel_fd *fd = kernel_fd_of(number);
	struct kernel_device *d = &kernel.devices[fd->device];

	if (fd->kind == KERNEL_DEVICE) {
		(void)d->sim.ops->dma_unmap(d->sim.self, 0, LOG_SIZE);
		kernel_device_closed(d);
	}
	fd->kind = KERNEL_NONE;
}

static ssize_t fake_read(int number, void *buf, size_t size)
{
	struct kernel_fd *fd = kernel_fd_of(number);

	return fd->kind == KERNEL_DATA ? kernel_data_read(fd, buf, size) : -EINVAL;
}

static ssize_t fake_write(int number, const void *buf, size_t size)
{
	struct kernel_fd *fd = kernel_fd_of(number);

	return fd->kind == KERNEL_DATA ? kernel_data_write(fd, buf, size) : -EINVAL;
}

static ssize_t fake_pread(int number, void *buf, size_t size, uint64_t offset)
{
	struct kernel_fd *fd = kernel_fd_of(number);

	if (fd->kind != KERNEL_DEVICE)
		return -ESPIPE;
	return kernel_device_read(&kernel.devices[fd->device], buf, size, offset);
}

static ssize_t fake_pwrite(int number, const void *buf, size_t size, uint64_t offset)
{
	struct kernel_fd *fd = kernel_fd_of(number);

	if (fd->kind != KERNEL_DEVICE)
		return -ESPIPE;
	return kernel_device_write(&kernel.devices[fd->device], buf, size, offset);
}

static const struct vfio_sys fake_sys = {
	.open = fake_open,
	.close = fake_close,
	.ioctl = fake_ioctl,
	.read = fake_read,
	.write = fake_write,
	.pread = fake_pread,
	.pwrite = fake_pwrite,
	.exists = fake_exists,
	.link_name = fake_link_name,
	.entry = fake_entry,
};

/* ---- beginning and end --------------------------------------------------------------------- */

void kernel_start(void)
{
	assert_null(real_sys);
	real_sys = vfio_sys;
	vfio_sys = &fake_sys;
	for (int i = 0; i < KERNEL_DEVICES_MAX; i++) {
		struct kernel_device *d = &kernel.devices[i];
		struct hf_error err = { 0 };
		char uri[128];

		if (!d->address)
			continue;
		d->intx_fd = d->intx_unmask_fd = -1;
		(void)snprintf(uri, sizeof(uri), "sim:%s", d->keys ? d->keys : "state=64K");
		if (hf_device_open(uri, NULL, &d->sim, &err) < 0)
			fail_msg("%s", err.text);
		if (d->begins_in)
			assert_int_equal(d->sim.ops->set_state(d->sim.self, d->begins_in), 0);
	}
}

void kernel_end(void)
{
	uint32_t left = kernel_open_fds();

	for (int i = 0; i < KERNEL_DEVICES_MAX; i++)
		if (kernel.devices[i].address)
			hf_device_close(&kernel.devices[i].sim);
	vfio_sys = real_sys;
	real_sys = NULL;
	memset(&kernel, 0, sizeof(kernel));
	memset(kernel_fds, 0, sizeof(kernel_fds));
	assert_int_equal(left, 0);
}
