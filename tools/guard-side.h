/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One side of a guard's handover, as `holdfast guard` runs it and tells of it: on standard output,
 * and to those who ask at its control socket.
 */
#ifndef TOOLS_GUARD_SIDE_H
#define TOOLS_GUARD_SIDE_H

#include "guard/guard.h"
#include "tools/command.h"
#include "tools/guard-control.h"

struct side {
	const struct command *command;
	const char *name; /* "source", "target" */
	struct guard_options options;
	int cancel_fd; /* readable: cancel */
	bool json;
	/* The rest is zero at first. */
	struct guard_control *control;
	struct guard *guard;
	char listening[HF_URI_MAX]; /* target: where; "": not yet */
	struct hf_error err;
	enum hf_outcome outcome;
	int result;
};

/* Its control socket; once, before all else. 0, or the exit status after a sentence. */
int side_listen(struct side *side);

/* Look at QEMU and check everything that can be. 0, or a negative code and side->err. */
int side_open(struct side *side);

/* The handover, to its end. A thread's function: ctx is the side. Returns NULL. */
void *side_run(void *ctx);

/* Tell how it ended; the exit status. */
int side_tell(const struct side *side);

/* Source: stand, and hand over as often as it is asked for, until the guest is away. */
int side_stand(struct side *side);

/* The guard of the last handover is gone. */
void side_close(struct side *side);

/* And the control socket. */
void side_done(struct side *side);

#endif
