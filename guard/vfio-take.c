/* SPDX-License-Identifier: BSD-3-Clause */
/* See vfio-take.h. */
#include "guard/vfio-take.h"

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
#include "guard/vfio-find.h"

/* ---- which is which ------------------------------------------------------------------------ */

/* Whose descriptors these are, and which of them goes with which device. */
struct matching {
	pid_t pid;
	int pidfd;
	struct vfio_found found;
	uint32_t count; /* of devices, and of descriptors */
	char *paths[HF_DEVICES_MAX]; /* of the devices; NULL: QEMU's name of it leads nowhere */
	int fds[HF_DEVICES_MAX]; /* of the devices; -1: none yet */
	bool used[HF_DEVICES_MAX]; /* descriptors */
};

static int take(struct matching *matching, int number, struct hf_error *err)
{
	int fd = (int)syscall(SYS_pidfd_getfd, matching->pidfd, number, 0);

	if (fd < 0)
		return guard_fail(err, HF_E_SYSTEM, errno,
				  "descriptor %d of process %d cannot be taken (it needs the right "
				  "to trace the process)",
				  number, (int)matching->pid);
	return fd;
}

static int match(struct matching *matching, uint32_t device, uint32_t descriptor,
		 struct hf_error *err)
{
	int fd = take(matching, matching->found.devices[descriptor].number, err);

	if (fd < 0)
		return fd;
	matching->fds[device] = fd;
	matching->used[descriptor] = true;
	return 0;
}

/* Those of which the kernel says it: by cdev all, by group from 6.16 on. */
static int match_by_path(struct matching *matching, struct hf_error *err)
{
	int r = 0;

	for (uint32_t i = 0; i < matching->count; i++)
		for (uint32_t k = 0; k < matching->count && matching->paths[i]; k++) {
			const char *path = matching->found.devices[k].path;

			if (!path || matching->used[k] || strcmp(path, matching->paths[i]) != 0)
				continue;
			r = match(matching, i, k, err);
			if (r < 0)
				return r;
			break;
		}
	return 0;
}

/*
 * By group a device can be opened again, by its name, and has one state all the same. The
 * descriptor, or -1.
 */
static int open_again(struct matching *matching, const char *path)
{
	const struct vfio_group *group = path ? vfio_group_of(&matching->found, path) : NULL;
	int group_fd, fd;

	if (!group)
		return -1;
	group_fd = take(matching, group->number, NULL);
	if (group_fd < 0)
		return -1;
	fd = ioctl(group_fd, VFIO_GROUP_GET_DEVICE_FD, strrchr(path, '/') + 1);
	(void)close(group_fd);
	return fd;
}

/* All that are left, or none: a device must not be taken for two. */
static bool match_by_group(struct matching *matching, const uint32_t *left, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		int fd = open_again(matching, matching->paths[left[i]]);

		matching->fds[left[i]] = fd;
		if (fd >= 0)
			continue;
		while (i-- > 0) {
			(void)close(matching->fds[left[i]]);
			matching->fds[left[i]] = -1;
		}
		return false;
	}
	return true;
}

/* Each of them is proved; but a refusal may then be told of another one's name. */
static int match_in_order(struct matching *matching, const uint32_t *left, uint32_t count,
			  struct hf_error *err)
{
	for (uint32_t i = 0, k = 0; i < count; i++, k++) {
		int r;

		while (matching->used[k])
			k++;
		r = match(matching, left[i], k, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int match_all(struct matching *matching, struct hf_error *err)
{
	uint32_t left[HF_DEVICES_MAX], count = 0;
	int r = match_by_path(matching, err);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < matching->count; i++)
		if (matching->fds[i] < 0)
			left[count++] = i;
	if (count > 1 && match_by_group(matching, left, count))
		return 0;
	return match_in_order(matching, left, count, err);
}

/* ---- taking -------------------------------------------------------------------------------- */

static int begin(struct matching *matching, pid_t pid, const char *const *hosts, uint32_t count,
		 struct hf_error *err)
{
	int r = vfio_find(pid, &matching->found, err);

	matching->pid = pid;
	matching->count = count;
	if (r < 0)
		return r;
	if (matching->found.device_count != count)
		return guard_fail(err, HF_E_UNSUPPORTED, 0,
				  "QEMU names %u VFIO devices, and process %d has %u that can be "
				  "seen from outside",
				  count, (int)pid, matching->found.device_count);
	matching->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (matching->pidfd < 0)
		return guard_fail(err, HF_E_SYSTEM, errno, "process %d: pidfd_open", (int)pid);
	for (uint32_t i = 0; i < count; i++)
		matching->paths[i] = vfio_path(hosts[i]);
	return 0;
}

int vfio_take(pid_t pid, const char *const *hosts, uint32_t count, int *ret_fds,
	      struct hf_error *err)
{
	struct matching matching = { .pidfd = -1 };
	int r;

	for (uint32_t i = 0; i < count; i++)
		matching.fds[i] = -1;
	r = begin(&matching, pid, hosts, count, err);
	if (r == 0)
		r = match_all(&matching, err);
	for (uint32_t i = 0; i < count; i++) {
		if (r == 0)
			ret_fds[i] = matching.fds[i];
		else if (matching.fds[i] >= 0)
			(void)close(matching.fds[i]);
		free(matching.paths[i]);
	}
	if (matching.pidfd >= 0)
		(void)close(matching.pidfd);
	vfio_found_free(&matching.found);
	return r;
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
