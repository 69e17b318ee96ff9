/* SPDX-License-Identifier: BSD-3-Clause */
/* A kernel device: how it is opened and closed, and its table of operations (vfio.h). */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/device/vfio/sys.h"
#include "backend/device/vfio/uapi.h"
#include "backend/device/vfio/vfio.h"
#include "base/error.h"

#define FEATURE_BYTES_MAX 64u

int vfio_feature(const struct vfio *v, uint32_t flags, void *data, size_t size)
{
	union {
		struct vfio_device_feature f;
		uint8_t bytes[sizeof(struct vfio_device_feature) + FEATURE_BYTES_MAX];
	} u;
	int r;

	assert(size <= FEATURE_BYTES_MAX);
	memset(&u, 0, sizeof(u));
	u.f.argsz = (uint32_t)(sizeof(u.f) + size);
	u.f.flags = flags;
	if (size)
		memcpy(u.f.data, data, size);
	r = vfio_sys->ioctl(v->member.fd, VFIO_DEVICE_FEATURE, &u);
	if (r < 0)
		return r;
	if (size)
		memcpy(data, u.f.data, size);
	return 0;
}

static int op_info(void *self, struct hf_device_info *ret_info)
{
	const struct vfio *v = self;

	*ret_info = v->info;
	return 0;
}

static int op_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd,
		      uint64_t fd_offset, uint32_t flags)
{
	struct vfio *v = self;

	(void)fd, (void)fd_offset; /* for devices in other processes */
	return vfio_space_map(&v->member, iova, size, (uintptr_t)vaddr, flags);
}

static int op_dma_unmap(void *self, uint64_t iova, uint64_t size)
{
	struct vfio *v = self;

	return vfio_space_unmap(&v->member, iova, size);
}

/* The kernel's IOMMU wants memory. */
static int op_dma_map_calls(void *self, uint64_t iova, uint64_t size,
			    const struct hf_dma_calls *calls, uint32_t flags)
{
	(void)self, (void)iova, (void)size, (void)calls, (void)flags;
	return -EOPNOTSUPP;
}

/* The errno is all that the kernel says. */
static void op_why(void *self, char *ret_text, size_t size)
{
	(void)self;
	if (size)
		ret_text[0] = 0;
}

static void op_close(void *self)
{
	struct vfio *v = self;

	if (!v)
		return;
	vfio_state_done(v);
	for (uint32_t i = 0; i < v->info.irq_count; i++)
		(void)vfio_irqs_set(v, i, 0, NULL); /* the kernel would at the close that follows */
	vfio_space_leave(&v->member);
	(void)pthread_mutex_destroy(&v->lock);
	free(v);
}

static const struct hf_device_ops vfio_ops = {
	.size = sizeof(struct hf_device_ops),
	.kind = "vfio",
	.info = op_info,
	.get_state = vfio_get_state,
	.set_state = vfio_set_state,
	.read_data = vfio_read_data,
	.write_data = vfio_write_data,
	.precopy_info = vfio_precopy_info,
	.data_size = vfio_data_size,
	.dirty_start = vfio_dirty_start,
	.dirty_read = vfio_dirty_read,
	.dirty_stop = vfio_dirty_stop,
	.reset = vfio_reset,
	.region_info = vfio_region_info,
	.region_read = vfio_region_read,
	.region_write = vfio_region_write,
	.irq_count = vfio_irq_count,
	.irqs_set = vfio_irqs_set,
	.dma_map = op_dma_map,
	.dma_unmap = op_dma_unmap,
	.close = op_close,
	.dma_map_calls = op_dma_map_calls,
	.why = op_why,
};

/* ---- opening ------------------------------------------------------------------------------- */

/* Who it is, from its configuration space (PCI Local Bus Specification 3.0, 6.1). */
static int read_identity(struct vfio *v, const struct vfio_place *place)
{
	struct hf_device_info *i = &v->info;
	uint8_t c[48];
	int r = vfio_region_read(v, VFIO_PCI_CONFIG_REGION_INDEX, 0, c, sizeof(c));

	if (r < 0)
		return r;
	i->vendor_id = (uint16_t)(c[0x00] | c[0x01] << 8);
	i->device_id = (uint16_t)(c[0x02] | c[0x03] << 8);
	i->revision = c[0x08];
	i->subsystem_vendor_id = (uint16_t)(c[0x2c] | c[0x2d] << 8);
	i->subsystem_id = (uint16_t)(c[0x2e] | c[0x2f] << 8);
	(void)snprintf(i->kind, sizeof(i->kind), "vfio");
	memcpy(i->name, v->config.name, sizeof(i->name));
	(void)snprintf(i->compat, sizeof(i->compat), "%.31s/%04x:%04x/%04x:%04x/%02x",
		       place->is_mdev ? place->type : place->driver, i->vendor_id, i->device_id,
		       i->subsystem_vendor_id, i->subsystem_id, i->revision);
	return 0;
}

static int ask_all(struct vfio *v, const struct vfio_place *place, struct hf_error *err)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	int r = vfio_sys->ioctl(v->member.fd, VFIO_DEVICE_GET_INFO, &info);

	if (r < 0)
		return error_set(err, HF_E_SYSTEM, -r, "vfio: %s: asking what it is",
				 place->address);
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI))
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio: %s is no PCI device (VFIO flags 0x%x)", place->address,
				 info.flags);
	if (info.flags & VFIO_DEVICE_FLAGS_RESET)
		v->info.flags |= HF_DEVICE_HAS_RESET;
	r = vfio_regions_init(v, info.num_regions, info.num_irqs);
	if (r == 0)
		r = read_identity(v, place);
	if (r < 0)
		return error_set(err, HF_E_SYSTEM, -r,
				 "vfio: %s: its regions, interrupts and configuration space",
				 place->address);
	vfio_state_init(v);
	return vfio_dirty_init(v, err);
}

/* Some devices keep their state when they are closed, and with it what a session left behind. */
static int make_run(struct vfio *v, struct hf_error *err)
{
	uint32_t state = HF_DEVICE_ERROR;
	int r = 0;

	if (!v->info.mig_flags)
		return 0;
	if (vfio_get_state(v, &state) == 0 && state == HF_DEVICE_RUNNING)
		return 0;
	r = vfio_reset(v);
	if (r == 0)
		r = vfio_get_state(v, &state);
	if (r == 0 && state == HF_DEVICE_RUNNING)
		return 0;
	return error_set(err, HF_E_DEVICE_STATE, -r,
			 "vfio: %s stands in %s as it is opened, and a reset does not make it run",
			 v->config.address, hf_device_state_name(state));
}

int vfio_open(const struct hf_device_host *host, const char *rest, const char *name,
	      struct hf_device *ret_device, struct hf_error *err)
{
	struct vfio_config config;
	struct vfio_place place;
	struct vfio *v;
	int r = vfio_uri_parse(rest, name, &config, err);

	if (r == 0)
		r = vfio_find(&config, &place, err);
	if (r < 0)
		return r;
	v = calloc(1, sizeof(*v));
	if (!v)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "vfio: %s", config.address);
	v->config = config;
	v->data_fd = -1;
	(void)pthread_mutex_init(&v->lock, NULL);
	r = vfio_space_join(&place, &config, host, &v->member, err);
	if (r == 0)
		r = ask_all(v, &place, err);
	if (r == 0)
		r = make_run(v, err);
	if (r < 0) {
		op_close(v);
		return r;
	}
	*ret_device = (struct hf_device){ .ops = &vfio_ops, .self = v };
	return 0;
}
