/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Serving a device: what the parts of the server share. server.c listens and has the public
 * functions (holdfast/device-server.h), server-conn.c one client's connection with its threads,
 * server-device.c regions and interrupts, server-dma.c the client's memory, server-state.c
 * migration. The client is another process, and may be hostile: it can harm its own device, and
 * nothing else.
 */
#ifndef BACKEND_DEVICE_VFIO_USER_SERVER_H
#define BACKEND_DEVICE_VFIO_USER_SERVER_H

#include <pthread.h>

#include <holdfast/device-server.h>

#include "backend/device/vfio-user/link.h"

#define VU_SERVER_XFER (4u << 20) /* max_data_xfer_size that we offer */
#define VU_SERVER_IRQS 8u /* indexes */
#define VU_SERVER_VECTORS_MAX 2048u
#define VU_SERVER_REPLY_S 30u /* for the client to take a reply, or to answer a request */
/*
 * Commands that wait to be carried out. At the first limit nothing more is read. While the device
 * waits for a reply of the client, which may be behind them, reading goes on up to the second one;
 * there the client is cut off.
 */
#define VU_QUEUE_MAX 256u
#define VU_QUEUE_BYTES_MAX (16u << 20)
#define VU_FLOOD_MAX 2048u
#define VU_FLOOD_BYTES_MAX (64u << 20)

/* A command to be carried out. */
struct vu_job {
	struct vu_header header;
	uint8_t *body;
	struct vu_fds fds;
	uint64_t use_before, resets_before; /* how many of those have to be done first */
	struct vu_job *next;
};

/* The commands of one worker: that of migration, or that of the rest. */
struct vu_queue {
	struct vu_conn *conn;
	struct vu_job *first, **last;
	uint32_t is_use;
	int runs;
	pthread_t thread;
};

/* What an answer is made of. buf is freed, descriptors stay their owners'. */
struct vu_answer {
	struct vu_body body;
	uint8_t *buf;
	int fd;
	uint32_t fd_count;
};

struct vu_dma {
	uint64_t iova, size;
	void *vaddr; /* NULL: by messages */
};

struct vu_vectors {
	uint32_t count; /* that the index has; 0: not known yet */
	uint32_t used; /* that the device was told of */
	int *fds; /* owned; -1: none */
	int unmask; /* of INTx; owned; -1: none */
};

struct vu_conn {
	struct hf_device device;
	struct hf_device_info info;
	uint32_t xfer; /* bytes of data in one message */
	uint32_t max_fds; /* that the client takes in one */
	uint32_t dma_p2p;
	struct vu_link link, twin;
	int has_twin, negotiated;
	int ended_fd; /* the server's eventfd, signalled when the connection is over */

	pthread_mutex_t lock; /* of the queues and what is below */
	pthread_cond_t changed;
	struct vu_queue migration, use;
	uint32_t queued;
	uint64_t queued_bytes;
	uint64_t use_pushed, use_done, resets_pushed, resets_done;
	uint32_t dma_waits; /* threads of the device that await a reply of the client */
	int over; /* the workers end */

	pthread_t reader, twin_reader;
	int reads, reads_twin;

	/* The worker's of all but migration. */
	struct vu_dma *maps;
	uint32_t map_count, map_capacity;
	struct vu_vectors vectors[VU_SERVER_IRQS];

	/* The worker's of migration. */
	uint8_t *data; /* xfer bytes */
	int logging;
};

/* ---- server-conn.c ---- */
/* socket becomes the connection's, also after a failure. -errno. */
int vu_conn_new(struct hf_device device, int socket, int ended_fd, struct vu_conn **ret_conn);
void vu_conn_break(struct vu_conn *conn, const char *why);
int vu_conn_is_hung_up(struct vu_conn *conn); /* the client has closed its end */
/* It is over, or has been broken: its threads end, and what the client had is undone. */
void vu_conn_free(struct vu_conn *conn, char *ret_why, size_t size);
/* A device's thread begins, or ends, to wait for the client. */
void vu_conn_dma_waits(struct vu_conn *conn, int begins);

/*
 * Commands. 0 and an answer, or a negative errno; request and job are read only, but descriptors
 * may be taken.
 */
/* ---- server-device.c ---- */
int vu_do_device_info(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer);
int vu_do_region_info(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer);
int vu_do_irq_info(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer);
int vu_do_set_irqs(struct vu_conn *c, const struct vu_body *request, struct vu_fds *fds);
int vu_do_region_read(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer);
int vu_do_region_write(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer);
void vu_irqs_done(struct vu_conn *c);

/* ---- server-dma.c ---- */
int vu_do_dma_map(struct vu_conn *c, const struct vu_body *request, struct vu_fds *fds);
int vu_do_dma_unmap(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer);
/* 1: the device did not let go of all, and may still call. */
int vu_maps_done(struct vu_conn *c);

/* ---- server-state.c ---- */
int vu_do_reset(struct vu_conn *c);
int vu_do_feature(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer);
int vu_do_data_read(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer);
int vu_do_data_write(struct vu_conn *c, const struct vu_body *request);
void vu_log_done(struct vu_conn *c);

#endif
