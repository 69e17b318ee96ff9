/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The PCI bus: a host bridge at 00.0 and, from 01.0 on, one function for each VFIO-shaped device.
 * Configuration space by ports 0xcf8 and 0xcfc; no ECAM, no bridges.
 *
 * One lock guards the bus and everything its devices have here (BARs, MSI-X, configuration). It is
 * held while a device is asked for configuration space, interrupts or DMA maps, but not while its
 * BARs are read or written.
 */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <holdfast/session.h>

#include "bytes.h"
#include "host-events.h"
#include "irq.h"
#include "kvm-vm.h"
#include "memory.h"

#define PCI_PORT 0xcf8u
#define PCI_PORTS 8u
#define PCI_DEVICES_MAX 31u /* 01.0 to 1f.0 */
#define PCI_IO_LOWEST 0x1000u /* ports below are the board's own */
#define PCI_IO_START 0xc000u /* where I/O BARs go at boot */
#define PCI_IO_END 0x10000u
#define PCI_MMIO_END 0xfec00000ull /* the IOAPIC; from MEMORY_HOLE_GPA to here BARs may be */

struct pci_device;

/* Devices that could not reach a peer's BAR by DMA: how often on this bus, and the last one. */
struct pci_p2p_refusal {
	uint64_t count;
	uint32_t device, peer;
	int error; /* its errno */
};

struct pci {
	const struct vm *vm;
	struct irq *irq;
	const struct memory *memory;
	pthread_mutex_t lock;
	bool lock_made;
	uint32_t address; /* the latch behind port 0xcf8 */
	uint32_t device_count;
	struct pci_device *devices[PCI_DEVICES_MAX];
	uint64_t low_next, high_next, high_end; /* where BARs go at boot */
	uint32_t io_next;
	uint32_t slot_count; /* of memory, for pieces of BARs */
	bool connected; /* interrupt pins lead into KVM: the vCPUs run, or may at once */
	uint64_t failed_accesses; /* the device said no; the guest saw ones, or a lost write */
	int news_fd; /* an eventfd: a new struct pci_failure, or pci_p2p_refusal */
	struct pci_p2p_refusal p2p_refusal;
};

/* phys_bits: how wide the guest's physical addresses are. */
int pci_open(struct pci *pci, const struct vm *vm, struct irq *irq, const struct memory *memory,
	     uint32_t phys_bits, struct hf_error *err);
/* The functions go, the devices behind them stay the caller's. Also zeroed. */
void pci_close(struct pci *pci);

/* Put a device onto the bus: BARs assigned, nothing decoded, guest memory mapped for its DMA. */
int pci_add(struct pci *pci, const struct hf_session_device *device, struct hf_error *err);

/*
 * On an incoming guest: decode the BARs where they are, as most guests will have them. Then loading
 * finds most memory slots and DMA maps made, and need not make them while the guest stands still.
 */
int pci_expect(struct pci *pci, struct hf_error *err);

/* From vCPU threads. false: nobody is there. */
void pci_port_read(struct pci *pci, uint32_t offset, void *data, uint32_t size);
void pci_port_write(struct pci *pci, uint32_t offset, const void *data, uint32_t size);
bool pci_mmio_read(struct pci *pci, uint64_t gpa, void *data, uint32_t size);
bool pci_mmio_write(struct pci *pci, uint64_t gpa, const void *data, uint32_t size);
bool pci_io_read(struct pci *pci, uint32_t port, void *data, uint32_t size);
bool pci_io_write(struct pci *pci, uint32_t port, const void *data, uint32_t size);

/*
 * Devices reach the vCPUs again, what was pending here goes out; before they run. Idempotent. The
 * text names the device.
 */
int pci_interrupts_deliver(struct pci *pci, struct hf_error *err);
/*
 * Every interrupt that devices have raised is in the in-kernel controllers, or pending here. They
 * raise no more, and vCPUs are stopped. The text names the device.
 */
int pci_interrupts_settle(struct pci *pci, struct hf_error *err);

uint64_t pci_failed_accesses(struct pci *pci);

/* What a guest wants of a device, and does not get: how often, and the last time. */
struct pci_failure {
	uint64_t count;
	uint32_t index; /* VFIO's, of the interrupts; the BAR's */
	int error; /* its errno */
};

enum pci_failure_of {
	FAILURE_OF_IRQS, /* the device does not do with its interrupts what it is told to */
	FAILURE_OF_BARS, /* KVM, or a peer, does not map or unmap what it is told to */
};
#define FAILURES 2u

/* Any thread. */
struct pci_failure pci_failure(struct pci *pci, uint32_t device, enum pci_failure_of of);
struct pci_p2p_refusal pci_p2p_refusal(struct pci *pci);

/* Let an epoll descriptor become readable with what the host says of a device, and by news_fd. */
int pci_host_watch(struct pci *pci, int epoll_fd, struct hf_error *err);
/* Bit i: of device i, at any time until now. What was to be read has been. Any thread. */
uint32_t pci_host_events(struct pci *pci, enum host_event which);
const char *pci_device_name(const struct pci *pci, uint32_t index);

/* What the functions are, for describe() and check(); HF_E_MISMATCH says which differs. */
void pci_describe(struct pci *pci, struct writer *writer);
int pci_check(struct pci *pci, struct reader *reader, struct hf_error *err);

/* The bus's own state: one section. */
void pci_save(struct pci *pci, struct writer *writer);
int pci_load(struct pci *pci, struct reader *reader); /* 0 or -EPROTO */

/* One device's configuration, BARs, MSI-X (pci-state.c). */
int pci_device_save(struct pci *pci, uint32_t index, struct writer *writer, struct hf_error *err);
int pci_device_load(struct pci *pci, uint32_t index, struct reader *reader, struct hf_error *err);

#endif
