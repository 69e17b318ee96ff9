/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data of a served device that is saved or loaded, by MIG_DATA_READ and MIG_DATA_WRITE. What is
 * saved is read ahead, so that the server fills the next piece while the one before it is sent on:
 * in few and long pieces, since it is messages that cost, by the threads they wake. What the server
 * says of the rest is corrected by what lies here. What is loaded is written at once: an error is
 * the answer to the write that it belongs to.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/device/vfio-user/client.h"

#define MIG_HEAD 8u /* argsz and size */
/* Servers of others that take longer writes only in part have been seen. */
#define FOREIGN_WRITE_MAX (32u << 10)

static uint32_t piece_max(const struct vu_client *c)
{
	return c->caps.max_data_xfer_size < VU_PIECE_MAX ? c->caps.max_data_xfer_size
							 : VU_PIECE_MAX;
}

static int in_pre_copy(const struct vu_client *c)
{
	return c->state == HF_DEVICE_PRE_COPY || c->state == HF_DEVICE_PRE_COPY_P2P;
}

static int saves(const struct vu_client *c)
{
	return in_pre_copy(c) || c->state == HF_DEVICE_STOP_COPY;
}

int vu_data_init(struct vu_client *c)
{
	size_t each = piece_max(c);

	c->ahead.room = malloc(VU_PIPELINE_MAX * each);
	if (!c->ahead.room)
		return -ENOMEM;
	for (uint32_t i = 0; i < VU_PIPELINE_MAX; i++)
		c->ahead.pieces[i].data = c->ahead.room + i * each;
	return 0;
}

/* ---- reading ahead --------------------------------------------------------------------------- */

static struct vu_piece *piece_at(struct vu_client *c, uint32_t n)
{
	return &c->ahead.pieces[(c->ahead.first + n) % VU_PIPELINE_MAX];
}

/* One more request, behind the others. */
static int ask_more(struct vu_client *c)
{
	struct vu_piece *p = piece_at(c, c->ahead.count);
	struct vu_body b = { .tail = NULL };
	int r;

	assert(c->ahead.count < VU_PIPELINE_MAX);
	p->size = piece_max(c);
	p->given = 0;
	p->error = 0;
	p->call = (struct vu_call){ .body = p->head,
				    .capacity = sizeof(p->head) + p->size,
				    .tail = p->data,
				    .tail_at = MIG_HEAD };
	b.v[VU_ARGSZ] = MIG_HEAD + p->size;
	b.v[VU_SIZE] = p->size;
	r = vu_call_start(&c->link, &p->call, VU_MIG_DATA_READ, &b, NULL, 0, vu_deadline(c));
	if (r < 0)
		return r;
	p->waits = 1;
	c->ahead.count++;
	return 0;
}

/* Await its reply. The length of the message may be more than what counts of it. */
static void arrive(struct vu_client *c, struct vu_piece *p)
{
	uint32_t asked = p->size;
	struct vu_body b;
	const char *field = NULL;
	int r;

	if (!p->waits)
		return;
	p->waits = 0;
	p->size = 0;
	r = vu_call_wait(&c->link, &p->call, vu_deadline(c));
	if (r == 0 && vu_body_decode(VU_MIG_DATA_READ, 1, p->head, p->call.size, &b, &field) < 0)
		r = vu_malformed(c, VU_MIG_DATA_READ, field);
	if (r == 0 && b.v[VU_SIZE] > asked)
		r = vu_malformed(c, VU_MIG_DATA_READ, "size");
	p->error = r;
	if (r == 0)
		p->size = (uint32_t)b.v[VU_SIZE];
	if (p->size == asked && c->ahead.depth < VU_PIPELINE_MAX)
		c->ahead.depth *= 2;
}

static void drop_first(struct vu_client *c)
{
	c->ahead.first = (c->ahead.first + 1) % VU_PIPELINE_MAX;
	c->ahead.count--;
}

void vu_data_drain(struct vu_client *c)
{
	for (uint32_t i = 0; i < c->ahead.count; i++)
		arrive(c, piece_at(c, i));
}

void vu_data_end(struct vu_client *c)
{
	vu_data_drain(c);
	c->ahead.first = c->ahead.count = 0;
	c->ahead.depth = 1;
	c->ahead.initial = c->ahead.given = 0;
	c->precopy_ended = 0;
	c->pass_bytes = c->last_pass_bytes = 0;
}

void vu_data_done(struct vu_client *c)
{
	vu_data_drain(c); /* at once: the connection is broken */
	free(c->ahead.room);
	c->ahead.room = NULL;
}

static uint64_t lies_here(struct vu_client *c)
{
	uint64_t bytes = 0;

	vu_data_drain(c);
	for (uint32_t i = 0; i < c->ahead.count; i++)
		bytes += piece_at(c, i)->size - piece_at(c, i)->given;
	return bytes;
}

/*
 * The next bytes; 0: nothing. Once a piece has come empty no more are asked for before those that
 * are under way have come: they may be empty as well, or bring what has changed meanwhile.
 */
static ssize_t read_ahead(struct vu_client *c, uint8_t *buf, size_t size)
{
	int dry = 0;

	for (;;) {
		struct vu_piece *p;
		size_t n;
		int r = 0;

		while (!dry && r == 0 && c->ahead.count < c->ahead.depth)
			r = ask_more(c);
		if (c->ahead.count == 0)
			return r;
		p = piece_at(c, 0);
		arrive(c, p);
		n = p->size - p->given;
		if (n > size)
			n = size;
		if (n) {
			memcpy(buf, p->data + p->given, n);
			p->given += (uint32_t)n;
		}
		r = p->error;
		if (p->given == p->size)
			drop_first(c);
		if (n || r < 0)
			return r < 0 ? r : (ssize_t)n;
		dry = 1;
		c->ahead.depth = 1;
	}
}

ssize_t vu_read_data(void *self, void *buf, size_t size)
{
	struct vu_client *c = self;
	ssize_t n;

	if (!saves(c))
		return -ENODEV;
	if (!size)
		return 0;
	n = read_ahead(c, buf, size);
	if (n > 0) {
		c->ahead.given += (uint64_t)n;
		c->pass_bytes += (uint64_t)n;
	}
	if (n != 0 || !in_pre_copy(c))
		return n;
	c->precopy_ended = 1;
	c->last_pass_bytes = c->pass_bytes;
	c->pass_bytes = 0;
	return -ENOMSG;
}

/* ---- what is left ---------------------------------------------------------------------------- */

static int ask_left(struct vu_client *c, uint64_t *ret_initial, uint64_t *ret_dirty)
{
	uint8_t data[16] = { 0 };
	int r = vu_feature(c, VU_FEATURE_GET | VU_FEATURE_PRECOPY_INFO, data, sizeof(data));

	if (r < 0)
		return r;
	*ret_initial = vu_get64(data);
	*ret_dirty = vu_get64(data + 8);
	return 0;
}

void vu_data_begin(struct vu_client *c)
{
	uint64_t initial = 0, dirty = 0;

	/* Later the server no longer knows of initial data that lies here. */
	if (in_pre_copy(c) && c->caps.precopy_info && ask_left(c, &initial, &dirty) == 0)
		c->ahead.initial = initial;
}

int vu_precopy_info(void *self, uint64_t *ret_initial_bytes, uint64_t *ret_dirty_bytes)
{
	struct vu_client *c = self;
	uint64_t here, initial = 0, dirty = 0, left;
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
	here = lies_here(c);
	r = ask_left(c, &initial, &dirty);
	if (r < 0)
		return r;
	if (__builtin_add_overflow(dirty, here, &dirty) ||
	    __builtin_add_overflow(dirty, initial, &dirty))
		return vu_malformed(c, VU_DEVICE_FEATURE, "initial or dirty bytes");
	/* All that is left; of it is initial what was at first, and what the server says now. */
	left = c->ahead.initial > c->ahead.given ? c->ahead.initial - c->ahead.given : 0;
	if (left > dirty)
		left = dirty;
	if (left < initial)
		left = initial;
	*ret_initial_bytes = left;
	*ret_dirty_bytes = dirty - left;
	return 0;
}

int vu_data_size(void *self, uint64_t *ret_bytes)
{
	struct vu_client *c = self;
	uint8_t data[8] = { 0 };
	uint64_t here;
	int r;

	if (!(c->info.flags & HF_DEVICE_HAS_DATA_SIZE))
		return -EOPNOTSUPP;
	here = lies_here(c);
	r = vu_feature(c, VU_FEATURE_GET | VU_FEATURE_DATA_SIZE, data, sizeof(data));
	if (r < 0)
		return r;
	if (__builtin_add_overflow(vu_get64(data), here, ret_bytes))
		return vu_malformed(c, VU_DEVICE_FEATURE, "stop_copy_length");
	return 0;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Pieces of n bytes, all under way at once. 0, or the first error. */
static int write_pieces(struct vu_client *c, const uint8_t *buf, size_t size, size_t n)
{
	struct vu_call calls[VU_PIPELINE_MAX];
	uint32_t count = 0;
	int error = 0;

	for (size_t at = 0; at < size && error == 0; at += n) {
		size_t part = size - at < n ? size - at : n;
		struct vu_body b = { .tail = buf + at, .tail_size = part };

		assert(count < VU_PIPELINE_MAX);
		b.v[VU_ARGSZ] = MIG_HEAD + part;
		b.v[VU_SIZE] = part;
		calls[count] = (struct vu_call){ .capacity = 0 }; /* the reply is a header */
		error = vu_call_start(&c->link, &calls[count], VU_MIG_DATA_WRITE, &b, NULL, 0,
				      vu_deadline(c));
		count += error == 0;
	}
	for (uint32_t i = 0; i < count; i++) {
		int r = vu_call_wait(&c->link, &calls[i], vu_deadline(c));

		if (r < 0 && error == 0)
			error = r;
	}
	return error;
}

ssize_t vu_write_data(void *self, const void *buf, size_t size)
{
	struct vu_client *c = self;
	size_t most = piece_max(c);
	int r;

	if (c->state != HF_DEVICE_RESUMING)
		return -ENODEV;
	if (c->load_error)
		return c->load_error;
	if (!size)
		return 0;
	if (!c->caps.compat[0] && most > FOREIGN_WRITE_MAX)
		most = FOREIGN_WRITE_MAX;
	if (size > most * VU_PIPELINE_MAX)
		size = most * VU_PIPELINE_MAX;
	r = write_pieces(c, buf, size, most);
	if (r < 0)
		c->load_error = r;
	return r < 0 ? r : (ssize_t)size;
}
