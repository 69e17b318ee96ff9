/* SPDX-License-Identifier: BSD-3-Clause */
#include "memory-file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <holdfast/session.h>

#include "fail.h"

static int path_of(const char *keep, const char *name, char path[PATH_MAX], struct hf_error *err)
{
	int length = snprintf(path, PATH_MAX, "%s/%s", keep, name);

	if (length < 0 || length >= PATH_MAX)
		return fail(err, HF_E_INVALID, 0, "keep: the path is too long");
	return 0;
}

static int open_kept(const char *path, uint64_t bytes, int *ret_fd, struct hf_error *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct stat info;

	if (fd < 0)
		return fail(err, HF_E_SYSTEM, errno, "the kept guest's memory, %s", path);
	if (fstat(fd, &info) < 0 || (uint64_t)info.st_size != bytes) {
		(void)close(fd);
		return fail(err, HF_E_MISMATCH, 0,
			    "%s has %jd bytes: start it with the memory that the kept guest had",
			    path, (intmax_t)info.st_size);
	}
	*ret_fd = fd;
	return 0;
}

/* A file of an earlier guest is not written over, in case somebody still maps it. */
static int open_new(const char *path, int *ret_fd, struct hf_error *err)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return fail(err, HF_E_SYSTEM, errno, "%s", path);
	*ret_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return *ret_fd < 0 ? fail(err, HF_E_SYSTEM, errno, "guest memory in %s", path) : 0;
}

int memory_file_new(const char *name, uint64_t bytes, const char *keep, bool kept, int *ret_fd,
		    struct hf_error *err)
{
	char path[PATH_MAX];
	int fd = -1, r = 0;

	if (keep != NULL)
		r = path_of(keep, name, path, err);
	if (r != 0)
		return r;
	if (kept)
		return open_kept(path, bytes, ret_fd, err);
	if (keep != NULL)
		r = open_new(path, &fd, err);
	else if ((fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)) < 0)
		r = fail(err, HF_E_SYSTEM, errno, "memfd_create for guest memory");
	if (r != 0)
		return r;
	/*
	 * In a folder the room is taken now: a file system that is full later, perhaps with what is
	 * kept of the guest's devices, would end it by SIGBUS at some page.
	 */
	if (ftruncate(fd, (off_t)bytes) < 0)
		r = errno;
	else if (keep != NULL)
		r = posix_fallocate(fd, 0, (off_t)bytes);
	/* The server of a device, which has it too, must not be able to take it away from under us.
	 */
	else if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		r = errno;
	if (r != 0) {
		r = fail(err, HF_E_NO_MEMORY, r, "%ju bytes of guest memory%s%.120s",
			 (uintmax_t)bytes, keep != NULL ? " in " : "", keep != NULL ? keep : "");
		(void)close(fd);
		if (keep != NULL)
			(void)unlink(path);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

void memory_file_drop(const char *name, const char *keep)
{
	struct hf_kept kept = { .size = sizeof(kept) };
	char path[PATH_MAX];

	/* What cannot be read is kept: somebody may mend it. */
	if (keep != NULL && hf_kept_read(keep, &kept, NULL) == 0 &&
	    path_of(keep, name, path, NULL) == 0)
		(void)unlink(path); /* a leftover is replaced by the next guest */
}
