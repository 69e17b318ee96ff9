/* SPDX-License-Identifier: BSD-3-Clause */
/* See facade.h. */
#include "guard/facade.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guard/fail.h"

/* ---- devices ------------------------------------------------------------------------------- */

int facade_info(void *self, struct hf_device_info *ret_info)
{
	const struct facade_device *device = self;

	memset(ret_info, 0, sizeof(*ret_info));
	/* What the real one cannot do of P2P, the facade passes by (target.c). */
	ret_info->mig_flags = HF_MIG_STOP_COPY | HF_MIG_P2P;
	if (device->index == 0)
		ret_info->mig_flags |= HF_MIG_PRE_COPY;
	ret_info->flags = HF_DEVICE_HAS_RESET | HF_DEVICE_HAS_DMA_LOGGING;
	(void)snprintf(ret_info->kind, sizeof(ret_info->kind), "qemu");
	(void)snprintf(ret_info->name, sizeof(ret_info->name), "%s", device->vfio.name);
	(void)snprintf(ret_info->compat, sizeof(ret_info->compat), "%s", device->vfio.kind);
	return 0;
}

int facade_data_size(void *self, uint64_t *ret_bytes)
{
	(void)self, (void)ret_bytes;
	return -EOPNOTSUPP;
}

int facade_dirty_start(void *self, uint64_t page_size, const struct hf_dma_range *ranges,
		       uint32_t count)
{
	(void)self, (void)page_size, (void)ranges, (void)count;
	return 0; /* QEMU counts what devices write, too */
}

int facade_dirty_read(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
		      uint64_t *bitmap)
{
	(void)self, (void)iova, (void)length, (void)page_size, (void)bitmap;
	return 0;
}

int facade_dirty_stop(void *self)
{
	(void)self;
	return 0;
}

int facade_region_info(void *self, uint32_t index, struct hf_region_info *ret_info)
{
	(void)self, (void)index, (void)ret_info;
	return -EOPNOTSUPP;
}

int facade_region_read(void *self, uint32_t index, uint64_t offset, void *buf, size_t size)
{
	(void)self, (void)index, (void)offset, (void)buf, (void)size;
	return -EOPNOTSUPP;
}

int facade_region_write(void *self, uint32_t index, uint64_t offset, const void *buf, size_t size)
{
	(void)self, (void)index, (void)offset, (void)buf, (void)size;
	return -EOPNOTSUPP;
}

int facade_irq_count(void *self, uint32_t index, uint32_t *ret_count)
{
	(void)self, (void)index, (void)ret_count;
	return -EOPNOTSUPP;
}

int facade_irqs_set(void *self, uint32_t index, uint32_t count, const int *eventfds)
{
	(void)self, (void)index, (void)count, (void)eventfds;
	return -EOPNOTSUPP;
}

int facade_dma_map(void *self, uint64_t iova, uint64_t size, void *vaddr, int fd,
		   uint64_t fd_offset, uint32_t flags)
{
	(void)self, (void)iova, (void)size, (void)vaddr, (void)fd, (void)fd_offset, (void)flags;
	return -EOPNOTSUPP;
}

int facade_dma_unmap(void *self, uint64_t iova, uint64_t size)
{
	(void)self, (void)iova, (void)size;
	return -EOPNOTSUPP;
}

void facade_close(void *self)
{
	(void)self; /* the side's, facade_done() */
}

void facade_why(void *self, char *text, size_t size)
{
	struct facade_device *device = self;

	(void)snprintf(text, size, "%s", device->why);
	device->why[0] = 0;
}

int facade_failed(struct facade_device *device, const struct hf_error *err)
{
	(void)snprintf(device->why, sizeof(device->why), "%s", err->text);
	switch (err->code) {
	case HF_E_DEADLINE:
		return -ETIMEDOUT;
	case HF_E_CONNECTION_LOST:
		return -ENOTCONN;
	default:
		return -EIO;
	}
}

/* ---- both sides ---------------------------------------------------------------------------- */

static void add_device(struct facade_side *side, const struct qemu_vfio *vfio,
		       const struct hf_device_ops *ops)
{
	struct facade_device *device = &side->devices[side->count];
	struct hf_session_device *session = &side->session_devices[side->count];

	device->side = side;
	device->index = side->count++;
	device->fd = -1;
	device->state = HF_DEVICE_RUNNING;
	device->vfio = *vfio;
	session->device = (struct hf_device){ .ops = ops, .self = device };
	memcpy(session->name, vfio->name, sizeof(session->name)); /* equally large */
}

int facade_init(struct facade_side *side, struct qemu *qemu, const struct hf_device_ops *ops,
		struct hf_error *err)
{
	struct qemu_vfio vfio[HF_DEVICES_MAX], copy = { .name = "qemu", .kind = "qemu" };
	int count = qemu_vfio_devices(qemu, vfio, err);
	void *page;

	if (count < 0)
		return count;
	if (count + 1 > HF_DEVICES_MAX)
		return guard_fail(err, HF_E_UNSUPPORTED, 0, "more than %d VFIO devices",
				  HF_DEVICES_MAX - 1);
	page = mmap(NULL, HF_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return guard_fail(err, HF_E_NO_MEMORY, errno, "a page");
	side->qemu = qemu;
	side->region = (struct hf_memory_region){
		.size = HF_PAGE_SIZE, .host = page, .fd = -1, .name = "guard"
	};
	add_device(side, &copy, ops);
	for (int i = 0; i < count; i++)
		add_device(side, &vfio[i], ops);
	return 0;
}

void facade_done(struct facade_side *side)
{
	for (uint32_t i = 0; i < side->count; i++)
		if (side->devices[i].fd >= 0)
			(void)close(side->devices[i].fd);
	if (side->region.host)
		(void)munmap(side->region.host, HF_PAGE_SIZE);
	memset(side, 0, sizeof(*side));
}

/* ---- memory -------------------------------------------------------------------------------- */

static int memory_nothing(void *self)
{
	(void)self;
	return 0;
}

static int memory_read(void *self, uint32_t region, uint64_t *bitmap)
{
	(void)self, (void)region, (void)bitmap;
	return 0;
}

static void memory_close(void *self)
{
	(void)self;
}

struct hf_memory facade_memory(void)
{
	static const struct hf_memory_ops ops = {
		.size = sizeof(ops),
		.kind = "qemu",
		.dirty_start = memory_nothing,
		.dirty_sync = memory_nothing,
		.dirty_read = memory_read,
		.dirty_stop = memory_nothing,
		.close = memory_close,
	};
	static char nobody;

	return (struct hf_memory){ .ops = &ops, .self = &nobody };
}

/* ---- the machine --------------------------------------------------------------------------- */

int facade_throttle(void *self, uint32_t percent, struct hf_error *err)
{
	(void)self, (void)percent, (void)err; /* QEMU's own auto-converge does it */
	return 0;
}

int facade_state_save(void *self, uint32_t index, struct hf_state_section *ret_section, void *buf,
		      uint32_t capacity, struct hf_error *err)
{
	(void)self, (void)index, (void)ret_section, (void)buf, (void)capacity, (void)err;
	return HF_STATE_END;
}

int facade_state_load(void *self, const struct hf_state_section *section, const void *buf,
		      struct hf_error *err)
{
	(void)self, (void)buf;
	return guard_fail(err, HF_E_MISMATCH, 0, "section %.31s: a guard has none", section->name);
}

int facade_device_save(void *self, uint32_t device, void *buf, uint32_t capacity,
		       uint32_t *ret_length, struct hf_error *err)
{
	(void)self, (void)device, (void)buf, (void)capacity, (void)err;
	*ret_length = 0;
	return 0;
}

int facade_device_load(void *self, uint32_t device, const void *buf, uint32_t length,
		       struct hf_error *err)
{
	(void)self, (void)buf;
	if (length == 0)
		return 0;
	return guard_fail(err, HF_E_MISMATCH, 0, "device %u: a guard's has no configuration",
			  device);
}

/* ---- what must be alike -------------------------------------------------------------------- */

static int take_text(struct qemu *qemu, const char *path, const char *name, char *ret, size_t size,
		     struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *answer = qemu_call(qemu, "qom-get",
				   json_pack("{s:s,s:s}", "path", path, "property", name), &own);

	if (!answer) {
		if (!err->code)
			*err = own;
		return own.code;
	}
	(void)snprintf(ret, size, "%s", json_string_value(answer) ? json_string_value(answer) : "");
	json_decref(answer);
	return 0;
}

static int take_memory(struct qemu *qemu, json_int_t *ret_bytes, struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *answer = qemu_call(qemu, "query-memory-size-summary", NULL, &own);

	if (!answer) {
		if (!err->code)
			*err = own;
		return own.code;
	}
	*ret_bytes = json_integer_value(json_object_get(answer, "base-memory")) +
		     json_integer_value(json_object_get(answer, "plugged-memory"));
	json_decref(answer);
	return 0;
}

static int take_cpus(struct qemu *qemu, json_int_t *ret_count, struct hf_error *err)
{
	struct hf_error own = { 0 };
	json_t *answer = qemu_call(qemu, "query-cpus-fast", NULL, &own);

	if (!answer) {
		if (!err->code)
			*err = own;
		return own.code;
	}
	*ret_count = (json_int_t)json_array_size(answer);
	json_decref(answer);
	return 0;
}

struct shape {
	char machine[128];
	json_int_t memory, cpus;
};

static int take_shape(struct qemu *qemu, struct shape *shape, struct hf_error *err)
{
	struct hf_error own = { 0 };
	int r = take_text(qemu, "/machine", "type", shape->machine, sizeof(shape->machine), &own);

	if (r == 0)
		r = take_memory(qemu, &shape->memory, &own);
	if (r == 0)
		r = take_cpus(qemu, &shape->cpus, &own);
	if (r != 0 && err && !err->code)
		*err = own;
	return r;
}

int facade_describe(struct qemu *qemu, const struct facade_plan *plan, json_t *settings, char *buf,
		    uint32_t capacity, uint32_t *ret_length, struct hf_error *err)
{
	struct shape shape;
	int r = take_shape(qemu, &shape, err);
	json_t *object;
	size_t length;

	if (r != 0)
		return r;
	object = json_pack("{s:s,s:s,s:I,s:I,s:i,s:b}", "qemu", qemu_version(qemu), "machine",
			   shape.machine, "memory", shape.memory, "cpus", shape.cpus, "multifd",
			   (int)plan->multifd, "runs", plan->runs);
	if (settings)
		(void)json_object_set(object, "settings", settings);
	length = json_dumpb(object, buf, capacity, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(object);
	if (length == 0 || length > capacity)
		return guard_fail(err, HF_E_NO_MEMORY, ENOMEM, "a description of QEMU");
	*ret_length = (uint32_t)length;
	return 0;
}

int facade_compare(struct qemu *qemu, const char *shape, uint32_t length,
		   struct facade_plan *ret_plan, json_t **ret_settings, struct hf_error *err)
{
	json_t *theirs = json_loadb(shape, length, 0, NULL);
	json_int_t multifd = -1, memory = 0, cpus = 0;
	const char *version, *machine;
	struct shape ours;
	int r = take_shape(qemu, &ours, err), runs = 0;

	if (r == 0 &&
	    json_unpack(theirs, "{s:s,s:s,s:I,s:I,s:I,s:b}", "qemu", &version, "machine", &machine,
			"memory", &memory, "cpus", &cpus, "multifd", &multifd, "runs", &runs) < 0)
		r = guard_fail(err, HF_E_PROTOCOL, 0,
			       "what the source says of its QEMU makes no sense");
	if (r == 0 && (multifd < 0 || multifd > 255))
		r = guard_fail(err, HF_E_PROTOCOL, 0, "the source wants %lld multifd channels",
			       (long long)multifd);
	if (r == 0 && strcmp(machine, ours.machine) != 0)
		r = guard_fail(err, HF_E_MISMATCH, 0,
			       "the source's machine is %.60s (QEMU %.20s), this side's %.60s "
			       "(QEMU %s)",
			       machine, version, ours.machine, qemu_version(qemu));
	if (r == 0 && memory != ours.memory)
		r = guard_fail(err, HF_E_MISMATCH, 0,
			       "the source's guest has %lld bytes of memory, this side's %lld",
			       (long long)memory, (long long)ours.memory);
	if (r == 0 && cpus != ours.cpus)
		r = guard_fail(err, HF_E_MISMATCH, 0,
			       "the source's guest has %lld vCPUs, this side's %lld",
			       (long long)cpus, (long long)ours.cpus);
	if (r == 0)
		*ret_plan = (struct facade_plan){ .multifd = (uint32_t)multifd, .runs = runs != 0 };
	*ret_settings = r == 0 ? json_incref(json_object_get(theirs, "settings")) : NULL;
	json_decref(theirs);
	return r;
}
