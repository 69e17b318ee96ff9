/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the host says about a device, by two interrupts that are not for the guest: ERR, the device
 * has had an error that its driver cannot correct (PCI: a fatal error reported by AER); REQ, the
 * host wants the device back, and its driver waits until the VMM lets go of it. Here they are only
 * noticed; what follows is the machine's business.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fail.h"
#include "pci-device.h"

static const uint32_t indexes[HOST_EVENTS] = {
	[HOST_ERROR] = IRQ_INDEX_ERR,
	[HOST_REQUEST] = IRQ_INDEX_REQ,
};

static int one_new(struct pci_device *device, enum host_event which, struct hf_error *err)
{
	const struct hf_device_ops *ops = device->device.ops;
	struct host_event_source *source = &device->host[which];
	uint32_t count = 0;
	int r = ops->irq_count(device->device.self, indexes[which], &count);

	if (r == -EINVAL || (r >= 0 && count == 0))
		return 0; /* it has none of these */
	if (r >= 0) {
		source->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (source->fd < 0)
			return fail(err, HF_E_SYSTEM, errno, "an eventfd");
		r = ops->irqs_set(device->device.self, indexes[which], 1, &source->fd);
		source->armed = r >= 0;
	}
	return r < 0 ? fail(err, HF_E_DEVICE_CONFIG, -r, "its host's interrupt %u", indexes[which])
		     : 0;
}

int host_events_new(struct pci_device *device, struct hf_error *err)
{
	int r = 0;

	for (uint32_t i = 0; i < HOST_EVENTS; i++)
		device->host[i].fd = -1;
	for (uint32_t i = 0; i < HOST_EVENTS && r == 0; i++)
		r = one_new(device, (enum host_event)i, err);
	return r;
}

void host_events_free(struct pci_device *device)
{
	for (uint32_t i = 0; i < HOST_EVENTS; i++) {
		struct host_event_source *source = &device->host[i];

		if (source->armed)
			(void)device->device.ops->irqs_set(device->device.self, indexes[i], 0,
							   NULL); /* closing it does the same */
		if (source->armed || source->fd > 0)
			(void)close(source->fd);
		*source = (struct host_event_source){ .fd = -1 };
	}
}

int pci_host_watch(struct pci *pci, int epoll_fd, struct hf_error *err)
{
	struct epoll_event news = { .events = EPOLLIN };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pci->news_fd, &news) < 0)
		return fail(err, HF_E_SYSTEM, errno, "waiting for what devices refuse");
	for (uint32_t i = 0; i < pci->device_count; i++)
		for (uint32_t j = 0; j < HOST_EVENTS; j++) {
			int fd = pci->devices[i]->host[j].fd;
			struct epoll_event event = { .events = EPOLLIN };

			if (fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
				return fail(err, HF_E_SYSTEM, errno, "waiting for device %s",
					    pci->devices[i]->name);
		}
	return 0;
}

uint32_t pci_host_events(struct pci *pci, enum host_event which)
{
	uint32_t devices = 0;

	(void)pthread_mutex_lock(&pci->lock); /* a plain mutex, not ours yet: cannot fail */
	for (uint32_t i = 0; i < pci->device_count; i++) {
		struct host_event_source *source = &pci->devices[i]->host[which];
		uint64_t count;

		if (source->fd >= 0 &&
		    read(source->fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
			source->happened = true;
		if (source->happened)
			devices |= 1u << i;
	}
	(void)pthread_mutex_unlock(&pci->lock);
	return devices;
}

const char *pci_device_name(const struct pci *pci, uint32_t index)
{
	return pci->devices[index]->name;
}
