/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the main loop hears of a thread guest, by one descriptor: what its vCPUs tell, and what the
 * host says of its devices (host-events.h). A guest whose device has had an error ends; one that
 * has not run yet is refused instead, since it may be whole elsewhere.
 */
#include "thread-guest.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fail.h"

int thread_host_open(struct thread_guest *guest, struct hf_error *err)
{
	struct epoll_event event = { .events = EPOLLIN };

	guest->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	guest->guest.event_fd = epoll_create1(EPOLL_CLOEXEC);
	if (guest->wake_fd < 0 || guest->guest.event_fd < 0 ||
	    epoll_ctl(guest->guest.event_fd, EPOLL_CTL_ADD, guest->wake_fd, &event) < 0)
		return fail(err, HF_E_SYSTEM, errno, "descriptors for the guest's events");
	return 0;
}

void thread_host_close(struct thread_guest *guest)
{
	if (guest->guest.event_fd >= 0)
		(void)close(guest->guest.event_fd);
	if (guest->wake_fd >= 0)
		(void)close(guest->wake_fd);
}

int thread_host_watch(struct thread_guest *guest, uint32_t index, struct hf_error *err)
{
	const struct hf_session_device *device = &guest->guest.devices[index];
	struct host_events *host = &guest->devices[index].host;
	int r = host_events_new(host, &device->device, err);

	if (r != 0) {
		(void)fail_prefix(err, "%s", device->name);
		return r;
	}
	r = host_events_watch(host, guest->guest.event_fd);
	return r < 0 ? fail(err, HF_E_SYSTEM, -r, "%s: waiting for it", device->name) : 0;
}

/* Bit i: of device i. Any thread. */
static uint32_t host_says(struct thread_guest *guest, enum host_event which)
{
	uint32_t devices = 0;

	(void)pthread_mutex_lock(&guest->lock); /* a plain mutex, not ours yet: cannot fail */
	for (uint32_t i = 0; i < guest->guest.device_count; i++)
		if (host_event_happened(&guest->devices[i].host, which))
			devices |= 1u << i;
	(void)pthread_mutex_unlock(&guest->lock);
	return devices;
}

static const char *first_name(const struct thread_guest *guest, uint32_t devices)
{
	return guest->guest.devices[__builtin_ctz(devices)].name;
}

int thread_host_check(struct thread_guest *guest, struct hf_error *err)
{
	uint32_t broken = host_says(guest, HOST_ERROR);

	if (broken == 0)
		return 0;
	return fail(err, HF_E_DEVICE_STATE, 0, HOST_ERROR_TEXT, first_name(guest, broken));
}

void thread_host_crash(struct thread_guest *guest)
{
	uint32_t broken = host_says(guest, HOST_ERROR);

	if (broken == 0 || !atomic_load(&guest->has_run))
		return;
	(void)pthread_mutex_lock(&guest->lock);
	if (!atomic_load(&guest->crashed)) {
		guest->guest.broken_by_device = true;
		(void)snprintf(guest->guest.crash_text, sizeof(guest->guest.crash_text),
			       HOST_ERROR_TEXT, first_name(guest, broken));
		atomic_store(&guest->crashed, true); /* what it says was written before */
		atomic_store(&guest->run, false);
		(void)pthread_cond_broadcast(&guest->changed);
		thread_guest_tell(guest, GUEST_EVENT_CRASH);
	}
	(void)pthread_mutex_unlock(&guest->lock);
}

void thread_guest_tell(struct thread_guest *guest, uint32_t events)
{
	const uint64_t one = 1;

	(void)atomic_fetch_or(&guest->events, events);
	/* It only fails when it is readable already. */
	(void)!write(guest->wake_fd, &one, sizeof(one));
}

uint32_t thread_guest_events(struct guest *base)
{
	struct thread_guest *guest = (struct thread_guest *)base;
	uint32_t wanted = host_says(guest, HOST_REQUEST);
	uint64_t count;

	thread_host_crash(guest);
	/* First the fd, then the flags: an event in between is told twice, never lost. */
	(void)!read(guest->wake_fd, &count, sizeof(count)); /* EAGAIN: there was none */
	if ((wanted & ~base->devices_wanted) != 0)
		atomic_fetch_or(&guest->events, GUEST_EVENT_DEVICE_WANTED);
	base->devices_wanted = wanted;
	return atomic_exchange(&guest->events, 0);
}
