/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is said to etcd's HTTP/JSON gateway and what it answers, as text: no connection here, no
 * file. The messages are those of etcd's rpc.proto (RangeRequest, TxnRequest, AuthenticateRequest)
 * in the JSON form of protocol buffers: keys and values are base64, 64-bit numbers are strings, and
 * what is false, 0 or empty is absent.
 *
 * One guest is one key, PREFIX/guest/NAME; its value is the text of record.h with the revision 0:
 * the revision is the key's mod_revision, which only etcd knows.
 *
 * Every answer is foreign bytes. HF_E_LEDGER_UNKNOWN: this is no answer of etcd's.
 * HF_E_LEDGER_DAMAGED: it is, but what stands under the key is no record.
 */
#ifndef BACKEND_LEDGER_ETCD_MESSAGE_H
#define BACKEND_LEDGER_ETCD_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holdfast/backend.h>

#define ETCD_KEY_MAX (2u * HF_NAME_MAX + 8u) /* with the NUL */
#define ETCD_REQUEST_MAX 8192u /* the longest request, with the NUL */
#define ETCD_TOKEN_MAX 4096u
#define ETCD_PAGE 64u /* records in one answer to a list */

void etcd_key(const char *prefix, const char *guest, char ret_key[ETCD_KEY_MAX]);

/* ---- requests; the text is terminated ---------------------------------------------------------
 */

/* A linearizable read of one key. */
void etcd_read_encode(const char *key, char ret_text[ETCD_REQUEST_MAX]);

/* Write record under key if the key's mod_revision is record->revision; and either way read it. */
void etcd_swap_encode(const char *key, const struct hf_ledger_record *record,
		      char ret_text[ETCD_REQUEST_MAX]);

/* At most ETCD_PAGE of the keys under prefix, behind the key after ("": from the first one). */
void etcd_list_encode(const char *prefix, const char *after, char ret_text[ETCD_REQUEST_MAX]);

/* False: user or password are no UTF-8, or too long. */
bool etcd_login_encode(const char *user, const char *password, char ret_text[ETCD_REQUEST_MAX]);

/* ---- answers; *ret_cluster is the cluster that has answered ------------------------------------
 */

/* 0 with the record (revision 0: none), or an error. */
int etcd_read_decode(const char *text, size_t length, const char *key, const char *guest,
		     uint64_t *ret_cluster, struct hf_ledger_record *ret_record,
		     struct hf_error *err);

/* HF_LEDGER_DONE or HF_LEDGER_REFUSED with the record as it stands, or an error. */
int etcd_swap_decode(const char *text, size_t length, const char *key,
		     const struct hf_ledger_record *record, uint64_t *ret_cluster,
		     struct hf_ledger_record *ret_now, struct hf_error *err);

/* One page: what is told of each record, where it ended, and whether more is behind it. */
struct etcd_page {
	void (*each)(void *ctx, const struct hf_ledger_record *record);
	void *ctx;
	struct hf_error damaged; /* of the first record that could not be read; it is left out */
	char last[ETCD_KEY_MAX];
	bool more;
};

/* 0, or an error, and then none was told. prefix as for etcd_list_encode(). */
int etcd_list_decode(const char *text, size_t length, const char *prefix, uint64_t *ret_cluster,
		     struct etcd_page *page, struct hf_error *err);

/* 0 and a token of printable characters, or an error. */
int etcd_login_decode(const char *text, size_t length, char ret_token[ETCD_TOKEN_MAX],
		      struct hf_error *err);

/* The words of a refusal, made printable; "" if there are none. */
void etcd_refusal_decode(const char *text, size_t length, char ret_words[128]);

#endif
