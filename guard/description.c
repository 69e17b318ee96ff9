/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The description behind EOF: JSON that says of each device's section what is in it, and so how
 * long it is. It comes too late to find the sections' ends, but not to say whether they were found.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "guard/stream.h"

#define LENGTH_MAX (16u << 20)
#define DEPTH_MAX 256u /* subsections that wait to be measured */

/* ---- sizes --------------------------------------------------------------------------------- */

static uint64_t number_of(const json_t *object, const char *key, uint64_t otherwise)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return otherwise;
	return (uint64_t)json_integer_value(value);
}

static int fields_size(const json_t *owner, uint64_t *sum)
{
	const json_t *fields = json_object_get(owner, "fields");

	for (size_t i = 0; i < json_array_size(fields); i++) {
		const json_t *field = json_array_get(fields, i);
		uint64_t size = number_of(field, "size", UINT64_MAX), all;

		if (size == UINT64_MAX ||
		    __builtin_mul_overflow(size, number_of(field, "array_len", 1), &all) ||
		    __builtin_add_overflow(*sum, all, sum))
			return -1;
	}
	return 0;
}

/* The length of a device's body: its fields, and those of subsections of subsections. */
static int device_size(const json_t *device, uint64_t *ret_size)
{
	const json_t *waiting[DEPTH_MAX];
	uint64_t sum = 0;
	uint32_t count = 0;

	waiting[count++] = device;
	while (count > 0) {
		const json_t *owner = waiting[count - 1];
		const json_t *subsections = json_object_get(owner, "subsections");

		count--;
		if (fields_size(owner, &sum) < 0)
			return -1;
		for (size_t i = 0; i < json_array_size(subsections); i++) {
			const json_t *subsection = json_array_get(subsections, i);
			const char *name =
				json_string_value(json_object_get(subsection, "vmsd_name"));

			if (!name || count == DEPTH_MAX)
				return -1;
			sum += 2 + strlen(name) + 4;
			waiting[count++] = subsection;
		}
	}
	*ret_size = sum;
	return 0;
}

/* ---- the comparison ------------------------------------------------------------------------ */

struct comparison {
	struct stream *stream;
	uint64_t agree, disagree;
	uint64_t described; /* devices that have a section FULL */
};

static void disagreement(struct comparison *comparison, const char *idstr, uint64_t instance,
			 const char *text, uint64_t described, uint64_t found)
{
	struct decode *decode = comparison->stream->decode;
	struct inspect_item item;

	comparison->disagree++;
	item_begin(decode, &item, "disagreement");
	item_text(&item, "idstr", idstr);
	item_number(&item, "instance", instance);
	item_text(&item, "because", text);
	item_number(&item, "described", described);
	item_number(&item, "found", found);
	item_end(decode, &item);
}

static const struct section *full_of(const struct stream *stream, const char *idstr,
				     uint64_t instance)
{
	for (uint32_t i = 0; i < stream->section_count; i++) {
		const struct section *section = &stream->sections[i];

		if (section->full && section->instance == instance &&
		    strcmp(section->idstr, idstr) == 0)
			return section;
	}
	return NULL;
}

static void compare(struct comparison *comparison, const json_t *device)
{
	const char *given = json_string_value(json_object_get(device, "name"));
	uint64_t instance = number_of(device, "instance_id", 0), size = 0;
	const struct section *section;
	char idstr[256];

	(void)snprintf(idstr, sizeof(idstr), "%s", given ? given : "?");
	for (char *at = idstr; *at; at++) /* it is shown, and the stream's are printable */
		if (!printable((uint8_t)*at))
			*at = '?';
	section = full_of(comparison->stream, idstr, instance);
	if (!section) {
		disagreement(comparison, idstr, instance, "described, but not in the stream", 0, 0);
		return;
	}
	comparison->described++;
	if (device_size(device, &size) < 0)
		disagreement(comparison, idstr, instance, "the description has no size", 0,
			     section->full_bytes);
	else if (size != section->full_bytes)
		disagreement(comparison, idstr, instance, "another size is described", size,
			     section->full_bytes);
	else
		comparison->agree++;
}

static void compare_all(struct comparison *comparison, const json_t *root)
{
	const struct stream *stream = comparison->stream;
	uint64_t page_size = number_of(root, "page_size", stream->decode->page_size);
	const json_t *devices = json_object_get(root, "devices");
	uint64_t full = 0;

	if (page_size != stream->decode->page_size)
		disagreement(comparison, "page_size", 0, "another size is described", page_size,
			     stream->decode->page_size);
	for (size_t i = 0; i < json_array_size(devices); i++)
		compare(comparison, json_array_get(devices, i));
	for (uint32_t s = 0; s < stream->section_count; s++)
		full += stream->sections[s].full;
	if (comparison->described < full)
		disagreement(comparison, "*", 0, "sections are not described",
			     comparison->described, full);
}

/* ---- reading it ---------------------------------------------------------------------------- */

/* The stream's length bounds what is kept, but memory is taken as the bytes come. */
static char *collect(struct decode *decode, uint32_t length)
{
	size_t used = 0, room = 0;
	char *text = NULL;

	while (used < length) {
		const uint8_t *bytes;
		size_t n = reader_ready(decode->reader, &bytes);

		if (n == 0) {
			(void)decode_bad(decode, 0, "%zu more bytes of the description",
					 length - used);
			free(text);
			return NULL;
		}
		if (n > length - used)
			n = length - used;
		if (used + n > room) {
			char *more = realloc(text, room = (used + n) * 2);

			if (!more) {
				(void)decode_failed(decode, ENOMEM);
				free(text);
				return NULL;
			}
			text = more;
		}
		memcpy(text + used, bytes, n);
		reader_take(decode->reader, n);
		used += n;
	}
	return text;
}

static int read_text(struct stream *stream, uint32_t length, uint64_t start,
		     struct comparison *comparison)
{
	json_error_t error;
	char *text = collect(stream->decode, length);
	json_t *root;

	if (!text)
		return -1;
	root = json_loadb(text, length, JSON_DISABLE_EOF_CHECK, &error);
	free(text);
	if (!json_is_object(root) || !json_is_array(json_object_get(root, "devices"))) {
		int at = root ? 0 : error.position;

		json_decref(root);
		return decode_bad_at(stream->decode, start + (uint64_t)(at > 0 ? at - 1 : 0),
				     root ? "no object with \"devices\"" : "what is no JSON",
				     "the description of the devices");
	}
	compare_all(comparison, root);
	json_decref(root);
	return 0;
}

int description_decode(struct stream *stream)
{
	struct decode *decode = stream->decode;
	struct comparison comparison = { .stream = stream };
	struct inspect_item item;
	const uint8_t *bytes;
	uint32_t length;

	item_begin(decode, &item, "description");
	if (decode_need(decode, 5, &bytes, "the description") < 0)
		return -1;
	length = be32(bytes + 1);
	if (length < 2)
		return decode_bad(decode, 1, "the length of the description");
	reader_take(decode->reader, 5);
	item_number(&item, "bytes", length);
	if (length > LENGTH_MAX) {
		item_text(&item, "not-read", "it is longer than 16 MiB");
		if (decode_skip(decode, length, "the description") < 0)
			return -1;
	} else if (read_text(stream, length, decode->reader->offset, &comparison) < 0) {
		return -1;
	}
	item_number(&item, "agree", comparison.agree);
	item_number(&item, "disagree", comparison.disagree);
	item_end(decode, &item);
	if (comparison.disagree && decode->result->verdict == INSPECT_WHOLE)
		decode->result->verdict = INSPECT_ODD;
	return 0;
}
