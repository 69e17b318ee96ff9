/* SPDX-License-Identifier: BSD-3-Clause */
/* CLOCK_MONOTONIC in nanoseconds, as the library's deadlines are. */
#ifndef GUARD_CLOCK_H
#define GUARD_CLOCK_H

#include <stdint.h>
#include <time.h>

#define GUARD_NS_PER_MS UINT64_C(1000000)
#define GUARD_NS_PER_S UINT64_C(1000000000)

static inline uint64_t guard_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
	return (uint64_t)now.tv_sec * GUARD_NS_PER_S + (uint64_t)now.tv_nsec;
}

#endif
