/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration states of a served device: VFIO_DEVICE_FEATURE_* through DEVICE_FEATURE. The rules are
 * those of ../vfio/state.c: the state is asked for before it is changed, STOP_COPY to PRE_COPY* is
 * never asked for, and a write that failed spoils the load.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include <holdfast/device.h>

#include "backend/device/vfio-user/client.h"

#define FEATURE_BYTES_MAX 64u

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

/* It stands there. */
static void settle(struct vu_client *c, uint32_t state)
{
	int begins = session_of(c->state) != session_of(state);

	if (begins) {
		c->load_error = 0;
		vu_data_end(c);
	}
	c->state = state;
	if (begins && session_of(state) == HF_DEVICE_STOP_COPY)
		vu_data_begin(c);
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

	vu_data_drain(c); /* "nothing for now" must not be taken for what the next state says */
	vu_put32(data, state);
	vu_put32(data + 4, UINT32_MAX); /* data_fd: there is none */
	r = vu_feature(c, VU_FEATURE_SET | VU_FEATURE_MIG_STATE, data, sizeof(data));
	if (r < 0)
		(void)ask(c, &now); /* the first failure counts; this one only settles */
	else
		settle(c, state);
	return r;
}

/* What the kernel would refuse, and what it should. */
static int refused(const struct vu_client *c, uint32_t from, uint32_t state)
{
	if (!c->info.mig_flags)
		return -EOPNOTSUPP;
	if (from == HF_DEVICE_ERROR || !hf_device_has_state(c->info.mig_flags, state))
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
	int r;

	vu_data_drain(c);
	r = vu_command(c, &m);
	if (r < 0 || !c->info.mig_flags)
		return r;
	vu_data_end(c); /* whatever was being saved or loaded is over */
	settle(c, HF_DEVICE_RUNNING);
	r = ask(c, &state);
	/* libvfio-user's servers keep their migration state over a reset. */
	if (r == 0 && state != HF_DEVICE_RUNNING && state != HF_DEVICE_ERROR)
		r = put(c, HF_DEVICE_RUNNING);
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
