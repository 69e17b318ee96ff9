/* SPDX-License-Identifier: BSD-3-Clause */
/* Spaces: who shares one, and what is mapped in it. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/device/vfio/space.h"
#include "backend/device/vfio/sys.h"
#include "base/error.h"

#define PAGE_MASK (HF_PAGE_SIZE - 1)

/* All spaces of this process: the kernel gives a group once, so whoever has it must be found. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct vfio_space *list;

/* ---- spaces -------------------------------------------------------------------------------- */

static struct vfio_space *space_new(const struct vfio_place *place,
				    const struct vfio_config *config)
{
	struct vfio_space *space = calloc(1, sizeof(*space));
	long page = sysconf(_SC_PAGESIZE);

	if (!space)
		return NULL;
	space->path = place->path;
	memcpy(space->vm, config->vm, sizeof(space->vm));
	space->fd = -1;
	space->page_size = page > 0 ? (uint64_t)page : HF_PAGE_SIZE;
	(void)pthread_mutex_init(&space->lock, NULL);
	return space;
}

static void space_free(struct vfio_space *space)
{
	for (uint32_t i = 0; i < space->map_count; i++)
		free(space->maps[i].dirty);
	free(space->maps);
	free(space->scratch);
	if (space->fd >= 0)
		vfio_sys->close(space->fd);
	(void)pthread_mutex_destroy(&space->lock);
	free(space);
}

static void put_on_list(struct vfio_space *space)
{
	space->next = list;
	list = space;
}

static void take_off_list(const struct vfio_space *space)
{
	struct vfio_space **at = &list;

	while (*at != space)
		at = &(*at)->next;
	*at = space->next;
}

static int fits(const struct vfio_space *space, const struct vfio_place *place,
		const struct vfio_config *config)
{
	return space->path == place->path && strcmp(space->vm, config->vm) == 0 &&
	       space->members != UINT32_MAX;
}

static uint32_t free_slot(const struct vfio_space *space)
{
	assert(space->members != UINT32_MAX);
	return (uint32_t)__builtin_ctz(~space->members);
}

/* ---- by group ------------------------------------------------------------------------------ */

static struct vfio_group *group_of(struct vfio_space *space, const char *number)
{
	for (uint32_t i = 0; i < HF_DEVICES_MAX; i++)
		if (space->groups[i].members && strcmp(space->groups[i].number, number) == 0)
			return &space->groups[i];
	return NULL;
}

static struct vfio_group *group_add(struct vfio_space *space, const char *number, int fd)
{
	uint32_t i = 0;

	while (space->groups[i].members) /* as many places as members: one is free */
		i++;
	assert(i < HF_DEVICES_MAX);
	space->groups[i] = (struct vfio_group){ .fd = fd };
	memcpy(space->groups[i].number, number, sizeof(space->groups[i].number));
	return &space->groups[i];
}

static int group_failed(const struct vfio_place *place, int r, struct hf_error *err)
{
	if (r == -EBUSY)
		return error_set(err, HF_E_UNSUPPORTED, EBUSY,
				 "vfio: group %s of %s is open already, in another process or for "
				 "another VM",
				 place->group, place->address);
	if (r == -EPERM)
		return error_set(err, HF_E_UNSUPPORTED, EPERM,
				 "vfio: group %s is not viable: every device of it must be bound "
				 "to a VFIO driver or to none, not only %s",
				 place->group, place->address);
	if (r == -EPROTONOSUPPORT)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio: the kernel's VFIO is not of API version 0 with type1v2");
	return error_set(err, HF_E_SYSTEM, -r, "vfio: %s, group %s", place->address, place->group);
}

/* The group's descriptor, into a space that takes it or into a new one. */
static int group_place(const struct vfio_place *place, const struct vfio_config *config,
		       int group_fd, struct vfio_space **ret_space)
{
	struct vfio_space *space;
	int r;

	for (space = list; space; space = space->next) {
		if (!fits(space, place, config))
			continue;
		(void)pthread_mutex_lock(&space->lock);
		r = vfio_type1_join(space, place, group_fd);
		(void)pthread_mutex_unlock(&space->lock);
		if (r >= 0) {
			*ret_space = space;
			return 0;
		}
	}
	space = space_new(place, config);
	if (!space)
		return -ENOMEM;
	r = vfio_type1_join(space, place, group_fd);
	if (r < 0) {
		space_free(space);
		return r;
	}
	put_on_list(space);
	*ret_space = space;
	return 0;
}

static int open_group(const struct vfio_place *place, const struct vfio_config *config,
		      struct vfio_space **ret_space, struct vfio_group **ret_group)
{
	struct vfio_space *space;
	struct vfio_group *group;
	int fd, r;

	for (space = list; space; space = space->next) {
		group = space->path == VFIO_PATH_GROUP ? group_of(space, place->group) : NULL;
		if (!group)
			continue;
		if (!fits(space, place, config))
			return -EBUSY;
		*ret_space = space;
		*ret_group = group;
		return 0;
	}
	fd = vfio_sys->open(place->node);
	if (fd < 0)
		return fd;
	r = group_place(place, config, fd, ret_space);
	if (r < 0) {
		vfio_sys->close(fd);
		return r;
	}
	*ret_group = group_add(*ret_space, place->group, fd);
	return 0;
}

/* The space (and the group in it) goes if nobody is left in it. */
static void drop_group(struct vfio_space *space, struct vfio_group *group)
{
	if (!group->members)
		vfio_sys->close(group->fd);
	if (space->members)
		return;
	take_off_list(space);
	space_free(space);
}

/* Before the device is opened: its driver may want to know by then whose it is. */
static int tell_file(const struct hf_device_host *host, const struct vfio_place *place, int fd,
		     struct hf_error *err)
{
	int r = host ? host->file(host->ctx, fd, err) : 0;

	if (r < 0)
		(void)error_prepend(err, "vfio: %s", place->address);
	return r < 0 ? r : 0;
}

static int join_by_group(const struct vfio_place *place, const struct vfio_config *config,
			 const struct hf_device_host *host, struct vfio_member *m,
			 struct hf_error *err)
{
	struct vfio_group *group = NULL;
	int r = open_group(place, config, &m->space, &group);

	if (r < 0)
		return group_failed(place, r, err);
	r = tell_file(host, place, group->fd, err);
	if (r < 0) {
		drop_group(m->space, group);
		return r;
	}
	m->slot = free_slot(m->space);
	m->fd = vfio_type1_device(group->fd, place, config);
	if (m->fd < 0) {
		drop_group(m->space, group);
		return error_set(err, HF_E_SYSTEM, -m->fd, "vfio: %s, from its group %s",
				 place->address, place->group);
	}
	group->members |= 1u << m->slot;
	m->knows = VFIO_KNOWS_PINNED;
	return 0;
}

/* ---- by cdev ------------------------------------------------------------------------------- */

static int ioas_of(const struct vfio_place *place, const struct vfio_config *config,
		   struct vfio_space **ret_space)
{
	struct vfio_space *space;
	int r;

	for (space = list; space; space = space->next) {
		if (fits(space, place, config)) {
			*ret_space = space;
			return 0;
		}
	}
	space = space_new(place, config);
	if (!space)
		return -ENOMEM;
	r = vfio_iommufd_open(space);
	if (r < 0) {
		space_free(space);
		return r;
	}
	put_on_list(space);
	*ret_space = space;
	return 0;
}

static int bind_and_attach(const struct vfio_config *config, struct vfio_member *m,
			   const char **ret_step)
{
	uint32_t devid = 0;
	int r;

	*ret_step = "binding it to the iommufd";
	r = vfio_iommufd_bind(m->space, m->fd, config, &devid);
	if (r < 0)
		return r;
	*ret_step = "attaching it to the IOAS";
	(void)pthread_mutex_lock(&m->space->lock);
	r = vfio_iommufd_attach(m->space, m->fd, devid, m->slot, (int)config->is_mdev, &m->hwpt);
	(void)pthread_mutex_unlock(&m->space->lock);
	return r;
}

/* It could not join: code says why. */
static int leave_cdev(const struct vfio_member *m, int code)
{
	if (m->fd >= 0)
		vfio_sys->close(m->fd);
	if (!m->space->members) {
		take_off_list(m->space);
		space_free(m->space);
	}
	return code;
}

static int join_by_cdev(const struct vfio_place *place, const struct vfio_config *config,
			const struct hf_device_host *host, struct vfio_member *m,
			struct hf_error *err)
{
	const char *step = "/dev/iommu";
	int r = ioas_of(place, config, &m->space);

	if (r < 0)
		return error_set(err, HF_E_SYSTEM, -r, "vfio: %s: %s", place->address, step);
	m->slot = free_slot(m->space);
	m->fd = vfio_sys->open(place->node);
	if (m->fd < 0)
		return leave_cdev(m,
				  error_set(err, HF_E_SYSTEM, -m->fd, "vfio: %s (%s): opening it",
					    place->address, place->node));
	r = tell_file(host, place, m->fd, err);
	if (r < 0)
		return leave_cdev(m, r);
	r = bind_and_attach(config, m, &step);
	if (r < 0)
		return leave_cdev(m, error_set(err, HF_E_SYSTEM, -r, "vfio: %s (%s): %s",
					       place->address, place->node, step));
	m->knows = m->hwpt >= 0 ? VFIO_KNOWS_DIRTY : VFIO_KNOWS_NOTHING;
	return 0;
}

int vfio_space_join(const struct vfio_place *place, const struct vfio_config *config,
		    const struct hf_device_host *host, struct vfio_member *ret_member,
		    struct hf_error *err)
{
	struct vfio_member m = { .fd = -1, .hwpt = -1 };
	int r;

	(void)pthread_mutex_lock(&list_lock);
	r = place->path == VFIO_PATH_GROUP ? join_by_group(place, config, host, &m, err)
					   : join_by_cdev(place, config, host, &m, err);
	if (r == 0) {
		m.space->members |= 1u << m.slot;
		*ret_member = m;
	}
	(void)pthread_mutex_unlock(&list_lock);
	return r;
}

/* ---- maps ---------------------------------------------------------------------------------- */

static int range_valid(uint64_t iova, uint64_t size)
{
	return size > 0 && ((iova | size) & PAGE_MASK) == 0 && size - 1 <= ~iova;
}

/* The first map that ends behind iova; map_count if there is none. */
static uint32_t map_at(const struct vfio_space *space, uint64_t iova)
{
	uint32_t low = 0, high = space->map_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct vfio_map *m = &space->maps[middle];

		if (m->iova + (m->size - 1) < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int make_room(struct vfio_space *space)
{
	uint32_t capacity = space->map_capacity ? space->map_capacity * 2 : 16;
	struct vfio_map *maps;

	if (space->map_count == VFIO_MAPS_MAX)
		return -ENOSPC;
	if (space->map_count < space->map_capacity)
		return 0;
	maps = realloc(space->maps, capacity * sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	space->maps = maps;
	space->map_capacity = capacity;
	return 0;
}

/* With the lock: a map that another member has already, or a new one of the kernel's. */
static int map_locked(struct vfio_member *m, struct vfio_map map)
{
	struct vfio_space *space = m->space;
	uint32_t at = map_at(space, map.iova);
	struct vfio_map *there = at < space->map_count ? &space->maps[at] : NULL;
	int r;

	if (there && there->iova <= map.iova + (map.size - 1)) {
		if ((there->users & map.users) || there->iova != map.iova ||
		    there->size != map.size || there->vaddr != map.vaddr ||
		    there->flags != map.flags)
			return -EEXIST;
		there->users |= map.users;
		return 0;
	}
	r = make_room(space);
	if (r == 0 && space->kernel_tracks)
		r = vfio_space_track_map(space, &map);
	if (r == 0)
		r = space->path == VFIO_PATH_GROUP ? vfio_type1_map(space, &map)
						   : vfio_iommufd_map(space, &map);
	if (r < 0) {
		free(map.dirty);
		return r;
	}
	memmove(&space->maps[at + 1], &space->maps[at], (space->map_count - at) * sizeof(map));
	space->maps[at] = map;
	space->map_count++;
	return 0;
}

int vfio_space_map(struct vfio_member *m, uint64_t iova, uint64_t size, uint64_t vaddr,
		   uint32_t flags)
{
	struct vfio_map map = { .iova = iova,
				.size = size,
				.vaddr = vaddr,
				.flags = flags & (HF_DMA_READ | HF_DMA_WRITE),
				.users = 1u << m->slot };
	int r;

	if (!range_valid(iova, size) || !vaddr || (vaddr & PAGE_MASK) || !map.flags ||
	    (flags & ~(HF_DMA_READ | HF_DMA_WRITE | HF_DMA_P2P)))
		return -EINVAL;
	(void)pthread_mutex_lock(&m->space->lock);
	r = map_locked(m, map);
	(void)pthread_mutex_unlock(&m->space->lock);
	return r;
}

/* Nobody has it any more. What the kernel knew of its dirty pages goes with it. */
static void forget_map(struct vfio_space *space, uint32_t at)
{
	struct vfio_map *map = &space->maps[at];

	if (space->tracking && (map->flags & HF_DMA_WRITE))
		vfio_space_remember(space, map->iova, map->size);
	free(map->dirty);
	memmove(&space->maps[at], &space->maps[at + 1], (space->map_count - at - 1) * sizeof(*map));
	space->map_count--;
}

/* A member's part in what begins in [iova, last] ends. */
static int unmap_locked(struct vfio_space *space, uint32_t bit, uint64_t iova, uint64_t last)
{
	for (uint32_t i = map_at(space, iova); i < space->map_count;) {
		struct vfio_map *map = &space->maps[i];
		int r = 0;

		if (map->iova > last)
			break;
		if (map->users != bit) {
			map->users &= ~bit;
			i++;
			continue;
		}
		r = space->path == VFIO_PATH_GROUP ? vfio_type1_unmap(space, map)
						   : vfio_iommufd_unmap(space, map);
		if (r < 0)
			return r;
		forget_map(space, i); /* what stood behind it stands here now */
	}
	return 0;
}

/* As type1 v2: whole maps only; nothing there is fine. Other members keep what they have. */
int vfio_space_unmap(struct vfio_member *m, uint64_t iova, uint64_t size)
{
	struct vfio_space *space = m->space;
	uint64_t last = iova + (size - 1);
	uint32_t bit = 1u << m->slot;
	int r = 0;

	if (!range_valid(iova, size))
		return -EINVAL;
	(void)pthread_mutex_lock(&space->lock);
	for (uint32_t i = map_at(space, iova); i < space->map_count; i++) {
		const struct vfio_map *map = &space->maps[i];

		if (map->iova > last)
			break;
		if ((map->users & bit) && (map->iova < iova || map->iova + (map->size - 1) > last))
			r = -EINVAL;
	}
	if (r == 0)
		r = unmap_locked(space, bit, iova, last);
	(void)pthread_mutex_unlock(&space->lock);
	return r;
}

/* ---- the end ------------------------------------------------------------------------------- */

/* A map that the kernel does not give back is left to it; it goes with the space. */
static void drop_maps(struct vfio_space *space, uint32_t bit)
{
	(void)pthread_mutex_lock(&space->lock);
	while (unmap_locked(space, bit, 0, UINT64_MAX) < 0) {
		uint32_t i = 0;

		while (space->maps[i].users != bit)
			i++;
		forget_map(space, i);
	}
	(void)pthread_mutex_unlock(&space->lock);
}

void vfio_space_leave(struct vfio_member *m)
{
	struct vfio_space *space = m->space;
	uint32_t bit = 1u << m->slot;
	struct vfio_group *group = NULL;

	if (!space)
		return;
	(void)vfio_space_dirty_stop(m); /* fails if it does not track, and then all is well */
	vfio_sys->close(m->fd); /* first: it does no DMA any more */
	drop_maps(space, bit);
	(void)pthread_mutex_lock(&list_lock);
	space->members &= ~bit;
	for (uint32_t i = 0; i < HF_DEVICES_MAX; i++) {
		struct vfio_hwpt *hwpt = &space->hwpts[i];

		if (space->groups[i].members & bit)
			group = &space->groups[i];
		if (!(hwpt->members & bit))
			continue;
		hwpt->members &= ~bit;
		if (!hwpt->members)
			vfio_iommufd_leave(space, hwpt);
	}
	if (group) {
		group->members &= ~bit;
		drop_group(space, group);
	} else if (!space->members) {
		take_off_list(space);
		space_free(space);
	}
	(void)pthread_mutex_unlock(&list_lock);
	*m = (struct vfio_member){ .fd = -1, .hwpt = -1 };
}
