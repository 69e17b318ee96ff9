/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Decoding of QEMU's migration streams, and of our own: bytes of a reader in, items out. What an
 * item says is a list of fields, which print.h makes text or JSON of. Decoders do no I/O, hold
 * bounded memory, and end at the first byte that makes no sense. docs/inspect.md.
 */
#ifndef GUARD_INSPECT_H
#define GUARD_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "guard/reader.h"

enum inspect_kind {
	INSPECT_AUTO, /* by the first bytes: main, multifd or holdfast */
	INSPECT_MAIN, /* QEMU's main stream */
	INSPECT_RECOVERY, /* the main stream after a pause of post-copy: without a header */
	INSPECT_MULTIFD, /* one multifd channel */
	INSPECT_PREEMPT, /* the pre-empt channel of post-copy */
	INSPECT_RETURN, /* the return path */
	INSPECT_HOLDFAST, /* one connection of Holdfast's own stream */
	INSPECT_KINDS
};

const char *inspect_kind_name(enum inspect_kind kind);
enum inspect_kind inspect_kind_of(const char *name); /* INSPECT_KINDS: there is none */

enum inspect_form { INSPECT_NUMBER, INSPECT_HEX, INSPECT_TEXT, INSPECT_BOOL };

struct inspect_field {
	const char *name; /* static text */
	enum inspect_form form;
	uint64_t number;
	const char *text; /* printable; lives as long as the item */
};

#define INSPECT_FIELDS_MAX 16

struct inspect_item {
	const char *what; /* "section-full", ...; static text */
	uint64_t offset, length;
	uint64_t start_ns, took_ns; /* since the connection began; with a clock only */
	uint32_t field_count;
	struct inspect_field fields[INSPECT_FIELDS_MAX];
};

struct inspect_sink {
	void (*item)(void *self, const struct inspect_item *item);
	void *self;
};

struct inspect_options {
	enum inspect_kind kind;
	bool records; /* an item for each page, packet and so on, not only sums */
	uint32_t page_size; /* of the target; 0: as the stream says, else 4096 */
	uint64_t (*now_ns)(void); /* NULL: no times */
};

#define INSPECT_PAGE_MIN 1024u
#define INSPECT_PAGE_MAX 65536u

enum inspect_verdict {
	INSPECT_WHOLE, /* it was decoded to its end */
	INSPECT_ODD, /* the same, but it contradicts itself: an item "disagreement" says where */
	INSPECT_SHORT, /* it ends too early */
	INSPECT_BROKEN, /* a byte makes no sense */
	INSPECT_FAILED, /* it could not be read, or memory ran out */
};

struct inspect_result {
	enum inspect_verdict verdict;
	enum inspect_kind kind; /* what it was; INSPECT_AUTO: nobody can tell */
	uint64_t offset; /* of the first byte that makes no sense, or that is missing */
	int error; /* INSPECT_FAILED: an errno */
	uint32_t channel; /* of a multifd channel */
	char expected[192], found[64], where[320]; /* where: "" or the section it is in */
};

/*
 * Decode what the reader gives, to its end. The sink gets an item for each thing, and at last one
 * of these: "end", "error". *ret_result says the same.
 */
void inspect_run(struct reader *reader, const struct inspect_options *options,
		 const struct inspect_sink *sink, struct inspect_result *ret_result);

#endif
