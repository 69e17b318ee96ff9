/* SPDX-License-Identifier: BSD-3-Clause */
/* Setting the story of a failure (holdfast/error.h), by the names that stand in guard/. */
#ifndef GUARD_FAIL_H
#define GUARD_FAIL_H

#include <holdfast/error.h>

#define guard_fail hf_error_set
#define guard_fail_prefix hf_error_prepend

#endif
