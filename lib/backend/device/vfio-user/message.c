/* SPDX-License-Identifier: BSD-3-Clause */
#include "backend/device/vfio-user/message.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define REGION_INFO_BYTES 32u
#define CAP_HEADER_BYTES 8u
#define CAPS_MAX 16u

const char *vu_command_name(uint32_t command)
{
#define NAME(name, number)                                                                         \
	if (command == (number))                                                                   \
		return #name;
	VU_COMMAND_LIST(NAME)
#undef NAME
	return "?";
}

void vu_put32(uint8_t *to, uint32_t v)
{
	memcpy(to, &v, sizeof(v));
}

void vu_put64(uint8_t *to, uint64_t v)
{
	memcpy(to, &v, sizeof(v));
}

uint32_t vu_get32(const uint8_t *from)
{
	uint32_t v;

	memcpy(&v, from, sizeof(v));
	return v;
}

uint64_t vu_get64(const uint8_t *from)
{
	uint64_t v;

	memcpy(&v, from, sizeof(v));
	return v;
}

static uint16_t get16(const uint8_t *from)
{
	uint16_t v;

	memcpy(&v, from, sizeof(v));
	return v;
}

static void put16(uint8_t *to, uint16_t v)
{
	memcpy(to, &v, sizeof(v));
}

/* ---- the header ---------------------------------------------------------------------------- */

void vu_header_encode(const struct vu_header *header, uint8_t ret_bytes[VU_HEADER_BYTES])
{
	put16(ret_bytes, header->id);
	put16(ret_bytes + 2, header->command);
	vu_put32(ret_bytes + 4, header->size);
	vu_put32(ret_bytes + 8, header->flags);
	vu_put32(ret_bytes + 12, header->error);
}

int vu_header_decode(const uint8_t bytes[VU_HEADER_BYTES], uint32_t size_max,
		     struct vu_header *ret_header, const char **ret_field)
{
	struct vu_header h = { .id = get16(bytes),
			       .command = get16(bytes + 2),
			       .size = vu_get32(bytes + 4),
			       .flags = vu_get32(bytes + 8),
			       .error = vu_get32(bytes + 12) };
	uint32_t type = h.flags & VU_TYPE_MASK;

	*ret_header = h;
	*ret_field = "flags";
	if (type != VU_TYPE_COMMAND && type != VU_TYPE_REPLY)
		return -EPROTO;
	if (h.flags & ~(VU_TYPE_MASK | VU_NO_REPLY | VU_ERROR))
		return -EPROTO;
	if ((h.flags & VU_ERROR) && type != VU_TYPE_REPLY)
		return -EPROTO;
	*ret_field = "size";
	if (h.size < VU_HEADER_BYTES || h.size > size_max)
		return -EPROTO;
	/* An error's reply is a header and nothing else. */
	if ((h.flags & VU_ERROR) && h.size != VU_HEADER_BYTES)
		return -EPROTO;
	*ret_field = NULL;
	return 0;
}

/* ---- bodies: one row for each command and direction ----------------------------------------- */

/* How long the tail is. */
enum tail {
	TAIL_NONE, /* left-over bytes fail */
	TAIL_TEXT, /* nothing, or text with its NUL at the end and nowhere else */
	TAIL_COUNT, /* COUNT bytes */
	TAIL_SIZE, /* SIZE bytes */
	TAIL_SIZE_OR_MORE, /* SIZE bytes count; libvfio-user sends as many as were asked for */
	TAIL_ANY,
};

/* What ARGSZ has to cover. */
enum argsz {
	ARGSZ_NONE, /* there is none, or it says what a reply would need */
	ARGSZ_FIXED,
	ARGSZ_TAIL, /* the tail as well */
	ARGSZ_SIZE, /* the fixed part and SIZE bytes */
};

struct row {
	uint8_t present, tail, argsz, wide; /* wide: COUNT and SIZE take 8 bytes */
	uint8_t fields[8];
};

/* clang-format off */
#define LIST(...) { __VA_ARGS__, VU_END }
static const struct row rows[VU_COMMAND_END][2] = {
	[VU_VERSION] = {
		{ 1, TAIL_TEXT, ARGSZ_NONE, 0, LIST(VU_MAJOR, VU_MINOR) },
		{ 1, TAIL_TEXT, ARGSZ_NONE, 0, LIST(VU_MAJOR, VU_MINOR) } },
	[VU_DMA_MAP] = {
		{ 1, TAIL_NONE, ARGSZ_FIXED, 1,
		  LIST(VU_ARGSZ, VU_FLAGS, VU_OFFSET, VU_ADDRESS, VU_SIZE) },
		{ 1, TAIL_NONE, ARGSZ_NONE, 0, { VU_END } } },
	[VU_DMA_UNMAP] = {
		{ 1, TAIL_NONE, ARGSZ_FIXED, 1, LIST(VU_ARGSZ, VU_FLAGS, VU_ADDRESS, VU_SIZE) },
		{ 1, TAIL_NONE, ARGSZ_FIXED, 1, LIST(VU_ARGSZ, VU_FLAGS, VU_ADDRESS, VU_SIZE) } },
	[VU_DEVICE_GET_INFO] = {
		{ 1, TAIL_NONE, ARGSZ_FIXED, 0, LIST(VU_ARGSZ, VU_FLAGS, VU_REGIONS, VU_IRQS) },
		{ 1, TAIL_NONE, ARGSZ_FIXED, 0, LIST(VU_ARGSZ, VU_FLAGS, VU_REGIONS, VU_IRQS) } },
	[VU_DEVICE_GET_REGION_INFO] = {
		{ 1, TAIL_NONE, ARGSZ_FIXED, 1,
		  LIST(VU_ARGSZ, VU_FLAGS, VU_INDEX, VU_CAP_OFFSET, VU_SIZE, VU_OFFSET) },
		{ 1, TAIL_ANY, ARGSZ_TAIL, 1,
		  LIST(VU_ARGSZ, VU_FLAGS, VU_INDEX, VU_CAP_OFFSET, VU_SIZE, VU_OFFSET) } },
	[VU_DEVICE_GET_IRQ_INFO] = {
		{ 1, TAIL_NONE, ARGSZ_FIXED, 0, LIST(VU_ARGSZ, VU_FLAGS, VU_INDEX, VU_COUNT) },
		{ 1, TAIL_NONE, ARGSZ_FIXED, 0, LIST(VU_ARGSZ, VU_FLAGS, VU_INDEX, VU_COUNT) } },
	[VU_DEVICE_SET_IRQS] = {
		{ 1, TAIL_ANY, ARGSZ_TAIL, 0,
		  LIST(VU_ARGSZ, VU_FLAGS, VU_INDEX, VU_START, VU_COUNT) },
		{ 1, TAIL_NONE, ARGSZ_NONE, 0, { VU_END } } },
	[VU_REGION_READ] = {
		{ 1, TAIL_NONE, ARGSZ_NONE, 0, LIST(VU_OFFSET, VU_INDEX, VU_COUNT) },
		{ 1, TAIL_COUNT, ARGSZ_NONE, 0, LIST(VU_OFFSET, VU_INDEX, VU_COUNT) } },
	[VU_REGION_WRITE] = {
		{ 1, TAIL_COUNT, ARGSZ_NONE, 0, LIST(VU_OFFSET, VU_INDEX, VU_COUNT) },
		{ 1, TAIL_NONE, ARGSZ_NONE, 0, LIST(VU_OFFSET, VU_INDEX, VU_COUNT) } },
	[VU_DMA_READ] = {
		{ 1, TAIL_NONE, ARGSZ_NONE, 1, LIST(VU_ADDRESS, VU_COUNT) },
		{ 1, TAIL_COUNT, ARGSZ_NONE, 1, LIST(VU_ADDRESS, VU_COUNT) } },
	[VU_DMA_WRITE] = {
		{ 1, TAIL_COUNT, ARGSZ_NONE, 1, LIST(VU_ADDRESS, VU_COUNT) },
		{ 1, TAIL_NONE, ARGSZ_NONE, 1, LIST(VU_ADDRESS, VU_COUNT) } },
	[VU_DEVICE_RESET] = {
		{ 1, TAIL_NONE, ARGSZ_NONE, 0, { VU_END } },
		{ 1, TAIL_NONE, ARGSZ_NONE, 0, { VU_END } } },
	[VU_DEVICE_FEATURE] = {
		{ 1, TAIL_ANY, ARGSZ_TAIL, 0, LIST(VU_ARGSZ, VU_FLAGS) },
		{ 1, TAIL_ANY, ARGSZ_TAIL, 0, LIST(VU_ARGSZ, VU_FLAGS) } },
	[VU_MIG_DATA_READ] = {
		{ 1, TAIL_NONE, ARGSZ_SIZE, 0, LIST(VU_ARGSZ, VU_SIZE) },
		{ 1, TAIL_SIZE_OR_MORE, ARGSZ_SIZE, 0, LIST(VU_ARGSZ, VU_SIZE) } },
	[VU_MIG_DATA_WRITE] = {
		{ 1, TAIL_SIZE, ARGSZ_SIZE, 0, LIST(VU_ARGSZ, VU_SIZE) },
		{ 1, TAIL_NONE, ARGSZ_NONE, 0, { VU_END } } },
};
/* clang-format on */

static const char *const field_names[VU_FIELDS] = {
	[VU_MAJOR] = "major",	[VU_MINOR] = "minor",		[VU_ARGSZ] = "argsz",
	[VU_FLAGS] = "flags",	[VU_INDEX] = "index",		[VU_START] = "start",
	[VU_COUNT] = "count",	[VU_CAP_OFFSET] = "cap_offset", [VU_REGIONS] = "num_regions",
	[VU_IRQS] = "num_irqs", [VU_OFFSET] = "offset",		[VU_ADDRESS] = "address",
	[VU_SIZE] = "size",
};

static const struct row *row_of(uint32_t command, int reply)
{
	const struct row *row;

	if (command >= VU_COMMAND_END)
		return NULL;
	row = &rows[command][reply ? 1 : 0];
	return row->present ? row : NULL;
}

static size_t width(const struct row *row, uint8_t field)
{
	switch (field) {
	case VU_MAJOR:
	case VU_MINOR:
		return 2;
	case VU_OFFSET:
	case VU_ADDRESS:
		return 8;
	case VU_COUNT:
	case VU_SIZE:
		return row->wide ? 8 : 4;
	default:
		return 4;
	}
}

size_t vu_fixed_size(uint32_t command, int reply)
{
	const struct row *row = row_of(command, reply);
	size_t size = 0;

	for (uint32_t i = 0; row && row->fields[i] != VU_END; i++)
		size += width(row, row->fields[i]);
	assert(size <= VU_FIXED_MAX);
	return size;
}

static int tail_fits(const struct row *row, const struct vu_body *b)
{
	switch ((enum tail)row->tail) {
	case TAIL_NONE:
		return b->tail_size == 0;
	case TAIL_TEXT:
		return b->tail_size == 0 || memchr(b->tail, 0, b->tail_size) ==
						    (const void *)(b->tail + b->tail_size - 1);
	case TAIL_COUNT:
		return b->tail_size == b->v[VU_COUNT];
	case TAIL_SIZE:
		return b->tail_size == b->v[VU_SIZE];
	case TAIL_SIZE_OR_MORE:
		return b->tail_size >= b->v[VU_SIZE];
	case TAIL_ANY:
		return 1;
	}
	return 0;
}

static const char *tail_name(const struct row *row)
{
	switch ((enum tail)row->tail) {
	case TAIL_TEXT:
		return "version data";
	case TAIL_COUNT:
		return "count";
	case TAIL_SIZE:
	case TAIL_SIZE_OR_MORE:
		return "size";
	case TAIL_NONE:
	case TAIL_ANY:
		break;
	}
	return "length";
}

static int argsz_fits(const struct row *row, const struct vu_body *b, size_t fixed)
{
	uint64_t argsz = b->v[VU_ARGSZ];

	switch ((enum argsz)row->argsz) {
	case ARGSZ_NONE:
		return 1;
	case ARGSZ_FIXED:
		return argsz >= fixed;
	case ARGSZ_TAIL:
		return argsz >= fixed + b->tail_size;
	case ARGSZ_SIZE:
		return argsz >= fixed + b->v[VU_SIZE];
	}
	return 0;
}

int vu_body_decode(uint32_t command, int reply, const uint8_t *bytes, size_t size,
		   struct vu_body *ret_body, const char **ret_field)
{
	const struct row *row = row_of(command, reply);
	struct vu_body b = { .tail = NULL };
	size_t at = 0;

	*ret_field = "command";
	if (!row)
		return -ENOTSUP;
	for (uint32_t i = 0; row->fields[i] != VU_END; i++) {
		uint8_t field = row->fields[i];
		size_t n = width(row, field);

		*ret_field = field_names[field];
		if (size - at < n)
			return -EINVAL;
		b.v[field] = n == 2   ? get16(bytes + at)
			     : n == 4 ? vu_get32(bytes + at)
				      : vu_get64(bytes + at);
		at += n;
	}
	b.tail = size > at ? bytes + at : NULL;
	b.tail_size = size - at;
	*ret_field = tail_name(row);
	if (!tail_fits(row, &b))
		return -EINVAL;
	*ret_field = field_names[VU_ARGSZ];
	if (!argsz_fits(row, &b, at))
		return -EINVAL;
	*ret_field = NULL;
	*ret_body = b;
	return 0;
}

size_t vu_body_encode(uint32_t command, int reply, const struct vu_body *body,
		      uint8_t ret_bytes[VU_FIXED_MAX])
{
	const struct row *row = row_of(command, reply);
	size_t at = 0;

	assert(row);
	for (uint32_t i = 0; row->fields[i] != VU_END; i++) {
		uint64_t v = body->v[row->fields[i]];
		size_t n = width(row, row->fields[i]);

		assert(at + n <= VU_FIXED_MAX);
		if (n == 2)
			put16(ret_bytes + at, (uint16_t)v);
		else if (n == 4)
			vu_put32(ret_bytes + at, (uint32_t)v);
		else
			vu_put64(ret_bytes + at, v);
		at += n;
	}
	return at;
}

/* ---- capabilities of a region --------------------------------------------------------------- */

static void put_cap(uint8_t *to, uint16_t id, uint32_t next)
{
	put16(to, id);
	put16(to + 2, 1); /* version */
	vu_put32(to + 4, next);
}

size_t vu_caps_encode(const struct vu_region_caps *caps, uint8_t ret_bytes[VU_CAPS_BYTES_MAX])
{
	size_t n = 0;

	assert(caps->area_count <= VU_AREAS_MAX);
	memset(ret_bytes, 0, VU_CAPS_BYTES_MAX);
	if (caps->sparse) {
		n = CAP_HEADER_BYTES + 8 + 16 * (size_t)caps->area_count;
		put_cap(ret_bytes, VU_CAP_SPARSE_MMAP,
			caps->msix_mappable ? (uint32_t)(REGION_INFO_BYTES + n) : 0);
		vu_put32(ret_bytes + CAP_HEADER_BYTES, caps->area_count);
		for (uint32_t i = 0; i < caps->area_count; i++) {
			vu_put64(ret_bytes + 16 + 16 * i, caps->areas[i].offset);
			vu_put64(ret_bytes + 24 + 16 * i, caps->areas[i].size);
		}
	}
	if (caps->msix_mappable) {
		put_cap(ret_bytes + n, VU_CAP_MSIX_MAPPABLE, 0);
		n += CAP_HEADER_BYTES;
	}
	return n;
}

static int sparse_decode(const uint8_t *cap, size_t left, struct vu_region_caps *caps,
			 const char **ret_field)
{
	uint32_t count;

	*ret_field = "nr_areas";
	if (left < CAP_HEADER_BYTES + 8)
		return -EPROTO;
	count = vu_get32(cap + CAP_HEADER_BYTES);
	if (count > (left - CAP_HEADER_BYTES - 8) / 16)
		return -EPROTO;
	caps->sparse = 1;
	caps->area_count = 0; /* the last list counts, if a peer sends two */
	for (uint32_t i = 0; i < count && i < VU_AREAS_MAX; i++) {
		caps->areas[i].offset = vu_get64(cap + 16 + 16 * (size_t)i);
		caps->areas[i].size = vu_get64(cap + 24 + 16 * (size_t)i);
		caps->area_count++;
	}
	return 0;
}

int vu_caps_decode(const struct vu_body *body, struct vu_region_caps *ret_caps,
		   const char **ret_field)
{
	struct vu_region_caps caps = { 0 };
	uint64_t at = body->v[VU_CAP_OFFSET];

	*ret_field = "cap_offset";
	for (uint32_t i = 0; at != 0; i++) {
		const uint8_t *cap;
		size_t left;
		uint16_t id;

		if (i == CAPS_MAX || at < REGION_INFO_BYTES ||
		    at - REGION_INFO_BYTES > body->tail_size ||
		    body->tail_size - (at - REGION_INFO_BYTES) < CAP_HEADER_BYTES)
			return -EPROTO;
		cap = body->tail + (at - REGION_INFO_BYTES);
		left = body->tail_size - (size_t)(at - REGION_INFO_BYTES);
		id = get16(cap);
		if (id == VU_CAP_SPARSE_MMAP && sparse_decode(cap, left, &caps, ret_field) < 0)
			return -EPROTO;
		if (id == VU_CAP_MSIX_MAPPABLE)
			caps.msix_mappable = 1;
		at = vu_get32(cap + 4);
		*ret_field = "next";
	}
	*ret_field = NULL;
	*ret_caps = caps;
	return 0;
}
