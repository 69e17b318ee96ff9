/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening, and one client after the other (holdfast/device-server.h). */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/device/ops.h"
#include "backend/device/vfio-user/server.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/export.h"
#include "base/time.h"

#define BACKLOG 8
#define REFUSAL_MS 1000u /* for a second client to send the header that a refusal answers */

struct hf_device_server {
	struct hf_device_server_config config;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* to be removed; "" */
	int listen_fd, stop_fd, ended_fd;
	struct vu_conn *conn; /* NULL: nobody is there */
};

static int address_of(const char *path, struct sockaddr_un *ret_address, struct hf_error *err)
{
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!*path || strlen(path) >= sizeof(ret_address->sun_path))
		return error_set(err, HF_E_INVALID, 0,
				 "device server: the path of a socket has 1 to %zu bytes: \"%s\"",
				 sizeof(ret_address->sun_path) - 1, path);
	memcpy(ret_address->sun_path, path, strlen(path));
	return 0;
}

/* A socket that nobody serves any more: its process was killed. */
static int is_stale(const struct sockaddr_un *address)
{
	_cleanup_close_ int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return s >= 0 && connect(s, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
	       errno == ECONNREFUSED;
}

static int listen_at(struct hf_device_server *server, const char *path, struct hf_error *err)
{
	struct sockaddr_un address;
	_cleanup_close_ int s = -1;
	int r = address_of(path, &address, err);

	if (r < 0)
		return r;
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return error_set(err, HF_E_SYSTEM, errno, "device server: a socket");
	r = bind(s, (const struct sockaddr *)&address, sizeof(address));
	if (r < 0 && errno == EADDRINUSE) {
		if (!is_stale(&address))
			return error_set(err, HF_E_BUSY, EADDRINUSE,
					 "device server: %s is there, and in use", path);
		(void)unlink(path);
		r = bind(s, (const struct sockaddr *)&address, sizeof(address));
	}
	if (r < 0)
		return error_set(err, HF_E_SYSTEM, errno, "device server: %s", path);
	memcpy(server->path, path, strlen(path));
	if (listen(s, BACKLOG) < 0)
		return error_set(err, HF_E_SYSTEM, errno, "device server: listening at %s", path);
	server->listen_fd = TAKE_FD(s);
	return 0;
}

static int config_valid(const struct hf_device_server_config *config, struct hf_error *err)
{
	if (!config || config->size < sizeof(*config) || config->flags || config->reserved)
		return error_set(err, HF_E_INVALID, 0,
				 "device server: its configuration's size, flags or reserved");
	if (!config->device.ops || config->device.ops->size < DEVICE_OPS_SIZE_MIN)
		return error_set(err, HF_E_INVALID, 0,
				 "device server: its device's table of operations");
	if (!config->path && config->fd < 0)
		return error_set(err, HF_E_INVALID, 0, "device server: neither path nor fd");
	return 0;
}

HF_EXPORT int hf_device_server_new(const struct hf_device_server_config *config,
				   struct hf_device_server **ret_server, struct hf_error *err)
{
	struct hf_device_server *server;
	int r = config_valid(config, err);

	if (r < 0)
		return r;
	server = calloc(1, sizeof(*server));
	if (!server)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "device server");
	server->config = *config;
	server->listen_fd = -1;
	server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->stop_fd < 0 || server->ended_fd < 0)
		r = error_set(err, HF_E_SYSTEM, errno, "device server: an eventfd");
	else if (config->path)
		r = listen_at(server, config->path, err);
	else
		server->listen_fd = config->fd;
	if (r < 0) {
		(void)hf_device_server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

static void tell(const struct hf_device_server *server, uint32_t event, const char *text)
{
	if (server->config.event)
		server->config.event(server->config.ctx, event, text);
}

/* Say why before closing: it waits for a reply to its VERSION. */
static void refuse(int s)
{
	struct vu_header header;
	uint8_t bytes[VU_HEADER_BYTES];
	struct vu_fds fds;
	struct iovec iov = { bytes, sizeof(bytes) };
	uint64_t deadline_ns = time_now_ns() + REFUSAL_MS * NS_PER_MS;
	const char *field;

	if (vu_recv_header(s, deadline_ns, REFUSAL_MS, bytes, &fds) == 0 &&
	    vu_header_decode(bytes, VU_SIZE_MAX(VU_XFER_DEFAULT), &header, &field) == 0) {
		header.flags = VU_TYPE_REPLY | VU_ERROR;
		header.size = VU_HEADER_BYTES;
		header.error = EBUSY;
		vu_header_encode(&header, bytes);
		(void)vu_send(s, &iov, 1, NULL, 0, deadline_ns); /* it is told, or not */
	}
	vu_fds_close(&fds);
}

static void farewell(struct hf_device_server *server)
{
	char why[VU_WHY_MAX];
	eventfd_t count;

	vu_conn_free(server->conn, why, sizeof(why));
	server->conn = NULL;
	(void)eventfd_read(server->ended_fd, &count);
	tell(server, HF_DEVICE_SERVER_LEFT, why);
}

static void welcome(struct hf_device_server *server)
{
	int s = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), r;

	/* One who has closed, and comes again, must not be taken for a second one. */
	if (server->conn && vu_conn_is_hung_up(server->conn)) {
		vu_conn_break(server->conn, "the client closed the connection");
		farewell(server);
	}
	if (s < 0)
		return; /* it went away again, or there are too many descriptors for now */
	if (server->conn) {
		refuse(s);
		(void)close(s);
		tell(server, HF_DEVICE_SERVER_REFUSED, "a second client was refused");
		return;
	}
	r = vu_conn_new(server->config.device, s, server->ended_fd, &server->conn);
	if (r < 0)
		tell(server, HF_DEVICE_SERVER_REFUSED, strerror(-r));
	else
		tell(server, HF_DEVICE_SERVER_JOINED, "a client has come");
}

HF_EXPORT int hf_device_server_run(struct hf_device_server *server, struct hf_error *err)
{
	int r = 0;

	for (;;) {
		struct pollfd fds[3] = { { .fd = server->stop_fd, .events = POLLIN },
					 { .fd = server->ended_fd, .events = POLLIN },
					 { .fd = server->listen_fd, .events = POLLIN } };

		if (poll(fds, 3, -1) < 0) {
			if (errno == EINTR)
				continue;
			r = error_set(err, HF_E_SYSTEM, errno, "device server: waiting");
			break;
		}
		if (fds[0].revents)
			break;
		if (fds[1].revents && server->conn)
			farewell(server);
		else if (fds[2].revents)
			welcome(server);
	}
	if (server->conn) {
		vu_conn_break(server->conn, "the server was stopped");
		farewell(server);
	}
	return r;
}

HF_EXPORT void hf_device_server_stop(struct hf_device_server *server)
{
	int saved = errno; /* a signal handler leaves it alone */

	(void)eventfd_write(server->stop_fd, 1);
	errno = saved;
}

HF_EXPORT struct hf_device_server *hf_device_server_free(struct hf_device_server *server)
{
	if (!server)
		return NULL;
	assert(!server->conn);
	if (server->listen_fd >= 0)
		(void)close(server->listen_fd);
	if (server->path[0])
		(void)unlink(server->path);
	if (server->stop_fd >= 0)
		(void)close(server->stop_fd);
	if (server->ended_fd >= 0)
		(void)close(server->ended_fd);
	free(server);
	return NULL;
}
