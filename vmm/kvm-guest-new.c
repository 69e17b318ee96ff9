/* SPDX-License-Identifier: BSD-3-Clause */
/* A KVM guest by its configuration: opens the devices, and the rest is kvm-guest.c. */
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "kvm-guest.h"

/* A device's name: its kind and number ("sim0"), so that it is the same at source and target. */
static void name_device(const char *uri, uint32_t index, struct hf_session_device *device)
{
	(void)snprintf(device->name, sizeof(device->name), "%.*s%u", (int)strcspn(uri, ":="), uri,
		       index);
}

static int open_devices(const struct guest_config *config, const struct hf_device_host *host,
			struct hf_session_device *devices, uint32_t *count, struct hf_error *err)
{
	if (config->device_count > PCI_DEVICES_MAX)
		return fail(err, HF_E_INVALID, 0, "devices: %u are more than %u",
			    config->device_count, PCI_DEVICES_MAX);
	while (*count < config->device_count) {
		struct hf_session_device *device = &devices[*count];
		int r;

		name_device(config->devices[*count], *count, device);
		r = hf_device_open_for(host, config->devices[*count], device->name, &device->device,
				       err);
		if (r != 0) {
			(void)fail_prefix(err, "device %s", config->devices[*count]);
			return r;
		}
		(*count)++;
	}
	return 0;
}

int kvm_guest_new(const struct guest_config *config, struct guest **ret_guest, struct hf_error *err)
{
	struct hf_session_device devices[HF_DEVICES_MAX] = { 0 };
	struct kvm_guest *guest;
	struct hf_device_host host;
	uint32_t count = 0;
	int r = kvm_guest_begin(config, &guest, err);

	if (r != 0)
		return r;
	host = kvm_guest_host(guest);
	r = open_devices(config, &host, devices, &count, err);
	if (r != 0)
		guest->guest.ops->free(&guest->guest);
	else
		r = kvm_guest_finish(guest, config, devices, count, err);
	for (uint32_t i = 0; r != 0 && i < count; i++)
		hf_device_close(&devices[i].device);
	if (r == 0)
		*ret_guest = &guest->guest;
	return r;
}
