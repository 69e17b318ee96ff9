/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of a served device. What can be shared is given by descriptor; and whatever is mapped, the
 * server may also ask for by messages: it gets at what is mapped, with the rights it was mapped
 * with, and at nothing else.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/device/vfio-user/client.h"
#include "backend/device/vfio-user/shared.h"

/* ---- requests of the server ------------------------------------------------------------------ */

static int serve_read(struct vu_client *c, struct vu_link *link, const struct vu_header *header,
		      struct vu_body *b)
{
	size_t size = (size_t)b->v[VU_COUNT];
	uint8_t *buf;
	int r, p2p;

	if (b->v[VU_COUNT] > c->config.xfer)
		return vu_link_reply_error(link, header, -EINVAL, vu_deadline(c));
	buf = malloc(size + 1);
	if (!buf)
		return vu_link_reply_error(link, header, -ENOMEM, vu_deadline(c));
	(void)pthread_mutex_lock(&c->dma_lock);
	r = sim_dma_check(&c->dma, b->v[VU_ADDRESS], size, HF_DMA_READ, &p2p);
	if (r == 0)
		r = sim_dma_read(&c->dma, b->v[VU_ADDRESS], buf, size);
	(void)pthread_mutex_unlock(&c->dma_lock);
	b->tail = buf;
	b->tail_size = size;
	if (header->flags & VU_NO_REPLY)
		r = 0;
	else if (r < 0)
		r = vu_link_reply_error(link, header, r, vu_deadline(c));
	else
		r = vu_link_reply(link, header, b, NULL, 0, vu_deadline(c));
	free(buf);
	return r;
}

static int serve_write(struct vu_client *c, struct vu_link *link, const struct vu_header *header,
		       struct vu_body *b)
{
	int r, p2p;

	(void)pthread_mutex_lock(&c->dma_lock);
	r = sim_dma_check(&c->dma, b->v[VU_ADDRESS], b->tail_size, HF_DMA_WRITE, &p2p);
	if (r == 0)
		r = sim_dma_write(&c->dma, b->v[VU_ADDRESS], b->tail, b->tail_size);
	(void)pthread_mutex_unlock(&c->dma_lock);
	b->tail = NULL;
	b->tail_size = 0;
	if (header->flags & VU_NO_REPLY)
		return 0;
	if (r < 0)
		return vu_link_reply_error(link, header, r, vu_deadline(c));
	return vu_link_reply(link, header, b, NULL, 0, vu_deadline(c));
}

int vu_serve(struct vu_client *c, struct vu_link *link, struct vu_message *message)
{
	const struct vu_header *header = &message->header;
	const char *field = NULL;
	struct vu_body b;
	int r = -ENOTSUP;

	if (header->command == VU_DMA_READ || header->command == VU_DMA_WRITE)
		r = vu_body_decode(header->command, 0, message->body,
				   header->size - VU_HEADER_BYTES, &b, &field);
	if (r == -EINVAL) {
		vu_link_break(link, -EPROTO, "the server sent a malformed %s (field %s)",
			      vu_command_name(header->command), field);
		return -EPROTO;
	}
	if (r < 0) /* none that a server sends */
		return header->flags & VU_NO_REPLY
			       ? 0
			       : vu_link_reply_error(link, header, -ENOTSUP, vu_deadline(c));
	return header->command == VU_DMA_READ ? serve_read(c, link, header, &b)
					      : serve_write(c, link, header, &b);
}

/* ---- maps ------------------------------------------------------------------------------------ */

/* A server that can shorten the guest's memory can end us. */
static int may_give(const struct vu_client *c, int fd)
{
	if (fd < 0 || c->config.share == VU_SHARE_NONE)
		return 0;
	return c->config.share == VU_SHARE_ALL || vu_fd_stays(fd, 0);
}

static int send_map(struct vu_client *c, uint64_t iova, uint64_t size, int fd, uint64_t fd_offset,
		    uint32_t flags)
{
	struct vu_exchange m = { .command = VU_DMA_MAP };

	if (may_give(c, fd)) {
		m.fds = &fd;
		m.fd_count = 1;
		m.request.v[VU_OFFSET] = fd_offset;
	}
	m.request.v[VU_ARGSZ] = vu_fixed_size(VU_DMA_MAP, 0);
	m.request.v[VU_FLAGS] = flags & (HF_DMA_READ | HF_DMA_WRITE);
	if ((flags & HF_DMA_P2P) && c->caps.dma_p2p)
		m.request.v[VU_FLAGS] |= VU_DMA_P2P_FLAG;
	m.request.v[VU_ADDRESS] = iova;
	m.request.v[VU_SIZE] = size;
	return vu_command(c, &m);
}

static int send_unmap(struct vu_client *c, uint64_t iova, uint64_t size)
{
	struct vu_exchange m = { .command = VU_DMA_UNMAP };
	int r;

	m.request.v[VU_ARGSZ] = vu_fixed_size(VU_DMA_UNMAP, 0);
	m.request.v[VU_ADDRESS] = iova;
	m.request.v[VU_SIZE] = size;
	r = vu_command(c, &m);
	if (r == 0 && (m.reply.v[VU_ADDRESS] != iova || m.reply.v[VU_SIZE] != size))
		r = vu_malformed(c, VU_DMA_UNMAP, "address or size");
	return r;
}

/* Ours first: the server may use it as soon as it knows. */
static int map(struct vu_client *c, uint64_t iova, uint64_t size, void *vaddr, int fd,
	       uint64_t fd_offset, uint32_t flags)
{
	int r;

	(void)pthread_mutex_lock(&c->dma_lock);
	r = c->dma.map_count < c->caps.max_dma_maps ? sim_dma_map(&c->dma, iova, size, vaddr, flags)
						    : -ENOSPC;
	(void)pthread_mutex_unlock(&c->dma_lock);
	if (r < 0)
		return r;
	r = send_map(c, iova, size, fd, fd_offset, flags);
	if (r == 0)
		return 0;
	(void)pthread_mutex_lock(&c->dma_lock);
	(void)sim_dma_unmap(&c->dma, iova, size); /* it is there, and whole */
	(void)pthread_mutex_unlock(&c->dma_lock);
	return r;
}

int vu_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd, uint64_t fd_offset,
	       uint32_t flags)
{
	struct vu_client *c = self;
	int r;

	(void)pthread_mutex_lock(&c->map_lock);
	r = map(c, iova, size, vaddr, fd, fd_offset, flags);
	(void)pthread_mutex_unlock(&c->map_lock);
	return r;
}

int vu_dma_map_calls(void *self, uint64_t iova, uint64_t size, const struct hf_dma_calls *calls,
		     uint32_t flags)
{
	struct vu_client *c = self;
	int r;

	(void)pthread_mutex_lock(&c->map_lock);
	(void)pthread_mutex_lock(&c->dma_lock);
	r = c->dma.map_count < c->caps.max_dma_maps
		    ? sim_dma_map_calls(&c->dma, iova, size, calls, flags)
		    : -ENOSPC;
	(void)pthread_mutex_unlock(&c->dma_lock);
	if (r == 0) {
		r = send_map(c, iova, size, -1, 0, flags);
		if (r < 0) {
			(void)pthread_mutex_lock(&c->dma_lock);
			(void)sim_dma_unmap(&c->dma, iova, size);
			(void)pthread_mutex_unlock(&c->dma_lock);
		}
	}
	(void)pthread_mutex_unlock(&c->map_lock);
	return r;
}

/* The first map in the range, of which maps are whole: sim_dma_unmap() of nothing has said so. */
static int next_in(struct vu_client *c, uint64_t iova, uint64_t size, struct hf_dma_range *ret_map)
{
	int found = 0;

	(void)pthread_mutex_lock(&c->dma_lock);
	for (uint32_t i = 0; i < c->dma.map_count && !found; i++) {
		const struct sim_dma_map *m = &c->dma.maps[i];

		found = m->iova >= iova && m->iova - iova < size;
		if (found)
			*ret_map = (struct hf_dma_range){ m->iova, m->size };
	}
	(void)pthread_mutex_unlock(&c->dma_lock);
	return found;
}

/*
 * One message for each map: servers take the very ranges that were mapped. The server has let go of
 * it before it goes here; if it does not answer, the connection is gone, and with it the map.
 */
int vu_dma_unmap(void *self, uint64_t iova, uint64_t size)
{
	struct vu_client *c = self;
	struct hf_dma_range one;
	int r;

	(void)pthread_mutex_lock(&c->map_lock);
	(void)pthread_mutex_lock(&c->dma_lock);
	r = sim_dma_unmap_check(&c->dma, iova, size);
	(void)pthread_mutex_unlock(&c->dma_lock);
	while (r == 0 && next_in(c, iova, size, &one)) {
		r = send_unmap(c, one.iova, one.size);
		if (r < 0 && !vu_link_is_broken(&c->link))
			break;
		(void)pthread_mutex_lock(&c->dma_lock);
		(void)sim_dma_unmap(&c->dma, one.iova, one.size);
		(void)pthread_mutex_unlock(&c->dma_lock);
		if (vu_link_is_broken(&c->link))
			r = 0; /* a server that is gone reaches nothing any more */
	}
	(void)pthread_mutex_unlock(&c->map_lock);
	return r;
}
