/* SPDX-License-Identifier: BSD-3-Clause */
/* Items as text, or as JSON, one a line. Several connections may write to one printer. */
#ifndef GUARD_PRINT_H
#define GUARD_PRINT_H

#include <pthread.h>
#include <stdio.h>

#include "guard/inspect.h"

struct printer {
	FILE *to;
	bool json, times;
	pthread_mutex_t lock;
};

/* One connection's way to the printer. */
struct print_sink {
	struct printer *printer;
	const char *connection; /* NULL: there is only one */
};

void printer_init(struct printer *printer, FILE *to, bool json, bool times);
void printer_done(struct printer *printer);

/* An inspect_sink's item(); self is a print_sink. */
void print_item(void *self, const struct inspect_item *item);

#endif
