/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard/decode.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <holdfast/stream.h>

static const char *const kind_names[INSPECT_KINDS] = { "auto",	  "main",   "recovery", "multifd",
						       "preempt", "return", "holdfast" };

const char *inspect_kind_name(enum inspect_kind kind)
{
	assert(kind < INSPECT_KINDS);
	return kind_names[kind];
}

enum inspect_kind inspect_kind_of(const char *name)
{
	unsigned int i = 0;

	while (i < INSPECT_KINDS && strcmp(kind_names[i], name) != 0)
		i++;
	return (enum inspect_kind)i;
}

/* ---- errors -------------------------------------------------------------------------------- */

static bool has_error(const struct decode *decode)
{
	return decode->result->verdict > INSPECT_ODD;
}

static void set_error(struct decode *decode, uint64_t offset, const char *format, va_list args)
{
	struct inspect_result *result = decode->result;

	result->verdict = INSPECT_BROKEN;
	result->offset = offset;
	(void)vsnprintf(result->expected, sizeof(result->expected), format, args);
	(void)snprintf(result->where, sizeof(result->where), "%s", decode->where);
}

int decode_bad(struct decode *decode, size_t skip, const char *format, ...)
{
	struct inspect_result *result = decode->result;
	const uint8_t *bytes;
	size_t ready, length = 0;
	va_list args;

	if (has_error(decode))
		return -1;
	ready = reader_ready(decode->reader, &bytes);
	if (decode->reader->failed)
		return decode_failed(decode, -decode->reader->failed);
	va_start(args, format);
	set_error(decode, decode->reader->offset + (skip < ready ? skip : ready), format, args);
	va_end(args);
	if (skip >= ready) {
		bool within = decode->reader->limit != UINT64_MAX &&
			      decode->reader->offset + ready >= decode->reader->limit;

		if (!within)
			result->verdict = INSPECT_SHORT;
		(void)snprintf(result->found, sizeof(result->found), "the end of the %s",
			       within ? "package" : "stream");
		return -1;
	}
	for (size_t i = skip; i < ready && i < skip + 8; i++)
		length += (size_t)snprintf(result->found + length, sizeof(result->found) - length,
					   "%s%02x", i > skip ? " " : "", bytes[i]);
	return -1;
}

int decode_bad_at(struct decode *decode, uint64_t offset, const char *found, const char *format,
		  ...)
{
	va_list args;

	if (has_error(decode))
		return -1;
	va_start(args, format);
	set_error(decode, offset, format, args);
	va_end(args);
	(void)snprintf(decode->result->found, sizeof(decode->result->found), "%s", found);
	return -1;
}

int decode_failed(struct decode *decode, int error)
{
	if (has_error(decode))
		return -1;
	decode->result->verdict = INSPECT_FAILED;
	decode->result->error = error;
	decode->result->offset = decode->reader->offset;
	return -1;
}

/* ---- bytes --------------------------------------------------------------------------------- */

int decode_need(struct decode *decode, size_t n, const uint8_t **ret_bytes, const char *what)
{
	size_t ready = reader_peek(decode->reader, n, ret_bytes);

	if (ready == n)
		return 0;
	return decode_bad(decode, ready, "%zu more bytes of %s", n - ready, what);
}

int decode_skip(struct decode *decode, uint64_t n, const char *what)
{
	uint64_t passed = reader_skip(decode->reader, n);

	if (passed == n)
		return 0;
	return decode_bad(decode, 0, "%llu more bytes of %s", (unsigned long long)(n - passed),
			  what);
}

int decode_name(struct decode *decode, size_t skip, char ret_name[256], const char *what)
{
	const uint8_t *bytes;
	size_t length;

	if (decode_need(decode, skip + 1, &bytes, what) < 0)
		return -1;
	length = bytes[skip];
	if (length == 0)
		return decode_bad(decode, skip, "%s, of 1 to 255 characters", what);
	if (decode_need(decode, skip + 1 + length, &bytes, what) < 0)
		return -1;
	for (size_t i = 0; i < length; i++)
		if (!printable(bytes[skip + 1 + i]))
			return decode_bad(decode, skip + 1 + i, "a printable character of %s",
					  what);
	memcpy(ret_name, bytes + skip + 1, length);
	ret_name[length] = 0;
	return 0;
}

uint64_t decode_now(const struct decode *decode)
{
	return decode->options->now_ns ? decode->options->now_ns() - decode->start_ns : 0;
}

/* ---- items --------------------------------------------------------------------------------- */

void item_begin(const struct decode *decode, struct inspect_item *item, const char *what)
{
	item->what = what;
	item->offset = decode->reader->offset;
	item->length = 0;
	item->start_ns = decode_now(decode);
	item->took_ns = 0;
	item->field_count = 0;
}

static struct inspect_field *field(struct inspect_item *item, const char *name,
				   enum inspect_form form)
{
	struct inspect_field *to = &item->fields[item->field_count];

	assert(item->field_count < INSPECT_FIELDS_MAX);
	item->field_count++;
	to->name = name;
	to->form = form;
	to->number = 0;
	to->text = NULL;
	return to;
}

void item_number(struct inspect_item *item, const char *name, uint64_t number)
{
	field(item, name, INSPECT_NUMBER)->number = number;
}

void item_hex(struct inspect_item *item, const char *name, uint64_t number)
{
	field(item, name, INSPECT_HEX)->number = number;
}

void item_text(struct inspect_item *item, const char *name, const char *text)
{
	field(item, name, INSPECT_TEXT)->text = text;
}

void item_bool(struct inspect_item *item, const char *name, bool value)
{
	field(item, name, INSPECT_BOOL)->number = value;
}

void item_end(const struct decode *decode, struct inspect_item *item)
{
	item->length = decode->reader->offset - item->offset;
	item->took_ns = decode_now(decode) - item->start_ns;
	decode->sink->item(decode->sink->self, item);
}

/* ---- the whole ----------------------------------------------------------------------------- */

static enum inspect_kind recognise(struct reader *reader)
{
	const uint8_t *bytes;

	if (reader_peek(reader, 4, &bytes) < 4)
		return INSPECT_AUTO;
	if (be32(bytes) == 0x5145564d)
		return INSPECT_MAIN;
	if (be32(bytes) == 0x11223344)
		return INSPECT_MULTIFD;
	if (memcmp(bytes, HF_STREAM_MAGIC, 4) == 0)
		return INSPECT_HOLDFAST;
	return INSPECT_AUTO;
}

static int decode_kind(struct decode *decode)
{
	const uint8_t *bytes;

	switch (decode->result->kind) {
	case INSPECT_AUTO:
		if (decode_need(decode, 4, &bytes, "a stream's first four") < 0)
			return -1;
		return decode_bad(decode, 0,
				  "the start of a stream: QEVM, 11 22 33 44 or HOLDFAST");
	case INSPECT_MAIN:
		return decode_main(decode, true);
	case INSPECT_RECOVERY:
		return decode_main(decode, false);
	case INSPECT_MULTIFD:
		return decode_multifd(decode);
	case INSPECT_PREEMPT:
		return decode_preempt(decode);
	case INSPECT_RETURN:
		return decode_return(decode);
	case INSPECT_HOLDFAST:
		return decode_holdfast(decode);
	case INSPECT_KINDS:
		break;
	}
	assert(!"a kind");
	return -1;
}

static void say_result(struct decode *decode)
{
	const struct inspect_result *result = decode->result;
	struct inspect_item item;

	item_begin(decode, &item, has_error(decode) ? "error" : "end");
	if (result->verdict == INSPECT_FAILED) {
		item_text(&item, "failed", strerror(result->error));
	} else if (has_error(decode)) {
		item.offset = result->offset;
		item_text(&item, "expected", result->expected);
		item_text(&item, "found", result->found);
		if (result->where[0])
			item_text(&item, "within", result->where);
	} else {
		item_text(&item, "kind", inspect_kind_name(result->kind));
		item_bool(&item, "agrees", result->verdict == INSPECT_WHOLE);
	}
	decode->sink->item(decode->sink->self, &item);
}

void inspect_run(struct reader *reader, const struct inspect_options *options,
		 const struct inspect_sink *sink, struct inspect_result *ret_result)
{
	struct decode decode = { .reader = reader,
				 .options = options,
				 .sink = sink,
				 .result = ret_result,
				 .page_size = options->page_size ? options->page_size : 4096 };
	const uint8_t *bytes;

	memset(ret_result, 0, sizeof(*ret_result));
	ret_result->kind = options->kind == INSPECT_AUTO ? recognise(reader) : options->kind;
	if (options->now_ns)
		decode.start_ns = options->now_ns();
	if (decode_kind(&decode) == 0 && reader_ready(reader, &bytes) > 0)
		(void)decode_bad(&decode, 0, "the end of the stream");
	if (reader->failed)
		(void)decode_failed(&decode, -reader->failed);
	say_result(&decode);
}
