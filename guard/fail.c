/* SPDX-License-Identifier: BSD-3-Clause */
/* See fail.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "guard/fail.h"

int guard_fail(struct hf_error *err, int code, int cause, const char *format, ...)
{
	va_list args;
	size_t used;

	if (!err)
		return code;
	if (err->code)
		return err->code;
	memset(err, 0, sizeof(*err));
	err->code = code;
	err->cause = cause;
	va_start(args, format);
	(void)vsnprintf(err->text, sizeof(err->text), format, args); /* cut short is fine */
	va_end(args);
	used = strlen(err->text);
	if (cause)
		(void)snprintf(err->text + used, sizeof(err->text) - used, ": %s (errno %d)",
			       strerror(cause), cause);
	return code;
}

int guard_fail_prefix(struct hf_error *err, const char *format, ...)
{
	char words[HF_ERROR_TEXT_MAX], text[HF_ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	memcpy(text, err->text, sizeof(text));
	memset(err->text, 0, sizeof(err->text));
	if (snprintf(err->text, sizeof(err->text), "%s: %s", words, text) < 0)
		err->text[0] = 0;
	return err->code;
}
