/* SPDX-License-Identifier: BSD-3-Clause */
/* Between net-wrap.c, which takes the place of real functions, and net-seam.c, which keeps books.
 */
#ifndef TESTS_SIM_NET_WRAP_H
#define TESTS_SIM_NET_WRAP_H

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>

#include "net-seam.h"

int seam_fd_made(int fd); /* returns it */
int seam_file_made(int fd); /* one that is written to disks */
bool seam_is_file(int fd);
void seam_fd_gone(int fd);
void *seam_piece_made(void *at); /* returns it */
void seam_piece_gone(const void *at);
struct flow *seam_send_flow(int fd);
struct flow *seam_recv_flow(int fd);

/* States of xxhash that a side has; bury: it has them no more. */
uint32_t wrap_digests(uint32_t side, bool bury);

/* What the linker calls the real ones. */
int __real_close(int fd);
void __real_free(void *at);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_accept4(int fd, struct sockaddr *addr, socklen_t *length, int flags);
int __real_connect(int fd, const struct sockaddr *addr, socklen_t length);
int __real_socket(int domain, int type, int protocol);

/* net-road.c: connections that are made */
void road_connected(int fd); /* by the source */
void road_accepted(int fd); /* by the target */

#endif
