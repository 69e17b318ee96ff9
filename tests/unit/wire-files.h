/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading the vectors (tests/vectors/) in tests. Include behind cmocka.h. */
#ifndef TESTS_WIRE_FILES_H
#define TESTS_WIRE_FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES_MAX (1u << 20)

/* All of VECTORS/name; the caller frees it. It is exactly as long as the file, for ASan's sake. */
static inline uint8_t *file_read(const char *folder, const char *name, size_t *ret_length)
{
	static uint8_t buf[FILE_BYTES_MAX];
	char path[4096];
	uint8_t *copy;
	FILE *file;

	(void)snprintf(path, sizeof(path), name[0] != 0 ? "%s/%s" : "%s%s", folder, name);
	file = fopen(path, "rb");
	if (file == NULL)
		fail_msg("%s: cannot be opened", path);
	*ret_length = fread(buf, 1, sizeof(buf), file);
	assert_int_equal(ferror(file), 0);
	(void)fclose(file); /* it was only read */
	copy = malloc(*ret_length > 0 ? *ret_length : 1);
	assert_non_null(copy);
	memcpy(copy, buf, *ret_length);
	return copy;
}

#endif
