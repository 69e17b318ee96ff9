/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts into the guest: the in-kernel PIC, IOAPIC and LAPICs get them by lines (GSI 0..23) and
 * by messages (GSI 24.., one for each vector of a device). Not the state of these controllers:
 * platform-state.c.
 */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kvm-vm.h"

#define IRQ_SERIAL 4u
#define IRQ_FIRST_PCI 16u /* the IOAPIC's pins 16 to 23 are PCI's */
#define IRQ_FIRST_MSI 24u
#define IRQ_GSI_MAX 1024u

/* What a message-signalled interrupt writes where. */
struct irq_message {
	uint64_t address;
	uint32_t data;
};

struct irq {
	const struct vm *vm;
	pthread_mutex_t lock; /* guards everything below */
	struct kvm_irq_routing *routing;
	uint32_t next_gsi;
};

int irq_open(struct irq *irq, const struct vm *vm, struct hf_error *err);
void irq_close(struct irq *irq); /* also zeroed */

/* count new GSIs for messages, in a row. Returns the first, or -ENOSPC. */
int irq_messages_new(struct irq *irq, uint32_t count);

/* What a GSI sends from the next irq_routes_push() on. true: that is something else than before. */
bool irq_route(struct irq *irq, uint32_t gsi, const struct irq_message *message);

/* All return 0 or -errno; any thread. */
int irq_routes_push(struct irq *irq); /* waits for every CPU of the host: once for many routes */
int irq_line_set(const struct irq *irq, uint32_t gsi, bool high);
int irq_message_send(const struct irq *irq, const struct irq_message *message);

/*
 * From now on KVM takes the eventfd's counts and raises the GSI; what was in it before is raised
 * too, and stays in it. At the return of detach, KVM takes no more and has raised all that it took.
 */
int irq_eventfd_attach(const struct irq *irq, int eventfd, uint32_t gsi);
int irq_eventfd_detach(const struct irq *irq, int eventfd, uint32_t gsi);

/* The IOAPIC's pin for a slot of the PCI bus; slots that are 8 apart share one. */
uint32_t irq_pin_of(uint32_t slot);
/*
 * The same for a level-triggered pin: trigger's counts raise it, and when the guest has ended the
 * interrupt, KVM lowers it and signals resample. At the return of detach it is low, unless another
 * holds it.
 */
int irq_pin_attach(const struct irq *irq, int trigger, int resample, uint32_t gsi);
int irq_pin_detach(const struct irq *irq, int trigger, int resample, uint32_t gsi);

#endif
