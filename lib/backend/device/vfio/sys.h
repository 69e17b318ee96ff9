/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All that this backend asks of the kernel, in one table, so that tests can put a kernel of their
 * own behind it. All return a negative errno on failure; nothing here knows what the calls mean.
 */
#ifndef BACKEND_DEVICE_VFIO_SYS_H
#define BACKEND_DEVICE_VFIO_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vfio_sys {
	int (*open)(const char *path); /* read and write; closed on exec */
	void (*close)(int fd);
	int (*ioctl)(int fd, unsigned long request, void *argument); /* what the call returned */
	ssize_t (*read)(int fd, void *buf, size_t size);
	ssize_t (*write)(int fd, const void *buf, size_t size);
	ssize_t (*pread)(int fd, void *buf, size_t size, uint64_t offset);
	ssize_t (*pwrite)(int fd, const void *buf, size_t size, uint64_t offset);
	int (*exists)(const char *path); /* 1 or 0 */
	/* The last part of what a link points to. */
	int (*link_name)(const char *path, char *ret_name, size_t size);
	/* The first name in a folder that begins with prefix. */
	int (*entry)(const char *folder, const char *prefix, char *ret_name, size_t size);
};

/* The kernel's, unless a test has put another one here before it opened its first device. */
extern const struct vfio_sys *vfio_sys;

#endif
