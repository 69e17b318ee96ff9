/* SPDX-License-Identifier: BSD-3-Clause */
/* Stream sockets by address: "unix:PATH", "tcp:HOST:PORT" (IPv6 in brackets). */
#ifndef GUARD_SOCKET_H
#define GUARD_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <holdfast/error.h>

bool socket_is_address(const char *text);

/* A descriptor, or a negative HF_E_ code. A socket file that nobody listens on is replaced. */
int socket_listen(const char *uri, struct hf_error *err);
int socket_connect(const char *uri, struct hf_error *err);

/* For who connects without waiting, and again: all addresses that a name has. Returns how many. */
struct socket_address {
	struct sockaddr_storage storage;
	socklen_t length;
};
int socket_resolve(const char *uri, struct socket_address *ret, uint32_t max, struct hf_error *err);

/* Close, and remove the socket file. */
void socket_unlisten(const char *uri, int fd);

/* The port that a listening TCP socket has; 0: it has none. */
unsigned int socket_port(int fd);

#endif
