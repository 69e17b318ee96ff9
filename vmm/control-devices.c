/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the main loop has to do with a guest's devices: tell the operator what the host makes of
 * them, and end their work when the guest has crashed.
 */
#include <string.h>

#include "vmm/control-private.h"

/* Each is told once: the kernel repeats itself for as long as it waits, query-guest has it. */
void control_devices_wanted(struct control *control)
{
	const struct guest *guest = control->guest;
	uint32_t news = guest->devices_wanted & ~control->devices_wanted;

	control->devices_wanted = guest->devices_wanted;
	for (uint32_t i = 0; i < guest->device_count; i++) {
		if (!(news >> i & 1))
			continue;
		control_say(control,
			    "the host wants device %s back, and waits for it: migrate the guest, "
			    "or end it",
			    guest->devices[i].name);
		qmp_server_event(&control->server, "DEVICE_WANTED",
				 json_pack("{s:o}", "device", qmp_text(guest->devices[i].name)));
	}
}

void control_devices_reset(struct control *control)
{
	const struct guest *guest = control->guest;
	struct hf_error err = { 0 };

	if (!guest || !(control->guest_events & GUEST_EVENT_CRASH) || control->devices_reset ||
	    migration_active(control->migration) || migration_in_doubt(control->migration))
		return;
	control->devices_reset = true;
	/* A vCPU that is still on its way out could set a device to work again. */
	if (guest->machine.ops->stop(guest->machine.self, &err) < 0)
		control_say(control, "its vCPUs do not stop: %s", err.text);
	for (uint32_t i = 0; i < guest->device_count; i++) {
		const struct hf_device *device = &guest->devices[i].device;
		int r = device->ops->reset(device->self);

		if (r < 0)
			control_say(control,
				    "device %s cannot be reset, and may still be at work: %s",
				    guest->devices[i].name, strerror(-r));
	}
}
