/* SPDX-License-Identifier: BSD-3-Clause */
/* See host-events.h. */
#include "host-events.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fail.h"

/* VFIO's indexes (linux/vfio.h, VFIO_PCI_*). */
static const uint32_t indexes[HOST_EVENTS] = {
	[HOST_ERROR] = 3,
	[HOST_REQUEST] = 4,
};

static int one_new(struct host_events *events, enum host_event which,
		   const struct hf_device *device, struct hf_error *err)
{
	uint32_t count = 0;
	int fd, r = device->ops->irq_count(device->self, indexes[which], &count);

	if (r == -EINVAL || (r >= 0 && count == 0))
		return 0; /* it has none of these */
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its host's interrupt %u", indexes[which]);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return fail(err, HF_E_SYSTEM, errno, "an eventfd");
	r = device->ops->irqs_set(device->self, indexes[which], 1, &fd);
	if (r < 0) {
		(void)close(fd);
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its host's interrupt %u", indexes[which]);
	}
	events->sources[which].fd = fd;
	events->sources[which].made = true;
	return 0;
}

int host_events_new(struct host_events *events, const struct hf_device *device,
		    struct hf_error *err)
{
	int r = one_new(events, HOST_ERROR, device, err);

	return r == 0 ? one_new(events, HOST_REQUEST, device, err) : r;
}

void host_events_free(struct host_events *events, const struct hf_device *device)
{
	for (uint32_t i = 0; i < HOST_EVENTS; i++) {
		if (!events->sources[i].made)
			continue;
		/* Closing the device does the same. */
		(void)device->ops->irqs_set(device->self, indexes[i], 0, NULL);
		(void)close(events->sources[i].fd);
		events->sources[i].made = false;
	}
}

int host_events_watch(const struct host_events *events, int epoll_fd)
{
	for (uint32_t i = 0; i < HOST_EVENTS; i++) {
		struct epoll_event event = { .events = EPOLLIN };

		if (events->sources[i].made &&
		    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, events->sources[i].fd, &event) < 0)
			return -errno;
	}
	return 0;
}

bool host_event_happened(struct host_events *events, enum host_event which)
{
	uint64_t count;

	if (events->sources[which].made &&
	    read(events->sources[which].fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
		events->sources[which].happened = true;
	return events->sources[which].happened;
}
