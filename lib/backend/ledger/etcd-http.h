/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One request by HTTP, and its answer, within a time limit. Connections stay open between requests,
 * so that the stand-still of a guest pays for no connect. What the answers mean is not known here.
 */
#ifndef BACKEND_LEDGER_ETCD_HTTP_H
#define BACKEND_LEDGER_ETCD_HTTP_H

#include <stddef.h>

#include "backend/ledger/etcd-address.h"

#define ETCD_ANSWER_MAX (1u << 20) /* bytes of one answer; a page of records is a third of it */

/* One request at a time; no thread of its own. */
struct etcd_http;

/* Errors: HF_E_INVALID (a file of the address), HF_E_NO_MEMORY, HF_E_SYSTEM. */
int etcd_http_new(const struct etcd_address *address, struct etcd_http **ret_http,
		  struct hf_error *err);
struct etcd_http *etcd_http_free(struct etcd_http *http);

enum etcd_sent {
	ETCD_ANSWERED = 1, /* there is a whole answer */
	ETCD_NOT_SENT = 2, /* there was no connection: the request cannot have arrived */
	ETCD_NO_ANSWER = 3, /* it may have arrived, and may still be carried out */
};

struct etcd_answer {
	unsigned int status; /* of HTTP */
	const char *text; /* until the next request; not terminated */
	size_t length;
};

/* POST body (JSON, terminated) to endpoint/path. token: "" or of a login. err unless ANSWERED. */
enum etcd_sent etcd_http_post(struct etcd_http *http, const char *endpoint, const char *path,
			      const char *token, const char *body, unsigned int limit_ms,
			      struct etcd_answer *ret_answer, struct hf_error *err);

#endif
