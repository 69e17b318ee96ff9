/* SPDX-License-Identifier: BSD-3-Clause */
#include "guard/link-frame.h"

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <holdfast/error.h>

#include "guard/link.h"

static const char magic[8] = { 'H', 'F', 'G', 'U', 'A', 'R', 'D', '\n' };

/* Octets behind the head; for DATA: without the payload. */
static const struct {
	const char *name;
	uint32_t length;
} types[LINK_FRAME_TYPES] = {
	[LINK_FRAME_HELLO] = { "HELLO", 64 }, [LINK_FRAME_WELCOME] = { "WELCOME", 48 },
	[LINK_FRAME_OVER] = { "OVER", 128 },  [LINK_FRAME_READY] = { "READY", 0 },
	[LINK_FRAME_OPEN] = { "OPEN", 8 },    [LINK_FRAME_DATA] = { "DATA", 16 },
	[LINK_FRAME_FIN] = { "FIN", 24 },     [LINK_FRAME_STATE] = { "STATE", 32 },
	[LINK_FRAME_BEAT] = { "BEAT", 0 },
};

const char *link_frame_name(uint32_t type)
{
	return type < LINK_FRAME_TYPES && types[type].name ? types[type].name : "?";
}

/* ---- numbers ------------------------------------------------------------------------------- */

static void put(uint8_t **at, uint64_t value, unsigned int octets)
{
	for (unsigned int i = 0; i < octets; i++)
		*(*at)++ = (uint8_t)(value >> (8 * i));
}

static void put_bytes(uint8_t **at, const void *bytes, size_t size)
{
	memcpy(*at, bytes, size);
	*at += size;
}

static uint64_t take(const uint8_t **at, unsigned int octets)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < octets; i++)
		value |= (uint64_t) * (*at)++ << (8 * i);
	return value;
}

static uint32_t take32(const uint8_t **at)
{
	return (uint32_t)take(at, 4);
}

static void take_bytes(const uint8_t **at, void *to, size_t size)
{
	memcpy(to, *at, size);
	*at += size;
}

/* ---- texts --------------------------------------------------------------------------------- */

static void put_text(uint8_t **at, const char text[LINK_TEXT_MAX])
{
	uint8_t *to = *at;

	memset(to, 0, LINK_TEXT_MAX);
	for (size_t i = 0; i < LINK_TEXT_MAX - 1 && text[i]; i++)
		to[i] = text[i] >= ' ' && text[i] <= '~' ? (uint8_t)text[i] : '?';
	*at += LINK_TEXT_MAX;
}

static bool is_text(const char text[LINK_TEXT_MAX])
{
	size_t i = 0;

	while (i < LINK_TEXT_MAX && text[i] >= ' ' && text[i] <= '~')
		i++;
	if (i == LINK_TEXT_MAX)
		return false;
	while (i < LINK_TEXT_MAX && !text[i])
		i++;
	return i == LINK_TEXT_MAX;
}

/* ---- encode -------------------------------------------------------------------------------- */

static void put_greeting(uint8_t **at, const struct link_frame *frame)
{
	put_bytes(at, magic, sizeof(magic));
	put(at, LINK_VERSION, 4);
	put(at, frame->silence_ms, 4);
	put(at, frame->connection, 4);
	put(at, frame->attempt, 4);
	put(at, frame->window, 4);
	put(at, frame->connections, 4); /* WELCOME: 0 */
	if (frame->type == LINK_FRAME_HELLO)
		put_bytes(at, frame->source, LINK_SECRET);
	put_bytes(at, frame->token, LINK_SECRET);
}

static void put_stream(uint8_t **at, const struct link_frame *frame)
{
	put(at, frame->kind, 4);
	put(at, frame->index, 4);
	if (frame->type == LINK_FRAME_OPEN)
		return;
	put(at, frame->offset, 8);
	if (frame->type == LINK_FRAME_DATA)
		return;
	if (frame->type == LINK_FRAME_STATE)
		put(at, frame->written, 8);
	put(at, frame->flags, 4);
	put(at, 0, 4);
}

size_t link_frame_encode(const struct link_frame *frame, uint8_t out[LINK_FRAME_MAX])
{
	uint8_t *at = out;

	assert(frame->type > 0 && frame->type < LINK_FRAME_TYPES);
	put(&at, frame->type, 4);
	put(&at, types[frame->type].length + frame->payload, 4);
	if (frame->type <= LINK_FRAME_WELCOME) {
		put_greeting(&at, frame);
	} else if (frame->type == LINK_FRAME_OVER) {
		put(&at, (uint32_t)frame->code, 4);
		put(&at, 0, 4);
		put_text(&at, frame->text);
	} else if (types[frame->type].length) {
		put_stream(&at, frame);
	}
	assert(at == out + LINK_HEAD + types[frame->type].length);
	return (size_t)(at - out);
}

/* ---- decode -------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int refuse(char why[LINK_WHY_MAX], int code,
							const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(why, LINK_WHY_MAX, format, args);
	va_end(args);
	return code;
}

static int take_greeting(const uint8_t **at, struct link_frame *ret, char why[LINK_WHY_MAX])
{
	bool hello = ret->type == LINK_FRAME_HELLO;

	*at += sizeof(magic) + 4; /* magic and version: seen before */
	ret->silence_ms = take32(at);
	ret->connection = take32(at);
	ret->attempt = take32(at);
	ret->window = take32(at);
	ret->connections = take32(at);
	if (hello)
		take_bytes(at, ret->source, LINK_SECRET);
	take_bytes(at, ret->token, LINK_SECRET);
	if (ret->silence_ms < LINK_SILENCE_MS_MIN || ret->silence_ms > LINK_SILENCE_MS_MAX)
		return refuse(why, HF_E_PROTOCOL, "a silence of %u ms", ret->silence_ms);
	if (ret->window < LINK_WINDOW_MIN || ret->window > LINK_WINDOW_MAX)
		return refuse(why, HF_E_PROTOCOL, "a window of %u octets", ret->window);
	if (hello ? ret->connections < 1 || ret->connections > LINK_CONNECTIONS_MAX
		  : ret->connections != 0)
		return refuse(why, HF_E_PROTOCOL, "%u connections", ret->connections);
	if (ret->connection >= (hello ? ret->connections : LINK_CONNECTIONS_MAX))
		return refuse(why, HF_E_PROTOCOL, "connection number %u", ret->connection);
	return 0;
}

static int take_over(const uint8_t **at, struct link_frame *ret, char why[LINK_WHY_MAX])
{
	ret->code = (int32_t)take32(at);
	if (take32(at))
		return refuse(why, HF_E_PROTOCOL, "reserved octets are not zero");
	take_bytes(at, ret->text, LINK_TEXT_MAX);
	if (ret->code >= 0 || !is_text(ret->text))
		return refuse(why, HF_E_PROTOCOL, "code %d, or no text", ret->code);
	return 0;
}

static int take_stream(const uint8_t **at, struct link_frame *ret, char why[LINK_WHY_MAX])
{
	ret->kind = take32(at);
	ret->index = take32(at);
	if (ret->kind != LINK_SESSION && ret->kind != LINK_QEMU)
		return refuse(why, HF_E_PROTOCOL, "a stream of kind %u", ret->kind);
	if (ret->index >= LINK_STREAMS_MAX)
		return refuse(why, HF_E_PROTOCOL, "stream number %u", ret->index);
	if (ret->type == LINK_FRAME_OPEN)
		return 0;
	ret->offset = take(at, 8);
	if (ret->offset > LINK_OFFSET_MAX)
		return refuse(why, HF_E_PROTOCOL, "offset %#llx", (unsigned long long)ret->offset);
	if (ret->type == LINK_FRAME_DATA)
		return 0;
	if (ret->type == LINK_FRAME_STATE)
		ret->written = take(at, 8);
	if (ret->written > ret->offset)
		return refuse(why, HF_E_PROTOCOL, "more written than received");
	ret->flags = take32(at);
	if (ret->flags > 1)
		return refuse(why, HF_E_PROTOCOL, "flags %#x", ret->flags);
	if (take32(at))
		return refuse(why, HF_E_PROTOCOL, "reserved octets are not zero");
	return 0;
}

static int take_body(const uint8_t **at, struct link_frame *ret, char why[LINK_WHY_MAX])
{
	if (ret->type <= LINK_FRAME_WELCOME)
		return take_greeting(at, ret, why);
	if (ret->type == LINK_FRAME_OVER)
		return take_over(at, ret, why);
	return types[ret->type].length ? take_stream(at, ret, why) : 0;
}

/* What never changes from version to version: head, magic, version. */
static int check_greeting(const uint8_t *bytes, size_t size, char why[LINK_WHY_MAX])
{
	const uint8_t *at = bytes + LINK_HEAD + sizeof(magic);
	uint32_t version;

	if (size < LINK_HEAD + sizeof(magic) + 4)
		return 0;
	if (memcmp(bytes + LINK_HEAD, magic, sizeof(magic)) != 0)
		return refuse(why, HF_E_PROTOCOL, "not the greeting of a guard");
	version = take32(&at);
	if (version != LINK_VERSION)
		return refuse(why, HF_E_VERSION, "version %u of the link, here it is %u", version,
			      LINK_VERSION);
	return 1;
}

static int check_length(uint32_t type, uint32_t length, char why[LINK_WHY_MAX])
{
	uint32_t fixed = types[type].length;

	if (type == LINK_FRAME_DATA ? length <= fixed || length > fixed + LINK_DATA_MAX
				    : length != fixed)
		return refuse(why, HF_E_PROTOCOL, "a length of %u", length);
	return 0;
}

/* Prepends what it is about; whatever does not fit is cut. */
static int named(uint32_t type, int code, char why[LINK_WHY_MAX])
{
	char text[LINK_WHY_MAX];

	(void)snprintf(text, sizeof(text), "frame %s: %.100s", link_frame_name(type), why);
	memcpy(why, text, sizeof(text));
	return code;
}

int link_frame_decode(const uint8_t *bytes, size_t size, struct link_frame *ret,
		      char why[LINK_WHY_MAX])
{
	struct link_frame frame = { 0 };
	const uint8_t *at = bytes;
	uint32_t length;
	int r;

	if (size < LINK_HEAD)
		return 0;
	frame.type = take32(&at);
	length = take32(&at);
	if (frame.type == 0 || frame.type >= LINK_FRAME_TYPES)
		return refuse(why, HF_E_PROTOCOL, "a frame of the unknown type %u", frame.type);
	if (frame.type <= LINK_FRAME_WELCOME) {
		r = check_greeting(bytes, size, why);
		if (r <= 0)
			return r < 0 ? named(frame.type, r, why) : 0;
	}
	r = check_length(frame.type, length, why);
	if (r < 0)
		return named(frame.type, r, why);
	if (size < LINK_HEAD + types[frame.type].length)
		return 0;
	frame.payload = length - types[frame.type].length;
	r = take_body(&at, &frame, why);
	if (r < 0)
		return named(frame.type, r, why);
	*ret = frame;
	return (int)(LINK_HEAD + types[frame.type].length);
}
