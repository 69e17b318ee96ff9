/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's side of a guest's control socket (QMP). Every wait has a deadline; events that come
 * while an answer is awaited are kept for later. One thread owns a client.
 */
#ifndef GUARD_QMP_CLIENT_H
#define GUARD_QMP_CLIENT_H

#include <stdint.h>

#include <jansson.h>

#include <holdfast/error.h>

struct qmp_client;

/*
 * Connect and negotiate; path is a UNIX socket's, or an address: "unix:PATH", "tcp:HOST:PORT".
 * Errors: HF_E_CONNECT (nobody listens there), HF_E_DEADLINE, HF_E_PROTOCOL (that is no QMP
 * server), HF_E_INVALID (the path is too long).
 */
int qmp_client_open(const char *path, uint32_t timeout_ms, struct qmp_client **ret_client,
		    struct hf_error *err);

/* Takes NULL, returns NULL. */
struct qmp_client *qmp_client_close(struct qmp_client *client);

/*
 * Execute a command; arguments are given away (NULL: none). Returns what came under "return", the
 * caller's; NULL: failed. A refusal by the server is HF_E_REFUSED with its words.
 */
json_t *qmp_client_call(struct qmp_client *client, const char *command, json_t *arguments,
			uint32_t timeout_ms, struct hf_error *err);

/* The same, with a descriptor (SCM_RIGHTS), which stays the caller's; -1: none. Only by UNIX
 * socket. */
json_t *qmp_client_call_fd(struct qmp_client *client, const char *command, json_t *arguments,
			   int fd, uint32_t timeout_ms, struct hf_error *err);

/*
 * The next event: *ret_event is the caller's, or NULL if none came in time. timeout_ms 0 only
 * looks. Errors: HF_E_CONNECTION_LOST, HF_E_PROTOCOL.
 */
int qmp_client_event(struct qmp_client *client, uint32_t timeout_ms, json_t **ret_event,
		     struct hf_error *err);

/* For poll(). An event may be there already while nothing is readable: ask qmp_client_event()
 * first. */
int qmp_client_fd(const struct qmp_client *client);

#endif
