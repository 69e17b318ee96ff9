/* SPDX-License-Identifier: BSD-3-Clause */
/* The small parts of the main loop: sources of events. */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>

#include "vmm/control-loop.h"

int loop_watch(int epoll_fd, struct loop_source *source, uint32_t events, struct hf_error *err)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	assert(source->fd >= 0 && source->ready);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, source->fd, &event) == 0)
		return 0;
	if (errno == EEXIST && epoll_ctl(epoll_fd, EPOLL_CTL_MOD, source->fd, &event) == 0)
		return 0;
	return control_error(err, HF_E_SYSTEM, errno, "waiting for descriptor %d", source->fd);
}

void loop_forget(int epoll_fd, struct loop_source *source)
{
	if (source->fd >= 0)
		(void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL); /* if it was there */
}
