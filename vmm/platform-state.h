/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state of what KVM emulates besides vCPUs: both PICs and the IOAPIC, the PIT, the guest's
 * kvmclock, and (tsc.c) where the TSC stands.
 */
#ifndef VMM_PLATFORM_STATE_H
#define VMM_PLATFORM_STATE_H

#include "bytes.h"
#include "kvm-vm.h"
#include "tsc.h"

/* HF_E_MACHINE_STATE says what could not be read or set. */
int irqchip_save(const struct vm *vm, struct writer *writer, struct hf_error *err);
int irqchip_load(const struct vm *vm, struct reader *reader, struct hf_error *err);

int pit_save(const struct vm *vm, struct writer *writer, struct hf_error *err);
int pit_load(const struct vm *vm, struct reader *reader, struct hf_error *err);

int clock_save(const struct vm *vm, const struct tsc *tsc, int cpu0_fd, struct writer *writer,
	       struct hf_error *err);
int clock_load(const struct vm *vm, struct tsc *tsc, int cpu0_fd, struct reader *reader,
	       struct hf_error *err);

#endif
