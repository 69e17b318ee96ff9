/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's TSC across a migration: it goes on as if it had never stopped. While the guest stands
 * still, and on another host, time passes; a guest that reads its TSC before and after measures the
 * true stand-still, and never sees it go back.
 *
 * The source writes down what vCPU 0's TSC was at which real time; the target sets an offset so
 * that the same line goes on. An offset is right at any later moment, so it does not matter how
 * long the target waits between loading and running. Both hosts' clocks must agree (NTP).
 */
#ifndef VMM_TSC_H
#define VMM_TSC_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"

/* One point of the line. */
struct tsc_origin {
	uint64_t realtime_ns; /* CLOCK_REALTIME */
	uint64_t ticks; /* of vCPU 0 */
	uint64_t offset; /* KVM_VCPU_TSC_OFFSET of vCPU 0; has_offset */
	uint32_t khz;
	uint32_t has_offset;
};

struct tsc {
	uint32_t khz; /* of the guest */
	struct tsc_origin origin; /* at the target, after tsc_load(); khz 0: not loaded */
	uint64_t offset; /* what vCPU 0 got from tsc_load() */
};

/* Where a vCPU's TSC stands relative to vCPU 0's, in ticks; 0 where KVM does not say. */
int tsc_delta(int cpu_fd, int cpu0_fd, uint64_t *ret_ticks);

/* 0 or -errno; -EPROTO for a wrong layout. */
int tsc_save(const struct tsc *tsc, int cpu0_fd, struct writer *writer);
int tsc_load(struct tsc *tsc, int cpu0_fd, struct reader *reader);

/*
 * Set a vCPU's TSC on the loaded line, delta ticks off vCPU 0's. 0 or -errno; -EOPNOTSUPP: this
 * host cannot, and the guest would see another time.
 */
int tsc_set(struct tsc *tsc, int cpu_fd, uint64_t delta_ticks);

/* Ticks of a TSC with khz in ns nanoseconds. */
uint64_t tsc_ticks(uint64_t ns, uint32_t khz);

#endif
