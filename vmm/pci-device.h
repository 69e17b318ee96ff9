/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One PCI function: a VFIO-shaped device behind hf_device_ops. Three ideas: its configuration
 * space (pci-device.c), its BARs (pci-bar.c, pci-piece.c; pci-power.c: when there are none), its
 * interrupts (vectors.c, and what the guest sees of them: msix.c, msi.c; its pin: intx.c).
 * Everything here is called with the bus's lock held, or before there are vCPUs.
 */
#ifndef VMM_PCI_DEVICE_H
#define VMM_PCI_DEVICE_H

#include "pci.h"

#define PCI_CONFIG_SIZE 256u
#define PCI_BARS 6u
#define PCI_BAR_PIECES (HF_REGION_AREAS_MAX + 2u) /* its areas, and two holes for MSI-X */

/* VFIO's indexes (linux/vfio.h, VFIO_PCI_*). */
#define REGION_CONFIG 7u
#define IRQ_INDEX_INTX 0u
#define IRQ_INDEX_MSI 1u
#define IRQ_INDEX_MSIX 2u

#define PCI_COMMAND 0x04u
#define PCI_COMMAND_IO 0x0001u
#define PCI_COMMAND_MEMORY 0x0002u
#define PCI_COMMAND_INTX_DISABLE 0x0400u
#define PCI_STATUS 0x06u
#define PCI_BAR0 0x10u

struct bar_piece {
	uint64_t offset, size; /* bytes, page-aligned */
	uint8_t *host;
	int32_t fd; /* the device's */
	uint64_t fd_offset;
	uint32_t slot; /* of memory, for it alone */
	bool mapped; /* there is a memory slot for it */
	uint32_t p2p; /* bit i: device i can reach it by DMA */
};

struct bar {
	uint64_t size; /* a power of two; 0: not there */
	bool io; /* ports, not addresses: gpa and mapped_gpa are port numbers */
	uint64_t gpa; /* what the register says, whether decoded or not */
	uint64_t mapped_gpa; /* where it is decoded; 0: nowhere */
	bool wide; /* 64 bits: the next register is its upper half */
	bool prefetchable;
	bool lacks_piece; /* one could not be mapped here, and traps */
	uint32_t piece_count; /* what the guest reaches without a trap */
	struct bar_piece pieces[PCI_BAR_PIECES];
};

struct vector {
	uint32_t address_low, address_high, data; /* the message */
	bool masked;
	int eventfd; /* the device signals it; counts stay in it while nobody is attached */
	uint32_t gsi;
	bool attached; /* KVM takes the counts */
	bool pending; /* taken out of the eventfd by us, and not delivered yet */
};

struct vectors {
	uint32_t index; /* VFIO's, IRQ_INDEX_* */
	uint32_t count; /* 0: the device has none of this kind */
	bool on; /* enabled, and not masked as a whole */
	bool armed; /* the device has our eventfds */
	struct vector *vector;
};

struct msix {
	uint32_t count; /* vectors; 0: the device has no MSI-X */
	uint32_t capability; /* its offset in configuration space */
	uint32_t table_bar, table_offset, pba_bar, pba_offset;
	bool enabled;
	struct vectors vectors;
};

struct msi {
	uint32_t capability; /* its offset in configuration space; 0: the device has no MSI */
	bool wide, maskable;
	uint32_t armed_count;
	struct vectors vectors;
};

struct intx {
	bool present; /* the device has an interrupt pin */
	uint32_t gsi;
	int trigger, resample; /* eventfds: the device signals, and KVM, when the guest is done */
	bool armed; /* the device has them */
	bool attached; /* KVM has them */
	bool pending; /* the guest may not have seen it: it is raised when KVM has them again */
};

struct power {
	uint32_t control; /* the register's offset in configuration space; 0: it has none */
	uint8_t state; /* D0 to D3 */
};

struct pci_device {
	struct pci *pci;
	uint32_t index; /* in pci->devices; the slot is one more */
	struct hf_device device;
	char name[HF_NAME_MAX];
	uint16_t ids[2]; /* vendor, device */
	bool expected; /* its BARs are decoded in the hope that this is where the source has them */
	uint8_t config[PCI_CONFIG_SIZE]; /* where emulated, else unused */
	uint8_t emulated[PCI_CONFIG_SIZE]; /* 1: the byte is ours, the device's is not seen */
	uint8_t writable[PCI_CONFIG_SIZE]; /* of emulated bytes: which bits the guest can change */
	struct bar bars[PCI_BARS];
	struct msix msix;
	struct msi msi;
	struct intx intx;
	struct power power;
	struct pci_failure failures[FAILURES];
	struct host_events host;
};

/* ---- pci-device.c --------------------------------------------------------------------------- */

int pci_device_new(struct pci *pci, const struct hf_session_device *device,
		   struct pci_device **ret_device, struct hf_error *err);
/* Interrupts off, memory slots out, maps gone. Takes NULL. */
void pci_device_free(struct pci_device *device);

/* 0 or -errno; what could not be read is ones. */
int pci_config_read(struct pci_device *device, uint32_t offset, uint8_t *data, uint32_t size);
int pci_config_write(struct pci_device *device, uint32_t offset, const uint8_t *data,
		     uint32_t size);
/* An emulated register as it stands. */
uint16_t pci_config_u16(const struct pci_device *device, uint32_t offset);
uint32_t pci_config_u32(const struct pci_device *device, uint32_t offset);
void pci_config_emulate(struct pci_device *device, uint32_t offset, uint32_t size, uint32_t value,
			uint32_t writable);
/* The offset of a capability that the guest sees; 0: none. 0 or -errno. */
int pci_capability(struct pci_device *device, uint8_t id, uint32_t *ret_offset);
/* Give the device the COMMAND register that the guest sees. */
int pci_command_forward(struct pci_device *device);
/*
 * The device signals these eventfds from now on; count 0: none. The guest cannot be told when it
 * fails (COMMAND and capabilities have no answer), so that is kept for the operator. 0 or -errno.
 */
int pci_irqs_set(struct pci_device *device, uint32_t index, uint32_t count, const int *eventfds);

/* Count a failure, and keep it for the operator. error: an errno. */
void pci_failed(struct pci_device *device, enum pci_failure_of of, uint32_t index, int error);

/* There is something new that the main loop takes from the bus (pci_host_watch()). */
void pci_news(const struct pci *pci);

/* ---- pci-bar.c ------------------------------------------------------------------------------ */

int bars_new(struct pci_device *device, struct hf_error *err);
void bars_free(struct pci_device *device);
/*
 * Decode what COMMAND and the BAR registers say, in D0, and no longer what they said. A failure
 * stops nothing: what KVM does not map traps, what it does not unmap is decoded still, and either
 * is tried again the next time. 0 or the first -errno; pci_failed() has been told of each BAR's.
 */
int bars_update(struct pci_device *device);
/* The bits of COMMAND for what is decoded, whatever the registers say. */
uint16_t bars_decoded(const struct pci_device *device);
/* Nothing is decoded any more, except for what KVM does not unmap. As above. */
int bars_unmap(struct pci_device *device);
/* Does a BAR of other stand where one of device is to go? */
bool bars_collide(struct pci_device *device, const struct pci_device *other);

/* ---- pci-piece.c ---------------------------------------------------------------------------- */

/* Map what can be mapped of a BAR. */
void pieces_new(struct pci_device *device, uint32_t index, const struct hf_region_info *info);
void pieces_free(struct bar *bar); /* no memory slot may be left */
/* Which devices reach by DMA any of it, or all of it; bit i: device i. */
uint32_t pieces_reached(const struct bar *bar, bool all);

/* ---- pci-power.c ---------------------------------------------------------------------------- */

int power_new(struct pci_device *device, struct hf_error *err);
bool power_on(const struct pci_device *device); /* it answers at its BARs */
/*
 * Around each write of the guest's to configuration space: before the device hears of it, and
 * after. 0 or -errno.
 */
int power_before(struct pci_device *device, uint32_t offset, const uint8_t *data, uint32_t size);
int power_after(struct pci_device *device);

/* ---- vectors.c ------------------------------------------------------------------------------ */

int vectors_new(struct pci_device *device, struct vectors *vectors, uint32_t index, uint32_t count,
		struct hf_error *err);
void vectors_free(struct pci_device *device, struct vectors *vectors); /* also half-made ones */
/*
 * Attach and detach [first, first + count) as on and the mask bits say; deliver: what is pending
 * goes out. These four: 0 or -errno.
 */
int vectors_update(struct pci_device *device, struct vectors *vectors, uint32_t first,
		   uint32_t count, bool deliver);
/* The device signals the first count of them from now on; none. */
int vectors_arm(struct pci_device *device, struct vectors *vectors, uint32_t count);
int vectors_disarm(struct pci_device *device, struct vectors *vectors);
/* What the device has signalled is with the LAPICs, or pending here. */
int vectors_collect(struct pci_device *device, struct vectors *vectors);
bool vectors_pending(struct vectors *vectors, uint32_t index);

/* ---- intx.c --------------------------------------------------------------------------------- */

int intx_new(struct pci_device *device, struct hf_error *err);
void intx_free(struct pci_device *device);
/*
 * What COMMAND and the capabilities do not let it have any more is taken from it, before MSI or
 * MSI-X is enabled; what they let it have is given to it, after. These and collect: 0 or -errno.
 */
int intx_release(struct pci_device *device);
int intx_update(struct pci_device *device);
/* What the device has signalled is with the LAPICs, or pending here. */
int intx_collect(struct pci_device *device);

/* ---- msi.c ---------------------------------------------------------------------------------- */

int msi_new(struct pci_device *device, struct hf_error *err);
void msi_free(struct pci_device *device);
bool msi_enabled(const struct pci_device *device); /* as its register says */
/* Are any of these bytes of configuration space registers of the capability? */
bool msi_covers(const struct pci_device *device, uint32_t offset, uint32_t size);
/* They have changed. 0 or -errno. */
int msi_update(struct pci_device *device, bool deliver);
/* Before they are read: the pending bits. */
void msi_refresh(struct pci_device *device);
/* In a copy of configuration space: they travel by themselves. */
void msi_hide_pending(const struct pci_device *device, uint8_t config[PCI_CONFIG_SIZE]);

/* ---- msix.c --------------------------------------------------------------------------------- */

int msix_new(struct pci_device *device, struct hf_error *err);
void msix_free(struct pci_device *device);
bool msix_enabled(const struct pci_device *device); /* as its register says */
/* The capability's control register has changed. deliver: as below. 0 or -errno. */
int msix_control_update(struct pci_device *device, bool deliver);
/* Attach and detach vectors as enable and mask bits say; deliver: what is pending goes out. */
int msix_vectors_update(struct pci_device *device, bool deliver);
/* Is [offset, offset + size) of BAR bar the table or the PBA? */
bool msix_covers(const struct pci_device *device, uint32_t bar, uint64_t offset);
void msix_read(struct pci_device *device, uint32_t bar, uint64_t offset, uint8_t *data,
	       uint32_t size);
int msix_write(struct pci_device *device, uint32_t bar, uint64_t offset, const uint8_t *data,
	       uint32_t size);

#endif
