/* SPDX-License-Identifier: BSD-3-Clause */
#include "backend/device/vfio-user/shared.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

int vu_fd_stays(int fd, uint64_t end)
{
	int seals = fcntl(fd, F_GET_SEALS); /* before its size is looked at */
	struct statfs fs;
	struct stat st;

	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return 0;
	if (fstatfs(fd, &fs) < 0 || fs.f_type == HUGETLBFS_MAGIC || fstat(fd, &st) < 0)
		return 0;
	return st.st_size >= 0 && (uint64_t)st.st_size >= end;
}
