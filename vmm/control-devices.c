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

const char *control_irqs_name(uint32_t index)
{
	static const char *const names[] = { "INTx", "MSI", "MSI-X", "ERR", "REQ" };

	return index < sizeof(names) / sizeof(names[0]) ? names[index] : "?";
}

/* Each device once: a guest that is not told tries again, and again. */
void control_devices_irqs_failed(struct control *control)
{
	const struct guest *guest = control->guest;

	for (uint32_t i = 0; i < guest->device_count; i++) {
		int error = guest->irqs_failures[i].error;

		if (guest->irqs_failures[i].count == 0 || (control->devices_irqs_failed >> i & 1))
			continue;
		control->devices_irqs_failed |= 1u << i;
		control_say(control,
			    "device %s: its interrupts (%s) could not be set as the guest wants "
			    "them: %s (errno %d); the guest cannot be told, and may miss them",
			    guest->devices[i].name,
			    control_irqs_name(guest->irqs_failures[i].index), strerror(error),
			    error);
	}
}

void control_devices_p2p_refused(struct control *control)
{
	const struct guest *guest = control->guest;

	control_say(
		control,
		"device %s cannot reach device %s's memory by DMA (P2P), and others perhaps not "
		"either: %s (errno %d); the guest cannot be told",
		guest->devices[guest->p2p_refused.device].name,
		guest->devices[guest->p2p_refused.peer].name, strerror(guest->p2p_refused.error),
		guest->p2p_refused.error);
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
