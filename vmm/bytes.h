/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing and reading the VMM's own layouts (sections, descriptions, devices' configuration):
 * little-endian, packed, bounded. Both sides are x86-64, so values are copied as they are. A writer
 * that ran over and a reader that ran out remember it: ask once, at the end. What a reader gives
 * after its end is zero.
 */
#ifndef VMM_BYTES_H
#define VMM_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct writer {
	uint8_t *data;
	uint32_t capacity, used;
	bool overflow;
};

struct reader {
	const uint8_t *data;
	uint32_t length, used;
	bool bad;
};

static inline struct writer writer_of(void *data, uint32_t capacity)
{
	return (struct writer){ .data = data, .capacity = capacity };
}

static inline struct reader reader_of(const void *data, uint32_t length)
{
	return (struct reader){ .data = data, .length = length };
}

/* length bytes to fill in; NULL if there is no room. */
static inline void *put_space(struct writer *writer, uint32_t length)
{
	void *space;

	if (writer->overflow || length > writer->capacity - writer->used) {
		writer->overflow = true;
		return NULL;
	}
	space = writer->data + writer->used;
	writer->used += length;
	return space;
}

static inline void put(struct writer *writer, const void *data, uint32_t length)
{
	void *space = put_space(writer, length);

	if (space != NULL && length != 0)
		memcpy(space, data, length);
}

static inline void put_u32(struct writer *writer, uint32_t value)
{
	put(writer, &value, sizeof(value));
}

static inline void put_u64(struct writer *writer, uint64_t value)
{
	put(writer, &value, sizeof(value));
}

/* length bytes in place, valid as long as what is read; NULL if there are fewer. */
static inline const void *take_space(struct reader *reader, uint32_t length)
{
	const void *space;

	if (reader->bad || length > reader->length - reader->used) {
		reader->bad = true;
		return NULL;
	}
	space = reader->data + reader->used;
	reader->used += length;
	return space;
}

static inline void take(struct reader *reader, void *data, uint32_t length)
{
	const void *space = take_space(reader, length);

	if (space != NULL && length != 0)
		memcpy(data, space, length);
	else
		memset(data, 0, length);
}

static inline uint32_t take_u32(struct reader *reader)
{
	uint32_t value;

	take(reader, &value, sizeof(value));
	return value;
}

static inline uint64_t take_u64(struct reader *reader)
{
	uint64_t value;

	take(reader, &value, sizeof(value));
	return value;
}

/* Everything was there, and nothing is left over. */
static inline bool reader_complete(const struct reader *reader)
{
	return !reader->bad && reader->used == reader->length;
}

#endif
