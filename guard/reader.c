/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard/reader.h"

#include <assert.h>
#include <string.h>

/*
 * Under ASan, what was not asked for may not be looked at: the window would hide a decoder that
 * reads on behind what it has checked to be there.
 */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(WITH_ASAN)
#include <sanitizer/asan_interface.h>
static void show(struct reader *reader, size_t n)
{
	size_t to = reader->at + n;

	if (to > reader->shown)
		ASAN_UNPOISON_MEMORY_REGION(reader->window + reader->shown, to - reader->shown);
	else
		ASAN_POISON_MEMORY_REGION(reader->window + to, reader->shown - to);
	reader->shown = to;
}
static void show_all(struct reader *reader)
{
	ASAN_UNPOISON_MEMORY_REGION(reader->window, sizeof(reader->window));
	reader->shown = sizeof(reader->window);
}
#else
static void show(struct reader *reader, size_t n)
{
	(void)reader;
	(void)n;
}
static void show_all(struct reader *reader)
{
	(void)reader;
}
#endif

void reader_init(struct reader *reader, const struct reader_source *source)
{
	reader->source = *source;
	reader->offset = 0;
	reader->limit = UINT64_MAX;
	reader->failed = 0;
	reader->ended = false;
	reader->at = reader->end = 0;
	show_all(reader);
}

/* How many bytes of the window may be seen. */
static size_t visible(const struct reader *reader)
{
	size_t ready = reader->end - reader->at;
	uint64_t room = reader->limit - reader->offset;

	return ready < room ? ready : (size_t)room;
}

static void fill(struct reader *reader)
{
	ssize_t got;

	show_all(reader);
	if (reader->at > 0) {
		memmove(reader->window, reader->window + reader->at, reader->end - reader->at);
		reader->end -= reader->at;
		reader->at = 0;
	}
	got = reader->source.fill(reader->source.self, reader->window + reader->end,
				  READER_WINDOW - reader->end);
	assert(got <= (ssize_t)(READER_WINDOW - reader->end));
	if (got <= 0) {
		reader->ended = true;
		reader->failed = (int)got;
		return;
	}
	reader->end += (size_t)got;
}

size_t reader_peek(struct reader *reader, size_t n, const uint8_t **ret_bytes)
{
	uint64_t room = reader->limit - reader->offset;
	size_t ready;

	assert(n <= READER_WINDOW);
	if (n > room)
		n = (size_t)room;
	while (reader->end - reader->at < n && !reader->ended)
		fill(reader);
	*ret_bytes = reader->window + reader->at;
	ready = visible(reader);
	if (ready > n)
		ready = n;
	show(reader, ready);
	return ready;
}

size_t reader_ready(struct reader *reader, const uint8_t **ret_bytes)
{
	size_t ready;

	(void)reader_peek(reader, 1, ret_bytes);
	ready = visible(reader);
	show(reader, ready);
	return ready;
}

void reader_take(struct reader *reader, size_t n)
{
	assert(n <= visible(reader));
	reader->at += n;
	reader->offset += n;
}

uint64_t reader_skip(struct reader *reader, uint64_t n)
{
	uint64_t left = n;

	while (left > 0) {
		const uint8_t *bytes;
		size_t ready = visible(reader);
		int64_t passed = 0;

		if (ready == 0 && reader->end == reader->at && reader->source.skip &&
		    !reader->ended && left <= reader->limit - reader->offset && left > 1) {
			passed = reader->source.skip(reader->source.self, left - 1);
			if (passed > 0) { /* the last byte is read: is it there? */
				reader->offset += (uint64_t)passed;
				left -= (uint64_t)passed;
				continue;
			}
		}
		if (ready == 0)
			ready = reader_ready(reader, &bytes);
		if (ready == 0)
			break;
		if (ready > left)
			ready = (size_t)left;
		reader_take(reader, ready);
		left -= ready;
	}
	return n - left;
}
