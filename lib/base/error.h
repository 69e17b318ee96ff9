/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Setting the story of a failure (include/holdfast/error.h). err may be NULL everywhere. The first
 * failure wins: error_set() on one that is set already changes nothing, and returns its code.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>

#include <holdfast/error.h>

/* Set code, cause (an errno, or 0) and text; a cause's own text is appended. Returns code. */
int error_set(struct hf_error *err, int code, int cause, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Put words in front of the text, with ": " between. Returns err's code (HF_E_BUG if NULL). */
int error_prepend(struct hf_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Copy whole; an empty from becomes HF_E_BUG, so that a failure never looks like success. */
void error_copy(struct hf_error *to, const struct hf_error *from);

void error_clear(struct hf_error *err);

#endif
