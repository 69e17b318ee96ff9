/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ledger in a directory, on one host or on a file system that hosts share:
 *
 *   GUEST             the record, as text (record.h)
 *   .GUEST.lock       locked while a record is written; never removed
 *   .GUEST.HASH.tmp   the next record, until it is renamed to GUEST; one that was left behind by a
 *                     killed writer is removed by the next
 *
 * A record is written under the lock: read, compare, write a new file, fsync, rename, fsync the
 * directory. A crash anywhere leaves the old record or the new one. Reading needs no lock, since
 * the rename is atomic. A record that cannot be read is never overwritten.
 *
 * What it relies on: rename() and fsync() keep their promises, and a lock is held until its holder
 * gives it back or is dead. On NFS that takes a server which does not give a lock away while its
 * holder merely does not answer.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "backend/ledger.h"
#include "backend/ledger/kinds.h"
#include "backend/ledger/record.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/time.h"

/* A holder of the lock is busy for one write. One that is stopped must not stop everybody. */
#define LOCK_WAIT_NS (3 * NS_PER_S)
#define LOCK_POLL_NS (2 * NS_PER_MS)

#define REREAD_MAX 4u
#define HASH_DIGITS 16u
#define FILE_NAME_MAX (HF_NAME_MAX + HASH_DIGITS + 8u)

/* Immutable after open: any thread. */
struct file_ledger {
	int dir_fd;
	dev_t dev;
	ino_t ino;
	char dir[HF_URI_MAX];
};

/* What is found at the place of a record. */
enum found {
	FOUND_RECORD = 1,
	FOUND_NONE = 2,
};

/*
 * The directory's name still means the directory we opened. If it does not (renamed, or another
 * file system mounted over it), others may be using another one of that name.
 */
static int check_dir(const struct file_ledger *ledger, struct hf_error *err)
{
	struct stat st;

	if (stat(ledger->dir, &st) < 0)
		return error_set(err, HF_E_LEDGER_UNKNOWN, errno, "ledger file:%s", ledger->dir);
	if (st.st_dev != ledger->dev || st.st_ino != ledger->ino)
		return error_set(err, HF_E_LEDGER_UNKNOWN, 0,
				 "ledger file:%s: another directory has taken its place",
				 ledger->dir);
	return 0;
}

/* ---- read ------------------------------------------------------------------------------------ */

/* All of a file that is not longer than size; its length, or a negative errno. */
static ssize_t read_file(int fd, char *buf, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size) {
		n = read(fd, buf + used, size - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

static int damaged(const struct file_ledger *ledger, const char *guest, unsigned int line,
		   const char *why, struct hf_error *err)
{
	return error_set(err, HF_E_LEDGER_DAMAGED, 0, "%s/%s, line %u: %s", ledger->dir, guest,
			 line, why);
}

static int parse(const struct file_ledger *ledger, const char *guest, const char *text,
		 size_t length, struct hf_ledger_record *ret_record, struct hf_error *err)
{
	struct hf_ledger_record record;
	const char *why = NULL;
	unsigned int line;

	line = record_decode(text, length, &record, &why);
	if (line)
		return damaged(ledger, guest, line, why, err);
	if (record.revision == 0)
		return damaged(ledger, guest, 3, "a record that is there has a revision", err);
	if (strcmp(record.guest, guest) != 0)
		return damaged(ledger, guest, 2, "the record is another guest's", err);
	if (ledger_record_check(&record, NULL) < 0)
		return damaged(ledger, guest, 1, "the record contradicts itself", err);
	*ret_record = record;
	return FOUND_RECORD;
}

/*
 * FOUND_RECORD, FOUND_NONE with an empty record, or an error. *ret_replaced: a newer record had
 * taken its place when it was read.
 */
static int read_once(const struct file_ledger *ledger, const char *guest,
		     struct hf_ledger_record *ret_record, bool *ret_replaced, struct hf_error *err)
{
	_cleanup_close_ int fd = -1;
	char text[RECORD_TEXT_MAX + 1];
	struct stat st;
	ssize_t length;

	*ret_replaced = false;
	fd = openat(ledger->dir_fd, guest, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT) {
		memset(ret_record, 0, sizeof(*ret_record));
		(void)snprintf(ret_record->guest, sizeof(ret_record->guest), "%s", guest);
		return FOUND_NONE;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, HF_E_LEDGER_UNKNOWN, errno, "open %s/%s", ledger->dir, guest);
	if (!S_ISREG(st.st_mode))
		return error_set(err, HF_E_LEDGER_DAMAGED, 0, "%s/%s is no file", ledger->dir,
				 guest);
	*ret_replaced = st.st_nlink == 0;
	length = read_file(fd, text, sizeof(text));
	if (length < 0)
		return error_set(err, HF_E_LEDGER_UNKNOWN, (int)-length, "read %s/%s", ledger->dir,
				 guest);
	if ((size_t)length > RECORD_TEXT_MAX)
		return error_set(err, HF_E_LEDGER_DAMAGED, 0, "%s/%s is longer than any record",
				 ledger->dir, guest);
	return parse(ledger, guest, text, (size_t)length, ret_record, err);
}

/*
 * The record as it stands, for the holder of the lock. A shared file system may show us for a
 * moment the file that was there before: one that has no name any more is not it.
 */
static int read_current(const struct file_ledger *ledger, const char *guest,
			struct hf_ledger_record *ret_record, struct hf_error *err)
{
	bool replaced;
	int r;

	for (unsigned int i = 0; i < REREAD_MAX; i++) {
		r = read_once(ledger, guest, ret_record, &replaced, err);
		if (r < 0 || !replaced)
			return r;
	}
	return error_set(err, HF_E_LEDGER_UNKNOWN, 0,
			 "%s/%s was replaced while we held its lock: do locks work there?",
			 ledger->dir, guest);
}

static int file_read(void *self, const char *guest, struct hf_ledger_record *ret_record,
		     struct hf_error *err)
{
	const struct file_ledger *ledger = self;
	bool replaced;
	int r;

	r = check_dir(ledger, err);
	if (r < 0)
		return r;
	r = read_once(ledger, guest, ret_record, &replaced, err);
	return r < 0 ? r : 0;
}

/* What could be a guest's record, by its name. */
static int is_record(const struct dirent *entry)
{
	return ledger_name_ok(entry->d_name);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int file_list(void *self, void (*each)(void *ctx, const struct hf_ledger_record *record),
		     void *ctx, struct hf_error *err)
{
	const struct file_ledger *ledger = self;
	struct hf_error first = { 0 };
	struct dirent **names = NULL;
	int count, r = check_dir(ledger, err);

	if (r < 0)
		return r;
	count = scandirat(ledger->dir_fd, ".", &names, is_record, by_name);
	if (count < 0)
		return error_set(err, HF_E_LEDGER_UNKNOWN, errno, "list %s", ledger->dir);
	for (int i = 0; i < count; i++) {
		struct hf_ledger_record record;
		struct hf_error one = { 0 };
		bool replaced;

		r = read_once(ledger, names[i]->d_name, &record, &replaced, &one);
		if (r == FOUND_RECORD)
			each(ctx, &record);
		else if (r < 0 && !first.code)
			first = one;
		free(names[i]);
	}
	free(names);
	if (!first.code)
		return 0;
	error_copy(err, &first);
	return first.code;
}

/* ---- write ----------------------------------------------------------------------------------- */

/*
 * The lock of the guest, to be closed. OFD locks, since they belong to the open file (so threads
 * exclude each other too) and work on NFS. HF_E_LEDGER_UNKNOWN when its holder does not give it
 * back.
 */
static int lock_guest(const struct file_ledger *ledger, const char *guest, struct hf_error *err)
{
	_cleanup_close_ int fd = -1;
	const struct timespec pause = { .tv_nsec = (long)LOCK_POLL_NS };
	uint64_t until = time_now_ns() + LOCK_WAIT_NS;
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char name[FILE_NAME_MAX];

	(void)snprintf(name, sizeof(name), ".%s.lock", guest);
	fd = openat(ledger->dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(err, HF_E_SYSTEM, errno, "open %s/%s; nothing was written",
				 ledger->dir, name);
	while (fcntl(fd, F_OFD_SETLK, &whole) < 0) {
		if (errno != EAGAIN && errno != EACCES && errno != EINTR)
			return error_set(err, HF_E_SYSTEM, errno, "lock %s/%s; nothing was written",
					 ledger->dir, name);
		if (time_now_ns() >= until)
			return error_set(err, HF_E_LEDGER_UNKNOWN, 0,
					 "lock %s/%s: another process has held it for %u s",
					 ledger->dir, name,
					 (unsigned int)(LOCK_WAIT_NS / NS_PER_S));
		(void)nanosleep(&pause, NULL); /* a lock is no event that could be polled for */
	}
	return TAKE_FD(fd);
}

/* ".GUEST.HASH.tmp" of this guest, and not of one whose name begins with its name. */
static bool is_leftover(const char *name, const char *guest)
{
	size_t length = strlen(guest);

	if (strlen(name) != 1 + length + 1 + HASH_DIGITS + 4)
		return false;
	return name[0] == '.' && memcmp(name + 1, guest, length) == 0 && name[1 + length] == '.' &&
	       strcmp(name + 1 + length + 1 + HASH_DIGITS, ".tmp") == 0;
}

/* With the lock held nobody else writes this guest's record: what is there was left behind. */
static void remove_leftovers(const struct file_ledger *ledger, const char *guest)
{
	struct dirent *entry;
	DIR *dir;
	int fd;

	fd = openat(ledger->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return; /* they are in nobody's way */
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (is_leftover(entry->d_name, guest))
			(void)unlinkat(ledger->dir_fd, entry->d_name, 0);
	(void)closedir(dir);
}

static int write_all(int fd, const char *text, size_t length)
{
	ssize_t n;

	while (length) {
		n = write(fd, text, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		length -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* The whole record in a file of its own, on the disk. After a failure the file is gone. */
static int write_temp(const struct file_ledger *ledger, const char *name,
		      const struct hf_ledger_record *record, struct hf_error *err)
{
	_cleanup_close_ int fd = -1;
	char text[RECORD_TEXT_MAX];
	size_t length;
	int r;

	length = record_encode(record, text);
	fd = openat(ledger->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		    0600);
	if (fd < 0)
		return error_set(err, HF_E_SYSTEM, errno, "create %s/%s; nothing was changed",
				 ledger->dir, name);
	r = write_all(fd, text, length);
	if (close(TAKE_FD(fd)) < 0 && r == 0)
		r = -errno; /* NFS reports some failures only here */
	if (r < 0) {
		(void)unlinkat(ledger->dir_fd, name, 0);
		return error_set(err, HF_E_SYSTEM, -r, "write %s/%s; nothing was changed",
				 ledger->dir, name);
	}
	return 0;
}

/* The record is there under its name; make sure that it stays. */
static int sync_dir(const struct file_ledger *ledger, struct hf_error *err)
{
	if (fsync(ledger->dir_fd) == 0)
		return HF_LEDGER_DONE;
	(void)error_set(err, HF_E_LEDGER_UNKNOWN, errno,
			"fsync %s: the record is written, and may be lost by a crash", ledger->dir);
	return HF_LEDGER_UNKNOWN;
}

/* With the lock held, and the record to be replaced as expected. */
static int replace(const struct file_ledger *ledger, const struct hf_ledger_record *next,
		   struct hf_error *err)
{
	char name[FILE_NAME_MAX];
	int r;

	(void)snprintf(name, sizeof(name), ".%s.%016" PRIx64 ".tmp", next->guest,
		       (uint64_t)XXH64(next->attempt, strlen(next->attempt), next->revision));
	r = write_temp(ledger, name, next, err);
	if (r < 0)
		return r;
	if (renameat(ledger->dir_fd, name, ledger->dir_fd, next->guest) < 0) {
		(void)error_set(err, HF_E_LEDGER_UNKNOWN, errno, "rename %s/%s to %s", ledger->dir,
				name, next->guest);
		(void)unlinkat(ledger->dir_fd, name, 0);
		return HF_LEDGER_UNKNOWN;
	}
	return sync_dir(ledger, err);
}

static int file_swap(void *self, const struct hf_ledger_record *record,
		     struct hf_ledger_record *ret_now, struct hf_error *err)
{
	const struct file_ledger *ledger = self;
	struct hf_ledger_record now, next;
	_cleanup_close_ int lock = -1;
	int r;

	r = check_dir(ledger, err);
	if (r < 0)
		return r;
	lock = lock_guest(ledger, record->guest, err);
	if (lock < 0)
		return lock == HF_E_LEDGER_UNKNOWN ? HF_LEDGER_UNKNOWN : lock;
	r = read_current(ledger, record->guest, &now, err);
	if (r < 0)
		return r;
	assert(r == FOUND_RECORD || now.revision == 0);
	if (ledger_record_is_written(&now, record)) {
		r = sync_dir(ledger, err); /* its writer may have died before it did */
		if (r == HF_LEDGER_DONE)
			*ret_now = now;
		return r;
	}
	if (now.revision != record->revision) {
		*ret_now = now;
		return HF_LEDGER_REFUSED;
	}
	remove_leftovers(ledger, record->guest);
	next = *record;
	next.revision = now.revision + 1;
	r = replace(ledger, &next, err);
	if (r == HF_LEDGER_DONE)
		*ret_now = next;
	return r;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void file_close(void *self)
{
	struct file_ledger *ledger = self;

	if (!ledger)
		return;
	if (ledger->dir_fd >= 0)
		(void)close(ledger->dir_fd);
	free(ledger);
}

static const struct hf_ledger_ops file_ops = {
	.size = sizeof(file_ops),
	.kind = "file",
	.read = file_read,
	.swap = file_swap,
	.close = file_close,
	.list = file_list,
};

/* The directory, made if only it is missing, by its one real path. */
static int find_dir(const char *dir, char ret_path[PATH_MAX], struct hf_error *err)
{
	if (dir[0] != '/')
		return error_set(err, HF_E_INVALID, 0,
				 "ledger file:%.150s: the directory is not absolute", dir);
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return error_set(err, HF_E_INVALID, errno, "ledger file:%.150s: make the directory",
				 dir);
	if (!realpath(dir, ret_path))
		return error_set(err, HF_E_INVALID, errno, "ledger file:%.150s", dir);
	if (strlen(ret_path) >= HF_URI_MAX - strlen("file:"))
		return error_set(err, HF_E_INVALID, 0,
				 "ledger file:%.150s: the path is longer than %zu bytes", dir,
				 HF_URI_MAX - 1 - strlen("file:"));
	return 0;
}

int ledger_file_open(const char *dir, struct hf_ledger *ret_ledger, struct hf_error *err)
{
	struct file_ledger *ledger;
	char path[PATH_MAX];
	struct stat st;
	int r;

	r = find_dir(dir, path, err);
	if (r < 0)
		return r;
	ledger = calloc(1, sizeof(*ledger));
	if (!ledger)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "ledger file:%.150s", dir);
	memcpy(ledger->dir, path, strlen(path) + 1);
	ledger->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ledger->dir_fd < 0 || fstat(ledger->dir_fd, &st) < 0) {
		r = error_set(err, HF_E_INVALID, errno, "ledger file:%.150s", dir);
		file_close(ledger);
		return r;
	}
	ledger->dev = st.st_dev;
	ledger->ino = st.st_ino;
	memset(ret_ledger, 0, sizeof(*ret_ledger));
	ret_ledger->ops = &file_ops;
	ret_ledger->self = ledger;
	(void)snprintf(ret_ledger->uri, sizeof(ret_ledger->uri), "file:%s", ledger->dir);
	return 0;
}
