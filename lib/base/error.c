/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Codes, classes and texts of failures. Nothing here allocates, so that it works at ENOMEM, and
 * every text buffer is zeroed in full, since it travels to the peer.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/export.h"

struct entry {
	int code;
	enum hf_error_class class_;
	const char *name;
	const char *text;
};

#define ENTRY(name, number, class_, text) { -(number), HF_CLASS_##class_, #name, text },
static const struct entry entries[] = { HF_ERROR_LIST(ENTRY) };
#undef ENTRY

static const struct entry *find(int code)
{
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		if (entries[i].code == code)
			return &entries[i];
	return NULL;
}

HF_EXPORT const char *hf_error_name(int code)
{
	const struct entry *entry = find(code);

	if (code == 0)
		return "OK";
	return entry ? entry->name : "?";
}

HF_EXPORT const char *hf_error_explain(int code)
{
	const struct entry *entry = find(code);

	if (code == 0)
		return "No failure.";
	return entry ? entry->text : "No code of Holdfast.";
}

HF_EXPORT enum hf_error_class hf_error_class(int code)
{
	const struct entry *entry = find(code);

	return entry ? entry->class_ : HF_CLASS_BUG;
}

HF_EXPORT const char *hf_error_class_name(enum hf_error_class class_)
{
	switch (class_) {
	case HF_CLASS_RETRY:
		return "retry";
	case HF_CLASS_PEER:
		return "peer";
	case HF_CLASS_DEVICE:
		return "device";
	case HF_CLASS_LOCAL:
		return "local";
	case HF_CLASS_LEDGER:
		return "ledger";
	case HF_CLASS_BUG:
		return "bug";
	}
	return "?";
}

HF_EXPORT int hf_error_from_name(const char *name)
{
	if (strncmp(name, "HF_E_", 5) == 0)
		name += 5;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		if (strcmp(entries[i].name, name) == 0)
			return entries[i].code;
	return 0;
}

HF_EXPORT int hf_error_at(unsigned int index)
{
	if (index >= sizeof(entries) / sizeof(entries[0]))
		return 0;
	return entries[index].code;
}

HF_EXPORT int hf_error_set(struct hf_error *err, int code, int cause, const char *format, ...)
{
	va_list args;
	size_t used;

	assert(code < 0);
	assert(cause >= 0);
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
	if (cause) {
		used = strlen(err->text);
		(void)snprintf(err->text + used, sizeof(err->text) - used, ": %s (errno %d)",
			       strerror(cause), cause);
	}
	return code;
}

HF_EXPORT int hf_error_prepend(struct hf_error *err, const char *format, ...)
{
	char words[HF_ERROR_TEXT_MAX] = { 0 };
	va_list args;
	size_t used, room, rest;

	if (!err)
		return HF_E_BUG;
	va_start(args, format);
	(void)vsnprintf(words, sizeof(words) - 2, format, args);
	va_end(args);
	used = strlen(words);
	memcpy(words + used, ": ", 2);
	used += 2;

	rest = strlen(err->text);
	room = sizeof(words) - 1 - used;
	if (rest > room)
		rest = room;
	memcpy(words + used, err->text, rest);
	memcpy(err->text, words, sizeof(words)); /* words was zeroed: so is the tail */
	err->text[sizeof(err->text) - 1] = 0;
	return err->code;
}

void error_copy(struct hf_error *to, const struct hf_error *from)
{
	if (!to)
		return;
	if (from && from->code) {
		*to = *from;
		return;
	}
	memset(to, 0, sizeof(*to));
	(void)error_set(to, HF_E_BUG, 0, "a failure without a reason");
}

void error_clear(struct hf_error *err)
{
	if (err)
		memset(err, 0, sizeof(*err));
}
