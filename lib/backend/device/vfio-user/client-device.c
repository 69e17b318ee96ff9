/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions and interrupts of a served device. What there is, is asked for once. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/device/vfio-user/client.h"
#include "backend/device/vfio-user/shared.h"

#define REGION_REPLY_BYTES 4096u /* with its capabilities; a longer list is cut, and refused */
#define CONFIG_INDEX 7u
#define CONFIG_BYTES 256u
#define CONFIG_PIECE 4096u

/* ---- what there is ------------------------------------------------------------------------- */

/* Is what the descriptor holds long enough to be mapped? Devices and dma-bufs tell no size. */
static int fd_holds(int fd, uint64_t end)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return 0;
	return !S_ISREG(st.st_mode) || (uint64_t)st.st_size >= end;
}

static int keep_areas(const struct vu_region_caps *caps, struct hf_region_info *info,
		      uint64_t *ret_end)
{
	uint64_t end = 0;

	info->flags = (info->flags & ~HF_REGION_MMAP) | HF_REGION_MMAP_AREAS;
	for (uint32_t i = 0; i < caps->area_count; i++) {
		uint64_t offset = caps->areas[i].offset, size = caps->areas[i].size;

		if (size > info->size || offset > info->size - size)
			return -EPROTO;
		if (!size || info->area_count == HF_REGION_AREAS_MAX)
			continue;
		info->areas[info->area_count].offset = offset;
		info->areas[info->area_count++].size = size;
		if (offset + size > end)
			end = offset + size;
	}
	*ret_end = end;
	return 0;
}

static int keep_mapping(struct vu_client *c, const struct vu_body *reply, struct vu_fds *fds,
			struct hf_region_info *info)
{
	struct vu_region_caps caps = { 0 };
	const char *field = NULL;
	uint64_t end = info->size, last;

	if ((reply->v[VU_FLAGS] & VU_REGION_CAPS) && vu_caps_decode(reply, &caps, &field) < 0)
		return vu_malformed(c, VU_DEVICE_GET_REGION_INFO, field);
	if (caps.msix_mappable)
		info->flags |= HF_REGION_MSIX_MAPPABLE;
	if (!(reply->v[VU_FLAGS] & VU_REGION_MMAP))
		return 0;
	info->mmap_fd = vu_fds_take(fds, 0);
	if (info->mmap_fd < 0)
		return 0; /* it can be mapped, but not by us: as libvfio-user says it without fd */
	info->mmap_offset = reply->v[VU_OFFSET];
	info->flags |= HF_REGION_MMAP;
	if (caps.sparse && keep_areas(&caps, info, &end) < 0)
		return vu_malformed(c, VU_DEVICE_GET_REGION_INFO, "areas");
	if (__builtin_add_overflow(info->mmap_offset, end, &last))
		return vu_malformed(c, VU_DEVICE_GET_REGION_INFO, "offset");
	if (!fd_holds(info->mmap_fd, last))
		return vu_malformed(c, VU_DEVICE_GET_REGION_INFO,
				    "size: its descriptor holds less");
	if (!vu_fd_stays(info->mmap_fd, last)) { /* each access is a message, then */
		(void)close(info->mmap_fd);
		info->mmap_fd = -1;
		info->flags &= ~(HF_REGION_MMAP | HF_REGION_MMAP_AREAS);
		info->area_count = 0;
	}
	return 0;
}

/* Ask with room for argsz bytes. */
static int ask_region(struct vu_client *c, uint32_t index, uint32_t argsz, struct vu_exchange *m,
		      uint8_t *buf, struct vu_fds *fds)
{
	*m = (struct vu_exchange){ .command = VU_DEVICE_GET_REGION_INFO,
				   .buf = buf,
				   .capacity = REGION_REPLY_BYTES,
				   .ret_fds = fds };
	m->request.v[VU_ARGSZ] = argsz;
	m->request.v[VU_INDEX] = index;
	return vu_command(c, m);
}

static int region_init(struct vu_client *c, uint32_t index)
{
	struct hf_region_info *info = &c->regions[index];
	uint32_t least = (uint32_t)vu_fixed_size(VU_DEVICE_GET_REGION_INFO, 0);
	uint8_t buf[REGION_REPLY_BYTES];
	struct vu_fds fds = { 0 };
	struct vu_exchange m;
	int r = ask_region(c, index, least, &m, buf, &fds);

	if (r == -EINVAL)
		return 0; /* one that is not implemented */
	if (r == 0 && m.reply.v[VU_ARGSZ] > least) {
		if (m.reply.v[VU_ARGSZ] > REGION_REPLY_BYTES)
			r = vu_malformed(c, VU_DEVICE_GET_REGION_INFO, "argsz");
		vu_fds_close(&fds);
		if (r == 0)
			r = ask_region(c, index, (uint32_t)m.reply.v[VU_ARGSZ], &m, buf, &fds);
	}
	if (r == 0 && m.reply.v[VU_INDEX] != index)
		r = vu_malformed(c, VU_DEVICE_GET_REGION_INFO, "index");
	if (r == 0) {
		info->size = m.reply.v[VU_SIZE];
		if (m.reply.v[VU_FLAGS] & VU_REGION_READ_FLAG)
			info->flags |= HF_REGION_READ;
		if (m.reply.v[VU_FLAGS] & VU_REGION_WRITE_FLAG)
			info->flags |= HF_REGION_WRITE;
		if (info->size)
			r = keep_mapping(c, &m.reply, &fds, info);
	}
	vu_fds_close(&fds);
	if (r == 0 && index == CONFIG_INDEX && info->size < CONFIG_BYTES)
		r = vu_malformed(c, VU_DEVICE_GET_REGION_INFO, "size of the configuration space");
	return r;
}

static int irq_init(struct vu_client *c, uint32_t index)
{
	struct vu_exchange m = { .command = VU_DEVICE_GET_IRQ_INFO };
	int r;

	m.request.v[VU_ARGSZ] = vu_fixed_size(VU_DEVICE_GET_IRQ_INFO, 0);
	m.request.v[VU_INDEX] = index;
	r = vu_command(c, &m);
	if (r == -EINVAL)
		return 0; /* not implemented */
	if (r < 0)
		return r;
	if (m.reply.v[VU_COUNT] > VU_VECTORS_MAX)
		return vu_malformed(c, VU_DEVICE_GET_IRQ_INFO, "count");
	if (m.reply.v[VU_FLAGS] & VU_IRQ_INFO_EVENTFD)
		c->irqs[index].count = (uint32_t)m.reply.v[VU_COUNT];
	return 0;
}

int vu_regions_init(struct vu_client *c, uint32_t region_count, uint32_t irq_count)
{
	int r = 0;

	if (region_count <= CONFIG_INDEX)
		return vu_malformed(c, VU_DEVICE_GET_INFO, "num_regions");
	c->info.region_count = region_count < VU_REGIONS_MAX ? region_count : VU_REGIONS_MAX;
	c->info.irq_count = irq_count < VU_IRQS_MAX ? irq_count : VU_IRQS_MAX;
	for (uint32_t i = 0; r == 0 && i < c->info.region_count; i++)
		r = region_init(c, i);
	for (uint32_t i = 0; r == 0 && i < c->info.irq_count; i++)
		r = irq_init(c, i);
	return r;
}

void vu_regions_done(struct vu_client *c)
{
	for (uint32_t i = 0; i < VU_REGIONS_MAX; i++)
		if (c->regions[i].mmap_fd >= 0)
			(void)close(c->regions[i].mmap_fd);
}

/* ---- regions ------------------------------------------------------------------------------- */

int vu_region_info(void *self, uint32_t index, struct hf_region_info *ret_info)
{
	const struct vu_client *c = self;

	if (index >= c->info.region_count)
		return -EINVAL;
	*ret_info = c->regions[index];
	return 0;
}

static int access_valid(const struct vu_client *c, uint32_t index, uint64_t offset, size_t size,
			uint32_t flag)
{
	const struct hf_region_info *info;

	if (index >= c->info.region_count || size == 0)
		return 0;
	info = &c->regions[index];
	if (index != CONFIG_INDEX && size != 1 && size != 2 && size != 4 && size != 8)
		return 0;
	return (info->flags & flag) && size <= info->size && offset <= info->size - size;
}

static void fill_access(struct vu_exchange *m, uint32_t index, uint64_t offset, size_t size)
{
	m->request.v[VU_OFFSET] = offset;
	m->request.v[VU_INDEX] = index;
	m->request.v[VU_COUNT] = size;
}

static int read_piece(struct vu_client *c, uint32_t index, uint64_t offset, uint8_t *to,
		      size_t size)
{
	uint8_t buf[CONFIG_PIECE + VU_FIXED_MAX];
	struct vu_exchange m = { .command = VU_REGION_READ, .buf = buf, .capacity = sizeof(buf) };
	int r;

	fill_access(&m, index, offset, size);
	r = vu_command(c, &m);
	if (r < 0)
		return r;
	if (m.reply.v[VU_COUNT] != size)
		return vu_malformed(c, VU_REGION_READ, "count");
	memcpy(to, m.reply.tail, size);
	return 0;
}

static int write_piece(struct vu_client *c, uint32_t index, uint64_t offset, const uint8_t *from,
		       size_t size)
{
	struct vu_exchange m = { .command = VU_REGION_WRITE };
	int r;

	fill_access(&m, index, offset, size);
	m.request.tail = from;
	m.request.tail_size = size;
	r = vu_command(c, &m);
	if (r < 0)
		return r;
	return m.reply.v[VU_COUNT] == size ? 0 : vu_malformed(c, VU_REGION_WRITE, "count");
}

/* The configuration space comes in pieces; a BAR's access is one. */
static size_t piece_of(const struct vu_client *c, size_t left)
{
	size_t most = c->caps.max_data_xfer_size < CONFIG_PIECE ? c->caps.max_data_xfer_size
								: CONFIG_PIECE;

	return left < most ? left : most;
}

int vu_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size)
{
	struct vu_client *c = self;
	int r = 0;

	if (!access_valid(c, index, offset, size, HF_REGION_READ))
		return -EINVAL;
	for (size_t done = 0, n; r == 0 && done < size; done += n) {
		n = piece_of(c, size - done);
		r = read_piece(c, index, offset + done, (uint8_t *)buf + done, n);
	}
	return r;
}

int vu_region_write(void *self, uint32_t index, uint64_t offset, const void *buf, size_t size)
{
	struct vu_client *c = self;
	int r = 0;

	if (!access_valid(c, index, offset, size, HF_REGION_WRITE))
		return -EINVAL;
	for (size_t done = 0, n; r == 0 && done < size; done += n) {
		n = piece_of(c, size - done);
		r = write_piece(c, index, offset + done, (const uint8_t *)buf + done, n);
	}
	return r;
}

/* ---- interrupts ---------------------------------------------------------------------------- */

int vu_irq_count(void *self, uint32_t index, uint32_t *ret_count)
{
	const struct vu_client *c = self;

	if (index >= c->info.irq_count)
		return -EINVAL;
	*ret_count = c->irqs[index].count;
	return 0;
}

/* Vectors [start, start + count): with a descriptor for each, or (fds NULL) with none. */
static int set_vectors(struct vu_client *c, uint32_t index, uint32_t action, uint32_t start,
		       uint32_t count, const int *fds)
{
	struct vu_exchange m = { .command = VU_DEVICE_SET_IRQS,
				 .fds = fds,
				 .fd_count = fds ? count : 0 };

	m.request.v[VU_ARGSZ] = vu_fixed_size(VU_DEVICE_SET_IRQS, 0);
	m.request.v[VU_FLAGS] = action | (count ? VU_IRQ_EVENTFD : VU_IRQ_NONE);
	m.request.v[VU_INDEX] = index;
	m.request.v[VU_START] = start;
	m.request.v[VU_COUNT] = count;
	return vu_command(c, &m);
}

/* Runs of vectors that have an eventfd, as long as the server takes them at once, and of others. */
static int set_runs(struct vu_client *c, uint32_t index, uint32_t count, const int *eventfds)
{
	uint32_t most = c->caps.max_msg_fds ? c->caps.max_msg_fds : 1;
	int r = 0;

	for (uint32_t i = 0, n; r == 0 && i < count; i += n) {
		int has = eventfds[i] >= 0;

		for (n = 1; i + n < count && (eventfds[i + n] >= 0) == has; n++)
			if (has && n == most)
				break;
		r = set_vectors(c, index, VU_IRQ_TRIGGER, i, n, has ? eventfds + i : NULL);
	}
	return r;
}

static int irqs_set_locked(struct vu_client *c, uint32_t index, uint32_t count, const int *eventfds)
{
	struct vu_irq *irq = &c->irqs[index];
	uint32_t trigger = index == 0 && count == 2 ? 1 : count;
	int r = 0;

	if (count == 0) {
		if (irq->enabled)
			r = set_vectors(c, index, VU_IRQ_TRIGGER, 0, 0, NULL);
		if (r == 0)
			irq->enabled = 0;
		return r;
	}
	r = set_runs(c, index, trigger, eventfds);
	if (r == 0 && irq->enabled > trigger)
		r = set_vectors(c, index, VU_IRQ_TRIGGER, trigger, irq->enabled - trigger, NULL);
	if (trigger > irq->enabled)
		irq->enabled = trigger; /* also after a failure: some may be set */
	if (r == 0 && trigger != count)
		r = set_vectors(c, index, VU_IRQ_UNMASK, 0, 1, eventfds + 1);
	return r;
}

int vu_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds)
{
	struct vu_client *c = self;
	uint32_t most;
	int r;

	if (index >= c->info.irq_count)
		return -EINVAL;
	/* INTx: the second one says that the interrupt was served (backend.h). */
	most = c->irqs[index].count + (index == 0 && c->irqs[index].count);
	if (count > most)
		return -EINVAL;
	(void)pthread_mutex_lock(&c->irq_lock);
	r = irqs_set_locked(c, index, count, eventfds);
	(void)pthread_mutex_unlock(&c->irq_lock);
	return r;
}
