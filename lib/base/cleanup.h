/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cleanup of local resources at the end of a scope. Never for effects on guest, device or peer:
 * undoing those is a row in the table (docs/architecture.md).
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

/* Give away a pointer or a descriptor: the variable is empty afterwards. */
#define TAKE_PTR(pointer)                                                                          \
	__extension__({                                                                            \
		__typeof__(pointer) *take_ptr_ = &(pointer);                                       \
		__typeof__(pointer) taken_ptr_ = *take_ptr_;                                       \
		*take_ptr_ = NULL;                                                                 \
		taken_ptr_;                                                                        \
	})
#define TAKE_FD(fd)                                                                                \
	__extension__({                                                                            \
		int *take_fd_ = &(fd);                                                             \
		int taken_fd_ = *take_fd_;                                                         \
		*take_fd_ = -1;                                                                    \
		taken_fd_;                                                                         \
	})

static inline void cleanup_freep(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_closep(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* nothing to be done about it here */
}

#define _cleanup_free_ _cleanup_(cleanup_freep)
#define _cleanup_close_ _cleanup_(cleanup_closep)

#endif
