/* SPDX-License-Identifier: BSD-3-Clause */
/* See vfio-take.h. */
#include "guard/vfio-take.h"

#include <dirent.h>
#include <errno.h>
#include <linux/vfio.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guard/fail.h"

/* ---- taking -------------------------------------------------------------------------------- */

/* By group and container the device has no name but this; by cdev it is a node. */
static bool is_device(const char *link)
{
	return strcmp(link, "anon_inode:[vfio-device]") == 0 ||
	       strncmp(link, "/dev/vfio/devices/vfio", 22) == 0;
}

static int by_number(const void *a, const void *b)
{
	int left = *(const int *)a, right = *(const int *)b;

	return (left > right) - (left < right);
}

/* The numbers that the devices' descriptors have there. */
static int find(pid_t pid, int numbers[HF_DEVICES_MAX], struct hf_error *err)
{
	char path[64], link[64];
	const struct dirent *entry;
	int count = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return guard_fail(err, HF_E_SYSTEM, errno,
				  "the VFIO devices of process %d cannot be seen (%s)", (int)pid,
				  path);
	while ((entry = readdir(dir)) != NULL) {
		ssize_t length = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		if (length <= 0)
			continue;
		link[length] = 0;
		if (!is_device(link))
			continue;
		if (count == HF_DEVICES_MAX) {
			(void)closedir(dir);
			return guard_fail(err, HF_E_UNSUPPORTED, 0,
					  "process %d has more than %d VFIO devices", (int)pid,
					  HF_DEVICES_MAX);
		}
		numbers[count++] = (int)strtol(entry->d_name, NULL, 10);
	}
	(void)closedir(dir);
	qsort(numbers, (size_t)count, sizeof(numbers[0]), by_number);
	return count;
}

int vfio_take(pid_t pid, int fds[HF_DEVICES_MAX], struct hf_error *err)
{
	int numbers[HF_DEVICES_MAX];
	int count = find(pid, numbers, err), pidfd, taken = 0, cause;

	if (count <= 0)
		return count;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return guard_fail(err, HF_E_SYSTEM, errno, "process %d: pidfd_open", (int)pid);
	while (taken < count) {
		fds[taken] = (int)syscall(SYS_pidfd_getfd, pidfd, numbers[taken], 0);
		if (fds[taken] < 0)
			break;
		taken++;
	}
	cause = errno;
	(void)close(pidfd);
	if (taken == count)
		return count;
	for (int i = 0; i < taken; i++)
		(void)close(fds[i]);
	return guard_fail(err, HF_E_SYSTEM, cause,
			  "VFIO device %d of process %d cannot be taken (it needs the right to "
			  "trace the process)",
			  numbers[taken], (int)pid);
}

/* ---- arcs ---------------------------------------------------------------------------------- */

/* VFIO_DEVICE_FEATURE with a payload of size bytes behind its header. */
static int feature(int fd, uint32_t flags, void *payload, size_t size)
{
	union {
		struct vfio_device_feature head;
		uint64_t space[8];
	} request = { .head = { .argsz = (uint32_t)(sizeof(struct vfio_device_feature) + size),
				.flags = flags } };

	if (size > sizeof(request) - sizeof(request.head))
		return -EINVAL;
	memcpy(request.head.data, payload, size);
	if (ioctl(fd, VFIO_DEVICE_FEATURE, &request) < 0)
		return -errno;
	memcpy(payload, request.head.data, size);
	return 0;
}

int vfio_take_flags(int fd, uint32_t *ret_flags)
{
	struct vfio_device_feature_migration migration = { 0 };
	int r = feature(fd, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &migration,
			sizeof(migration));

	if (r < 0 && r != -ENOTTY)
		return r;
	*ret_flags = r < 0 ? 0 : (uint32_t)migration.flags;
	return 0;
}

int vfio_take_state(int fd, uint32_t *ret_state)
{
	struct vfio_device_feature_mig_state state = { .data_fd = -1 };
	int r = feature(fd, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &state,
			sizeof(state));

	if (r == 0)
		*ret_state = state.device_state;
	return r;
}

int vfio_take_set_state(int fd, uint32_t state)
{
	struct vfio_device_feature_mig_state request = { .device_state = state, .data_fd = -1 };
	int r = feature(fd, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			&request, sizeof(request));

	if (r == 0 && request.data_fd > 0)
		(void)close(request.data_fd); /* not one of the arcs that are asked for here */
	return r;
}
