/* SPDX-License-Identifier: BSD-3-Clause */
/* KVM's VFIO device: see kvm-vfio.h. */
#include "kvm-vfio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fail.h"

/* KVM_DEV_VFIO_FILE and _ADD, _DEL since Linux 6.6; before, GROUP and only groups' files. */
#define VFIO_FILE KVM_DEV_VFIO_GROUP
#define VFIO_FILE_ADD KVM_DEV_VFIO_GROUP_ADD
#define VFIO_FILE_DEL KVM_DEV_VFIO_GROUP_DEL

void kvm_vfio_init(struct kvm_vfio *vfio)
{
	*vfio = (struct kvm_vfio){ .fd = -1 };
}

static int set(const struct kvm_vfio *vfio, uint64_t what, int file)
{
	int32_t number = file;
	struct kvm_device_attr attr = {
		.group = VFIO_FILE,
		.attr = what,
		.addr = (uintptr_t)&number,
	};

	return ioctl(vfio->fd, KVM_SET_DEVICE_ATTR, &attr) < 0 ? -errno : 0;
}

/* Only with the first file: a guest without kernel devices needs none. */
static void create(struct kvm_vfio *vfio, const struct vm *vm)
{
	struct kvm_create_device request = { .type = KVM_DEV_TYPE_VFIO };

	if (vfio->asked)
		return;
	vfio->asked = true;
	if (ioctl(vm->vm_fd, KVM_CREATE_DEVICE, &request) < 0)
		return;
	vfio->fd = (int)request.fd;
	(void)fcntl(vfio->fd, F_SETFD, FD_CLOEXEC); /* KVM's is so already: no race to lose */
}

int kvm_vfio_add(struct kvm_vfio *vfio, const struct vm *vm, int file, struct hf_error *err)
{
	int copy, r;

	create(vfio, vm);
	r = vfio->fd < 0 ? -ENXIO : set(vfio, VFIO_FILE_ADD, file);
	if (r == -EEXIST)
		return 0; /* another device of its group has brought it */
	if (r < 0) {
		vfio->refused++;
		return 0;
	}
	copy = fcntl(file, F_DUPFD_CLOEXEC, 0);
	if (copy < 0) {
		r = errno;
		(void)set(vfio, VFIO_FILE_DEL, file);
		return fail(err, HF_E_SYSTEM, r, "keeping its file for KVM");
	}
	assert(vfio->count < HF_DEVICES_MAX); /* one at most for each device */
	vfio->files[vfio->count++] = copy;
	return 0;
}

void kvm_vfio_close(struct kvm_vfio *vfio)
{
	while (vfio->count > 0) {
		int file = vfio->files[--vfio->count];

		(void)set(vfio, VFIO_FILE_DEL,
			  file); /* what it keeps, it keeps until the VM ends */
		(void)close(file);
	}
	if (vfio->fd >= 0)
		(void)close(vfio->fd);
	vfio->fd = -1;
}
