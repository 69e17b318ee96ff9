/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the guest's memory is made of: a memfd, or a file in the folder in which the guest is kept
 * for a later process of this host (--keep). Not how it is mapped, nor where it is in the guest.
 */
#ifndef VMM_MEMORY_FILE_H
#define VMM_MEMORY_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include <holdfast/error.h>

/*
 * A descriptor of bytes of memory by that name; the caller's. keep: the folder, or NULL. kept: the
 * folder holds a guest in doubt, whose memory this is; otherwise the file is made anew, zeroed.
 */
int memory_file_new(const char *name, uint64_t bytes, const char *keep, bool kept, int *ret_fd,
		    struct hf_error *err);

/* The guest is gone: so is the file, unless the folder holds a guest in doubt. keep may be NULL. */
void memory_file_drop(const char *name, const char *keep);

#endif
