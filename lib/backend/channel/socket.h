/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between the files of this folder: addresses, waiting, and what every stream socket of ours is set
 * to.
 */
#ifndef BACKEND_CHANNEL_SOCKET_H
#define BACKEND_CHANNEL_SOCKET_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <holdfast/backend.h>

#define SOCKET_ADDRESSES_MAX 16u /* of one name; more are not tried */

enum address_kind {
	ADDRESS_TCP = 1,
	ADDRESS_UNIX = 2,
	ADDRESS_FD = 3,
};

/* A parsed address. */
struct address {
	enum address_kind kind;
	char host[HF_URI_MAX]; /* TCP: without brackets; empty: any (listening only) */
	uint16_t port;
	struct sockaddr_un un;
	int fd;
};

struct resolved {
	unsigned int count;
	struct {
		struct sockaddr_storage addr;
		socklen_t length;
	} at[SOCKET_ADDRESSES_MAX];
};

/* HF_E_INVALID names the part that is wrong. listening: port 0 and an empty host are fine. */
int address_parse(const char *uri, int listening, struct address *ret, struct hf_error *err);

/*
 * The addresses of a TCP host. Numbers are converted on the spot; a name is asked for on a thread
 * of its own, because the system's resolver knows no deadline.
 */
int address_resolve(const struct address *address, int listening, uint64_t deadline_ns,
		    struct resolved *ret, struct hf_error *err);

/*
 * A given descriptor is an open stream socket: close-on-exec and non-blocking from here on.
 * *ret_listening says whether it listens.
 */
int address_take_fd(int fd, int *ret_listening, struct hf_error *err);

/* Wait for events (POLLIN, POLLOUT): 0, -ETIMEDOUT, or a negative errno. */
int socket_wait(int fd, short events, uint64_t deadline_ns);

/* Options for bulk data and for noticing a silent peer. Best effort: none of them is needed. */
void socket_tune(int fd);

/* A channel around a tuned, connected, non-blocking socket; takes fd on success. -ENOMEM. */
int socket_channel(int fd, struct hf_channel *ret);

#endif
