/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The text of a record: encode and decode side by side. Control characters and backslashes in texts
 * become \xHH, so that a reason with a line break cannot make a line of its own.
 */
#include "backend/ledger/record.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define VERSION 1u

static const char *const state_names[] = {
	[HF_LEDGER_HOME] = "home",
	[HF_LEDGER_OFFERED] = "offered",
	[HF_LEDGER_CLAIMED] = "claimed",
	[HF_LEDGER_AWAY] = "away",
};

#define STATE_COUNT (sizeof(state_names) / sizeof(state_names[0]))

/* ---- encode ---------------------------------------------------------------------------------- */

struct writer {
	char *text;
	size_t used;
};

static void put(struct writer *writer, const char *bytes, size_t size)
{
	assert(size <= RECORD_TEXT_MAX - writer->used); /* the sum of the limits is below it */
	memcpy(writer->text + writer->used, bytes, size);
	writer->used += size;
}

static void put_text(struct writer *writer, const char *key, const char *value)
{
	static const char digits[] = "0123456789abcdef";

	put(writer, key, strlen(key));
	put(writer, ": ", 2);
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;
		char escaped[4] = { '\\', 'x', digits[c >> 4], digits[c & 15] };

		if (c < 0x20 || c == 0x7f || c == '\\')
			put(writer, escaped, sizeof(escaped));
		else
			put(writer, value, 1);
	}
	put(writer, "\n", 1);
}

static void put_u64(struct writer *writer, const char *key, uint64_t value)
{
	char number[24];

	(void)snprintf(number, sizeof(number), "%" PRIu64, value);
	put_text(writer, key, number);
}

static void put_checksum(struct writer *writer)
{
	char sum[20];

	(void)snprintf(sum, sizeof(sum), "%016" PRIx64,
		       (uint64_t)XXH64(writer->text, writer->used, 0));
	put_text(writer, "checksum", sum);
}

size_t record_encode(const struct hf_ledger_record *record, char ret_text[RECORD_TEXT_MAX])
{
	struct writer writer = { .text = ret_text };
	char code[16];

	assert(record->state > 0 && record->state < STATE_COUNT);
	put_u64(&writer, "holdfast-ledger", VERSION);
	put_text(&writer, "guest", record->guest);
	put_u64(&writer, "revision", record->revision);
	put_u64(&writer, "epoch", record->epoch);
	put_text(&writer, "state", state_names[record->state]);
	put_text(&writer, "owner", record->owner);
	put_text(&writer, "offered-to", record->offered_to);
	put_text(&writer, "attempt", record->attempt);
	(void)snprintf(code, sizeof(code), "%" PRId32, record->reason_code);
	put_text(&writer, "reason-code", code);
	put_text(&writer, "reason", record->reason);
	put_checksum(&writer);
	return writer.used;
}

/* ---- decode ---------------------------------------------------------------------------------- */

/* why is set by the first failure; after it nothing more is read. */
struct reader {
	const char *text, *end;
	unsigned int line; /* the one being read */
	const char *why;
};

static void bad(struct reader *reader, const char *why)
{
	if (!reader->why)
		reader->why = why;
}

/* The value of the next line, not terminated; its key must be this one. */
static const char *get_line(struct reader *reader, const char *key, size_t *ret_length)
{
	size_t key_length = strlen(key), length;
	const char *line = reader->text, *end;

	*ret_length = 0;
	if (reader->why)
		return line;
	reader->line++;
	end = memchr(line, '\n', (size_t)(reader->end - line));
	if (!end) {
		bad(reader, "the record ends here, incomplete");
		return line;
	}
	length = (size_t)(end - line);
	if (length < key_length + 2 || memcmp(line, key, key_length) != 0 ||
	    memcmp(line + key_length, ": ", 2) != 0) {
		bad(reader, "another key was expected");
		return line;
	}
	reader->text = end + 1;
	*ret_length = length - key_length - 2;
	return line + key_length + 2;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* The character at *value, which is moved to its last byte. */
static unsigned char get_char(struct reader *reader, const char **value, const char *end)
{
	const char *at = *value;
	int c = (unsigned char)*at, high = -1, low = -1;

	if (c < 0x20 || c == 0x7f)
		bad(reader, "a control character");
	if (c != '\\')
		return (unsigned char)c;
	if (end - at >= 4 && at[1] == 'x') {
		high = hex(at[2]);
		low = hex(at[3]);
	}
	if (high < 0 || low < 0) {
		bad(reader, "a backslash without xHH");
		return 0;
	}
	c = high << 4 | low;
	if (c == 0 || (c >= 0x20 && c != 0x7f && c != '\\'))
		bad(reader, "a character that is not to be escaped");
	*value += 3;
	return (unsigned char)c;
}

/* room includes the NUL; ret was zeroed. */
static void get_text(struct reader *reader, const char *key, char *ret, size_t room)
{
	const char *value, *end;
	size_t length, used = 0;
	unsigned char c;

	value = get_line(reader, key, &length);
	end = value + length;
	for (; value < end && !reader->why; value++) {
		c = get_char(reader, &value, end);
		if (used + 1 >= room)
			bad(reader, "the value is too long");
		else
			ret[used++] = (char)c;
	}
}

static uint64_t get_u64(struct reader *reader, const char *key)
{
	char number[24] = { 0 };
	uint64_t value = 0;

	get_text(reader, key, number, sizeof(number));
	if (reader->why)
		return 0;
	if (!number[0] || (number[0] == '0' && number[1]))
		bad(reader, "not a number");
	for (const char *at = number; *at && !reader->why; at++) {
		if (*at < '0' || *at > '9')
			bad(reader, "not a number");
		else if (__builtin_mul_overflow(value, 10u, &value) ||
			 __builtin_add_overflow(value, (unsigned int)(*at - '0'), &value))
			bad(reader, "the number is too large");
	}
	return value;
}

static int32_t get_i32(struct reader *reader, const char *key)
{
	char number[16] = { 0 }, again[16];
	long value;

	get_text(reader, key, number, sizeof(number));
	if (reader->why)
		return 0;
	errno = 0;
	value = strtol(number, NULL, 10);
	if (errno || value < INT32_MIN || value > INT32_MAX) {
		bad(reader, "the number is too large");
		return 0;
	}
	(void)snprintf(again, sizeof(again), "%ld", value);
	if (strcmp(number, again) != 0)
		bad(reader, "not a number");
	return (int32_t)value;
}

static uint32_t get_state(struct reader *reader)
{
	char name[16] = { 0 };

	get_text(reader, "state", name, sizeof(name));
	for (uint32_t i = 1; i < STATE_COUNT && !reader->why; i++)
		if (strcmp(name, state_names[i]) == 0)
			return i;
	bad(reader, "no state of that name");
	return 0;
}

static void get_checksum(struct reader *reader, const char *begin)
{
	uint64_t expected = XXH64(begin, (size_t)(reader->text - begin), 0);
	char sum[20] = { 0 }, right[20];

	get_text(reader, "checksum", sum, sizeof(sum));
	(void)snprintf(right, sizeof(right), "%016" PRIx64, expected);
	if (!reader->why && strcmp(sum, right) != 0)
		bad(reader, "the checksum does not match the lines above");
	if (!reader->why && reader->text != reader->end) {
		reader->line++;
		bad(reader, "something stands behind the end");
	}
}

unsigned int record_decode(const char *text, size_t length, struct hf_ledger_record *ret_record,
			   const char **ret_why)
{
	struct reader reader = { .text = text, .end = text + length };
	struct hf_ledger_record record;

	memset(&record, 0, sizeof(record));
	if (get_u64(&reader, "holdfast-ledger") != VERSION)
		bad(&reader, "a version that is not known here");
	get_text(&reader, "guest", record.guest, sizeof(record.guest));
	record.revision = get_u64(&reader, "revision");
	record.epoch = get_u64(&reader, "epoch");
	record.state = get_state(&reader);
	get_text(&reader, "owner", record.owner, sizeof(record.owner));
	get_text(&reader, "offered-to", record.offered_to, sizeof(record.offered_to));
	get_text(&reader, "attempt", record.attempt, sizeof(record.attempt));
	record.reason_code = get_i32(&reader, "reason-code");
	get_text(&reader, "reason", record.reason, sizeof(record.reason));
	get_checksum(&reader, text);
	if (reader.why) {
		*ret_why = reader.why;
		return reader.line;
	}
	*ret_record = record;
	return 0;
}
