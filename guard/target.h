/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target's side of a guard: a session's machine and devices above a QEMU that loads by itself
 * and starts nothing. What QEMU says on its return path passes, but for the last word (SHUT), which
 * is the guard's to say. The guest's VFIO devices are taken out of QEMU (vfio-take.h), and make
 * their arcs here, where a refusal is seen.
 */
#ifndef GUARD_TARGET_H
#define GUARD_TARGET_H

#include <pthread.h>
#include <stdatomic.h>

#include "guard/facade.h"

struct guard_target_options {
	const char *incoming_uri; /* where QEMU is to listen: "unix:PATH" */
	pid_t pid; /* of QEMU; 0: as its control socket tells */
	bool trust; /* devices that cannot be seen are left to QEMU */
	/* Or NULL: the plan is known, before anything comes of it. */
	int (*planned)(void *ctx, const struct facade_plan *plan, struct hf_error *err);
	void *ctx;
};

struct guard_target {
	struct facade_side side;
	struct guard_target_options options;
	struct facade_plan plan; /* the source's, from its greeting on */
	json_t *settings; /* its QEMU's (settings.h) */
	atomic_bool quit; /* QEMU was told to end, or has */
	char unproved[HF_ERROR_TEXT_MAX]; /* why its VFIO devices are not; "": they are */
	/* What the load is like; under lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum { LOAD_OPEN, LOAD_DONE, LOAD_FAILED } load;
	bool shut; /* it has said its last word, */
	uint32_t shut_value; /* which is this */
	/* The return path; the link's thread owns this. */
	uint8_t partial[8]; /* the beginning of a message */
	uint32_t partial_length, body_left;
};

/* QEMU is looked at, and its devices are taken. Nothing is changed. */
int guard_target_init(struct guard_target *target, struct qemu *qemu,
		      const struct guard_target_options *options, struct hf_error *err);
void guard_target_done(struct guard_target *target);

struct hf_machine guard_target_machine(struct guard_target *target);

/* link_config.filter: ctx is the target. */
size_t guard_target_filter(void *ctx, uint32_t index, uint8_t *buf, size_t size);

/* QEMU has said its last word, and it was good. Any thread. */
bool guard_target_has_loaded(struct guard_target *target);

/* Its connection ended before that: why, as far as QEMU can still say. */
void guard_target_why(struct guard_target *target, struct hf_error *err);

/* No vCPU runs here, and none will: QEMU is gone afterwards. Idempotent. */
int guard_target_discard(struct guard_target *target, struct hf_error *err);

#endif
