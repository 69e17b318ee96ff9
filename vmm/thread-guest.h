/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a thread guest consists of; only for the files that make it up (thread-guest*.c). It embeds
 * the library with as little around it as possible: one memfd, one host thread for each vCPU, the
 * workload of the checker guest (guest/work.h), devices driven through their tables directly.
 */
#ifndef VMM_THREAD_GUEST_H
#define VMM_THREAD_GUEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "guest.h"
#include "host-events.h"
#include "work.h"

#define THREAD_RAM_GPA 0x100000ull /* the workload's memory begins here, as on bare metal */
#define THREAD_TICKS_PER_MS 1000000ull /* a tick is a nanosecond */
#define THREAD_VECTORS 2u /* completion, beat */
#define THREAD_STOP_SECONDS 10 /* a step takes microseconds, or a device is stuck */

struct thread_guest;

struct thread_vcpu {
	struct thread_guest *guest;
	pthread_t thread;
	uint32_t index;
	bool started;
};

struct thread_device {
	int irq_fd[THREAD_VECTORS]; /* eventfds; signals not yet taken are in them */
	uint64_t irq_count[THREAD_VECTORS]; /* taken; the driving vCPU's while it runs */
	void *bar4; /* mapped, for the other devices' DMA; NULL if it cannot be */
	uint64_t bar4_gpa;
	uint32_t kind; /* enum work_device_kind */
	uint32_t port_count; /* of an mtty */
	struct host_events host; /* guarded by the guest's lock */
};

struct thread_guest {
	struct guest guest; /* first: it is cast back and forth */
	struct work work;
	struct work_shared shared;
	struct work_vcpu vcpus[WORK_VCPUS_MAX];
	struct work_device work_devices[WORK_DEVICES_MAX];
	struct thread_device devices[HF_DEVICES_MAX];
	uint64_t memory_bytes;
	const char *keep; /* the folder of its memory, or NULL; the caller's */
	uint64_t clock_offset; /* added to CLOCK_MONOTONIC */
	atomic_uint events; /* GUEST_EVENT_*, until they are told */
	int wake_fd; /* an eventfd: there are some; guest.event_fd waits for it, and for devices */
	atomic_bool has_run; /* what breaks from now on is the guest's end */
	atomic_bool crashed; /* for ever */

	/* The console: -1 is nowhere. stdin only with serial=stdio, until its end. */
	int out_fd, in_fd;
	bool out_owned;

	/*
	 * Who runs, and what the host says of devices. lock guards all of that but the two atomics,
	 * which are written under it as well.
	 */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool lock_made;
	bool quit;
	uint32_t parked, thread_count;
	atomic_bool run;
	atomic_uint throttle_percent;
	struct thread_vcpu threads[WORK_VCPUS_MAX];

	/* The machine's worker: which sections have been loaded. */
	bool clock_loaded, shared_loaded;
	bool vcpu_loaded[WORK_VCPUS_MAX], device_loaded[WORK_DEVICES_MAX];

	char description[HF_NAME_MAX];
};

/* thread-guest-state.c; self is the struct thread_guest */
extern const struct hf_machine_ops thread_machine_ops;

/* ---- thread-guest-vcpu.c: the threads -------------------------------------------------------- */

int thread_vcpus_start(struct thread_guest *guest, struct hf_error *err); /* parked */
void thread_vcpus_end(struct thread_guest *guest);
int thread_vcpus_stop(struct thread_guest *guest, struct hf_error *err);
void thread_vcpus_run(struct thread_guest *guest);

/* ---- thread-guest-world.c: what the workload finds around it ----------------------------------
 */

extern const struct work_env thread_world; /* ctx is filled in in a copy */

uint64_t thread_clock(const struct thread_guest *guest);
/* Take what the eventfds of a device hold into irq_count. 0 or -errno. */
int thread_irqs_take(struct thread_guest *guest, uint32_t device);
int thread_console_open(struct thread_guest *guest, const char *where, struct hf_error *err);
void thread_console_close(struct thread_guest *guest);

/* ---- thread-guest-device.c: devices -----------------------------------------------------------
 */

int thread_devices_open(struct thread_guest *guest, const struct guest_config *config,
			struct hf_error *err);
void thread_devices_close(struct thread_guest *guest);
/* Let MSI-X, or MSI, signal the eventfds, if the driver uses it; once more after a load. */
int thread_device_irqs_set(struct thread_guest *guest, uint32_t device, struct hf_error *err);

/* ---- thread-guest-host.c: what the main loop hears --------------------------------------------
 */

int thread_host_open(struct thread_guest *guest, struct hf_error *err);
void thread_host_close(struct thread_guest *guest);
/* Notice what the host says of a device. */
int thread_host_watch(struct thread_guest *guest, uint32_t device, struct hf_error *err);
/* HF_E_DEVICE_STATE names the first device that has broken; 0: none has. Any thread. */
int thread_host_check(struct thread_guest *guest, struct hf_error *err);
/* End the guest if a device of it has broken, and it has run. Any thread. */
void thread_host_crash(struct thread_guest *guest);
void thread_guest_tell(struct thread_guest *guest, uint32_t events); /* any thread */
uint32_t thread_guest_events(struct guest *guest); /* guest_ops.events */

/* ---- thread-guest-check.c ---------------------------------------------------------------------
 */

/* Is state that came from a peer such that the workload can run on it without harm to the host? */
bool thread_shared_fits(const struct thread_guest *guest, const struct work_shared *shared);
bool thread_vcpu_fits(const struct thread_guest *guest, uint32_t index,
		      const struct work_vcpu *vcpu);
bool thread_device_fits(const struct thread_guest *guest, uint32_t index,
			const struct work_device *device);

#endif
