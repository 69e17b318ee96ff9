/* SPDX-License-Identifier: BSD-3-Clause */
/* Any octets as a stream of each kind: an error that points into them, or an end. */
#include <stdlib.h>
#include <string.h>

#include "guard/inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *bytes;
	size_t left;
};

static ssize_t fill(void *self, void *to, size_t n)
{
	struct input *input = self;

	if (n > input->left)
		n = input->left;
	memcpy(to, input->bytes, n);
	input->bytes += n;
	input->left -= n;
	return (ssize_t)n;
}

static void look(void *self, const struct inspect_item *item)
{
	const uint64_t *size = self;

	if (!item->what || item->offset > *size || item->length > *size - item->offset ||
	    item->field_count > INSPECT_FIELDS_MAX)
		abort();
	for (uint32_t i = 0; i < item->field_count; i++)
		if (item->fields[i].form == INSPECT_TEXT)
			for (const char *at = item->fields[i].text; *at; at++)
				if (*at < 0x20 || *at > 0x7e)
					abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct reader reader;
	uint64_t length = size;

	for (unsigned int kind = INSPECT_AUTO; kind < INSPECT_KINDS; kind++) {
		const struct inspect_options options = { .kind = (enum inspect_kind)kind,
							 .records = true };
		const struct inspect_sink sink = { .item = look, .self = &length };
		struct input input = { .bytes = data, .left = size };
		const struct reader_source source = { .fill = fill, .self = &input };
		struct inspect_result result;

		reader_init(&reader, &source);
		inspect_run(&reader, &options, &sink, &result);
		if (result.verdict == INSPECT_FAILED || result.offset > size)
			abort();
		if (result.verdict > INSPECT_ODD && (!result.expected[0] || !result.found[0]))
			abort();
	}
	return 0;
}
