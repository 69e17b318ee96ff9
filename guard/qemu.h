/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A QEMU, by its control socket (QMP): what it is, what it does, and how its migration goes. Any
 * thread may call; calls wait for each other, and qemu_wait() lets others in while it waits.
 * QEMU's own words are in every error; HF_E_CONNECTION_LOST says that it is gone.
 */
#ifndef GUARD_QEMU_H
#define GUARD_QEMU_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include <holdfast/error.h>
#include <holdfast/types.h>

struct qemu;

#define QEMU_NAME_MAX 32

/* Connect to it: a socket's path, "unix:PATH" or "tcp:HOST:PORT". Before 7.2: UNSUPPORTED. */
int qemu_open(const char *address, struct qemu **ret_qemu, struct hf_error *err);

/* Takes NULL, returns NULL. QEMU itself is left as it is. */
struct qemu *qemu_close(struct qemu *qemu);

/* For an answer; a QEMU at work may take long (default: 30 s, which is the most). Before others
 * call. */
void qemu_wait_at_most(struct qemu *qemu, uint64_t ns);

const char *qemu_version(const struct qemu *qemu); /* "7.2.22" */

/* The process behind the socket; 0 if that cannot be known (TCP). */
pid_t qemu_pid(const struct qemu *qemu);

/*
 * Execute a command; arguments are given away (NULL: none). The answer is the caller's; NULL:
 * failed, and err says which command. qemu_do() has no use for the answer.
 */
json_t *qemu_call(struct qemu *qemu, const char *command, json_t *arguments, struct hf_error *err);
int qemu_do(struct qemu *qemu, const char *command, json_t *arguments, struct hf_error *err);

/* Give it a descriptor, which stays the caller's too, under a name; and let it close it again. */
int qemu_give(struct qemu *qemu, const char *name, int fd, struct hf_error *err);
int qemu_take_back(struct qemu *qemu, const char *name, struct hf_error *err);

/* Its run state, as query-status names it: "running", "paused", "inmigrate", ... */
int qemu_run_state(struct qemu *qemu, char ret_state[QEMU_NAME_MAX], struct hf_error *err);

/* What query-migrate says. */
struct qemu_migration {
	char status[QEMU_NAME_MAX]; /* "none" if there was no migration */
	char run_state[QEMU_NAME_MAX]; /* qemu_wait() only */
	char reason[HF_ERROR_TEXT_MAX]; /* error-desc, or "" */
	uint64_t remaining; /* bytes of RAM, as it counted them last */
	uint64_t total; /* bytes of RAM */
	uint64_t syncs; /* how often it has asked which pages were written */
	uint64_t dirty_rate; /* bytes per second, at the last of these */
	uint64_t sent; /* bytes of RAM */
	uint64_t normal, zero; /* pages */
	uint64_t rate; /* bytes per second */
	uint64_t expected_us; /* of stand-still */
	uint32_t throttle; /* per cent */
};

int qemu_migration(struct qemu *qemu, struct qemu_migration *ret_migration, struct hf_error *err);

/*
 * Wait until done() says so of its migration and run state, which are asked for again after every
 * event of QEMU. deadline_ns is on CLOCK_MONOTONIC. Errors: HF_E_DEADLINE; HF_E_CONNECTION_LOST.
 */
int qemu_wait(struct qemu *qemu, bool (*done)(const struct qemu_migration *migration),
	      uint64_t deadline_ns, struct qemu_migration *ret_migration, struct hf_error *err);

/* Statuses of a migration that has ended, well or not. */
bool qemu_ended(const struct qemu_migration *migration);

/*
 * Tell it to end, and wait until it has; one that is gone already has. One that does not answer, or
 * has not ended by the deadline, is killed, if its process is known: who asks for its end needs
 * that it never runs its guest again. Errors: HF_E_DEADLINE, HF_E_SYSTEM (it cannot be killed).
 */
int qemu_quit(struct qemu *qemu, uint64_t deadline_ns, struct hf_error *err);
bool qemu_was_killed(const struct qemu *qemu);

/* A capability, switched on or off; one that it does not have: HF_E_UNSUPPORTED. */
int qemu_capability(struct qemu *qemu, const char *name, bool on, struct hf_error *err);

/* Those of the names (ended by NULL) that are on: the first; NULL: none. Static text of names. */
const char *qemu_capability_on(struct qemu *qemu, const char *const *names, struct hf_error *err);

/* A VFIO device of its guest. */
struct qemu_vfio {
	char name[HF_NAME_MAX]; /* its id, or where it stands in the tree of objects */
	char kind[QEMU_NAME_MAX]; /* "vfio-pci" */
	char host[256]; /* "0000:17:00.1", a path in sysfs, or "" */
};

/* The guest's VFIO devices in the order of their names; their number or an HF_E_ code. */
int qemu_vfio_devices(struct qemu *qemu, struct qemu_vfio devices[HF_DEVICES_MAX],
		      struct hf_error *err);

#endif
