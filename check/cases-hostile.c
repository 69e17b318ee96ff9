/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checks of loading streams that are not good: each has to fail, in a write or at RESUMING -> STOP,
 * and a reset has to mend it. (c->whole is the good stream, c->damaged what is made of it.)
 */
#include <string.h>

#include "check/run.h"

#define LARGE (1u << 20)
#define HEADER_BITS 64u
#define BODY_BITS 48u
#define PIECE_MAX 4096u
#define ENDLESS_MAX (64u << 20)

/* A good stream, and a copy to damage. */
static bool copy(struct check *c)
{
	if (!c->whole.size && !check_sample(c, &c->whole))
		return false;
	if (c->whole.size < 16)
		return check_skip(c, "its stream of %zu bytes is too short", c->whole.size);
	c->damaged.size = 0;
	return check_put(&c->damaged, c->whole.data, c->whole.size) ||
	       check_skip(c, "too little memory");
}

void check_hostile_truncated(struct check *c)
{
	if (!copy(c))
		return;
	for (uint32_t i = 0; i < 6; i++) {
		const size_t n = c->whole.size;
		const size_t ends[] = { n - 1, 1, n / 2, n - n / 4, 15, n - 8 };
		char what[64];

		c->damaged.size = ends[i];
		(void)snprintf(what, sizeof(what), "ends after %zu of %zu bytes", ends[i], n);
		if (!check_load_refused(c, &c->damaged, what))
			return;
	}
}

void check_hostile_appended(struct check *c)
{
	static const uint8_t byte[1] = { 0 };

	if (copy(c) && check_put(&c->damaged, byte, 1))
		(void)check_load_refused(c, &c->damaged, "has one byte more");
}

void check_hostile_doubled(struct check *c)
{
	if (copy(c) && check_put(&c->damaged, c->whole.data, c->whole.size))
		(void)check_load_refused(c, &c->damaged, "comes twice");
}

static bool flipped(struct check *c, size_t bit)
{
	char what[64];
	bool good;

	(void)snprintf(what, sizeof(what), "has bit %zu of byte %zu wrong", bit % 8, bit / 8);
	c->damaged.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	good = check_load_refused(c, &c->damaged, what);
	c->damaged.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	return good;
}

void check_hostile_header(struct check *c)
{
	if (!copy(c))
		return;
	for (size_t bit = 0; bit < HEADER_BITS; bit++)
		if (!flipped(c, bit))
			return;
}

void check_hostile_body(struct check *c)
{
	if (!copy(c))
		return;
	if (c->whole.size * 8 <= HEADER_BITS) {
		(void)check_skip(c, "its stream has nothing behind its first 8 bytes");
		return;
	}
	for (uint32_t i = 0; i < BODY_BITS; i++)
		if (!flipped(c, HEADER_BITS + (size_t)(check_random(c) %
						       (c->whole.size * 8 - HEADER_BITS))))
			return;
}

/* Pieces of the middle that differ, so that to move one changes something. */
static bool pieces(struct check *c, size_t *ret_first, size_t *ret_size)
{
	size_t size = c->whole.size / 4 < PIECE_MAX ? c->whole.size / 4 : PIECE_MAX;
	size_t first = c->whole.size / 4;

	if (memcmp(c->whole.data + first, c->whole.data + first + size, size) == 0)
		return check_skip(c, "the parts of its stream are all the same");
	*ret_first = first;
	*ret_size = size;
	return true;
}

void check_hostile_swapped(struct check *c)
{
	size_t first = 0, size = 0;

	if (!copy(c) || !pieces(c, &first, &size))
		return;
	memcpy(c->damaged.data + first, c->whole.data + first + size, size);
	memcpy(c->damaged.data + first + size, c->whole.data + first, size);
	(void)check_load_refused(c, &c->damaged, "has two of its parts exchanged");
}

void check_hostile_omitted(struct check *c)
{
	size_t first = 0, size = 0;

	if (!copy(c) || !pieces(c, &first, &size))
		return;
	memmove(c->damaged.data + first, c->damaged.data + first + size,
		c->damaged.size - first - size);
	c->damaged.size -= size;
	(void)check_load_refused(c, &c->damaged, "has a part missing");
}

void check_hostile_repeated(struct check *c)
{
	size_t first = 0, size = 0;

	if (!copy(c) || !pieces(c, &first, &size))
		return;
	c->damaged.size = first + size;
	if (check_put(&c->damaged, c->whole.data + first, c->whole.size - first))
		(void)check_load_refused(c, &c->damaged, "has a part twice");
}

static void all_bytes(struct check *c, uint8_t byte, const char *what)
{
	if (!copy(c))
		return;
	memset(c->damaged.data, byte, c->damaged.size);
	(void)check_load_refused(c, &c->damaged, what);
}

void check_hostile_zeros(struct check *c)
{
	all_bytes(c, 0, "is all zeros");
}

void check_hostile_ones(struct check *c)
{
	all_bytes(c, 0xff, "is all ones");
}

void check_hostile_random(struct check *c)
{
	for (uint32_t i = 0; i < 4; i++) {
		if (!copy(c))
			return;
		for (size_t at = 0; at < c->damaged.size; at++)
			c->damaged.data[at] = (uint8_t)check_random(c);
		if (!check_load_refused(c, &c->damaged, "is random"))
			return;
	}
}

void check_hostile_latch(struct check *c)
{
	int r;

	if (!copy(c))
		return;
	for (size_t i = 0; i < 8; i++)
		c->damaged.data[i] ^= 0xff;
	if (!check_go(c, HF_DEVICE_RESUMING))
		return;
	r = check_write(c, &c->damaged, LARGE);
	if (r == 0) {
		(void)check_skip(c, "no write of a stream that begins wrong fails");
		return;
	}
	/* As a program does that does not look at what write returns. */
	(void)check_write(c, &c->whole, LARGE);
	if (check_set(c, HF_DEVICE_STOP) == 0)
		(void)check_fail(c, "a write gave %s; writing on, and the load succeeded",
				 check_errno(r));
	else
		(void)check_reset(c);
}

void check_hostile_huge(struct check *c)
{
	size_t more = 0;
	int r;

	if (!copy(c) || !check_go(c, HF_DEVICE_RESUMING))
		return;
	r = check_write(c, &c->whole, LARGE);
	memset(c->damaged.data, 0, c->damaged.size);
	while (r == 0 && more < ENDLESS_MAX) {
		r = check_write(c, &c->damaged, LARGE);
		more += c->damaged.size;
	}
	if (r == 0)
		(void)check_fail(c, "%zu bytes more than its stream has were taken", more);
	else
		(void)check_reset(c);
}
