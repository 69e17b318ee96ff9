/* SPDX-License-Identifier: BSD-3-Clause */
/* Setting the story of a failure. */
#include "fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fail(struct hf_error *err, int code, int cause, const char *format, ...)
{
	va_list args;
	size_t used;

	if (err == NULL)
		return code;
	memset(err, 0, sizeof(*err)); /* it leaves the process: no stale byte behind the NUL */
	err->code = code;
	err->cause = cause;
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, args); /* cut short is fine */
	va_end(args);
	used = strlen(err->text);
	if (cause != 0) {
		char buf[64];

		(void)snprintf(err->text + used, sizeof(err->text) - used, ": %s",
			       strerror_r(cause, buf, sizeof(buf)));
	}
	return code;
}

int fail_prefix(struct hf_error *err, int code, const char *format, ...)
{
	char inner[HF_ERROR_TEXT_MAX];
	va_list args;
	size_t used, rest;

	if (err == NULL)
		return code;
	memcpy(inner, err->text, sizeof(inner));
	memset(err->text, 0, sizeof(err->text));
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text) - 2, format, args); /* cut short is fine */
	va_end(args);
	used = strlen(err->text);
	memcpy(err->text + used, ": ", 2);
	used += 2;
	rest = sizeof(err->text) - 1 - used;
	memcpy(err->text + used, inner, strnlen(inner, rest));
	return code;
}
