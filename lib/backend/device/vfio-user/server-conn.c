/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One client: a thread reads, one carries out what has to do with migration (an arc may take
 * seconds), and one the rest, so that vCPUs reach the device meanwhile. What is asked first is done
 * first, but for that: a command of migration waits for all others that came before it, and those
 * that come after it wait for it only if it is a reset.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/device/vfio-user/server.h"
#include "base/cleanup.h"
#include "base/time.h"

static uint64_t deadline(void)
{
	return time_now_ns() + VU_SERVER_REPLY_S * NS_PER_S;
}

static int start_thread(pthread_t *thread, void *(*run)(void *), void *arg)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's */
	r = -pthread_create(thread, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

/* ---- carrying out ---------------------------------------------------------------------------- */

static int dispatch(struct vu_conn *c, struct vu_job *job, const struct vu_body *b,
		    struct vu_answer *a)
{
	switch (job->header.command) {
	case VU_DMA_MAP:
		return vu_do_dma_map(c, b, &job->fds);
	case VU_DMA_UNMAP:
		return vu_do_dma_unmap(c, b, a);
	case VU_DEVICE_GET_INFO:
		return vu_do_device_info(c, b, a);
	case VU_DEVICE_GET_REGION_INFO:
		return vu_do_region_info(c, b, a);
	case VU_DEVICE_GET_IRQ_INFO:
		return vu_do_irq_info(c, b, a);
	case VU_DEVICE_SET_IRQS:
		return vu_do_set_irqs(c, b, &job->fds);
	case VU_REGION_READ:
		return vu_do_region_read(c, b, a);
	case VU_REGION_WRITE:
		return vu_do_region_write(c, b, a);
	case VU_DEVICE_RESET:
		return vu_do_reset(c);
	case VU_DEVICE_FEATURE:
		return vu_do_feature(c, b, a);
	case VU_MIG_DATA_READ:
		return vu_do_data_read(c, b, a);
	case VU_MIG_DATA_WRITE:
		return vu_do_data_write(c, b);
	default: /* numbers of the client's */
		return -EINVAL;
	}
}

static void carry_out(struct vu_conn *c, struct vu_job *job)
{
	const struct vu_header *h = &job->header;
	struct vu_answer a = { .fd = -1 };
	struct vu_body b;
	const char *field = NULL;
	int r = -EINVAL;

	if (!job->fds.truncated)
		r = vu_body_decode(h->command, 0, job->body, h->size - VU_HEADER_BYTES, &b, &field);
	if (r == 0)
		r = dispatch(c, job, &b, &a);
	vu_fds_close(&job->fds); /* the client may count on it when it has its reply */
	/* A failure to send has broken the connection, which its reader sees. */
	if (h->flags & VU_NO_REPLY)
		r = 0;
	else if (r < 0)
		(void)vu_link_reply_error(&c->link, h, r == -ENOTSUP ? -EINVAL : r, deadline());
	else
		(void)vu_link_reply(&c->link, h, &a.body, &a.fd, a.fd_count, deadline());
	free(a.buf);
}

static void job_free(struct vu_job *job)
{
	vu_fds_close(&job->fds);
	free(job->body);
	free(job);
}

/* With the lock. */
static int may_begin(const struct vu_queue *q)
{
	const struct vu_conn *c = q->conn;

	return q->first && c->use_done >= q->first->use_before &&
	       c->resets_done >= q->first->resets_before;
}

static void *work(void *arg)
{
	struct vu_queue *q = arg;
	struct vu_conn *c = q->conn;

	(void)pthread_mutex_lock(&c->lock);
	for (;;) {
		struct vu_job *job;

		while (!c->over && !may_begin(q))
			(void)pthread_cond_wait(&c->changed, &c->lock);
		if (c->over)
			break;
		job = q->first;
		q->first = job->next;
		if (!q->first)
			q->last = &q->first;
		(void)pthread_mutex_unlock(&c->lock);
		carry_out(c, job);
		(void)pthread_mutex_lock(&c->lock);
		c->queued--;
		c->queued_bytes -= job->header.size;
		c->use_done += q->is_use;
		c->resets_done += job->header.command == VU_DEVICE_RESET;
		(void)pthread_cond_broadcast(&c->changed);
		job_free(job);
	}
	(void)pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* What nobody carries out any more: its reader may have pushed after the worker had ended. */
static void queue_done(struct vu_queue *q)
{
	while (q->first) {
		struct vu_job *job = q->first;

		q->first = job->next;
		job_free(job);
	}
}

/* ---- taking in ------------------------------------------------------------------------------- */

/* With the lock: until there is room. 0, or 1: it floods us. */
static int await_room(struct vu_conn *c)
{
	for (;;) {
		int full = c->queued >= VU_QUEUE_MAX || c->queued_bytes >= VU_QUEUE_BYTES_MAX;

		if (!full || c->over)
			return 0;
		if (c->dma_waits)
			return c->queued >= VU_FLOOD_MAX || c->queued_bytes >= VU_FLOOD_BYTES_MAX;
		(void)pthread_cond_wait(&c->changed, &c->lock);
	}
}

static int push(struct vu_conn *c, struct vu_message *m)
{
	uint16_t command = m->header.command;
	int migrates = command == VU_DEVICE_FEATURE || command == VU_MIG_DATA_READ ||
		       command == VU_MIG_DATA_WRITE || command == VU_DEVICE_RESET;
	struct vu_queue *q = migrates ? &c->migration : &c->use;
	struct vu_job *job = calloc(1, sizeof(*job));
	int flood;

	if (!job) {
		vu_link_break(&c->link, -ENOMEM, "no memory for a command");
		return -ENOMEM;
	}
	job->header = m->header;
	job->fds = m->fds;
	m->fds.count = 0;
	job->body = TAKE_PTR(m->body);
	(void)pthread_mutex_lock(&c->lock);
	flood = await_room(c);
	job->use_before = migrates ? c->use_pushed : 0;
	job->resets_before = migrates ? 0 : c->resets_pushed;
	c->use_pushed += !migrates;
	c->resets_pushed += command == VU_DEVICE_RESET;
	c->queued++;
	c->queued_bytes += job->header.size;
	*q->last = job;
	q->last = &job->next;
	(void)pthread_cond_broadcast(&c->changed);
	(void)pthread_mutex_unlock(&c->lock);
	if (!flood)
		return 0;
	vu_link_break(&c->link, -EPROTO, "the client sent %u commands and did not answer ours",
		      VU_FLOOD_MAX);
	return -EPROTO;
}

/* Requests of ours to the client come back here. */
static int on_twin_command(void *ctx, struct vu_message *m)
{
	struct vu_conn *c = ctx;

	vu_link_break(&c->twin, -EPROTO, "the client sent a command (%s) through the twin socket",
		      vu_command_name(m->header.command));
	return -EPROTO;
}

static void *read_twin(void *arg)
{
	struct vu_conn *c = arg;
	char why[VU_WHY_MAX];
	int closed = vu_link_run(&c->twin, on_twin_command, c);

	vu_link_why(&c->twin, why, sizeof(why));
	vu_link_break(&c->link, -ENOTCONN, "%s%.150s", closed ? "" : "the twin socket: ", why);
	return NULL;
}

/* Our end is the connection's; the other one is returned for the reply. -errno. */
static int make_twin(struct vu_conn *c)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	vu_link_init(&c->twin, pair[0], "the client");
	c->twin.size_max = VU_SIZE_MAX(c->xfer);
	c->has_twin = 1;
	r = start_thread(&c->twin_reader, read_twin, c);
	if (r < 0) {
		(void)close(pair[1]);
		return r;
	}
	c->reads_twin = 1;
	return pair[1];
}

static int version_reply(struct vu_conn *c, const struct vu_header *h, const struct vu_body *b,
			 const struct vu_caps *theirs)
{
	struct vu_caps ours;
	struct vu_body reply = { .tail = NULL };
	char text[VU_VERSION_TEXT_MAX];
	_cleanup_close_ int twin = -1;
	int r;

	vu_caps_default(&ours);
	ours.max_msg_fds = VU_FDS_MAX;
	ours.max_data_xfer_size = c->xfer;
	ours.max_dma_maps = theirs->max_dma_maps;
	ours.dma_p2p = c->dma_p2p;
	ours.precopy_info = !(c->info.flags & HF_DEVICE_GUESSES_PRECOPY);
	memcpy(ours.compat, c->info.compat, sizeof(ours.compat));
	if (theirs->twin_supported && c->max_fds) {
		twin = make_twin(c);
		if (twin < 0)
			return twin;
		ours.twin_supported = ours.has_twin_fd = 1;
	}
	r = vu_version_encode(&ours, text, sizeof(text));
	if (r < 0)
		return r;
	reply.v[VU_MAJOR] = VU_MAJOR_SPOKEN;
	reply.v[VU_MINOR] = b->v[VU_MINOR] < VU_MINOR_SPOKEN ? b->v[VU_MINOR] : VU_MINOR_SPOKEN;
	reply.tail = (const uint8_t *)text;
	reply.tail_size = (size_t)r;
	c->negotiated = 1;
	return vu_link_reply(&c->link, h, &reply, &twin, twin >= 0, deadline());
}

/* The first message, and only that. */
static int on_version(struct vu_conn *c, const struct vu_message *m)
{
	const struct vu_header *h = &m->header;
	struct vu_caps theirs;
	struct vu_body b;
	const char *field = "command";
	int r = -EINVAL;

	if (h->command == VU_VERSION)
		r = vu_body_decode(VU_VERSION, 0, m->body, h->size - VU_HEADER_BYTES, &b, &field);
	if (r == 0 && b.v[VU_MAJOR] != VU_MAJOR_SPOKEN) {
		field = "major";
		r = -EINVAL;
	}
	if (r == 0 && vu_version_decode((const char *)b.tail, b.tail_size, &theirs, &field) < 0)
		r = -EINVAL;
	if (r == 0) {
		c->max_fds = theirs.max_msg_fds;
		c->xfer = theirs.max_data_xfer_size < VU_SERVER_XFER ? theirs.max_data_xfer_size
								     : VU_SERVER_XFER;
		c->dma_p2p = theirs.dma_p2p && (c->info.flags & HF_DEVICE_TAKES_P2P);
		c->link.size_max = VU_SIZE_MAX(c->xfer);
		c->data = malloc(c->xfer);
		if (!c->data)
			r = -ENOMEM;
	}
	if (r == 0)
		r = version_reply(c, h, &b, &theirs);
	if (r < 0) {
		(void)vu_link_reply_error(&c->link, h, r, deadline());
		vu_link_break(&c->link, -EPROTO, "the client's first message (%s, field %s): %s",
			      vu_command_name(h->command), field ? field : "none", strerror(-r));
	}
	return r;
}

static int on_command(void *ctx, struct vu_message *m)
{
	struct vu_conn *c = ctx;

	return c->negotiated ? push(c, m) : on_version(c, m);
}

static void *read_link(void *arg)
{
	struct vu_conn *c = arg;

	(void)vu_link_run(&c->link, on_command, c); /* the link knows how it ended */
	if (c->has_twin)
		vu_link_break(&c->twin, -ENOTCONN, "the connection is over");
	(void)pthread_mutex_lock(&c->lock);
	c->over = 1;
	(void)pthread_cond_broadcast(&c->changed);
	(void)pthread_mutex_unlock(&c->lock);
	(void)eventfd_write(c->ended_fd, 1);
	return NULL;
}

void vu_conn_dma_waits(struct vu_conn *c, int begins)
{
	(void)pthread_mutex_lock(&c->lock);
	c->dma_waits += begins ? 1 : UINT32_MAX;
	(void)pthread_cond_broadcast(&c->changed);
	(void)pthread_mutex_unlock(&c->lock);
}

/* ---- beginning and end ------------------------------------------------------------------------
 */

void vu_conn_break(struct vu_conn *c, const char *why)
{
	vu_link_break(&c->link, -ENOTCONN, "%s", why);
	(void)pthread_mutex_lock(&c->lock);
	c->over = 1; /* a reader that awaits room is woken as well */
	(void)pthread_cond_broadcast(&c->changed);
	(void)pthread_mutex_unlock(&c->lock);
}

int vu_conn_is_hung_up(struct vu_conn *c)
{
	struct pollfd fd = { .fd = c->link.socket };

	return poll(&fd, 1, 0) == 1 && (fd.revents & (POLLHUP | POLLERR));
}

static void queue_init(struct vu_queue *q, struct vu_conn *c, uint32_t is_use)
{
	q->conn = c;
	q->last = &q->first;
	q->is_use = is_use;
}

static int queue_start(struct vu_queue *q)
{
	int r = start_thread(&q->thread, work, q);

	q->runs = r == 0;
	return r;
}

int vu_conn_new(struct hf_device device, int socket, int ended_fd, struct vu_conn **ret_conn)
{
	struct vu_conn *c = calloc(1, sizeof(*c));
	char why[VU_WHY_MAX];
	int r;

	if (!c) {
		(void)close(socket);
		return -ENOMEM;
	}
	c->device = device;
	c->ended_fd = ended_fd;
	vu_link_init(&c->link, socket, "the client");
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_cond_init(&c->changed, NULL);
	queue_init(&c->use, c, 1);
	queue_init(&c->migration, c, 0);
	r = device.ops->info(device.self, &c->info);
	if (r == 0)
		r = queue_start(&c->use);
	if (r == 0)
		r = queue_start(&c->migration);
	if (r == 0)
		r = start_thread(&c->reader, read_link, c);
	if (r < 0) {
		vu_conn_break(c, "no threads for it");
		vu_conn_free(c, why, sizeof(why));
		return r;
	}
	c->reads = 1;
	*ret_conn = c;
	return 0;
}

void vu_conn_free(struct vu_conn *c, char *ret_why, size_t size)
{
	int held;

	if (c->reads)
		(void)pthread_join(c->reader, NULL);
	if (c->reads_twin)
		(void)pthread_join(c->twin_reader, NULL);
	if (c->use.runs)
		(void)pthread_join(c->use.thread, NULL);
	if (c->migration.runs)
		(void)pthread_join(c->migration.thread, NULL);
	queue_done(&c->use);
	queue_done(&c->migration);
	vu_link_why(&c->link, ret_why, size);
	vu_log_done(c);
	vu_irqs_done(c);
	held = vu_maps_done(c);
	if (held)
		return; /* what the device may still call must stay */
	if (c->has_twin)
		vu_link_done(&c->twin);
	vu_link_done(&c->link);
	(void)pthread_cond_destroy(&c->changed);
	(void)pthread_mutex_destroy(&c->lock);
	free(c->data);
	free(c);
}
