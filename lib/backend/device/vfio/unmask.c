/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * INTx of a device whose driver takes no eventfd for unmasking (ENOTTY; the kernel's sample mtty is
 * one): a thread waits for the caller's eventfd in its place, and unmasks by ioctl. One for such a
 * device, as long as its INTx is armed.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/device/vfio/sys.h"
#include "backend/device/vfio/uapi.h"
#include "backend/device/vfio/vfio.h"

static void unmask(const struct vfio_unmask *u)
{
	struct vfio_irq_set set = { .argsz = sizeof(set),
				    .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
				    .index = VFIO_PCI_INTX_IRQ_INDEX,
				    .count = 1 };

	/* A device that does not take it stays masked, as it would by its own eventfd. */
	(void)vfio_sys->ioctl(u->device_fd, VFIO_DEVICE_SET_IRQS, &set);
}

static void *unmasker(void *arg)
{
	const struct vfio_unmask *u = arg;

	for (;;) {
		struct pollfd fds[2] = { { .fd = u->stop_fd, .events = POLLIN },
					 { .fd = u->event_fd, .events = POLLIN } };
		eventfd_t count;

		if (poll(fds, 2, -1) < 0)
			continue; /* EINTR: all signals are blocked, but a debugger's */
		if (fds[0].revents)
			return NULL;
		if (eventfd_read(u->event_fd, &count) == 0)
			unmask(u);
	}
}

int vfio_unmask_start(struct vfio *v, int event_fd)
{
	struct vfio_unmask *u = &v->unmask;
	sigset_t all, before;
	int r;

	u->event_fd = event_fd;
	u->device_fd = v->member.fd;
	u->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (u->stop_fd < 0)
		return -errno;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's */
	r = -pthread_create(&u->thread, NULL, unmasker, u);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		(void)close(u->stop_fd);
	u->runs = r == 0;
	return r;
}

void vfio_unmask_stop(struct vfio *v)
{
	struct vfio_unmask *u = &v->unmask;

	if (!u->runs)
		return;
	(void)eventfd_write(u->stop_fd, 1);
	(void)pthread_join(u->thread, NULL);
	(void)close(u->stop_fd);
	u->runs = 0;
}
