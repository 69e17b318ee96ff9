/* SPDX-License-Identifier: BSD-3-Clause */
/* The set of filters that a session or an operator has asked for. */
#include <stdlib.h>

#include "backend/filter/filter.h"
#include "base/error.h"
#include "base/export.h"

HF_EXPORT int hf_filters_new(struct hf_filters **ret_filters, struct hf_error *err)
{
	struct hf_filters *filters = calloc(1, sizeof(*filters));

	if (!filters)
		return error_set(err, HF_E_NO_MEMORY, 0, "filters");
	*ret_filters = filters;
	return 0;
}

HF_EXPORT int hf_filters_add(struct hf_filters *filters, const char *spec, struct hf_error *err)
{
	int r;

	if (filters->count == FILTERS_MAX)
		return error_set(err, HF_E_INVALID, 0, "more than %u filters", FILTERS_MAX);
	r = filter_spec_parse(spec, &filters->specs[filters->count], err);
	if (r < 0)
		return r;
	filters->count++;
	return 0;
}

HF_EXPORT struct hf_filters *hf_filters_free(struct hf_filters *filters)
{
	if (filters) {
		filter_machines_free(filters->machines);
		free(filters);
	}
	return NULL;
}
