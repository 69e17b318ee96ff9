/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's memory, as its device reaches it: mapped where the client gave a descriptor, and by
 * messages where it did not (server.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "backend/device/ops.h"
#include "backend/device/vfio-user/server.h"
#include "backend/device/vfio-user/shared.h"
#include "base/time.h"

/* ---- by messages ----------------------------------------------------------------------------- */

static struct vu_link *dma_link(struct vu_conn *c)
{
	return c->has_twin ? &c->twin : &c->link;
}

/* One request and its reply: at most xfer bytes, into buf or out of from. */
static int ask(struct vu_conn *c, uint32_t command, uint64_t iova, uint8_t *buf,
	       const uint8_t *from, size_t size)
{
	uint8_t head[16]; /* address and count */
	struct vu_call call = { .body = head,
				.capacity = sizeof(head) + (buf ? size : 0),
				.tail = buf,
				.tail_at = sizeof(head) };
	struct vu_body b = { .tail = from, .tail_size = from ? size : 0 };
	uint64_t deadline_ns = time_now_ns() + VU_SERVER_REPLY_S * NS_PER_S;
	struct vu_link *link = dma_link(c);
	const char *field = NULL;
	int r;

	b.v[VU_ADDRESS] = iova;
	b.v[VU_COUNT] = size;
	r = vu_call_start(link, &call, command, &b, NULL, 0, deadline_ns);
	if (r == 0)
		r = vu_call_wait(link, &call, deadline_ns);
	if (r < 0)
		return r;
	if (vu_body_decode(command, 1, head, call.size, &b, &field) < 0 || b.v[VU_COUNT] != size) {
		vu_link_break(link, -EPROTO, "the client sent a malformed reply to %s (field %s)",
			      vu_command_name(command), field ? field : "count");
		return -EPROTO;
	}
	return 0;
}

static int ask_all(struct vu_conn *c, uint32_t command, uint64_t iova, uint8_t *buf,
		   const uint8_t *from, size_t size)
{
	int r = 0;

	vu_conn_dma_waits(c, 1);
	for (size_t at = 0; r == 0 && at < size;) {
		size_t n = size - at < c->xfer ? size - at : c->xfer;

		r = ask(c, command, iova + at, buf ? buf + at : NULL, from ? from + at : NULL, n);
		at += n;
	}
	vu_conn_dma_waits(c, 0);
	return r;
}

static int calls_read(void *ctx, uint64_t iova, void *buf, size_t size)
{
	return ask_all(ctx, VU_DMA_READ, iova, buf, NULL, size);
}

static int calls_write(void *ctx, uint64_t iova, const void *buf, size_t size)
{
	return ask_all(ctx, VU_DMA_WRITE, iova, NULL, buf, size);
}

/* ---- maps ------------------------------------------------------------------------------------ */

/*
 * What ends before the map, now or later, would kill us when it is touched (SIGBUS). What is too
 * short is refused; what could be shortened is left alone (*ret_vaddr NULL), and asked for by
 * messages.
 */
static int map_fd(const struct vu_body *request, int fd, void **ret_vaddr)
{
	uint64_t offset = request->v[VU_OFFSET], size = request->v[VU_SIZE], end;
	int prot = (request->v[VU_FLAGS] & VU_DMA_READ_FLAG ? PROT_READ : 0) |
		   (request->v[VU_FLAGS] & VU_DMA_WRITE_FLAG ? PROT_WRITE : 0);
	struct stat st;
	void *vaddr;

	if (__builtin_add_overflow(offset, size, &end) || end > INT64_MAX || !size)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) ? (uint64_t)st.st_size < end : !S_ISCHR(st.st_mode))
		return -EINVAL;
	*ret_vaddr = NULL;
	if (!vu_fd_stays(fd, end))
		return 0;
	vaddr = mmap(NULL, (size_t)size, prot, MAP_SHARED, fd, (off_t)offset);
	if (vaddr == MAP_FAILED)
		return -errno;
	*ret_vaddr = vaddr;
	return 0;
}

static int grow(struct vu_conn *c)
{
	uint32_t capacity = c->map_capacity ? c->map_capacity * 2 : 16;
	struct vu_dma *maps;

	if (c->map_count == VU_DMA_MAPS_MAX)
		return -ENOSPC;
	if (c->map_count < c->map_capacity)
		return 0;
	maps = realloc(c->maps, capacity * sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	c->maps = maps;
	c->map_capacity = capacity;
	return 0;
}

int vu_do_dma_map(struct vu_conn *c, const struct vu_body *request, struct vu_fds *fds)
{
	const struct hf_dma_calls calls = {
		.size = sizeof(calls), .ctx = c, .read = calls_read, .write = calls_write
	};
	struct vu_dma map = { .iova = request->v[VU_ADDRESS], .size = request->v[VU_SIZE] };
	uint32_t known = VU_DMA_READ_FLAG | VU_DMA_WRITE_FLAG | (c->dma_p2p ? VU_DMA_P2P_FLAG : 0);
	uint32_t flags = (uint32_t)request->v[VU_FLAGS];
	uint32_t hf_flags = (flags & 3) | (flags & VU_DMA_P2P_FLAG ? HF_DMA_P2P : 0);
	int r = grow(c);

	if (r == 0 && ((flags & ~known) || !(flags & 3) || fds->count > 1))
		r = -EINVAL;
	if (r < 0)
		return r;
	if (fds->count)
		r = map_fd(request, fds->fd[0], &map.vaddr);
	if (r == 0 && map.vaddr)
		r = c->device.ops->dma_map(c->device.self, map.iova, map.size, map.vaddr,
					   fds->fd[0], request->v[VU_OFFSET], hf_flags);
	else if (r == 0)
		r = device_ops_map_calls(c->device, map.iova, map.size, &calls, hf_flags);
	if (r < 0 && map.vaddr)
		(void)munmap(map.vaddr, (size_t)map.size);
	if (r == 0)
		c->maps[c->map_count++] = map;
	return r;
}

static void forget(struct vu_conn *c, uint32_t at)
{
	if (c->maps[at].vaddr)
		(void)munmap(c->maps[at].vaddr, (size_t)c->maps[at].size);
	c->maps[at] = c->maps[--c->map_count];
}

/* The device's rules: whole maps, several at once if need be, and nothing there is fine. */
static int unmap(struct vu_conn *c, uint64_t iova, uint64_t size)
{
	int r = c->device.ops->dma_unmap(c->device.self, iova, size);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < c->map_count;) {
		if (c->maps[i].iova >= iova && c->maps[i].iova - iova < size)
			forget(c, i);
		else
			i++;
	}
	return 0;
}

static int unmap_all(struct vu_conn *c)
{
	while (c->map_count) {
		const struct vu_dma *m = &c->maps[c->map_count - 1];
		int r = unmap(c, m->iova, m->size);

		if (r < 0)
			return r;
	}
	return 0;
}

int vu_do_dma_unmap(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	uint64_t flags = request->v[VU_FLAGS];
	int r;

	if (flags & ~(uint64_t)VU_UNMAP_ALL)
		return -EINVAL;
	if (flags && (request->v[VU_ADDRESS] || request->v[VU_SIZE]))
		return -EINVAL;
	r = flags ? unmap_all(c) : unmap(c, request->v[VU_ADDRESS], request->v[VU_SIZE]);
	if (r < 0)
		return r;
	answer->body = *request;
	return 0;
}

/* A device that does not let go of one may go on using it: then what it uses stays. */
int vu_maps_done(struct vu_conn *c)
{
	int held = 0;

	while (c->map_count) {
		const struct vu_dma *m = &c->maps[c->map_count - 1];

		if (unmap(c, m->iova, m->size) < 0) {
			c->map_count--;
			held = 1;
		}
	}
	free(c->maps);
	c->maps = NULL;
	return held;
}
