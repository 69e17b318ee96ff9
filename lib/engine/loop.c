/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"

int loop_init(struct session *session, struct hf_error *err)
{
	session->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (session->epoll_fd < 0)
		return error_set(err, HF_E_SYSTEM, errno, "epoll_create1");
	session->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (session->wake_fd < 0)
		return error_set(err, HF_E_SYSTEM, errno, "eventfd");
	loop_watch(session, session->wake_fd, LOOP_WAKE);
	loop_watch(session, session->completions.event_fd, LOOP_COMPLETIONS);
	return 0;
}

void loop_done(struct session *session)
{
	if (session->wake_fd >= 0)
		(void)close(session->wake_fd);
	if (session->epoll_fd >= 0)
		(void)close(session->epoll_fd);
}

void loop_watch(struct session *session, int fd, uint32_t tag)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = tag };

	/* Only ENOMEM or a limit of the system can make this fail; then deadlines end the session.
	 */
	(void)epoll_ctl(session->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

void loop_unwatch(struct session *session, int fd)
{
	(void)epoll_ctl(session->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* it may be gone already */
}

void loop_wake(struct session *session)
{
	uint64_t one = 1;

	(void)!write(session->wake_fd, &one, sizeof(one)); /* full: it is readable anyway */
}
