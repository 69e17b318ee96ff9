/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: a UNIX socket, several clients, QMP (vmm/qmp.h) on each. What commands do is
 * the table's business. The main loop's thread owns it; nothing here blocks.
 */
#ifndef VMM_QMP_SERVER_H
#define VMM_QMP_SERVER_H

#include <holdfast/error.h>

#include "vmm/control-loop.h"
#include "vmm/qmp.h"

#define QMP_CLIENTS_MAX 16u
#define QMP_OUTPUT_MAX (4u << 20) /* bytes kept for a client that does not read; then it is cut */

struct qmp_client;

struct qmp_server {
	struct loop_source listener;
	const struct qmp_table *table;
	int epoll_fd;
	char path[108]; /* sun_path's size */
	struct qmp_client *clients[QMP_CLIENTS_MAX];
};

/*
 * Listen at path with mode 0600; a socket that nobody listens on any more is replaced. Errors:
 * HF_E_INVALID (too long), HF_E_BUSY (another process listens there), HF_E_SYSTEM.
 */
int qmp_server_open(struct qmp_server *server, const char *path, const struct qmp_table *table,
		    int epoll_fd, struct hf_error *err);

/* Send an event to each client that has negotiated; data is given away. */
void qmp_server_event(struct qmp_server *server, const char *name, json_t *data);

/* All clients are gone, and the socket from its folder. Also on a zeroed or half-open server. */
void qmp_server_close(struct qmp_server *server);

#endif
