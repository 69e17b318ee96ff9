/* SPDX-License-Identifier: BSD-3-Clause */
/* The version of the library in use, which may be newer than the headers of its user. */
#include <holdfast/version.h>

#include "base/export.h"

HF_EXPORT const char *hf_version(void)
{
	return HF_VERSION_TEXT;
}
