/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a KVM guest consists of; only for the files that make it up. Each part has its own header
 * and knows nothing of the others, except for the vCPUs, whose exits end in all of them.
 */
#ifndef VMM_KVM_GUEST_H
#define VMM_KVM_GUEST_H

#include <stdatomic.h>

#include "cpuid.h"
#include "guest.h"
#include "irq.h"
#include "kvm-cpu.h"
#include "kvm-vfio.h"
#include "kvm-vm.h"
#include "memory.h"
#include "pci.h"
#include "platform-state.h"
#include "serial.h"
#include "tsc.h"

struct kvm_tracker;

struct kvm_guest {
	struct guest guest; /* first: it is cast back and forth */
	struct vm vm;
	struct kvm_vfio vfio;
	struct memory memory;
	struct irq irq;
	struct serial serial;
	struct pci pci;
	struct cpuid cpuid; /* what the guest sees; the source's on an incoming guest */
	struct cpus cpus;
	struct tsc tsc;
	atomic_bool
		has_run; /* KVM takes no other CPUID any more; written by the machine's worker */
	int wake_fd; /* an eventfd: something is in events; guest.event_fd waits for it, and more */

	/* How the guest ended. The vCPU that ends it writes status and text, once, then ended. */
	pthread_mutex_t end_lock;
	bool ending; /* guarded by end_lock */
	atomic_uint ended; /* GUEST_EVENT_*, for ever; 0 while it lives */
	atomic_uint events; /* GUEST_EVENT_*, until they are told */

	/* Who tracks dirty pages, or NULL. A vCPU whose ring is full needs it too. */
	pthread_mutex_t tracker_lock;
	struct kvm_tracker *tracker;

	/* The machine's worker: which sections have been loaded. */
	uint32_t loaded; /* bit i: platform section i */
	uint8_t vcpus_loaded[HF_VCPUS_MAX];

	bool locks_made; /* tracker_lock, end_lock */
	char description[HF_ERROR_TEXT_MAX]; /* guest_ops.describe() */
};

/* ---- kvm-guest.c ---------------------------------------------------------------------------- */

/*
 * A guest in two steps. Between them there is a VM, to which devices are opened (kvm_guest_host()).
 * After a failure of either nothing of the guest is left; devices are the guest's when finished.
 */
int kvm_guest_begin(const struct guest_config *config, struct kvm_guest **ret_guest,
		    struct hf_error *err);
struct hf_device_host kvm_guest_host(struct kvm_guest *guest);
int kvm_guest_finish(struct kvm_guest *guest, const struct guest_config *config,
		     const struct hf_session_device *devices, uint32_t device_count,
		     struct hf_error *err);

/*
 * As kvm_guest_new(), with devices that are open already: config->devices is not looked at. They
 * are the guest's at success, else still the caller's.
 */
int kvm_guest_assemble(const struct guest_config *config, const struct hf_session_device *devices,
		       uint32_t device_count, struct guest **ret_guest, struct hf_error *err);

/* Tell the main loop of GUEST_EVENT_*; any thread. */
void kvm_guest_tell(struct kvm_guest *guest, uint32_t events);

/* From any thread: the guest is over. The first one decides how. */
void kvm_guest_shutdown(struct kvm_guest *guest, int exit_status);
void kvm_guest_crash(struct kvm_guest *guest, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The first of these devices (bit i: device i) has broken, and the guest with it. */
void kvm_guest_crash_by(struct kvm_guest *guest, uint32_t devices);
/* HF_E_DEVICE_STATE names the first device that has broken; 0: none has. Any thread. */
int kvm_guest_check_devices(struct kvm_guest *guest, struct hf_error *err);

/* ---- tracker.c ------------------------------------------------------------------------------ */

int tracker_open(struct kvm_guest *guest, struct hf_memory *ret_memory, struct hf_error *err);
/* From a vCPU thread: its dirty ring is full. 0 or -errno. */
int tracker_ring_full(struct kvm_guest *guest);

/* ---- mmio.c, pio.c: from vCPU threads -------------------------------------------------------- */

void mmio_access(struct kvm_guest *guest, uint64_t gpa, uint8_t *data, uint32_t size, bool write);
void pio_access(struct kvm_guest *guest, uint16_t port, uint8_t *data, uint32_t size, bool write);

/* ---- kvm-machine.c, shape.c ------------------------------------------------------------------ */

extern const struct hf_machine_ops kvm_machine_ops; /* self is the struct kvm_guest */

int shape_describe(struct kvm_guest *guest, void *buf, uint32_t capacity, uint32_t *ret_length,
		   struct hf_error *err);
int shape_check(struct kvm_guest *guest, const void *shape, uint32_t length, struct hf_error *err);

#endif
