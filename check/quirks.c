/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is known to deviate, by driver: a check that fails there is reported as a known quirk with
 * the name of its row, not as a failure, and not as passed. docs/device-check.md explains them.
 * Rows are for released drivers; one that is mended keeps its row while old kernels are in use.
 */
#include <string.h>

#include "check/check.h"

/* clang-format off */
#define MTTY NULL, 0x4348, 0x3253 /* samples/vfio-mdev/mtty.c */
#define HISI "hisi_acc", 0, 0
#define QAT "qat_vfio", 0, 0
#define XE "xe-vfio-pci", 0, 0

const struct check_quirk check_quirks[] = {
	{ "mtty/temporary-end", MTTY, "precopy.temporary-end", "gives 0 instead of ENOMSG" },
	{ "mtty/header-not-latched", MTTY, "hostile.error-latches", "a header that was refused can be written over" },
	{ "mtty/contents-unchecked", MTTY, "hostile.body-bits", "the ports' contents are taken as they come" },
	{ "mtty/contents-unchecked", MTTY, "hostile.swapped", "the ports' contents are taken as they come" },
	{ "mtty/state-survives", MTTY, "info.reopens-running", "the state survives close and open" },
	{ "mtty/second-start", MTTY, "log.start-twice", "a second START is accepted" },
	{ "mtty/report-early", MTTY, "log.report-early", "a REPORT before START succeeds" },
	{ "mtty/report-early", MTTY, "log.report-late", "a REPORT after STOP succeeds" },
	{ "mtty/reset-keeps", MTTY, "reset.clean", "a reset ends a migration, and leaves the registers" },
	{ "mtty/reset-unsaid", MTTY, "reset.advertised", "it can be reset, and does not have the flag" },
	{ "hisi/temporary-end", HISI, "precopy.temporary-end", "gives 0 instead of ENOMSG" },
	{ "hisi/second-load", HISI, "load.second-is-checked", "a second load in one open is not matched" },
	{ "qat/temporary-end", QAT, "precopy.temporary-end", "gives 0 instead of ENOMSG" },
	{ "qat/second-load", QAT, "load.second-is-checked", "the setup of a second load is not checked" },
	{ "xe/partial-save", XE, "save.given-up-to-stop", "EIO unless all was read" },
	{ "xe/partial-save", XE, "save.given-up-to-running", "EIO unless all was read" },
};
/* clang-format on */
const uint32_t check_quirk_count = sizeof(check_quirks) / sizeof(check_quirks[0]);

const struct check_quirk *check_quirk_of(const struct hf_device_info *info, const char *check)
{
	for (uint32_t i = 0; i < check_quirk_count; i++) {
		const struct check_quirk *q = &check_quirks[i];

		if (strcmp(q->check, check) != 0)
			continue;
		if (q->vendor_id && q->vendor_id == info->vendor_id &&
		    q->device_id == info->device_id)
			return q;
		if (q->kind && strstr(info->compat, q->kind))
			return q;
	}
	return NULL;
}
