/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration states and data of a kernel device (linux/vfio.h, VFIO_DEVICE_FEATURE_MIG_*), and the
 * rules that the kernel leaves to its user:
 *
 *  - The state is asked for before it is changed: a reset by the guest or by the bus changes it
 *    behind our back, and ends the session of whoever holds the data fd.
 *  - STOP_COPY to PRE_COPY* is never asked for. Kernels from 6.2 until the fix of 2026 search their
 *    table for it for ever, with the driver's lock held.
 *  - When the kernel cannot hand the data fd over (EMFILE, ENFILE, EFAULT) the state has changed
 *    and the fd is gone for good; asking for the same state again gives none. The state is left,
 *    and entered again.
 *  - A write that failed spoils the load. Some drivers take RESUMING -> STOP all the same; here it
 *    is refused, with the error of that write.
 */
#include <assert.h>
#include <errno.h>

#include <holdfast/device.h>

#include "backend/device/vfio/sys.h"
#include "backend/device/vfio/uapi.h"
#include "backend/device/vfio/vfio.h"

#define NO_SESSION HF_DEVICE_ERROR
#define TRIES_MAX 2

/* The session that a state has: saving (STOP_COPY), loading (RESUMING) or none. */
static uint32_t session_of(uint32_t state)
{
	switch (state) {
	case HF_DEVICE_PRE_COPY:
	case HF_DEVICE_PRE_COPY_P2P:
	case HF_DEVICE_STOP_COPY:
		return HF_DEVICE_STOP_COPY;
	case HF_DEVICE_RESUMING:
		return HF_DEVICE_RESUMING;
	default:
		return NO_SESSION;
	}
}

static void end_session(struct vfio *v)
{
	if (v->data_fd >= 0)
		vfio_sys->close(v->data_fd);
	v->data_fd = -1;
	v->session = NO_SESSION;
	v->load_error = 0;
}

/* It stands there: a session that is not this state's is over. */
static void settle(struct vfio *v, uint32_t state)
{
	if (v->session != session_of(state))
		end_session(v);
}

static int ask(struct vfio *v, uint32_t *ret_state)
{
	struct vfio_device_feature_mig_state s = { 0 };
	int r = vfio_feature(v, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &s,
			     sizeof(s));

	if (r < 0)
		return r;
	settle(v, s.device_state);
	*ret_state = s.device_state;
	return 0;
}

static int put(struct vfio *v, uint32_t state, int *ret_fd)
{
	struct vfio_device_feature_mig_state s = { .device_state = state, .data_fd = -1 };
	int r = vfio_feature(v, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &s,
			     sizeof(s));

	*ret_fd = r < 0 ? -1 : s.data_fd;
	return r;
}

/* Does it stand in a session whose data fd is nowhere? */
static int is_lost(const struct vfio *v, uint32_t state)
{
	return session_of(state) != NO_SESSION && v->data_fd < 0;
}

static int reset_ioctl(struct vfio *v)
{
	uint32_t state = HF_DEVICE_ERROR;
	int r = vfio_sys->ioctl(v->member.fd, VFIO_DEVICE_RESET, NULL);

	if (r < 0)
		(void)ask(v, &state); /* the first failure counts; this one only settles */
	else
		end_session(v);
	return r < 0 ? r : 0;
}

/* Out of a state whose data fd was lost, by the shortest arc; nothing was saved or loaded yet. */
static int leave(struct vfio *v, uint32_t state)
{
	uint32_t to = state == HF_DEVICE_PRE_COPY	? HF_DEVICE_RUNNING
		      : state == HF_DEVICE_PRE_COPY_P2P ? HF_DEVICE_RUNNING_P2P
							: HF_DEVICE_STOP;
	int fd, r = put(v, to, &fd);

	assert(session_of(state) != NO_SESSION);
	if (fd >= 0)
		vfio_sys->close(fd); /* of no use: a driver's mistake */
	/* A driver that checks loads keeps RESUMING if nothing came. */
	if (r < 0 && state == HF_DEVICE_RESUMING)
		r = reset_ioctl(v);
	return r;
}

/* One SET, and where its data fd goes. */
static int enter(struct vfio *v, uint32_t from, uint32_t state)
{
	int opens = session_of(state) != NO_SESSION && session_of(state) != session_of(from);
	int fd, r = put(v, state, &fd);

	if (r < 0)
		return r;
	settle(v, state);
	if (fd >= 0) {
		end_session(v);
		v->data_fd = fd;
		v->session = session_of(state);
	}
	return opens && fd < 0 ? -EBADF : 0;
}

/* What the kernel would refuse, and what it should. */
static int refused(const struct vfio *v, uint32_t from, uint32_t state)
{
	if (!v->info.mig_flags)
		return -EOPNOTSUPP;
	if (from == HF_DEVICE_ERROR || !hf_device_has_state(v->info.mig_flags, state))
		return -EINVAL;
	if (from == HF_DEVICE_STOP_COPY && session_of(state) == HF_DEVICE_STOP_COPY &&
	    state != HF_DEVICE_STOP_COPY)
		return -EINVAL;
	if (from == HF_DEVICE_RESUMING && state != from && v->load_error)
		return v->load_error;
	return 0;
}

int vfio_set_state(void *self, uint32_t state)
{
	struct vfio *v = self;
	uint32_t now = HF_DEVICE_ERROR;
	int r = ask(v, &now), left = 0;

	if (r == 0)
		r = refused(v, now, state);
	if (r < 0)
		return r;
	for (int i = 0; i < TRIES_MAX; i++) {
		if (is_lost(v, now)) {
			left = leave(v, now);
			if (left < 0)
				return r < 0 ? r : left;
			left = ask(v, &now);
			if (left < 0)
				return r < 0 ? r : left;
		}
		if (now == state)
			return 0;
		r = enter(v, now, state);
		if (r == 0)
			return 0;
		if (ask(v, &now) < 0 || !is_lost(v, now))
			return r;
	}
	(void)leave(v, now); /* so that the next one who asks for this state gets its fd */
	(void)ask(v, &now);
	return r;
}

int vfio_get_state(void *self, uint32_t *ret_state)
{
	struct vfio *v = self;

	return ask(v, ret_state);
}

int vfio_reset(void *self)
{
	struct vfio *v = self;
	uint32_t state = HF_DEVICE_ERROR;
	int r = reset_ioctl(v);

	/* A driver may do it later than it says; where it stands is what counts. */
	if (r == 0 && v->info.mig_flags)
		r = ask(v, &state);
	return r;
}

/* ---- data ---------------------------------------------------------------------------------- */

ssize_t vfio_read_data(void *self, void *buf, size_t size)
{
	struct vfio *v = self;

	if (v->session != HF_DEVICE_STOP_COPY)
		return -ENODEV;
	return size ? vfio_sys->read(v->data_fd, buf, size) : 0;
}

ssize_t vfio_write_data(void *self, const void *buf, size_t size)
{
	struct vfio *v = self;
	ssize_t n;

	if (v->session != HF_DEVICE_RESUMING)
		return -ENODEV;
	if (v->load_error)
		return v->load_error;
	if (!size)
		return 0;
	n = vfio_sys->write(v->data_fd, buf, size);
	if (n == 0)
		n = -EIO;
	if (n < 0)
		v->load_error = (int)n;
	return n;
}

int vfio_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes)
{
	struct vfio *v = self;
	struct vfio_precopy_info info = { .argsz = sizeof(info) };
	int r;

	if (v->session != HF_DEVICE_STOP_COPY)
		return -EINVAL;
	r = vfio_sys->ioctl(v->data_fd, VFIO_MIG_GET_PRECOPY_INFO, &info);
	if (r < 0)
		return r;
	/*
	 * VFIO_PRECOPY_INFO_REINIT needs no answer here: new initial bytes are initial bytes, and
	 * whoever waits for them to come down to 0 waits again.
	 */
	*ret_initial_bytes = info.initial_bytes;
	*ret_dirty_bytes = info.dirty_bytes;
	return 0;
}

int vfio_data_size(void *self, uint64_t *ret_bytes)
{
	struct vfio *v = self;
	struct vfio_device_feature_mig_data_size size = { 0 };
	int r;

	if (!(v->info.flags & HF_DEVICE_HAS_DATA_SIZE))
		return -EOPNOTSUPP;
	r = vfio_feature(v, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, &size,
			 sizeof(size));
	if (r == 0)
		*ret_bytes = size.stop_copy_length;
	return r;
}

/* ---- beginning and end --------------------------------------------------------------------- */

void vfio_state_init(struct vfio *v)
{
	struct vfio_device_feature_migration mig = { 0 };

	v->data_fd = -1;
	v->session = NO_SESSION;
	if (vfio_feature(v, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &mig,
			 sizeof(mig)) < 0)
		return; /* it cannot be migrated, which mig_flags say */
	v->info.mig_flags = (uint32_t)mig.flags & (HF_MIG_STOP_COPY | HF_MIG_P2P | HF_MIG_PRE_COPY);
	if (vfio_feature(v,
			 VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
			 NULL, 0) == 0)
		v->info.flags |= HF_DEVICE_HAS_DATA_SIZE;
	/* Kernels before 7.1, and devices without PRE_COPY, do not have it, and need it not. */
	if (v->info.mig_flags & HF_MIG_PRE_COPY)
		(void)vfio_feature(v,
				   VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2,
				   NULL, 0);
}

void vfio_state_done(struct vfio *v)
{
	end_session(v);
}
