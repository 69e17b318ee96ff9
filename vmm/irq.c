/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts into the guest. KVM_SET_GSI_ROUTING takes the whole table, so we keep it. */
#include "irq.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "fail.h"

#define ROUTES_MAX (2u * IRQ_FIRST_MSI + IRQ_GSI_MAX)

static void add_pin(struct kvm_irq_routing *routing, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	routing->entries[routing->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

/* As on a PC: ISA lines reach PIC and IOAPIC, and line 0 is the IOAPIC's pin 2. */
static void add_pins(struct kvm_irq_routing *routing)
{
	for (uint32_t gsi = 0; gsi < IRQ_FIRST_MSI; gsi++) {
		if (gsi < 8)
			add_pin(routing, gsi, KVM_IRQCHIP_PIC_MASTER, gsi);
		else if (gsi < 16)
			add_pin(routing, gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8);
		if (gsi == 0)
			add_pin(routing, gsi, KVM_IRQCHIP_IOAPIC, 2);
		else if (gsi != 2)
			add_pin(routing, gsi, KVM_IRQCHIP_IOAPIC, gsi);
	}
}

static int push(const struct irq *irq)
{
	return ioctl(irq->vm->vm_fd, KVM_SET_GSI_ROUTING, irq->routing) < 0 ? -errno : 0;
}

int irq_open(struct irq *irq, const struct vm *vm, struct hf_error *err)
{
	int r;

	*irq = (struct irq){ .vm = vm, .next_gsi = IRQ_FIRST_MSI };
	irq->routing = calloc(1, sizeof(*irq->routing) +
					 ROUTES_MAX * sizeof(struct kvm_irq_routing_entry));
	if (irq->routing == NULL)
		return fail(err, HF_E_NO_MEMORY, ENOMEM, "the table of interrupt routes");
	r = pthread_mutex_init(&irq->lock, NULL);
	if (r != 0) {
		free(irq->routing);
		irq->routing = NULL;
		return fail(err, HF_E_NO_MEMORY, r, "a mutex");
	}
	add_pins(irq->routing);
	r = push(irq);
	if (r < 0) {
		irq_close(irq);
		return fail(err, HF_E_SYSTEM, -r, "KVM_SET_GSI_ROUTING");
	}
	return 0;
}

void irq_close(struct irq *irq)
{
	if (irq->routing == NULL)
		return;
	(void)pthread_mutex_destroy(&irq->lock); /* nobody has it any more */
	free(irq->routing);
	irq->routing = NULL;
}

int irq_messages_new(struct irq *irq, uint32_t count)
{
	int first = -ENOSPC;

	(void)pthread_mutex_lock(&irq->lock); /* a plain mutex, not ours yet: cannot fail */
	if (count <= IRQ_GSI_MAX - (irq->next_gsi - IRQ_FIRST_MSI)) {
		first = (int)irq->next_gsi;
		irq->next_gsi += count;
	}
	(void)pthread_mutex_unlock(&irq->lock);
	return first;
}

static struct kvm_irq_routing_entry *entry_of(struct kvm_irq_routing *routing, uint32_t gsi)
{
	for (uint32_t i = 0; i < routing->nr; i++)
		if (routing->entries[i].gsi == gsi)
			return &routing->entries[i];
	return &routing->entries[routing->nr++];
}

bool irq_route(struct irq *irq, uint32_t gsi, const struct irq_message *message)
{
	const struct kvm_irq_routing_entry wanted = {
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = { .address_lo = (uint32_t)message->address,
			   .address_hi = (uint32_t)(message->address >> 32),
			   .data = message->data },
	};
	struct kvm_irq_routing_entry *entry;
	bool changed;

	assert(gsi >= IRQ_FIRST_MSI && gsi < irq->next_gsi);
	(void)pthread_mutex_lock(&irq->lock);
	entry = entry_of(irq->routing, gsi);
	assert(irq->routing->nr <= ROUTES_MAX);
	changed = entry->type != wanted.type ||
		  entry->u.msi.address_lo != wanted.u.msi.address_lo ||
		  entry->u.msi.address_hi != wanted.u.msi.address_hi ||
		  entry->u.msi.data != wanted.u.msi.data;
	*entry = wanted;
	(void)pthread_mutex_unlock(&irq->lock);
	return changed;
}

int irq_routes_push(struct irq *irq)
{
	int r;

	(void)pthread_mutex_lock(&irq->lock);
	r = push(irq);
	(void)pthread_mutex_unlock(&irq->lock);
	return r;
}

int irq_line_set(const struct irq *irq, uint32_t gsi, bool high)
{
	struct kvm_irq_level level = { .irq = gsi, .level = high };

	return ioctl(irq->vm->vm_fd, KVM_IRQ_LINE, &level) < 0 ? -errno : 0;
}

int irq_message_send(const struct irq *irq, const struct irq_message *message)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)message->address,
		.address_hi = (uint32_t)(message->address >> 32),
		.data = message->data,
	};

	/* 0: the guest has blocked it (no such LAPIC, software-disabled): so it is on a PC. */
	return ioctl(irq->vm->vm_fd, KVM_SIGNAL_MSI, &msi) < 0 ? -errno : 0;
}

static int irqfd(const struct irq *irq, int eventfd, int resample, uint32_t gsi, uint32_t flags)
{
	struct kvm_irqfd request = {
		.fd = (uint32_t)eventfd,
		.gsi = gsi,
		.flags = flags | (resample >= 0 ? KVM_IRQFD_FLAG_RESAMPLE : 0),
		.resamplefd = resample >= 0 ? (uint32_t)resample : 0,
	};

	return ioctl(irq->vm->vm_fd, KVM_IRQFD, &request) < 0 ? -errno : 0;
}

int irq_eventfd_attach(const struct irq *irq, int eventfd, uint32_t gsi)
{
	return irqfd(irq, eventfd, -1, gsi, 0);
}

int irq_eventfd_detach(const struct irq *irq, int eventfd, uint32_t gsi)
{
	return irqfd(irq, eventfd, -1, gsi, KVM_IRQFD_FLAG_DEASSIGN);
}

uint32_t irq_pin_of(uint32_t slot)
{
	return IRQ_FIRST_PCI + slot % (IRQ_FIRST_MSI - IRQ_FIRST_PCI);
}

int irq_pin_attach(const struct irq *irq, int trigger, int resample, uint32_t gsi)
{
	assert(gsi >= IRQ_FIRST_PCI && gsi < IRQ_FIRST_MSI && resample >= 0);
	return irqfd(irq, trigger, resample, gsi, 0);
}

int irq_pin_detach(const struct irq *irq, int trigger, int resample, uint32_t gsi)
{
	return irqfd(irq, trigger, resample, gsi, KVM_IRQFD_FLAG_DEASSIGN);
}
