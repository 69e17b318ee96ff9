/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's machine as sessions get it: every call goes on to the guest's own table, and stop and
 * run leave behind whether it runs. Decides nothing.
 */
#include "vmm/migrate.h"

static int machine_describe(void *self, void *buf, uint32_t capacity, uint32_t *ret_length,
			    struct hf_error *err)
{
	struct migrate_machine *machine = self;

	return machine->inner.ops->describe(machine->inner.self, buf, capacity, ret_length, err);
}

static int machine_check(void *self, const void *shape, uint32_t length, struct hf_error *err)
{
	struct migrate_machine *machine = self;

	return machine->inner.ops->check(machine->inner.self, shape, length, err);
}

static int machine_stop(void *self, struct hf_error *err)
{
	struct migrate_machine *machine = self;
	int result = machine->inner.ops->stop(machine->inner.self, err);

	if (result == 0)
		atomic_store(&machine->running, false);
	return result;
}

static int machine_run(void *self, struct hf_error *err)
{
	struct migrate_machine *machine = self;
	int result = machine->inner.ops->run(machine->inner.self, err);

	if (result == 0)
		atomic_store(&machine->running, true);
	return result;
}

static int machine_throttle(void *self, uint32_t percent, struct hf_error *err)
{
	struct migrate_machine *machine = self;

	return machine->inner.ops->throttle(machine->inner.self, percent, err);
}

static int machine_state_save(void *self, uint32_t index, struct hf_state_section *ret_section,
			      void *buf, uint32_t capacity, struct hf_error *err)
{
	struct migrate_machine *machine = self;

	return machine->inner.ops->state_save(machine->inner.self, index, ret_section, buf,
					      capacity, err);
}

static int machine_state_load(void *self, const struct hf_state_section *section, const void *buf,
			      struct hf_error *err)
{
	struct migrate_machine *machine = self;

	return machine->inner.ops->state_load(machine->inner.self, section, buf, err);
}

static int machine_state_check(void *self, struct hf_error *err)
{
	struct migrate_machine *machine = self;

	return machine->inner.ops->state_check(machine->inner.self, err);
}

static int machine_device_save(void *self, uint32_t device, void *buf, uint32_t capacity,
			       uint32_t *ret_length, struct hf_error *err)
{
	struct migrate_machine *machine = self;

	return machine->inner.ops->device_save(machine->inner.self, device, buf, capacity,
					       ret_length, err);
}

static int machine_device_load(void *self, uint32_t device, const void *buf, uint32_t length,
			       struct hf_error *err)
{
	struct migrate_machine *machine = self;

	return machine->inner.ops->device_load(machine->inner.self, device, buf, length, err);
}

static const struct hf_machine_ops machine_ops = {
	.size = sizeof(struct hf_machine_ops),
	.describe = machine_describe,
	.check = machine_check,
	.stop = machine_stop,
	.run = machine_run,
	.throttle = machine_throttle,
	.state_save = machine_state_save,
	.state_load = machine_state_load,
	.state_check = machine_state_check,
	.device_save = machine_device_save,
	.device_load = machine_device_load,
};

void migrate_machine_init(struct migrate_machine *machine, struct hf_machine inner)
{
	machine->inner = inner;
	atomic_init(&machine->running, false); /* guests come paused */
}

struct hf_machine migrate_machine_handle(struct migrate_machine *machine)
{
	return (struct hf_machine){ &machine_ops, machine };
}
