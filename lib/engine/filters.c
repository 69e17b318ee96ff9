/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filters in front of what a session uses. A filter owns what it wraps, but devices, memory and
 * ledger stay the caller's: so what is wrapped is a copy of their table whose close() does nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "engine/actions.h"

struct filtered {
	struct hf_device_ops device_ops[HF_DEVICES_MAX];
	struct hf_memory_ops memory_ops;
	struct hf_ledger_ops ledger_ops;
	struct hf_device devices[HF_DEVICES_MAX];
	uint32_t device_count;
	bool memory, ledger;
};

static void keep_open(void *self)
{
	(void)self; /* the caller closes it */
}

static int wrap_devices(struct session *session, struct filtered *filtered, struct hf_error *err)
{
	for (uint32_t i = 0; i < session->device_count; i++) {
		struct hf_device *device = &filtered->devices[i];
		int code;

		filtered->device_ops[i] = *session->slots[i].device.raw.ops;
		filtered->device_ops[i].close = keep_open;
		*device = (struct hf_device){ &filtered->device_ops[i],
					      session->slots[i].device.raw.self };
		filtered->device_count = i + 1;
		code = hf_filters_device(session->config.filters, i, device, err);
		if (code < 0)
			return code;
		session->slots[i].device.raw = *device;
	}
	return 0;
}

/* Before the devices are bound; session->slots[].device.raw is set. */
int filters_init(struct session *session, struct hf_error *err)
{
	struct hf_filters *filters = session->config.filters;
	struct filtered *filtered;
	int code;

	if (!filters)
		return 0;
	filtered = session_alloc(session, sizeof(*filtered));
	if (!filtered)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "filters");
	session->filtered = filtered;
	code = wrap_devices(session, filtered, err);
	if (code < 0)
		return code;
	if (session->raw_memory.ops) {
		filtered->memory_ops = *session->raw_memory.ops;
		filtered->memory_ops.close = keep_open;
		session->raw_memory.ops = &filtered->memory_ops;
		filtered->memory = true;
		code = hf_filters_memory(filters, &session->raw_memory, err);
		if (code < 0)
			return code;
	}
	filtered->ledger_ops = *session->ledger.ops;
	filtered->ledger_ops.close = keep_open;
	session->ledger.ops = &filtered->ledger_ops;
	filtered->ledger = true;
	code = hf_filters_ledger(filters, &session->ledger, err);
	if (code < 0)
		return code;
	return hf_filters_machine(filters, &session->machine, err);
}

void filters_done(struct session *session)
{
	struct filtered *filtered = session->filtered;

	if (!filtered)
		return;
	for (uint32_t i = 0; i < filtered->device_count; i++)
		hf_device_close(&filtered->devices[i]);
	if (filtered->memory)
		hf_memory_close(&session->raw_memory);
	if (filtered->ledger)
		hf_ledger_close(&session->ledger);
	free(filtered);
	session->filtered = NULL;
}
