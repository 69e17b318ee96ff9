/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One vCPU's state, all of it that KVM has: registers, FPU and its extensions, MSRs, LAPIC, pending
 * events, debug registers, whether it waits for INIT or SIPI. Not its CPUID table (cpuid.c), which
 * must be set before, and not its TSC (tsc.c), which goes on while the guest stands still.
 */
#ifndef VMM_CPU_STATE_H
#define VMM_CPU_STATE_H

#include "bytes.h"
#include "kvm-cpu.h"
#include "tsc.h"

/* The vCPU is paused. HF_E_MACHINE_STATE says what could not be read or set. */
int cpu_save(const struct cpu *cpu, const struct vm *vm, int cpu0_fd, struct writer *writer,
	     struct hf_error *err);
int cpu_load(const struct cpu *cpu, const struct vm *vm, struct tsc *tsc, struct reader *reader,
	     struct hf_error *err);

#endif
