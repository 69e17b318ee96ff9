/* SPDX-License-Identifier: BSD-3-Clause */
/* Ledgers by their URI, and the kind "none", which is the absence of one. */
#include <stdio.h>
#include <string.h>

#include "backend/ledger/kinds.h"
#include "base/error.h"
#include "base/export.h"

static int none_read(void *self, const char *guest, struct hf_ledger_record *ret_record,
		     struct hf_error *err)
{
	(void)self;
	(void)ret_record;
	return error_set(err, HF_E_UNSUPPORTED, 0, "read guest %s: there is no ledger", guest);
}

static int none_swap(void *self, const struct hf_ledger_record *record,
		     struct hf_ledger_record *ret_now, struct hf_error *err)
{
	(void)self;
	(void)ret_now;
	return error_set(err, HF_E_UNSUPPORTED, 0, "write guest %s: there is no ledger",
			 record->guest);
}

static int none_list(void *self, void (*each)(void *ctx, const struct hf_ledger_record *record),
		     void *ctx, struct hf_error *err)
{
	(void)self;
	(void)each;
	(void)ctx;
	return error_set(err, HF_E_UNSUPPORTED, 0, "list the guests: there is no ledger");
}

static void none_close(void *self)
{
	(void)self;
}

/* Two hosts without a ledger: the session decides by GO alone, and does not call these. */
static const struct hf_ledger_ops none_ops = {
	.size = sizeof(none_ops),
	.kind = "none",
	.read = none_read,
	.swap = none_swap,
	.close = none_close,
	.list = none_list,
};

HF_EXPORT int hf_ledger_open(const char *uri, struct hf_ledger *ret_ledger, struct hf_error *err)
{
	if (strncmp(uri, "file:", 5) == 0)
		return ledger_file_open(uri + 5, ret_ledger, err);
	if (strncmp(uri, "memory:", 7) == 0)
		return ledger_memory_open(uri + 7, ret_ledger, err);
	if (strncmp(uri, "etcd:", 5) == 0)
		return ledger_etcd_open(uri + 5, ret_ledger, err);
	if (strcmp(uri, "none") != 0)
		return error_set(
			err, HF_E_INVALID, 0,
			"ledger \"%.100s\": begins with none of file:, etcd:, memory:, none", uri);
	memset(ret_ledger, 0, sizeof(*ret_ledger));
	ret_ledger->ops = &none_ops;
	(void)snprintf(ret_ledger->uri, sizeof(ret_ledger->uri), "none");
	return 0;
}

HF_EXPORT void hf_ledger_close(struct hf_ledger *ledger)
{
	if (!ledger->ops)
		return;
	ledger->ops->close(ledger->self);
	memset(ledger, 0, sizeof(*ledger));
}
