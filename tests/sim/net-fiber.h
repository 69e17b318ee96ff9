/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the address sanitizer must be told when the stack is changed by hand; nothing without it.
 */
#ifndef TESTS_SIM_NET_FIBER_H
#define TESTS_SIM_NET_FIBER_H

#include <stddef.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define NET_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define NET_ASAN 1
#endif

#ifdef NET_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

static inline void fiber_leave(void **save, const void *bottom, size_t size)
{
	__sanitizer_start_switch_fiber(save, bottom, size);
}

static inline void fiber_enter(void *saved, const void **ret_bottom, size_t *ret_size)
{
	__sanitizer_finish_switch_fiber(saved, ret_bottom, ret_size);
}

/* A stack is used again: what the frames of a task that was dropped had poisoned is forgotten. */
static inline void fiber_fresh(void *bottom, size_t size)
{
	__asan_unpoison_memory_region(bottom, size);
}
#else
static inline void fiber_leave(void **save, const void *bottom, size_t size)
{
	(void)save;
	(void)bottom;
	(void)size;
}

static inline void fiber_enter(void *saved, const void **ret_bottom, size_t *ret_size)
{
	(void)saved;
	(void)ret_bottom;
	(void)ret_size;
}

static inline void fiber_fresh(void *bottom, size_t size)
{
	(void)bottom;
	(void)size;
}
#endif

#endif
