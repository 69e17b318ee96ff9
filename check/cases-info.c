/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of what a device says about itself. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "check/run.h"

#define CONFIG_REGION 7u

void check_info_flags(struct check *c)
{
	uint32_t flags = c->info.mig_flags;

	if (!(flags & HF_MIG_STOP_COPY))
		(void)check_fail(c, "the flags 0x%x lack STOP_COPY", flags);
	else if (flags & ~7u)
		(void)check_fail(c, "the flags 0x%x have bits that nothing is known of", flags);
}

void check_info_constant(struct check *c)
{
	struct hf_device_info now;
	int r;

	memset(&now, 0, sizeof(now));
	for (uint32_t state = 1; state < HF_DEVICE_STATE_COUNT; state++) {
		if (!check_has(c, state))
			continue;
		if (!check_reset(c) || !check_go(c, state))
			return;
		r = OPS(c)->info(SELF(c), &now);
		if (r < 0 || now.mig_flags != c->info.mig_flags || now.flags != c->info.flags ||
		    now.region_count != c->info.region_count ||
		    now.irq_count != c->info.irq_count || now.vendor_id != c->info.vendor_id ||
		    now.device_id != c->info.device_id || strcmp(now.compat, c->info.compat) != 0) {
			(void)check_fail(c, "in %s it is another device than it was",
					 hf_device_state_name(state));
			return;
		}
	}
}

void check_info_named(struct check *c)
{
	if (!c->info.kind[0] || !c->info.name[0] || !c->info.compat[0])
		(void)check_fail(c, "kind \"%s\", name \"%s\", compat \"%s\": one is empty",
				 c->info.kind, c->info.name, c->info.compat);
}

/* Opened anew, before anything is done to it. */
static bool opens_running(struct check *c, const char *closed_in)
{
	struct hf_error err = { 0 };

	check_detach(c);
	if (!check_attach(c, &err))
		return check_fail(c, "closed in %s it cannot be opened again: %.120s", closed_in,
				  err.text);
	return check_stands(c, HF_DEVICE_RUNNING, closed_in);
}

void check_info_opens_running(struct check *c)
{
	(void)opens_running(c, "closed in RUNNING and opened again");
}

void check_info_reopens_running(struct check *c)
{
	for (uint32_t state = 1; state < HF_DEVICE_STATE_COUNT; state++) {
		char when[64];

		if (!check_has(c, state) || state == HF_DEVICE_RUNNING)
			continue;
		(void)snprintf(when, sizeof(when), "closed in %s and opened again",
			       hf_device_state_name(state));
		if (!check_reset(c) || !check_go(c, state) || !opens_running(c, when))
			return;
	}
}

void check_info_state_known(struct check *c)
{
	for (uint32_t state = 1; state < HF_DEVICE_STATE_COUNT; state++) {
		uint32_t now;
		int r;

		if (!check_has(c, state))
			continue;
		if (!check_reset(c))
			return;
		r = check_set(c, state);
		now = check_state(c);
		if (r == 0 && now >= HF_DEVICE_STATE_COUNT) {
			(void)check_fail(c, "after a SET to %s GET gives %" PRIu32,
					 hf_device_state_name(state), now);
			return;
		}
		if (r == 0 && now != state) {
			(void)check_fail(c, "after a SET to %s GET gives %s",
					 hf_device_state_name(state), hf_device_state_name(now));
			return;
		}
	}
}

void check_info_get_cheap(struct check *c)
{
	uint64_t best = UINT64_MAX;

	for (uint32_t i = 0; i < 50; i++) {
		uint64_t began = check_now_ns(), took;

		(void)check_state(c);
		took = check_now_ns() - began;
		best = took < best ? took : best;
	}
	if (best > 1000000)
		(void)check_fail(c, "GET takes %" PRIu64 " us at best", best / 1000);
}

void check_info_data_size(struct check *c)
{
	for (uint32_t state = 1; state < HF_DEVICE_STATE_COUNT; state++) {
		uint64_t bytes = 0;
		int r;

		if (!check_has(c, state))
			continue;
		if (!check_reset(c) || !check_go(c, state))
			return;
		r = OPS(c)->data_size(SELF(c), &bytes);
		if (r < 0) {
			(void)check_fail(c, "in %s the size of the stream is not to be had: %s",
					 hf_device_state_name(state), check_errno(r));
			return;
		}
	}
}

void check_info_data_size_right(struct check *c)
{
	uint64_t bytes = 0;
	int r = OPS(c)->data_size(SELF(c), &bytes);

	if (r < 0)
		(void)check_fail(c, "the size of the stream is not to be had: %s", check_errno(r));
	else if (check_save(c, &c->whole) && bytes < c->whole.size - c->whole.size / 10)
		(void)check_fail(c, "estimated %" PRIu64 " bytes, and there were %zu", bytes,
				 c->whole.size);
}

void check_info_regions(struct check *c)
{
	struct hf_region_info info = { 0 };
	int r;

	for (uint32_t i = 0; i < c->info.region_count; i++) {
		r = OPS(c)->region_info(SELF(c), i, &info);
		if (r < 0 && i != 8) { /* VGA may be missing in the middle */
			(void)check_fail(c, "region %" PRIu32 " of %" PRIu32 " gave %s", i,
					 c->info.region_count, check_errno(r));
			return;
		}
	}
	r = OPS(c)->region_info(SELF(c), c->info.region_count, &info);
	if (r >= 0)
		(void)check_fail(c, "there are %" PRIu32 " regions, and one with that index",
				 c->info.region_count);
}

void check_info_irqs(struct check *c)
{
	uint32_t count = 0;

	if (OPS(c)->irq_count(SELF(c), c->info.irq_count, &count) >= 0)
		(void)check_fail(c, "there are %" PRIu32 " interrupt indexes, and one more",
				 c->info.irq_count);
}

void check_info_ids(struct check *c)
{
	uint16_t ids[2] = { 0, 0 };
	int r = OPS(c)->region_read(SELF(c), CONFIG_REGION, 0, ids, sizeof(ids));

	if (r < 0)
		(void)check_fail(c, "the configuration space cannot be read: %s", check_errno(r));
	else if (ids[0] != c->info.vendor_id || ids[1] != c->info.device_id)
		(void)check_fail(c, "the configuration space has %04x:%04x, the device %04x:%04x",
				 ids[0], ids[1], c->info.vendor_id, c->info.device_id);
}
