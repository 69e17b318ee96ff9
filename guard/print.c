/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard/print.h"

#include <inttypes.h>
#include <string.h>

#include <jansson.h>

void printer_init(struct printer *printer, FILE *to, bool json, bool times)
{
	printer->to = to;
	printer->json = json;
	printer->times = times;
	(void)pthread_mutex_init(&printer->lock, NULL); /* cannot fail without attributes */
}

void printer_done(struct printer *printer)
{
	(void)pthread_mutex_destroy(&printer->lock);
}

/* ---- text ---------------------------------------------------------------------------------- */

static void text_field(FILE *to, const struct inspect_field *field, const char *before)
{
	switch (field->form) {
	case INSPECT_NUMBER:
		(void)fprintf(to, "%s%s %" PRIu64, before, field->name, field->number);
		return;
	case INSPECT_HEX:
		(void)fprintf(to, "%s%s 0x%" PRIx64, before, field->name, field->number);
		return;
	case INSPECT_TEXT:
		(void)fprintf(to, "%s%s %s", before, field->name, field->text);
		return;
	case INSPECT_BOOL:
		(void)fprintf(to, "%s%s %s", before, field->name, field->number ? "yes" : "no");
		return;
	}
}

static void text(const struct print_sink *sink, const struct inspect_item *item)
{
	FILE *to = sink->printer->to;

	if (sink->connection)
		(void)fprintf(to, "%-12s ", sink->connection);
	(void)fprintf(to, "0x%010" PRIx64 " %10" PRIu64 " ", item->offset, item->length);
	if (sink->printer->times)
		(void)fprintf(to, "%12.6f %9.6f ", (double)item->start_ns / 1e9,
			      (double)item->took_ns / 1e9);
	(void)fprintf(to, item->field_count ? "%-14s " : "%s", item->what);
	for (uint32_t i = 0; i < item->field_count; i++)
		text_field(to, &item->fields[i], i ? ", " : "");
	(void)fputc('\n', to);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static json_t *json_value(const struct inspect_field *field)
{
	switch (field->form) {
	case INSPECT_NUMBER:
	case INSPECT_HEX:
		if (field->number > INT64_MAX) /* no integer of JSON's readers has so much room */
			return json_sprintf("0x%" PRIx64, field->number);
		return json_integer((json_int_t)field->number);
	case INSPECT_TEXT:
		return json_string(field->text);
	case INSPECT_BOOL:
		return json_boolean(field->number);
	}
	return json_null();
}

static void json(const struct print_sink *sink, const struct inspect_item *item)
{
	json_t *all = json_object();

	if (sink->connection)
		(void)json_object_set_new(all, "connection", json_string(sink->connection));
	(void)json_object_set_new(all, "item", json_string(item->what));
	(void)json_object_set_new(all, "offset", json_integer((json_int_t)item->offset));
	(void)json_object_set_new(all, "length", json_integer((json_int_t)item->length));
	if (sink->printer->times) {
		(void)json_object_set_new(all, "start-ns",
					  json_integer((json_int_t)item->start_ns));
		(void)json_object_set_new(all, "took-ns", json_integer((json_int_t)item->took_ns));
	}
	for (uint32_t i = 0; i < item->field_count; i++)
		(void)json_object_set_new(all, item->fields[i].name, json_value(&item->fields[i]));
	(void)json_dumpf(all, sink->printer->to, JSON_COMPACT);
	(void)fputc('\n', sink->printer->to);
	json_decref(all);
}

void print_item(void *self, const struct inspect_item *item)
{
	const struct print_sink *sink = self;

	(void)pthread_mutex_lock(&sink->printer->lock);
	if (sink->printer->json)
		json(sink, item);
	else
		text(sink, item);
	(void)pthread_mutex_unlock(&sink->printer->lock);
}
