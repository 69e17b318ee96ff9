/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fault handler for kernels before 6.7: the first write to a protected page waits until a
 * thread of ours has noted the page and unprotected it.
 *
 * Noting and unprotecting are one step under the lock, and so are taking the notes and protecting
 * again. Otherwise a page could be taken after it was noted and unprotected after it was taken: the
 * write that follows would be seen by nobody.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/memory/userfault.h"
#include "base/bitmap.h"

#define MESSAGES_MAX 64u /* read at once */

/* Note the page and let its writer go on. */
static int note(struct userfault *uf, uint64_t address)
{
	int r = 0;

	for (uint32_t i = 0; i < uf->count; i++) {
		const struct userfault_region *region = &uf->regions[i];
		uint64_t page = (address - region->start) >> HF_PAGE_SHIFT;

		if (address < region->start || page >= region->pages)
			continue;
		(void)pthread_mutex_lock(&uf->lock);
		bitmap_set(region->pending, page);
		r = userfault_protect(uf, region, page, 1, false);
		(void)pthread_mutex_unlock(&uf->lock);
		/* ENOENT, ESRCH: the mapping or the process is going away; so is the writer. */
		return r == -ENOENT || r == -ESRCH ? 0 : r;
	}
	return -EPROTO;
}

static int handle(struct userfault *uf)
{
	struct uffd_msg messages[MESSAGES_MAX];
	ssize_t n;
	int r;

	n = read(uf->fd, messages, sizeof(messages));
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (size_t i = 0; i < (size_t)n / sizeof(messages[0]); i++) {
		if (messages[i].event != UFFD_EVENT_PAGEFAULT)
			continue; /* no other was asked for */
		r = note(uf, messages[i].arg.pagefault.address);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Nobody may wait for a thread that has failed: all becomes writable, and sync says why. */
static void give_up(struct userfault *uf, int failure)
{
	(void)pthread_mutex_lock(&uf->lock);
	uf->failure = failure; /* under the lock: nothing is protected after it is set */
	for (uint32_t i = 0; i < uf->count; i++)
		(void)userfault_protect(uf, &uf->regions[i], 0, uf->regions[i].pages, false);
	(void)pthread_mutex_unlock(&uf->lock);
}

static void *handler(void *arg)
{
	struct userfault *uf = arg;
	struct pollfd fds[2] = { { .fd = uf->fd, .events = POLLIN },
				 { .fd = uf->stop_fd, .events = POLLIN } };
	int r = 0;

	while (r == 0) {
		if (poll(fds, 2, -1) < 0) { /* ends by stop_fd */
			r = errno == EINTR ? 0 : -errno;
			continue;
		}
		if (fds[1].revents)
			return NULL;
		if (fds[0].revents & POLLERR)
			r = -EIO;
		else if (fds[0].revents)
			r = handle(uf);
	}
	give_up(uf, r);
	return NULL;
}

int userfault_thread_start(struct userfault *uf)
{
	int r;

	uf->failure = 0;
	uf->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (uf->stop_fd < 0)
		return -errno;
	r = pthread_create(&uf->thread, NULL, handler, uf);
	if (r) {
		(void)close(uf->stop_fd);
		uf->stop_fd = -1;
		return -r;
	}
	(void)pthread_mutex_lock(&uf->lock);
	r = uf->failure;
	for (uint32_t i = 0; i < uf->count && r == 0; i++)
		r = userfault_protect(uf, &uf->regions[i], 0, uf->regions[i].pages, true);
	(void)pthread_mutex_unlock(&uf->lock);
	if (r < 0) {
		give_up(uf, r);
		userfault_thread_stop(uf);
	}
	return r;
}

/* Protect again what is noted in a region, in runs. */
static int protect_pending(const struct userfault *uf, const struct userfault_region *region)
{
	uint64_t end, at = bitmap_next_set(region->pending, region->pages, 0);
	int r;

	while (at < region->pages) {
		end = bitmap_next_clear(region->pending, region->pages, at);
		r = userfault_protect(uf, region, at, end - at, true);
		if (r < 0)
			return r;
		at = bitmap_next_set(region->pending, region->pages, end);
	}
	return 0;
}

int userfault_thread_sync(struct userfault *uf)
{
	int r;

	(void)pthread_mutex_lock(&uf->lock);
	r = uf->failure;
	for (uint32_t i = 0; i < uf->count && r == 0; i++)
		r = protect_pending(uf, &uf->regions[i]);
	if (r == 0)
		userfault_publish(uf);
	(void)pthread_mutex_unlock(&uf->lock);
	return r;
}

void userfault_thread_stop(struct userfault *uf)
{
	assert(uf->stop_fd >= 0);
	(void)eventfd_write(uf->stop_fd, 1);
	(void)pthread_join(uf->thread, NULL);
	(void)close(uf->stop_fd);
	uf->stop_fd = -1;
}
