/* SPDX-License-Identifier: BSD-3-Clause */
/* The kinds of ledger, for hf_ledger_open() only: each takes what stands behind "KIND:". */
#ifndef BACKEND_LEDGER_KINDS_H
#define BACKEND_LEDGER_KINDS_H

#include <holdfast/backend.h>

int ledger_etcd_open(const char *address, struct hf_ledger *ret_ledger, struct hf_error *err);
int ledger_file_open(const char *dir, struct hf_ledger *ret_ledger, struct hf_error *err);
int ledger_memory_open(const char *name, struct hf_ledger *ret_ledger, struct hf_error *err);

#endif
