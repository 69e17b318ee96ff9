/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vCPUs and their threads: how they run, stop and are slowed down. Not their state
 * (cpu-state.c), and not what their exits lead to.
 *
 * A vCPU thread is kicked out of KVM_RUN by a signal that is blocked in the thread and open in
 * KVM_RUN only: one that comes between two runs stays pending, so none is lost, and no handler of
 * the process is involved. The thread stops only where KVM_RUN itself has returned by it: by then
 * KVM has finished the port or MMIO access that was under way, and the state is whole.
 */
#ifndef VMM_KVM_CPU_H
#define VMM_KVM_CPU_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <holdfast/types.h>

#include "kvm-vm.h"

struct kvm_guest;

struct cpu {
	struct kvm_guest *guest;
	uint32_t index;
	int fd;
	struct kvm_run *run; /* shared with KVM; the thread's while it runs */
	uint32_t run_bytes;
	pthread_t thread;
	bool thread_made;
	bool paused; /* guarded by cpus.lock: it waits and will not enter the guest */
	int start_errno; /* the same: why the thread could not start, positive */
	timer_t timer; /* the thread's: ends a slice when throttled */
	uint64_t slice_end_ns; /* the thread's: 0: not throttled */
};

struct cpus {
	pthread_mutex_t lock; /* guards want_run, quit, percent, paused */
	pthread_cond_t changed;
	bool lock_made, changed_made;
	bool want_run, quit;
	uint32_t percent; /* of the time that each vCPU is kept off the CPU */
	uint32_t count;
	struct cpu cpus[HF_VCPUS_MAX];
};

/* Create the vCPUs, without threads. On failure cpus_free() is still to be called. */
int cpus_new(struct cpus *cpus, struct kvm_guest *guest, uint32_t count, struct hf_error *err);
/* Start the threads, which then wait paused. */
int cpus_start(struct cpus *cpus, struct hf_error *err);
/* Stop and join the threads, close the vCPUs. Also half-built or zeroed. */
void cpus_free(struct cpus *cpus);

/* Let them run. */
void cpus_run(struct cpus *cpus);
/* Were they let run, and not stopped since? Then they may be in KVM_RUN, which keeps their state.
 */
bool cpus_are_let_run(struct cpus *cpus);
/* All of them wait at the return. HF_E_DEADLINE names the first that does not; then they go on. */
int cpus_stop(struct cpus *cpus, struct hf_error *err);
/* Tell them to stop and do not wait; also from a vCPU's own thread. */
void cpus_stop_soon(struct cpus *cpus);
void cpus_throttle(struct cpus *cpus, uint32_t percent);

#endif
