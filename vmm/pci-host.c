/* SPDX-License-Identifier: BSD-3-Clause */
/* What the host says about the devices of the bus (host-events.h). */
#include <errno.h>
#include <sys/epoll.h>

#include "fail.h"
#include "pci-device.h"

int pci_host_watch(struct pci *pci, int epoll_fd, struct hf_error *err)
{
	struct epoll_event news = { .events = EPOLLIN };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pci->news_fd, &news) < 0)
		return fail(err, HF_E_SYSTEM, errno, "waiting for what devices refuse");
	for (uint32_t i = 0; i < pci->device_count; i++) {
		int r = host_events_watch(&pci->devices[i]->host, epoll_fd);

		if (r < 0)
			return fail(err, HF_E_SYSTEM, -r, "waiting for device %s",
				    pci->devices[i]->name);
	}
	return 0;
}

uint32_t pci_host_events(struct pci *pci, enum host_event which)
{
	uint32_t devices = 0;

	(void)pthread_mutex_lock(&pci->lock); /* a plain mutex, not ours yet: cannot fail */
	for (uint32_t i = 0; i < pci->device_count; i++)
		if (host_event_happened(&pci->devices[i]->host, which))
			devices |= 1u << i;
	(void)pthread_mutex_unlock(&pci->lock);
	return devices;
}

const char *pci_device_name(const struct pci *pci, uint32_t index)
{
	return pci->devices[index]->name;
}
