/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kernel with VFIO, for the backend's tests: files, groups, containers, an iommufd and devices
 * behind struct vfio_sys, with the rules and the order of calls that a real one insists on. Its
 * devices are simulated ones (docs/sim-device.md) driven arc by arc, so what holds for those can be
 * asked of the backend. It fails on demand where real drivers do, and it counts what a real one
 * would have hung on. One thread may use it at a time, but for what goes to the devices' registers.
 */
#ifndef UNIT_VFIO_KERNEL_H
#define UNIT_VFIO_KERNEL_H

#include <stdint.h>

#include <holdfast/backend.h>

#define KERNEL_DEVICES_MAX 4
#define KERNEL_FDS_MAX 64
#define KERNEL_MAPS_MAX 16

struct kernel_device {
	/* what it is; set by the test before kernel_start() */
	const char *address; /* NULL: there is no such device */
	const char *keys; /* of the simulated device: "state=64K,flags=7" */
	const char *group; /* number of its IOMMU group; NULL: none */
	const char *driver; /* NULL: none */
	uint32_t is_mdev;
	uint32_t iommu; /* devices of unequal ones do not share a container or a page table */
	uint32_t not_pci;
	uint32_t begins_in; /* a state that it kept from its last user; 0: RUNNING */

	/* how it fails; may be set at any time */
	uint32_t fail_from, fail_to, fail_times; /* an arc */
	int fail_errno;
	uint32_t lose_times; /* the data fd, with lose_errno, after the state has changed */
	int lose_errno; /* 0: success, and no fd */
	uint32_t zero_at_end; /* 0 where others say ENOMSG */
	size_t read_max;
	int write_errno; /* of the next write */
	uint32_t forgives_writes; /* RESUMING -> STOP succeeds whatever came */
	uint32_t no_log; /* DMA logging: none */
	uint32_t no_report; /* DMA logging: the kernel starts it, and cannot report */
	uint32_t reinit; /* PRECOPY_INFO: new initial data, if its user has opted in */
	uint32_t sparse; /* BAR4 can be mapped in parts only: two, or so many */
	uint32_t config_bytes; /* that it has of the configuration space; 0: all 256 */
	uint32_t no_resize; /* MSI-X vectors cannot be added while it is enabled */
	uint32_t msix_most; /* that this host can give it; 0: all */
	int reset_errno;

	/* what was seen */
	uint32_t lockups; /* arcs that hang kernels */
	uint32_t sets; /* states asked for */
	uint32_t opted_in;
	uint32_t reports;
	uint64_t report_most; /* bytes of memory in one REPORT */
	int intx_fd, intx_unmask_fd;
	int no_unmask_fd; /* as mtty: unmasking is by ioctl */
	int intx_unmasked_fd; /* told of each of these */
	uint32_t msix_enables;
	char token[64];

	/* its own */
	struct hf_device sim;
	uint32_t used, bound, iommufd, attached, msix_count;
	int msix_fds[16];
};

struct kernel_world {
	struct kernel_device devices[KERNEL_DEVICES_MAX];
	const char *missing; /* a path that is not there */
	int api_version;
	uint32_t no_type1;
	const char *not_viable; /* a group */
	uint32_t no_dirty_bits; /* the IOMMU's */
	uint32_t map_ioctls, unmap_ioctls; /* seen */
	int map_errno; /* of the next one */
	uint64_t bar_vaddr, bar_size; /* a device's BAR, mapped: an IOAS does not take it */
};

extern struct kernel_world kernel;

/* Put it behind the backend; kernel has been filled. At most one at a time. */
void kernel_start(void);
/* Take it away. Fails the test if the backend left a descriptor open. */
void kernel_end(void);

/* A reset that nobody here asked for: by the guest's configuration space, or by the bus. */
void kernel_reset_underneath(uint32_t device);
/* How many descriptors are open. */
uint32_t kernel_open_fds(void);
/* How many ranges are mapped, in all containers and IOASes. */
uint32_t kernel_maps(void);

/* ---- between its two parts ---- */

enum kernel_kind {
	KERNEL_NONE,
	KERNEL_CONTAINER,
	KERNEL_GROUP,
	KERNEL_DEVICE,
	KERNEL_IOMMUFD,
	KERNEL_DATA,
};

struct kernel_map {
	uint64_t iova, size, vaddr;
	uint32_t flags;
};

struct kernel_fd {
	enum kernel_kind kind;
	uint32_t device; /* of GROUP: the first of it */
	int container; /* of GROUP: its container's index, or -1 */
	uint32_t has_iommu, iommu, tracking; /* of CONTAINER */
	uint32_t hwpt_iommu[KERNEL_DEVICES_MAX]; /* of IOMMUFD: iommu + 1 of HWPT 100 + n */
	uint32_t hwpt_tracking[KERNEL_DEVICES_MAX];
	struct kernel_map maps[KERNEL_MAPS_MAX]; /* of CONTAINER, IOMMUFD */
	uint32_t map_count;
	uint32_t loads, dead; /* of DATA */
};

extern struct kernel_fd kernel_fds[KERNEL_FDS_MAX];
#define KERNEL_FD_BASE 0x100000

#define KERNEL_DEV_ID 50u /* of device 0, to the iommufd */

struct kernel_fd *kernel_fd_of(int fd);
/* Is the device in the address space of this container or iommufd? */
int kernel_reaches(const struct kernel_device *d, const struct kernel_fd *space);
/* It comes into an address space, and reaches what is there. */
void kernel_join(struct kernel_device *d, const struct kernel_fd *space);
int kernel_map(struct kernel_fd *space, struct kernel_map map);
int kernel_unmap(struct kernel_fd *space, uint64_t iova, uint64_t size);
/* The IOMMU's own log of a device is the simulated device's. */
void kernel_log_switch(struct kernel_device *d, int on);
void kernel_log_read(struct kernel_device *d, uint64_t iova, uint64_t length, uint64_t *bitmap);
struct vfio_bind_token;
struct vfio_attach_pt;
int kernel_bind(struct kernel_fd *fd, const struct vfio_bind_token *bind);
int kernel_attach(struct kernel_fd *fd, const struct vfio_attach_pt *a);
int kernel_iommufd_ioctl(struct kernel_fd *i, unsigned long request, void *argument);

/* A descriptor's index, or -EMFILE. */
int kernel_fd_new(enum kernel_kind kind);
int kernel_device_ioctl(struct kernel_device *d, unsigned long request, void *argument);
int kernel_data_ioctl(struct kernel_fd *fd, unsigned long request, void *argument);
ssize_t kernel_data_read(struct kernel_fd *fd, void *buf, size_t size);
ssize_t kernel_data_write(struct kernel_fd *fd, const void *buf, size_t size);
ssize_t kernel_device_read(struct kernel_device *d, void *buf, size_t size, uint64_t offset);
ssize_t kernel_device_write(struct kernel_device *d, const void *buf, size_t size, uint64_t offset);
void kernel_device_closed(struct kernel_device *d);

#endif
