/* SPDX-License-Identifier: BSD-3-Clause */
/* Dirty tracking behind filters: calls that fail or are late. */
#include <stdlib.h>

#include "backend/filter/filter.h"
#include "base/error.h"
#include "base/export.h"

struct filtered {
	struct hf_memory next;
	struct filter_point point;
};

/* 1: the call is made; *ret_result is what is returned instead of its result, if negative. */
static int passes(struct filtered *f, enum filter_memory_op op, int *ret_result)
{
	const struct filter_spec *spec = filter_strike(&f->point, op, 0);

	*ret_result = spec ? -spec->error : 0;
	return !spec || (spec->actions & FILTER_AFTER);
}

static int op_dirty_start(void *self)
{
	struct filtered *f = self;
	int instead;
	int r = passes(f, MEMORY_OP_DIRTY_START, &instead) ? f->next.ops->dirty_start(f->next.self)
							   : 0;

	return instead < 0 ? instead : r;
}

static int op_dirty_sync(void *self)
{
	struct filtered *f = self;
	int instead;
	int r = passes(f, MEMORY_OP_DIRTY_SYNC, &instead) ? f->next.ops->dirty_sync(f->next.self)
							  : 0;

	return instead < 0 ? instead : r;
}

static int op_dirty_read(void *self, uint32_t region, uint64_t *bitmap)
{
	struct filtered *f = self;
	int instead;
	int r = passes(f, MEMORY_OP_DIRTY_READ, &instead)
			? f->next.ops->dirty_read(f->next.self, region, bitmap)
			: 0;

	return instead < 0 ? instead : r;
}

static int op_dirty_stop(void *self)
{
	struct filtered *f = self;
	int instead;
	int r = passes(f, MEMORY_OP_DIRTY_STOP, &instead) ? f->next.ops->dirty_stop(f->next.self)
							  : 0;

	return instead < 0 ? instead : r;
}

static void op_close(void *self)
{
	struct filtered *f = self;

	if (!f)
		return;
	f->next.ops->close(f->next.self);
	free(f);
}

static const struct hf_memory_ops filtered_ops = {
	.size = sizeof(struct hf_memory_ops),
	.kind = "filter",
	.dirty_start = op_dirty_start,
	.dirty_sync = op_dirty_sync,
	.dirty_read = op_dirty_read,
	.dirty_stop = op_dirty_stop,
	.close = op_close,
};

HF_EXPORT int hf_filters_memory(struct hf_filters *filters, struct hf_memory *memory,
				struct hf_error *err)
{
	struct filter_point point;
	struct filtered *f;

	filter_point_init(&point, filters, FILTER_MEMORY, 0, NULL);
	if (!point.count || !memory->ops)
		return 0; /* a target has none */
	f = calloc(1, sizeof(*f));
	if (!f)
		return error_set(err, HF_E_NO_MEMORY, 0, "filter of the memory");
	f->next = *memory;
	f->point = point;
	*memory = (struct hf_memory){ .ops = &filtered_ops, .self = f };
	return 0;
}
