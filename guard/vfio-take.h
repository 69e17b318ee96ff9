/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VFIO devices of another process: their descriptors, taken by pidfd_getfd(2), and the arcs of
 * linux/vfio.h (VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) on them. The device has one state, whoever
 * asks: what is changed here, the other process finds changed. (A QEMU that asks for a state in
 * which the device is already gets 0.)
 */
#ifndef GUARD_VFIO_TAKE_H
#define GUARD_VFIO_TAKE_H

#include <stdint.h>
#include <sys/types.h>

#include <holdfast/error.h>
#include <holdfast/types.h>

/*
 * Descriptors of the process' VFIO devices, of which hosts names all: by their folders in sysfs or
 * their PCI addresses. ret_fds has them in the order of hosts; the caller's, who closes them. They
 * are duplicates of the process' own, or opened by its group, where the kernel does not say which
 * of several is which. Those of which not even a group is known are in the order in which they were
 * opened. Errors: HF_E_SYSTEM (no permission: that of ptrace(2) is needed), HF_E_UNSUPPORTED (they
 * are not as many as hosts; more than HF_DEVICES_MAX).
 */
int vfio_take(pid_t pid, const char *const *hosts, uint32_t count, int *ret_fds,
	      struct hf_error *err);

/* VFIO_MIGRATION_* flags of the device; 0: it cannot be migrated; or a negative errno. */
int vfio_take_flags(int fd, uint32_t *ret_flags);

/* The state it stands in; 0 or a negative errno. */
int vfio_take_state(int fd, uint32_t *ret_state);

/* Ask for a state; no data descriptor is asked for or kept. 0 or a negative errno. */
int vfio_take_set_state(int fd, uint32_t state);

#endif
