/* SPDX-License-Identifier: BSD-3-Clause */
/* Setting the story of a failure (holdfast/error.h): the library's own helper is not public. */
#ifndef GUARD_FAIL_H
#define GUARD_FAIL_H

#include <holdfast/error.h>

/*
 * Set code, cause (an errno, or 0) and text; the cause's own text is appended. The first story
 * wins; err may be NULL. Returns code.
 */
int guard_fail(struct hf_error *err, int code, int cause, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Put words in front of the text, with ": " between. Returns err's code. */
int guard_fail_prefix(struct hf_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
