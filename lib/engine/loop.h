/* SPDX-License-Identifier: BSD-3-Clause */
/* What the loop thread waits for: one epoll descriptor, which hf_session_fd() hands out. */
#ifndef ENGINE_LOOP_H
#define ENGINE_LOOP_H

#include "engine/session.h"

/* What a watched descriptor belongs to; pending connections count up from LOOP_PENDING. */
enum loop_tag {
	LOOP_WAKE = 1,
	LOOP_COMPLETIONS = 2,
	LOOP_CONTROL = 3,
	LOOP_LISTENER = 4,
	LOOP_PENDING = 16,
};

int loop_init(struct session *session, struct hf_error *err);
void loop_done(struct session *session);
void loop_watch(struct session *session, int fd, uint32_t tag);
void loop_unwatch(struct session *session, int fd);
/* Make hf_session_fd() readable; any thread. */
void loop_wake(struct session *session);

#endif
