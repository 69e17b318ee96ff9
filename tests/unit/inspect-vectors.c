/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The decoders of QEMU's streams against vectors that were made without them: what they say, octet
 * by octet as well; what they say of a stream that is cut at any octet, or has a bit flipped; and
 * where they point when a byte makes no sense.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "guard/print.h"
#include "wire-files.h"

#define NAMES_MAX 64
#define CUTS 1500u /* of a long vector, so many are tried */
#define FLIPS 3000u

static char names[NAMES_MAX][64];
static unsigned int name_count;

struct memory {
	const uint8_t *bytes;
	size_t left, chunk;
};

static ssize_t fill(void *self, void *to, size_t n)
{
	struct memory *memory = self;

	if (n > memory->left)
		n = memory->left;
	if (n > memory->chunk)
		n = memory->chunk;
	memcpy(to, memory->bytes, n);
	memory->bytes += n;
	memory->left -= n;
	return (ssize_t)n;
}

static int64_t pass_over(void *self, uint64_t n)
{
	struct memory *memory = self;

	if (n > memory->left)
		n = memory->left;
	memory->bytes += n;
	memory->left -= n;
	return (int64_t)n;
}

static enum inspect_kind kind_of(const char *name)
{
	static const enum inspect_kind kinds[] = { INSPECT_RECOVERY, INSPECT_RETURN,
						   INSPECT_PREEMPT };

	for (unsigned int i = 0; i < 3; i++)
		if (strncmp(name, inspect_kind_name(kinds[i]),
			    strlen(inspect_kind_name(kinds[i]))) == 0)
			return kinds[i];
	return INSPECT_AUTO;
}

static void nobody(void *self, const struct inspect_item *item)
{
	(void)self;
	assert_non_null(item->what);
}

/*
 * Decodes so many octets at a time; if they are not all, some can be skipped, too, as in a file.
 * What is printed goes to `to`, or nowhere.
 */
static struct inspect_result run(enum inspect_kind kind, const uint8_t *bytes, size_t n,
				 size_t chunk, FILE *to)
{
	static struct reader reader;
	const struct inspect_options options = { .kind = kind, .records = true };
	struct memory memory = { .bytes = bytes, .left = n, .chunk = chunk };
	const struct reader_source source = { .fill = fill,
					      .skip = chunk < SIZE_MAX ? pass_over : NULL,
					      .self = &memory };
	struct print_sink print = { .printer = NULL };
	const struct inspect_sink sink = { .item = to ? print_item : nobody, .self = &print };
	struct inspect_result result;
	struct printer printer;

	printer_init(&printer, to, false, false);
	print.printer = &printer;
	reader_init(&reader, &source);
	inspect_run(&reader, &options, &sink, &result);
	printer_done(&printer);
	return result;
}

static int set_up(void **state)
{
	DIR *dir = opendir(QEMU_VECTORS);
	struct dirent *entry;

	(void)state;
	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		size_t length = strlen(entry->d_name);

		if (length < 5 || length >= sizeof(names[0]) ||
		    strcmp(entry->d_name + length - 4, ".bin") != 0)
			continue;
		assert_in_range(name_count, 0, NAMES_MAX - 1);
		memcpy(names[name_count++], entry->d_name, length + 1);
	}
	(void)closedir(dir);
	return name_count >= 12 ? 0 : -1;
}

static void says(const char *name, size_t chunk)
{
	char text[64], *printed = NULL;
	size_t length, wanted_length, printed_length = 0;
	uint8_t *bytes = file_read(QEMU_VECTORS, name, &length), *wanted;
	FILE *to = open_memstream(&printed, &printed_length);
	struct inspect_result result;

	assert_non_null(to);
	(void)snprintf(text, sizeof(text), "%.*s.txt", (int)strlen(name) - 4, name);
	wanted = file_read(QEMU_VECTORS, text, &wanted_length);
	result = run(kind_of(name), bytes, length, chunk, to);
	assert_int_equal(fclose(to), 0);
	if (printed_length != wanted_length || memcmp(printed, wanted, wanted_length) != 0)
		fail_msg("%s, %zu octets at a time: not as in %s:\n%s", name, chunk, text, printed);
	assert_int_equal(result.verdict, INSPECT_WHOLE);
	free(printed);
	free(wanted);
	free(bytes);
}

static void every_vector_says_what_it_is(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < name_count; i++) {
		says(names[i], SIZE_MAX);
		says(names[i], 1);
		says(names[i], 7);
	}
}

/*
 * A cut stream is too short, at its end; or it may end there. Except that behind what only looks
 * like a footer something has to make sense: one vector has that in a body.
 */
static void cut_anywhere(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < name_count; i++) {
		const enum inspect_kind kind = kind_of(names[i]);
		size_t length, step, early = 0, cuts = 0;
		uint8_t *bytes = file_read(QEMU_VECTORS, names[i], &length);

		step = length / CUTS + 1;
		for (size_t n = 0; n < length; n += step, cuts++) {
			const size_t chunk = n % 2 ? SIZE_MAX : 64;
			struct inspect_result result = run(kind, bytes, n, chunk, NULL);

			early += result.verdict == INSPECT_WHOLE;
			if (result.verdict != INSPECT_WHOLE &&
			    (result.verdict != INSPECT_SHORT || result.offset != n) &&
			    !strstr(result.expected, "follow the footer"))
				fail_msg("%s cut at %zu: verdict %d, offset %llu, expected %s",
					 names[i], n, (int)result.verdict,
					 (unsigned long long)result.offset, result.expected);
		}
		assert_in_range(early, 0, kind == INSPECT_AUTO || kind == INSPECT_RECOVERY ? 3 : 8);
		assert_true(cuts > 10);
		free(bytes);
	}
}

static void bit_flipped_anywhere(void **state)
{
	unsigned int found = 0, harmless = 0;

	(void)state;
	for (unsigned int i = 0; i < name_count; i++) {
		size_t length, step;
		uint8_t *bytes = file_read(QEMU_VECTORS, names[i], &length);

		step = length * 8 / FLIPS + 1;
		for (size_t bit = 0; bit < length * 8; bit += step) {
			struct inspect_result result;

			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			result = run(kind_of(names[i]), bytes, length, SIZE_MAX, NULL);
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			found += result.verdict != INSPECT_WHOLE;
			harmless += result.verdict == INSPECT_WHOLE;
			if (result.verdict == INSPECT_FAILED || result.offset > length)
				fail_msg("%s, bit %zu: verdict %d at %llu", names[i], bit,
					 (int)result.verdict, (unsigned long long)result.offset);
			if (result.verdict > INSPECT_ODD &&
			    (!result.expected[0] || !result.found[0]))
				fail_msg("%s, bit %zu: an error without words", names[i], bit);
		}
		free(bytes);
	}
	assert_true(found > 1000);
	assert_true(harmless > 100); /* pages have any content */
}

/* Holdfast's own, whole and cut at each octet. */
static void our_own_stream(void **state)
{
	static const char *const files[] = { "control.out", "control.in", "bulk-0.out",
					     "bulk-1.out" };

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		size_t length;
		uint8_t *bytes = file_read(OWN_VECTORS, files[i], &length);
		struct inspect_result result = run(INSPECT_AUTO, bytes, length, 5, NULL);

		assert_int_equal(result.verdict, INSPECT_WHOLE);
		assert_int_equal(result.kind, INSPECT_HOLDFAST);
		for (size_t n = 0; n < length; n++) {
			result = run(INSPECT_AUTO, bytes, n, SIZE_MAX, NULL);
			if (result.verdict != INSPECT_WHOLE &&
			    (result.verdict != INSPECT_SHORT || result.offset != n))
				fail_msg("%s cut at %zu: verdict %d", files[i], n,
					 (int)result.verdict);
		}
		free(bytes);
	}
}

/* ---- where it points ----------------------------------------------------------------------- */

/* The first `what` in the stream's own text: "section-full", with `with` in its line. */
static uint64_t place(const char *name, const char *what, const char *with)
{
	char line[512];
	uint64_t offset = UINT64_MAX;
	FILE *file;

	(void)snprintf(line, sizeof(line), "%s/%s.txt", QEMU_VECTORS, name);
	file = fopen(line, "re");
	if (!file)
		fail_msg("%s.txt: cannot be opened", name);
	while (offset == UINT64_MAX && fgets(line, sizeof(line), file))
		if (strstr(line, what) && strstr(line, with))
			offset = strtoull(line, NULL, 16);
	(void)fclose(file); /* it was only read */
	if (offset == UINT64_MAX)
		fail_msg("%s has no %s %s", name, what, with);
	return offset;
}

struct fault {
	const char *vector, *what, *with;
	int at; /* from the start of that item */
	uint8_t octet; /* what is put there */
	int points; /* where the error has to point, from the start of that item */
	const char *expected;
};

static void check_fault(const struct fault *fault)
{
	const uint64_t start = place(fault->vector, fault->what, fault->with);
	const size_t at = (size_t)(start + (uint64_t)fault->at);
	struct inspect_result result;
	char name[64];
	uint8_t *bytes;
	size_t length;

	(void)snprintf(name, sizeof(name), "%s.bin", fault->vector);
	bytes = file_read(QEMU_VECTORS, name, &length);
	assert_in_range(at, 0, length - 1);
	assert_int_not_equal(bytes[at], fault->octet);
	bytes[at] = fault->octet;
	result = run(kind_of(name), bytes, length, SIZE_MAX, NULL);
	if (result.verdict != INSPECT_BROKEN ||
	    result.offset != start + (uint64_t)(int64_t)fault->points ||
	    !strstr(result.expected, fault->expected))
		fail_msg("%s, %s %s, +%d: verdict %d at +%lld: expected %s, found %s",
			 fault->vector, fault->what, fault->with, fault->at, (int)result.verdict,
			 (long long)(result.offset - start), result.expected, result.found);
	free(bytes);
}

static void the_first_byte_that_makes_no_sense(void **state)
{
	/* clang-format off */
	static const struct fault faults[] = {
		{ "main-precopy-10.0", "header", "", 1, 'X', 0, "the start of a stream" },
		{ "main-precopy-10.0", "header", "", 7, 2, 4, "version 3" },
		{ "main-precopy-10.0", "configuration", "", 1, 1, 1, "length of the machine" },
		{ "main-precopy-10.0", "configuration", "", 6, 7, 6, "printable" },
		{ "main-precopy-10.0", "command", "PING", 2, 99, 1, "a command" },
		{ "main-precopy-10.0", "command", "PING", 4, 5, 3, "the length of PING" },
		{ "main-precopy-10.0", "section-start", "ram", 5, 0, 5, "name" },
		{ "main-precopy-10.0", "section-start", "ram", 16, 3, 13, "version 4" },
		{ "main-precopy-10.0", "block", "acpi", 1, 0, 1, "printable" },
		{ "main-precopy-10.0", "block", "pc.ram", 12, 1, 7, "at most 9216" },
		{ "main-precopy-10.0", "page", "kind zlib", 7, 0x21, 0, "head of a record" },
		{ "main-precopy-10.0", "page", "kind zero", 8 + 1, 'q', 9, "block that is in the list" },
		{ "main-precopy-10.0", "page", "kind zero", 8 + 7, 1, 15, "octet of a page of zeros" },
		{ "main-precopy-10.0", "page", "kind xbzrle", 8 + 7 + 3 + 1, 0, 19, "changed run" },
		{ "main-precopy-10.0", "section-part", "init-data-sent", 5 + 7, 9, 5, "tag" },
		{ "main-precopy-10.0", "section-part", "init-data-sent", 5 + 8, 1, 13, "device data" },
		{ "main-precopy-10.0", "section-part", "init-data-sent", 4, 77, 1, "was started" },
		{ "main-precopy-10.0", "section-part", "init-data-sent", 38, 1, 35, "footer" },
		{ "main-precopy-10.0", "eof", "", 0, 9, 0, "follow the footer" },
		{ "main-precopy-10.0", "eof", "", 1, 5, 0, "follow the footer" },
		{ "main-vfio-multifd-10.1", "eof", "", 1, 5, 1, "description" },
		{ "main-precopy-10.0", "description", "", 5, 'x', -1, "follow the footer" },
		{ "main-precopy-10.0", "description", "", 6, 'x', 10, "description" },
		{ "main-mapped-ram-9.0", "section-full", "timer", 29, 0x7f, 29, "footer 7e 00000004" },
		{ "main-postcopy-10.2", "command", "DISCARD", 5, 1, 5, "version 0" },
		{ "main-postcopy-10.2", "command", "PACKAGED", 5, 0x7f, 5, "length of a package" },
		{ "main-mapped-ram-9.0", "block", "ram", 4 + 8 + 3, 2, 12, "version 1" },
		{ "multifd-9.0", "multifd-init", "", 30, 1, 30, "reserved" },
		{ "multifd-9.0", "multifd-packet", "", 3, 0x45, 0, "11 22 33 44" },
		{ "multifd-9.0", "multifd-packet", "", 11, 6, 8, "one method" },
		{ "multifd-9.0", "multifd-packet", "", 19, 200, 16, "at most 128" },
		{ "multifd-9.0", "multifd-packet", "", 23, 1, 20, "8192" },
		{ "multifd-9.0", "multifd-packet", "", 327, 1, 320, "offset of a page" },
		{ "multifd-device-10.0", "multifd-device", "index 1", 279, 1, 276, "version 0" },
		{ "multifd-device-10.0", "multifd-device", "index 1", 295, 4, 288, "tag" },
		{ "return", "return", "PONG", 1, 8, 0, "a message" },
		{ "return", "return", "RESUME_ACK", 7, 2, 4, "1, the value" },
		{ "return", "return", "RECV_BITMAP", 39, 0, 32, "end of a bitmap" },
	};
	/* clang-format on */

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		check_fault(&faults[i]);
}

/* The description says another size: the stream is odd, not broken. */
static void a_description_that_disagrees(void **state)
{
	size_t length;
	uint8_t *full = file_read(QEMU_VECTORS, "main-mapped-ram-9.0.bin", &length);
	uint8_t *size = NULL;
	struct inspect_result result;

	(void)state;
	for (size_t i = 0; i + 3 < length; i++)
		if (memcmp(full + i, "104", 3) == 0)
			size = full + i;
	if (!size)
		fail_msg("no size of 104 in the description");
	else
		size[2] = '5';
	result = run(INSPECT_AUTO, full, length, SIZE_MAX, NULL);
	assert_int_equal(result.verdict, INSPECT_ODD);
	free(full);
}

/* Something that cannot be read is not blamed on the stream. */
static ssize_t broken_fill(void *self, void *to, size_t n)
{
	(void)self;
	(void)to;
	(void)n;
	return -5; /* EIO */
}

static void a_source_that_fails(void **state)
{
	static struct reader reader;
	const struct inspect_options options = { .kind = INSPECT_MAIN };
	const struct reader_source source = { .fill = broken_fill };
	const struct inspect_sink sink = { .item = nobody };
	struct inspect_result result;

	(void)state;
	reader_init(&reader, &source);
	inspect_run(&reader, &options, &sink, &result);
	assert_int_equal(result.verdict, INSPECT_FAILED);
	assert_int_equal(result.error, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_vector_says_what_it_is),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(bit_flipped_anywhere),
		cmocka_unit_test(our_own_stream),
		cmocka_unit_test(the_first_byte_that_makes_no_sense),
		cmocka_unit_test(a_description_that_disagrees),
		cmocka_unit_test(a_source_that_fails),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
