/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Servers for tests of the etcd ledger: real ones (the program `etcd`, on loopback, with free
 * ports, in a folder that goes with them), and one that says what the test tells it to. Whatever
 * goes wrong here fails the test that called.
 */
#ifndef TESTS_UNIT_ETCD_SERVERS_H
#define TESTS_UNIT_ETCD_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <holdfast/types.h>

#define SERVERS_MAX 3u

/* A cluster; servers die with the process that started them. */
struct servers {
	uint32_t count;
	bool is_tls; /* for clients: with the files of servers_certificates() */
	pid_t pids[SERVERS_MAX]; /* 0: it does not run */
	uint16_t client_ports[SERVERS_MAX], peer_ports[SERVERS_MAX];
	char dir[64];
};

/* Whether there is an etcd here. */
bool servers_can(void);

/* All of them, serving. is_tls: certificates are made, and clients must show one. */
struct servers *servers_new(uint32_t count, bool is_tls);
void servers_free(struct servers *servers); /* takes NULL; a signal is enough for stopped ones */

void servers_kill(struct servers *servers, uint32_t index);
void servers_restart(struct servers *servers, uint32_t index);
void servers_signal(struct servers *servers, uint32_t index, int signal);

/* The endpoint of one; "etcd:" and the endpoints of all. Both without options. */
void servers_endpoint(const struct servers *servers, uint32_t index, char ret_url[HF_URI_MAX]);
void servers_uri(const struct servers *servers, char ret_uri[HF_URI_MAX]);

/* ---- one that is told what to say --------------------------------------------------------------
 */

struct fake;

/* Nothing, and the connection is closed. */
#define FAKE_CLOSE (-1)
/* Nothing, and the connection stays open until the fake is freed. */
#define FAKE_SILENT (-2)

/*
 * The answer to one request: its HTTP status and *ret_body (malloc()ed; NULL: empty), or one of the
 * above. Called from a thread of the fake, one request at a time, and never between fake_lock() and
 * fake_unlock(): what ctx points to is changed and looked at there.
 */
struct fake *fake_new(int (*answer)(void *ctx, const char *path, const char *body, char **ret_body),
		      void *ctx);
void fake_free(struct fake *fake);
void fake_lock(struct fake *fake);
void fake_unlock(struct fake *fake);
uint16_t fake_port(const struct fake *fake);
uint32_t fake_requests(struct fake *fake); /* how many were answered, or not */

#endif
