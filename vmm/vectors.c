/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Message-signalled vectors of one function, whoever describes them to the guest (msix.c, msi.c).
 * The device only signals eventfds. While a vector is on and unmasked, KVM takes its eventfd's
 * counts (irqfd); while it is not, they stay in the eventfd and show as the pending bit.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fail.h"
#include "pci-device.h"

int vectors_new(struct pci_device *device, struct vectors *vectors, uint32_t index, uint32_t count,
		struct hf_error *err)
{
	int r;

	vectors->vector = calloc(count, sizeof(*vectors->vector));
	if (vectors->vector == NULL)
		return fail(err, HF_E_NO_MEMORY, ENOMEM, "%u vectors", count);
	vectors->index = index;
	vectors->count = count;
	for (uint32_t i = 0; i < count; i++)
		vectors->vector[i] = (struct vector){ .eventfd = -1, .masked = true };
	r = irq_messages_new(device->pci->irq, count);
	if (r < 0)
		return fail(err, HF_E_UNSUPPORTED, -r, "%u more interrupt vectors", count);
	for (uint32_t i = 0; i < count; i++) {
		vectors->vector[i].gsi = (uint32_t)r + i;
		vectors->vector[i].eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (vectors->vector[i].eventfd < 0)
			return fail(err, HF_E_SYSTEM, errno, "eventfd for vector %u", i);
	}
	return 0;
}

void vectors_free(struct pci_device *device, struct vectors *vectors)
{
	if (vectors->vector == NULL)
		return;
	if (vectors->armed)
		(void)pci_irqs_set(device, vectors->index, 0, NULL); /* closing does the same */
	for (uint32_t i = 0; i < vectors->count; i++)
		if (vectors->vector[i].eventfd >= 0)
			(void)close(vectors->vector[i].eventfd); /* by that KVM lets go of it */
	free(vectors->vector);
	vectors->vector = NULL;
}

/* Counts that are in the eventfd become the pending bit. Only while nobody is attached. */
static int drain(struct vector *vector)
{
	uint64_t count;

	if (read(vector->eventfd, &count, sizeof(count)) == (ssize_t)sizeof(count)) {
		vector->pending = true;
		return 0;
	}
	return errno == EAGAIN ? 0 : -errno;
}

static bool live(const struct vectors *vectors, const struct vector *vector)
{
	return vectors->on && !vector->masked;
}

static struct irq_message message_of(const struct vector *vector)
{
	return (struct irq_message){
		.address = (uint64_t)vector->address_high << 32 | vector->address_low,
		.data = vector->data,
	};
}

static int detach(struct irq *irq, struct vector *vector)
{
	int r = irq_eventfd_detach(irq, vector->eventfd, vector->gsi);

	if (r == 0)
		vector->attached = false;
	return r;
}

/*
 * What is in the eventfd becomes pending. What comes between that and attaching, KVM raises, and
 * leaves in the eventfd, where it would look like another one later: so that is thrown away.
 */
static int attach(struct irq *irq, struct vector *vector)
{
	uint64_t count;
	int r = drain(vector);

	if (r == 0)
		r = irq_eventfd_attach(irq, vector->eventfd, vector->gsi);
	if (r == 0) {
		vector->attached = true;
		(void)!read(vector->eventfd, &count, sizeof(count)); /* EAGAIN: as it should be */
	}
	return r;
}

static int update(struct pci_device *device, const struct vectors *vectors, struct vector *vector,
		  bool deliver)
{
	struct irq *irq = device->pci->irq;
	const struct irq_message message = message_of(vector);
	bool wanted = live(vectors, vector);
	int r = 0;

	if (vector->attached && !wanted)
		return detach(irq, vector);
	if (!vector->attached && wanted)
		r = attach(irq, vector);
	if (r == 0 && wanted && deliver && vector->pending) {
		r = irq_message_send(irq, &message);
		if (r == 0)
			vector->pending = false;
	}
	return r;
}

/* The routes of the vectors that are live, as their messages say. */
static int routes_update(struct pci_device *device, const struct vectors *vectors, uint32_t first,
			 uint32_t count)
{
	struct irq *irq = device->pci->irq;
	bool changed = false;

	for (uint32_t i = first; i < first + count; i++) {
		const struct vector *vector = &vectors->vector[i];
		const struct irq_message message = message_of(vector);

		if (live(vectors, vector) && irq_route(irq, vector->gsi, &message))
			changed = true;
	}
	return changed ? irq_routes_push(irq) : 0;
}

int vectors_update(struct pci_device *device, struct vectors *vectors, uint32_t first,
		   uint32_t count, bool deliver)
{
	int result = routes_update(device, vectors, first, count);

	for (uint32_t i = first; i < first + count && result == 0; i++)
		result = update(device, vectors, &vectors->vector[i], deliver);
	return result;
}

/* All eventfds at once: it cannot be said of a device that it is able to take more later. */
int vectors_arm(struct pci_device *device, struct vectors *vectors, uint32_t count)
{
	int *fds = calloc(count, sizeof(*fds));
	int r;

	if (fds == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		fds[i] = vectors->vector[i].eventfd;
	r = pci_irqs_set(device, vectors->index, count, fds);
	free(fds);
	if (r == 0)
		vectors->armed = true;
	return r;
}

int vectors_disarm(struct pci_device *device, struct vectors *vectors)
{
	int r = pci_irqs_set(device, vectors->index, 0, NULL);

	if (r < 0)
		return r;
	vectors->armed = false;
	for (uint32_t i = 0; i < vectors->count; i++) {
		r = drain(&vectors->vector[i]);
		if (r < 0)
			return r;
		vectors->vector[i].pending = false; /* disabled: what came is void */
	}
	return 0;
}

/*
 * Does KVM deliver this message within the device's own signal? It does for a fixed, edge-triggered
 * message to one LAPIC by its physical id (kvm_irq_delivery_to_apic_fast()); others it may leave to
 * a worker of its own.
 */
static bool delivered_at_once(const struct vector *vector)
{
	const uint32_t address_mask = 0xfff0000cu; /* not: redirection hint, logical destination */
	const uint32_t data_mask = 0x8700u; /* not: level-triggered, another delivery mode */
	uint32_t destination = vector->address_low >> 12 & 0xff;

	return vector->address_high == 0 && (vector->address_low & address_mask) == 0xfee00000u &&
	       destination != 0xff && (vector->data & data_mask) == 0;
}

/*
 * Only detaching waits for KVM's worker, and can take seconds on a busy host, so it is done only
 * where it is needed. Who is detached is attached again when the vCPUs run.
 */
int vectors_collect(struct pci_device *device, struct vectors *vectors)
{
	for (uint32_t i = 0; i < vectors->count; i++) {
		struct vector *vector = &vectors->vector[i];
		int r = 0;

		if (vector->attached && !delivered_at_once(vector))
			r = detach(device->pci->irq, vector);
		if (r == 0 && !vector->attached)
			r = drain(vector);
		if (r < 0)
			return r;
	}
	return 0;
}

bool vectors_pending(struct vectors *vectors, uint32_t index)
{
	struct vector *vector = &vectors->vector[index];

	if (!vector->attached)
		(void)drain(vector); /* an eventfd of ours: cannot fail */
	return vector->pending;
}
