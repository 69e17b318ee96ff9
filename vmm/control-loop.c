/* SPDX-License-Identifier: BSD-3-Clause */
/* The small parts of the main loop: sources of events, and words for failures. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
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

int control_error(struct hf_error *err, int code, int cause, const char *format, ...)
{
	va_list args;
	size_t used;

	assert(code < 0 && cause >= 0);
	if (!err)
		return code;
	if (err->code)
		return err->code;
	memset(err, 0, sizeof(*err));
	err->code = code;
	err->cause = cause;
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, args); /* cut short is fine */
	va_end(args);
	if (cause) {
		used = strlen(err->text);
		(void)snprintf(err->text + used, sizeof(err->text) - used, ": %s (errno %d)",
			       strerror(cause), cause);
	}
	return code;
}
