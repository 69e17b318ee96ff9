/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Setting the story of a failure (holdfast/error.h), for the VMM: the library's own helper is not
 * public. err may be NULL everywhere.
 */
#ifndef VMM_FAIL_H
#define VMM_FAIL_H

#include <holdfast/error.h>

/* Set code, cause (an errno, or 0) and text; the cause's own text is appended. Returns code. */
int fail(struct hf_error *err, int code, int cause, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Put words in front of the text, with ": " between. Returns code, which is err's. */
int fail_prefix(struct hf_error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
