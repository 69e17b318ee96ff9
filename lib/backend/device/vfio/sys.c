/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls of sys.h, as the kernel answers them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "backend/device/vfio/sys.h"

static int real_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void real_close(int fd)
{
	(void)close(fd); /* nothing is written through it that could be lost here */
}

static int real_ioctl(int fd, unsigned long request, void *argument)
{
	int r = ioctl(fd, request, argument);

	return r < 0 ? -errno : r;
}

/* Some drivers wait interruptibly in read(); a signal of the program's is no answer of theirs. */
static ssize_t real_read(int fd, void *buf, size_t size)
{
	ssize_t n;

	do
		n = read(fd, buf, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t real_write(int fd, const void *buf, size_t size)
{
	ssize_t n;

	do
		n = write(fd, buf, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t real_pread(int fd, void *buf, size_t size, uint64_t offset)
{
	ssize_t n = pread(fd, buf, size, (off_t)offset);

	return n < 0 ? -errno : n;
}

static ssize_t real_pwrite(int fd, const void *buf, size_t size, uint64_t offset)
{
	ssize_t n = pwrite(fd, buf, size, (off_t)offset);

	return n < 0 ? -errno : n;
}

static int real_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static int keep(const char *name, char *ret_name, size_t size)
{
	if (strlen(name) >= size)
		return -ENAMETOOLONG;
	memcpy(ret_name, name, strlen(name) + 1);
	return 0;
}

static int real_link_name(const char *path, char *ret_name, size_t size)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	const char *last;

	if (n < 0)
		return -errno;
	target[n] = 0;
	last = strrchr(target, '/');
	return keep(last ? last + 1 : target, ret_name, size);
}

static int real_entry(const char *folder, const char *prefix, char *ret_name, size_t size)
{
	DIR *dir = opendir(folder);
	const struct dirent *found;
	int r = -ENOENT;

	if (!dir)
		return -errno;
	while (r == -ENOENT && (found = readdir(dir)))
		if (strncmp(found->d_name, prefix, strlen(prefix)) == 0)
			r = keep(found->d_name, ret_name, size);
	(void)closedir(dir);
	return r;
}

static const struct vfio_sys real_sys = {
	.open = real_open,
	.close = real_close,
	.ioctl = real_ioctl,
	.read = real_read,
	.write = real_write,
	.pread = real_pread,
	.pwrite = real_pwrite,
	.exists = real_exists,
	.link_name = real_link_name,
	.entry = real_entry,
};

const struct vfio_sys *vfio_sys = &real_sys;
