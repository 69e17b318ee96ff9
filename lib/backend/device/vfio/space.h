/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel's VFIO devices of one VM share in this process: the IOMMU's address space, which
 * is a type1 container (devices opened by group) or an iommufd IOAS (opened by cdev). A range of
 * memory is mapped, pinned and accounted there once, however many devices map it; and dirty pages
 * that the IOMMU knows of are known for all of them together.
 *
 * A space is made with its first member and gone with its last. A device whose IOMMU does not fit
 * an existing container gets one of its own. Any thread; calls on one space wait for each other.
 */
#ifndef BACKEND_DEVICE_VFIO_SPACE_H
#define BACKEND_DEVICE_VFIO_SPACE_H

#include <pthread.h>
#include <stdint.h>

#include <holdfast/backend.h>

#include "backend/device/vfio/find.h"

#define VFIO_MAPS_MAX 65535u /* the kernel's own limit for type1 (dma_entry_limit) */
#define VFIO_GONE_MAX 64u

struct vfio_map {
	uint64_t iova, size, vaddr;
	uint32_t flags; /* HF_DMA_READ, HF_DMA_WRITE */
	uint32_t users; /* bit n: the member in slot n maps it */
	uint64_t *dirty; /* while tracking by type1: read from the kernel, not yet asked for */
};

struct vfio_hwpt {
	uint32_t id;
	uint32_t members; /* bit n: slot n is attached to it */
	uint32_t tracking; /* bit n: slot n tracks */
};

struct vfio_group {
	char number[16];
	int fd;
	uint32_t members;
};

/* Lock: that of the list for next and the members of everything; lock for the rest. */
struct vfio_space {
	struct vfio_space *next;
	enum vfio_path path; /* GROUP: a container; CDEV: an IOAS */
	char vm[VFIO_VM_MAX];
	uint32_t members;
	int fd; /* the container or the iommufd */
	uint32_t ioas;
	struct vfio_group groups[HF_DEVICES_MAX];
	struct vfio_hwpt hwpts[HF_DEVICES_MAX];

	pthread_mutex_t lock;
	uint64_t page_size; /* of its dirty bitmaps */
	struct vfio_map *maps; /* by iova */
	uint32_t map_count, map_capacity;
	uint32_t tracking; /* bit n: slot n tracks here, by whatever means */
	uint32_t kernel_tracks; /* bit n: slot n does by the container's dirty pages */
	uint64_t *scratch; /* of one read of the kernel's bits */
	uint64_t scratch_bytes;
	/* Unmapped while something tracks: its bits are lost with it, so all of it is dirty. */
	struct hf_dma_range gone[VFIO_GONE_MAX];
	uint32_t gone_count;
};

/* What the space can say about dirty pages for a member. */
enum vfio_knows {
	VFIO_KNOWS_NOTHING, /* all that is mapped for writing may be dirty */
	VFIO_KNOWS_PINNED, /* type1: the pages that are pinned; all of them for a PCI device */
	VFIO_KNOWS_DIRTY, /* the IOMMU's own dirty bits */
};

struct vfio_member {
	struct vfio_space *space; /* NULL: not a member */
	uint32_t slot;
	int fd; /* the device's */
	int hwpt; /* index, or -1 */
	enum vfio_knows knows;
};

/*
 * Open the device, in the space of its VM; host (or NULL) gets its file before. Errors:
 * HF_E_UNSUPPORTED, _SYSTEM, _NO_MEMORY, _BUSY, and host's.
 */
int vfio_space_join(const struct vfio_place *place, const struct vfio_config *config,
		    const struct hf_device_host *host, struct vfio_member *ret_member,
		    struct hf_error *err);
/* Close the device; its maps are gone where nobody else has them. Not one that never joined. */
void vfio_space_leave(struct vfio_member *member);

/* hf_device_ops' dma_map() and dma_unmap(). */
int vfio_space_map(struct vfio_member *member, uint64_t iova, uint64_t size, uint64_t vaddr,
		   uint32_t flags);
int vfio_space_unmap(struct vfio_member *member, uint64_t iova, uint64_t size);

/* hf_device_ops' dirty_*(), as far as the space knows (knows), or with all: everything mapped. */
int vfio_space_dirty_start(struct vfio_member *member, int all);
int vfio_space_dirty_read(struct vfio_member *member, uint64_t iova, uint64_t length,
			  uint64_t page_size, uint64_t *bitmap);
int vfio_space_dirty_stop(struct vfio_member *member);

/* ---- its own parts, called with the lock -------------------------------------------------------
 */

int vfio_space_track_map(struct vfio_space *space, struct vfio_map *map);
void vfio_space_remember(struct vfio_space *space, uint64_t iova, uint64_t size);

/* ---- the two kinds (space-type1.c, space-iommufd.c); called with the locks --------------------
 */

/* Into the space, or -errno; space is new if its fd is -1, and then made. */
int vfio_type1_join(struct vfio_space *space, const struct vfio_place *place, int group_fd);
int vfio_type1_device(int group_fd, const struct vfio_place *place,
		      const struct vfio_config *config);
int vfio_type1_map(struct vfio_space *space, const struct vfio_map *map);
int vfio_type1_unmap(struct vfio_space *space, const struct vfio_map *map);
int vfio_type1_track(struct vfio_space *space, int on);
int vfio_type1_read(struct vfio_space *space, const struct vfio_map *map, uint64_t *bitmap,
		    uint64_t bytes);

int vfio_iommufd_open(struct vfio_space *space);
int vfio_iommufd_bind(struct vfio_space *space, int fd, const struct vfio_config *config,
		      uint32_t *ret_devid);
/* ret_hwpt: index of the one that tracks, or -1. */
int vfio_iommufd_attach(struct vfio_space *space, int fd, uint32_t devid, uint32_t slot,
			int is_mdev, int *ret_hwpt);
void vfio_iommufd_leave(struct vfio_space *space, struct vfio_hwpt *hwpt);
int vfio_iommufd_map(struct vfio_space *space, const struct vfio_map *map);
int vfio_iommufd_unmap(struct vfio_space *space, const struct vfio_map *map);
int vfio_iommufd_track(struct vfio_space *space, const struct vfio_hwpt *hwpt, int on);
int vfio_iommufd_read(struct vfio_space *space, const struct vfio_hwpt *hwpt, uint64_t iova,
		      uint64_t length, uint64_t *bitmap);

#endif
