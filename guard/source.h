/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The source's side of a guard: a session's machine and devices above a QEMU that migrates by
 * itself. QEMU copies and stops its guest when it will; the guard owns the other end of its main
 * connection, and by it what becomes of the guest: SHUT(0) ends it, SHUT(1) brings it back.
 *
 * The hold: before the guest is offered, QEMU is given a descriptor of that other end. From then
 * on nothing that happens to the guard closes the connection, upon which QEMU would run the guest
 * again by itself; it waits, stopped and whole, until somebody decides.
 */
#ifndef GUARD_SOURCE_H
#define GUARD_SOURCE_H

#include <pthread.h>

#include "guard/facade.h"
#include "guard/link.h"

struct guard_source_options {
	const char *migrate_uri; /* where QEMU is to connect to: "unix:PATH" */
	uint32_t multifd; /* channels; 0: none */
	uint64_t downtime_us, bandwidth; /* of QEMU's parameters; bandwidth 0: no limit */
	bool auto_converge;
	bool restart; /* its migration was an earlier process' */
};

struct guard_source {
	struct facade_side side;
	struct guard_source_options options;
	struct link *link;
	struct hf_ledger ledger; /* below the one that holds first; empty: there is none */
	bool ran; /* the guest, when it began */
	bool begun; /* QEMU was told to migrate, and has not been brought back */
	bool held;
	pthread_mutex_t lock; /* of this: */
	struct qemu_migration shown; /* the last look, for who shows it */
};

/* QEMU is looked at, nothing is changed. link may come later, before the session begins. */
int guard_source_init(struct guard_source *source, struct qemu *qemu,
		      const struct guard_source_options *options, struct hf_error *err);
void guard_source_done(struct guard_source *source);

struct hf_machine guard_source_machine(struct guard_source *source);

/* What QEMU said last of its migration and its guest. Any thread. */
void guard_source_shown(struct guard_source *source, struct qemu_migration *ret_migration);

/*
 * ledger, but the guest is held before an offer of it is written. It owns ledger. ("none" is left
 * as it is: the guest is held as soon as it has stopped.)
 */
struct hf_ledger guard_source_ledger(struct guard_source *source, struct hf_ledger ledger);

/* Without a session, after a restart: QEMU's migration ends, and its guest runs if it ran. */
int guard_source_take_home(struct guard_source *source, struct hf_error *err);

/*
 * The session has ended as AWAY: let QEMU complete, and end its process if quit. What the guest was
 * here is gone then. Errors do not change that it is away.
 */
int guard_source_release(struct guard_source *source, bool quit, struct hf_error *err);

#endif
