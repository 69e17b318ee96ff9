/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rec-hello.h"

#include "wire/rec-body.h"

/* docs/stream.md, section 5.1, "Guest names". */
static bool guest_valid(const char *guest)
{
	if (!rec_name_valid(guest, HF_NAME_MAX))
		return false;
	for (; *guest != '\0'; guest++) {
		bool letter = (*guest >= 'A' && *guest <= 'Z') || (*guest >= 'a' && *guest <= 'z');
		bool digit = *guest >= '0' && *guest <= '9';

		if (!letter && !digit && *guest != '.' && *guest != '_' && *guest != '-')
			return false;
	}
	return true;
}

static bool valid(const struct rec_hello *hello)
{
	if (!rec_id_valid(hello->session) || (hello->flags & ~REC_HELLO_PAUSED) != 0)
		return false;
	if (hello->page_shift != HF_PAGE_SHIFT || hello->epoch == 0)
		return false;
	if (hello->region_count < 1 || hello->region_count > HF_REGIONS_MAX)
		return false;
	if (hello->device_count > HF_DEVICES_MAX)
		return false;
	if (hello->channels < 1 || hello->channels > HF_CHANNELS_MAX)
		return false;
	return guest_valid(hello->guest) && rec_name_valid(hello->side, HF_NAME_MAX) &&
	       rec_name_valid(hello->ledger, HF_URI_MAX);
}

/* docs/stream.md, section 5.1. */
int rec_hello_encode(const struct rec_hello *hello, void *buf, size_t capacity)
{
	struct wr wr;

	if (!valid(hello))
		return -EINVAL;
	rec_begin(&wr, buf, capacity, REC_HELLO);
	wr_bytes(&wr, hello->session, WIRE_ID_BYTES);
	wr_u32(&wr, hello->flags);
	wr_u32(&wr, hello->page_shift);
	wr_u32(&wr, hello->region_count);
	wr_u32(&wr, hello->device_count);
	wr_u32(&wr, hello->channels);
	wr_zero(&wr, 4);
	wr_u64(&wr, hello->epoch);
	wr_u64(&wr, hello->downtime_us_max);
	wr_text(&wr, hello->guest, HF_NAME_MAX);
	wr_text(&wr, hello->side, HF_NAME_MAX);
	wr_text(&wr, hello->ledger, HF_URI_MAX);
	return rec_finish(&wr);
}

int rec_hello_decode(const void *body, size_t length, struct rec_hello *ret_hello)
{
	struct rec_hello hello;
	struct rd rd;

	rd_init(&rd, body, length);
	rd_bytes(&rd, hello.session, WIRE_ID_BYTES);
	hello.flags = rd_u32(&rd);
	hello.page_shift = rd_u32(&rd);
	hello.region_count = rd_u32(&rd);
	hello.device_count = rd_u32(&rd);
	hello.channels = rd_u32(&rd);
	rd_zero(&rd, 4);
	hello.epoch = rd_u64(&rd);
	hello.downtime_us_max = rd_u64(&rd);
	rd_text(&rd, hello.guest, HF_NAME_MAX);
	rd_text(&rd, hello.side, HF_NAME_MAX);
	rd_text(&rd, hello.ledger, HF_URI_MAX);
	if (!rd_done(&rd) || !valid(&hello))
		return -EPROTO;
	*ret_hello = hello;
	return 0;
}
