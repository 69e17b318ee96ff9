/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The interrupt pin of one function: a level-triggered pin of the IOAPIC. The device signals an
 * eventfd and masks itself; KVM holds the pin until the guest ends the interrupt (EOI), lets it go
 * and signals another eventfd, by which the device unmasks itself, and signals again if it still
 * wants something (KVM_IRQFD_FLAG_RESAMPLE). Two devices may have one pin: KVM unmasks both.
 *
 * The device has the eventfds (armed) unless MSI or MSI-X is enabled. They lead into KVM (attached)
 * while, besides, COMMAND does not disable the pin, and the vCPUs can run. Taking KVM off lets go
 * of a pin that is held, and whether it was, KVM does not tell: so from then on the interrupt is
 * pending, and raised anew with the next attachment. One too many does no harm, as a pin may be
 * shared; one too few would leave the device masked for ever.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fail.h"
#include "pci-device.h"

#define INTERRUPT_LINE 0x3cu
#define INTERRUPT_PIN 0x3du
#define PIN_A 1u /* a device with one function has no other (PCI 3.0, 2.2.6) */

int intx_new(struct pci_device *device, struct hf_error *err)
{
	struct intx *intx = &device->intx;
	uint32_t count = 0;
	int r = device->device.ops->irq_count(device->device.self, IRQ_INDEX_INTX, &count);

	intx->trigger = intx->resample = -1;
	if (r < 0)
		return fail(err, HF_E_DEVICE_CONFIG, -r, "its interrupt pin cannot be asked for");
	intx->present = count != 0;
	intx->gsi = irq_pin_of(device->index + 1);
	pci_config_emulate(device, INTERRUPT_PIN, 1, intx->present ? PIN_A : 0, 0);
	pci_config_emulate(device, INTERRUPT_LINE, 1, intx->present ? intx->gsi : 0, 0xff);
	if (!intx->present)
		return 0;
	intx->trigger = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (intx->trigger >= 0)
		intx->resample = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (intx->resample < 0)
		return fail(err, HF_E_SYSTEM, errno, "eventfds for its interrupt pin");
	return 0;
}

/* What the device has signalled, and nobody has taken, is pending. Only while KVM is off. */
static int drain(struct intx *intx)
{
	uint64_t count;

	if (read(intx->trigger, &count, sizeof(count)) == (ssize_t)sizeof(count)) {
		intx->pending = true;
		return 0;
	}
	return errno == EAGAIN ? 0 : -errno;
}

static int attach(struct pci_device *device)
{
	struct intx *intx = &device->intx;
	uint64_t count;
	int r = drain(intx);

	if (r == 0)
		r = irq_pin_attach(device->pci->irq, intx->trigger, intx->resample, intx->gsi);
	if (r < 0)
		return r;
	intx->attached = true;
	/* What came in between KVM has raised, and left in the eventfd (see vectors.c). */
	(void)!read(intx->trigger, &count, sizeof(count)); /* EAGAIN: as it should be */
	return 0;
}

static int detach(struct pci_device *device)
{
	struct intx *intx = &device->intx;
	int r = irq_pin_detach(device->pci->irq, intx->trigger, intx->resample, intx->gsi);

	if (r < 0)
		return r;
	intx->attached = false;
	intx->pending = true; /* it may have been: see above */
	return 0;
}

/* Into KVM, as if the device had just done it. */
static int raise_pending(struct intx *intx)
{
	const uint64_t one = 1;

	if (write(intx->trigger, &one, sizeof(one)) != (ssize_t)sizeof(one))
		return -errno;
	intx->pending = false;
	return 0;
}

static int disarm(struct pci_device *device)
{
	struct intx *intx = &device->intx;
	int r = pci_irqs_set(device, IRQ_INDEX_INTX, 0, NULL);

	if (r < 0)
		return r;
	intx->armed = false;
	r = drain(intx);
	intx->pending = false; /* its messages tell the guest now, or nothing does */
	return r;
}

static bool wants_armed(const struct pci_device *device)
{
	return device->intx.present && !msi_enabled(device) && !msix_enabled(device);
}

static bool wants_attached(const struct pci_device *device)
{
	return wants_armed(device) && device->pci->connected &&
	       (pci_config_u16(device, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE) == 0;
}

int intx_release(struct pci_device *device)
{
	struct intx *intx = &device->intx;
	int r = 0;

	if (intx->attached && !wants_attached(device))
		r = detach(device);
	if (r == 0 && intx->armed && !wants_armed(device))
		r = disarm(device);
	return r;
}

int intx_update(struct pci_device *device)
{
	struct intx *intx = &device->intx;
	const int eventfds[2] = { intx->trigger, intx->resample };
	int r = 0;

	if (!intx->armed && wants_armed(device)) {
		r = pci_irqs_set(device, IRQ_INDEX_INTX, 2, eventfds);
		intx->armed = r == 0;
	}
	if (r == 0 && !intx->attached && wants_attached(device))
		r = attach(device);
	if (r == 0 && intx->attached && intx->pending)
		r = raise_pending(intx);
	return r;
}

int intx_collect(struct pci_device *device)
{
	struct intx *intx = &device->intx;
	int r = 0;

	if (intx->attached)
		r = detach(device); /* waits for what KVM's worker still has */
	return r == 0 && intx->armed ? drain(intx) : r;
}

void intx_free(struct pci_device *device)
{
	struct intx *intx = &device->intx;

	if (!intx->present)
		return;
	if (intx->armed)
		(void)pci_irqs_set(device, IRQ_INDEX_INTX, 0, NULL); /* closing does the same */
	if (intx->trigger >= 0)
		(void)close(intx->trigger); /* by that KVM lets go of it */
	if (intx->resample >= 0)
		(void)close(intx->resample);
}
