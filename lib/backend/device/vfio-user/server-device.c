/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions and interrupts of a served device, as its client asks for them (server.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/device/vfio-user/server.h"
#include "backend/device/vfio-user/shared.h"

#define INTX 0u

int vu_do_device_info(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	(void)request;
	answer->body.v[VU_ARGSZ] = vu_fixed_size(VU_DEVICE_GET_INFO, 1);
	answer->body.v[VU_FLAGS] =
		VU_DEVICE_PCI | (c->info.flags & HF_DEVICE_HAS_RESET ? VU_DEVICE_RESET_FLAG : 0);
	answer->body.v[VU_REGIONS] = c->info.region_count;
	answer->body.v[VU_IRQS] = c->info.irq_count;
	return 0;
}

/* ---- regions --------------------------------------------------------------------------------- */

static size_t caps_of(const struct hf_region_info *info, uint8_t ret_bytes[VU_CAPS_BYTES_MAX])
{
	struct vu_region_caps caps = {
		.sparse = (info->flags & HF_REGION_MMAP_AREAS) != 0,
		.msix_mappable = (info->flags & HF_REGION_MSIX_MAPPABLE) != 0,
	};

	for (; caps.sparse && caps.area_count < info->area_count && caps.area_count < VU_AREAS_MAX;
	     caps.area_count++) {
		caps.areas[caps.area_count].offset = info->areas[caps.area_count].offset;
		caps.areas[caps.area_count].size = info->areas[caps.area_count].size;
	}
	return vu_caps_encode(&caps, ret_bytes);
}

/* A client that can shorten what the device itself has mapped can end us. Devices have no size. */
static int may_give(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISCHR(st.st_mode) || vu_fd_stays(fd, 0));
}

int vu_do_region_info(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	size_t fixed = vu_fixed_size(VU_DEVICE_GET_REGION_INFO, 1), tail;
	uint64_t *v = answer->body.v;
	struct hf_region_info info = { 0 };
	uint8_t caps[VU_CAPS_BYTES_MAX];
	int r = c->device.ops->region_info(c->device.self, (uint32_t)request->v[VU_INDEX], &info);

	if (r < 0)
		return r;
	tail = info.size ? caps_of(&info, caps) : 0;
	v[VU_ARGSZ] = fixed + tail;
	v[VU_INDEX] = request->v[VU_INDEX];
	v[VU_SIZE] = info.size;
	v[VU_FLAGS] = (info.flags & HF_REGION_READ ? VU_REGION_READ_FLAG : 0) |
		      (info.flags & HF_REGION_WRITE ? VU_REGION_WRITE_FLAG : 0) |
		      (tail ? VU_REGION_CAPS : 0);
	if (info.size && (info.flags & (HF_REGION_MMAP | HF_REGION_MMAP_AREAS)) &&
	    info.mmap_fd >= 0 && c->max_fds && may_give(info.mmap_fd)) {
		v[VU_FLAGS] |= VU_REGION_MMAP;
		v[VU_OFFSET] = info.mmap_offset;
		answer->fd = info.mmap_fd;
		answer->fd_count = 1;
	}
	if (!tail || request->v[VU_ARGSZ] < fixed + tail)
		return 0; /* without them; argsz says what they need */
	answer->buf = malloc(tail);
	if (!answer->buf)
		return -ENOMEM;
	memcpy(answer->buf, caps, tail);
	v[VU_CAP_OFFSET] = fixed;
	answer->body.tail = answer->buf;
	answer->body.tail_size = tail;
	return 0;
}

int vu_do_region_read(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	size_t size = (size_t)request->v[VU_COUNT];
	int r;

	if (!size || size > c->xfer)
		return -EINVAL;
	answer->buf = calloc(1, size);
	if (!answer->buf)
		return -ENOMEM;
	r = c->device.ops->region_read(c->device.self, (uint32_t)request->v[VU_INDEX],
				       request->v[VU_OFFSET], answer->buf, size);
	answer->body = *request;
	answer->body.tail = answer->buf;
	answer->body.tail_size = size;
	return r;
}

int vu_do_region_write(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	if (!request->tail_size)
		return -EINVAL;
	answer->body = *request;
	answer->body.tail = NULL;
	answer->body.tail_size = 0;
	return c->device.ops->region_write(c->device.self, (uint32_t)request->v[VU_INDEX],
					   request->v[VU_OFFSET], request->tail,
					   request->tail_size);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

int vu_do_irq_info(struct vu_conn *c, const struct vu_body *request, struct vu_answer *answer)
{
	uint32_t count = 0;
	int r = c->device.ops->irq_count(c->device.self, (uint32_t)request->v[VU_INDEX], &count);

	if (r < 0)
		return r;
	answer->body.v[VU_ARGSZ] = vu_fixed_size(VU_DEVICE_GET_IRQ_INFO, 1);
	answer->body.v[VU_FLAGS] = count ? VU_IRQ_INFO_EVENTFD : 0;
	answer->body.v[VU_INDEX] = request->v[VU_INDEX];
	answer->body.v[VU_COUNT] = count;
	return 0;
}

/* Anything else that one can write to might block the device's thread, or worse. */
static int is_eventfd(int fd)
{
	char link[64], what[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, what, sizeof(what) - 1);
	if (n < 0)
		return 0;
	what[n] = 0;
	return strcmp(what, "anon_inode:[eventfd]") == 0;
}

static int vectors_get(struct vu_conn *c, uint64_t index, struct vu_vectors **ret_vectors)
{
	struct vu_vectors *v;
	uint32_t count = 0;
	int r;

	if (index >= VU_SERVER_IRQS)
		return -EINVAL;
	v = &c->vectors[index];
	*ret_vectors = v;
	if (v->count)
		return 0;
	r = c->device.ops->irq_count(c->device.self, (uint32_t)index, &count);
	if (r < 0)
		return r;
	if (!count || count > VU_SERVER_VECTORS_MAX)
		return -EINVAL;
	v->fds = malloc(count * sizeof(v->fds[0]));
	if (!v->fds)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		v->fds[i] = -1;
	v->unmask = -1;
	v->count = count;
	return 0;
}

/* Tell the device all vectors up to the last one that has an eventfd. */
static int tell(struct vu_conn *c, uint32_t index, const int *fds, int unmask, uint32_t *ret_used)
{
	const struct vu_vectors *v = &c->vectors[index];
	uint32_t used = v->count;
	int r;

	while (used && fds[used - 1] < 0)
		used--;
	*ret_used = used;
	if (index == INTX && used == 1 && unmask >= 0) {
		int both[2] = { fds[0], unmask };

		return c->device.ops->irqs_set(c->device.self, index, 2, both);
	}
	r = c->device.ops->irqs_set(c->device.self, index, used, used ? fds : NULL);
	return r;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* New eventfds for [start, start + count), or none; the device first, then what is left over. */
static int replace(struct vu_conn *c, uint32_t index, uint32_t start, uint32_t count,
		   struct vu_fds *fds)
{
	struct vu_vectors *v = &c->vectors[index];
	int *now = malloc(v->count * sizeof(now[0]));
	int r;

	if (!now)
		return -ENOMEM;
	memcpy(now, v->fds, v->count * sizeof(now[0]));
	for (uint32_t i = 0; i < count; i++)
		now[start + i] = fds->count ? fds->fd[i] : -1;
	r = tell(c, index, now, v->unmask, &v->used);
	if (r < 0) {
		free(now);
		return r;
	}
	for (uint32_t i = 0; i < count; i++) {
		close_fd(&v->fds[start + i]);
		v->fds[start + i] = vu_fds_take(fds, i);
	}
	free(now);
	return 0;
}

static int disable(struct vu_conn *c, uint32_t index)
{
	struct vu_vectors *v = &c->vectors[index];
	int r = c->device.ops->irqs_set(c->device.self, index, 0, NULL);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < v->count; i++)
		close_fd(&v->fds[i]);
	close_fd(&v->unmask);
	v->used = 0;
	return 0;
}

/* The client fires vectors itself: with NONE all of them, with BOOL those that say so. */
static int fire(struct vu_conn *c, const struct vu_body *request, uint32_t data)
{
	const struct vu_vectors *v = &c->vectors[request->v[VU_INDEX]];
	uint64_t start = request->v[VU_START], count = request->v[VU_COUNT];

	if (data == VU_IRQ_BOOL && request->tail_size != count)
		return -EINVAL;
	for (uint64_t i = 0; i < count; i++)
		if (v->fds[start + i] >= 0 && (data == VU_IRQ_NONE || request->tail[i]))
			(void)eventfd_write(v->fds[start + i], 1); /* full: it is due anyway */
	return 0;
}

static int set_unmask(struct vu_conn *c, const struct vu_body *request, struct vu_fds *fds)
{
	struct vu_vectors *v = &c->vectors[INTX];
	int unmask, r;

	if (request->v[VU_INDEX] != INTX || request->v[VU_START] || request->v[VU_COUNT] != 1)
		return -EINVAL;
	unmask = fds->count ? fds->fd[0] : -1;
	r = tell(c, INTX, v->fds, unmask, &v->used);
	if (r < 0)
		return r;
	close_fd(&v->unmask);
	v->unmask = vu_fds_take(fds, 0);
	return 0;
}

static int set_checked(struct vu_conn *c, const struct vu_body *request, struct vu_fds *fds,
		       uint32_t data, uint32_t action)
{
	uint32_t index = (uint32_t)request->v[VU_INDEX];

	if (data == VU_IRQ_NONE && action == VU_IRQ_TRIGGER && request->v[VU_COUNT] == 0)
		return disable(c, index);
	if (data == VU_IRQ_EVENTFD && action == VU_IRQ_TRIGGER)
		return replace(c, index, (uint32_t)request->v[VU_START],
			       (uint32_t)request->v[VU_COUNT], fds);
	if (data == VU_IRQ_EVENTFD && action == VU_IRQ_UNMASK)
		return set_unmask(c, request, fds);
	if (action == VU_IRQ_TRIGGER)
		return fire(c, request, data);
	/* Masking INTx by hand: struct hf_device_ops has only the eventfd for it. */
	return -ENOTTY;
}

int vu_do_set_irqs(struct vu_conn *c, const struct vu_body *request, struct vu_fds *fds)
{
	uint32_t flags = (uint32_t)request->v[VU_FLAGS];
	uint32_t data = flags & (VU_IRQ_NONE | VU_IRQ_BOOL | VU_IRQ_EVENTFD);
	uint32_t action = flags & (VU_IRQ_MASK | VU_IRQ_UNMASK | VU_IRQ_TRIGGER);
	uint64_t start = request->v[VU_START], count = request->v[VU_COUNT];
	struct vu_vectors *v = NULL;
	int r;

	if ((flags & ~(data | action)) || !data || (data & (data - 1)) || !action ||
	    (action & (action - 1)))
		return -EINVAL;
	r = vectors_get(c, request->v[VU_INDEX], &v);
	if (r < 0)
		return r;
	if (count > v->count || start > v->count - count)
		return -EINVAL;
	if (count == 0 && !(data == VU_IRQ_NONE && action == VU_IRQ_TRIGGER))
		return -EINVAL;
	if (data != VU_IRQ_BOOL && request->tail_size)
		return -EINVAL;
	if (fds->count && (data != VU_IRQ_EVENTFD || fds->count != count))
		return -EINVAL;
	for (uint32_t i = 0; i < fds->count; i++)
		if (!is_eventfd(fds->fd[i]))
			return -EINVAL;
	return set_checked(c, request, fds, data, action);
}

void vu_irqs_done(struct vu_conn *c)
{
	for (uint32_t i = 0; i < VU_SERVER_IRQS; i++) {
		struct vu_vectors *v = &c->vectors[i];

		if (!v->count)
			continue;
		if (disable(c, i) < 0) /* then its eventfds stay open: it may still signal them */
			v->count = 0;
		free(v->fds);
	}
}
