/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device of another process behind struct hf_device_ops: what the parts of the client share.
 * client.c opens and closes it and has the table, client-uri.c its URI, client-device.c regions and
 * interrupts, client-dma.c the memory it is given and the requests it makes, client-state.c the
 * states and the data, client-dirty.c the log. docs/vfio-user.md says which rules it keeps.
 */
#ifndef BACKEND_DEVICE_VFIO_USER_CLIENT_H
#define BACKEND_DEVICE_VFIO_USER_CLIENT_H

#include <holdfast/backend.h>

#include "backend/device/sim/dma.h"
#include "backend/device/vfio-user/link.h"

#define VU_REGIONS_MAX 64u
#define VU_IRQS_MAX 8u
#define VU_VECTORS_MAX 2048u /* MSI-X has no more */
#define VU_PIPELINE_MAX 4u /* requests for data at once */
#define VU_PIECE_MAX (1024u << 10) /* bytes of data in one of them */
#define VU_LOG_CHUNK_PAGES (1u << 20) /* of one report */

/* Which memory it is given by descriptor; for what it is not given it has to ask. */
enum vu_share {
	VU_SHARE_AUTO, /* what it cannot shorten */
	VU_SHARE_ALL,
	VU_SHARE_NONE,
};

enum vu_dirty { VU_DIRTY_AUTO, VU_DIRTY_DEVICE, VU_DIRTY_ALL };

struct vu_config {
	char path[HF_URI_MAX];
	char name[HF_NAME_MAX]; /* what people call it */
	uint32_t timeout_s, arc_timeout_s;
	uint32_t xfer; /* max_data_xfer_size that we offer */
	uint32_t twin; /* offer a socket for the server's requests */
	enum vu_share share;
	enum vu_dirty dirty;
};

struct vu_irq {
	uint32_t count;
	uint32_t enabled; /* vectors that the server may have an eventfd of */
};

/* A request for data, and what it brought. */
struct vu_piece {
	struct vu_call call;
	uint8_t head[8]; /* argsz and size */
	uint8_t *data; /* room for a piece */
	uint32_t size, given; /* bytes that are there, and that were handed out */
	int waits; /* its reply is to come */
	int error; /* a negative errno, instead of bytes */
};

/* The stream being saved, read ahead of whoever reads it. */
struct vu_ahead {
	struct vu_piece pieces[VU_PIPELINE_MAX];
	uint32_t first, count;
	uint32_t
		depth; /* how many at once: more while pieces come full, one where little is left */
	uint64_t initial; /* bytes of it that are initial data */
	uint64_t given; /* bytes handed out */
	uint8_t *room;
};

struct vu_client {
	struct vu_config config;
	/* Immutable once it is open. */
	struct hf_device_info info;
	struct vu_caps caps; /* what both can */
	struct hf_region_info regions[VU_REGIONS_MAX]; /* with descriptors of ours */

	struct vu_link link, twin;
	int has_link, has_twin, reads, reads_twin;
	pthread_t reader, twin_reader;

	pthread_mutex_t map_lock; /* one dma_map() or dma_unmap() at a time, with its message */
	pthread_mutex_t dma_lock; /* of dma */
	struct sim_dma dma; /* what the device may reach, and what it wrote by messages */

	pthread_mutex_t irq_lock;
	struct vu_irq irqs[VU_IRQS_MAX];

	/* The session's: one worker at a time. */
	uint32_t state; /* HF_DEVICE_*, as it was last told */
	int load_error; /* what the first write that failed said; 0: none did */
	struct vu_ahead ahead;
	uint32_t precopy_ended; /* there was nothing more to read, once */
	uint64_t pass_bytes, last_pass_bytes; /* read since that, and between the last two */
	enum vu_dirty dirty;
	uint8_t *log; /* room for one report */
};

/* rest: what stands behind "vfio-user:". */
int vu_client_open(const char *rest, const char *name, struct hf_device *ret_device,
		   struct hf_error *err);

/* ---- client-uri.c ---- */
int vu_uri_parse(const char *rest, const char *name, struct vu_config *ret_config,
		 struct hf_error *err);

/* ---- client.c ---- */
uint64_t vu_deadline(const struct vu_client *c);
uint64_t vu_arc_deadline(const struct vu_client *c);
/*
 * A command and its reply. buf takes the reply's body, and *ret_reply points into it; both and
 * ret_fds may be NULL for a reply that has no tail. A malformed reply breaks the connection:
 * -EPROTO.
 */
struct vu_exchange {
	uint32_t command;
	struct vu_body request, reply;
	const int *fds;
	uint32_t fd_count;
	uint8_t *buf;
	size_t capacity;
	struct vu_fds *ret_fds;
	uint64_t deadline_ns;
};
int vu_command(struct vu_client *c, struct vu_exchange *m);
/* A reply says something that cannot be. Breaks the connection; -EPROTO. */
int vu_malformed(struct vu_client *c, uint32_t command, const char *field);

/* ---- client-device.c ---- */
int vu_regions_init(struct vu_client *c, uint32_t region_count, uint32_t irq_count);
void vu_regions_done(struct vu_client *c);
int vu_region_info(void *self, uint32_t index, struct hf_region_info *ret_info);
int vu_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size);
int vu_region_write(void *self, uint32_t index, uint64_t offset, const void *buf, size_t size);
int vu_irq_count(void *self, uint32_t index, uint32_t *ret_count);
int vu_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds);

/* ---- client-dma.c ---- */
/* Carry out what the server asked for on that link (vu_link_run()). */
int vu_serve(struct vu_client *c, struct vu_link *link, struct vu_message *message);
int vu_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd, uint64_t fd_offset,
	       uint32_t flags);
int vu_dma_map_calls(void *self, uint64_t iova, uint64_t size, const struct hf_dma_calls *calls,
		     uint32_t flags);
int vu_dma_unmap(void *self, uint64_t iova, uint64_t size);

/* ---- client-state.c ---- */
/* data goes in and comes out, size bytes of it. */
int vu_feature(struct vu_client *c, uint32_t flags, void *data, size_t size);
int vu_state_init(struct vu_client *c);
int vu_get_state(void *self, uint32_t *ret_state);
int vu_set_state(void *self, uint32_t state);
int vu_reset(void *self);

/* ---- client-data.c ---- */
int vu_data_init(struct vu_client *c); /* -ENOMEM */
void vu_data_done(struct vu_client *c); /* the connection is broken */
void vu_data_begin(struct vu_client *c); /* it has begun to save */
void vu_data_end(struct vu_client *c); /* what was read ahead is of no use any more */
void vu_data_drain(struct vu_client *c); /* no reply is to come */
ssize_t vu_read_data(void *self, void *buf, size_t size);
ssize_t vu_write_data(void *self, const void *buf, size_t size);
int vu_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes);
int vu_data_size(void *self, uint64_t *ret_bytes);

/* ---- client-dirty.c ---- */
/* Who will tell of dirty pages. Errors: HF_E_UNSUPPORTED, if the one asked for cannot. */
int vu_dirty_init(struct vu_client *c, struct hf_error *err);
int vu_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
		   uint32_t count);
int vu_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size, uint64_t *bitmap);
int vu_dirty_stop(void *self);

#endif
