/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One handover between two QEMUs, seen from one side: a session above a QEMU (source.h, target.h)
 * and the link to the other guard (link.h). docs/guard.md.
 */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <holdfast/session.h>

#define GUARD_FILTERS_MAX 16u

struct guard_options {
	enum hf_role role;
	const char *qmp; /* QEMU's control socket */
	const char *uri; /* the link: the source connects, the target listens */
	const char *guest; /* its name in the ledger */
	const char *ledger;
	const char *dir; /* for sockets, and what is kept for a restart; it exists */
	const char *filters[GUARD_FILTERS_MAX];
	uint32_t filter_count;
	const char *record; /* a file, or NULL */
	/* Source. */
	uint32_t connections, multifd;
	uint64_t downtime_us, bandwidth, deadline_us;
	bool auto_converge, stay; /* stay: QEMU's process is not ended when its guest is away */
	bool register_; /* the guest was booted here: the ledger is told so first */
	/* Target. */
	bool trust;
	/* Both. 0: the default */
	pid_t pid; /* QEMU's, if its control socket cannot tell */
	bool restart; /* the guard before this one died: find out whose the guest is */
	uint64_t link_us, device_us, ledger_us, doubt_us;
};

/* What is told while it runs; from the thread that runs it, or the link's. */
struct guard_listener {
	void (*listening)(void *ctx, const char *uri); /* target: where */
	void (*event)(void *ctx, const struct hf_event *event); /* the session's */
	void (*link)(void *ctx, const char *what, const char *text); /* "lost", "back", ... */
	/* Something was not done as it should be: what, and why. */
	void (*remark)(void *ctx, const char *what, const char *why);
	void (*copy)(void *ctx, uint64_t remaining, uint64_t total); /* bytes of RAM; each second */
	void *ctx;
};

struct guard;

/* Connect to QEMU, look at it, check everything that can be. The guest is not touched. */
int guard_new(const struct guard_options *options, const struct guard_listener *listener,
	      struct guard **ret_guard, struct hf_error *err);

/*
 * To the end: *ret_outcome, with the reason in err if it is not AWAY or RUNNING. cancel_fd: when it
 * is readable, the handover is cancelled (-1: never). An error of its own is negative, and then the
 * outcome is what is known of it.
 */
int guard_run(struct guard *guard, int cancel_fd, enum hf_outcome *ret_outcome,
	      struct hf_error *err);

/* As hf_session_cancel(). Any thread, while the guard lives; as all below. */
int guard_cancel(struct guard *guard);

#define GUARD_STATE_MAX 32

/* The session's progress, with the memory as QEMU counts it; and the guest's run state there. */
void guard_progress(struct guard *guard, struct hf_progress *ret_progress,
		    char ret_run_state[static GUARD_STATE_MAX]);

const char *guard_qemu_version(const struct guard *guard);

/* What the session has for devices: "qemu" and the guest's VFIO devices. */
const struct hf_session_device *guard_devices(const struct guard *guard, uint32_t *ret_count);

/* Takes NULL, returns NULL. */
struct guard *guard_free(struct guard *guard);

#endif
