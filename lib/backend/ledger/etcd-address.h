/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands behind "etcd:" in a ledger's URI (docs/ledger.md), taken apart and checked: text
 * only, no file is opened and nobody is asked.
 */
#ifndef BACKEND_LEDGER_ETCD_ADDRESS_H
#define BACKEND_LEDGER_ETCD_ADDRESS_H

#include <stdint.h>

#include <holdfast/error.h>
#include <holdfast/types.h>

#define ETCD_ENDPOINTS_MAX 8u
#define ETCD_ADDRESS_MAX 1024u /* bytes behind "etcd:", with the NUL */

struct etcd_address {
	uint32_t count;
	/* "http://10.0.0.1:2379": with the port, in order, each once. */
	char endpoints[ETCD_ENDPOINTS_MAX][HF_URI_MAX];
	char prefix[HF_NAME_MAX]; /* of the keys; without a slash at its end */
	char user[HF_NAME_MAX]; /* "": no user */
	char password_file[ETCD_ADDRESS_MAX]; /* with a user */
	char cacert[ETCD_ADDRESS_MAX], cert[ETCD_ADDRESS_MAX], key[ETCD_ADDRESS_MAX]; /* or "" */
	/* The normal form. How this host proves who it is, is no part of which ledger it means. */
	char uri[HF_URI_MAX];
};

/* Errors: HF_E_INVALID names the part that is wrong. */
int etcd_address_parse(const char *text, struct etcd_address *ret_address, struct hf_error *err);

#endif
