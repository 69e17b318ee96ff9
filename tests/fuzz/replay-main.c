/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzz target over every file of the folders given, without a fuzzer: `make check` keeps
 * what the fuzzers found from coming back. A target fails by aborting.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	static uint8_t buf[FILE_BYTES_MAX];
	FILE *file = fopen(path, "rb");
	uint8_t *exact;
	size_t size;

	if (file == NULL)
		return -1;
	size = fread(buf, 1, sizeof(buf), file);
	(void)fclose(file); /* it was only read */
	exact = malloc(size > 0 ? size : 1); /* for the sanitizers: exactly this long */
	if (exact == NULL)
		return -1;
	memcpy(exact, buf, size);
	(void)LLVMFuzzerTestOneInput(exact, size); /* its result is for fuzzers */
	free(exact);
	return 0;
}

/* Returns how many files were replayed, or -1. */
static int replay_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int count = 0;

	if (dir == NULL)
		return -1;
	while (count >= 0 && (entry = readdir(dir)) != NULL) {
		char path[4096];
		struct stat status;
		int length = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);

		if (length >= (int)sizeof(path) || stat(path, &status) < 0) {
			count = -1;
			break;
		}
		if (!S_ISREG(status.st_mode))
			continue;
		count = replay_file(path) < 0 ? -1 : count + 1;
	}
	(void)closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	static const uint8_t nothing[1];

	(void)LLVMFuzzerTestOneInput(nothing, 0); /* fuzzers begin with it too */
	for (int i = 1; i < argc; i++) {
		int count = replay_folder(argv[i]);

		if (count <= 0) {
			(void)fprintf(stderr, "%s: nothing could be replayed\n", argv[i]);
			return 1;
		}
		(void)printf("%s: %d inputs\n", argv[i], count);
	}
	return argc > 1 ? 0 : 1;
}
