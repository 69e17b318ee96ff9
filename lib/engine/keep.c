/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stopped guest, kept in a folder (config.keep) for a later process of this host: what the
 * source sends of it, as it sends it. "control" is the control connection's bytes up to END, and
 * GO; "device-N" is device N's records. Pages are not here: the guest's memory is in files already.
 *
 * The folder holds a guest when it has "control", which is there, whole, before END is sent, and is
 * gone before a device leaves STOP_COPY on the way home: between these two nothing of it moves
 * here. A crash of the host takes the memory, so nothing is synced to disks, and "boot" says of
 * which boot of the host the rest is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/actions.h"

#define PART "control.part"
#define WHOLE "control"

static int failed(const struct session *session, const char *name, int cause, struct hf_error *err)
{
	return error_set(err, HF_E_SYSTEM, cause, "keep: %.180s/%s", session->keep, name);
}

static void device_name(char buf[32], uint32_t index)
{
	(void)snprintf(buf, 32, "device-%u", index);
}

static int create(struct session *session, const char *name, int *ret_fd, struct hf_error *err)
{
	int fd = openat(session->keep_dir_fd, name,
			O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return failed(session, name, errno, err);
	*ret_fd = fd;
	return 0;
}

static int write_all(int fd, const void *bytes, size_t length)
{
	while (length) {
		ssize_t wrote = write(fd, bytes, length);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return wrote < 0 ? -errno : -EIO;
		bytes = (const uint8_t *)bytes + wrote;
		length -= (size_t)wrote;
	}
	return 0;
}

static int create_all(struct session *session, struct hf_error *err)
{
	int code = 0;

	if (faccessat(session->keep_dir_fd, WHOLE, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return error_set(err, HF_E_INVALID, 0,
				 "keep: %.180s holds a guest in doubt already, which comes first",
				 session->keep);
	for (uint32_t i = 0; i < session->device_count && code == 0; i++) {
		char name[32];

		device_name(name, i);
		code = create(session, name, &session->slots[i].keep_fd, err);
	}
	return code == 0 ? create(session, PART, &session->keep_control_fd, err) : code;
}

/*
 * The folder may be on a disk, the guest's memory with it: behind a boot of the host neither is of
 * one moment any more. So what is kept says in which boot it was.
 */
static int write_boot(struct session *session, struct hf_error *err)
{
	char boot[KEEP_BOOT_BYTES];
	int fd = -1, code = keep_boot_id(boot, err);

	if (code == 0)
		code = create(session, KEEP_BOOT, &fd, err);
	if (code == 0 && (code = write_all(fd, boot, sizeof(boot))) < 0)
		code = failed(session, KEEP_BOOT, -code, err);
	if (fd >= 0)
		(void)close(fd);
	return code;
}

int keep_init(struct session *session, struct hf_error *err)
{
	int code;

	session->keep_dir_fd = open(session->keep, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (session->keep_dir_fd < 0)
		return failed(session, "", errno, err);
	if (flock(session->keep_dir_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			       ? error_set(err, HF_E_BUSY, 0,
					   "keep: %.180s is in use by another handover",
					   session->keep)
			       : failed(session, "", errno, err);
	session->keep_whole = session->config.restart;
	if (!session->config.restart && (code = write_boot(session, err)) < 0)
		return code;
	return session->config.restart ? keep_load_init(session, err) : create_all(session, err);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

int keep_control(struct session *session, const void *bytes, size_t length, struct hf_error *err)
{
	int code;

	if (session->keep_control_fd < 0)
		return 0;
	code = write_all(session->keep_control_fd, bytes, length);
	if (code == 0)
		return 0;
	/* Half a record may be there, so nothing may follow it, whoever takes note of this. */
	session->keep_failed = true;
	close_fd(&session->keep_control_fd);
	return failed(session, PART, -code, err);
}

int keep_device(struct session *session, uint32_t device, const struct iovec *iov, uint32_t count,
		struct hf_error *err)
{
	char name[32];

	if (session->slots[device].keep_fd < 0)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		int code =
			write_all(session->slots[device].keep_fd, iov[i].iov_base, iov[i].iov_len);

		if (code < 0) {
			device_name(name, device);
			return failed(session, name, -code, err);
		}
	}
	return 0;
}

int keep_complete(struct session *session, const void *end, size_t length, struct hf_error *err)
{
	struct rec_go go = { .epoch = session->epoch };
	uint8_t bytes[64];
	int go_length = rec_go_encode(&go, bytes, sizeof(bytes)), code;

	if (session->keep_failed)
		return failed(session, PART, EIO, err);
	if (session->keep_control_fd < 0)
		return 0;
	if ((code = keep_control(session, end, length, err)) < 0 ||
	    (code = keep_control(session, bytes, (size_t)go_length, err)) < 0)
		return code;
	close_fd(&session->keep_control_fd);
	(void)pthread_mutex_lock(&session->keep_lock);
	if (session->keep_dropped)
		code = error_set(err, HF_E_CANCELLED, 0, "keep: the guest has come home meanwhile");
	else if (renameat(session->keep_dir_fd, PART, session->keep_dir_fd, WHOLE) < 0)
		code = failed(session, WHOLE, errno, err);
	else
		session->keep_whole = true;
	(void)pthread_mutex_unlock(&session->keep_lock);
	return code;
}

bool keep_is_whole(struct session *session)
{
	bool whole;

	(void)pthread_mutex_lock(&session->keep_lock);
	whole = session->keep_whole;
	(void)pthread_mutex_unlock(&session->keep_lock);
	return whole;
}

/* Nothing of it is there from now on, nor will be: END may still be on its way (keep_complete()).
 */
int keep_drop(struct session *session, struct hf_error *err)
{
	int code = 0;

	(void)pthread_mutex_lock(&session->keep_lock);
	session->keep_dropped = true;
	if (session->keep_whole && unlinkat(session->keep_dir_fd, WHOLE, 0) < 0 && errno != ENOENT)
		code = failed(session, WHOLE, errno, err);
	else
		session->keep_whole = false;
	(void)pthread_mutex_unlock(&session->keep_lock);
	return code;
}

static int run_drop(struct session *session, struct job *job)
{
	return keep_drop(session, &job->err);
}

/*
 * Before any device leaves STOP on the way home: from then on they and the vCPUs change what was
 * kept. Killed behind it, the guest is lost with its process, as it would be at any other time.
 */
void keep_drop_then(struct session *session, void (*then)(struct session *))
{
	struct job job = { .run = run_drop, .done = phase_job_done };

	if (session->keep_dir_fd < 0) {
		then(session);
		return;
	}
	phase_begin(session, &session->main, then);
	phase_submit(session, &session->main, &session->machine_worker, &job);
	phase_release(session, &session->main);
}

/* It is decided: the rest is only room. "control" goes first, whatever happens to the others. */
static int clean(struct session *session, struct hf_error *err)
{
	char name[32];

	if (keep_drop(session, err) < 0)
		return err->code;
	(void)unlinkat(session->keep_dir_fd, PART, 0);
	(void)unlinkat(session->keep_dir_fd, KEEP_BOOT, 0);
	for (uint32_t i = 0; i < session->device_count; i++) {
		device_name(name, i);
		(void)unlinkat(session->keep_dir_fd, name, 0);
	}
	return 0;
}

static int run_end(struct session *session, struct job *job)
{
	return clean(session, &job->err);
}

/* Who finds it in spite of all asks the ledger, and is told that it is decided. */
static void on_end_done(struct session *session, const struct job *job)
{
	if (job->code < 0)
		trace(session, HF_TRACE_FAILED, job->err.text, (uint64_t)-job->err.code,
		      (uint64_t)job->err.cause, 0, 0);
}

void keep_end(struct session *session)
{
	struct job job = { .run = run_end, .done = on_end_done };

	if (session->keep_dir_fd < 0)
		return;
	session->keep_decided = true;
	worker_submit(&session->link_worker, &job);
}

/* All workers have ended; one that hung on a connection may not have come to run_end(). */
void keep_done(struct session *session)
{
	struct hf_error err = { 0 };

	if (session->keep_decided)
		(void)clean(session, &err);
	close_fd(&session->keep_control_fd);
	for (uint32_t i = 0; i < HF_DEVICES_MAX; i++)
		close_fd(&session->slots[i].keep_fd);
	close_fd(&session->keep_dir_fd);
}
