/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest as the rest of the VMM sees it: control socket and migration (vmm/control.c,
 * vmm/migrate.c) and the command line (tools/run.c) know only this, never KVM. Two kinds: a KVM
 * guest (vmm/kvm-guest.c) and the thread guest (vmm/thread-guest.c), whose vCPUs are host threads.
 *
 * One thread, the main loop's, calls everything here, except for the members of guest->machine and
 * the dirty source, which a session's worker calls.
 */
#ifndef VMM_GUEST_H
#define VMM_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include <holdfast/session.h>

struct guest;

struct guest_config {
	const char *name; /* in the ledger, in messages; default "guest" */
	uint64_t memory_bytes; /* page-aligned; default 256 MiB */
	uint32_t vcpu_count; /* 1..HF_VCPUS_MAX; default 1 */
	const char *kernel; /* ELF with a PVH note (KVM kind), or NULL with incoming */
	const char *initrd; /* or NULL */
	const char *command_line; /* or NULL; the checker's knobs too (docs/checker.md) */
	const char *serial; /* "stdio", "file:PATH" (appended), "none"; default stdio */
	const char *const *devices; /* URIs for hf_device_open() */
	uint32_t device_count;
	bool incoming; /* memory and state will come from a peer: load nothing, stay paused */
	const char *keep; /* folder for the guest's memory, or NULL: it is nobody's after us */
	bool kept; /* with incoming: keep holds a guest in doubt, and this is its memory */
	bool no_dirty_ring; /* use KVM's dirty log though the ring is there */
};

/* What happened inside, told by guest_events(). */
/*
 * The guest powered off (ACPI-less: write to port 0x604 or the debug-exit port 0x501);
 * guest_exit_status() has its value.
 */
#define GUEST_EVENT_SHUTDOWN 1u
/* Triple fault, KVM internal error, a device that broke; guest_crash_text(). */
#define GUEST_EVENT_CRASH 2u

/* The host wants a device back that it has lent us; guest->devices_wanted says which. */
#define GUEST_EVENT_DEVICE_WANTED 4u

/* A device has not done with its interrupts what it was told to, first; irqs_failures. */
#define GUEST_EVENT_IRQS_FAILED 8u

/* A device cannot reach another one's BAR by DMA, first; guest->p2p_refused. */
#define GUEST_EVENT_P2P_REFUSED 16u

/* A BAR could not be put where the guest wants it, or not be taken away, first; bars_failures. */
#define GUEST_EVENT_BARS_FAILED 32u

struct guest_ops {
	const char *kind; /* "kvm", "thread" */
	/* Let the vCPUs run, pause them. Idempotent. -> struct hf_machine of the guest. */
	void (*free)(struct guest *guest);
	/* Start to track dirty pages (source): the caller closes it by hf_memory_close(). */
	int (*memory_open)(struct guest *guest, struct hf_memory *ret_memory, struct hf_error *err);
	/* Flags GUEST_EVENT_* since the last call; event_fd becomes readable when there are any. */
	uint32_t (*events)(struct guest *guest);
	/* One line about what runs: "KVM, 2 vCPUs, dirty ring". */
	const char *(*describe)(struct guest *guest);
};

/*
 * What was refused since the guest was made in this process: how often, and the last time. A later
 * attempt may have succeeded: this is what was, not what is.
 */
struct guest_failure {
	uint64_t count; /* 0: never, and the rest means nothing */
	uint32_t index; /* VFIO's, of the interrupts; the BAR's */
	int error; /* an errno */
};

/* The part that both kinds share; they embed it as their first member. */
struct guest {
	const struct guest_ops *ops;
	char name[HF_NAME_MAX];
	struct hf_machine machine; /* stop, run, state: for sessions, and for `stop` and `cont` */
	struct hf_memory_region regions[HF_REGIONS_MAX];
	struct hf_session_device devices[HF_DEVICES_MAX];
	uint32_t region_count, device_count, vcpu_count;
	int event_fd;
	int exit_status; /* valid after GUEST_EVENT_SHUTDOWN */
	uint32_t devices_wanted; /* bit i: the host has asked for devices[i]; the main loop's */
	/* The main loop's; the same of P2P. */
	struct guest_failure irqs_failures[HF_DEVICES_MAX], bars_failures[HF_DEVICES_MAX];
	struct {
		uint64_t count;
		uint32_t device, peer; /* devices[device] does not reach devices[peer] */
		int error;
	} p2p_refused;
	bool broken_by_device; /* the crash is a device's error; valid after GUEST_EVENT_CRASH, */
	char crash_text[HF_ERROR_TEXT_MAX]; /* and so is this */
};

/*
 * A guest, complete and paused: machine.run() starts it, or a session does when it has loaded one.
 * Errors: HF_E_INVALID names the option, HF_E_UNSUPPORTED says what this host lacks (no /dev/kvm).
 */
int kvm_guest_new(const struct guest_config *config, struct guest **ret_guest,
		  struct hf_error *err);
int thread_guest_new(const struct guest_config *config, struct guest **ret_guest,
		     struct hf_error *err);

/* 0 if a KVM guest can run here, else HF_E_UNSUPPORTED with the reason. */
int kvm_guest_possible(struct hf_error *err);

#endif
