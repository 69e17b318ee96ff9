/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the main loop of a VMM process waits for, and how failures get their words there. The loop
 * itself is in vmm/control.c. One thread owns all of it.
 */
#ifndef VMM_CONTROL_LOOP_H
#define VMM_CONTROL_LOOP_H

#include <stdint.h>

#include <holdfast/error.h>

/* Something with a descriptor; embedded in what it belongs to. */
struct loop_source {
	int fd;
	/* events are EPOLL*. The source may remove itself; the loop takes one event at a time. */
	void (*ready)(struct loop_source *source, uint32_t events);
};

/* Wait for events (EPOLLIN, ...) of the source; again with others to change them. */
int loop_watch(int epoll_fd, struct loop_source *source, uint32_t events, struct hf_error *err);

/* No longer; before the descriptor is closed. A source without descriptor (-1) is fine. */
void loop_forget(int epoll_fd, struct loop_source *source);

/* Words for a failure; by that name since there is a fail() of the commands' own. */
#define control_error hf_error_set

#endif
