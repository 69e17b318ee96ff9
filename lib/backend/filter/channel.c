/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection behind filters: calls that fail, are late, come after a cut, or bring damaged data.
 */
#include <errno.h>
#include <stdlib.h>

#include "backend/filter/filter.h"
#include "base/error.h"
#include "base/export.h"

/* Sending and receiving are two threads; they share nothing here but the atomic counts. */
struct filtered {
	struct hf_channel next;
	struct filter_point point;
};

static int op_sendv(void *self, struct iovec *iov, uint32_t count, uint64_t deadline_ns)
{
	struct filtered *f = self;
	const struct filter_spec *spec = filter_strike(&f->point, CHANNEL_OP_SEND, 0);

	if (spec && (spec->actions & FILTER_CLOSE))
		f->next.ops->shutdown(f->next.self);
	if (!spec || (spec->actions & FILTER_CLOSE))
		return f->next.ops->sendv(f->next.self, iov, count, deadline_ns);
	if (spec->actions & FILTER_AFTER)
		(void)f->next.ops->sendv(f->next.self, iov, count, deadline_ns);
	return -spec->error;
}

static ssize_t op_recvv(void *self, struct iovec *iov, uint32_t count, uint64_t deadline_ns)
{
	struct filtered *f = self;
	const struct filter_spec *spec = filter_strike(&f->point, CHANNEL_OP_RECV, 0);
	uint8_t *base = count ? iov[0].iov_base : NULL;
	size_t length = count ? iov[0].iov_len : 0;
	ssize_t n;

	if (spec && (spec->actions & FILTER_CLOSE))
		f->next.ops->shutdown(f->next.self);
	if (spec && !(spec->actions & (FILTER_CLOSE | FILTER_AFTER | FILTER_FLIP)))
		return -spec->error;
	n = f->next.ops->recvv(f->next.self, iov, count, deadline_ns);
	if (spec && (spec->actions & FILTER_FLIP) && n > 0 && length)
		base[((size_t)n < length ? (size_t)n : length) / 2] ^= 1u;
	return spec && (spec->actions & FILTER_AFTER) ? -spec->error : n;
}

static int op_fd(void *self)
{
	struct filtered *f = self;

	return f->next.ops->fd(f->next.self);
}

static void op_shutdown(void *self)
{
	struct filtered *f = self;

	f->next.ops->shutdown(f->next.self);
}

static void op_finish(void *self)
{
	struct filtered *f = self;

	f->next.ops->finish(f->next.self);
}

static void op_close(void *self)
{
	struct filtered *f = self;

	if (!f)
		return;
	f->next.ops->close(f->next.self);
	free(f);
}

static const struct hf_channel_ops filtered_ops = {
	.size = sizeof(struct hf_channel_ops),
	.kind = "filter",
	.sendv = op_sendv,
	.recvv = op_recvv,
	.fd = op_fd,
	.shutdown = op_shutdown,
	.close = op_close,
	.finish = op_finish,
};

HF_EXPORT int hf_filters_channel(struct hf_filters *filters, struct hf_channel *channel,
				 const char *kind, uint32_t index, struct hf_error *err)
{
	struct filter_point point;
	struct filtered *f;

	filter_point_init(&point, filters, FILTER_CHANNEL, index, kind);
	if (!point.count)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return error_set(err, HF_E_NO_MEMORY, 0, "filter of channel %u", index);
	f->next = *channel;
	f->point = point;
	*channel = (struct hf_channel){ .ops = &filtered_ops, .self = f };
	return 0;
}
