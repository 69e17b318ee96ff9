/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that another process shares with us. Who may shorten its file can end us: what is mapped
 * and not there any more is a SIGBUS. So only what cannot be shortened is mapped.
 */
#ifndef BACKEND_DEVICE_VFIO_USER_SHARED_H
#define BACKEND_DEVICE_VFIO_USER_SHARED_H

#include <stdint.h>

/*
 * Does the file hold end bytes, and will it for ever? Only memfds do that are sealed against being
 * shortened (F_SEAL_SHRINK), and not of huge pages: a hole in those may not be filled again.
 */
int vu_fd_stays(int fd, uint64_t end);

#endif
