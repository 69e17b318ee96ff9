/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every vector with every single bit flipped, and cut at every octet: a decoder refuses, or it
 * takes exactly what its encoder would send. Each try lies in memory of exactly its size, so that
 * the sanitizer build finds a read beyond it.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire-files.h"
#include "wire-roundtrip.h"

#define NAMES_MAX 64

static char names[NAMES_MAX][64];
static unsigned int name_count;
static unsigned int refused, taken;

static int set_up(void **state)
{
	DIR *dir = opendir(VECTORS);
	struct dirent *entry;

	(void)state;
	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		size_t length = strlen(entry->d_name);

		if (length < 5 || length >= sizeof(names[0]) ||
		    strcmp(entry->d_name + length - 4, ".bin") != 0 ||
		    strncmp(entry->d_name, "header-", 7) == 0)
			continue;
		assert_in_range(name_count, 0, NAMES_MAX - 1);
		memcpy(names[name_count++], entry->d_name, length + 1);
	}
	(void)closedir(dir);
	return name_count >= 22 ? 0 : -1; /* one for each record, at least */
}

static void try(const char *name, const uint8_t *bytes, size_t n)
{
	static uint8_t out[ROUNDTRIP_MAX];
	uint8_t *exact = malloc(n > 0 ? n : 1);
	int result;

	assert_non_null(exact);
	memcpy(exact, bytes, n);
	memset(out, 0xee, sizeof(out));
	result = roundtrip_record(exact, n, out);
	if (result >= 0 && ((size_t)result != n || memcmp(out, exact, n) != 0))
		fail_msg("%s: taken, but another record than it was", name);
	if (result >= 0)
		taken++;
	else
		refused++;
	free(exact);
}

static void every_flipped_bit_is_refused_or_means_itself(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < name_count; i++) {
		size_t n;
		uint8_t *bytes = file_read(VECTORS, names[i], &n);

		n = roundtrip_length(rec_header_decode(bytes).type, n);
		try(names[i], bytes, n);
		for (size_t bit = 0; bit < 8 * n; bit++) {
			bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
			try(names[i], bytes, n);
			bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
		}
		free(bytes);
	}
	assert_true(refused > 0 && taken > name_count); /* both happen, or nothing was tried */
}

static void every_cut_record_is_refused(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < name_count; i++) {
		size_t n;
		uint8_t *bytes = file_read(VECTORS, names[i], &n);

		taken = 0;
		n = roundtrip_length(rec_header_decode(bytes).type, n);
		for (size_t cut = 0; cut < n; cut++)
			try(names[i], bytes, cut);
		assert_int_equal(taken, 0);
		free(bytes);
	}
}

/* What the length in the header says is not believed by the decoder of the body either. */
static void every_cut_body_is_refused(void **state)
{
	static uint8_t out[ROUNDTRIP_MAX];

	(void)state;
	for (unsigned int i = 0; i < name_count; i++) {
		size_t n;
		uint8_t *bytes = file_read(VECTORS, names[i], &n);
		struct rec_header header = rec_header_decode(bytes);
		const struct rec_info *info = rec_info(header.type);

		for (size_t cut = 0; cut < info->fixed_bytes; cut++) {
			uint8_t *exact = malloc(cut > 0 ? cut : 1);

			assert_non_null(exact);
			memcpy(exact, bytes + REC_HEADER_BYTES, cut);
			assert_true(roundtrip_body(header.type, exact, cut, header.length, out) <
				    0);
			free(exact);
		}
		free(bytes);
	}
}

static void every_flipped_bit_of_a_stream_header_is_refused_or_means_itself(void **state)
{
	static const char *const headers[] = { "header-control-out.bin", "header-control-in.bin",
					       "header-bulk.bin" };

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		size_t n;
		uint8_t *bytes = file_read(VECTORS, headers[i], &n);

		for (size_t cut = 0; cut < n; cut++) {
			struct stream_header header;

			assert_true(stream_header_decode(bytes, cut, &header, NULL, NULL) < 0);
		}
		for (size_t bit = 0; bit < 8 * n; bit++) {
			struct stream_header header;
			uint8_t again[STREAM_HEADER_BYTES];

			bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
			if (stream_header_decode(bytes, n, &header, NULL, NULL) == 0) {
				assert_int_equal(stream_header_encode(&header, again, n), n);
				assert_memory_equal(again, bytes, n);
			}
			bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
		}
		free(bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_flipped_bit_is_refused_or_means_itself),
		cmocka_unit_test(every_cut_record_is_refused),
		cmocka_unit_test(every_cut_body_is_refused),
		cmocka_unit_test(every_flipped_bit_of_a_stream_header_is_refused_or_means_itself),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
