/* SPDX-License-Identifier: BSD-3-Clause */
/* A served device: how it is opened and closed, its commands, and its table (client.h). */
#include "backend/device/vfio-user/client.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/time.h"

uint64_t vu_deadline(const struct vu_client *c)
{
	return time_now_ns() + c->config.timeout_s * NS_PER_S;
}

uint64_t vu_arc_deadline(const struct vu_client *c)
{
	return time_now_ns() + c->config.arc_timeout_s * NS_PER_S;
}

int vu_malformed(struct vu_client *c, uint32_t command, const char *field)
{
	vu_link_break(&c->link, -EPROTO, "the server sent a malformed reply to %s (field %s)",
		      vu_command_name(command), field);
	return -EPROTO;
}

int vu_command(struct vu_client *c, struct vu_exchange *m)
{
	uint8_t fixed[VU_FIXED_MAX];
	struct vu_call call = { .body = m->buf ? m->buf : fixed,
				.capacity = m->buf ? m->capacity : sizeof(fixed),
				.fds = m->ret_fds };
	uint64_t deadline_ns = m->deadline_ns ? m->deadline_ns : vu_deadline(c);
	const char *field;
	int r = vu_call_start(&c->link, &call, m->command, &m->request, m->fds, m->fd_count,
			      deadline_ns);

	if (r == 0)
		r = vu_call_wait(&c->link, &call, deadline_ns);
	if (r < 0)
		return r;
	if (vu_body_decode(m->command, 1, call.body, call.size, &m->reply, &field) < 0)
		return vu_malformed(c, m->command, field);
	if (!m->buf)
		m->reply.tail = NULL; /* it pointed into this frame, and is empty */
	return 0;
}

/* ---- the readers ----------------------------------------------------------------------------- */

static int on_command(void *ctx, struct vu_message *message)
{
	struct vu_client *c = ctx;

	return vu_serve(c, &c->link, message);
}

static int on_twin_command(void *ctx, struct vu_message *message)
{
	struct vu_client *c = ctx;

	return vu_serve(c, &c->twin, message);
}

static void *read_link(void *arg)
{
	struct vu_client *c = arg;

	(void)vu_link_run(&c->link, on_command, c); /* the link knows how it ended */
	return NULL;
}

/* A device whose requests cannot arrive any more must not be waited for. */
static void *read_twin(void *arg)
{
	struct vu_client *c = arg;
	char why[VU_WHY_MAX];
	int closed = vu_link_run(&c->twin, on_twin_command, c);

	vu_link_why(&c->twin, why, sizeof(why));
	vu_link_break(&c->link, -ENOTCONN, "%s%.150s", closed ? "" : "the twin socket: ", why);
	return NULL;
}

/* Signals are the program's. */
static int start_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(thread, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

/* ---- the table ------------------------------------------------------------------------------- */

static int op_info(void *self, struct hf_device_info *ret_info)
{
	const struct vu_client *c = self;

	*ret_info = c->info;
	return 0;
}

static void op_why(void *self, char *ret_text, size_t size)
{
	struct vu_client *c = self;

	vu_link_why(&c->link, ret_text, size);
}

static void op_close(void *self)
{
	struct vu_client *c = self;

	if (!c)
		return;
	if (c->has_link)
		vu_link_break(&c->link, -ENOTCONN, "the device was closed");
	if (c->has_twin)
		vu_link_break(&c->twin, -ENOTCONN, "the device was closed");
	if (c->reads)
		(void)pthread_join(c->reader, NULL);
	if (c->reads_twin)
		(void)pthread_join(c->twin_reader, NULL);
	vu_data_done(c);
	vu_regions_done(c);
	if (c->has_twin)
		vu_link_done(&c->twin);
	if (c->has_link)
		vu_link_done(&c->link);
	sim_dma_done(&c->dma);
	(void)pthread_mutex_destroy(&c->irq_lock);
	(void)pthread_mutex_destroy(&c->dma_lock);
	(void)pthread_mutex_destroy(&c->map_lock);
	free(c->log);
	free(c);
}

static const struct hf_device_ops client_ops = {
	.size = sizeof(struct hf_device_ops),
	.kind = "vfio-user",
	.info = op_info,
	.get_state = vu_get_state,
	.set_state = vu_set_state,
	.read_data = vu_read_data,
	.write_data = vu_write_data,
	.precopy_info = vu_precopy_info,
	.data_size = vu_data_size,
	.dirty_start = vu_dirty_start,
	.dirty_read = vu_dirty_read,
	.dirty_stop = vu_dirty_stop,
	.reset = vu_reset,
	.region_info = vu_region_info,
	.region_read = vu_region_read,
	.region_write = vu_region_write,
	.irq_count = vu_irq_count,
	.irqs_set = vu_irqs_set,
	.dma_map = vu_dma_map,
	.dma_unmap = vu_dma_unmap,
	.close = op_close,
	.dma_map_calls = vu_dma_map_calls,
	.why = op_why,
};

/* ---- opening --------------------------------------------------------------------------------- */

/* The step that failed, and if the connection broke meanwhile, why. */
static int no(struct vu_client *c, struct hf_error *err, int r, const char *step)
{
	char why[VU_WHY_MAX] = "";

	if (c->has_link)
		vu_link_why(&c->link, why, sizeof(why));
	if (why[0])
		return error_set(err, HF_E_SYSTEM, -r, "vfio-user: %.80s: %s: %.100s",
				 c->config.path, step, why);
	return error_set(err, HF_E_SYSTEM, -r, "vfio-user: %.100s: %s", c->config.path, step);
}

static int dial(const struct vu_client *c, int *ret_socket)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int s = -1;

	memcpy(address.sun_path, c->config.path, strlen(c->config.path));
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0 || connect(s, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	*ret_socket = TAKE_FD(s);
	return 0;
}

static int take_twin(struct vu_client *c, struct vu_fds *fds)
{
	int fd, r;

	if (!c->config.twin || !c->caps.has_twin_fd)
		return 0;
	fd = vu_fds_take(fds, c->caps.twin_fd_index);
	if (fd < 0)
		return vu_malformed(c, VU_VERSION, "fd_index");
	vu_link_init(&c->twin, fd, "the server");
	c->twin.size_max = c->link.size_max;
	c->has_twin = 1;
	r = start_thread(&c->twin_reader, read_twin, c);
	c->reads_twin = r == 0;
	return r;
}

/* VERSION, and what follows from it. */
static int negotiate(struct vu_client *c)
{
	struct vu_caps ours;
	char text[VU_VERSION_TEXT_MAX];
	uint8_t reply[VU_VERSION_TEXT_MAX + VU_FIXED_MAX];
	struct vu_fds fds = { 0 };
	struct vu_exchange m = {
		.command = VU_VERSION, .buf = reply, .capacity = sizeof(reply), .ret_fds = &fds
	};
	const char *field = NULL;
	int r;

	vu_caps_default(&ours);
	ours.max_msg_fds = VU_FDS_MAX;
	ours.max_data_xfer_size = c->config.xfer;
	ours.twin_supported = c->config.twin;
	ours.dma_p2p = ours.precopy_info = 1;
	r = vu_version_encode(&ours, text, sizeof(text));
	if (r < 0)
		return r;
	m.request.v[VU_MAJOR] = VU_MAJOR_SPOKEN;
	m.request.v[VU_MINOR] = VU_MINOR_SPOKEN;
	m.request.tail = (const uint8_t *)text;
	m.request.tail_size = (size_t)r;
	r = vu_command(c, &m);
	if (r == 0 && m.reply.v[VU_MAJOR] != VU_MAJOR_SPOKEN)
		r = vu_malformed(c, VU_VERSION, "major");
	if (r == 0 && m.reply.v[VU_MINOR] > VU_MINOR_SPOKEN)
		r = vu_malformed(c, VU_VERSION, "minor");
	if (r == 0 &&
	    vu_version_decode((const char *)m.reply.tail, m.reply.tail_size, &c->caps, &field) < 0)
		r = vu_malformed(c, VU_VERSION, field);
	if (r == 0 && c->caps.max_data_xfer_size > c->config.xfer)
		c->caps.max_data_xfer_size = c->config.xfer;
	if (r == 0)
		r = take_twin(c, &fds);
	vu_fds_close(&fds);
	return r;
}

/* Who it is, from its configuration space (PCI Local Bus Specification 3.0, 6.1). */
static int read_identity(struct vu_client *c)
{
	struct hf_device_info *i = &c->info;
	uint8_t b[48];
	int r = vu_region_read(c, 7, 0, b, sizeof(b));

	if (r < 0)
		return r;
	i->vendor_id = (uint16_t)(b[0x00] | b[0x01] << 8);
	i->device_id = (uint16_t)(b[0x02] | b[0x03] << 8);
	i->revision = b[0x08];
	i->subsystem_vendor_id = (uint16_t)(b[0x2c] | b[0x2d] << 8);
	i->subsystem_id = (uint16_t)(b[0x2e] | b[0x2f] << 8);
	(void)snprintf(i->kind, sizeof(i->kind), "vfio-user");
	memcpy(i->name, c->config.name, sizeof(i->name));
	if (c->caps.compat[0])
		memcpy(i->compat, c->caps.compat, sizeof(i->compat));
	else
		(void)snprintf(i->compat, sizeof(i->compat), "vfio-user/%04x:%04x/%04x:%04x/%02x",
			       i->vendor_id, i->device_id, i->subsystem_vendor_id, i->subsystem_id,
			       i->revision);
	return 0;
}

static int ask_all(struct vu_client *c, struct hf_error *err)
{
	struct vu_exchange m = { .command = VU_DEVICE_GET_INFO };
	int r;

	m.request.v[VU_ARGSZ] = vu_fixed_size(VU_DEVICE_GET_INFO, 0);
	r = vu_command(c, &m);
	if (r < 0)
		return no(c, err, r, "asking what it is");
	if (!(m.reply.v[VU_FLAGS] & VU_DEVICE_PCI))
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio-user: %.100s serves no PCI device (flags 0x%llx)",
				 c->config.path, (unsigned long long)m.reply.v[VU_FLAGS]);
	if (c->caps.dma_p2p)
		c->info.flags |= HF_DEVICE_TAKES_P2P;
	if (m.reply.v[VU_FLAGS] & VU_DEVICE_RESET_FLAG)
		c->info.flags |= HF_DEVICE_HAS_RESET;
	r = vu_regions_init(c, (uint32_t)m.reply.v[VU_REGIONS], (uint32_t)m.reply.v[VU_IRQS]);
	if (r < 0)
		return no(c, err, r, "its regions and interrupts");
	r = read_identity(c);
	if (r < 0)
		return no(c, err, r, "its configuration space");
	r = vu_state_init(c);
	if (r < 0)
		return no(c, err, r, "its migration");
	r = vu_dirty_init(c, err);
	return r == 0 && vu_link_is_broken(&c->link) ? no(c, err, -ENOTCONN, "its log") : r;
}

/*
 * What the client before us left in the device is nothing to us: it is reset as it is opened, as
 * the kernel resets PCI functions then. One that cannot be reset has to run at least.
 */
static int make_run(struct vu_client *c, struct hf_error *err)
{
	uint32_t state = HF_DEVICE_ERROR;
	int r = vu_reset(c);
	int asked = c->info.mig_flags ? vu_get_state(c, &state) : 0;

	if (vu_link_is_broken(&c->link))
		return no(c, err, -ENOTCONN, "its reset");
	if (!c->info.mig_flags)
		return 0;
	if (asked == 0 && state == HF_DEVICE_RUNNING &&
	    (r == 0 || !(c->info.flags & HF_DEVICE_HAS_RESET)))
		return 0;
	return error_set(err, HF_E_DEVICE_STATE, -r,
			 "vfio-user: %.80s cannot be reset as it is opened; it stands in %s",
			 c->config.path, hf_device_state_name(state));
}

static int build(struct vu_client *c, struct hf_error *err)
{
	int s = -1, r = dial(c, &s);

	if (r < 0)
		return no(c, err, r, "connecting");
	vu_link_init(&c->link, s, "the server");
	c->link.size_max = VU_SIZE_MAX(c->config.xfer);
	c->has_link = 1;
	r = start_thread(&c->reader, read_link, c);
	if (r < 0)
		return no(c, err, r, "its reader");
	c->reads = 1;
	r = negotiate(c);
	if (r == 0)
		r = vu_data_init(c);
	if (r < 0)
		return no(c, err, r,
			  r == -EBUSY ? "it serves another client" : "negotiating the version");
	r = ask_all(c, err);
	return r < 0 ? r : make_run(c, err);
}

int vu_client_open(const char *rest, const char *name, struct hf_device *ret_device,
		   struct hf_error *err)
{
	struct vu_config config;
	struct vu_client *c;
	int r = vu_uri_parse(rest, name, &config, err);

	if (r < 0)
		return r;
	c = calloc(1, sizeof(*c));
	if (!c)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "vfio-user: %.100s", config.path);
	c->config = config;
	for (uint32_t i = 0; i < VU_REGIONS_MAX; i++)
		c->regions[i].mmap_fd = -1;
	(void)pthread_mutex_init(&c->map_lock, NULL);
	(void)pthread_mutex_init(&c->dma_lock, NULL);
	(void)pthread_mutex_init(&c->irq_lock, NULL);
	r = build(c, err);
	if (r < 0) {
		op_close(c);
		return r;
	}
	*ret_device = (struct hf_device){ .ops = &client_ops, .self = c };
	return 0;
}
