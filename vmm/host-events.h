/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the host says about a device, by two interrupts that are not for the guest: ERR, the device
 * has had an error that its driver cannot correct (PCI: a fatal error reported by AER); REQ, the
 * host wants the device back, and its driver waits until the VMM lets go of it. Here they are only
 * noticed; what follows is the guest's business (kvm-guest.c, thread-guest-host.c), and so is the
 * lock around it all.
 */
#ifndef VMM_HOST_EVENTS_H
#define VMM_HOST_EVENTS_H

#include <stdbool.h>

#include <holdfast/backend.h>

enum host_event {
	HOST_ERROR, /* it has had an error that nobody corrects */
	HOST_REQUEST, /* it is wanted back */
};
#define HOST_EVENTS 2u

/* What is said of HOST_ERROR; with the device's name. */
#define HOST_ERROR_TEXT "device %s has had an error that cannot be corrected (VFIO's ERR)"

/* Of one device. Zeroed, there is none of these. */
struct host_events {
	struct {
		bool made; /* there is an eventfd */
		int fd; /* the device has it */
		bool happened; /* for ever */
	} sources[HOST_EVENTS];
};

/* The text does not name the device. A device that has none of these interrupts is no error. */
int host_events_new(struct host_events *events, const struct hf_device *device,
		    struct hf_error *err);
void host_events_free(struct host_events *events, const struct hf_device *device);

/* An epoll descriptor becomes readable with each of them. 0 or -errno. */
int host_events_watch(const struct host_events *events, int epoll_fd);

/* Has it happened, at any time until now? What was to be read has been. */
bool host_event_happened(struct host_events *events, enum host_event which);

#endif
