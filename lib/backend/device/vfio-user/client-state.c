/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration states and data of a served device: VFIO_DEVICE_FEATURE_* through DEVICE_FEATURE, and
 * MIG_DATA_READ and _WRITE, of which several are under way at once. The rules are those of
 * ../vfio/state.c: the state is asked for before it is changed, STOP_COPY to PRE_COPY* is never
 * asked for, and a write that failed spoils the load.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "backend/device/vfio-user/client.h"

#define FEATURE_BYTES_MAX 64u
#define PIECE_MIN (64u << 10)
/* Servers of others that take longer writes only in part have been seen. */
#define FOREIGN_WRITE_MAX (32u << 10)
#define MIG_HEAD 8u /* argsz and size */

int vu_feature(struct vu_client *c, uint32_t flags, void *data, size_t size)
{
	uint8_t buf[FEATURE_BYTES_MAX + VU_FIXED_MAX];
	struct vu_exchange m = { .command = VU_DEVICE_FEATURE,
				 .buf = buf,
				 .capacity = sizeof(buf) };
	int r;

	assert(size <= FEATURE_BYTES_MAX);
	m.request.v[VU_ARGSZ] = vu_fixed_size(VU_DEVICE_FEATURE, 0) + size;
	m.request.v[VU_FLAGS] = flags;
	m.request.tail = data;
	m.request.tail_size = size;
	/* Changing the state may take as long as the device likes. */
	if ((flags & VU_FEATURE_SET) && (flags & VU_FEATURE_MASK) == VU_FEATURE_MIG_STATE)
		m.deadline_ns = vu_arc_deadline(c);
	r = vu_command(c, &m);
	if (r < 0)
		return r;
	if (size && (flags & VU_FEATURE_GET)) {
		if (m.reply.tail_size < size)
			return vu_malformed(c, VU_DEVICE_FEATURE, "data");
		memcpy(data, m.reply.tail, size);
	}
	return 0;
}

/* ---- states ---------------------------------------------------------------------------------- */

#define NO_SESSION HF_DEVICE_ERROR

/* The session that a state has: saving (STOP_COPY), loading (RESUMING) or none. */
static uint32_t session_of(uint32_t state)
{
	switch (state) {
	case HF_DEVICE_PRE_COPY:
	case HF_DEVICE_PRE_COPY_P2P:
	case HF_DEVICE_STOP_COPY:
		return HF_DEVICE_STOP_COPY;
	case HF_DEVICE_RESUMING:
		return HF_DEVICE_RESUMING;
	default:
		return NO_SESSION;
	}
}

static int in_pre_copy(const struct vu_client *c)
{
	return c->state == HF_DEVICE_PRE_COPY || c->state == HF_DEVICE_PRE_COPY_P2P;
}

/* It stands there. */
static void settle(struct vu_client *c, uint32_t state)
{
	if (session_of(c->state) != session_of(state)) {
		c->load_error = 0;
		c->precopy_ended = 0;
		c->pass_bytes = c->last_pass_bytes = 0;
	}
	c->state = state;
}

static int ask(struct vu_client *c, uint32_t *ret_state)
{
	uint8_t data[8] = { 0 };
	uint32_t state;
	int r = vu_feature(c, VU_FEATURE_GET | VU_FEATURE_MIG_STATE, data, sizeof(data));

	if (r < 0)
		return r;
	state = vu_get32(data);
	if (state >= HF_DEVICE_STATE_COUNT)
		return vu_malformed(c, VU_DEVICE_FEATURE, "device_state");
	settle(c, state);
	*ret_state = state;
	return 0;
}

static int put(struct vu_client *c, uint32_t state)
{
	uint8_t data[8];
	uint32_t now;
	int r;

	vu_put32(data, state);
	vu_put32(data + 4, UINT32_MAX); /* data_fd: there is none */
	r = vu_feature(c, VU_FEATURE_SET | VU_FEATURE_MIG_STATE, data, sizeof(data));
	if (r < 0)
		(void)ask(c, &now); /* the first failure counts; this one only settles */
	else
		settle(c, state);
	return r;
}

static int has_state(const struct vu_client *c, uint32_t state)
{
	uint32_t needs = HF_MIG_STOP_COPY;

	if (state == HF_DEVICE_ERROR || state >= HF_DEVICE_STATE_COUNT)
		return 0;
	if (state == HF_DEVICE_RUNNING_P2P || state == HF_DEVICE_PRE_COPY_P2P)
		needs |= HF_MIG_P2P;
	if (state == HF_DEVICE_PRE_COPY || state == HF_DEVICE_PRE_COPY_P2P)
		needs |= HF_MIG_PRE_COPY;
	return (c->info.mig_flags & needs) == needs;
}

/* What the kernel would refuse, and what it should. */
static int refused(const struct vu_client *c, uint32_t from, uint32_t state)
{
	if (!c->info.mig_flags)
		return -EOPNOTSUPP;
	if (from == HF_DEVICE_ERROR || !has_state(c, state))
		return -EINVAL;
	if (from == HF_DEVICE_STOP_COPY && session_of(state) == HF_DEVICE_STOP_COPY &&
	    state != HF_DEVICE_STOP_COPY)
		return -EINVAL;
	if (from == HF_DEVICE_RESUMING && state != from && c->load_error)
		return c->load_error;
	return 0;
}

int vu_get_state(void *self, uint32_t *ret_state)
{
	return ask(self, ret_state);
}

int vu_set_state(void *self, uint32_t state)
{
	struct vu_client *c = self;
	uint32_t now = HF_DEVICE_ERROR;
	int r = ask(c, &now);

	if (r == 0)
		r = refused(c, now, state);
	if (r < 0 || now == state)
		return r;
	return put(c, state);
}

int vu_reset(void *self)
{
	struct vu_client *c = self;
	struct vu_exchange m = { .command = VU_DEVICE_RESET, .deadline_ns = vu_arc_deadline(c) };
	uint32_t state = HF_DEVICE_ERROR;
	int r = vu_command(c, &m);

	if (r < 0 || !c->info.mig_flags)
		return r;
	settle(c, HF_DEVICE_RUNNING); /* whatever was being saved or loaded is over */
	r = ask(c, &state);
	/* libvfio-user's servers keep their migration state over a reset. */
	if (r == 0 && state != HF_DEVICE_RUNNING && state != HF_DEVICE_ERROR)
		r = put(c, HF_DEVICE_RUNNING);
	return r;
}

/* ---- data ------------------------------------------------------------------------------------ */

struct piece {
	struct vu_call call;
	uint8_t head[MIG_HEAD];
	size_t at, size;
};

/* How much one message carries, when that much is wanted: so that several are under way. */
static size_t piece_size(size_t want, size_t most)
{
	size_t n = want / (VU_PIPELINE_MAX / 2);

	if (n < PIECE_MIN)
		n = PIECE_MIN;
	if (n > most)
		n = most;
	return n < want ? n : want;
}

/* Start pieces of [0, size). Returns how many; *ret_error is what kept it from more. */
static uint32_t start_pieces(struct vu_client *c, uint32_t command, uint8_t *into,
			     const uint8_t *from, size_t size, size_t n, struct piece *pieces,
			     int *ret_error)
{
	uint32_t count = 0;
	int r = 0;

	for (size_t at = 0; at < size && count < VU_PIPELINE_MAX; count++, at += n) {
		struct piece *p = &pieces[count];
		struct vu_body b = { .tail = NULL };

		p->at = at;
		p->size = size - at < n ? size - at : n;
		p->call = (struct vu_call){ .body = p->head, .capacity = sizeof(p->head) };
		b.v[VU_ARGSZ] = MIG_HEAD + p->size;
		b.v[VU_SIZE] = p->size;
		if (into) {
			p->call.tail = into + at;
			p->call.tail_at = MIG_HEAD;
			p->call.capacity += p->size;
		} else {
			b.tail = from + at;
			b.tail_size = p->size;
		}
		r = vu_call_start(&c->link, &p->call, command, &b, NULL, 0, vu_deadline(c));
		if (r < 0)
			break;
	}
	*ret_error = r;
	return count;
}

/* What a reply to MIG_DATA_READ brought; a negative errno. */
static ssize_t take_piece(struct vu_client *c, struct piece *p)
{
	struct vu_body b;
	const char *field = NULL;
	int r = vu_call_wait(&c->link, &p->call, vu_deadline(c));

	if (r < 0)
		return r;
	if (vu_body_decode(VU_MIG_DATA_READ, 1, p->head, p->call.size, &b, &field) < 0)
		return vu_malformed(c, VU_MIG_DATA_READ, field);
	if (b.v[VU_SIZE] > p->size)
		return vu_malformed(c, VU_MIG_DATA_READ, "size");
	return (ssize_t)b.v[VU_SIZE];
}

/* Pieces may come short: what follows moves up. An error of one is the error of all. */
static ssize_t read_pieces(struct vu_client *c, uint8_t *buf, size_t size)
{
	struct piece pieces[VU_PIPELINE_MAX];
	size_t done = 0;
	int error = 0;
	uint32_t count = start_pieces(c, VU_MIG_DATA_READ, buf, NULL, size,
				      piece_size(size, c->caps.max_data_xfer_size), pieces, &error);

	for (uint32_t i = 0; i < count; i++) {
		ssize_t n = take_piece(c, &pieces[i]);

		if (n < 0) {
			error = error < 0 ? error : (int)n;
			continue;
		}
		if (done != pieces[i].at)
			memmove(buf + done, buf + pieces[i].at, (size_t)n);
		done += (size_t)n;
	}
	return error < 0 ? error : (ssize_t)done;
}

ssize_t vu_read_data(void *self, void *buf, size_t size)
{
	struct vu_client *c = self;
	ssize_t n;

	if (session_of(c->state) != HF_DEVICE_STOP_COPY)
		return -ENODEV;
	if (!size)
		return 0;
	n = read_pieces(c, buf, size);
	if (n > 0)
		c->pass_bytes += (uint64_t)n;
	if (n != 0 || !in_pre_copy(c))
		return n;
	c->precopy_ended = 1;
	c->last_pass_bytes = c->pass_bytes;
	c->pass_bytes = 0;
	return -ENOMSG;
}

static int write_pieces(struct vu_client *c, const uint8_t *buf, size_t size, size_t n)
{
	struct piece pieces[VU_PIPELINE_MAX];
	int error = 0;
	uint32_t count = start_pieces(c, VU_MIG_DATA_WRITE, NULL, buf, size, n, pieces, &error);

	for (uint32_t i = 0; i < count; i++) {
		int r = vu_call_wait(&c->link, &pieces[i].call, vu_deadline(c));

		if (r == 0 && pieces[i].call.size)
			r = vu_malformed(c, VU_MIG_DATA_WRITE, "length");
		if (r < 0 && error == 0)
			error = r;
	}
	return error;
}

ssize_t vu_write_data(void *self, const void *buf, size_t size)
{
	struct vu_client *c = self;
	size_t most = c->caps.max_data_xfer_size, n;
	int r;

	if (c->state != HF_DEVICE_RESUMING)
		return -ENODEV;
	if (c->load_error)
		return c->load_error;
	if (!size)
		return 0;
	if (!c->caps.compat[0] && most > FOREIGN_WRITE_MAX)
		most = FOREIGN_WRITE_MAX;
	n = piece_size(size, most);
	if (size > n * VU_PIPELINE_MAX)
		size = n * VU_PIPELINE_MAX;
	r = write_pieces(c, buf, size, n);
	if (r < 0)
		c->load_error = r;
	return r < 0 ? r : (ssize_t)size;
}

int vu_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes)
{
	struct vu_client *c = self;
	uint8_t data[16] = { 0 };
	int r;

	if (!in_pre_copy(c))
		return -EINVAL;
	if (!c->caps.precopy_info) {
		/*
		 * The protocol has no such question. There is something initial until the first end
		 * for now; after that there may be as much as the last pass found.
		 */
		*ret_initial_bytes = !c->precopy_ended;
		*ret_dirty_bytes = c->precopy_ended ? c->last_pass_bytes : 0;
		return 0;
	}
	r = vu_feature(c, VU_FEATURE_GET | VU_FEATURE_PRECOPY_INFO, data, sizeof(data));
	if (r < 0)
		return r;
	*ret_initial_bytes = vu_get64(data);
	*ret_dirty_bytes = vu_get64(data + 8);
	return 0;
}

int vu_data_size(void *self, uint64_t *ret_bytes)
{
	struct vu_client *c = self;
	uint8_t data[8] = { 0 };
	int r;

	if (!(c->info.flags & HF_DEVICE_HAS_DATA_SIZE))
		return -EOPNOTSUPP;
	r = vu_feature(c, VU_FEATURE_GET | VU_FEATURE_DATA_SIZE, data, sizeof(data));
	if (r == 0)
		*ret_bytes = vu_get64(data);
	return r;
}

/* A server that does not have a feature refuses; one that is gone is another matter. */
int vu_state_init(struct vu_client *c)
{
	uint8_t data[8] = { 0 };
	uint32_t flags;

	c->state = HF_DEVICE_ERROR;
	if (vu_feature(c, VU_FEATURE_GET | VU_FEATURE_MIGRATION, data, sizeof(data)) < 0)
		return vu_link_is_broken(&c->link) ? -ENOTCONN : 0;
	flags = (uint32_t)vu_get64(data);
	c->info.mig_flags = flags & (HF_MIG_STOP_COPY | HF_MIG_P2P | HF_MIG_PRE_COPY);
	if ((c->info.mig_flags & HF_MIG_PRE_COPY) && !c->caps.precopy_info)
		c->info.flags |= HF_DEVICE_GUESSES_PRECOPY;
	if (vu_feature(c, VU_FEATURE_GET | VU_FEATURE_DATA_SIZE, data, sizeof(data)) == 0)
		c->info.flags |= HF_DEVICE_HAS_DATA_SIZE;
	return vu_link_is_broken(&c->link) ? -ENOTCONN : 0;
}
