/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parameters of a migration: their names, units and limits (the lists are in migrate.h), from
 * and to JSON.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/control-loop.h"
#include "vmm/migrate.h"

struct number {
	const char *name;
	size_t offset;
	uint64_t unit, least, most, standard;
};

#define NUMBER(name, member, unit, least, most, standard)                                          \
	{ name, offsetof(struct migrate_parameters, member), unit, least, most, standard },
static const struct number numbers[] = { MIGRATE_NUMBERS(NUMBER) };
#undef NUMBER

#define NUMBER_COUNT (sizeof(numbers) / sizeof(numbers[0]))

static uint64_t *number_at(struct migrate_parameters *parameters, const struct number *number)
{
	return (uint64_t *)(void *)((char *)parameters + number->offset);
}

static uint64_t number_of(const struct migrate_parameters *parameters, const struct number *number)
{
	uint64_t value;

	memcpy(&value, (const char *)parameters + number->offset, sizeof(value));
	return value / number->unit;
}

void migrate_parameters_init(struct migrate_parameters *parameters)
{
	memset(parameters, 0, sizeof(*parameters));
	for (size_t i = 0; i < NUMBER_COUNT; i++)
		*number_at(parameters, &numbers[i]) = numbers[i].standard * numbers[i].unit;
	(void)snprintf(parameters->ledger, sizeof(parameters->ledger), "none");
}

static int set_number(struct migrate_parameters *parameters, const struct number *number,
		      const json_t *value, struct hf_error *err)
{
	uint64_t wanted;

	if (!value)
		return 0;
	wanted = (uint64_t)json_integer_value(value); /* not negative: the type was checked */
	if (wanted < number->least || wanted > number->most)
		return control_error(err, HF_E_INVALID, 0,
				     "Parameter '%s' is %" PRIu64 ", and has to be %" PRIu64
				     " to %" PRIu64,
				     number->name, wanted, number->least, number->most);
	*number_at(parameters, number) = wanted * number->unit;
	return 0;
}

static int set_text(char *text, size_t size, const char *name, const json_t *value,
		    struct hf_error *err)
{
	if (!value)
		return 0;
	if (json_string_length(value) >= size)
		return control_error(err, HF_E_INVALID, 0,
				     "Parameter '%s' is longer than %zu characters", name,
				     size - 1);
	memcpy(text, json_string_value(value), json_string_length(value) + 1);
	return 0;
}

static int set_on_device_lost(struct migrate_parameters *parameters, const json_t *value,
			      struct hf_error *err)
{
	const char *word = json_string_value(value);

	if (!word)
		return 0;
	if (strcmp(word, "pause") != 0 && strcmp(word, "resume") != 0)
		return control_error(err, HF_E_INVALID, 0,
				     "Parameter 'on-device-lost' is '%.40s', and has to be 'pause' "
				     "or 'resume'",
				     word);
	parameters->on_device_lost_resume = strcmp(word, "resume") == 0;
	return 0;
}

int migrate_parameters_add_filter(struct migrate_parameters *parameters, const char *spec,
				  struct hf_error *err)
{
	if (parameters->filter_count == MIGRATE_FILTERS_MAX)
		return control_error(err, HF_E_INVALID, 0, "filter %.60s: there are %u already",
				     spec, MIGRATE_FILTERS_MAX);
	if (strlen(spec) >= MIGRATE_FILTER_MAX)
		return control_error(err, HF_E_INVALID, 0,
				     "filter %.60s...: longer than %u characters", spec,
				     MIGRATE_FILTER_MAX - 1);
	memcpy(parameters->filters[parameters->filter_count++], spec, strlen(spec) + 1);
	return 0;
}

/* Filters from QMP replace those that were set before. */
static int set_filters(struct migrate_parameters *parameters, const json_t *list,
		       struct hf_error *err)
{
	int result = 0;

	if (!list)
		return 0;
	parameters->filter_count = 0;
	for (size_t i = 0; i < json_array_size(list) && result == 0; i++)
		result = migrate_parameters_add_filter(
			parameters, json_string_value(json_array_get(list, i)), err);
	return result;
}

int migrate_parameters_set(struct migrate_parameters *parameters, const json_t *arguments,
			   struct hf_error *err)
{
	struct migrate_parameters wanted = *parameters;
	int result = 0;

	for (size_t i = 0; i < NUMBER_COUNT && result == 0; i++)
		result = set_number(&wanted, &numbers[i],
				    json_object_get(arguments, numbers[i].name), err);
	for (size_t i = 0; i < NUMBER_COUNT && result == 0; i++)
		if (strcmp(numbers[i].name, "multifd-channels") == 0)
			result = set_number(&wanted, &numbers[i],
					    json_object_get(arguments, "channels"), err);
	if (result == 0)
		result = set_on_device_lost(&wanted, json_object_get(arguments, "on-device-lost"),
					    err);
	if (result == 0)
		result = set_text(wanted.ledger, sizeof(wanted.ledger), "ledger",
				  json_object_get(arguments, "ledger"), err);
	if (result == 0)
		result = set_text(wanted.capture, sizeof(wanted.capture), "capture",
				  json_object_get(arguments, "capture"), err);
	if (result == 0)
		result = set_text(wanted.record, sizeof(wanted.record), "record",
				  json_object_get(arguments, "record"), err);
	if (result == 0)
		result = set_filters(&wanted, json_object_get(arguments, "filters"), err);
	if (result == 0)
		*parameters = wanted;
	return result;
}

json_t *migrate_parameters_json(const struct migrate_parameters *parameters)
{
	json_t *all = json_object(), *filters = json_array();

	for (size_t i = 0; i < NUMBER_COUNT; i++)
		(void)json_object_set_new(
			all, numbers[i].name,
			json_integer((json_int_t)number_of(parameters, &numbers[i])));
	for (uint32_t i = 0; i < parameters->filter_count; i++)
		(void)json_array_append_new(filters, json_string(parameters->filters[i]));
	(void)json_object_set_new(
		all, "on-device-lost",
		json_string(parameters->on_device_lost_resume ? "resume" : "pause"));
	(void)json_object_set_new(all, "ledger", json_string(parameters->ledger));
	(void)json_object_set_new(all, "capture", json_string(parameters->capture));
	(void)json_object_set_new(all, "record", json_string(parameters->record));
	(void)json_object_set_new(all, "filters", filters);
	return all;
}
