/* SPDX-License-Identifier: BSD-3-Clause */
/* See vfio-find.h. */
#include "guard/vfio-find.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "guard/fail.h"

/* ---- one descriptor ------------------------------------------------------------------------ */

/* Linux says it from 6.16 on: "vfio-device-syspath: /sys/devices/..." */
static char *path_of_descriptor(pid_t pid, int number)
{
	static const char key[] = "vfio-device-syspath:";
	char name[64], line[PATH_MAX + 64];
	char *path = NULL;
	FILE *file;

	(void)snprintf(name, sizeof(name), "/proc/%d/fdinfo/%d", (int)pid, number);
	file = fopen(name, "re");
	if (!file)
		return NULL;
	while (!path && fgets(line, sizeof(line), file))
		if (strncmp(line, key, sizeof(key) - 1) == 0) {
			char *text = line + sizeof(key) - 1;

			text += strspn(text, " \t");
			text[strcspn(text, "\n")] = 0;
			path = realpath(text, NULL);
		}
	(void)fclose(file);
	return path;
}

static int too_many(pid_t pid, const char *what, struct hf_error *err)
{
	return guard_fail(err, HF_E_UNSUPPORTED, 0, "process %d has more than %d VFIO %s", (int)pid,
			  HF_DEVICES_MAX, what);
}

/* path is given away. */
static int add_device(struct vfio_found *found, pid_t pid, int number, char *path,
		      struct hf_error *err)
{
	if (found->device_count == HF_DEVICES_MAX) {
		free(path);
		return too_many(pid, "devices", err);
	}
	found->devices[found->device_count++] =
		(struct vfio_descriptor){ .number = number, .path = path };
	return 0;
}

static int add_group(struct vfio_found *found, pid_t pid, int number, const char *name,
		     struct hf_error *err)
{
	struct vfio_group *group = &found->groups[found->group_count];

	if (found->group_count == HF_DEVICES_MAX)
		return too_many(pid, "groups", err);
	group->number = number;
	(void)snprintf(group->name, sizeof(group->name), "%.31s", name);
	found->group_count++;
	return 0;
}

/* A node: a device by cdev, or a group. Where it lies in /dev, if it does here, says nothing. */
static int look_at_node(struct vfio_found *found, pid_t pid, int number, dev_t node,
			struct hf_error *err)
{
	static const char groups[] = "/sys/devices/virtual/vfio/";
	char name[64], *path, *end;
	int r = 0;

	(void)snprintf(name, sizeof(name), "/sys/dev/char/%u:%u", major(node), minor(node));
	path = realpath(name, NULL);
	if (!path)
		return 0;
	end = strstr(path, "/vfio-dev/");
	if (end) {
		*end = 0;
		return add_device(found, pid, number, path, err);
	}
	if (strncmp(path, groups, sizeof(groups) - 1) == 0)
		r = add_group(found, pid, number, path + sizeof(groups) - 1, err);
	free(path);
	return r;
}

static int look(struct vfio_found *found, pid_t pid, int folder, const char *name,
		struct hf_error *err)
{
	int number = (int)strtol(name, NULL, 10);
	char link[128];
	struct stat node;
	ssize_t length = readlinkat(folder, name, link, sizeof(link) - 1);

	if (length <= 0)
		return 0; /* a folder's own names, or it was closed meanwhile */
	link[length] = 0;
	if (strcmp(link, "anon_inode:[vfio-device]") == 0)
		return add_device(found, pid, number, path_of_descriptor(pid, number), err);
	/* Others are not touched: a disk's server may not answer. */
	if (strstr(link, "vfio") && fstatat(folder, name, &node, 0) == 0 && S_ISCHR(node.st_mode))
		return look_at_node(found, pid, number, node.st_rdev, err);
	return 0;
}

/* ---- all of them --------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	int left = ((const struct vfio_descriptor *)a)->number;
	int right = ((const struct vfio_descriptor *)b)->number;

	return (left > right) - (left < right);
}

int vfio_find(pid_t pid, struct vfio_found *found, struct hf_error *err)
{
	const struct dirent *entry;
	char path[64];
	int r = 0;
	DIR *dir;

	memset(found, 0, sizeof(*found));
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return guard_fail(err, HF_E_SYSTEM, errno,
				  "the VFIO devices of process %d cannot be seen (%s)", (int)pid,
				  path);
	while (r == 0 && (entry = readdir(dir)) != NULL)
		r = look(found, pid, dirfd(dir), entry->d_name, err);
	(void)closedir(dir);
	qsort(found->devices, found->device_count, sizeof(found->devices[0]), by_number);
	if (r < 0)
		vfio_found_free(found);
	return r;
}

void vfio_found_free(struct vfio_found *found)
{
	for (uint32_t i = 0; i < found->device_count; i++)
		free(found->devices[i].path);
	memset(found, 0, sizeof(*found));
}

char *vfio_path(const char *host)
{
	char path[PATH_MAX];

	if (host[0] == 0)
		return NULL;
	(void)snprintf(path, sizeof(path), "%s%s", host[0] == '/' ? "" : "/sys/bus/pci/devices/",
		       host);
	return realpath(path, NULL);
}

const struct vfio_group *vfio_group_of(const struct vfio_found *found, const char *path)
{
	char link[PATH_MAX], *group;
	const char *name;

	(void)snprintf(link, sizeof(link), "%s/iommu_group", path);
	group = realpath(link, NULL);
	if (!group)
		return NULL;
	name = strrchr(group, '/') + 1;
	for (uint32_t i = 0; i < found->group_count; i++)
		if (strcmp(found->groups[i].name, name) == 0) {
			free(group);
			return &found->groups[i];
		}
	free(group);
	return NULL;
}
