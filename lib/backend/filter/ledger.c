/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ledger behind filters. A fault is an answer that did not come: whoever asked does not know
 * whether it happened; with "after" it has.
 */
#include <stdlib.h>

#include "backend/filter/filter.h"
#include "backend/ledger.h"
#include "base/error.h"
#include "base/export.h"

struct filtered {
	struct hf_ledger next;
	struct filter_point point;
};

static int no_answer(const struct filter_spec *spec, struct hf_error *err)
{
	return error_set(err, HF_E_LEDGER_UNKNOWN, spec->error, "filter: the ledger's answer");
}

static int op_read(void *self, const char *guest, struct hf_ledger_record *ret_record,
		   struct hf_error *err)
{
	struct filtered *f = self;
	const struct filter_spec *spec = filter_strike(&f->point, LEDGER_OP_READ, 0);

	if (!spec)
		return f->next.ops->read(f->next.self, guest, ret_record, err);
	return no_answer(spec, err); /* reading changes nothing: before or after is the same */
}

static int op_swap(void *self, const struct hf_ledger_record *record,
		   struct hf_ledger_record *ret_now, struct hf_error *err)
{
	struct filtered *f = self;
	const struct filter_spec *spec = filter_strike(&f->point, LEDGER_OP_SWAP, record->state);
	struct hf_ledger_record unseen;

	if (!spec)
		return f->next.ops->swap(f->next.self, record, ret_now, err);
	if (spec->actions & FILTER_AFTER)
		(void)f->next.ops->swap(f->next.self, record, &unseen, NULL);
	return no_answer(spec, err);
}

/* For operators: sessions do not list, so no filter names it. */
static int op_list(void *self, void (*each)(void *ctx, const struct hf_ledger_record *record),
		   void *ctx, struct hf_error *err)
{
	struct filtered *f = self;

	return ledger_list(&f->next, each, ctx, err);
}

static void op_close(void *self)
{
	struct filtered *f = self;

	if (!f)
		return;
	f->next.ops->close(f->next.self);
	free(f);
}

static const struct hf_ledger_ops filtered_ops = {
	.size = sizeof(struct hf_ledger_ops),
	.kind = "filter",
	.read = op_read,
	.swap = op_swap,
	.close = op_close,
	.list = op_list,
};

HF_EXPORT int hf_filters_ledger(struct hf_filters *filters, struct hf_ledger *ledger,
				struct hf_error *err)
{
	struct filter_point point;
	struct filtered *f;

	filter_point_init(&point, filters, FILTER_LEDGER, 0, NULL);
	if (!point.count)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return error_set(err, HF_E_NO_MEMORY, 0, "filter of the ledger");
	f->next = *ledger;
	f->point = point;
	ledger->ops = &filtered_ops; /* its URI stays: it is the same ledger */
	ledger->self = f;
	return 0;
}
