/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Serving a device to another process over vfio-user (docs/vfio-user.md): whoever writes a device
 * as a table of operations (struct hf_device_ops) can be a VMM's device with this, and be migrated.
 *
 * A server has one device and one socket, and serves one client at a time; a second one is refused.
 * When a client goes, its memory is unmapped and its interrupts are gone; the device keeps the rest
 * of its state, and the next client resets it or not.
 */
#ifndef HOLDFAST_DEVICE_SERVER_H
#define HOLDFAST_DEVICE_SERVER_H

#include <stdint.h>

#include <holdfast/backend.h>
#include <holdfast/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hf_device_server;

#define HF_DEVICE_SERVER_JOINED 1u /* a client has come */
#define HF_DEVICE_SERVER_LEFT 2u /* it is gone; text says why */
#define HF_DEVICE_SERVER_REFUSED 3u /* a second one came */

struct hf_device_server_config {
	uint32_t size; /* sizeof(struct hf_device_server_config) */
	uint32_t flags; /* reserved, 0 */
	/*
	 * The device, which stays the caller's and outlives the server. Its operations are called
	 * by threads of the server, as backend.h has it: one for migration, one for the rest. A
	 * table without dma_map_calls() is used as well; memory without a descriptor is refused
	 * then.
	 */
	struct hf_device device;
	/* Where it listens: a path, where nothing is or a socket that nobody serves any more; */
	const char *path;
	/* or, with path NULL, a listening UNIX stream socket, which becomes the server's. */
	int32_t fd;
	uint32_t reserved;
	/* NULL, or told what happens (HF_DEVICE_SERVER_*), by the thread that runs the server. */
	void (*event)(void *ctx, uint32_t event, const char *text);
	void *ctx;
};

/*
 * Listen; nobody is answered before hf_device_server_run(). Errors: HF_E_INVALID names what is
 * wrong, HF_E_BUSY that somebody serves at that path, HF_E_SYSTEM the step that failed.
 */
int hf_device_server_new(const struct hf_device_server_config *config,
			 struct hf_device_server **ret_server, struct hf_error *err);

/* Serve, one client after the other, until it is stopped: then 0. Errors: HF_E_SYSTEM. */
int hf_device_server_run(struct hf_device_server *server, struct hf_error *err);

/* Make hf_device_server_run() return, now or when it is called. Any thread, and signal handlers. */
void hf_device_server_stop(struct hf_device_server *server);

/* The socket is closed, and its path is free again. Takes NULL; returns NULL. */
struct hf_device_server *hf_device_server_free(struct hf_device_server *server);

#ifdef __cplusplus
}
#endif

#endif
