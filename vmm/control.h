/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The main loop of a VMM process: the control socket, the guest's events, the session of a
 * migration, signals. It decides what may be asked of the guest and when; what a migration is made
 * of is in vmm/migrate.h, how QMP is spoken in vmm/qmp.h.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include <stdbool.h>

#include "vmm/guest.h"
#include "vmm/migrate.h"

struct control_config {
	struct guest *guest; /* given away: control_run() frees it */
	const char *guest_name; /* its name, also when it is away */
	const char *socket_path; /* of the QMP socket */
	int signal_fd; /* a signalfd with SIGINT and SIGTERM, or -1 */
	int trace_fd; /* every event of every session, as a line; or -1 */
	const char
		*incoming; /* where to listen; "defer": until it is asked for; NULL: not at all */
	bool paused; /* without incoming: do not run the guest yet */
	const char *keep; /* folder in which a guest in doubt outlives this process; or NULL */
	bool restart; /* keep holds one: find out whose it is. Not with incoming */
	const char *side; /* this process in the ledger; unique for each start */
	const struct migrate_parameters *parameters; /* to begin with; copied */
	/* A sentence for the operator, without newline; never NULL. */
	void (*say)(void *ctx, const char *sentence);
	void *ctx;
};

/*
 * Run until `quit`, a signal, the guest's power-off or the failure of an incoming migration.
 * Returns the exit status: 0, the guest's own after a power-off, or 1 when something failed; what,
 * has been said.
 */
int control_run(const struct control_config *config);

#endif
