/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The power state of one function (PCI Bus Power Management Interface Specification 1.2, 5.4.1) and
 * its BARs. The register is the device's own. Outside of D0 a function answers in configuration
 * space only, and the kernel lets nobody reach the BARs of one in D3hot: a vCPU that touched a
 * memory slot of it would end its guest. So nothing is decoded then, whatever COMMAND says, and the
 * guest reads ones there, as on a PC.
 */
#include "fail.h"
#include "pci-device.h"

#define CAP_POWER 0x01u
#define CONTROL 4u /* in the capability */
#define STATE 3u

static int ask(struct pci_device *device, uint8_t *ret_state)
{
	uint8_t control;
	int r = pci_config_read(device, device->power.control, &control, sizeof(control));

	if (r == 0)
		*ret_state = control & STATE;
	return r;
}

int power_new(struct pci_device *device, struct hf_error *err)
{
	struct power *power = &device->power;
	uint32_t capability;
	int r = pci_capability(device, CAP_POWER, &capability);

	if (r == 0 && capability != 0 && capability <= PCI_CONFIG_SIZE - 8) {
		power->control = capability + CONTROL;
		r = ask(device, &power->state);
	}
	return r < 0 ? fail(err, HF_E_DEVICE_CONFIG, -r, "its power state cannot be read") : 0;
}

bool power_on(const struct pci_device *device)
{
	return device->power.state == 0;
}

/* The BARs go before the function does. */
int power_before(struct pci_device *device, uint32_t offset, const uint8_t *data, uint32_t size)
{
	struct power *power = &device->power;
	uint8_t state;

	if (power->control == 0 || power->control < offset || power->control - offset >= size)
		return 0;
	state = data[power->control - offset] & STATE;
	if (state == 0 || power->state != 0)
		return 0;
	power->state = state;
	return bars_update(device);
}

/* And come when it is there: by this register, or by a reset of its own (FLR). */
int power_after(struct pci_device *device)
{
	struct power *power = &device->power;
	int r;

	if (power->state == 0)
		return 0;
	r = ask(device, &power->state);
	return r == 0 && power->state == 0 ? bars_update(device) : r;
}
