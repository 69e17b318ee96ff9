/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inspection of a migration as it happens: listens, takes the connections of one source, decodes
 * each, and passes them on to the target if there is one, with what it answers.
 */
#ifndef GUARD_LIVE_H
#define GUARD_LIVE_H

#include <holdfast/error.h>

#include "guard/print.h"

struct live_options {
	const char *listen;
	const char *forward; /* or NULL */
	struct inspect_options inspect; /* kind: INSPECT_AUTO */
	struct printer *printer;
	void (*listening)(unsigned int port); /* called once; 0: no port */
	void (*result)(const char *connection, const struct inspect_result *result);
	void (*unanswered)(void); /* the source wants a return path, and nobody forwards */
};

/*
 * Returns when the source's main connection has ended, and the others with it. 0; 1: something in
 * them made no sense, or could not be passed on (result() said what); or a negative HF_E_ code.
 */
int live_run(const struct live_options *options, struct hf_error *err);

#endif
