/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Setting the story of a failure (include/holdfast/error.h). err may be NULL everywhere. The first
 * failure wins: error_set() on one that is set already changes nothing, and returns its code.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>

#include <holdfast/error.h>

/* Inside, by shorter names; macros, since no function passes "..." on. */
#define error_set hf_error_set
#define error_prepend hf_error_prepend

/* Copy whole; an empty from becomes HF_E_BUG, so that a failure never looks like success. */
void error_copy(struct hf_error *to, const struct hf_error *from);

void error_clear(struct hf_error *err);

#endif
