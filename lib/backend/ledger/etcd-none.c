/* SPDX-License-Identifier: BSD-3-Clause */
/* In place of etcd.c in a build without libcurl: an address is still checked, so that it can be
 * said what is wrong. */
#include "backend/ledger/etcd-address.h"
#include "backend/ledger/kinds.h"
#include "base/error.h"

int ledger_etcd_open(const char *address, struct hf_ledger *ret_ledger, struct hf_error *err)
{
	struct etcd_address parsed;
	int r;

	(void)ret_ledger;
	r = etcd_address_parse(address, &parsed, err);
	if (r < 0)
		return r;
	return error_set(err, HF_E_UNSUPPORTED, 0,
			 "ledger %.150s: this build has no etcd (it was made without libcurl)",
			 parsed.uri);
}
