/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a migration's recording goes: GUEST-ROLE-N.hfrec in a folder, the first N that is free. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "vmm/control-loop.h"
#include "vmm/migrate.h"

#define RECORDS_MAX 100000u

int migrate_record_path(const char *folder, const char *guest, uint32_t role,
			char ret_path[PATH_MAX], struct hf_error *err)
{
	const char *side = role == HF_ROLE_SOURCE ? "source" : "target";
	struct stat status;

	for (uint32_t n = 1; n <= RECORDS_MAX; n++) {
		int length =
			snprintf(ret_path, PATH_MAX, "%s/%s-%s-%u.hfrec", folder, guest, side, n);

		if (length >= PATH_MAX)
			return control_error(err, HF_E_INVALID, 0,
					     "record: the path of the folder is too long");
		if (lstat(ret_path, &status) == 0)
			continue;
		if (errno == ENOENT)
			return 0; /* no such folder, either: the session says so */
		return control_error(err, HF_E_SYSTEM, errno, "record: %.180s", folder);
	}
	return control_error(err, HF_E_INVALID, 0, "record: %.150s holds %u recordings already",
			     folder, RECORDS_MAX);
}
