/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guard's control socket: QMP with the commands of a guest's own process (holdfast-run(1)) that
 * mean something to a guard, so that the same programs ask both. It has a thread of its own, so it
 * answers whatever the handover waits for; functions here may be called from any thread.
 */
#ifndef TOOLS_GUARD_CONTROL_H
#define TOOLS_GUARD_CONTROL_H

#include <limits.h>

#include <holdfast/session.h>

#include "guard/guard.h"

#define GUARD_CONTROL_FILTER_MAX 128u

/* What `migrate` asked a guard that stands for; 0 and "": as the guard was started. */
struct guard_request {
	char uri[HF_URI_MAX];
	uint32_t connections;
	uint64_t downtime_us, bandwidth, deadline_us;
	uint32_t filter_count;
	char filters[GUARD_FILTERS_MAX][GUARD_CONTROL_FILTER_MAX];
};

struct guard_control_config {
	enum hf_role role;
	const char *path; /* of the socket */
	const char *guest, *ledger, *qmp; /* as in struct guard_options; they outlive it */
};

struct guard_control;

/* Listen, mode 0600. Errors as of qmp_server_open(): HF_E_BUSY is another guard of this guest. */
int guard_control_new(const struct guard_control_config *config, struct guard_control **ret_control,
		      struct hf_error *err);

/*
 * Stand until somebody wants the guest handed over: 1, and *ret_request; or until `quit`, or
 * signal_fd is readable: 0.
 */
int guard_control_wait(struct guard_control *control, int signal_fd,
		       struct guard_request *ret_request);

/* A handover begins, by itself or as it was asked for; guard may be asked from now on. */
void guard_control_begin(struct guard_control *control, const char *uri, struct guard *guard);

void guard_control_listening(struct guard_control *control, const char *uri);
void guard_control_event(struct guard_control *control, const struct hf_event *event);

/* It has ended, and the guard is not asked any more: it may be freed. err may be empty. */
void guard_control_end(struct guard_control *control, enum hf_outcome outcome,
		       const struct hf_error *err);

/*
 * Close, once those who are connected have left: they are told how it ended, and have a few seconds
 * to ask. Takes NULL, returns NULL.
 */
struct guard_control *guard_control_free(struct guard_control *control);

#endif
