/* SPDX-License-Identifier: BSD-3-Clause */
/* Setting the story of a failure (holdfast/error.h), by the names that stand in the guests' files.
 */
#ifndef VMM_FAIL_H
#define VMM_FAIL_H

#include <holdfast/error.h>

#define fail hf_error_set
#define fail_prefix hf_error_prepend

#endif
