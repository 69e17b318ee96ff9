/* SPDX-License-Identifier: BSD-3-Clause */
/* Which rows of the tables the runs of this process have taken. */
#ifndef TESTS_SIM_NET_COVER_H
#define TESTS_SIM_NET_COVER_H

#include <stdint.h>

#include "core/source.h"

enum source_state cover_source_state(void); /* of the source that stepped last */
uint32_t cover_rows(uint32_t *ret_taken); /* how many there are */
void cover_missing(void (*each)(const char *name)); /* "source STATE EVENT" */

#endif
