/* SPDX-License-Identifier: BSD-3-Clause */
/* A machine behind filters: calls that fail or are late. */
#include <stdlib.h>
#include <string.h>

#include "backend/filter/filter.h"
#include "base/error.h"
#include "base/export.h"

struct filter_machine {
	struct hf_machine next;
	struct filter_point point;
	struct filter_machine *sibling; /* in the set's list */
};

/* call is made at most once. */
#define FILTERED(op, name, call)                                                                   \
	do {                                                                                       \
		struct filter_machine *f = self;                                                   \
		const struct filter_spec *spec_ = filter_strike(&f->point, op, 0);                 \
		if (!spec_)                                                                        \
			return (call);                                                             \
		if (spec_->actions & FILTER_AFTER) {                                               \
			struct hf_error unseen_;                                                   \
			struct hf_error *saved_ = err;                                             \
			memset(&unseen_, 0, sizeof(unseen_));                                      \
			err = &unseen_;                                                            \
			(void)(call); /* it fails all the same, with our reason */                 \
			err = saved_;                                                              \
		}                                                                                  \
		return error_set(err, HF_E_MACHINE_STATE, spec_->error, "filter: machine." name);  \
	} while (0)

static int op_describe(void *self, void *buf, uint32_t capacity, uint32_t *ret_length,
		       struct hf_error *err)
{
	FILTERED(MACHINE_OP_DESCRIBE, "describe",
		 f->next.ops->describe(f->next.self, buf, capacity, ret_length, err));
}

static int op_check(void *self, const void *shape, uint32_t length, struct hf_error *err)
{
	FILTERED(MACHINE_OP_CHECK, "check", f->next.ops->check(f->next.self, shape, length, err));
}

static int op_stop(void *self, struct hf_error *err)
{
	FILTERED(MACHINE_OP_STOP, "stop", f->next.ops->stop(f->next.self, err));
}

static int op_run(void *self, struct hf_error *err)
{
	FILTERED(MACHINE_OP_RUN, "run", f->next.ops->run(f->next.self, err));
}

static int op_throttle(void *self, uint32_t percent, struct hf_error *err)
{
	FILTERED(MACHINE_OP_THROTTLE, "throttle",
		 f->next.ops->throttle(f->next.self, percent, err));
}

static int op_state_save(void *self, uint32_t index, struct hf_state_section *ret_section,
			 void *buf, uint32_t capacity, struct hf_error *err)
{
	FILTERED(MACHINE_OP_STATE_SAVE, "state_save",
		 f->next.ops->state_save(f->next.self, index, ret_section, buf, capacity, err));
}

static int op_state_load(void *self, const struct hf_state_section *section, const void *buf,
			 struct hf_error *err)
{
	FILTERED(MACHINE_OP_STATE_LOAD, "state_load",
		 f->next.ops->state_load(f->next.self, section, buf, err));
}

static int op_state_check(void *self, struct hf_error *err)
{
	FILTERED(MACHINE_OP_STATE_CHECK, "state_check",
		 f->next.ops->state_check(f->next.self, err));
}

static int op_device_save(void *self, uint32_t device, void *buf, uint32_t capacity,
			  uint32_t *ret_length, struct hf_error *err)
{
	FILTERED(MACHINE_OP_DEVICE_SAVE, "device_save",
		 f->next.ops->device_save(f->next.self, device, buf, capacity, ret_length, err));
}

static int op_device_load(void *self, uint32_t device, const void *buf, uint32_t length,
			  struct hf_error *err)
{
	FILTERED(MACHINE_OP_DEVICE_LOAD, "device_load",
		 f->next.ops->device_load(f->next.self, device, buf, length, err));
}

static const struct hf_machine_ops filtered_ops = {
	.size = sizeof(struct hf_machine_ops),
	.describe = op_describe,
	.check = op_check,
	.stop = op_stop,
	.run = op_run,
	.throttle = op_throttle,
	.state_save = op_state_save,
	.state_load = op_state_load,
	.state_check = op_state_check,
	.device_save = op_device_save,
	.device_load = op_device_load,
};

HF_EXPORT int hf_filters_machine(struct hf_filters *filters, struct hf_machine *machine,
				 struct hf_error *err)
{
	struct filter_point point;
	struct filter_machine *f;

	filter_point_init(&point, filters, FILTER_MACHINE, 0, NULL);
	if (!point.count)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return error_set(err, HF_E_NO_MEMORY, 0, "filter of the machine");
	f->next = *machine;
	f->point = point;
	f->sibling = filters->machines;
	filters->machines = f;
	*machine = (struct hf_machine){ .ops = &filtered_ops, .self = f };
	return 0;
}

void filter_machines_free(struct filter_machine *machines)
{
	while (machines) {
		struct filter_machine *sibling = machines->sibling;

		free(machines);
		machines = sibling;
	}
}
