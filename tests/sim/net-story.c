/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happened, a line each: virtual time, who, what. Every line goes into a hash, so that two
 * runs of one seed can be compared; the text is kept when somebody wants to read it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "net-world.h"

#define STORY_BYTES (4u << 20)

static struct {
	bool kept;
	uint32_t used;
	char text[STORY_BYTES];
} told;

void story_begin(bool keep_it)
{
	told.kept = keep_it;
	told.used = 0;
}

void story(const char *who, const char *format, ...)
{
	char line[512];
	va_list args;
	int head = snprintf(line, sizeof(line), "%12.6f  %-7s ", (double)world_ns() / 1e6, who);
	size_t length;

	va_start(args, format);
	(void)vsnprintf(line + head, sizeof(line) - (size_t)head, format, args);
	va_end(args);
	length = strlen(line);
	for (size_t i = 0; i < length; i++)
		world.hash = (world.hash ^ (uint8_t)line[i]) * 0x100000001b3ull;
	if (!told.kept || told.used + length + 2 > sizeof(told.text))
		return;
	memcpy(told.text + told.used, line, length);
	told.used += (uint32_t)length;
	told.text[told.used++] = '\n';
	told.text[told.used] = 0;
}

void story_print(void)
{
	if (told.used)
		(void)fwrite(told.text, 1, told.used, stdout);
	(void)fflush(stdout);
}
