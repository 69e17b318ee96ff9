/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the main loop has to do with a guest's devices: tell the operator what the host makes of
 * them.
 */
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
